"""The KIS OpenAPI over HTTP: token, envelope, error codes and paging.

Put here what is asked and in how many calls; what the rows mean is in `bars`, `flows` and `master`. Source of every
rule: the broker's published service documents and samples (koreainvestment/open-trading-api). Prices are raw, on KRX
(market `J`), never consolidated with other venues.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from azak_assets import krx
from azak_assets.ports import Budget, Token, TokenStore
from azak_assets.sources.collect import collect
from azak_assets.sources.failures import (
    ContractChanged,
    Empty,
    NotForThisAccount,
    RateLimited,
    SourceFailure,
    Unauthorized,
    Unavailable,
)
from azak_assets.sources.fields import Refused, Row, one_each, parse_rows, reject
from azak_assets.sources.kis import bars, company, flows, master, minutes, quotes
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
    Reject,
)
from azak_assets.sources.transport import Answer, Transport, payload_hash

__all__ = ["KisClient", "collect"]

T = TypeVar("T")
B = TypeVar("B", DailyBar, IndexBar)
D = TypeVar("D", DailyBar, IndexBar, InvestorFlow, OvertimeBar)

QUOTATIONS = "/uapi/domestic-stock/v1/quotations"
FINANCE = "/uapi/domestic-stock/v1/finance"
TOKEN_PATIENCE_S = 150.0
"""One token a minute: long enough to wait out two refusals."""

TOKEN_REFUSED = frozenset({"EGW00121", "EGW00122", "EGW00123"})
PAUSE_S = {"EGW00201": 1.0, "EGW00215": 1.0, "EGW00133": 60.0}
"""Too many calls in a second, and more than one token in a minute."""
NOT_OURS = frozenset({"EGW00103", "EGW00105", "EGW00206", "EGW00207"})
LIVE_ONLY = "EGW00213"
UNKNOWN_CODE = "KIS answers so for unknown codes: check the code"
GATEWAY_TROUBLE = frozenset({"EGW00002", "EGW00202", "EGW00203", "EGW00300", "EGW00301", "EGW00302"})


@dataclass(frozen=True, slots=True)
class _Service:
    """One quotation service: its path, its transaction id and the most rows it sends in one answer."""

    path: str
    tr_id: str
    rows: int
    folder: str = QUOTATIONS


DAILY = _Service("/inquire-daily-itemchartprice", "FHKST03010100", 100)
INDEX = _Service("/inquire-daily-indexchartprice", "FHKUP03500100", 50)
PAST_MINUTES = _Service("/inquire-time-dailychartprice", "FHKST03010230", 120)
MINUTES_OF_TODAY = _Service("/inquire-time-itemchartprice", "FHKST03010200", 30)
INVESTORS = _Service("/inquire-investor", "FHKST01010900", 30)
OVERTIME = _Service("/inquire-daily-overtimeprice", "FHPST02320000", 30)
INDEX_TABLE = _Service("/inquire-index-daily-price", "FHPUP02120000", 100)
HOLIDAYS = _Service("/chk-holiday", "CTCA0903R", 24)
RATIOS = _Service("/financial-ratio", "FHKST66430300", 30, FINANCE)
STOCK_INFO = _Service("/search-stock-info", "CTPF1002R", 1)
PRODUCT_CLASS = _Service("/search-info", "CTPF1604R", 1)
QUOTE = _Service("/inquire-price", "FHKST01010100", 1)
BOOK = _Service("/inquire-asking-price-exp-ccn", "FHKST01010200", 1)


class _TokenRefused(SourceFailure):
    """The server does not know or no longer accepts the token; the client replaces it once.

    A `SourceFailure`, so that the transport takes the token out of what the server said; it never leaves the client.
    """

    is_of_the_upstream = False


@dataclass(slots=True)
class _Calls:
    """The bodies that one question took, for the count and the hash of its batch."""

    bodies: list[bytes] = field(default_factory=list)

    def batch(self, records: list[T], rejects: list[Reject]) -> Batch[T]:
        return Batch(records, rejects, len(self.bodies), payload_hash(self.bodies))


@dataclass(slots=True)
class _Walk:
    """The pages of one walk back through a session's minutes, newest first, and their rows by minute."""

    pages: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[datetime, Row] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    disputed: set[datetime] = field(default_factory=set)
    """Minutes that two different rows tell of: neither is sure."""

    def add(self, starts: Iterable[tuple[datetime, Row]]) -> list[datetime]:
        """Keep the rows of a page by minute; returns the minutes that were not known."""
        fresh = []
        for ts, row in starts:
            known = self.rows.setdefault(ts, row)
            if known is row:
                fresh.append(ts)
            elif known != row:
                self.disputed.add(ts)
                why = "is told of by two different rows: neither is sure"
                told = (known, row)
                self.rejects += [reject(one, Refused("stck_cntg_hour", f"{ts:%H:%M}", why)) for one in told]
        return fresh

    def parsed(self, stock_code: str, session: krx.Session, now: datetime) -> tuple[list[bars.MinuteRow], list[Reject]]:
        """The traded minutes of the session that are over, and every reject of the walk."""
        rows = [row for ts, row in self.rows.items() if ts not in self.disputed]
        found, refused = parse_rows(rows, lambda row: bars.minute_row(row, stock_code, session, now))
        return found, self.rejects + refused

    def totals(self, session: krx.Session, now: datetime) -> minutes.Totals:
        """What the newest page says of the day beside its rows."""
        head = self.pages[0].get("output1")
        volumes = [
            minutes.total(self.rows[ts], "cntg_vol") or 0
            for ts in sorted(self.rows)
            if ts >= session.open_at and ts + bars.MINUTE > now
        ]
        return minutes.Totals(minutes.total(head, "acml_vol"), minutes.total(head, "acml_tr_pbmn"), volumes)

    def quiet(self) -> list[datetime]:
        """The minutes whose row says that nothing traded."""
        return [ts for ts, row in self.rows.items() if minutes.total(row, "cntg_vol") == 0]


