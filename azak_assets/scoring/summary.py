"""What the scores of some sessions look like at a glance, for the operator.

Belongs here: one small aggregate beside the rows. Does not belong here: a KPI that analysts read (`azak_dbt`), scoring
itself (`evaluate`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date

    import pandas as pd

    from azak_assets.warehouse.warehouse import Warehouse


def scores_of(warehouse: Warehouse, days: tuple[date, date]) -> pd.DataFrame:
    """The current scores of the forecasts of the sessions from `days[0]` to `days[1]`, inclusive, in a few columns."""
    return warehouse.read(
        "ml.model_evaluations",
        columns=["model_id", "horizon_sessions", "status", "exit_day", "brier", "is_direction_right", "censor_reason"],
        days=days,
    )


def by_model(scores: pd.DataFrame) -> pd.DataFrame:
    """How many rows each model, horizon and status has, and their mean Brier score (empty while none has matured)."""
    return (
        scores.groupby(["model_id", "horizon_sessions", "status"])
        .agg(rows=("status", "size"), brier=("brier", "mean"))
        .round(4)
        .reset_index()
    )
