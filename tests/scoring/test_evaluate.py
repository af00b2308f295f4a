"""Evaluations on a real database: maturing, censoring, versions, and nothing on a second run."""

import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from math import log
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from scoring_data import append_forecasts, bar, halted, prediction

from azak_assets import krx
from azak_assets.scoring.bars import BarHistory
from azak_assets.scoring.evaluate import evaluate
from azak_assets.warehouse.load import Scope
from azak_assets.warehouse.warehouse import Warehouse

STOCK, OTHER = "005930", "000660"
MONDAY = date(2025, 9, 29)  # the week before Chuseok
BEFORE_OPEN = datetime(2025, 9, 29, 8, 0, tzinfo=krx.KST)

Load = Callable[[list[dict[str, Any]]], None]
Add = Callable[..., str]


def days(count: int, start: date = MONDAY) -> list[date]:
    return [krx.shift(start, n).day for n in range(count)]


def rising(stock: str, count: int, start: date = MONDAY, first: int = 10_000) -> list[dict[str, Any]]:
    return [bar(stock, day, first + 100 * n) for n, day in enumerate(days(count, start))]


def rows(warehouse: Warehouse) -> pd.DataFrame:
    return warehouse.read("ml.model_evaluations").set_index(["horizon_sessions", "version"])


class TestMaturing:
    def test_a_forecast_matures_as_its_sessions_close(
        self, warehouse: Warehouse, load_bars: Load, add_forecast: Add
    ) -> None:
        add_forecast(STOCK, BEFORE_OPEN)
        load_bars(rising(STOCK, 1))
        first = evaluate(warehouse, (MONDAY, MONDAY))
        assert (first.inserted, first.changed) == (3, 0)
        assert rows(warehouse)["status"].to_dict() == {(1, 1): "matured", (5, 1): "pending", (20, 1): "pending"}

        load_bars(rising(STOCK, 5))
        later = days(5)[-1]
        second = evaluate(warehouse, (later, later))
        assert (second.inserted, second.changed, second.unchanged) == (0, 1, 2)
        five = rows(warehouse).loc[5, 1]
        assert five["status"] == "matured"
        assert five["exit_day"] == date(2025, 10, 10)  # five sessions across Chuseok
        assert five["log_return"] == pytest.approx(log(10_400 / 9_999))
        assert five["outcome"] == "up"
        assert five["brier"] == pytest.approx(0.25 + 0.09 + 0.04)
        assert five["log_score"] == pytest.approx(-log(0.5))
        assert five["is_direction_right"]

    def test_running_again_changes_nothing(self, warehouse: Warehouse, load_bars: Load, add_forecast: Add) -> None:
        add_forecast(STOCK, BEFORE_OPEN)
        load_bars(rising(STOCK, 5))
        evaluate(warehouse, (MONDAY, days(5)[-1]))
        before = warehouse.read("ml.model_evaluations")
        again = evaluate(warehouse, (MONDAY, days(5)[-1]))
        assert (again.inserted, again.changed, again.retired, again.unchanged) == (0, 0, 0, 3)
        pd.testing.assert_frame_equal(before, warehouse.read("ml.model_evaluations"))

    def test_a_pending_forecast_is_found_however_late_its_bars_come(
        self, warehouse: Warehouse, load_bars: Load, add_forecast: Add
    ) -> None:
        add_forecast(STOCK, BEFORE_OPEN)
        evaluate(warehouse, (MONDAY, MONDAY))
        load_bars(rising(STOCK, 1))
        much_later = krx.shift(MONDAY, 50).day
        evaluate(warehouse, (much_later, much_later))
        assert rows(warehouse).loc[(1, 1), "status"] == "matured"

    def test_no_forecast_no_row(self, warehouse: Warehouse) -> None:
        result = evaluate(warehouse, (MONDAY, MONDAY))
        assert (result.inserted, result.changed, result.unchanged) == (0, 0, 0)

    def test_forecasts_after_the_last_day_are_left_alone(
        self, warehouse: Warehouse, load_bars: Load, add_forecast: Add
    ) -> None:
        add_forecast(STOCK, BEFORE_OPEN)
        load_bars(rising(STOCK, 5))
        yesterday = krx.previous_session(MONDAY).day
        assert evaluate(warehouse, (yesterday, yesterday)).inserted == 0

    def test_after_close_news_enters_at_the_next_open(
        self, warehouse: Warehouse, load_bars: Load, add_forecast: Add
    ) -> None:
        """The close of the day the news came out was made without it: it must be neither entry nor exit."""
        add_forecast(STOCK, datetime(2025, 9, 29, 18, 0, tzinfo=krx.KST))
        load_bars(rising(STOCK, 2))
        evaluate(warehouse, (MONDAY, days(2)[-1]))
        one = rows(warehouse).loc[1, 1]
        assert (one["entry_day"], one["entry_price"], one["exit_day"], one["exit_price"]) == (
            date(2025, 9, 30), 10_099, date(2025, 9, 30), 10_100,
        )  # fmt: skip
        assert one["entry_at"] == pd.Timestamp("2025-09-30 09:00", tz=krx.KST)

    def test_known_at_is_the_exit_bars(self, warehouse: Warehouse, load_bars: Load, add_forecast: Add) -> None:
        add_forecast(STOCK, BEFORE_OPEN)
        load_bars(rising(STOCK, 5))
        evaluate(warehouse, (MONDAY, days(5)[-1]))
        exit_known = krx.session(days(5)[-1]).close_at + timedelta(minutes=10)
        found = rows(warehouse)["known_at"]
        assert found[5, 1] == pd.Timestamp(exit_known)
        assert found[20, 1] == pd.Timestamp(BEFORE_OPEN)


