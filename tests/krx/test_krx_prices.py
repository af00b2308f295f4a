"""Ticks, rounding and daily limits, by the published tables and by what was traded."""

from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azak_assets import krx

TODAY = date(2026, 11, 20)
BEFORE_2023 = date(2023, 1, 20)
MARKETS = ["KOSPI", "KOSDAQ", "KONEX"]

any_day = st.dates(krx.FIRST_DAY, krx.LAST_DAY)
any_market = st.sampled_from(MARKETS)


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize(
    ("below", "at", "tick_below", "tick_at"),
    [
        (1_999, 2_000, 1, 5),
        (4_995, 5_000, 5, 10),
        (19_990, 20_000, 10, 50),
        (49_950, 50_000, 50, 100),
        (199_900, 200_000, 100, 500),
        (499_500, 500_000, 500, 1_000),
    ],
)
def test_ticks_since_2023_are_the_same_everywhere(
    market: str, below: int, at: int, tick_below: int, tick_at: int
) -> None:
    for day in (date(2023, 1, 25), TODAY):
        assert krx.tick_size(below, day, market) == tick_below
        assert krx.tick_size(at, day, market) == tick_at


@pytest.mark.parametrize(
    ("price", "kospi", "kosdaq"),
    [
        (999, 1, 1),
        (1_000, 5, 5),
        (5_000, 10, 10),
        (10_000, 50, 50),
        (50_000, 100, 100),
        (100_000, 500, 100),
        (500_000, 1_000, 100),
    ],
)
def test_ticks_from_2010_to_2023_differ_above_100_000(price: int, kospi: int, kosdaq: int) -> None:
    for day in (date(2010, 10, 4), BEFORE_2023):
        assert [krx.tick_size(price, day, market) for market in MARKETS] == [kospi, kosdaq, kosdaq]


def test_before_october_2010_the_tick_was_five_below_a_thousand_too() -> None:
    assert krx.tick_size(500, date(2010, 10, 1), "KOSPI") == krx.tick_size(500, date(2010, 10, 1), "KOSDAQ") == 5
    assert krx.tick_size(70_000, date(2010, 10, 1), "KOSPI") == 100


@pytest.mark.parametrize(
    ("price", "nearest", "down", "up"),
    [
        (71_249, 71_200, 71_200, 71_300),
        (71_250, 71_300, 71_200, 71_300),
        (71_200, 71_200, 71_200, 71_200),
        (41_000 * 1.1, 45_100, 45_100, 45_100),  # 45100.00000000001: not a tick above
        (41_000 * 0.7, 28_700, 28_700, 28_700),  # 28699.999999999996: not a tick below
        (49_999, 50_000, 49_950, 50_000),  # up into the next band
        (1_999.4, 1_999, 1_999, 2_000),
        (0.4, 0, 0, 1),
    ],
)
def test_rounding_to_ticks(price: float, nearest: int, down: int, up: int) -> None:
    assert krx.round_to_tick(price, TODAY, "KOSPI") == nearest
    assert krx.round_to_tick(price, TODAY, "KOSPI", "down") == down
    assert krx.round_to_tick(price, TODAY, "KOSPI", "up") == up


@given(st.floats(0, 3_000_000), any_day, any_market)
def test_a_rounded_price_is_on_a_tick_and_within_one_tick(price: float, day: date, market: str) -> None:
    tick = krx.tick_size(price, day, market)
    down, nearest, up = (krx.round_to_tick(price, day, market, towards) for towards in ("down", "nearest", "up"))
    assert down <= nearest <= up <= down + tick
    assert abs(nearest - price) <= tick / 2 + tick * 1e-6
    for rounded in (down, nearest, up):
        assert rounded % krx.tick_size(rounded, day, market) == 0


@pytest.mark.parametrize(
    ("base", "day", "market", "lower", "upper"),
    [
        (10_000, TODAY, "KOSPI", 7_000, 13_000),
        (10_000, date(2015, 6, 15), "KOSDAQ", 7_000, 13_000),
        (10_000, date(2015, 6, 12), "KOSDAQ", 8_500, 11_500),
        (10_000, TODAY, "KONEX", 8_500, 11_500),
        # 7,275 of movement is cut to 7,250, whole ticks of the base: not down to 16,980, though that is a tick too
        (24_250, TODAY, "KOSPI", 17_000, 31_500),
        # 20,480 falls into the band of 50
        (15_760, TODAY, "KOSPI", 11_040, 20_450),
        (1_538, TODAY, "KOSDAQ", 1_077, 1_999),
        (1, TODAY, "KOSDAQ", 1, 1),
    ],
)
def test_daily_limits(base: int, day: date, market: str, lower: int, upper: int) -> None:
    assert krx.price_limits(base, day, market) == (lower, upper)


@given(st.integers(1, 3_000_000), any_day, any_market)
def test_limits_are_on_ticks_and_never_beyond_the_percentage(price: int, day: date, market: str) -> None:
    base = krx.round_to_tick(price, day, market, "up")
    limits = krx.price_limits(base, day, market)
    percent = 30 if day >= date(2015, 6, 15) and market != "KONEX" else 15
    assert base * (100 - percent) <= limits.lower * 100 <= base * 100 <= limits.upper * 100 <= base * (100 + percent)
    assert all(limit % krx.tick_size(limit, day, market) == 0 for limit in limits)


def test_a_price_that_is_no_price_and_a_market_that_is_no_market_are_refused() -> None:
    for price in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"price {price} KRW has no tick"):
            krx.tick_size(price, TODAY, "KOSPI")
    with pytest.raises(ValueError, match=r"market 'NASDAQ' is unknown: .* KOSPI, KOSDAQ, KONEX"):
        krx.price_limits(10_000, TODAY, "NASDAQ")


@pytest.fixture(scope="module")
def traded_bars(recorded_data: Path) -> pd.DataFrame:
    """Every traded bar of January 2022 with the previous close of its stock as `base` (empty on the first day)."""
    bars = pd.read_csv(recorded_data / "2022-01" / "daily_bars.csv.gz", dtype={"stock_code": str})
    bars = bars.sort_values(["stock_code", "trade_date"])
    bars["base"] = bars.groupby("stock_code")["close"].shift()
    return bars[bars["volume"] > 0]


def test_every_traded_price_was_on_a_tick(traded_bars: pd.DataFrame) -> None:
    day = date(2022, 1, 28)
    prices = traded_bars[["market", "open", "high", "low", "close"]].melt("market", value_name="price")
    prices = prices[["market", "price"]].drop_duplicates()
    assert len(prices) > 5_000
    off = [(m, p) for m, p in prices.itertuples(index=False) if p % krx.tick_size(p, day, m)]
    assert off == []


def test_limits_are_where_trading_stopped(traded_bars: pd.DataFrame) -> None:
    day = date(2022, 1, 28)
    at_lower = at_upper = just_beyond = 0
    for bar in traded_bars.dropna(subset="base").itertuples():
        base = int(bar.base)
        limits = krx.price_limits(base, day, bar.market)
        at_lower += bar.low == limits.lower
        at_upper += bar.high == limits.upper
        # A limit rounded wrongly shows as a price a few ticks beyond it. Far beyond lie only shares that trade without
        # limits (the sale before delisting) or from another base (a split).
        just_beyond += limits.lower - 0.05 * base < bar.low < limits.lower
        just_beyond += limits.upper < bar.high < limits.upper + 0.05 * base
    assert (at_lower, at_upper, just_beyond) == (105, 169, 0)
