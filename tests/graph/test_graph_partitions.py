"""Pitfalls 4 and 5: what Dagster makes of trading days where a week, a month or a day is not whole.

Two of its behaviours are pinned here although they are not what one expects: the code avoids them, and a new release
that corrects one shall be noticed.
"""

from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context

from azak_assets import krx
from azak_assets.partitions import FIRST_TRADING_DAY, TRADING_DAYS
from tests.harness import at


def upstream_keys(period: dg.TimeWindowPartitionsDefinition, key: str) -> list[str]:
    """The trading days that Dagster's default mapping gives to one period."""
    with partition_loading_context(at("2026-12-30 12:00")):
        mapped = dg.TimeWindowPartitionMapping().get_upstream_mapped_partitions_result_for_partitions(
            period.subset_with_partition_keys([key]), period, TRADING_DAYS
        )
        return sorted(mapped.partitions_subset.get_partition_keys())


def test_partitions_are_the_sessions_of_the_calendar() -> None:
    with partition_loading_context(at("2026-11-20 12:00")):
        keys = TRADING_DAYS.get_partition_keys()
    expected = krx.sessions(FIRST_TRADING_DAY, at("2026-11-20 12:00").date())
    assert keys == [session.day.isoformat() for session in expected]


@pytest.mark.parametrize(
    ("now", "newest"),
    [
        ("2026-09-23 00:00", "2026-09-23"),  # a session: its own key, from midnight
        ("2026-09-23 23:59", "2026-09-23"),
        ("2026-09-24 00:00", "2026-09-28"),  # Chuseok, Thursday to Saturday: the session after it
        ("2026-09-26 12:00", "2026-09-28"),
        ("2026-09-27 23:59", "2026-09-28"),
        ("2026-09-28 09:00", "2026-09-28"),
        ("2026-11-21 10:00", "2026-11-23"),  # a Saturday
        ("2026-12-31 10:00", "2027-01-04"),  # the year's closing day, then New Year and a weekend
    ],
)
def test_a_closed_day_offers_the_next_session(now: str, newest: str) -> None:
    """`end_offset=1` counts sessions, not days (dagster#33551). Right for news, refused by prices.

    Should this fail after an update, news of closed days have no partition to go to: give them one before updating.
    """
    with partition_loading_context(at(now)):
        assert TRADING_DAYS.get_last_partition_key() == newest
        assert not TRADING_DAYS.has_partition_key("2026-09-25")


def test_a_friday_ends_at_midnight() -> None:
    """A weekday cron instead of exclusions would keep Friday open, and its key away, until Monday."""
    window = TRADING_DAYS.time_window_for_partition_key("2026-11-20")
    assert (window.start.isoformat(), window.end.isoformat()) == (
        "2026-11-20T00:00:00+09:00",
        "2026-11-21T00:00:00+09:00",
    )


@pytest.mark.parametrize(
    ("key", "leaked"), [("2026-11-01", "2026-10-30"), ("2026-08-01", "2026-07-31"), ("2026-06-01", None)]
)
def test_a_month_that_starts_on_a_closed_day_borrows_a_session(key: str, leaked: str | None) -> None:
    """Dagster's mapping reaches back to the session before: SQL over periods must bound itself by date."""
    month = dg.MonthlyPartitionsDefinition(start_date="2026-01-01", timezone="Asia/Seoul")
    before = [day for day in upstream_keys(month, key) if day < key]
    assert before == ([leaked] if leaked else [])


def test_a_week_that_starts_on_a_closed_day_borrows_a_session() -> None:
    week = dg.WeeklyPartitionsDefinition(start_date="2026-01-04", timezone="Asia/Seoul")
    assert upstream_keys(week, "2026-09-20") == ["2026-09-18", "2026-09-21", "2026-09-22", "2026-09-23"]


def test_one_session_back_skips_the_holidays() -> None:
    mapping = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1)
    with partition_loading_context(at("2026-09-28 12:00")):
        mapped = mapping.get_upstream_mapped_partitions_result_for_partitions(
            TRADING_DAYS.subset_with_partition_keys(["2026-09-28"]), TRADING_DAYS, TRADING_DAYS
        )
        assert list(mapped.partitions_subset.get_partition_keys()) == ["2026-09-23"]


def test_no_asset_uses_periods_or_mappings(nodes: dict[str, Any]) -> None:
    """Every partitioned asset is by trading day, the same days, so that nothing meets the borrowed sessions."""
    for name, node in nodes.items():
        if node.partitions_def is not None:
            assert node.partitions_def == TRADING_DAYS, name
        assert not node.partition_mappings, name
