"""A warehouse on a fresh database and the upstreams of text, for collecting without Dagster."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date

import pandas as pd
import pytest
import sqlalchemy as sa

from azak_assets.warehouse.load import Scope
from azak_assets.warehouse.warehouse import Warehouse
from tests.harness import at
from tests.ingest.text_sources import Upstream


@pytest.fixture
def warehouse(engine: sa.Engine) -> Warehouse:
    return Warehouse(engine, run_id="a-run")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    yield made
    made.close()


@pytest.fixture
def load_bars(warehouse: Warehouse) -> Callable[[Mapping[date, int]], None]:
    """`load_bars({day: 2, …})`: daily bars of so many stocks on each of these days, closed or not."""

    def load(stocks: Mapping[date, int]) -> None:
        frame = pd.DataFrame(
            {
                "stock_code": f"A{number:05d}", "trade_date": day, "open": 100, "high": 110, "low": 90, "close": 105,
                "volume": 10, "turnover_krw": 1050, "is_halted": False, "base_price": None, "base_ratio": None,
                "base_reason": None, "known_at": at(f"{day} 15:40"),
            }
            for day, count in stocks.items()
            for number in range(count)
        )  # fmt: skip
        warehouse.load("raw.daily_bars", frame, Scope(tuple(stocks)), complete=True, source="a test")

    return load
