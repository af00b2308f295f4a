"""What is followed: since when, which stocks with how much of a quota, and by which other names the press calls them.

Belongs here: the committed seed (``universe.csv``: code, tier, aliases; the name is for its readers, the broker's
master file decides it) and the rule for issues the seed does not name. Does not belong here: who is listed.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources

FIRST_TRADING_DAY = date(2015, 1, 2)
"""The first session that Azak keeps anything of."""

TIER_1_MOST = 30
TIERS_1_AND_2_MOST = 200
TIER_1_SHARE = 0.015
TIERS_1_AND_2_SHARE = 0.10
"""Shares of the listed issues, so that 200 stocks are tiered like 2,700, where the counts above bind."""


@dataclass(frozen=True, slots=True)
class SeedRow:
    """What the seed says of one stock: its tier (1 most wanted) and its other names in the press."""

    stock_code: str
    tier: int
    aliases: tuple[str, ...]


@cache
def universe_seed() -> Mapping[str, SeedRow]:
    """The committed seed by stock code."""
    text = resources.files(__package__).joinpath("universe.csv").read_text(encoding="utf-8")
    return {
        row["stock_code"]: SeedRow(row["stock_code"], int(row["tier"]), tuple(filter(None, row["aliases"].split("|"))))
        for row in csv.DictReader(text.splitlines())
    }


@dataclass(frozen=True, slots=True)
class Issue:
    """What the tier rule needs of one listed issue. ``market_cap_krw`` may be unknown (None)."""

    stock_code: str
    market: str
    is_company: bool
    market_cap_krw: int | None


def tiers(issues: list[Issue]) -> dict[str, int]:
    """The tier of every issue: the seed's where it names the code, else by rank of market capitalisation.

    The largest companies fill tier 1 (at most 30) and tier 2 (at most 200 with tier 1); the larger half of the rest of
    KOSPI and KOSDAQ is tier 3, the smaller half tier 4; KONEX, funds and shells are tier 5.
    """
    seed = universe_seed()
    assigned = {issue.stock_code: seed[issue.stock_code].tier for issue in issues if issue.stock_code in seed}
    ranked = sorted(
        (i for i in issues if i.stock_code not in assigned and i.is_company and i.market != "KONEX"),
        key=lambda i: (-(i.market_cap_krw or 0), i.stock_code),
    )
    room_1 = min(TIER_1_MOST, round(len(issues) * TIER_1_SHARE)) - sum(tier == 1 for tier in assigned.values())
    room_2 = min(TIERS_1_AND_2_MOST, round(len(issues) * TIERS_1_AND_2_SHARE)) - len(assigned) - max(room_1, 0)
    first, second = max(room_1, 0), max(room_1, 0) + max(room_2, 0)
    half = second + (len(ranked) - second + 1) // 2
    for rank, issue in enumerate(ranked):
        assigned[issue.stock_code] = 1 if rank < first else 2 if rank < second else 3 if rank < half else 4
    return {issue.stock_code: assigned.get(issue.stock_code, 5) for issue in issues}
