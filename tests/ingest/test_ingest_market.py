"""The market's feeds without Dagster: a real client, a real server and a real database, and plain values between."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from typing import Any, Protocol

import pytest
import sqlalchemy as sa

from azak_assets import krx
from azak_assets.ingest import bars, rolling, session
from azak_assets.ingest.failures import CollectError, RoundError
from azak_assets.ingest.reasons import Reason
from azak_assets.ingest.report import DayState, StepReport
from azak_assets.ports import ATTEMPTS
from azak_assets.sandbox import SeededWorld
from azak_assets.sandbox.wire import kis as sandbox_kis
from tests.graph.intraday_world import Exchange, exchange
from tests.harness import at

LOG = logging.getLogger("a test")
FRIDAY = krx.session(date(2026, 11, 20))
THURSDAY = krx.previous_session(FRIDAY.day)
TABLES = [session.QUOTES, session.BOOKS, session.MINUTES]


class OpenAt(Protocol):
    def __call__(self, now: str, codes: list[str] | None = None) -> Exchange: ...


@pytest.fixture(scope="module")
def world() -> SeededWorld:
    return SeededWorld(1)


@pytest.fixture(scope="module")
def codes(world: SeededWorld) -> list[str]:
    """Two stocks that trade on both days."""
    market = world._market
    days = [market.position[one.day] for one in (THURSDAY, FRIDAY)]
    tiered = world._followed(at("2026-11-20 10:00"))
    return sorted(code for code in tiered if all(market.volume[day, market.number[code]] for day in days))[:2]


@pytest.fixture
def open_at(engine: sa.Engine, world: SeededWorld, codes: list[str]) -> Iterator[OpenAt]:
    with ExitStack() as stack:

        def enter(now: str, chosen: list[str] | None = None, *, attempts: int = ATTEMPTS) -> Exchange:
            found = exchange(engine, now, codes if chosen is None else chosen, world, attempts=attempts)
            return stack.enter_context(found)

        yield enter


def collect(
    found: Exchange, *sessions: krx.Session, loops: bool = False, **changes: Any
) -> dict[str, list[StepReport]]:
    given: dict[str, Any] = {
        "tables": TABLES, "now": found.clock, "sleep": found.clock.sleep, "loops": loops, "source": "test: ",
        "log": LOG,
    }  # fmt: skip
    return session.collect(found.warehouse, found.upstreams.kis, sessions, **{**given, **changes})


def test_a_running_session_is_collected_for_half_an_hour(open_at: OpenAt, codes: list[str]) -> None:
    found = open_at("2026-11-20 09:00:10")
    reports = collect(found, FRIDAY, loops=True)
    assert found.clock.now < at("2026-11-20 09:31")
    quotes, kept = reports[session.QUOTES]
    assert (quotes.rows, quotes.inserted, quotes.answered) == (14, 14, 14)
    assert quotes.notes == {"rounds": 7, "left out": 0}
    assert kept.finding is not None
    assert (kept.finding.passed, kept.reasons) == (True, [])
    (minutes,) = reports[session.MINUTES]
    assert minutes.finding is not None
    assert minutes.finding.passed
    assert minutes.notes["minutes missing"] == 0
    assert minutes.rows == found.query("select count(*) from raw.minute_bars")[0][0] > 0
    assert found.query("select distinct source from raw.minute_bars") == [("test: KIS FHKST03010200",)]


def test_a_past_session_has_its_minutes_and_says_what_no_source_has(open_at: OpenAt) -> None:
    found = open_at("2026-11-20 10:00:10")
    reports = collect(found, THURSDAY)
    (minutes,) = reports[session.MINUTES]
    assert (minutes.answered, minutes.reasons, list(minutes.plots)) == (2, [], ["closes"])
    (books,) = reports[session.BOOKS]
    assert books.reasons == [Reason.NOT_COLLECTED]
    assert "2026-11-19" in books.state
    assert books.answered is None
    assert books.finding is not None
    assert not books.finding.passed


def test_a_second_collector_leaves_the_session_to_the_first(open_at: OpenAt) -> None:
    found = open_at("2026-11-20 10:00:10")
    with found.warehouse.if_alone(session.ALONE) as alone:
        assert alone
        (report,) = collect(found, FRIDAY, tables=[session.MINUTES])[session.MINUTES]
    assert report.reasons == [Reason.OTHER_COLLECTOR]
    assert found.limiter.calls.total() == 0


def test_without_stocks_there_is_nothing_to_collect(open_at: OpenAt) -> None:
    found = open_at("2026-11-20 10:00:10", [])
    with pytest.raises(CollectError, match="materialize raw/stocks first"):
        collect(found, FRIDAY)


def test_an_upstream_that_is_down_ends_a_round_with_its_name(open_at: OpenAt, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = sandbox_kis._failure("EGW00002", "서버 에러가 발생했습니다.")
    monkeypatch.setattr(sandbox_kis.Endpoints, "_refusal", lambda self, request: failure)
    found = open_at("2026-11-20 10:00:10", attempts=1)
    with pytest.raises(RoundError, match="today's session, 2026-11-20: ") as ended:
        collect(found, FRIDAY)
    assert ended.value.failure.action == "retry"


def test_daily_bars_land_and_a_stock_listed_later_is_excused(open_at: OpenAt, codes: list[str]) -> None:
    found = open_at("2026-11-20 18:30")
    unknown = "999990"
    with found.engine.begin() as connection:
        connection.execute(
            sa.text(
                "insert into raw.stocks select (jsonb_populate_record(s, jsonb_build_object('stock_code',"
                " cast(:code as text), 'listed_on', '2026-11-30'))).* from raw.stocks as s where s.stock_code = :other"
            ),
            {"code": unknown, "other": codes[0]},
        )
    report = bars.daily_bars(
        found.warehouse, found.upstreams.kis, [THURSDAY, FRIDAY], label="two sessions", source="a test", log=LOG
    )
    assert (report.rows, report.answered) == (4, 2)
    assert (report.earliest, report.latest) == (THURSDAY.day, FRIDAY.day)
    assert set(report.plots["closes"].lines) == set(codes)
    assert report.excused == set(report.failures) == {unknown}


def test_flows_reach_back_about_thirty_sessions_and_name_the_sessions_that_landed(open_at: OpenAt) -> None:
    found = open_at("2026-11-20 18:30")
    sessions = krx.sessions(date(2026, 9, 21), FRIDAY.day)
    report = rolling.investor_flows(
        found.warehouse,
        found.upstreams.kis,
        sessions,
        found.clock.now,
        from_when=krx.flows_published_from,
        label="some sessions",
        source="a test",
        log=LOG,
    )
    assert report.reasons == [Reason.PAST_REACH]
    assert "2026-10-12" in report.state
    assert len(report.days) == 30
    assert set(report.days.values()) == {DayState(Reason.LANDED, "landed", 2)}
    assert report.rows == 60


def test_flows_that_are_not_out_cost_no_request(open_at: OpenAt) -> None:
    found = open_at("2026-11-20 15:45")
    report = rolling.investor_flows(
        found.warehouse,
        found.upstreams.kis,
        [FRIDAY],
        found.clock.now,
        from_when=krx.flows_published_from,
        label="a session",
        source="a test",
        log=LOG,
    )
    assert report.answered is None
    assert report.reasons == [Reason.NOT_OUT_YET]
    assert "2026-11-20 16:00 KST" in report.state
    assert found.limiter.calls.total() == 0


def test_breadth_is_of_the_newest_session_alone(open_at: OpenAt) -> None:
    found = open_at("2026-11-20 18:30")
    kis = found.upstreams.kis
    old = bars.index_breadth(found.warehouse, kis, [THURSDAY], found.clock.now, source="a test", log=LOG)
    assert (old.answered, found.limiter.calls.total()) == (None, 0)
    both = bars.index_breadth(found.warehouse, kis, [THURSDAY, FRIDAY], found.clock.now, source="a test", log=LOG)
    assert both.days == {FRIDAY.day: DayState(Reason.LANDED, "landed", both.rows)}
    assert both.rows >= 3
