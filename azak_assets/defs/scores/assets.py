"""Scores: what each forecast was worth, per horizon, once the market has answered.

Belongs here: declaring evaluations as an asset. The rules live in `scoring`; the KPIs are marts.
"""

import dagster as dg

from azak_assets.defs.reporting import metadata_of
from azak_assets.defs.tables import table_asset
from azak_assets.defs.windows import window_of
from azak_assets.ingest.report import StepReport
from azak_assets.warehouse.warehouse import Warehouse


@table_asset(
    "ml.model_evaluations",
    owner="forecasts",
    deps=[
        "ml.predictions",
        "ml.prediction_horizons",
        "raw.daily_bars",
        "raw.adjustment_factors",
        "raw.minute_bars",
    ],
)
def model_evaluations(
    context: dg.AssetExecutionContext, warehouse: dg.ResourceParam[Warehouse]
) -> dg.MaterializeResult[None]:
    """Every forecast and horizon: pending until its session's bar exists, then matured, or censored when it never will.

    Grain: one row a forecast, horizon and version. A corrected price adds a version, it never replaces one.
    Materializing a session also scores the earlier forecasts that end in it.
    """
    from azak_assets.scoring.evaluate import evaluate  # noqa: PLC0415 - numpy-heavy, and only a run needs it
    from azak_assets.scoring.summary import by_model, scores_of  # noqa: PLC0415 - as above

    window = window_of(context)
    days = (window.first.day, window.last.day)
    # It reads, computes and writes: of two at once the staler would turn matured scores back into pending ones.
    with warehouse.exclusive("evaluations"):
        result = evaluate(warehouse, days)
    scores = scores_of(warehouse, days)
    report = StepReport()
    report.add_load(result, scores, instant="exit_day")
    report.tables["by model"] = by_model(scores)
    return dg.MaterializeResult(metadata=metadata_of(report))
