"""What must hold of prices, beyond the shape of a row, for the operator: completeness, the calendar against trading.

Belongs here: declaring the checks. Does not belong here: the rules (`ingest.completeness`,
`ingest.calendar_comparison`).
"""

from datetime import date

import dagster as dg

from azak_assets.defs.markdown import table
from azak_assets.ingest.calendar_comparison import observed_trading
from azak_assets.ingest.completeness import count_bars
from azak_assets.ingest.days import each_of
from azak_assets.warehouse.warehouse import Warehouse


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
    """The calendar against observed trading: bars of a closed day, or a loaded session without any, is a failure."""
    loaded = context.instance.get_materialized_partitions(dg.AssetKey(["raw", "daily_bars"]))
    observed = observed_trading(warehouse, set(map(date.fromisoformat, loaded)))
    if not observed.open:
        return dg.AssetCheckResult(passed=True, metadata={"sessions": 0}, description="no bars yet")
    return dg.AssetCheckResult(
        passed=observed.agrees,
        metadata={
            "sessions": len(observed.open) - len(observed.surplus),
            "bars on closed days": each_of(observed.surplus),
            "sessions without bars": each_of(observed.missing),
        },
        description=""
        if observed.agrees
        else "Correct azak_assets/krx/data with a source, or load the missing sessions.",
    )


@dg.asset_check(asset=["raw", "daily_bars"], description="No session has far fewer bars than the sessions around it.")
def every_session_is_complete(warehouse: dg.ResourceParam[Warehouse]) -> dg.AssetCheckResult:
    """The newest sessions' number of bars against their median."""
    counts = count_bars(warehouse)
    return dg.AssetCheckResult(
        passed=counts.short.empty,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"median": counts.median, "short sessions": table(counts.short)},
        description="" if counts.short.empty else "Materialize raw/daily_bars for these sessions again.",
    )
