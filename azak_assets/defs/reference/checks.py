"""What must hold of reference data."""

import dagster as dg

from azak_assets.warehouse.warehouse import Warehouse


@dg.asset_check(
    asset=["raw", "stocks"], description="Names are there, and tiers 1 and 2 fit their quota (30 and 200 stocks)."
)
def tiers_fit_their_quota(warehouse: dg.ResourceParam[Warehouse]) -> dg.AssetCheckResult:
    """More stocks in the upper tiers would overdraw the search and minute-bar budgets."""
    active = warehouse.read("raw.stocks", columns=["tier", "name"], where={"is_active": True})
    first, second = int((active["tier"] == 1).sum()), int((active["tier"] <= 2).sum())
    nameless = int((active["name"].str.strip() == "").sum())
    return dg.AssetCheckResult(
        passed=first <= 30 and second <= 200 and nameless == 0 and len(active) > 0,
        metadata={"active": len(active), "tier 1": first, "tiers 1 and 2": second, "without a name": nameless},
        description="Lower tiers in azak_assets/krx/data/universe.csv." if second > 200 or first > 30 else "",
    )
