"""The exchange's price rules for shares: tick sizes and daily limits, as they stood on a day.

Belongs here: what prices the exchange accepts. Does not belong here: fees and tax, and the rules of ETFs, ETNs and
warrants, whose ticks are another table.

Sources: the KRX notices of 2010-07-30 (ticks from 2010-10-04) and 2023-01-17 (ticks from 2023-01-25) and the widening
of the limits on 2015-06-15, as the press reported them. The tests hold the tables and the rounding of the limits
against every bar of January 2022.
"""

import math
from datetime import date
from typing import Literal, NamedTuple

_Ticks = tuple[tuple[int, int], ...]

# (price from which it holds, tick), KRW, highest first.
_TICKS_SINCE_2023: _Ticks = (
    (500_000, 1_000),
    (200_000, 500),
    (50_000, 100),
    (20_000, 50),
    (5_000, 10),
    (2_000, 5),
    (0, 1),
)
_KOSPI_SINCE_2010: _Ticks = (
    (500_000, 1_000),
    (100_000, 500),
    (50_000, 100),
    (10_000, 50),
    (5_000, 10),
    (1_000, 5),
    (0, 1),
)
_KOSDAQ_SINCE_2010 = _KOSPI_SINCE_2010[2:]
# Before 2010-10-04 the tick was 5 below 1,000 too.
_KOSPI_UNTIL_2010: _Ticks = (*_KOSPI_SINCE_2010[:-2], (0, 5))
_KOSDAQ_UNTIL_2010: _Ticks = (*_KOSDAQ_SINCE_2010[:-2], (0, 5))

_LIMITS_WIDENED = date(2015, 6, 15)
_MARKETS = ("KOSPI", "KOSDAQ", "KONEX")


class PriceLimits(NamedTuple):
    """The lowest and highest price, KRW, at which a share may trade on a day."""

    lower: int
    upper: int


def _ticks(day: date, market: str) -> _Ticks:
    if market not in _MARKETS:
        msg = f"market {market!r} is unknown: the exchange's stock markets are {', '.join(_MARKETS)}"
        raise ValueError(msg)
    if day >= date(2023, 1, 25):
        return _TICKS_SINCE_2023
    if day >= date(2010, 10, 4):
        return _KOSPI_SINCE_2010 if market == "KOSPI" else _KOSDAQ_SINCE_2010
    return _KOSPI_UNTIL_2010 if market == "KOSPI" else _KOSDAQ_UNTIL_2010


def tick_size(price_krw: float, day: date, market: str) -> int:
    """The tick, KRW, at this price on this day; since 2023-01-25 the same on KOSPI, KOSDAQ and KONEX."""
    if not (math.isfinite(price_krw) and price_krw >= 0):
        msg = f"price {price_krw} KRW has no tick: ticks are defined for finite prices from 0"
        raise ValueError(msg)
    return next(tick for start, tick in _ticks(day, market) if price_krw >= start)


def round_to_tick(
    price_krw: float, day: date, market: str, towards: Literal["nearest", "down", "up"] = "nearest"
) -> int:
    """The price the exchange would accept next to this one; half a tick goes up."""
    tick = tick_size(price_krw, day, market)
    # A computed price may miss its tick by a float's error (41000 * 1.1 > 45100), which must not cost a whole tick.
    ticks = round(price_krw / tick, 6)
    if towards == "nearest":
        ticks += 0.5
    # Every band starts on a multiple of the ticks on both sides, so rounding up into the next band is on a tick too.
    return tick * (math.ceil(ticks) if towards == "up" else math.floor(ticks))


def price_limits(base_krw: int, day: date, market: str) -> PriceLimits:
    """The daily limits around a base price: ±30 % since 2015-06-15, ±15 % before and on KONEX throughout.

    The base is the previous close, or the exchange's reference price after a split or a rights issue. The percentage is
    cut to whole ticks of the base's own band, which makes the lower limit coarser than the ticks around it; the upper
    limit is cut again where it falls into a wider band. Shares in their first session or in the sale before delisting
    trade without these limits.
    """
    percent = 30 if day >= _LIMITS_WIDENED and market != "KONEX" else 15
    tick = tick_size(base_krw, day, market)
    move = base_krw * percent // 100 // tick * tick
    return PriceLimits(base_krw - move, round_to_tick(base_krw + move, day, market, towards="down"))
