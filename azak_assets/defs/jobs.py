"""What runs together: the jobs of a trading day and of a week, selected by group and by availability.

Belongs here: selections and jobs. Does not belong here: when a job runs (`schedules`); the jobs of the collectors stand
beside their sensors.
"""

import dagster as dg

from azak_assets.defs.availability import assets_available
from azak_assets.defs.disclosures.sensors import disclosures_job
from azak_assets.defs.market.sensors import intraday_job

PRODUCTS, RATIOS = (dg.AssetKey(["raw", name]) for name in ("product_info", "financial_ratios"))
REFERENCE = (
    dg.AssetSelection.groups("reference", "health")
    | dg.AssetSelection.assets(["ml", "models"], ["ml", "prompt_versions"])
) - assets_available("weekly")
NEWS = dg.AssetSelection.groups("news")
FLOWS = assets_available("half_hour_after_close")
INDICES = dg.AssetSelection.assets(["raw", "index_bars"], ["raw", "index_breadth"])
AFTER_HOURS = assets_available("after_hours") | INDICES
"""What is asked for at 18:00: indices for the second time, since breadth is given for the newest session only."""
NEXT_DAY = assets_available("next_day")
AFTER_CLOSE = assets_available("close") | (
    dg.AssetSelection.groups("retrieval", "forecasts", "scores", "marts") - REFERENCE
)
CORRECTED = (assets_available("close") | dg.AssetSelection.groups("scores", "marts")) - dg.AssetSelection.assets(
    ["raw", "index_breadth"]
)
"""What follows from final prices alone; its materializations show whether a session is complete. A later look cannot
correct breadth."""

reference_job = dg.define_asset_job(
    "reference", REFERENCE, description="Sessions, listed stocks, company codes, models, and how the upstreams answer."
)
news_job = dg.define_asset_job(
    "news",
    NEWS | dg.AssetSelection.groups("retrieval", "forecasts") - REFERENCE,
    description="News of a session, what it is about, its vectors, and a forecast of every new match.",
)
close_job = dg.define_asset_job(
    "after_close",
    AFTER_CLOSE | NEWS | dg.AssetSelection.groups("disclosures"),
    description=(
        "Everything that needs the session's final prices: bars, marts, vectors, forecasts, scores; of a session that "
        "was missed also its news and filings."
    ),
)
corrections_job = dg.define_asset_job(
    "corrections",
    CORRECTED,
    description="A session's prices once more, and the marts and scores that follow from them; no model is asked.",
)
flows_job = dg.define_asset_job("flows", FLOWS, description="Who bought and sold in a session.")
after_hours_job = dg.define_asset_job(
    "after_hours", AFTER_HOURS, description="A session's indices once more, their breadth, and prices after hours."
)
reconciliation_job = dg.define_asset_job(
    "reconciliation",
    NEXT_DAY,
    description="Cross-check of the broker's daily bars of a session against KRX Open API.",
)
products_job = dg.define_asset_job(
    "products", dg.AssetSelection.assets(PRODUCTS), description="Product information of every listed issue."
)
ratios_job = dg.define_asset_job(
    "ratios", dg.AssetSelection.assets(RATIOS), description="Financial ratios of every listed company."
)

JOBS = [
    reference_job,
    news_job,
    disclosures_job,
    close_job,
    corrections_job,
    intraday_job,
    flows_job,
    after_hours_job,
    reconciliation_job,
    products_job,
    ratios_job,
]
