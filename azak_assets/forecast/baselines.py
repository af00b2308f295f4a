"""Local baselines: what a forecast is worth that reads no article at all.

Belongs here: probabilities from the stock's own past returns, known at the cut-off. They answer every question that a
chat model answers, so that each model's score stands beside one that needed no model. Does not belong here: reading
bars.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from azak_assets.scoring.bars import Bars, session_returns
from azak_assets.scoring.horizons import HORIZONS, flat_band

HISTORY_SESSIONS = 250
"""How far back a baseline looks: about one year of sessions."""

PRIOR_WEIGHT = 10.0
"""The base rate starts from one third each, worth ten independent observations.

Ten is what a stock shows at horizon 1 in two weeks: a new listing leans on the prior, an old one hardly feels it.
Returns over h sessions overlap, so n of them count as n/h observations; a year holds 12 independent 20-session returns,
and the prior then weighs nearly half, as it should.
"""

PERSISTENCE = 0.5
"""Persistence gives the class of the latest known return this probability and the other two half of the rest each."""

_THIRDS = (1 / 3, 1 / 3, 1 / 3)


@dataclass(frozen=True, slots=True)
class Probabilities:
    """Probabilities of the three outcomes at one horizon."""

    p_up: float
    p_flat: float
    p_down: float


def _counts(bars: Bars, horizon: int, sigma20: float) -> np.ndarray:
    """How many of the known h-session returns were up, flat and down by the band this forecast will be scored with."""
    returns, band = session_returns(bars, horizon), flat_band(sigma20, horizon)
    up, down = int((returns > band).sum()), int((returns < -band).sum())
    return np.array([up, len(returns) - up - down, down], dtype=float)


def base_rate(bars: Bars, horizon: int, sigma20: float) -> Probabilities:
    """Class frequencies of the stock's own h-session returns, on top of the prior."""
    effective = _counts(bars, horizon, sigma20) / horizon
    shares = (effective + PRIOR_WEIGHT / 3) / (effective.sum() + PRIOR_WEIGHT)
    return Probabilities(*map(float, shares))


def persistence(bars: Bars, horizon: int, sigma20: float) -> Probabilities:
    """The latest known h-session return happens again; one third each where there is none."""
    returns = session_returns(bars, horizon)
    if not len(returns):
        return Probabilities(*_THIRDS)
    band = flat_band(sigma20, horizon)
    latest = 0 if returns[-1] > band else 2 if returns[-1] < -band else 1
    shares = [(1 - PERSISTENCE) / 2] * 3
    shares[latest] = PERSISTENCE
    return Probabilities(*shares)


BASELINES: Mapping[str, Callable[[Bars, int, float], Probabilities]] = {
    "base_rate": base_rate,
    "persistence": persistence,
}


def forecast(model: str, bars: Bars, sigma20: float) -> dict[int, Probabilities]:
    """One baseline's probabilities at every horizon, from the bars known at the cut-off."""
    return {horizon: BASELINES[model](bars, horizon, sigma20) for horizon in HORIZONS}
