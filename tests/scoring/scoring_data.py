"""Bars and forecasts as the scoring tests make them."""

from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from azak_assets import krx
from azak_assets.warehouse.tables import spec
from azak_assets.warehouse.warehouse import Warehouse


def bar(stock: str, day: date, close: int, **changes: Any) -> dict[str, Any]:
    """A traded bar: opens one won below its close, ranges from five below to five above it."""
    return {
        "stock_code": stock,
        "trade_date": day,
        "open": close - 1,
        "high": close + 5,
        "low": close - 5,
        "close": close,
        "volume": 1000,
        "turnover_krw": 1000 * close,
        "is_halted": False,
        "base_price": None,
        "base_ratio": None,
        "base_reason": None,
        "known_at": krx.session(day).close_at + timedelta(minutes=10),
    } | changes


def halted(stock: str, day: date, close: int) -> dict[str, Any]:
    return bar(stock, day, close, open=None, high=None, low=None, volume=0, turnover_krw=0, is_halted=True)


def prediction(stock: str, cutoff: datetime, **changes: Any) -> dict[str, Any]:
    """A row of ml.predictions that says nothing but what it must."""
    own = spec("ml.predictions")
    every = dict.fromkeys(name for name in own.table.columns.keys() if name not in own.set_by_writer)  # noqa: SIM118
    said = {
        "prediction_id": f"{stock} {cutoff.isoformat()}",
        "kind": "article",
        "article_id": "a",
        "stock_code": stock,
        "model_id": "one",
        "model_version": "1",
        "prompt_version": "v1",
        "origin": "replayed",
        "cutoff_at": cutoff,
        "trading_day": krx.trading_day_of(cutoff),
        "tradable_session": krx.tradable_session(cutoff).day,
        "direction": "up",
        "context_hash": "c",
        "articles_seen": [],
    }
    return every | said | changes


def append_forecasts(warehouse: Warehouse, heads: list[dict[str, Any]], p: tuple[float, float, float]) -> None:
    """Append forecasts with the same probabilities at every horizon."""
    frame = pd.DataFrame(heads, dtype=object)
    frame["cutoff_at"] = pd.to_datetime(frame["cutoff_at"], utc=True)
    warehouse.append("ml.predictions", frame, source="test")
    shares = dict(zip(("p_up", "p_flat", "p_down", "band_low", "band_high"), (*p, None, None), strict=True))
    horizons = [
        {
            "prediction_id": head["prediction_id"],
            "trading_day": head["trading_day"],
            "horizon_sessions": horizon,
            **shares,
        }
        for head in heads
        for horizon in (1, 5, 20)
    ]
    warehouse.append("ml.prediction_horizons", pd.DataFrame(horizons), source="test")
