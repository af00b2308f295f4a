"""Tiers: the seed first, then the rank of market capitalisation, at most 30 in tier 1 and 200 in tiers 1 and 2."""

from collections import Counter

import pandas as pd
import pytest

from azak_assets import krx
from azak_assets.universe import Issue, tiers, universe_seed


def market(count: int, *, first: int = 990_000) -> list[Issue]:
    """Invented companies; the later the number, the smaller."""
    return [Issue(f"{first + 10 * n:06d}", "KOSPI", True, 10**15 - n * 10**9) for n in range(count)]


def test_the_seed_is_sound() -> None:
    seed = universe_seed()
    assert all(krx.is_stock_code(code) for code in seed)
    assert Counter(row.tier for row in seed.values())[1] <= 30
    assert len(seed) <= 200
    names = [alias for row in seed.values() for alias in row.aliases]
    assert len(names) == len(set(names)), "an alias of two stocks names neither"


def test_the_seed_names_real_listings(recorded_data) -> None:
    listed = pd.read_csv(recorded_data / "listing_2026-03-20.csv", dtype=str, encoding="utf-8-sig")
    assert set(universe_seed()) <= set(listed["Code"])


def test_the_seed_decides_before_the_rank() -> None:
    small_but_wanted = Issue("005930", "KOSPI", True, 1)
    assert tiers([*market(300), small_but_wanted])["005930"] == 1


@pytest.mark.parametrize(("count", "first", "both"), [(2_700, 30, 200), (200, 3, 20), (10, 0, 1)])
def test_the_largest_companies_fill_the_upper_tiers_within_their_quota(count: int, first: int, both: int) -> None:
    assigned = tiers(market(count))
    by_tier = Counter(assigned.values())
    assert by_tier[1] == first
    assert by_tier[1] + by_tier[2] == both
    ranked = list(assigned.values())
    assert ranked == sorted(ranked), "a larger company never has a lower tier"


def test_funds_shells_and_konex_never_rise_above_the_last_tier() -> None:
    fund, konex = Issue("990001", "KOSPI", False, 10**18), Issue("990002", "KONEX", True, 10**18)
    assigned = tiers([*market(100), fund, konex])
    assert (assigned["990001"], assigned["990002"]) == (5, 5)


def test_an_unknown_capitalisation_ranks_last() -> None:
    unknown = Issue("999990", "KOSDAQ", True, None)
    assert tiers([*market(100), unknown])["999990"] == 4
