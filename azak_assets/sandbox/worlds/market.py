"""The seeded market: daily bars, minute bars and indices of the invented issuers, from the first session of 2024 on.

How prices come about belongs here; names and sizes are `companies`, words are `news` and `filings`. Everything a
session brings is drawn from generators keyed by (seed, purpose, date, issue), so a past day never depends on when it is
asked for, and a longer calendar only adds days at the end. All sessions are drawn at once (a few hundred milliseconds);
what may be seen of them is decided by the clock in `SeededWorld`.

A return is a market factor with GARCH volatility, a sector factor, an own part with GARCH volatility and mild momentum,
and the shock of the day's moving news, most of which shows at the open. Prices lie on the tick grid inside the daily
limits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import numpy as np
import numpy.typing as npt

from azak_assets import krx
from azak_assets.sandbox.worlds.companies import TRADES, Issuer, found
from azak_assets.sandbox.worlds.world import DailyBar, IndexBar, MinuteBar

FIRST_SESSION = date(2024, 1, 2)
NEWCOMER_ON = date(2026, 10, 28)
SPLIT_ON = date(2026, 11, 9)
DELISTED_AFTER = date(2026, 11, 11)
SPLIT = 5
SECTOR_LEVEL = 1000.0
AUCTION = timedelta(minutes=10)

_BANDS = np.array([2_000, 5_000, 20_000, 50_000, 200_000, 500_000])
_TICKS = np.array([1, 5, 10, 50, 100, 500, 1_000])

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def _tick(price: Floats | Ints) -> Ints:
    return _TICKS[np.searchsorted(_BANDS, price, side="right")]


def on_grid(price: Floats | Ints) -> Ints:
    """The nearest price on the tick grid (the grid of 2023-01-25, older than the first session)."""
    tick = _tick(price)
    return (np.floor(price / tick + 0.5) * tick).astype(np.int64)


def price_limits(base: Ints, percent: Ints) -> tuple[Ints, Ints]:
    """The lowest and highest price on the grid within so many percent of each base."""
    tick = _tick(base)
    move = base * percent // 100 // tick * tick
    upper = base + move
    return np.maximum(base - move, 1), upper // _tick(upper) * _tick(upper)


@dataclass(frozen=True, slots=True)
class Event:
    """News that moves one share: known before the open of `session`, with the log return it adds there."""

    session: int
    issuer: int
    shock: float
    known_at: datetime


class _Returns:
    """The log returns of quiet days, one session after the other: market, sector and own part."""

    def __init__(self, seed: int, issuers: Sequence[Issuer]) -> None:
        self.parent = np.array([own if issuer.parent is None else issuer.parent for own, issuer in enumerate(issuers)])
        self.volatility = np.array([issuer.volatility for issuer in issuers])
        self.own_variance = np.ones(len(issuers))
        self._is_child = self.parent != np.arange(len(issuers))
        self._sector = np.array([list(TRADES).index(issuer.sector) for issuer in issuers])
        beta = np.random.default_rng([seed, 4]).uniform(0.6, 1.4, len(issuers))
        self._beta = np.where(self.volatility < 0.3, 0.05, beta)
        self._own = np.zeros(len(issuers))
        self._sectors = np.zeros(len(TRADES))
        self._market, self._market_variance = 0.0, 1.0

    def draw(self, rng: np.random.Generator, normal: Floats) -> Floats:
        scale = 0.018 * self.volatility
        self._market = 0.0002 + 0.05 * self._market + 0.0085 * self._market_variance**0.5 * rng.standard_normal()
        self._market_variance = 0.05 + 0.08 * (self._market / 0.0085) ** 2 + 0.87 * self._market_variance
        self._sectors = 0.05 * self._sectors + 0.005 * rng.standard_normal(len(TRADES))
        # Half the variance is taken off, or the price of a volatile share would grow by its volatility alone.
        self._own = 0.06 * self._own - scale**2 / 2 + scale * np.sqrt(self.own_variance) * normal
        self.own_variance = 0.08 + 0.10 * np.minimum((self._own / scale) ** 2, 16) + 0.82 * self.own_variance
        sector = self._sectors[self._sector] * np.minimum(self.volatility, 1)
        common = self._beta * self._market + sector + self._own
        return np.asarray(np.where(self._is_child, 0.8 * common[self.parent] + 0.3 * self._own, common), np.float64)


class _Crowds:
    """Shares traded: a quiet day's number by issue, more on days that move and on those after them."""

    def __init__(self, seed: int, shares: Ints, percent: Ints) -> None:
        draw = np.random.default_rng([seed, 8]).normal(-5.4, 0.6, len(shares))
        self.quiet = shares * np.exp(draw) * np.where(percent == 15, 0.02, 1.0)
        self._crowd = np.zeros(len(shares))

    def draw(self, normal: Floats, returns: Floats) -> Ints:
        self._crowd = 0.75 * self._crowd + 0.30 * normal + 6.0 * np.minimum(np.abs(returns), 0.3) - 0.06
        return np.maximum((self.quiet * np.exp(self._crowd)).astype(np.int64), 5)


