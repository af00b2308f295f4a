"""What must hold of prices, beyond the shape of a row: completeness, the calendar against observed trading.

Does not belong here: checks that a collecting step reports itself (`defs.coverage`), and the rules of one row
(`sources.kis`).
"""

from datetime import date

import dagster as dg

from azak_assets import krx
from azak_assets.defs.markdown import table
from azak_assets.sources.records import RejectCode
from azak_assets.warehouse.warehouse import Warehouse

COMPARED_SESSIONS = 60
FEWEST_OF_NORMAL = 0.9
"""A session with less than this share of the usual number of bars is incomplete: listings change by a handful a week.
"""


@dg.asset_check(
    asset=["raw", "daily_bars"],
    description=(
        "Every session that was asked for between the first and the last bar has bars, and the broker has none of any "
        "other day."
    ),
)
def calendar_agrees_with_trading(
    context: dg.AssetCheckExecutionContext, warehouse: dg.ResourceParam[Warehouse]
) -> dg.AssetCheckResult:
    """The calendar against observed trading: bars of a closed day, or an asked session without any, is a failure.

    Only sessions with a materialized partition count as asked: a session that no run has asked for yet is a gap of the
    backfill and speaks against no calendar, however short it is.
    """
    counts = warehouse.count_by_day("raw.daily_bars")
    if counts.empty:
        return dg.AssetCheckResult(passed=True, metadata={"sessions": 0}, description="no bars yet")
    observed = set(counts["day"])
    expected = {session.day for session in krx.sessions(min(observed), max(observed))}
    asked = context.instance.get_materialized_partitions(dg.AssetKey(["raw", "daily_bars"]))
    missing = sorted(day for day in expected - observed if day.isoformat() in asked)
    surplus = sorted((observed - expected) | _refused_days(warehouse))
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


def _refused_days(warehouse: Warehouse) -> set[date]:
    """The closed days of which the broker sent a bar. It never landed: the client refuses it, and its refusal is kept.

    A day that a corrected calendar calls a session is none of them any more.
    """
    closed = map(date.fromisoformat, warehouse.refused_values(RejectCode.CLOSED_DAY))
    return {day for day in closed if not krx.is_session(day)}


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
            "short sessions": table(short),
        },
        description="" if short.empty else "Materialize raw/daily_bars for these sessions again.",
    )
