"""What the seeded market does besides its bars: who bought and sold, single prices after hours, breadth of an index.

How these come about belongs here; each is drawn from generators keyed by (seed, purpose, date) as the bars are, so a
past day never depends on when it is asked for. When they may be seen is decided by the clock in `SeededWorld`.
"""

from datetime import date
from functools import lru_cache

import numpy as np

from azak_assets import krx
from azak_assets.sandbox.worlds.market import Floats, Market, on_grid, price_limits
from azak_assets.sandbox.worlds.world import Breadth, InvestorFlow, OvertimeBar, Side

#: (share of all that is bought and sold, spread of the net, pull of the day's return, largest net), of the volume.
#: Foreigners and institutions buy what rises; retail investors take the other side.
_FOREIGN = (0.22, 0.06, 1.2, 0.20)
_INSTITUTION = (0.14, 0.05, 0.7, 0.12)
_OTHERS = (0.02, 0.004, 0.0, 0.02)
_RETAIL_SHARE = 0.62
_LARGEST_RETURN = 0.1


class AfterClose:
    """The sessions of a market once they are over."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._drawn = lru_cache(maxsize=64)(self._draw)

    def _draw(self, purpose: int, day: date) -> tuple[Floats, Floats]:
        rng = np.random.default_rng([self._market.seed, purpose, day.toordinal()])
        count = len(self._market.issuers)
        return rng.standard_normal((5, count)), rng.random((2, count))

    def flow(self, index: int, number: int) -> InvestorFlow | None:
        """Who bought and sold an issue in a session; zeros on a halt, None where it was not listed."""
        market = self._market
        close, reference = int(market.close[index, number]), int(market.reference[index, number])
        if close == 0:
            return None
        volume, day = int(market.volume[index, number]), market.days[index]
        normal, _ = self._drawn(9, day)
        lean = float(np.clip(np.log(close / reference), -_LARGEST_RETURN, _LARGEST_RETURN))

        def net_of(traits: tuple[float, float, float, float], draw: float) -> int:
            _, spread, pull, largest = traits
            return round(volume * float(np.clip(spread * draw + pull * lean, -largest, largest)))

        foreign, institution, others = (
            net_of(traits, float(normal[row, number])) for row, traits in enumerate((_FOREIGN, _INSTITUTION, _OTHERS))
        )
        average = int(market.turnover[index, number]) / volume if volume else 0.0

        def side(net: int, share: float, draw: float) -> Side:
            bought = max(round(volume * share + net / 2), net, 0)
            sold = bought - net
            # No trade happens exactly at the average.
            return Side(bought, sold, round(bought * average * (1 + 0.001 * draw)), round(sold * average))

        return InvestorFlow(
            day,
            close,
            reference,
            retail=side(-(foreign + institution + others), _RETAIL_SHARE, float(normal[3, number])),
            foreign=side(foreign, _FOREIGN[0], float(normal[4, number])),
            institution=side(institution, _INSTITUTION[0], float(normal[0, number])),
        )

    def overtime(self, index: int, number: int) -> OvertimeBar | None:
        """Single prices after a session, ±10 % of its close inside the day's own limits; None where there were none."""
        market = self._market
        close, volume, day = int(market.close[index, number]), int(market.volume[index, number]), market.days[index]
        if close == 0 or not krx.has_single_price_session(day):
            return None
        normal, uniform = self._drawn(10, day)
        share = 0.004 * float(np.exp(normal[1, number]))
        traded = int(volume * share) if uniform[0, number] > 0.1 else 0
        if traded == 0:
            return OvertimeBar(day, 0, 0, 0, close, int(market.reference[index, number]), volume)
        base = np.array([close, int(market.reference[index, number])], np.int64)
        konex = market.issuers[number].market == "KONEX"
        lower, upper = price_limits(base, np.array([10, 15 if konex else 30], np.int64))
        drift = close * np.exp(0.008 * market.issuers[number].volatility * normal[0, number])
        price = int(np.clip(on_grid(np.array([drift]))[0], lower.max(), upper.min()))
        turnover = round(traded * (price + close) / 2)
        return OvertimeBar(day, price, traded, turnover, close, int(base[1]), volume)

    def breadth(self, code: str, index: int, *, at_open: bool) -> Breadth:
        """Risers and fallers of an index by their last price, or by their first while the session runs."""
        market = self._market
        members = market.members(code)[index] & (market.reference[index] > 0)
        price = market.open[index] if at_open else market.close[index]
        price = np.where(market.volume[index] > 0, price, market.reference[index])
        reference = market.reference[index]
        percent = np.array([15 if issuer.market == "KONEX" else 30 for issuer in market.issuers], np.int64)
        lower, upper = price_limits(reference, percent)
        moves = (price > reference, price < reference, price == reference, price >= upper, price <= lower)
        return Breadth(*(int((members & one).sum()) for one in moves))
