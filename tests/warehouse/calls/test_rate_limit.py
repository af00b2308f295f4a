"""Limits shared by threads and processes: one token issued once, one budget spent evenly, and clear failures."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing.queues import Queue
from threading import Barrier

import pytest
import sqlalchemy as sa
from pauses import undisturbed

from azak_assets.krx import KST
from azak_assets.ports import Token
from azak_assets.warehouse.calls.rate_limit import (
    BACKFILL_SHARE,
    LimitsError,
    PostgresRateLimiter,
    PostgresTokenStore,
    session_is_open,
)
from azak_assets.warehouse.postgres import database as databases


class Upstream:
    """Counts what it issues; each token differs unless told otherwise."""

    def __init__(self, lifetime: timedelta = timedelta(hours=24), *, same_text: bool = False) -> None:
        self.issued = 0
        self._lifetime = lifetime
        self._same_text = same_text

    def __call__(self) -> Token:
        self.issued += 1
        time.sleep(0.05)
        text = "token-same" if self._same_text else f"token-{self.issued}"
        return Token(text, datetime.now(UTC) + self._lifetime)


def test_a_token_is_issued_once_and_then_kept_for_every_store(engine: sa.Engine) -> None:
    upstream = Upstream()
    first = PostgresTokenStore(engine).get_or_issue("kis", upstream)
    again = PostgresTokenStore(engine).get_or_issue("kis", upstream)
    assert (again.access_token, again.expires_at) == (first.access_token, first.expires_at)
    assert again.expires_at.tzinfo is not None
    assert "token-1" not in repr(again)
    assert PostgresTokenStore(engine).get_or_issue("other", upstream).access_token == "token-2"


def test_a_token_near_its_end_is_renewed(engine: sa.Engine) -> None:
    store = PostgresTokenStore(engine)
    store.get_or_issue("kis", Upstream(timedelta(minutes=9)))
    later = Upstream(timedelta(minutes=11))
    store.get_or_issue("kis", later)
    store.get_or_issue("kis", later)
    assert later.issued == 1


@pytest.mark.parametrize("same_text", [False, True], ids=["a new text", "the same text again"])
def test_ten_threads_that_discard_one_token_cause_one_issue(engine: sa.Engine, same_text: bool) -> None:
    store = PostgresTokenStore(engine)
    upstream = Upstream(same_text=same_text)
    refused = store.get_or_issue("kis", upstream).access_token
    together = Barrier(10)

    def discard(_: int) -> str:
        together.wait()
        text: str = store.get_or_issue("kis", upstream, discard=refused).access_token
        return text

    with ThreadPoolExecutor(10) as pool:
        texts = set(pool.map(discard, range(10)))
    assert upstream.issued == 2
    assert texts == {"token-same" if same_text else "token-2"}


def test_a_discard_that_comes_late_gets_the_replacement(engine: sa.Engine) -> None:
    store, upstream = PostgresTokenStore(engine), Upstream()
    refused = store.get_or_issue("kis", upstream).access_token
    replacement = store.get_or_issue("kis", upstream, discard=refused)
    assert store.get_or_issue("kis", upstream, discard=refused) == Token(
        replacement.access_token, replacement.expires_at
    )
    assert upstream.issued == 2


def test_an_issue_that_fails_passes_through_and_stores_nothing(engine: sa.Engine) -> None:
    store = PostgresTokenStore(engine)

    def refuse() -> Token:
        raise PermissionError("the upstream said no")

    with pytest.raises(PermissionError, match="said no"):
        store.get_or_issue("kis", refuse)
    with engine.connect() as connection:
        assert connection.execute(sa.text("select count(*) from ops.access_tokens")).scalar_one() == 0
    assert store.get_or_issue("kis", Upstream()).access_token == "token-1"


def test_an_issuer_that_needs_the_budget_is_not_starved_by_those_who_wait_for_it(database: str) -> None:
    """The pool has five connections and ten more in need; twenty waiters must leave some for the issuer's request."""
    engine = databases.create_engine(database)
    store, limiter = PostgresTokenStore(engine), PostgresRateLimiter(engine)
    issued = []

    def issue() -> Token:
        limiter.acquire("kis", 100)
        issued.append(1)
        return Token("token", datetime.now(UTC) + timedelta(hours=24))

    started = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: store.get_or_issue("kis", issue), range(20)))
    engine.dispose()
    assert len(issued) == 1
    assert time.monotonic() - started < 15


def _issue_in_process(url: str, calls: "Queue[int]") -> None:
    engine = databases.create_engine(url)
    upstream = Upstream()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: PostgresTokenStore(engine).get_or_issue("kis", upstream), range(4)))
    calls.put(upstream.issued)
    engine.dispose()


def _acquire_in_process(url: str, rate: float, calls: int, begin: float, starts: "Queue[list[float]]") -> None:
    engine = databases.create_engine(url)
    limiter = PostgresRateLimiter(engine)
    found: list[float] = []

    def call(_: int) -> None:
        limiter.acquire("kis", rate)
        found.append(time.time())

    time.sleep(max(0.0, begin - time.time()))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(calls)))
    starts.put(found)
    engine.dispose()


def in_two_processes(work: Callable[..., None], *arguments: object) -> list[object]:
    context = multiprocessing.get_context("spawn")
    answers: Queue[object] = context.Queue()
    processes = [context.Process(target=work, args=(*arguments, answers)) for _ in range(2)]
    for process in processes:
        process.start()
    try:
        return [answers.get(timeout=60) for _ in processes]
    finally:
        for process in processes:
            process.join(timeout=30)
        answers.close()
        answers.join_thread()


