"""Base rate and persistence against counts done by hand."""

from datetime import date, timedelta

import numpy as np
import pytest

from azak_assets import krx
from azak_assets.forecast.baselines import PERSISTENCE, PRIOR_WEIGHT, forecast
from azak_assets.scoring.bars import Bars
from azak_assets.scoring.horizons import flat_band


def bars(closes: list[float], start: date = date(2025, 3, 4)) -> Bars:
    days = [krx.shift(start, n) for n in range(len(closes))]
    prices = np.array(closes, dtype=float)
    return Bars(
        np.array([one.day for one in days], dtype="datetime64[D]"),
        prices,
        prices,
        prices,
        prices,
        np.zeros(len(closes), dtype=bool),
        np.array([(one.close_at + timedelta(minutes=10)).replace(tzinfo=None) for one in days], dtype="datetime64[us]"),
        np.ones(len(closes)),
    )


def test_without_history_every_baseline_says_one_third() -> None:
    for model in ("base_rate", "persistence"):
        for one in forecast(model, bars([]), 0.01).values():
            assert (one.p_up, one.p_flat, one.p_down) == pytest.approx((1 / 3,) * 3)


def test_base_rate_counts_classes_on_top_of_the_prior() -> None:
    # returns at horizon 1: two rises, one flat day, one fall
    one = forecast("base_rate", bars([10_000, 10_500, 11_000, 11_000, 10_000]), 0.01)[1]
    weight = 4 + PRIOR_WEIGHT
    third = PRIOR_WEIGHT / 3
    assert (one.p_up, one.p_flat, one.p_down) == pytest.approx(
        ((2 + third) / weight, (1 + third) / weight, (1 + third) / weight)
    )


def test_overlapping_returns_count_as_a_fraction() -> None:
    # 25 rises of 1 %: 20 overlapping 5-session returns, all up, are worth four
    one = forecast("base_rate", bars([10_000 * 1.01**n for n in range(25)]), 0.01)[5]
    assert one.p_up == pytest.approx((4 + PRIOR_WEIGHT / 3) / (4 + PRIOR_WEIGHT))


@pytest.mark.parametrize(("last", "expected"), [(10_500, "p_up"), (10_001, "p_flat"), (9_500, "p_down")])
def test_persistence_repeats_the_latest_class(last: float, expected: str) -> None:
    one = forecast("persistence", bars([9_000, 9_500, 10_000, last]), 0.01)[1]
    assert getattr(one, expected) == PERSISTENCE
    assert one.p_up + one.p_flat + one.p_down == pytest.approx(1)


def test_the_band_is_the_one_the_score_will_use() -> None:
    edge = 10_000 * np.exp(flat_band(0.02, 1))
    inside, outside = (
        forecast("persistence", bars([10_000, edge * 0.9999]), 0.02),
        forecast("persistence", bars([10_000, edge * 1.0001]), 0.02),
    )
    assert inside[1].p_flat == outside[1].p_up == PERSISTENCE
