"""What must hold of prices, beyond the shape of a row: completeness, the calendar's third witness, sound bars."""

import dagster as dg

from azak_assets import krx
from azak_assets.defs.reporting import table
from azak_assets.warehouse.warehouse import Warehouse

COMPARED_SESSIONS = 60
FEWEST_OF_NORMAL = 0.9
"""A session with less than this share of the usual number of bars is incomplete: listings change by a handful a week.
"""


@dg.asset_check(
    asset=["raw", "daily_bars"],
    description="Every session between the first and the last bar has bars, and no other day has.",
)
def calendar_agrees_with_trading(warehouse: dg.ResourceParam[Warehouse]) -> dg.AssetCheckResult:
    """The calendar against observed trading: bars on a closed day, or a session without any, is a failure."""
    counts = warehouse.count_by_day("raw.daily_bars")
    if counts.empty:
        return dg.AssetCheckResult(passed=True, metadata={"sessions": 0}, description="no bars yet")
    observed = set(counts["day"])
    expected = {session.day for session in krx.sessions(min(observed), max(observed))}
    # Sessions that nobody has asked for yet are gaps of the backfill; only a hole inside a run of sessions speaks
    # against the calendar, so a missing session counts when both its neighbours have bars.
    missing = sorted(
        day
        for day in expected - observed
        if krx.previous_session(day).day in observed and krx.next_session(day).day in observed
    )
    surplus = sorted(observed - expected)
    return dg.AssetCheckResult(
        passed=not missing and not surplus,
        metadata={
            "sessions": len(observed),
            "bars on closed days": ", ".join(map(str, surplus)) or "none",
            "sessions without bars": ", ".join(map(str, missing)) or "none",
        },
        description=""
        if not missing and not surplus
        else "Correct azak_assets/krx/data with a source, or load the missing sessions.",
    )


@dg.asset_check(asset=["raw", "daily_bars"], description="No session has far fewer bars than the sessions around it.")
def every_session_is_complete(warehouse: dg.ResourceParam[Warehouse]) -> dg.AssetCheckResult:
    """Compare each of the newest sessions' number of bars with their median; listings change over the years."""
    counts = warehouse.count_by_day("raw.daily_bars").tail(COMPARED_SESSIONS)
    short = counts[counts["rows"] < FEWEST_OF_NORMAL * counts["rows"].median()]
    return dg.AssetCheckResult(
        passed=short.empty,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "median": float(counts["rows"].median()) if len(counts) else 0.0,
            "short sessions": dg.MetadataValue.md(table(short)),
        },
        description="" if short.empty else "Materialize raw/daily_bars for these sessions again.",
    )