def test_two_processes_that_ask_at_once_cause_one_issue(database: str) -> None:
    assert sum(in_two_processes(_issue_in_process, database)) == 1  # type: ignore[arg-type]


@pytest.mark.timing
def test_two_processes_of_eight_threads_spend_the_whole_budget_and_never_more(database: str) -> None:
    """The broker counts the last second and refuses the 19th call; the budget of 15 a second must never come near."""
    rate, calls = 15.0, 45

    def measure() -> list[float]:
        lists = in_two_processes(_acquire_in_process, database, rate, calls, time.time() + 4)
        return sorted(start for found in lists for start in found)  # type: ignore[attr-defined]

    starts = undisturbed(measure)
    assert len(starts) == 2 * calls
    achieved = (len(starts) - 1) / (starts[-1] - starts[0])
    busiest = max(sum(first <= start < first + 1 for start in starts) for first in starts)
    assert achieved >= 0.95 * rate
    assert busiest <= 18


@pytest.mark.timing
def test_an_idle_budget_saves_nothing_up(engine: sa.Engine) -> None:
    limiter = PostgresRateLimiter(engine)
    limiter.acquire("naver", 20)
    time.sleep(0.5)
    started = time.monotonic()
    for _ in range(5):
        limiter.acquire("naver", 20)
    assert time.monotonic() - started >= 0.19


@pytest.mark.timing
def test_a_backfill_leaves_most_of_the_budget_to_live_work_while_a_session_is_open(engine: sa.Engine) -> None:
    def calls_in_a_second(limiter: PostgresRateLimiter) -> int:
        calls, started = 0, time.monotonic()
        while time.monotonic() - started < 1:
            limiter.acquire("kis", 50)
            calls += 1
        return calls

    def share(*, in_session: bool) -> float:
        return calls_in_a_second(PostgresRateLimiter(engine, live=False, in_session=lambda _: in_session)) / 50

    assert share(in_session=True) <= BACKFILL_SHARE + 0.05
    assert share(in_session=False) >= BACKFILL_SHARE + 0.2
    assert calls_in_a_second(PostgresRateLimiter(engine, in_session=lambda _: True)) >= 50 * (BACKFILL_SHARE + 0.2)


@pytest.mark.parametrize(
    ("instant", "is_open"),
    [
        (datetime(2026, 11, 18, 8, 59, 59, tzinfo=KST), False),
        (datetime(2026, 11, 18, 9, 0, tzinfo=KST), True),
        (datetime(2026, 11, 18, 15, 30, tzinfo=KST), False),
        (datetime(2026, 11, 19, 9, 30, tzinfo=KST), False),  # the day of the university entrance exam opens at 10:00
        (datetime(2026, 11, 19, 16, 0, tzinfo=KST), True),
        (datetime(2026, 11, 21, 11, 0, tzinfo=KST), False),
        (datetime(2026, 11, 18, 1, 0, tzinfo=UTC), True),
    ],
)
def test_a_session_is_open_by_the_market_s_calendar(instant: datetime, is_open: bool) -> None:
    assert session_is_open(instant) is is_open


def test_a_slot_far_in_the_future_is_a_clock_that_was_set_back(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.text("insert into ops.rate_budgets (name, next_at) values ('kis', clock_timestamp() + interval '1 day')")
        )
    started = time.monotonic()
    PostgresRateLimiter(engine).acquire("kis", 1000)
    assert time.monotonic() - started < 5


def test_lost_connections_are_replaced(engine: sa.Engine) -> None:
    store, limiter = PostgresTokenStore(engine), PostgresRateLimiter(engine)
    store.get_or_issue("kis", Upstream())
    limiter.acquire("kis", 100)
    with databases.connect(engine.url.render_as_string(hide_password=False)) as other:
        other.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
            " and pid <> pg_backend_pid() and backend_type = 'client backend'"
        )
    limiter.acquire("kis", 100)
    assert store.get_or_issue("kis", Upstream()).access_token == "token-1"


@pytest.fixture
def unreachable() -> Iterator[sa.Engine]:
    engine = databases.create_engine("postgresql://someone:hidden@127.0.0.1:1/azak")
    yield engine
    engine.dispose()


def test_a_database_that_is_gone_is_one_clear_error(unreachable: sa.Engine) -> None:
    for use in (
        lambda: PostgresRateLimiter(unreachable).acquire("kis", 15),
        lambda: PostgresTokenStore(unreachable).get_or_issue("kis", Upstream()),
    ):
        with pytest.raises(
            LimitsError, match=r"of `kis` in database 'azak' cannot be used .* see that PostgreSQL runs"
        ) as raised:
            use()
        assert "hidden" not in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_token_that_cannot_be_stored_is_not_in_the_error(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.text("alter table ops.access_tokens add constraint short check (length(access_token) < 3)")
        )
    with pytest.raises(LimitsError) as raised:
        PostgresTokenStore(engine).get_or_issue("kis", Upstream())
    assert "token-1" not in str(raised.value)


def test_nobody_but_the_owner_is_granted_anything_on_the_tokens(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        grants = connection.execute(
            sa.text(
                "select grantee from information_schema.role_table_grants"
                " where table_schema = 'ops' and table_name = 'access_tokens' and grantee <> current_user"
            )
        ).all()
    assert grants == []
