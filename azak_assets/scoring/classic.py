"""The classic score: 40 % target, 30 % timing, 30 % risk over the five sessions after entry.

Belongs here: the first Azak's formula with its faults repaired. It took the fifth day's high for the highest of the
window, called every bearish target achieved because the price stood above it, and invented a target of +10 % where
there was none. Here the extremes are those of the whole window, the short side mirrors the long one, and what a
forecast did not say is NULL. Does not belong here: which sessions form the window (`evaluate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

WINDOW_SESSIONS = 5
TARGET_POINTS, TIMING_POINTS, RISK_POINTS = 40.0, 30.0, 30.0
"""What each part can reach; the whole is their sum, 0 to 100."""


@dataclass(frozen=True, slots=True)
class ClassicScore:
    """The three parts (0 to 40, 30 and 30 points) and their sum; None where the forecast gave no ground for one."""

    target_achieved: bool | None = None
    support_breached: bool | None = None
    target_score: float | None = None
    timing_score: float | None = None
    risk_score: float | None = None
    classic_score: float | None = None


NOTHING_TO_SCORE = ClassicScore()


def classic_score(
    base: float | None,
    target: float | None,
    support: float | None,
    highs: Sequence[float],
    lows: Sequence[float],
) -> ClassicScore:
    """Score a target and a support against the highs and lows (KRW) of the window's sessions, in order.

    The side follows from the target: above the base price it is a long call, below it a short one, equal to it none.
    The support is the level on the other side of the base whose touch refutes the call: below it for a long call, above
    it for a short one. A support on the target's side of the base refutes nothing, so risk and the whole are None. A
    halted session has no high and low: pass NaN; nothing is touched on it, but it counts as a session of the window.
    """
    if base is None or target is None or target == base:
        return NOTHING_TO_SCORE
    side = 1 if target > base else -1
    # Mirroring prices turns a short call into a long one, so the formula exists once and cannot differ by side.
    favourable, adverse = (highs, lows) if side > 0 else (lows, highs)
    reached = [side * price for price in favourable]
    touched_on = next((day for day, price in enumerate(reached, start=1) if price >= side * target), None)
    best = max((price for price in reached if not isnan(price)), default=side * base)
    achieved = touched_on is not None
    if touched_on is not None:
        way, promptness = 1.0, max(0.6, 1.1 - 0.1 * touched_on)  # day 1 counts whole, each later day a tenth less
    else:
        way, promptness = min(1.0, max(0.0, (best - side * base) / (side * (target - base)))), 0.0
    target_score, timing_score = TARGET_POINTS * way, TIMING_POINTS * promptness
    if support is None or side * support >= side * base:
        return ClassicScore(target_achieved=achieved, target_score=target_score, timing_score=timing_score)
    worst = min((side * price for price in adverse if not isnan(price)), default=side * base)
    breached = worst <= side * support
    kept = max(0.0, 1.0 - (side * support - worst) / support) if breached else 1.0
    risk_score = RISK_POINTS * kept
    return ClassicScore(
        target_achieved=achieved,
        support_breached=breached,
        target_score=target_score,
        timing_score=timing_score,
        risk_score=risk_score,
        classic_score=target_score + timing_score + risk_score,
    )
