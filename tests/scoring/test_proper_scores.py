"""Proper scores against sums done by hand."""

import numpy as np
import pytest

from azak_assets.scoring.proper import LOG_FLOOR, brier, called, log_score


def _one(p: tuple[float, float, float], outcome: str) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p]), np.array([outcome], dtype=object)


@pytest.mark.parametrize(
    ("p", "outcome", "expected"),
    [
        ((1.0, 0.0, 0.0), "up", 0.0),
        ((1.0, 0.0, 0.0), "down", 2.0),
        ((1 / 3, 1 / 3, 1 / 3), "flat", 2 / 3),  # (2/3)² + 2·(1/3)²
        ((0.5, 0.3, 0.2), "up", 0.38),  # 0.25 + 0.09 + 0.04
        ((0.5, 0.3, 0.2), "flat", 0.78),  # 0.25 + 0.49 + 0.04
        ((0.5, 0.3, 0.2), "down", 0.98),  # 0.25 + 0.09 + 0.64
    ],
)
def test_brier_by_hand(p: tuple[float, float, float], outcome: str, expected: float) -> None:
    assert brier(*_one(p, outcome))[0] == pytest.approx(expected, abs=1e-12)


def test_log_score_is_the_logarithm_of_what_the_outcome_got() -> None:
    assert log_score(*_one((0.5, 0.3, 0.2), "flat"))[0] == pytest.approx(-np.log(0.3))


def test_log_score_of_a_flat_zero_stops_at_the_floor() -> None:
    assert log_score(*_one((1.0, 0.0, 0.0), "down"))[0] == pytest.approx(-np.log(LOG_FLOOR))


def test_scores_are_proper() -> None:
    """Stating one's belief has the best expectation: every other statement on a grid costs more."""
    belief = np.array([0.5, 0.3, 0.2])
    words = np.array(["up", "flat", "down"], dtype=object)
    grid = [(a / 20, b / 20, (20 - a - b) / 20) for a in range(1, 19) for b in range(1, 20 - a)]

    def expected(score, p) -> float:
        return float((belief * score(np.repeat([p], 3, axis=0), words)).sum())

    for score in (brier, log_score):
        assert min(grid, key=lambda p: expected(score, p)) == tuple(belief)


def test_called_is_the_largest_and_a_tie_is_no_call() -> None:
    p = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.4, 0.4, 0.2], [1 / 3, 1 / 3, 1 / 3]])
    assert called(p).tolist() == ["up", "down", None, None]
