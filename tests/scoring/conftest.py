"""A warehouse with bars and forecasts, written through the one writer."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from scoring_data import append_forecasts, prediction

from azak_assets.warehouse.load import Scope
from azak_assets.warehouse.warehouse import Warehouse


@pytest.fixture
def warehouse(engine: sa.Engine) -> Warehouse:
    return Warehouse(engine, "test")


@pytest.fixture
def load_bars(warehouse: Warehouse) -> Callable[[Iterable[dict[str, Any]]], None]:
    def load(rows: Iterable[dict[str, Any]]) -> None:
        frame = pd.DataFrame(list(rows))
        frame["known_at"] = pd.to_datetime(frame["known_at"], utc=True)
        for column in ("open", "high", "low", "base_price"):
            frame[column] = frame[column].astype("Int64")
        frame["base_ratio"] = frame["base_ratio"].astype("Float64")
        days = tuple(sorted(set(frame["trade_date"])))
        warehouse.load("raw.daily_bars", frame, Scope(days=days), complete=False, source="test")

    return load


@pytest.fixture
def add_forecast(warehouse: Warehouse) -> Callable[..., str]:
    """Append one forecast with the same probabilities at every horizon; returns its id."""

    def add(stock: str, cutoff: datetime, p: tuple[float, float, float] = (0.5, 0.3, 0.2), **changes: Any) -> str:
        head = prediction(stock, cutoff, **changes)
        append_forecasts(warehouse, [head], p)
        return str(head["prediction_id"])

    return add