class Market:
    """Every session of a seed. Arrays are (session, issue); a bar with volume 0 is a halt, one with close 0 no bar."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.sessions = krx.sessions(FIRST_SESSION, krx.LAST_DAY)
        self.days = [session.day for session in self.sessions]
        self.position = {day: index for index, day in enumerate(self.days)}
        self.issuers: list[Issuer] = found(seed, NEWCOMER_ON, DELISTED_AFTER, SPLIT_ON)
        self.number = {issuer.code: index for index, issuer in enumerate(self.issuers)}
        self.events: dict[int, list[Event]] = {}
        shape = (len(self.days), len(self.issuers))
        self.open, self.high, self.low, self.close = (np.zeros(shape, np.int64) for _ in range(4))
        self.volume, self.turnover, self.reference = (np.zeros(shape, np.int64) for _ in range(3))
        self.shares = np.tile(np.array([issuer.shares for issuer in self.issuers], np.int64), (len(self.days), 1))
        self._draw()
        self._members = self._choose_members()
        levels = {"0001": 2650.0, "1001": 870.0, "2001": 355.0}
        self._indices = {code: self._chain(self._members[code], level) for code, level in levels.items()}

    # --- daily bars -----------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        issuers = self.issuers
        is_child = np.array([issuer.parent is not None for issuer in issuers])
        percent = np.array([15 if issuer.market == "KONEX" else 30 for issuer in issuers], np.int64)
        first = np.array([self.position.get(issuer.listed_on, 0) for issuer in issuers])
        last = np.array([self.position[i.delisted_after] if i.delisted_after else len(self.days) for i in issuers])
        split = np.array([self.position[i.split_on] if i.split_on else -1 for i in issuers])
        close = on_grid(np.array([issuer.price for issuer in issuers], np.float64))
        halted_until = np.zeros(len(issuers), np.int64)
        returns, crowds = _Returns(self.seed, issuers), _Crowds(self.seed, self.shares[0], percent)
        for index, day in enumerate(self.days):
            rng = np.random.default_rng([self.seed, 2, day.toordinal()])
            normal, uniform = rng.standard_normal((5, len(issuers))), rng.random((2, len(issuers)))
            is_listed = (first <= index) & (index <= last)
            quiet = returns.draw(rng, normal[0])
            shock = self._draw_events(index, rng, is_listed & ~is_child)
            shock = np.where(is_child, 0.7 * shock[returns.parent], shock)

            # The exchange halts a share for three sessions before it comes back in smaller pieces.
            splits = split == index
            reference = np.where(splits, on_grid(close / SPLIT), close)
            self.shares[index:, splits] *= SPLIT
            crowds.quiet = np.where(splits, crowds.quiet * SPLIT, crowds.quiet)
            halted_until = np.where(split - 3 == index, split, halted_until)
            starts_halt = (uniform[0] < 0.0005) & (halted_until <= index) & ~splits
            halted_until = np.where(starts_halt, index + 2 + (uniform[1] * 7).astype(np.int64), halted_until)
            trades = is_listed & (halted_until <= index)

            lower, upper = price_limits(reference, percent)
            opening = 0.35 * quiet + 0.8 * shock + 0.002 * returns.volatility * normal[1]
            open_ = np.clip(on_grid(reference * np.exp(opening)), lower, upper)
            ending = np.clip(on_grid(reference * np.exp(quiet + shock)), lower, upper)
            spread = 0.006 * returns.volatility * np.sqrt(returns.own_variance)
            outer, inner = np.maximum(open_, ending), np.minimum(open_, ending)
            high = np.clip(np.maximum(on_grid(outer * np.exp(spread * np.abs(normal[2]))), outer), lower, upper)
            low = np.clip(np.minimum(on_grid(inner * np.exp(-spread * np.abs(normal[3]))), inner), lower, upper)
            volume = crowds.draw(normal[4], quiet + shock)
            average = (open_ + high + low + 3 * ending) / 6

            close = np.where(trades, ending, reference)
            self.reference[index] = np.where(is_listed, reference, 0)
            self.close[index] = np.where(is_listed, close, 0)
            for array, values in ((self.open, open_), (self.high, high), (self.low, low), (self.volume, volume)):
                array[index] = np.where(trades, values, 0)
            self.turnover[index] = np.where(trades, np.rint(average * volume).astype(np.int64), 0)

    def _draw_events(self, index: int, rng: np.random.Generator, listed: npt.NDArray[np.bool_]) -> Floats:
        """Choose the session's moving news, note them in `events` and return their shocks by issue."""
        shocks = np.zeros(len(self.issuers))
        chosen = rng.permutation(len(self.issuers))[:14]
        sizes = 0.035 * np.exp(0.45 * rng.standard_normal(14)) * np.where(rng.random(14) < 0.5, 1, -1)
        times = rng.random((14, 2))
        if index == 0:
            return shocks
        intervals = _quiet_hours(self.sessions[index - 1], self.sessions[index])
        for number, size, (which, when) in zip(chosen, sizes, times, strict=True):
            if not listed[number] or self.issuers[number].is_spac:
                continue
            start, end = intervals[int(which * len(intervals))]
            known_at = (start + when * (end - start)).replace(microsecond=0)
            shocks[number] = size
            self.events.setdefault(index, []).append(Event(index, int(number), float(size), known_at))
        return shocks

    # --- indices --------------------------------------------------------------------------------------------------

    def _choose_members(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Who belongs to which index of the market, by session."""
        markets = np.array([issuer.market for issuer in self.issuers])
        values = self.close * self.shares
        january = [index for index, day in enumerate(self.days) if index == 0 or day.year != self.days[index - 1].year]
        members = {"0001": np.tile(markets == "KOSPI", (len(self.days), 1))}
        members["1001"] = np.tile(markets == "KOSDAQ", (len(self.days), 1))
        members["2001"] = np.zeros_like(members["0001"])
        for start in january:
            # The blue chips are chosen once a year by the value they had on the session before.
            at = np.where(markets == "KOSPI", values[max(start - 1, 0)], -1)
            members["2001"][start:] = False
            members["2001"][start:, np.argsort(-at, kind="stable")[:60]] = True
        return members

    def members(self, code: str) -> npt.NDArray[np.bool_]:
        """Who belongs to an index, by session: of a sector, the issues of KOSPI that carry its code."""
        if code not in self._members:
            of_sector = np.array([issuer.market == "KOSPI" and issuer.sector == code for issuer in self.issuers])
            self._members[code] = np.tile(of_sector, (len(self.days), 1))
        return self._members[code]

    def _chain(self, members: npt.NDArray[np.bool_], level: float) -> list[IndexBar]:
        """A value-weighted index: each session's change is that of the members against their base prices."""
        weight = np.where(members & (self.reference > 0), self.shares, 0).astype(np.float64)
        base = (self.reference * weight).sum(axis=1)
        held = np.where(self.volume > 0, 0, self.close)
        ratios = {
            name: ((np.where(self.volume > 0, prices, 0) + held) * weight).sum(axis=1) / base
            for name, prices in (("open", self.open), ("high", self.high), ("low", self.low), ("close", self.close))
        }
        volume = np.where(members, self.volume, 0).sum(axis=1)
        turnover = np.where(members, self.turnover, 0).sum(axis=1)
        bars = []
        for index, day in enumerate(self.days):
            open_, close = level * ratios["open"][index], level * ratios["close"][index]
            # Members do not peak together: a third of the way from the outer of open and close to the sum of the peaks.
            high = max(open_, close) + (level * ratios["high"][index] - max(open_, close)) / 3
            low = min(open_, close) - (min(open_, close) - level * ratios["low"][index]) / 3
            first, top, bottom, last = (round(float(value), 2) for value in (open_, high, low, close))
            bars.append(IndexBar(day, first, top, bottom, last, int(volume[index]), int(turnover[index])))
            level = close
        return bars

    # --- what is asked for ----------------------------------------------------------------------------------------

    def bar(self, index: int, number: int, *, adjusted: bool) -> DailyBar | None:
        """The finished bar of a session; None where the issue was not listed. `adjusted` divides out a later split."""
        close = int(self.close[index, number])
        if close == 0:
            return None
        split_on = self.issuers[number].split_on
        day = self.days[index]
        factor = SPLIT if adjusted and split_on and day < split_on else 1
        splits = split_on == day
        return DailyBar(
            day,
            open=int(self.open[index, number]) // factor,
            high=int(self.high[index, number]) // factor,
            low=int(self.low[index, number]) // factor,
            close=close // factor,
            volume=int(self.volume[index, number]) * factor,
            turnover_krw=int(self.turnover[index, number]),
            reference=int(self.reference[index, number]) // factor,
            ratio=1 / SPLIT if splits and not adjusted else 0.0,
            reason="06" if splits else "",
        )

    def index_bar(self, code: str, index: int) -> IndexBar:
        """The finished bar of an index; a sector's are made when first asked for, which few do."""
        if code not in self._indices:
            self._indices[code] = self._chain(self.members(code), SECTOR_LEVEL)
        return self._indices[code][index]

    def minutes(self, index: int, number: int) -> list[MinuteBar]:
        """Every minute of a session in which the share traded; their high, low, close and sums are the daily bar's.

        Continuous trading ends ten minutes before the close; the closing auction is one bar at the close. The turnover
        of a single minute is exact in the sum and approximate by itself.
        """
        volume = int(self.volume[index, number])
        if volume == 0:
            return []
        session = self.sessions[index]
        rng = np.random.default_rng([self.seed, 3, session.day.toordinal(), number])
        continuous = int((session.close_at - AUCTION - session.open_at).total_seconds()) // 60
        clock = np.arange(continuous) / continuous
        weights = (1 + 2.5 * np.exp(-clock * 12) + 1.2 * np.exp((clock - 1) * 8)) * rng.gamma(2.0, 0.5, continuous)
        auction = rng.uniform(0.04, 0.08)
        shares = rng.multinomial(volume, np.append(weights / weights.sum() * (1 - auction), auction))
        if shares[:-1].sum() == 0:
            shares[0], shares[-1] = volume, 0
        at = np.flatnonzero(shares)
        high, low = int(self.high[index, number]), int(self.low[index, number])
        path = self._path(rng, index, number, len(at))
        opens, closes = path[:-1].copy(), path[1:]
        tops = np.minimum(on_grid(np.maximum(opens, closes) + rng.integers(0, 2, len(at)) * _tick(opens)), high)
        bottoms = np.maximum(on_grid(np.minimum(opens, closes) - rng.integers(0, 2, len(at)) * _tick(opens)), low)
        if shares[-1]:
            opens[-1] = tops[-1] = bottoms[-1] = closes[-1]
        # The last bar of the path may be the auction, which has one price: the extremes are touched before it.
        traded = len(at) - 1 if shares[-1] else len(at)
        tops[np.argmax(tops[:traded])] = high
        bottoms[np.argmin(bottoms[:traded])] = low
        money = shares[at] * (opens + closes + tops + bottoms) / 4
        total = int(self.turnover[index, number])
        turnover = np.floor(money * (total / money.sum())).astype(np.int64)
        turnover[np.argmax(turnover)] += total - int(turnover.sum())
        starts = [
            session.close_at if minute == continuous else session.open_at + timedelta(minutes=int(minute))
            for minute in at
        ]
        columns = (opens, tops, bottoms, closes, shares[at], turnover)
        return [
            MinuteBar(start, *(int(value) for value in values))
            for start, values in zip(starts, zip(*columns, strict=True), strict=True)
        ]

    def _path(self, rng: np.random.Generator, index: int, number: int, bars: int) -> Ints:
        """Prices between the bars, on the grid, from the session's open to its close: a bridge inside high and low."""
        open_, close = float(self.open[index, number]), float(self.close[index, number])
        high, low = float(self.high[index, number]), float(self.low[index, number])
        steps = np.linspace(0, 1, bars + 1)
        walk = np.concatenate([[0.0], np.cumsum(rng.standard_normal(bars))]) / np.sqrt(bars)
        bridge = (walk - steps * walk[-1]) * np.log(high / low) / 1.3
        path = np.exp(np.log(open_) + steps * np.log(close / open_) + bridge)
        # An odd limit price is off the grid of its neighbours; the ends are kept as they are.
        path = np.clip(on_grid(np.clip(path, low, high)), low, high).astype(np.int64)
        path[0], path[-1] = int(open_), int(close)
        return path


def _quiet_hours(before: krx.Session, session: krx.Session) -> list[tuple[datetime, datetime]]:
    """When news can come between two sessions: the evening, the days between, the early morning."""
    hours = [(before.close_at + timedelta(minutes=10), datetime.combine(before.day, time(22, 30), krx.KST))]
    between = (session.day - before.day).days
    for offset in range(1, between):
        day = before.day + timedelta(days=offset)
        hours.append((datetime.combine(day, time(8), krx.KST), datetime.combine(day, time(21), krx.KST)))
    hours.append((datetime.combine(session.day, time(6, 30), krx.KST), session.open_at - timedelta(minutes=5)))
    return hours