class TestCensoring:
    def test_halted_on_the_exit_session(self, warehouse: Warehouse, load_bars: Load, add_forecast: Add) -> None:
        add_forecast(STOCK, BEFORE_OPEN)
        load_bars([*rising(STOCK, 4), halted(STOCK, days(5)[-1], 10_300)])
        evaluate(warehouse, (MONDAY, days(5)[-1]))
        five = rows(warehouse).loc[5, 1]
        assert (five["status"], five["censor_reason"]) == ("censored", "halted_exit")
        assert five[["exit_price", "log_return", "outcome", "brier", "log_score", "sigma20"]].isna().all()

    def test_missing_while_others_traded_waits_and_matures_when_it_comes(
        self, warehouse: Warehouse, load_bars: Load, add_forecast: Add
    ) -> None:
        add_forecast(STOCK, BEFORE_OPEN)
        load_bars([*rising(STOCK, 4), *rising(OTHER, 5)])
        evaluate(warehouse, (MONDAY, days(5)[-1]))
        assert rows(warehouse).loc[(5, 1), "status"] == "pending"
        load_bars(rising(STOCK, 5))
        evaluate(warehouse, (MONDAY, days(5)[-1]))
        assert rows(warehouse)["status"].xs(5).to_dict() == {1: "matured"}

    def test_missing_between_two_bars_censors_and_matures_as_version_two_when_it_comes(
        self, warehouse: Warehouse, load_bars: Load, add_forecast: Add
    ) -> None:
        add_forecast(STOCK, BEFORE_OPEN)
        load_bars([*rising(STOCK, 4), *rising(STOCK, 6)[5:], *rising(OTHER, 6)])
        evaluate(warehouse, (MONDAY, days(6)[-1]))
        assert rows(warehouse).loc[(5, 1), "censor_reason"] == "no_exit_bar"
        load_bars(rising(STOCK, 6))
        evaluate(warehouse, (MONDAY, days(6)[-1]))
        assert rows(warehouse)["status"].xs(5).to_dict() == {1: "censored", 2: "matured"}

    def test_a_split_censors(self, warehouse: Warehouse, load_bars: Load, add_forecast: Add) -> None:
        add_forecast(STOCK, BEFORE_OPEN)
        load_bars([*rising(STOCK, 3), bar(STOCK, days(4)[-1], 2_000), bar(STOCK, days(5)[-1], 2_010)])
        evaluate(warehouse, (MONDAY, days(5)[-1]))
        assert rows(warehouse).loc[(5, 1), "censor_reason"] == "unexplained_jump"
        assert rows(warehouse).loc[(1, 1), "status"] == "matured"


