"""The books of the invented issuers: what each has reported by a day, and how a broker's ledger describes it.

Belongs here: ratios and descriptions; prices are `market`, wire formats `kis_company`. A company's years are drawn from
a generator keyed by (seed, issue) for all time and fit its first price: book value is that price over a drawn multiple.
A report appears when DART's is due (`filings`). A split share's numbers are per share as of the day asked, so that a
split restates every year before it.
"""

from bisect import bisect_left
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache

import numpy as np

from azak_assets import krx
from azak_assets.sandbox.worlds.companies import Issuer
from azak_assets.sandbox.worlds.market import FIRST_SESSION, SPLIT, Market
from azak_assets.sandbox.worlds.world import SECTORS, Issue, Product, Ratios

FIRST_YEAR = 2018
PERIODS_KEPT = 30
DUE = {3: (0, 5, 15), 6: (0, 8, 14), 9: (0, 11, 14), 12: (1, 3, 31)}
"""Last month of a quarter: years later, month and day by which it is reported."""
WARNED_FOR = timedelta(days=60)
"""So long before its last session a share that leaves the market is an administrative issue."""


@dataclass(frozen=True, slots=True)
class _Period:
    """A year so far, in KRW a share of the first session."""

    revenue: float
    operating_profit: float
    income: float
    book: float
    debt: float


class Accounts:
    """The books of every issuer of a market."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._story = cache(self._draw)

    def ratios(self, number: int, today: date, *, annual: bool) -> list[Ratios]:
        """What is reported by `today`, newest first; nothing of a shell, a preferred share has its company's."""
        issuer = self._market.issuers[number]
        if issuer.is_spac:
            return []
        whose = number if issuer.parent is None else issuer.parent
        story = self._story(whose)
        pieces = SPLIT if issuer.split_on and today >= issuer.split_on else 1
        par = _par(self._market.seed, whose, self._market.issuers[whose])
        periods = [
            (year, month)
            for year, month in story
            if year > FIRST_YEAR and (month == 12 or not annual) and _due(year, month) <= today
        ]
        newest = sorted(periods, reverse=True)[:PERIODS_KEPT]
        return [
            _ratios(f"{year}{month:02d}", story[year, month], story[year - 1, month], par=par, pieces=pieces)
            for year, month in newest
        ]

    def product(self, number: int, issue: Issue, today: date) -> Product:
        """The ledger's description; shells, trusts and KONEX have no industry in it."""
        issuer, market = self._market.issuers[number], self._market
        whose = number if issuer.parent is None else issuer.parent
        par = _par(market.seed, whose, market.issuers[whose])
        gone = issuer.delisted_after
        index = min(bisect_left(market.days, today), len(market.days) - 1)
        return Product(
            issue=issue,
            par=par // SPLIT if issuer.split_on and today >= issuer.split_on else par,
            industry="" if issuer.is_spac or issuer.group in {"RT", "KN"} else SECTORS[issuer.sector],
            is_kospi200=bool(market.members("2001")[index, number]),
            is_administrative=gone is not None and today > gone - WARNED_FOR,
            delisted_on=krx.next_session(gone).day if gone is not None and today > gone else None,
        )

    def _draw(self, number: int) -> dict[tuple[int, int], _Period]:
        issuer = self._market.issuers[number]
        rng = np.random.default_rng([self._market.seed, 31, number])
        years = range(FIRST_YEAR, krx.LAST_DAY.year + 1)
        growth = rng.normal(0.06, 0.12 * issuer.volatility, len(years))
        margin = rng.normal(0.07, 0.05 * issuer.volatility, len(years))
        shares = np.sort(rng.uniform((0.21, 0.44, 0.69), (0.27, 0.54, 0.79), (len(years), 3)), axis=1)
        debt = np.exp(rng.normal(4.4, 0.5) + np.cumsum(rng.normal(0, 0.06, len(years))))
        revenue = float(np.exp(rng.normal(0.2, 0.5))) * np.cumprod(1 + np.maximum(growth, -0.5))
        operating = revenue * margin
        income = np.where(operating > 0, 0.78, 1.1) * operating
        # Book value starts at 1 and keeps three quarters of each year's income; all of it is scaled to the first price.
        book = np.maximum(1 + np.cumsum(0.75 * income), 0.2)
        last = FIRST_SESSION.year - 1 - FIRST_YEAR
        scale = issuer.price / float(np.exp(rng.normal(0.2, 0.6))) / float(book[last])
        story = {}
        for place, year in enumerate(years):
            before = float(book[place - 1]) if place else 1.0
            for month, part in zip(DUE, (*map(float, shares[place]), 1.0), strict=True):
                story[year, month] = _Period(
                    revenue=scale * part * float(revenue[place]),
                    operating_profit=scale * part * float(operating[place]),
                    income=scale * part * float(income[place]),
                    book=scale * (before + part * (float(book[place]) - before)),
                    debt=float(debt[place]),
                )
        return story


def _due(year: int, month: int) -> date:
    later, due_month, due_day = DUE[month]
    return date(year + later, due_month, due_day)


def _par(seed: int, number: int, issuer: Issuer) -> int:
    """A share that will be split has a par value that can be."""
    drawn = int(np.random.default_rng([seed, 32, number]).choice([100, 500, 500, 1_000, 5_000]))
    return 5_000 if issuer.split_on else drawn


def _growth(now: float, before: float) -> float:
    return 0.0 if now <= 0 or before <= 0 else 100 * (now / before - 1)


def _ratios(month: str, now: _Period, before: _Period, *, par: int, pieces: int) -> Ratios:
    return Ratios(
        month=month,
        revenue_growth=_growth(now.revenue, before.revenue),
        operating_profit_growth=_growth(now.operating_profit, before.operating_profit),
        net_income_growth=_growth(now.income, before.income),
        roe=100 * now.income / now.book,
        eps=now.income / pieces,
        sales_per_share=now.revenue / pieces,
        bps=now.book / pieces,
        retained=100 * (now.book - par) / par,
        debt=now.debt,
    )
