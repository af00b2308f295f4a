"""Proper scores of a three-class probability forecast: Brier and log score.

Belongs here: scores whose expectation is best when the forecaster states what they believe. Does not belong here: the
outcome itself (`horizons`) and the score the first Azak used (`classic`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

OUTCOMES = ("up", "flat", "down")

LOG_FLOOR = 0.001
"""Probabilities below this are raised to it in the log score, so that one flat zero costs 6.9 nats and not infinity.

Chat models answer in two decimals and write 0.00 for "unlikely"; a floor a tenth of their finest step keeps such an
answer the worst possible one without letting it drown every other forecast in the mean.
"""

Probabilities = npt.NDArray[np.float64]


def _one_hot(outcomes: npt.NDArray[np.object_]) -> Probabilities:
    return np.asarray(outcomes[:, None] == np.array(OUTCOMES, dtype=object)[None, :], dtype=np.float64)


def brier(probabilities: Probabilities, outcomes: npt.NDArray[np.object_]) -> Probabilities:
    """The sum over the three classes of (probability - outcome)², from 0 (certain and right) to 2 (certain and wrong).

    `probabilities` is n × 3 in the order up, flat, down; `outcomes` holds n of these words.
    """
    return np.asarray(((probabilities - _one_hot(outcomes)) ** 2).sum(axis=1))


def log_score(probabilities: Probabilities, outcomes: npt.NDArray[np.object_]) -> Probabilities:
    """-ln of the probability given to what happened, in nats; lower is better, at most -ln(`LOG_FLOOR`)."""
    given = (probabilities * _one_hot(outcomes)).sum(axis=1)
    return np.asarray(-np.log(np.maximum(given, LOG_FLOOR)))


def called(probabilities: Probabilities) -> npt.NDArray[np.object_]:
    """The class with the largest probability; None where two or three share it, for then no direction was called."""
    words: npt.NDArray[np.object_] = np.array(OUTCOMES, dtype=object)[probabilities.argmax(axis=1)]
    tied = (probabilities >= probabilities.max(axis=1, keepdims=True) - 1e-12).sum(axis=1) > 1
    words[tied] = None
    return words
