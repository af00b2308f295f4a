"""Adjustment factors: what makes prices before and after a split or a rights issue comparable.

Belongs here: which base prices of `raw.daily_bars` give a row of `raw.adjustment_factors`, and which do not count.
Does not belong here: reading a source's words (`sources.kis.bars`) and applying factors (`bars`, `horizons`).

The source says twice what happened: as a ratio with two decimals, and as a base price to the won. The factor is the
base price against the last close in our own table, and counts only where it rounds to the ratio: where the two disagree
there is no factor, and a price jump is then censored as unexplained instead of being explained wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import pandas as pd

from azak_assets import krx
from azak_assets.warehouse import readers
from azak_assets.warehouse.scope import LoadResult, Scope

if TYPE_CHECKING:
    from azak_assets.warehouse.warehouse import Warehouse

TABLE = "raw.adjustment_factors"
SOURCE = "raw.daily_bars"
ROUNDED_BY = 0.005 + 1e-9
"""Half of the last decimal of the source's ratio."""


@dataclass(frozen=True, slots=True)
class Adjustments:
    """The change of the table, its rows of the sessions, and the bars whose base price does not count."""

    result: LoadResult
    factors: pd.DataFrame
    unconfirmed: pd.DataFrame


def adjust(warehouse: Warehouse, days: Sequence[date]) -> Adjustments:
    """Bring `raw.adjustment_factors` up to date with the bars of some sessions, oldest first, and of the one after.

    The session after belongs to it because a corrected close changes the factor of the next day. A base price
    without a bar before it (first session loaded) cannot be checked and gives no factor until there is one.
    """
    concerned = [*days, krx.next_session(days[-1]).day]
    bars = readers.bars_with_base_price(warehouse.engine, concerned)
    bars["factor"] = bars["base_price"] / bars["previous_close"].astype("float64")
    is_confirmed = (bars["factor"] - bars["base_ratio"]).abs() <= ROUNDED_BY
    unconfirmed = bars[~is_confirmed & bars["ex_date"].isin(days)]
    factors = bars.loc[is_confirmed & (bars["base_price"] != bars["previous_close"])].drop(columns="base_ratio")
    factors = factors.astype({"previous_close": "int64"})
    result = warehouse.load(TABLE, factors, Scope(days=tuple(concerned)), complete=True, source=SOURCE)
    return Adjustments(result, factors[factors["ex_date"].isin(days)], unconfirmed.drop(columns="known_at"))
