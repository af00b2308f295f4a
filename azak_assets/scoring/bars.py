"""Daily bars of many stocks in memory, every version of them, readable as of an instant.

Belongs here: one read of `raw.daily_bars` and `raw.adjustment_factors` with their histories, the same as-of predicate
as `raw.daily_bars_as_of` (a test holds the two equal), and the volatility known at an instant. Thousands of forecasts
each ask "what was known then"; asking the database each time costs more than all the arithmetic. Does not belong here:
outcomes and scores.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from azak_assets import krx
from azak_assets.warehouse import readers

if TYPE_CHECKING:
    from azak_assets.warehouse.asof import AsOfClock
    from azak_assets.warehouse.warehouse import Warehouse

Floats = npt.NDArray[np.float64]

SIGMA_RETURNS = 20
"""σ20 is the sample standard deviation of this many one-session log returns."""

LOOKBACK_SESSIONS = 60
"""How far back σ20 may look for its returns; a stock halted for longer has none of its own."""

FALLBACK_SIGMA = 0.01
"""σ20 where not one stock of the market has 20 returns yet."""

_NO_LIMIT_IS_NARROWER = 0.1
"""No daily limit was ever narrower than 15 % less one tick, so smaller moves need no look at the limits."""

_PRICES = ("open", "high", "low", "close")
_INSTANTS = ("known_at", "observed_at", "superseded_at")


@dataclass(frozen=True, slots=True)
class Bars:
    """One stock's daily bars in order of day, one version a day. Prices in KRW, NaN where a halt has none.

    `factor` is 1, and on the first session after a corporate action what the prices before it are to be multiplied by.
    """

    days: npt.NDArray[np.datetime64]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    is_halted: npt.NDArray[np.bool_]
    known_at: npt.NDArray[np.datetime64]
    factor: Floats


def utc64(instant: datetime) -> np.datetime64:
    """An aware instant as UTC datetime64[us], the unit every instant of this module is held in."""
    if instant.utcoffset() is None:
        msg = f"{instant!r} has no time zone: attach the zone it was written in"
        raise ValueError(msg)
    return np.datetime64(instant.astimezone(UTC).replace(tzinfo=None), "us")


def is_unexplained_jump(base: float, after: float, day: date) -> bool:
    """Whether a close of `after` on `day` is out of reach from `base`, the close before times the day's factor.

    The wider of the KOSPI and the KOSDAQ limit decides: their ticks differed until 2023, and a legal limit-up must
    never look like a split. Without a row in `raw.adjustment_factors` such a move is an unexplained corporate
    action. `marts.daily_prices` has the rule in SQL, without ticks: `tests/dbt/test_rules_agree.py` holds the two
    together.
    """
    if abs(after / base - 1) < _NO_LIMIT_IS_NARROWER:
        return False
    limits = [krx.price_limits(max(round(base), 1), day, market) for market in ("KOSPI", "KOSDAQ")]
    return not min(one.lower for one in limits) <= after <= max(one.upper for one in limits)


def _jumps(
    days: npt.NDArray[np.datetime64],
    closes: Floats,
    factors: Floats,
    asked: npt.NDArray[np.bool_] | Literal[True] = True,
) -> npt.NDArray[np.bool_]:
    """For each pair of neighbouring closes, where `asked`: is the move from one to the other an unexplained jump?"""
    jumps = np.zeros(max(len(closes) - 1, 0), dtype=bool)
    bases = closes[:-1] * factors[1:]
    for at in np.flatnonzero(asked & (np.abs(closes[1:] / bases - 1) >= _NO_LIMIT_IS_NARROWER)):
        jumps[at] = is_unexplained_jump(bases[at], closes[at + 1], days[at + 1].astype(date))
    return jumps


@cache
def _session_days() -> npt.NDArray[np.datetime64]:
    return np.array([one.day for one in krx.sessions(krx.FIRST_DAY, krx.LAST_DAY)], dtype="datetime64[D]")


def session_returns(bars: Bars, horizon: int) -> Floats:
    """Log returns from close to close over `horizon` sessions, oldest first, counted by the calendar and never by rows.

    Closes before a corporate action are multiplied by its factor. A pair with a missing or halted end, or with an
    unexplained jump in between, has no return and is left out.
    """
    if not len(bars.days):
        return np.empty(0)
    positions = np.searchsorted(_session_days(), bars.days)
    positions -= positions[0]
    closes = np.full(positions[-1] + 1, np.nan)
    closes[positions] = np.where(bars.is_halted, np.nan, bars.close)
    jumped = np.zeros(positions[-1] + 1)
    jumped[positions[1:]] = _jumps(bars.days, bars.close, bars.factor)
    jumps_so_far = jumped.cumsum()
    factors = np.ones(positions[-1] + 1)
    factors[positions] = bars.factor
    # In terms of the last day, so that a ratio across a split is one of like prices.
    closes *= factors[::-1].cumprod()[::-1] / factors
    returns = np.log(closes[horizon:] / closes[:-horizon])
    clean = jumps_so_far[horizon:] == jumps_so_far[:-horizon]
    return np.asarray(returns[clean & ~np.isnan(returns)])


def _sigma(returns: Floats) -> float | None:
    return float(returns[-SIGMA_RETURNS:].std(ddof=1)) if len(returns) >= SIGMA_RETURNS else None


class BarHistory:
    """All versions of the daily bars of some stocks and days, answering as-of questions without the database.

    `versions` has the columns stock_code, trade_date, open, high, low, close, is_halted, known_at, observed_at and
    superseded_at (empty in the current version); `factors` has stock_code, ex_date, factor and the same three instants.
    """

    def __init__(self, versions: pd.DataFrame, factors: pd.DataFrame) -> None:
        ordered = versions.sort_values(["stock_code", "trade_date", "known_at", "observed_at"], kind="stable")
        self._columns: dict[str, npt.NDArray[Any]] = {
            "days": pd.to_datetime(ordered["trade_date"]).to_numpy("datetime64[D]"),
            "is_halted": ordered["is_halted"].to_numpy(bool),
            **{name: ordered[name].to_numpy(float, na_value=np.nan) for name in _PRICES},
            **_instants(ordered),
        }
        codes = ordered["stock_code"].to_numpy(object)
        edges = np.flatnonzero(codes[1:] != codes[:-1]) + 1
        starts, ends = np.r_[0, edges][: len(codes)], np.r_[edges, len(codes)][: len(codes)]
        self._slices = {codes[a]: slice(a, b) for a, b in zip(starts, ends, strict=True)}
        self._group = np.repeat(np.arange(len(starts)), ends - starts)
        # Some hundred rows a year, of which a stock has one or two.
        self._factors = {
            "codes": factors["stock_code"].to_numpy(object),
            "days": pd.to_datetime(factors["ex_date"]).to_numpy("datetime64[D]"),
            "factor": factors["factor"].to_numpy(float),
            **_instants(factors),
        }
        self._market_sigmas: dict[np.datetime64, float] = {}
        self._known_instants = np.unique(np.r_[self._columns["known_at"], self._factors["known_at"]])

    @classmethod
    def read(cls, warehouse: Warehouse, start: date, end: date, stocks: Collection[str] | None = None) -> BarHistory:
        """Read every version of the bars of `stocks` (None: of the whole market) from start to end, inclusive."""
        return cls(
            readers.daily_bar_versions(warehouse.engine, start, end, stocks),
            readers.adjustment_factor_versions(warehouse.engine, start, end, stocks),
        )

    def as_of(self, stock_code: str, at: datetime, clock: AsOfClock) -> Bars:
        """The bars of one stock as they were known or observed at an instant."""
        part, instant = self._slices.get(stock_code, slice(0, 0)), utc64(at)
        factors = self._visible(self._factors, slice(None), instant, clock)
        return self._take(stock_code, part.start + self._visible(self._columns, part, instant, clock), factors)

    def current(self, stock_code: str) -> Bars:
        """The newest versions, whenever they became known."""
        part = self._slices.get(stock_code, slice(0, 0))
        rows = part.start + np.flatnonzero(np.isnat(self._columns["superseded_at"][part]))
        return self._take(stock_code, rows, np.flatnonzero(np.isnat(self._factors["superseded_at"])))

    def sigma20(self, stock_code: str, at: datetime) -> float | None:
        """Sample standard deviation of the stock's last 20 one-session log returns known at `at`; None with fewer."""
        bars = self.as_of(stock_code, at, "known")
        return _sigma(session_returns(_since(bars, _lookback_start(at)), 1))

    def market_sigma20(self, at: datetime) -> float:
        """The median σ20 over the stocks of this history that have one at `at`, else 0.01."""
        instant = utc64(at)
        newest = int(np.searchsorted(self._known_instants, instant, side="right"))
        if newest == 0:
            return FALLBACK_SIGMA
        # Nothing changes between two instants at which bars became known, so a day of articles shares one answer.
        key = self._known_instants[newest - 1]
        if key not in self._market_sigmas:
            self._market_sigmas[key] = self._median_sigma(key)
        return self._market_sigmas[key]

    def _median_sigma(self, instant: np.datetime64) -> float:
        visible = self._visible(self._columns, slice(None), instant, "known")
        since = np.datetime64(_lookback_start(instant.astype(datetime).replace(tzinfo=UTC)), "D")
        visible = visible[(self._columns["days"][visible] >= since) & ~self._columns["is_halted"][visible]]
        group, days, closes = self._group[visible], self._columns["days"][visible], self._columns["close"][visible]
        factors = np.ones(len(closes))
        for row in self._visible(self._factors, slice(None), instant, "known"):
            of_stock = self._slices.get(self._factors["codes"][row], slice(0, 0))
            if of_stock.stop:
                at = (group == self._group[of_stock.start]) & (days == self._factors["days"][row])
                factors[at] = self._factors["factor"][row]
        # Neighbours by the calendar: a return across a halt or a missing bar is not one session's.
        positions = np.searchsorted(_session_days(), days)
        neighbours = (group[1:] == group[:-1]) & (np.diff(positions) == 1)
        keep = neighbours & ~_jumps(days, closes, factors, neighbours)
        returns, owner = (np.diff(np.log(closes)) - np.log(factors[1:]))[keep], group[1:][keep]
        counts = np.bincount(owner, minlength=len(self._slices))
        from_the_end = counts.cumsum()[owner] - np.arange(len(owner))
        recent = (from_the_end <= SIGMA_RETURNS) & (counts[owner] >= SIGMA_RETURNS)
        returns, owner = returns[recent], owner[recent]
        if not len(owner):
            return FALLBACK_SIGMA
        mean = np.bincount(owner, returns, len(self._slices)) / SIGMA_RETURNS
        squares = np.bincount(owner, (returns - mean[owner]) ** 2, len(self._slices))
        return float(np.median(np.sqrt(squares[np.unique(owner)] / (SIGMA_RETURNS - 1))))

    @staticmethod
    def _visible(
        columns: Mapping[str, npt.NDArray[Any]], part: slice, instant: np.datetime64, clock: AsOfClock
    ) -> npt.NDArray[np.intp]:
        """Positions within the slice of the one version of each stock and day that the clock shows at the instant."""
        begins, ends = columns["known_at" if clock == "known" else "observed_at"][part], columns["superseded_at"][part]
        return np.flatnonzero((begins <= instant) & (np.isnat(ends) | (ends > instant)))

    def _take(self, stock_code: str, rows: npt.NDArray[np.intp], factors: npt.NDArray[np.intp]) -> Bars:
        columns = self._columns
        days, factor = columns["days"][rows], np.ones(len(rows))
        for at in factors[self._factors["codes"][factors] == stock_code]:
            factor[days == self._factors["days"][at]] = self._factors["factor"][at]
        given = {name: columns[name][rows] for name in (*_PRICES, "is_halted", "known_at")}
        return Bars(days=days, factor=factor, **given)


def _instants(frame: pd.DataFrame) -> dict[str, npt.NDArray[np.datetime64]]:
    return {
        name: pd.to_datetime(frame[name], utc=True).dt.tz_localize(None).to_numpy("datetime64[us]")
        for name in _INSTANTS
    }


def _lookback_start(at: datetime) -> date:
    return krx.shift(krx.session_on_or_before(at.astimezone(krx.KST).date()).day, -LOOKBACK_SESSIONS).day


def _since(bars: Bars, start: date) -> Bars:
    first = int(np.searchsorted(bars.days, np.datetime64(start, "D")))
    return Bars(*(getattr(bars, name)[first:] for name in Bars.__slots__))
