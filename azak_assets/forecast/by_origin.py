"""Forecasts of some trading days, each live or replayed by whether its news time is over; one process at a time.

Belongs here: that split, the lock and the sum. Does not belong here: how one part is forecast (`predict`), which days
(`defs`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from azak_assets import krx
from azak_assets.forecast.predict import ForecastReport, Origin, forecast_articles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date, datetime

    import openai

    from azak_assets.forecast.models import Model
    from azak_assets.text.embedders import Embedder
    from azak_assets.text.vector_index import VectorIndex
    from azak_assets.warehouse.warehouse import Warehouse


def forecast_by_origin(
    warehouse: Warehouse,
    *,
    days: Sequence[date],
    now: datetime,
    models: Sequence[Model],
    index: VectorIndex,
    embedder: Embedder,
    clients: Mapping[str, openai.OpenAI],
    budget_usd: float | None,
    on_progress: Callable[[int, int], None],
) -> tuple[ForecastReport, dict[Origin, ForecastReport]]:
    """Forecast the trading days whose news time is over at ``now`` as replayed, the others live; see
    `predict.forecast_articles`.

    Returns the report of the whole, and those of each origin that had days.
    """
    by_origin: dict[Origin, list[date]] = {"replayed": [], "live": []}
    for day in days:
        by_origin["replayed" if krx.news_window(day)[1] <= now else "live"].append(day)
    whole = ForecastReport()
    reports: dict[Origin, ForecastReport] = {}
    # Two runs at once would ask, and pay for, the same questions, and each would see only its own spending.
    with warehouse.exclusive("forecasts"):
        for origin, of_origin in by_origin.items():
            if not of_origin:
                continue
            reports[origin] = forecast_articles(
                warehouse,
                days=of_origin,
                models=models,
                index=index,
                embedder=embedder,
                origin=origin,
                clients=clients,
                budget_usd=budget_usd,
                on_progress=on_progress,
            )
            whole.add(reports[origin])
    return whole, reports
