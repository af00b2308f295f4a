"""What must hold of reference data.

Does not belong here: loading it (`assets`, `company`).
"""

import dagster as dg

from azak_assets import krx
from azak_assets.universe import TIER_1_MOST, TIERS_1_AND_2_MOST
from azak_assets.warehouse.warehouse import Warehouse


@dg.asset_check(
    asset=["raw", "stocks"],
    description=(
        f"Names are there, and tiers 1 and 2 fit their quota ({TIER_1_MOST} and {TIERS_1_AND_2_MOST} stocks)."
    ),
)
def tiers_fit_their_quota(warehouse: dg.ResourceParam[Warehouse]) -> dg.AssetCheckResult:
    """More stocks in the upper tiers would overdraw the search and minute-bar budgets."""
    active = warehouse.read("raw.stocks", columns=["tier", "name"], where={"is_active": True})
    first, second = int((active["tier"] == 1).sum()), int((active["tier"] <= 2).sum())
    nameless = int((active["name"].str.strip() == "").sum())
    fit = first <= TIER_1_MOST and second <= TIERS_1_AND_2_MOST
    return dg.AssetCheckResult(
        passed=fit and nameless == 0 and len(active) > 0,
        metadata={"active": len(active), "tier 1": first, "tiers 1 and 2": second, "without a name": nameless},
        description="" if fit else "Lower tiers in azak_assets/universe.csv.",
    )


@dg.asset_check(
    asset=["raw", "broker_calendar"],
    description="The broker expects the market to open on exactly the days that the committed calendar calls sessions.",
)
def broker_agrees_with_calendar(warehouse: dg.ResourceParam[Warehouse]) -> dg.AssetCheckResult:
    """Reconcile the broker's calendar with the committed one before the open; a person decides on a disagreement."""
    broker = warehouse.read("raw.broker_calendar", columns=["day", "is_open"])
    surplus = [day for day, is_open in broker.itertuples(index=False) if is_open and not krx.is_session(day)]
    missing = [day for day, is_open in broker.itertuples(index=False) if not is_open and krx.is_session(day)]
    agree = not surplus and not missing
    return dg.AssetCheckResult(
        passed=agree,
        metadata={
            "days compared": len(broker),
            "open for the broker, closed here": ", ".join(map(str, surplus)) or "none",
            "session here, closed for the broker": ", ".join(map(str, missing)) or "none",
        },
        description=""
        if agree
        else "Find the exchange's notice and correct azak_assets/krx/data with its source, before the open.",
    )
