"""The books of the upstreams: what became of every call, kept right by several processes, and read by all."""

import multiprocessing
import time
from datetime import datetime, timedelta
from multiprocessing.queues import Queue
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from azak_assets import krx
from azak_assets.warehouse.calls import call_log
from azak_assets.warehouse.calls.call_log import PostgresCallLog, SourceHealth
from azak_assets.warehouse.calls.rate_limit import PostgresRateLimiter
from azak_assets.warehouse.postgres import database as databases
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

DOWN: dict[str, Any] = {
    "cause": "Unavailable", "action": "retry", "what": "ConnectError: refused", "advice": "Run it again later",
    "credentials": "mine", "close_for": None, "per_day": None,
}  # fmt: skip
BLOCKED: dict[str, Any] = {
    **DOWN, "cause": "Blocked", "action": "alert", "what": "HTTP 403: no", "close_for": timedelta(hours=6),
}  # fmt: skip


@pytest.fixture
def log(engine: sa.Engine) -> PostgresCallLog:
    return PostgresCallLog(engine)


def row(engine: sa.Engine, upstream: str = "kis") -> SourceHealth:
    (found,) = (one for one in call_log.sources(engine) if one.upstream == upstream)
    return found


def test_a_failure_is_readable_at_once_and_says_since_when(log: PostgresCallLog, engine: sa.Engine) -> None:
    log.succeeded("kis", per_day=None)
    assert log.failed("kis", **DOWN) == 2
    first = row(engine)
    log.failed("kis", **{**DOWN, "what": "still refused"})
    then = row(engine)
    assert (first.streak, then.streak) == (1, 2)
    assert then.failing_since == first.failing_since == first.last_failure_at
    assert then.last_failure_at is not None
    assert then.last_success_at is not None
    assert then.last_success_at < first.last_failure_at < then.last_failure_at
    assert (then.cause, then.action, then.what, then.advice) == (
        "Unavailable", "retry", "still refused", "Run it again later",
    )  # fmt: skip


def test_the_first_success_after_a_failure_is_readable_at_once(log: PostgresCallLog, engine: sa.Engine) -> None:
    log.failed("kis", **DOWN)
    log.succeeded("kis", per_day=None)
    recovered = row(engine)
    assert (recovered.streak, recovered.failing_since) == (0, None)
    assert recovered.cause == "Unavailable", "what went wrong last stays readable"