class KisClient:
    """One account's access to KIS, safe to share between threads.

    Tokens and the request budget are shared with every other process through `tokens` and `budget`. `now` must return
    an aware datetime; it decides which sessions and minutes are over. All methods raise `SourceFailure`s.
    """

    def __init__(
        self,
        *,
        base_url: str,
        master_base_url: str,
        app_key: str,
        app_secret: str,
        tokens: TokenStore,
        budget: Budget,
        per_second: float = 15,
        now: Callable[[], datetime] = lambda: datetime.now(krx.KST),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._app_key = app_key
        self._app_secret = app_secret
        self._tokens = tokens
        self._now = now
        # A kept token belongs to one key at one host: after a change of either it must not be sent.
        self._token_name = "kis:" + hashlib.sha256(f"{base_url}\n{app_key}".encode()).hexdigest()[:16]
        self._holidays: tuple[tuple[date, date, date], Batch[MarketDay]] | None = None
        self._holidays_lock = threading.Lock()
        secrets = (app_key, app_secret)
        self._api = Transport("kis", base_url, budget=budget, per_second=per_second, secrets=secrets, sleep=sleep)
        self._master = Transport("kis-master", master_base_url, budget=budget, per_second=10, sleep=sleep)

    def daily_bars(self, stock_code: str, start: date, end: date) -> Batch[DailyBar]:
        """Raw daily bars of one stock for the finished sessions of `start` … `end`, oldest first.

        One call for up to 100 sessions. A session that closed less than ten minutes ago, or has not closed, is left
        out; if that leaves none, no call is made. `Empty` when KIS knows no bar at all (it answers so for unknown
        codes). A stock listed later, or delisted, has fewer bars than sessions, which is no failure; a session missing
        between two others is a reject, because KIS has a bar for halted sessions too.
        """
        asked = bars.Asked.between(start, end, self._now())
        calls = _Calls()
        query = {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": stock_code, "FID_ORG_ADJ_PRC": "1"}
        rows = self._pages(DAILY, query, asked, calls)

        def bar_and_row(row: Row) -> tuple[DailyBar, Row] | None:
            bar = bars.daily_bar(row, stock_code, asked)
            return None if bar is None else (bar, row)

        pairs, rejects = parse_rows(rows, bar_and_row)
        found = [bar for bar, _ in pairs]
        # A bar whose base price cannot be read still lands; the refusal says what is missing of it.
        rejects += parse_rows((row for _, row in pairs), bars.unread_base)[1]
        records = _by_day(f"daily bar of {stock_code}", asked, found, rejects)
        if records:
            expected = [day for day in asked.finished if records[0].trade_date < day < records[-1].trade_date]
            rejects.extend(_missing(stock_code, expected, records))
        return calls.batch(records, rejects)

    def index_bars(self, index_code: str, start: date, end: date) -> Batch[IndexBar]:
        """Daily bars of one index (KIS code: 0001 KOSPI, 1001 KOSDAQ, 2001 KOSPI200), oldest first; 50 a call.

        As for stocks, but an index has a bar in every session: each finished one without is a reject naming the day.
        """
        asked = bars.Asked.between(start, end, self._now())
        calls = _Calls()
        query = {"FID_COND_MRKT_DIV_CODE": "U", "FID_INPUT_ISCD": index_code}
        rows = self._pages(INDEX, query, asked, calls)
        found, rejects = parse_rows(rows, lambda row: bars.index_bar(row, index_code, asked))
        records = _by_day(f"bar of index {index_code}", asked, found, rejects)
        return calls.batch(records, [*rejects, *_missing(index_code, asked.finished, records)])

    def minute_bars(self, stock_code: str, day: date) -> Batch[MinuteBar]:
        """One-minute bars of a past session, oldest first, in four calls; KIS keeps about a year of them.

        Minutes without a trade have no bar. `Empty` when KIS has no row at all for the day; a stock that was halted
        all day has rows but no bars. Raises `krx.NotASession`. Live accounts only.
        """
        query = {**_stock(stock_code), "FID_INPUT_DATE_1": f"{day:%Y%m%d}", "FID_FAKE_TICK_INCU_YN": ""}
        calls, session, now = _Calls(), krx.session(day), self._now()
        walk = self._walk(PAST_MINUTES, query, calls, session=session, now=now)
        rows, rejects = walk.parsed(stock_code, session, now)
        return calls.batch(bars.with_turnover(rows), rejects)

    def minute_bars_today(self, stock_code: str, known: minutes.SessionMinutes | None = None) -> minutes.SessionMinutes:
        """The one-minute bars of today's session so far, 30 a call; nothing before its first minute is over.

        `known`: what earlier askings brought. The walk back from now then ends where it meets that, usually in one
        call; where the volumes do not add up to the day's (`minutes` has the rule) the whole session is asked for
        again. Raises `krx.NotASession` on a closed day. A stock without a trade so far has no bars, which is no
        failure; `Empty` when KIS has no row at all ten minutes after the open.
        """
        now = self._now()
        session = krx.session(now.astimezone(krx.KST).date())
        calls, rejects = _Calls(), dict[Reject, None]()
        bars_so_far = list(known.bars) if known else []
        off_book, missing = (known.off_book, known.missing) if known else (0, 0)
        fresh: dict[datetime, MinuteBar] = {}
        query = {**_stock(stock_code), "FID_ETC_CLS_CODE": ""}
        walks = (bars_so_far[-1].ts if bars_so_far else None, None) if now >= session.open_at else ()
        for since in walks:
            walk = self._walk(MINUTES_OF_TODAY, query, calls, session=session, now=now, since=since)
            rows, refused = walk.parsed(stock_code, session, now)
            rejects.update(dict.fromkeys(refused))
            bars_so_far, new = minutes.merged(bars_so_far, bars.with_turnover(rows, None if since else 0))
            fresh.update((bar.ts, bar) for bar in new)
            totals = walk.totals(session, now)
            if since is None:
                off_book = missing = 0
            if minutes.is_complete(bars_so_far, totals, off_book):
                break
            if since is None:
                off_book = minutes.left_over(bars_so_far, totals)
                missing = minutes.missing_minutes(rows, walk.quiet(), session, totals, now)
                if totals.volume is None:
                    break
        batch = calls.batch([fresh[ts] for ts in sorted(fresh)], list(rejects))
        return minutes.SessionMinutes(
            batch.records,
            batch.rejects,
            batch.requests,
            batch.payload_sha256,
            bars=bars_so_far,
            missing=missing,
            off_book=off_book,
        )

    def quote(self, stock_code: str) -> Batch[Quote]:
        """How a stock stands now; one call. `Empty` for a code that KIS does not know.

        The answer tells no time: `known_at` is the clock when it was there, which is later than the asking by the wait
        for the budget, so that nothing counts as known before it could be.
        """
        calls = _Calls()
        answer = _object(self._get(QUOTE, _stock(stock_code), calls), "output")
        at = self._now()
        if quotes.is_blank(answer):
            raise Empty("kis", f"no quote of {stock_code}", advice="KIS answers so for an unknown code: check it")
        records, rejects = parse_rows([answer], lambda row: quotes.quote(row, stock_code, at))
        return calls.batch(records, rejects)

    def order_book(self, stock_code: str) -> Batch[OrderBook]:
        """The ten best levels of a stock now; one call. `known_at` and `Empty` as for a quote."""
        calls = _Calls()
        body = self._get(BOOK, _stock(stock_code), calls)
        at = self._now()
        answer = {name: _object(body, name) for name in ("output1", "output2")}
        if quotes.is_blank(answer["output1"]):
            raise Empty("kis", f"no book of {stock_code}", advice="KIS answers so for an unknown code: check it")
        records, rejects = parse_rows(
            [answer], lambda row: quotes.order_book(row["output1"], row["output2"], stock_code, at)
        )
        return calls.batch(records, rejects)

    def investor_flows(self, stock_code: str) -> Batch[InvestorFlow]:
        """Who bought and sold one stock in its newest sessions, about 30, oldest first; the service takes no range.

        One call. A session that closed less than half an hour ago is left out, and today's while its cells are empty.
        `Empty` when KIS has no row at all (it answers so for unknown codes).
        """
        calls = _Calls()
        query = {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": stock_code}
        rows = _dated(_rows(self._get(INVESTORS, query, calls), "output"))
        if not rows:
            raise Empty("kis", f"no investor flows of {stock_code}", advice=UNKNOWN_CODE)
        now = self._now()
        found, rejects = parse_rows(rows, lambda row: flows.investor_flow(row, stock_code, now))
        return calls.batch(_one_a_day(found, rejects), rejects)

    def overtime_bars(self, stock_code: str) -> Batch[OvertimeBar]:
        """The single-price sessions after hours of one stock, of its newest 30 days, oldest first.

        One call. Since 2026-09-14 there is no such session and an answer without rows is right; before it is `Empty`.
        """
        calls = _Calls()
        query = {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": stock_code}
        rows = _dated(_rows(self._get(OVERTIME, query, calls)))
        now = self._now()
        if not rows and krx.has_single_price_session(krx.session_on_or_after(now.astimezone(krx.KST).date()).day):
            raise Empty("kis", f"no after-hours price of {stock_code}", advice=UNKNOWN_CODE)
        found, rejects = parse_rows(rows, lambda row: flows.overtime_bar(row, stock_code, now))
        return calls.batch(_one_a_day(found, rejects), rejects)

    def index_breadth(self, index_code: str) -> Batch[IndexBreadth]:
        """Risers and fallers of one index in its newest session; none while that runs. Live accounts only.

        One call. `Empty` when KIS knows no day of the index (it answers so for unknown codes).
        """
        calls = _Calls()
        now = self._now()
        query = {
            "FID_COND_MRKT_DIV_CODE": "U",
            "FID_INPUT_ISCD": index_code,
            "FID_INPUT_DATE_1": f"{now.astimezone(krx.KST):%Y%m%d}",
            "FID_PERIOD_DIV_CODE": "D",
        }
        body = self._get(INDEX_TABLE, query, calls)
        rows = _dated(_rows(body))
        if not rows:
            raise Empty("kis", f"no day of index {index_code}", advice=UNKNOWN_CODE)
        records, rejects = parse_rows(
            [body.get("output1")], lambda head: flows.index_breadth(head, rows, index_code, now)
        )
        return calls.batch(records, rejects)

    def market_days(self, start: date, end: date) -> Batch[MarketDay]:
        """Whether the exchange trades, for every calendar day of `start` … `end`, in order; 24 days a call.

        The broker wants this service asked at most once a day: about the same range a client asks once a KST day and
        repeats that answer. It may end before `end`, where the broker's calendar does; a day missing before is a
        reject. `Empty` when there is no day at all. Raises `ValueError` for a reversed range. Live accounts only.
        """
        if start > end:
            raise ValueError(f"the first day asked, {start}, is after the last, {end}")
        asked = (self._now().astimezone(krx.KST).date(), start, end)
        with self._holidays_lock:
            if self._holidays is None or self._holidays[0] != asked:
                self._holidays = asked, self._ask_market_days(start, end)
            return self._holidays[1]

    def _ask_market_days(self, start: date, end: date) -> Batch[MarketDay]:
        calls = _Calls()
        days: dict[date, MarketDay] = {}
        rejects: dict[Reject, None] = {}
        first = start
        while first <= end:
            query = {"BASS_DT": f"{first:%Y%m%d}", "CTX_AREA_NK": "", "CTX_AREA_FK": ""}
            rows = _rows(self._get(HOLIDAYS, query, calls), "output")
            found, refused = parse_rows(rows, partial(bars.market_day, first=first))
            told_once, disputed = one_each(found, lambda day: day.day, "bass_dt")
            rejects.update(dict.fromkeys(refused + disputed))
            if not told_once:
                break
            days |= {day.day: day for day in told_once}
            first = max(days) + timedelta(days=1)
        if not days and not rejects:
            raise Empty("kis", f"the broker's calendar has no day of {start} … {end}")
        told = [days[day] for day in sorted(days) if day <= end]
        lost = [day for day in _every_day(start, max(days, default=start)) if day not in days]
        why = "KIS sent no usable row for this day"
        return calls.batch(told, [*rejects, *(Reject("CTCA0903R", "bass_dt", str(day), why) for day in lost)])

    def listed_stocks(self) -> Batch[ListedStock]:
        """Every share listed today on KOSPI, KOSDAQ and KONEX, from the three master files (no credentials needed).

        ELW, warrants and ETN are left out. A code that appears in two markets is refused the second time. `Empty` when
        a file holds no share.
        """
        calls = _Calls()
        stocks: dict[str, ListedStock] = {}
        rejects: list[Reject] = []
        for market, layout in master.LAYOUTS.items():
            content, body = self._master.ask(lambda answer: (answer.unzipped(), answer.body), f"/{layout.file}")
            calls.bodies.append(body)
            found, refused = master.listed_stocks(market, content)
            if not found:
                why = f"; the first of {len(refused)} refused lines {refused[0].reason}" if refused else ""
                raise Empty("kis-master", f"{layout.file} holds no share{why}")
            rejects.extend(refused)
            for stock in found:
                first = stocks.setdefault(stock.stock_code, stock)
                if first is not stock:
                    why = f"is listed on {first.market} already"
                    rejects.append(Reject(repr(stock), "stock_code", stock.stock_code, why))
        return calls.batch(list(stocks.values()), rejects)

    def financial_ratios(self, stock_code: str) -> Batch[FinancialRatio]:
        """The ratios of one company for the fiscal periods KIS keeps, annual and quarterly; two calls.

        How many periods come is not documented: what arrives is read. `Empty` when there is none of either kind, as for
        an unknown code and for a company that has reported nothing yet. Live accounts only.
        """
        calls = _Calls()
        found: list[FinancialRatio] = []
        rejects: list[Reject] = []
        for period, division in company.PERIODS.items():
            query = {"FID_DIV_CLS_CODE": division, "fid_cond_mrkt_div_code": "J", "fid_input_iscd": stock_code}
            rows = _rows(self._get(RATIOS, query, calls), "output")
            ratios, refused = parse_rows(rows, partial(company.ratio, stock_code=stock_code, period=period))
            found.extend(ratios)
            rejects.extend(refused)
        if not found and not rejects:
            raise Empty("kis", f"no financial ratio of {stock_code}")
        records, refused = one_each(found, lambda one: f"{one.period} {one.period_end:%Y%m}", "stac_yymm")
        return calls.batch(records, rejects + refused)

    def product_info(self, stock_code: str) -> Batch[ProductInfo]:
        """What the broker's ledger says of one issue: one call, and one more where the first names no industry.

        `Empty` for a code it does not know. Live accounts only.
        """
        calls = _Calls()
        query = {"PRDT_TYPE_CD": company.SHARES, "PDNO": stock_code}
        row = _record(self._get(STOCK_INFO, query, calls), stock_code)
        classified = row if company.names_industry(row) else _record(self._get(PRODUCT_CLASS, query, calls), stock_code)
        found, rejects = parse_rows(
            [row], partial(company.product_info, stock_code=stock_code, product_class=company.product_class(classified))
        )
        return calls.batch(found, rejects)

    def close(self) -> None:
        """Close the connections."""
        self._api.close()
        self._master.close()

    def _pages(self, service: _Service, query: Mapping[str, str], asked: bars.Asked, calls: _Calls) -> list[Row]:
        # KIS counts `service.rows` sessions backwards from DATE_2, so a shorter answer is the last one.
        rows: list[Row] = []
        open_days = sorted(asked.finished)
        while open_days:
            dates = {
                "FID_INPUT_DATE_1": f"{asked.start:%Y%m%d}",
                "FID_INPUT_DATE_2": f"{open_days[-1]:%Y%m%d}",
                "FID_PERIOD_DIV_CODE": "D",
            }
            body = self._get(service, {**query, **dates}, calls)
            _check_code(body, query["FID_INPUT_ISCD"])
            page = _rows(body)
            rows.extend(page)
            if len(page) < service.rows:
                break
            oldest = _oldest_day(page, open_days)
            open_days = [day for day in open_days if day < oldest]
        return _dated(rows)

    def _walk(
        self,
        service: _Service,
        query: Mapping[str, str],
        calls: _Calls,
        *,
        session: krx.Session,
        now: datetime,
        since: datetime | None = None,
    ) -> _Walk:
        """Ask for the minutes up to ``now`` page by page, back to the open or to a page that meets ``since``."""
        walk, until = _Walk(), since or session.open_at
        # A minute ahead, which is answered as now: while we wait for the budget the minute may turn, and the totals
        # beside the rows would then hold a minute that the hour asked for leaves out.
        upper = min(session.close_at, now.astimezone(krx.KST) + bars.MINUTE)
        while upper >= until:
            asked = {
                "FID_INPUT_HOUR_1": f"{upper:%H%M%S}",
                "FID_PW_DATA_INCU_YN": "N",
            }
            body = self._get(service, {**query, **asked}, calls)
            walk.pages.append(body)
            starts, refused = parse_rows(_dated(_rows(body)), lambda row: (bars.minute_start(row), row))
            walk.rejects.extend(refused)
            fresh = walk.add((ts, row) for ts, row in starts if ts.date() == session.day)
            # One row stamped before the open must not end the walk: only the session's own minutes lead it.
            oldest = min((ts for ts in fresh if ts >= session.open_at), default=session.open_at)
            if oldest > upper:
                raise ContractChanged("kis", f"asked for minutes up to {upper:%H:%M}, got none before {oldest:%H:%M}")
            upper = oldest - bars.MINUTE
        # Just after the open a stock may not have traded; later KIS pads even a halted stock's minutes.
        if now >= session.open_at + krx.FINAL_AFTER_CLOSE and not walk.rows and not walk.rejects:
            raise Empty(
                "kis",
                f"no minute of {query['FID_INPUT_ISCD']} on {session.day}",
                advice="KIS keeps about a year of minutes and answers so for unknown codes: check both",
            )
        return walk

    def _get(self, service: _Service, params: Mapping[str, str], calls: _Calls) -> dict[str, Any]:
        def read(answer: Answer) -> dict[str, Any]:
            body = _envelope(answer)
            calls.bodies.append(answer.body)
            return body

        def ask(token: Token) -> dict[str, Any]:
            headers = {
                "content-type": "application/json; charset=utf-8",
                "authorization": f"Bearer {token.access_token}",
                "appkey": self._app_key,
                "appsecret": self._app_secret,
                "tr_id": service.tr_id,
                "custtype": "P",
            }
            return self._api.ask(read, service.folder + service.path, params=params, headers=headers)

        token = self._tokens.get_or_issue(self._token_name, self._issue)
        try:
            return ask(token)
        except _TokenRefused:
            token = self._tokens.get_or_issue(self._token_name, self._issue, discard=token.access_token)
        try:
            return ask(token)
        except _TokenRefused as refused:
            raise Unauthorized("kis", f"a token issued just now is refused: {refused.what}") from None

    def _issue(self) -> Token:
        def read(answer: Answer) -> Token:
            body = _envelope(answer)
            token = body.get("access_token")
            if not isinstance(token, str) or not token or not (token.isascii() and token.isprintable()):
                raise ContractChanged("kis", "the token answer holds no usable access_token", url=answer.url)
            return Token(token, self._expiry(body, answer))

        keys = {"grant_type": "client_credentials", "appkey": self._app_key, "appsecret": self._app_secret}
        return self._api.ask(read, "/oauth2/tokenP", method="POST", json_body=keys, patience_s=TOKEN_PATIENCE_S)

    def _expiry(self, body: Mapping[str, Any], answer: Answer) -> datetime:
        # Within six hours KIS hands out the same token again: the stated end is right where `expires_in` may not be.
        try:
            naive = datetime.strptime(str(body.get("access_token_token_expired")), "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007
            return naive.replace(tzinfo=krx.KST)
        except ValueError:
            pass
        seconds = body.get("expires_in")
        if not isinstance(seconds, int) or seconds <= 0:
            raise ContractChanged("kis", "the token answer does not say when the token ends", url=answer.url)
        return self._now() + timedelta(seconds=seconds)


def _envelope(answer: Answer) -> dict[str, Any]:
    """The body of a success; else the failure its code stands for, whatever the HTTP status says."""
    body = answer.json_object()
    is_success = str(body.get("rt_cd", "0")) == "0" and not body.get("error_code")
    if is_success:
        answer.raise_for_status()
        return body
    code = str(body.get("error_code") or body.get("msg_cd") or "").strip()
    said = str(body.get("error_description") or body.get("msg1") or "").strip()
    raise _failure(code, f"{code or 'a failure without a code'} (HTTP {answer.status}): {said}", answer)


def _failure(code: str, what: str, answer: Answer) -> SourceFailure:
    url = answer.url
    if code in TOKEN_REFUSED:
        return _TokenRefused("kis", what)
    if code in PAUSE_S:
        return RateLimited("kis", what, url=url, retry_after=PAUSE_S[code])
    if code in NOT_OURS:
        advice = "Check KIS_APP_KEY and KIS_APP_SECRET, and that they belong to KIS_BASE_URL"
        return Unauthorized("kis", what, url=url, advice=advice)
    if code == LIVE_ONLY:
        advice = "This service needs a live account: the paper host has none"
        return NotForThisAccount("kis", what, url=url, advice=advice)
    if code in GATEWAY_TROUBLE or (answer.status >= 500 and not code.startswith("OPSQ")):
        return Unavailable("kis", what, url=url)
    return ContractChanged("kis", what, url=url)


def _rows(body: Mapping[str, Any], name: str = "output2") -> list[Row]:
    rows = body.get(name)
    if not isinstance(rows, list):
        raise ContractChanged("kis", f"{name} is {type(rows).__name__}, not a list of rows")
    # KIS pads the answers of recently listed stocks with {}, and those about unknown codes with empty texts.
    return [row for row in rows if not isinstance(row, Mapping) or any(value != "" for value in row.values())]


def _record(body: Mapping[str, Any], stock_code: str) -> Row:
    """The one record of a ledger service; `Empty` where it holds nothing, as for an unknown code."""
    record = body.get("output")
    if not isinstance(record, Mapping):
        raise ContractChanged("kis", f"output is {type(record).__name__}, not one record")
    if not any(isinstance(value, str) and value.strip() for value in record.values()):
        raise Empty("kis", f"the ledger has no {stock_code}", advice="KIS answers so for an unknown code: check it")
    # Twelve characters, padded in front: 00000A005930.
    about = str(record.get("pdno") or "").strip()
    if not about.endswith(stock_code):
        raise ContractChanged("kis", f"asked for {stock_code}, the answer is about {about!r}")
    return record


def _object(body: Mapping[str, Any], name: str) -> Row:
    answer = body.get(name)
    if not isinstance(answer, Mapping):
        raise ContractChanged("kis", f"{name} is {type(answer).__name__}, not an object")
    return answer


def _stock(stock_code: str) -> dict[str, str]:
    return {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": stock_code}


def _dated(rows: Iterable[Row]) -> list[Row]:
    """The rows without those that carry no day at all, which the contract says to skip."""
    return [row for row in rows if not isinstance(row, Mapping) or "stck_bsop_date" in row]


def _every_day(start: date, end: date) -> Iterator[date]:
    while start < end:
        yield start
        start += timedelta(days=1)


def _check_code(body: Mapping[str, Any], asked: str) -> None:
    about = body.get("output1")
    answered = str(about.get("stck_shrn_iscd") or "").strip() if isinstance(about, Mapping) else ""
    if answered and answered != asked:
        raise ContractChanged("kis", f"asked for {asked}, the answer is about {answered}")


def _oldest_day(page: Sequence[Row], asked: Sequence[date]) -> date:
    """The oldest of the sessions asked that a full page holds; a day that is no such session proves nothing."""
    days, _ = parse_rows(page, bars.row_day)
    known = set(days).intersection(asked)
    if not known:
        what = f"none of {len(page)} rows is about a session of {asked[0]} … {asked[-1]}, so older ones stay unknown"
        raise ContractChanged("kis", what)
    return min(known)


def _by_day(what: str, asked: bars.Asked, found: Sequence[B], rejects: list[Reject]) -> list[B]:
    """The bars in the order of their days, as `_one_a_day` tells; `Empty` without any."""
    records = _one_a_day(found, rejects)
    if asked.finished and not records and not rejects:
        first, last = min(asked.finished), max(asked.finished)
        raise Empty(
            "kis",
            f"no {what} in the {len(asked.finished)} session(s) from {first} to {last}",
            advice="KIS answers so for an unknown code, before a listing and after a delisting: check the code",
        )
    return records


def _one_a_day(found: Sequence[D], rejects: list[Reject]) -> list[D]:
    """The records in the order of their days, one a day; two that differ become rejects."""
    records, refused = one_each(found, lambda record: record.trade_date, "stck_bsop_date")
    rejects.extend(refused)
    return sorted(records, key=lambda record: record.trade_date)


def _missing(code: str, expected: Iterable[date], records: Iterable[B]) -> list[Reject]:
    """A reject for every session that must have a bar and has none."""
    days = {bar.trade_date for bar in records}
    return [
        Reject(code, "stck_bsop_date", str(day), "KIS sent no usable bar for this session")
        for day in sorted(set(expected) - days)
    ]