class TestVersions:
    def test_a_corrected_exit_makes_version_two_and_keeps_version_one(
        self, warehouse: Warehouse, load_bars: Load, add_forecast: Add
    ) -> None:
        add_forecast(STOCK, BEFORE_OPEN)
        load_bars(rising(STOCK, 5))
        evaluate(warehouse, (MONDAY, days(5)[-1]))
        first = rows(warehouse).loc[5, 1]
        load_bars([bar(STOCK, days(5)[-1], 9_000)])
        result = evaluate(warehouse, (days(5)[-1], days(5)[-1]))
        assert (result.inserted, result.changed) == (1, 0)
        found = rows(warehouse)
        pd.testing.assert_series_equal(found.loc[5, 1], first)
        assert (found.loc[(5, 2), "exit_price"], found.loc[(5, 2), "outcome"]) == (9_000, "down")
        assert not found.loc[(5, 2), "is_direction_right"]
        assert evaluate(warehouse, (MONDAY, days(5)[-1])).inserted == 0

    def test_a_version_is_not_known_before_the_correction_behind_it(
        self, warehouse: Warehouse, load_bars: Load, add_forecast: Add
    ) -> None:
        """Session 3's high is behind the classic score of horizon 5, though neither its entry nor its exit."""
        add_forecast(STOCK, BEFORE_OPEN, direction="up", base_price=10_000, target_price=11_000, support_price=9_000)
        load_bars(rising(STOCK, 5))
        evaluate(warehouse, (MONDAY, days(5)[-1]))
        before = warehouse.cutoff()
        load_bars([bar(STOCK, days(3)[-1], 10_200, high=10_900)])
        evaluate(warehouse, (MONDAY, days(5)[-1]))
        found = rows(warehouse).loc[5]
        assert found["known_at"][1] == pd.Timestamp(krx.session(days(5)[-1]).close_at + timedelta(minutes=10))
        assert found["known_at"][2] > before
        known_then = warehouse.as_of("ml.model_evaluations", before, "known", where={"horizon_sessions": 5})
        assert known_then["version"].tolist() == [1]

    def test_a_correction_elsewhere_makes_no_version(
        self, warehouse: Warehouse, load_bars: Load, add_forecast: Add
    ) -> None:
        add_forecast(STOCK, BEFORE_OPEN)
        load_bars([*rising(STOCK, 5), *rising(OTHER, 5)])
        evaluate(warehouse, (MONDAY, days(5)[-1]))
        load_bars([bar(OTHER, days(5)[-1], 10_900), bar(STOCK, days(3)[-1], 10_201, turnover_krw=5)])
        result = evaluate(warehouse, (MONDAY, days(5)[-1]))
        # Session 3 lies inside the window of horizon 5, so its high and low are behind the classic score.
        assert (result.inserted, result.changed) == (1, 0)
        load_bars([bar(OTHER, days(5)[-1], 10_950)])
        assert evaluate(warehouse, (MONDAY, days(5)[-1])).inserted == 0


