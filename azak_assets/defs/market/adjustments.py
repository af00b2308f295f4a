"""Adjustment factors: which sessions begin at another price than the last close, and by how much.

Belongs here: declaring the asset and its check. The rule lives in `scoring.adjustments`.
"""

from datetime import datetime

import dagster as dg

from azak_assets import krx
from azak_assets.defs.availability import available
from azak_assets.defs.markdown import table
from azak_assets.defs.reporting import metadata_of
from azak_assets.defs.tables import table_asset
from azak_assets.defs.windows import require_final_bars, window_of
from azak_assets.ingest.report import StepReport
from azak_assets.warehouse.warehouse import Warehouse

ASSET = ["raw", "adjustment_factors"]
BASE_PRICES_ARE_CONFIRMED = "base_prices_are_confirmed"
UNCONFIRMED = (
    "These base prices do not agree with the ratio named beside them, or have no close before them. They give no "
    "factor: a jump of the price is censored. Load the session before (raw/daily_bars) and materialize again; if that "
    "does not help, compare them with the exchange's notice."
)


@table_asset(
    "raw.adjustment_factors",
    tags=available("close"),
    owner="market-data",
    deps=["raw.daily_bars"],
    check_specs=[
        dg.AssetCheckSpec(
            BASE_PRICES_ARE_CONFIRMED,
            asset=ASSET,
            description="Base price and last close give the ratio that the source names, wherever it names one.",
        )
    ],
)
def adjustment_factors(
    context: dg.AssetExecutionContext, warehouse: dg.ResourceParam[Warehouse]
) -> dg.MaterializeResult[None]:
    """Splits, mergers of shares and rights issues: what the prices before them are to be multiplied by.

    Grain: one row a stock and first session at the new price. Source: the base prices of `raw.daily_bars` (KIS
    FHKST03010100), believed only where they agree with the ratio that KIS names. An adjustment is visible from the
    close of its session on, never before. Cash dividends change no base price and have no row.
    """
    from azak_assets.scoring.adjustments import adjust  # noqa: PLC0415 - pandas-heavy, and only a run needs it

    window = require_final_bars(window_of(context), datetime.now(krx.KST))
    made = adjust(warehouse, window.days)
    report = StepReport()
    report.add_load(made.result, made.factors, instant="ex_date")
    return dg.MaterializeResult(
        metadata=metadata_of(report),
        check_results=[
            dg.AssetCheckResult(
                asset_key=ASSET,
                check_name=BASE_PRICES_ARE_CONFIRMED,
                passed=made.unconfirmed.empty,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"unconfirmed": len(made.unconfirmed), "rows": table(made.unconfirmed)},
                description=UNCONFIRMED if len(made.unconfirmed) else "",
            )
        ],
    )
