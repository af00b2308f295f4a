"""Order books of the seeded market: ten levels around a price, on the tick grid and inside the daily limits.

Only the drawing belongs here. A book is drawn from a key (seed, day, issue, minute), so the same instant has the same
book; it follows the price of the minute bars and moves them not at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from azak_assets import krx
from azak_assets.sandbox.worlds.world import Level

LEVELS = 10


@dataclass(frozen=True, slots=True)
class Book:
    """Asks and bids, best first; an issue at its limit has one side only."""

    asks: Sequence[Level]
    bids: Sequence[Level]


def book(key: Sequence[int], price: int, day: date, market: str, limits: krx.PriceLimits) -> Book:
    """The book around the last price, which is the best bid or, as often, the best ask."""
    rng = np.random.default_rng(list(key))
    shares = [int(value) for value in rng.integers(1, 400, 2 * LEVELS) * rng.integers(1, 12, 2 * LEVELS)]
    ask = price if rng.random() < 0.5 and price > limits.lower else price + krx.tick_size(price, day, market)
    asks: list[Level] = []
    bids: list[Level] = []
    at = ask
    while len(asks) < LEVELS and at <= limits.upper:
        asks.append((at, shares[len(asks)]))
        at += krx.tick_size(at, day, market)
    at = ask - krx.tick_size(ask - 1, day, market)
    while len(bids) < LEVELS and at >= max(limits.lower, 1):
        bids.append((at, shares[LEVELS + len(bids)]))
        at -= krx.tick_size(at - 1, day, market)
    return Book(asks, bids)
