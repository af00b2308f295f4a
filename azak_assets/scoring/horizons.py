"""When a forecast enters and leaves the market, and what counts as up, flat or down.

Belongs here: rules over one stock's bars, pure and without a database. Does not belong here: reading bars (`bars`), the
scores (`proper`, `classic`) and the rows they are kept in (`evaluate`).

`marts.news_price_reactions` has the rule of entry and exit in SQL; `tests/dbt/test_rules_agree.py` runs both over the
same rows and lists every difference.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import Literal, NamedTuple

from azak_assets import krx
from azak_assets.scoring.bars import is_unexplained_jump

HORIZONS = (1, 5, 20)
"""Horizons in sessions."""

FLAT_WIDTH = 0.5
"""Half the width of the flat band, in standard deviations of an h-session return."""

Outcome = Literal["up", "flat", "down"]
Status = Literal["pending", "matured", "censored"]
CensorReason = Literal["halted_entry", "halted_exit", "no_entry_bar", "no_exit_bar", "delisted", "unexplained_jump"]


class Bar(NamedTuple):
    """One stock's daily bar, KRW; a halted one carries its close and has NaN for the rest.

    `factor`: what prices before this session are to be multiplied by, 1 but after a corporate action.
    """

    open: float
    high: float
    low: float
    close: float
    is_halted: bool
    known_at: datetime
    factor: float = 1.0


class MinuteEntry(NamedTuple):
    """The first minute bar that began after a cut-off, and the extremes (KRW) of what was left of that session."""

    at: datetime
    price: float
    high: float
    low: float


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a forecast enters: the session, the instant, and which price of that session it takes."""

    day: date
    at: datetime
    kind: Literal["open", "minute", "close"]

    def exit_day(self, horizon: int) -> date:
        """The h-th session that closes after entry; who enters at a close waits for the next one."""
        return krx.shift(self.day, horizon if self.kind == "close" else horizon - 1).day


@dataclass(frozen=True, slots=True)
class Resolution:
    """What became of a forecast at one horizon.

    Prices in KRW as they were traded; `factor` makes the entry price comparable with the exit price. `known_at` is when
    the last bar it needs became known.
    """

    status: Status
    exit_day: date
    censor_reason: CensorReason | None = None
    entry_price: float | None = None
    exit_price: float | None = None
    known_at: datetime | None = None
    factor: float = 1.0

    @property
    def log_return(self) -> float | None:
        """The log return from entry to exit; None until matured."""
        if self.status != "matured" or self.entry_price is None or self.exit_price is None:
            return None
        return math.log(self.exit_price / (self.entry_price * self.factor))


def flat_band(sigma20: float, horizon: int) -> float:
    """The largest absolute log return over `horizon` sessions that still counts as flat."""
    return FLAT_WIDTH * sigma20 * math.sqrt(horizon)


def outcome_of(log_return: float, sigma20: float, horizon: int) -> Outcome:
    """The class of a log return over `horizon` sessions; the edge of the band belongs to flat."""
    if abs(log_return) <= flat_band(sigma20, horizon):
        return "flat"
    return "up" if log_return > 0 else "down"


def needs_minutes(cutoff_at: datetime) -> bool:
    """Whether the cut-off lies inside a session, so that minute bars decide the entry."""
    return krx.tradable_session(cutoff_at).open_at <= cutoff_at


def entry_of(cutoff_at: datetime, minute: MinuteEntry | None) -> Entry:
    """The first price at which someone who knew what was known at the cut-off could have traded."""
    session = krx.tradable_session(cutoff_at)
    if cutoff_at < session.open_at:
        return Entry(session.day, session.open_at, "open")
    if minute is not None:
        return Entry(session.day, minute.at, "minute")
    return Entry(session.day, session.close_at, "close")


def resolve(
    entry: Entry,
    horizon: int,
    bars: Mapping[date, Bar],
    *,
    minute: MinuteEntry | None,
    market_days: Container[date],
    delisted_on: date | None,
) -> Resolution:
    """Resolve one forecast at one horizon against one stock's bars, as they are now.

    `market_days` are the days on which anything traded: such a day without our bar censors once the stock has a later
    bar, or is delisted; any other is still to come.
    """
    exit_day = entry.exit_day(horizon)

    def censored(reason: CensorReason, on: date, entry_price: float | None = None) -> Resolution:
        bar = bars.get(on)
        return Resolution("censored", exit_day, reason, entry_price, known_at=bar.known_at if bar else None)

    def absent(on: date, reason: CensorReason, entry_price: float | None = None) -> Resolution:
        if on not in market_days:
            return Resolution("pending", exit_day)
        if delisted_on is not None and delisted_on <= on:
            return censored("delisted", on, entry_price)
        # A request that failed leaves the same hole as a stock that did not trade; a later bar tells them apart.
        is_final = any(day > on for day in bars)
        return censored(reason, on, entry_price) if is_final else Resolution("pending", exit_day)

    first = bars.get(entry.day)
    if first is None:
        return absent(entry.day, "no_entry_bar")
    if first.is_halted:
        return censored("halted_entry", entry.day)
    price = minute.price if entry.kind == "minute" and minute else first.open if entry.kind == "open" else first.close
    last = bars.get(exit_day)
    if last is None:
        return absent(exit_day, "no_exit_bar", price)
    if last.is_halted:
        return censored("halted_exit", exit_day, price)
    path = [(one.day, bars[one.day]) for one in krx.sessions(entry.day, exit_day) if one.day in bars]
    if any(is_unexplained_jump(a.close * b.factor, b.close, day) for (_, a), (day, b) in pairwise(path)):
        return censored("unexplained_jump", exit_day, price)
    factor = math.prod(bar.factor for _, bar in path[1:])
    return Resolution("matured", exit_day, None, price, last.close, max(first.known_at, last.known_at), factor)
