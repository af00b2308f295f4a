"""The KIS OpenAPI: one account's access to all services that Azak asks.

Belongs here: the client object, and what each of its methods promises. How a service is asked is in `services`, what
its rows mean in `bars`, `flows`, `master` and the like, token and error codes in `gateway`. Prices are raw, on KRX
(market `J`), never consolidated with other venues.
"""

import threading
import time
from collections.abc import Callable
from datetime import date, datetime

from azak_assets import krx
from azak_assets.ports import Channel, TokenStore
from azak_assets.sources.kis import minutes
from azak_assets.sources.kis.gateway import Gateway
from azak_assets.sources.kis.services import after_hours, daily, intraday, reference
from azak_assets.sources.records import (
    Batch,
    DailyBar,
    FinancialRatio,
    IndexBar,
    IndexBreadth,
    InvestorFlow,
    ListedStock,
    MarketDay,
    MinuteBar,
    OrderBook,
    OvertimeBar,
    ProductInfo,
    Quote,
)
from azak_assets.sources.transport import Transport


class KisClient:
    """One account's access to KIS, safe to share between threads.

    Tokens, rate limit and call log are shared with every other process through `tokens` and `channel`. `now` must
    return an aware datetime; it decides which sessions and minutes are over. All methods raise `SourceFailure`s.
    """

    def __init__(
        self,
        *,
        base_url: str,
        master_base_url: str,
        app_key: str,
        app_secret: str,
        tokens: TokenStore,
        channel: Channel,
        per_second: float = 15,
        now: Callable[[], datetime] = lambda: datetime.now(krx.KST),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._gateway = Gateway(
            base_url,
            app_key=app_key,
            app_secret=app_secret,
            tokens=tokens,
            channel=channel,
            per_second=per_second,
            now=now,
            sleep=sleep,
        )
        self._master = Transport("kis-master", master_base_url, channel=channel, per_second=10, sleep=sleep)
        self._holidays: tuple[tuple[date, date, date], Batch[MarketDay]] | None = None
        self._holidays_lock = threading.Lock()

    def daily_bars(self, stock_code: str, start: date, end: date) -> Batch[DailyBar]:
        """Raw daily bars of one stock for the finished sessions of `start` … `end`, oldest first.

        One call for up to 100 sessions. A session that closed less than ten minutes ago, or has not closed, is left
        out; if that leaves none, no call is made. `Empty` when KIS knows no bar at all (it answers so for unknown
        codes). A stock listed later, or delisted, has fewer bars than sessions, which is no failure; a session missing
        between two others is a reject, because KIS has a bar for halted sessions too.
        """
        return daily.daily_bars(self._gateway, stock_code, start, end)

    def index_bars(self, index_code: str, start: date, end: date) -> Batch[IndexBar]:
        """Daily bars of one index (KIS code: 0001 KOSPI, 1001 KOSDAQ, 2001 KOSPI200), oldest first; 50 a call.

        As for stocks, but an index has a bar in every session: each finished one without is a reject naming the day.
        """
        return daily.index_bars(self._gateway, index_code, start, end)

    def minute_bars(self, stock_code: str, day: date) -> Batch[MinuteBar]:
        """One-minute bars of a past session, oldest first, in four calls; KIS keeps about a year of them.

        Minutes without a trade have no bar. `Empty` when KIS has no row at all for the day; a stock that was halted
        all day has rows but no bars. Raises `krx.NotASession`. Live accounts only.
        """
        return intraday.minute_bars(self._gateway, stock_code, day)

    def minute_bars_today(self, stock_code: str, known: minutes.SessionMinutes | None = None) -> minutes.SessionMinutes:
        """The one-minute bars of today's session so far, 30 a call; nothing before its first minute is over.

        `known`: what earlier askings brought. The walk back from now then ends where it meets that, usually in one
        call; where the volumes do not add up to the day's (`minutes` has the rule) the whole session is asked for
        again. Raises `krx.NotASession` on a closed day. A stock without a trade so far has no bars, which is no
        failure; `Empty` when KIS has no row at all ten minutes after the open.
        """
        return intraday.minute_bars_today(self._gateway, stock_code, known)

    def quote(self, stock_code: str) -> Batch[Quote]:
        """How a stock stands now; one call. `Empty` for a code that KIS does not know.

        The answer tells no time: `known_at` is the clock when it was there, which is later than the asking by the wait
        for a slot, so that nothing counts as known before it could be.
        """
        return intraday.quote(self._gateway, stock_code)

    def order_book(self, stock_code: str) -> Batch[OrderBook]:
        """The ten best levels of a stock now; one call. `known_at` and `Empty` as for a quote."""
        return intraday.order_book(self._gateway, stock_code)

    def investor_flows(self, stock_code: str) -> Batch[InvestorFlow]:
        """Who bought and sold one stock in its newest sessions, about 30, oldest first; the service takes no range.

        One call. A session that closed less than half an hour ago is left out, and today's while its cells are empty.
        `Empty` when KIS has no row at all (it answers so for unknown codes).
        """
        return after_hours.investor_flows(self._gateway, stock_code)

    def overtime_bars(self, stock_code: str) -> Batch[OvertimeBar]:
        """The single-price sessions after hours of one stock, of its newest 30 days, oldest first.

        One call. Since 2026-09-14 there is no such session and an answer without rows is right; before it is `Empty`.
        """
        return after_hours.overtime_bars(self._gateway, stock_code)

    def index_breadth(self, index_code: str) -> Batch[IndexBreadth]:
        """Risers and fallers of one index in its newest session; none while that runs. Live accounts only.

        One call. `Empty` when KIS knows no day of the index (it answers so for unknown codes).
        """
        return after_hours.index_breadth(self._gateway, index_code)

    def market_days(self, start: date, end: date) -> Batch[MarketDay]:
        """Whether the exchange trades, for every calendar day of `start` … `end`, in order; 24 days a call.

        The broker wants this service asked at most once a day: about the same range a client asks once a KST day and
        repeats that answer. It may end before `end`, where the broker's calendar does; a day missing before is a
        reject. `Empty` when there is no day at all. Raises `ValueError` for a reversed range. Live accounts only.
        """
        if start > end:
            raise ValueError(f"the first day asked, {start}, is after the last, {end}")
        asked = (self._gateway.now().astimezone(krx.KST).date(), start, end)
        with self._holidays_lock:
            if self._holidays is None or self._holidays[0] != asked:
                self._holidays = asked, reference.market_days(self._gateway, start, end)
            return self._holidays[1]

    def listed_stocks(self) -> Batch[ListedStock]:
        """Every share listed today on KOSPI, KOSDAQ and KONEX, from the three master files (no credentials needed).

        ELW, warrants and ETN are left out. A code that appears in two markets is refused the second time. `Empty` when
        a file holds no share.
        """
        return reference.listed_stocks(self._master)

    def financial_ratios(self, stock_code: str) -> Batch[FinancialRatio]:
        """The ratios of one company for the fiscal periods KIS keeps, annual and quarterly; two calls.

        How many periods come is not documented: what arrives is read. `Empty` when there is none of either kind, as for
        an unknown code and for a company that has reported nothing yet. Live accounts only.
        """
        return reference.financial_ratios(self._gateway, stock_code)

    def product_info(self, stock_code: str) -> Batch[ProductInfo]:
        """What the broker's ledger says of one issue: one call, and one more where the first names no industry.

        `Empty` for a code it does not know. Live accounts only.
        """
        return reference.product_info(self._gateway, stock_code)

    def close(self) -> None:
        """Close the connections."""
        self._gateway.close()
        self._master.close()
