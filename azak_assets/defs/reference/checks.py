"""What must hold of reference data, for the operator.

Belongs here: declaring the checks. Does not belong here: the rules (`ingest.stocks`, `ingest.calendar_comparison`).
"""

import dagster as dg

from azak_assets.ingest.calendar_comparison import broker_calendar
from azak_assets.ingest.days import each_of
from azak_assets.universe import TIER_1_MOST, TIERS_1_AND_2_MOST
from azak_assets.warehouse.warehouse import Warehouse


@dg.asset_check(
    asset=["raw", "stocks"],
    description=(
        f"Names are there, and tiers 1 and 2 fit their quota ({TIER_1_MOST} and {TIERS_1_AND_2_MOST} stocks)."
    ),
)
def tiers_fit_their_quota(warehouse: dg.ResourceParam[Warehouse]) -> dg.AssetCheckResult:
    """The number of stocks in the upper tiers against what their budgets allow."""
    from azak_assets.ingest.stocks import count_tiers  # noqa: PLC0415 - pandas, which only a run needs

    counts = count_tiers(warehouse)
    return dg.AssetCheckResult(
        passed=counts.fit and counts.nameless == 0 and counts.active > 0,
        metadata={
            "active": counts.active,
            "tier 1": counts.tier_1,
            "tiers 1 and 2": counts.tiers_1_and_2,
            "without a name": counts.nameless,
        },
        description="" if counts.fit else "Lower tiers in azak_assets/universe.csv.",
    )


@dg.asset_check(
    asset=["raw", "broker_calendar"],
    description="The broker expects the market to open on exactly the days that the committed calendar calls sessions.",
)
def broker_agrees_with_calendar(warehouse: dg.ResourceParam[Warehouse]) -> dg.AssetCheckResult:
    """The broker's calendar against the committed one before the open; a person decides on a disagreement."""
    broker = broker_calendar(warehouse)
    return dg.AssetCheckResult(
        passed=broker.agrees,
        metadata={
            "days compared": len(broker.open) + len(broker.closed),
            "open for the broker, closed here": each_of(broker.surplus),
            "session here, closed for the broker": each_of(broker.missing),
        },
        description=""
        if broker.agrees
        else "Find the exchange's notice and correct azak_assets/krx/data with its source, before the open.",
    )
