"""The classic 40/30/30 score: both sides, the whole window, and nothing invented."""

from math import nan

import pytest

from azak_assets.scoring.classic import NOTHING_TO_SCORE, classic_score

LOWS = [95.0, 96.0, 97.0, 98.0, 99.0]


def test_long_target_reached_on_the_second_day() -> None:
    score = classic_score(100, 110, 90, highs=[105, 111, 100, 100, 100], lows=LOWS)
    assert (score.target_achieved, score.support_breached) == (True, False)
    assert (score.target_score, score.timing_score, score.risk_score) == pytest.approx((40, 27, 30))
    assert score.classic_score == pytest.approx(97)


def test_the_highest_of_the_window_counts_and_not_the_last_day() -> None:
    score = classic_score(100, 110, 90, highs=[101, 106, 102, 101, 101], lows=LOWS)
    assert score.target_achieved is False
    assert score.target_score == pytest.approx(24)  # six of the ten won it had to rise
    assert score.timing_score == 0


def test_a_bearish_target_below_the_price_is_not_achieved_by_a_rise() -> None:
    score = classic_score(100, 90, 105, highs=[104, 108, 109, 110, 111], lows=[99, 100, 101, 102, 103])
    assert score.target_achieved is False
    assert score.target_score == pytest.approx(4)  # it fell to 99, one of the ten won it had to fall
    assert score.support_breached is True
    assert score.risk_score == pytest.approx(30 * (1 - (111 - 105) / 105))


def test_a_bearish_target_is_achieved_by_a_fall() -> None:
    score = classic_score(100, 90, 105, highs=[101] * 5, lows=[99, 98, 95, 90, 97])
    assert (score.target_achieved, score.support_breached) == (True, False)
    assert score.timing_score == pytest.approx(21)
    assert score.classic_score == pytest.approx(40 + 21 + 30)


def test_short_mirrors_long() -> None:
    """Reflected in the base price, a long call and a short call have the same target and timing scores."""
    highs, lows = [103.0, 104.0, 107.0, 101.0, 100.0], [99.0, 97.0, 98.0, 96.0, 99.0]
    long = classic_score(100, 108, 95, highs, lows)
    short = classic_score(100, 92, 105, [200 - low for low in lows], [200 - high for high in highs])
    assert (short.target_score, short.timing_score) == pytest.approx((long.target_score, long.timing_score))
    assert (short.target_achieved, short.support_breached) == (long.target_achieved, long.support_breached)


@pytest.mark.parametrize("base_and_target", [(None, 110), (100, None), (100, 100)])
def test_without_a_target_on_a_side_everything_is_null(base_and_target: tuple[float | None, float | None]) -> None:
    assert classic_score(*base_and_target, 90, highs=[200] * 5, lows=[1] * 5) == NOTHING_TO_SCORE


@pytest.mark.parametrize("support", [None, 100, 104])
def test_without_a_support_on_the_other_side_risk_and_whole_are_null(support: float | None) -> None:
    score = classic_score(100, 110, support, highs=[111] * 5, lows=LOWS)
    assert score.target_achieved is True
    assert (score.support_breached, score.risk_score, score.classic_score) == (None, None, None)


def test_a_halted_session_touches_nothing_but_takes_its_day() -> None:
    score = classic_score(100, 110, 90, highs=[nan, 111, 100, 100, 100], lows=[nan, 98, 98, 98, 98])
    assert score.timing_score == pytest.approx(27)
    assert classic_score(100, 110, 90, highs=[nan] * 5, lows=[nan] * 5).target_score == 0