def test_successes_cost_a_statement_in_five_seconds_and_none_is_lost(log: PostgresCallLog, engine: sa.Engine) -> None:
    statements = []
    sa.event.listen(engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    for _ in range(500):
        log.succeeded("kis", per_day=None)
    written = [statement for statement in statements if "source_health" in statement]
    log.close()
    assert len(written) == 1
    assert row(engine).calls_today == 500


def test_a_quota_is_known_where_there_is_one(log: PostgresCallLog) -> None:
    for _ in range(3):
        log.succeeded("naver", per_day=25_000)
    log.succeeded("kis", per_day=None)
    assert log.usage() == {"naver": (3, 3, 25_000), "kis": (1, 1, None)}


def test_calls_of_yesterday_do_not_count_today(log: PostgresCallLog, engine: sa.Engine) -> None:
    log.succeeded("kis", per_day=None)
    with engine.begin() as connection:
        connection.execute(sa.text("update ops.source_health set calls_day = calls_day - 1, calls_today = 900"))
    assert row(engine).calls_today == 0
    assert log.failed("kis", **DOWN) == 1


def test_a_success_that_is_told_late_does_not_hide_a_newer_failure(log: PostgresCallLog, engine: sa.Engine) -> None:
    log.succeeded("kis", per_day=None)  # written at once
    log.succeeded("kis", per_day=None)  # in memory
    time.sleep(0.02)
    PostgresCallLog(engine).failed("kis", **DOWN)
    log.close()
    assert (row(engine).streak, row(engine).calls_today) == (1, 3)


def test_what_an_upstream_says_may_hold_anything(log: PostgresCallLog, engine: sa.Engine) -> None:
    log.failed("kis", **{**DOWN, "what": "half \ud800 a character, and \x00"})
    assert row(engine).what == "half ? a character, and \ufffd"


def test_an_upstream_that_refused_us_is_closed_for_every_process(database: str, log: PostgresCallLog) -> None:
    log.failed("mk", **BLOCKED)
    other = databases.create_engine(database)
    closed = PostgresRateLimiter(other).acquire("mk", 1)
    assert closed is not None
    assert (closed.cause, closed.what, closed.credentials) == ("Blocked", "HTTP 403: no", "mine")
    left = closed.until - datetime.now(krx.KST)
    assert timedelta(hours=5, minutes=59) < left <= timedelta(hours=6)
    assert PostgresRateLimiter(other).acquire("hankyung", 1) is None
    other.dispose()


def test_nobody_queues_for_a_closed_upstream(log: PostgresCallLog, engine: sa.Engine) -> None:
    log.failed("mk", **BLOCKED)
    began = time.monotonic()
    for _ in range(20):
        assert PostgresRateLimiter(engine).acquire("mk", 1) is not None
    assert time.monotonic() - began < 5


def test_it_opens_again_when_the_time_is_over(log: PostgresCallLog, engine: sa.Engine) -> None:
    log.failed("mk", **{**BLOCKED, "close_for": timedelta(milliseconds=50)})
    time.sleep(0.1)
    assert PostgresRateLimiter(engine).acquire("mk", 1000) is None
    assert not row(engine, "mk").is_closed


def test_a_lesser_failure_leaves_it_closed(log: PostgresCallLog, engine: sa.Engine) -> None:
    log.failed("mk", **BLOCKED)
    log.failed("mk", **DOWN)
    closed = PostgresRateLimiter(engine).acquire("mk", 1000)
    assert closed is not None
    assert closed.what == "HTTP 403: no"
    assert row(engine, "mk").cause == "Unavailable"


def test_a_lost_database_costs_the_books_and_not_the_answer() -> None:
    engine = databases.create_engine("postgresql://someone:hidden@127.0.0.1:1/azak")
    log = PostgresCallLog(engine)
    log.succeeded("kis", per_day=None)
    assert log.failed("kis", **DOWN) is None
    engine.dispose()


def _call_in_process(url: str, calls: int, done: "Queue[int]") -> None:
    engine = databases.create_engine(url)
    log = PostgresCallLog(engine)
    for number in range(calls):
        if number % 10 == 9:
            log.failed("kis", **DOWN)
        else:
            log.succeeded("kis", per_day=None)
    log.close()
    engine.dispose()
    done.put(calls)


def test_the_counts_of_two_processes_add_up(database: str, engine: sa.Engine) -> None:
    context = multiprocessing.get_context("spawn")
    done: Queue[int] = context.Queue()
    processes = [context.Process(target=_call_in_process, args=(database, 300, done)) for _ in range(2)]
    for process in processes:
        process.start()
    assert sum(done.get(timeout=60) for _ in processes) == 600
    for process in processes:
        process.join(timeout=30)
    done.close()
    done.join_thread()
    both = row(engine)
    assert both.calls_today == 600
    assert both.streak >= 1, "both end with a failure"


# --- feeds ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def heard(engine: sa.Engine):
    """`heard("2026-11-02", rows)`: a load of a source on a day."""

    def load(day: str, rows: int, table: str = "raw.daily_bars") -> None:
        at = datetime.fromisoformat(f"{day} 16:00").replace(tzinfo=krx.KST)
        values = {"source": "KIS", "table": table, "at": at, "rows": rows, "session": call_log.session_of(at)}
        with engine.begin() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.execute(call_log.FEED_LOADED, values)

    return load


def test_a_source_that_answers_with_nothing_is_counted_by_sessions(heard, engine: sa.Engine) -> None:
    heard("2026-11-04", 10)
    for day in ("2026-11-05", "2026-11-05", "2026-11-06", "2026-11-07", "2026-11-09"):  # the 7th is a Saturday
        heard(day, 0)
    (feed,) = call_log.feeds(engine)
    assert (feed.source, feed.empty_sessions) == ("KIS", 3)
    assert feed.last_rows_at == datetime(2026, 11, 4, 16, tzinfo=krx.KST)
    heard("2026-11-10", 1)
    heard("2026-11-10", 0)
    assert call_log.feeds(engine)[0].empty_sessions == 0, "a session with rows is not an empty one"


def test_a_source_that_brings_rows_into_one_of_its_tables_is_not_empty(heard, engine: sa.Engine) -> None:
    heard("2026-11-04", 10)
    heard("2026-11-05", 0)
    heard("2026-11-05", 5, table="raw.minute_bars")
    assert call_log.feeds(engine)[0].empty_sessions == 0


def test_every_load_of_a_raw_table_is_heard_of_also_one_that_is_skipped(engine: sa.Engine) -> None:
    warehouse = Warehouse(engine, run_id="a-run")
    frame = pd.DataFrame({"day": [datetime(2026, 11, 4).date()], "is_open": [True]})  # noqa: DTZ001
    for _ in range(2):
        warehouse.load("raw.broker_calendar", frame, Scope(days=None), complete=False, source="KIS CTCA0903R")
        first = call_log.feeds(engine)
    (feed,) = call_log.feeds(engine)
    assert (feed.source, feed.empty_sessions) == ("KIS CTCA0903R", 0)
    assert feed.last_rows_at == feed.last_loaded_at == first[0].last_loaded_at