class TestClassic:
    def scored(self, warehouse: Warehouse, load_bars: Load, add_forecast: Add, **levels: int | None) -> pd.Series:
        add_forecast(STOCK, BEFORE_OPEN, base_price=10_000, **levels)
        load_bars(rising(STOCK, 5))
        evaluate(warehouse, (MONDAY, days(5)[-1]))
        return rows(warehouse).loc[5, 1]

    def test_a_bearish_target_is_not_achieved_by_a_rise(
        self, warehouse: Warehouse, load_bars: Load, add_forecast: Add
    ) -> None:
        one = self.scored(warehouse, load_bars, add_forecast, target_price=9_500, support_price=10_250)
        assert (one["target_achieved"], one["support_breached"]) == (False, True)

    def test_a_bullish_target_on_the_third_day(self, warehouse: Warehouse, load_bars: Load, add_forecast: Add) -> None:
        one = self.scored(warehouse, load_bars, add_forecast, target_price=10_205, support_price=9_900)
        assert one["target_achieved"]
        assert one["classic_score"] == pytest.approx(40 + 24 + 30)
        assert rows(warehouse).loc[(1, 1), "classic_score"] is pd.NA or np.isnan(
            rows(warehouse).loc[(1, 1), "classic_score"]
        )

    @pytest.mark.parametrize("levels", [{}, {"target_price": 10_500}, {"support_price": 9_000}])
    def test_without_target_or_support_it_is_null(
        self, warehouse: Warehouse, load_bars: Load, add_forecast: Add, levels: dict[str, int]
    ) -> None:
        one = self.scored(warehouse, load_bars, add_forecast, **levels)
        assert one["status"] == "matured"
        assert pd.isna(one["classic_score"])


class TestMinutes:
    def load(self, warehouse: Warehouse) -> None:
        start = pd.Timestamp("2025-09-29 10:00", tz=krx.KST)
        bars = [
            {
                "ts": start + pd.Timedelta(minutes=n),
                "open": p,
                "high": p + 2,
                "low": p - 2,
                "close": p,
                "volume": volume,
            }
            for n, (p, volume) in enumerate([(10_010, 0), (10_020, 5), (10_030, 5), (9_800, 5)])
        ]
        frame = pd.DataFrame(bars).assign(stock_code=STOCK, trade_date=MONDAY, turnover_krw=None)
        frame["known_at"] = frame["ts"] + pd.Timedelta(minutes=1)
        for column in ("ts", "known_at"):
            frame[column] = frame[column].dt.tz_convert("UTC")
        warehouse.load("raw.minute_bars", frame, Scope(days=(MONDAY,)), complete=False, source="test")

    def test_in_session_the_first_traded_minute_after_the_cutoff(
        self, warehouse: Warehouse, load_bars: Load, add_forecast: Add
    ) -> None:
        add_forecast(
            STOCK,
            datetime(2025, 9, 29, 9, 59, 30, tzinfo=krx.KST),
            base_price=10_000,
            target_price=9_700,
            support_price=10_600,
        )
        load_bars(rising(STOCK, 5))
        self.load(warehouse)
        evaluate(warehouse, (MONDAY, days(5)[-1]))
        one = rows(warehouse).loc[1, 1]
        assert (one["entry_price"], one["entry_at"]) == (10_020, pd.Timestamp("2025-09-29 10:01", tz=krx.KST))
        assert (one["exit_day"], one["exit_price"]) == (MONDAY, 10_000)
        # the low of the rest of that session (9,798), not of the whole day: 202 of 300 won
        assert rows(warehouse).loc[(5, 1), "target_score"] == pytest.approx(40 * 202 / 300)

    def test_without_minutes_the_close_and_then_the_next_session(
        self, warehouse: Warehouse, load_bars: Load, add_forecast: Add
    ) -> None:
        add_forecast(STOCK, datetime(2025, 9, 29, 10, 0, tzinfo=krx.KST))
        load_bars(rising(STOCK, 2))
        evaluate(warehouse, (MONDAY, days(2)[-1]))
        one = rows(warehouse).loc[1, 1]
        assert (one["entry_price"], one["exit_day"], one["exit_price"]) == (10_000, date(2025, 9, 30), 10_100)


