"""What counts as incomplete: a session with far fewer bars, a silent source, an upstream that fails, full tiers."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest

from azak_assets import krx
from azak_assets.ingest.completeness import count_bars, newest_sightings
from azak_assets.ingest.days import each_of, span_of
from azak_assets.ingest.health import LONG_FAILING, empty_feeds, failing, is_serious
from azak_assets.ingest.stocks import TierCounts, count_tiers
from azak_assets.universe import TIER_1_MOST, TIERS_1_AND_2_MOST
from azak_assets.warehouse.calls.call_log import FeedHealth, SourceHealth
from azak_assets.warehouse.load import Scope
from azak_assets.warehouse.warehouse import Warehouse

NOW = datetime(2026, 11, 20, 16, tzinfo=krx.KST)
DAYS = [session.day for session in krx.sessions(date(2026, 11, 2), date(2026, 11, 13))]


def test_a_session_with_less_than_nine_tenths_of_the_usual_bars_is_short(
    warehouse: Warehouse, load_bars: Callable[[dict[date, int]], None]
) -> None:
    load_bars({**dict.fromkeys(DAYS, 20), DAYS[2]: 17, DAYS[4]: 18})
    counts = count_bars(warehouse)
    assert counts.median == 20
    assert counts.short.to_dict("records") == [{"day": DAYS[2], "rows": 17}]


def test_without_bars_no_session_is_short(warehouse: Warehouse) -> None:
    counts = count_bars(warehouse)
    assert (counts.median, counts.short.empty) == (0, True)


def sight(warehouse: Warehouse, source: str, days: list[date]) -> None:
    frame = pd.DataFrame({"article_id": [f"{source} {day}" for day in days], "query": "증시", "trading_day": days})
    warehouse.append("raw.news_sightings", frame, source=source)


@pytest.mark.parametrize(("sessions_without", "is_silent"), [(2, False), (3, True)])
def test_a_source_that_shows_nothing_for_three_sessions_is_silent(
    warehouse: Warehouse, sessions_without: int, is_silent: bool
) -> None:
    sight(warehouse, "naver", DAYS)
    sight(warehouse, "mk", DAYS[:-sessions_without])
    found = newest_sightings(warehouse, NOW)
    newest = DAYS[-sessions_without - 1]
    assert found.newest == {"naver": DAYS[-1], "mk": newest}
    assert found.silent == ({"mk": newest} if is_silent else {})


def health(**changes: object) -> SourceHealth:
    known = {
        "upstream": "dart", "last_success_at": NOW, "last_failure_at": None, "cause": None, "action": None,
        "what": None, "advice": None, "streak": 0, "failing_since": None, "calls_today": 1, "calls_a_day": None,
        "closed_until": None, "now": NOW.astimezone(UTC),
    }  # fmt: skip
    return SourceHealth(**known | changes)  # type: ignore[arg-type]


def test_an_upstream_fails_while_its_newest_call_failed_or_it_is_closed() -> None:
    answers, reopened = health(), health(closed_until=NOW - timedelta(seconds=1))
    failed, closed = health(streak=1), health(closed_until=NOW + timedelta(hours=1))
    assert failing([answers, reopened, failed, closed]) == [failed, closed]


@pytest.mark.parametrize(
    ("changes", "serious"),
    [
        ({"action": "retry", "failing_since": NOW - LONG_FAILING + timedelta(seconds=1)}, False),
        ({"action": "retry", "failing_since": NOW - LONG_FAILING}, True),
        ({"action": "retry", "last_failure_at": NOW - LONG_FAILING}, True),
        ({"action": "stop", "failing_since": NOW}, True),
        ({"action": "alert", "failing_since": NOW}, True),
        ({"closed_until": NOW + timedelta(minutes=1)}, True),
    ],
)
def test_a_failure_is_serious_when_it_lasts_or_a_person_is_needed(changes: dict[str, object], serious: bool) -> None:
    assert is_serious(health(streak=1, **changes)) is serious


def test_a_source_is_empty_after_three_sessions_unless_it_never_brought_rows() -> None:
    def feed(sessions: int, rows_at: datetime | None = NOW) -> FeedHealth:
        return FeedHealth("mk", NOW, rows_at, sessions)

    assert empty_feeds([feed(2), feed(3), feed(90, None)]) == [feed(3)]


def test_tiers_are_counted_over_the_active_stocks(warehouse: Warehouse) -> None:
    tiers = [(1, "가", True), (2, " ", True), (2, "다", True), (3, "라", True), (1, "마", False)]
    frame = pd.DataFrame(
        {
            "stock_code": f"A{number:05d}", "isin": None, "name": name, "market": "KOSPI", "security_kind": "stock",
            "sector": None, "tier": tier, "aliases": [], "is_active": is_active, "listed_on": None,
            "delisted_on": None, "listed_shares": None, "market_cap_krw": None,
        }
        for number, (tier, name, is_active) in enumerate(tiers)
    )  # fmt: skip
    warehouse.load("raw.stocks", frame, Scope(days=None), complete=True, source="a test")
    assert count_tiers(warehouse) == TierCounts(active=4, tier_1=1, tiers_1_and_2=3, nameless=1)


def test_tiers_fit_up_to_their_quota() -> None:
    assert TierCounts(900, TIER_1_MOST, TIERS_1_AND_2_MOST, 0).fit
    assert not TierCounts(900, TIER_1_MOST + 1, TIERS_1_AND_2_MOST, 0).fit
    assert not TierCounts(900, TIER_1_MOST, TIERS_1_AND_2_MOST + 1, 0).fit


def test_days_as_text() -> None:
    assert (each_of([]), each_of(DAYS[:2])) == ("none", "2026-11-02, 2026-11-03")
    assert span_of(DAYS[:3]) == "2026-11-02, 2026-11-03, 2026-11-04"
    assert span_of(DAYS[:4]) == "2026-11-02 … 2026-11-05 (4 sessions)"
