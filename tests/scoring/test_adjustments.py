"""Adjustment factors on a real database: which base prices count, and what they do to scores."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from math import log
from typing import Any

import pandas as pd
import pytest
from scoring_data import bar, halted

from azak_assets import krx
from azak_assets.scoring.adjustments import adjust
from azak_assets.scoring.evaluate import evaluate
from azak_assets.warehouse.warehouse import Warehouse

STOCK = "005930"
MONDAY = date(2025, 9, 29)
DAYS = [krx.shift(MONDAY, n).day for n in range(6)]
SPLIT = {"base_price": 2_020, "base_ratio": 0.2, "base_reason": "split or merger of shares"}

Load = Callable[[list[dict[str, Any]]], None]


def split_bars() -> list[dict[str, Any]]:
    """Two sessions around 10,000, one halted, then one share is five."""
    return [
        bar(STOCK, DAYS[0], 10_000),
        bar(STOCK, DAYS[1], 10_100),
        halted(STOCK, DAYS[2], 10_100),
        bar(STOCK, DAYS[3], 2_040, **SPLIT),
        bar(STOCK, DAYS[4], 2_050),
    ]


def factors(warehouse: Warehouse) -> pd.DataFrame:
    return warehouse.read("raw.adjustment_factors")


def test_a_split_gives_the_base_price_against_the_last_close(warehouse: Warehouse, load_bars: Load) -> None:
    load_bars(split_bars())
    made = adjust(warehouse, DAYS[:5])
    assert (made.result.inserted, len(made.unconfirmed)) == (1, 0)
    (row,) = factors(warehouse).to_dict("records")
    assert (row["stock_code"], row["ex_date"], row["factor"]) == (STOCK, DAYS[3], pytest.approx(0.2))
    assert (row["base_price"], row["previous_close"], row["reason"]) == (2_020, 10_100, "split or merger of shares")
    assert row["known_at"] == pd.Timestamp(krx.session(DAYS[3]).close_at + timedelta(minutes=10))
    again = adjust(warehouse, DAYS[:5]).result
    assert (again.inserted, again.changed, again.unchanged, again.retired) == (0, 0, 1, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"base_price": 2_020, "base_ratio": 0.5},  # the two words of the source contradict each other
        {"base_price": 10_100, "base_ratio": 0.2},  # the change counts from the old close after all
    ],
)
def test_a_base_price_that_does_not_give_the_ratio_is_no_factor(
    warehouse: Warehouse, load_bars: Load, change: dict[str, Any]
) -> None:
    load_bars([bar(STOCK, DAYS[0], 10_100), bar(STOCK, DAYS[1], 2_040, **SPLIT | change)])
    made = adjust(warehouse, DAYS[:2])
    assert factors(warehouse).empty
    assert made.unconfirmed["stock_code"].tolist() == [STOCK]


def test_the_two_decimals_of_the_ratio_do_not_round_the_factor(warehouse: Warehouse, load_bars: Load) -> None:
    load_bars([bar(STOCK, DAYS[0], 9_990), bar(STOCK, DAYS[1], 3_400, base_price=3_330, base_ratio=0.33)])
    adjust(warehouse, DAYS[:2])
    assert factors(warehouse)["factor"].tolist() == [3_330 / 9_990]


def test_without_a_bar_before_it_a_base_price_waits_for_one(warehouse: Warehouse, load_bars: Load) -> None:
    load_bars(split_bars()[3:])
    made = adjust(warehouse, DAYS[3:5])
    assert (len(made.factors), len(made.unconfirmed)) == (0, 1)
    load_bars(split_bars()[:3])
    assert len(adjust(warehouse, DAYS[3:5]).factors) == 1


def test_a_corrected_close_changes_the_factor_of_the_next_session_and_a_withdrawn_base_price_ends_it(
    warehouse: Warehouse, load_bars: Load
) -> None:
    load_bars(split_bars())
    adjust(warehouse, DAYS[:5])
    before = warehouse.cutoff()
    load_bars([halted(STOCK, DAYS[2], 10_000)])
    assert adjust(warehouse, [DAYS[2]]).result.changed == 1
    (row,) = factors(warehouse).to_dict("records")
    assert row["factor"] == 0.202
    then = warehouse.as_of("raw.adjustment_factors", before, "known")
    assert then["factor"].tolist() == [0.2]
    load_bars([bar(STOCK, DAYS[3], 2_040)])
    assert adjust(warehouse, [DAYS[3]]).result.retired == 1
    assert factors(warehouse).empty


def test_a_forecast_across_a_split_is_scored_and_its_target_rescaled(
    warehouse: Warehouse, load_bars: Load, add_forecast: Callable[..., str]
) -> None:
    """Named against 10,000: the target 10,220 is 2,044 new won, which the day of the split reaches."""
    cutoff = datetime(2025, 9, 30, 8, 0, tzinfo=krx.KST)
    add_forecast(STOCK, cutoff, base_price=10_000, target_price=10_220, support_price=9_500)
    load_bars([*split_bars(), bar(STOCK, DAYS[5], 2_030)])
    evaluate(warehouse, (DAYS[0], DAYS[5]))
    found = warehouse.read("ml.model_evaluations", where={"horizon_sessions": 5})
    assert found["censor_reason"].tolist() == ["unexplained_jump"]

    adjust(warehouse, DAYS[:5])
    evaluate(warehouse, (DAYS[0], DAYS[5]))
    one = warehouse.read("ml.model_evaluations", where={"horizon_sessions": 5, "version": 2}).iloc[0]
    assert (one["status"], one["entry_price"], one["exit_price"]) == ("matured", 10_099, 2_030)
    assert one["adjustment_factor"] == pytest.approx(0.2)
    assert one["log_return"] == pytest.approx(log(2_030 / (10_099 * 0.2)))
    assert one["target_achieved"]
    assert not one["support_breached"]