def test_sigma_is_what_was_known_at_the_cutoff(warehouse: Warehouse, load_bars: Load, add_forecast: Add) -> None:
    """A bar of an earlier session that is corrected after the cut-off does not reach back into σ20."""
    start = krx.shift(MONDAY, -25).day
    history = rising(STOCK, 25, start)
    add_forecast(STOCK, BEFORE_OPEN)
    load_bars([*history, bar(STOCK, MONDAY, 12_500)])
    evaluate(warehouse, (MONDAY, MONDAY))
    expected = np.diff(np.log([row["close"] for row in history[-21:]])).std(ddof=1)
    assert rows(warehouse).loc[(1, 1), "sigma20"] == pytest.approx(expected)
    load_bars([bar(STOCK, krx.shift(MONDAY, -3).day, 11_000)])
    assert evaluate(warehouse, (MONDAY, MONDAY)).inserted == 0


def test_the_bars_in_memory_equal_the_as_of_function(warehouse: Warehouse, load_bars: Load, engine: sa.Engine) -> None:
    """Both clocks, before and after corrections and retirements, and on the very instants."""
    load_bars([*rising(STOCK, 5), *rising(OTHER, 4), halted(OTHER, days(5)[-1], 10_300)])
    load_bars([bar(STOCK, days(3)[-1], 10_777), bar(OTHER, days(1)[-1], 9_111)])
    load_bars([bar(STOCK, days(3)[-1], 10_778)])
    frame = pd.DataFrame([bar(STOCK, days(2)[-1], 10_150)])
    frame["known_at"] = pd.to_datetime(frame["known_at"], utc=True)
    warehouse.load("raw.daily_bars", frame, Scope(days=(days(2)[-1],)), complete=True, source="test")  # retires OTHER
    history = BarHistory.read(warehouse, MONDAY, days(5)[-1])
    with engine.connect() as connection:
        query = "select known_at from raw.{0} union select observed_at from raw.{0}"
        instants = {
            *connection.execute(sa.text(query.format("daily_bars"))).scalars(),
            *connection.execute(sa.text(query.format("daily_bars_history"))).scalars(),
        }
    assert len(instants) >= 8
    tick = timedelta(microseconds=1)
    compared = 0
    for at in [moment for instant in instants for moment in (instant - tick, instant, instant + tick)]:
        for clock in ("known", "observed"):
            for stock in (STOCK, OTHER):
                mine = history.as_of(stock, at, clock)
                theirs = warehouse.as_of(
                    "raw.daily_bars", at, clock, where={"stock_code": stock}, order_by=["trade_date"]
                )
                assert mine.days.astype(object).tolist() == theirs["trade_date"].tolist()
                assert mine.close.tolist() == theirs["close"].tolist()
                np.testing.assert_array_equal(
                    mine.open, theirs["open"].astype("Float64").to_numpy(float, na_value=np.nan)
                )
                assert mine.is_halted.tolist() == theirs["is_halted"].tolist()
                compared += len(theirs)
    assert compared > 100


@pytest.mark.soak
def test_thousands_of_forecasts_take_seconds(warehouse: Warehouse, load_bars: Load) -> None:
    """4,000 forecasts × 3 horizons over 100 stocks and 60 sessions; the bound is loose for a busy machine."""
    stocks = [f"{n:06d}" for n in range(100)]
    start = krx.shift(MONDAY, -40).day
    load_bars([row for n, stock in enumerate(stocks) for row in rising(stock, 60, start, 10_000 + n)])
    heads = []
    for n in range(4000):
        cutoff = krx.shift(start, n % 45).open_at - timedelta(seconds=60 + n // 45)
        heads.append(prediction(stocks[n % 100], cutoff, prediction_id=f"{n:05d}"))
    append_forecasts(warehouse, heads, (0.5, 0.3, 0.2))
    started = time.monotonic()
    result = evaluate(warehouse, (start, krx.shift(start, 59).day))
    assert result.inserted == 12_000
    assert time.monotonic() - started < 20
