"""Reads of the past on both clocks, and that they use the indexes; types and conditions of reads."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from azak_assets import krx
from azak_assets.warehouse.load import Scope
from azak_assets.warehouse.warehouse import Warehouse

FRIDAY, MONDAY = date(2026, 11, 13), date(2026, 11, 16)
BARS = "raw.daily_bars"


@pytest.fixture
def warehouse(engine: sa.Engine) -> Warehouse:
    return Warehouse(engine, "run-1")


def bars(closes: dict[str, int], day: date = FRIDAY) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "stock_code": list(closes),
            "trade_date": day,
            "open": None,
            "high": None,
            "low": None,
            "close": list(closes.values()),
            "volume": 0,
            "turnover_krw": 0,
            "is_halted": True,
            "base_price": None,
            "base_ratio": None,
            "base_reason": None,
            "known_at": krx.session(day).close_at + timedelta(minutes=10),
        }
    )


def load(warehouse: Warehouse, frame: pd.DataFrame, *days: date) -> datetime:
    return warehouse.load(BARS, frame, Scope(days or (FRIDAY,)), complete=True, source="test").observed_at


def closes(frame: pd.DataFrame) -> dict[str, int]:
    return dict(zip(frame["stock_code"], frame["close"].tolist(), strict=True))


def test_the_observed_clock_shows_what_the_database_held(warehouse: Warehouse) -> None:
    first = load(warehouse, bars({"005930": 100, "000660": 200}))
    corrected = load(warehouse, bars({"005930": 101, "000660": 200}))
    retired = load(warehouse, bars({"005930": 101}))
    tick = timedelta(microseconds=1)

    def at(instant: datetime) -> dict[str, int]:
        return closes(warehouse.as_of(BARS, instant, "observed"))

    assert at(first - tick) == {}
    assert at(first) == at(corrected - tick) == {"005930": 100, "000660": 200}
    assert at(corrected) == at(retired - tick) == {"005930": 101, "000660": 200}
    assert at(retired) == at(datetime.now(UTC)) == {"005930": 101}


def test_the_known_clock_shows_what_could_be_known_when_everything_was_observed_today(warehouse: Warehouse) -> None:
    old = date(2022, 1, 3)
    load(warehouse, bars({"005930": 100, "000660": 200}, old), old)
    corrected = load(warehouse, bars({"005930": 101, "000660": 200}, old), old)
    retired = load(warehouse, bars({"005930": 101}, old), old)
    known = krx.session(old).close_at + timedelta(minutes=10)

    def at(instant: datetime) -> dict[str, int]:
        return closes(warehouse.as_of(BARS, instant, "known"))

    assert at(known - timedelta(seconds=1)) == {}
    # The correction came years later: a replay of 2022 sees what 2022 saw, the retired row too.
    assert at(known) == at(corrected - timedelta(seconds=1)) == {"005930": 100, "000660": 200}
    assert at(corrected) == {"005930": 101, "000660": 200}
    assert at(retired) == {"005930": 101}
    assert closes(warehouse.as_of(BARS, known, "observed")) == {}


def test_a_bar_loaded_before_its_close_is_known_at_the_close_unless_corrected_sooner(warehouse: Warehouse) -> None:
    future = krx.next_session(datetime.now(krx.KST).date() + timedelta(days=7)).day
    observed = load(warehouse, bars({"005930": 100}, future), future)
    known = krx.session(future).close_at + timedelta(minutes=10)
    assert closes(warehouse.as_of(BARS, observed, "known")) == {}
    assert closes(warehouse.as_of(BARS, known, "known")) == {"005930": 100}
    corrected = load(warehouse, bars({"005930": 101}, future), future)
    assert closes(warehouse.as_of(BARS, corrected, "known")) == {"005930": 101}
    assert closes(warehouse.as_of(BARS, known, "known")) == {"005930": 101}


def plan(engine: sa.Engine, query: str) -> str:
    with engine.connect() as connection:
        return "\n".join(connection.execute(sa.text(f"explain {query}")).scalars())


@pytest.mark.parametrize("clock", ["observed", "known"])
def test_an_as_of_read_of_one_stock_uses_the_indexes_of_table_and_history(
    engine: sa.Engine, warehouse: Warehouse, clock: str
) -> None:
    days = [session.day for session in krx.sessions(date(2026, 8, 3), date(2026, 8, 31))]
    codes = [f"{number:06d}" for number in range(500)]
    for price in (1, 2):
        load(warehouse, pd.concat([bars(dict.fromkeys(codes, price), day) for day in days]), *days)
    with engine.begin() as connection:
        connection.execute(sa.text("analyze raw.daily_bars, raw.daily_bars_history"))
    one_stock = plan(engine, f"select * from raw.daily_bars_as_of(now(), '{clock}') where stock_code = '000123'")
    assert "daily_bars_pkey" in one_stock
    assert "daily_bars_history_pkey" in one_stock
    assert "Seq Scan" not in one_stock
    assert "Function Scan" not in one_stock
    # The other clock is gone from the plan, so each branch tests one column.
    assert ("known_at" in one_stock) == (clock == "known")
    one_day = plan(engine, f"select * from raw.daily_bars_as_of(now(), '{clock}') where trade_date = '2026-08-05'")
    assert "daily_bars_trade_date_idx" in one_day
    assert "Seq Scan" not in one_day


def test_a_clock_that_does_not_exist_is_an_error_in_sql_too(engine: sa.Engine, warehouse: Warehouse) -> None:
    with pytest.raises(sa.exc.DBAPIError, match=r"ops\.clock"):
        plan(engine, "select * from raw.daily_bars_as_of(now(), 'konwn')")
    with pytest.raises(ValueError, match="observed and known"):
        warehouse.as_of(BARS, datetime.now(UTC), "konwn")  # type: ignore[arg-type]


def test_an_as_of_read_needs_an_instant_and_a_table_with_known_at(warehouse: Warehouse) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        warehouse.as_of(BARS, datetime(2026, 11, 13), "known")  # noqa: DTZ001
    with pytest.raises(ValueError, match="no known_at"):
        warehouse.as_of("ml.models", datetime.now(UTC), "known")


def test_reads_filter_order_and_keep_their_types_without_rows(warehouse: Warehouse) -> None:
    load(warehouse, bars({"005930": 3, "000660": 2, "0126Z0": 1}))
    load(warehouse, bars({"005930": 4}, MONDAY), MONDAY)

    def read(**conditions: Any) -> list[tuple[str, int]]:
        frame = warehouse.read(BARS, columns=["stock_code", "close"], **conditions)
        return list(frame.itertuples(index=False, name=None))

    assert read() == [("000660", 2), ("005930", 3), ("005930", 4), ("0126Z0", 1)]
    assert read(days=(MONDAY, MONDAY)) == [("005930", 4)]
    assert read(where={"stock_code": ["000660", "0126Z0"]}, order_by=["close"]) == [("0126Z0", 1), ("000660", 2)]
    assert read(where={"stock_code": "005930", "trade_date": FRIDAY}) == [("005930", 3)]
    assert len(read(where={"open": None})) == 4
    assert read(where={"stock_code": []}) == []
    full, empty = warehouse.read(BARS), warehouse.read(BARS, where={"stock_code": "none"})
    assert full.dtypes.to_dict() == empty.dtypes.to_dict()
    assert {"open": "Int64", "close": "int64", "is_halted": "bool", "known_at": "datetime64[us, UTC]"}.items() <= {
        name: str(kind) for name, kind in full.dtypes.items()
    }.items()
    assert isinstance(full["trade_date"].iloc[0], date)
    with pytest.raises(ValueError, match=r"raw\.daily_bars has no column closes"):
        warehouse.read(BARS, columns=["closes"])


def test_what_is_read_can_be_loaded_again_unchanged(warehouse: Warehouse) -> None:
    load(warehouse, bars({"005930": 3, "000660": 2}))
    own = warehouse.read(BARS).drop(columns=["source", "observed_at", "run_id"])
    result = warehouse.load(BARS, own, Scope((FRIDAY,)), complete=False, source="test")
    assert (result.inserted, result.changed, result.unchanged) == (0, 0, 2)
