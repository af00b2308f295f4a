"""Scores: what each forecast was worth, per horizon, once the market has answered.

Belongs here: declaring evaluations as an asset. The rules live in `scoring`; the KPIs are marts.
"""

import dagster as dg

from azak_assets.defs.markdown import table
from azak_assets.defs.reporting import counts, span
from azak_assets.defs.tables import table_asset
from azak_assets.defs.windows import window_of
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

    window = window_of(context)
    # It reads, computes and writes: of two at once the staler would turn matured scores back into pending ones.
    with warehouse.exclusive("evaluations"):
        result = evaluate(warehouse, (window.first.day, window.last.day))
    rows = warehouse.read(
        "ml.model_evaluations",
        columns=["model_id", "horizon_sessions", "status", "exit_day", "brier", "is_direction_right", "censor_reason"],
        days=(window.first.day, window.last.day),
    )
    summary = (
        rows.groupby(["model_id", "horizon_sessions", "status"])
        .agg(rows=("status", "size"), brier=("brier", "mean"))
        .round(4)
        .reset_index()
    )
    return dg.MaterializeResult(
        metadata={
            "rows": len(rows),
            **counts(result),
            **span(rows["exit_day"]),
            "sample": table(rows),
            "by model": table(summary, rows=60),
        }
    )
