"""The seeded world: the market, news and filings of a seed, seen from an instant.

Only the clock belongs here. What happens is drawn by `market`, `news` and `filings` for all time; this module answers
what of it could be known by `now`, the unfinished bar of a running session included.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta

from azak_assets import krx, universe
from azak_assets.sandbox.worlds.accounts import Accounts
from azak_assets.sandbox.worlds.after_close import AfterClose
from azak_assets.sandbox.worlds.books import book
from azak_assets.sandbox.worlds.filings import Registry
from azak_assets.sandbox.worlds.forum import Forum
from azak_assets.sandbox.worlds.market import AUCTION, FIRST_SESSION, Market
from azak_assets.sandbox.worlds.news import Newsroom
from azak_assets.sandbox.worlds.world import (
    INDICES,
    MINUTE,
    Article,
    Breadth,
    Company,
    DailyBar,
    Filing,
    IndexBar,
    InvestorFlow,
    Issue,
    MinuteBar,
    OvertimeBar,
    Post,
    Product,
    Ratios,
    Standing,
    isin_of,
)
from azak_assets.sandbox.worlds.world import Market as MarketName

FLOWS_AFTER = timedelta(minutes=30)
"""So long after a close it is known who bought and sold."""
FOLLOWED_FOR = timedelta(days=7)
"""Whoever asks for past minutes took the tiers from the master files up to so long ago: they are read once a week."""
MASTER_CAP_UNIT = 100_000_000
"""KRW: the master files tell a market value in these."""


class SeededWorld:
    """200 invented issues from 2024-01-02 on, 20 of them (tiers 1 and 2) with past minutes.

    The same seed and instant give the same answers, byte for byte.
    """

    first_day = FIRST_SESSION
    feeds = (
        "master", "product_info", "financial_ratios", "daily_bars", "krx_daily_bars", "index_bars", "minute_bars",
        "quotes", "order_books", "investor_flows", "overtime_bars", "index_breadth", "news", "rss", "disclosures",
        "corp_codes", "holidays", "reddit", "article_pages", "llm",
    )  # fmt: skip

    def __init__(self, seed: int) -> None:
        self.name = f"seed:{seed}"
        self._market = Market(seed)
        self._after_close = AfterClose(self._market)
        self._newsroom = Newsroom(self._market)
        self._registry = Registry(self._market)
        self._forum = Forum(self._market)
        self._accounts = Accounts(self._market)
        self._in_tiers: dict[tuple[date, int], frozenset[str]] = {}

    def last_day(self, now: datetime) -> date:
        """Today in Korea: news never sleeps."""
        return now.astimezone(krx.KST).date()

    def _finished(self, now: datetime) -> int:
        """How many sessions are over: the last minute, that of the closing auction, has passed."""
        sessions, today = self._market.sessions, now.astimezone(krx.KST).date()
        before = bisect_left(self._market.days, today)
        if before < len(sessions) and sessions[before].day == today and now >= sessions[before].close_at + MINUTE:
            return before + 1
        return before

    def issues(self, now: datetime) -> Sequence[Issue]:
        """Every issue listed today."""
        return self._listed(now.astimezone(krx.KST).date(), self._finished(now))

    def _listed(self, day: date, finished: int) -> list[Issue]:
        return [
            self._issue(number, finished)
            for number, issuer in enumerate(self._market.issuers)
            if issuer.listed_on <= day <= (issuer.delisted_after or date.max)
        ]

    def issue(self, code: str, now: datetime) -> Issue | None:
        """One issue that is or was listed."""
        number = self._market.number.get(code)
        if number is None or self._market.issuers[number].listed_on > now.astimezone(krx.KST).date():
            return None
        return self._issue(number, self._finished(now))

    def _issue(self, number: int, finished: int) -> Issue:
        issuer, market = self._market.issuers[number], self._market
        index = max(finished - 1, 0)
        if issuer.delisted_after:
            index = min(index, market.position[issuer.delisted_after])
        close = int(market.close[index, number]) or issuer.price
        shares, volume = int(market.shares[index, number]), int(market.volume[index, number])
        return Issue(
            code=issuer.code, isin=isin_of(issuer.code), name=issuer.name, market=issuer.market, group=issuer.group,
            sector=issuer.sector, is_preferred=issuer.parent is not None, is_spac=issuer.is_spac,
            listed_on=issuer.listed_on, listed_shares=shares, market_cap_krw=close * shares, previous_close=close,
            previous_volume=volume, is_halted=volume == 0 and int(market.close[index, number]) > 0,
        )  # fmt: skip

    def daily_bars(self, code: str, start: date, end: date, now: datetime, *, adjusted: bool) -> Sequence[DailyBar]:
        """Finished bars inside [start, end] and, while its session runs, today's so far."""
        number, market = self._market.number.get(code), self._market
        if number is None:
            return []
        finished = self._finished(now)
        bars = [
            market.bar(index, number, adjusted=adjusted)
            for index, day in enumerate(market.days[:finished])
            if start <= day <= end
        ]
        if start <= now.astimezone(krx.KST).date() <= end:
            bars.append(self._unfinished(finished, number, now))
        return [bar for bar in bars if bar is not None]

    def _unfinished(self, index: int, number: int, now: datetime) -> DailyBar | None:
        """Today's bar so far, from the minutes that are over; before the first trade a carried close without volume."""
        if not self._is_running(index, now):
            return None
        whole = self._market.bar(index, number, adjusted=False)
        if whole is None:
            return None
        minutes = [minute for minute in self._market.minutes(index, number) if minute.at + MINUTE <= now]
        reference, ratio, reason = whole.reference, whole.ratio, whole.reason
        if not minutes:
            return DailyBar(whole.day, 0, 0, 0, reference, 0, 0, reference, ratio, reason)
        return DailyBar(
            whole.day,
            minutes[0].open,
            max(minute.high for minute in minutes),
            min(minute.low for minute in minutes),
            minutes[-1].close,
            sum(minute.volume for minute in minutes),
            sum(minute.turnover_krw for minute in minutes),
            reference,
            ratio,
            reason,
        )

    def _is_running(self, index: int, now: datetime) -> bool:
        sessions = self._market.sessions
        return index < len(sessions) and sessions[index].open_at <= now < sessions[index].close_at + MINUTE

    def index_bars(self, code: str, start: date, end: date, now: datetime) -> Sequence[IndexBar]:
        """Finished bars inside [start, end]; while a session runs, one that goes straight from open to close."""
        if code not in INDICES or not self._market.members(code).any():
            return []
        market, finished = self._market, self._finished(now)
        bars = [market.index_bar(code, index) for index in range(finished) if start <= market.days[index] <= end]
        if start <= now.astimezone(krx.KST).date() <= end and self._is_running(finished, now):
            whole = market.index_bar(code, finished)
            session = market.sessions[finished]
            share = min(max((now - session.open_at) / (session.close_at - session.open_at), 0.0), 1.0)
            level = round(whole.open + (whole.close - whole.open) * share, 2)
            high, low = max(whole.open, level), min(whole.open, level)
            volume, turnover = int(whole.volume * share), int(whole.turnover_krw * share)
            bars.append(IndexBar(whole.day, whole.open, high, low, level, volume, turnover))
        return bars

    def investor_flows(self, code: str, start: date, end: date, now: datetime) -> Sequence[InvestorFlow]:
        """Who bought and sold; half an hour after a close it is known, before that its session is there without."""
        number, finished = self._market.number.get(code), self._finished(now)
        if number is None:
            return []
        days, sessions = self._market.days, self._market.sessions
        found = []
        for index in range(bisect_left(days, start), min(bisect_right(days, end), finished)):
            flow = self._after_close.flow(index, number)
            if flow is not None and sessions[index].close_at + FLOWS_AFTER > now:
                flow = replace(flow, retail=None, foreign=None, institution=None)
            found.append(flow)
        if start <= now.astimezone(krx.KST).date() <= end:
            bar = self._unfinished(finished, number, now)
            if bar is not None:
                found.append(InvestorFlow(bar.day, bar.close, bar.reference, None, None, None))
        return [flow for flow in found if flow is not None]

    def overtime_bars(self, code: str, start: date, end: date, now: datetime) -> Sequence[OvertimeBar]:
        """Single prices after the sessions whose after-hours are over."""
        number, finished = self._market.number.get(code), self._finished(now)
        if number is None:
            return []
        days = self._market.days
        over = [
            self._after_close.overtime(index, number)
            for index in range(bisect_left(days, start), min(bisect_right(days, end), finished))
            if krx.after_hours_end(self._market.sessions[index]) <= now
        ]
        return [bar for bar in over if bar is not None]

    def breadth(self, code: str, now: datetime) -> Breadth | None:
        """Risers and fallers of the newest session; of a running one by the first prices."""
        if code not in INDICES:
            return None
        finished = self._finished(now)
        if self._is_running(finished, now):
            return self._after_close.breadth(code, finished, at_open=True)
        return self._after_close.breadth(code, finished - 1, at_open=False)

    def minute_bars(self, code: str, day: date, now: datetime) -> Sequence[MinuteBar]:
        """The finished minutes of a session; of a past one only for the issues that the tier rule gives minute bars.

        A halted issue has every minute, without volume and at the last price.
        """
        number, index = self._market.number.get(code), self._market.position.get(day)
        today = now.astimezone(krx.KST).date()
        if number is None or index is None or day > today or (day < today and code not in self._followed(now)):
            return []
        minutes = self._market.minutes(index, number) or self._halted_minutes(index, number)
        return [minute for minute in minutes if minute.at + MINUTE <= now]

    def _halted_minutes(self, index: int, number: int) -> list[MinuteBar]:
        price, session = int(self._market.close[index, number]), self._market.sessions[index]
        if price == 0:
            return []
        continuous = (session.close_at - AUCTION - session.open_at) // MINUTE
        starts = [*(session.open_at + n * MINUTE for n in range(continuous)), session.close_at]
        return [MinuteBar(at, price, price, price, price, 0, 0) for at in starts]

    def standing(self, code: str, now: datetime) -> Standing | None:
        """Today's bar so far and a book around its price; outside a session the last close and an empty book."""
        issue, market = self.issue(code, now), self._market
        if issue is None:
            return None
        today = now.astimezone(krx.KST).date()
        number, index = market.number[code], market.position.get(today)
        close = issue.previous_close
        carried = DailyBar(today, 0, 0, 0, close, 0, 0, close)
        if index is None or int(market.close[index, number]) == 0 or now < market.sessions[index].open_at:
            return Standing(carried, issue.is_halted, "before")
        session = market.sessions[index]
        (bar,) = self.daily_bars(code, today, today, now, adjusted=False)
        is_halted = int(market.volume[index, number]) == 0
        if is_halted or now >= session.close_at + MINUTE:
            return Standing(bar, is_halted, "after" if now >= session.close_at + MINUTE else "continuous")
        is_call = now >= session.close_at - AUCTION
        minute = int((now - session.open_at) / MINUTE)
        limits = krx.price_limits(bar.reference, today, issue.market)
        drawn = book([market.seed, 9, today.toordinal(), number, minute], bar.close, today, issue.market, limits)
        expected = (bar.close, drawn.bids[0][1] if drawn.bids else 1) if is_call else (0, 0)
        return Standing(bar, False, "call" if is_call else "continuous", drawn.asks, drawn.bids, expected)

    def _followed(self, now: datetime) -> frozenset[str]:
        """The codes of tiers 1 and 2 by the master files of `now` or of any day since `FOLLOWED_FOR`."""
        today, finished = now.astimezone(krx.KST).date(), self._finished(now)
        states = set()
        for day in (today - timedelta(days=n) for n in range(FOLLOWED_FOR.days + 1)):
            before = bisect_left(self._market.days, day)
            states |= {(day, before), (day, min(before + (day in self._market.position), finished))}
        return frozenset().union(*(self._tiers_1_and_2(*state) for state in states))

    def _tiers_1_and_2(self, day: date, finished: int) -> frozenset[str]:
        if (day, finished) not in self._in_tiers:
            listed = [
                universe.Issue(
                    issue.code,
                    issue.market,
                    issue.group in {"ST", "KN"} and not issue.is_spac,
                    issue.market_cap_krw // MASTER_CAP_UNIT * MASTER_CAP_UNIT,
                )
                for issue in self._listed(day, finished)
            ]
            tiers = universe.tiers(listed).items()
            self._in_tiers[day, finished] = frozenset(code for code, tier in tiers if tier <= 2)
        return self._in_tiers[day, finished]

    def exchange_day(self, market: MarketName, day: date, now: datetime) -> Sequence[tuple[Issue, DailyBar]]:
        """Every issue of a market with its bar of a finished session: the same bars that the broker has."""
        index = self._market.position.get(day)
        if index is None or index >= self._finished(now):
            return []
        numbers = (number for number, issuer in enumerate(self._market.issuers) if issuer.market == market)
        bars = ((number, self._market.bar(index, number, adjusted=False)) for number in numbers)
        return [(self._issue(number, index + 1), bar) for number, bar in bars if bar is not None]

    def ratios(self, code: str, now: datetime, *, annual: bool) -> Sequence[Ratios]:
        """What a company has reported by today, per share as of today: a split restates the years before it."""
        number = self._market.number.get(code)
        return [] if number is None else self._accounts.ratios(number, now.astimezone(krx.KST).date(), annual=annual)

    def product(self, code: str, now: datetime) -> Product | None:
        """An issue in the ledger."""
        number, issue = self._market.number.get(code), self.issue(code, now)
        if number is None or issue is None:
            return None
        return self._accounts.product(number, issue, now.astimezone(krx.KST).date())

    def search(self, query: str, now: datetime) -> Sequence[Article]:
        """Articles that hold the query's terms in title or description."""
        return self._newsroom.search(query, now)

    def headlines(self, press: str, now: datetime, limit: int) -> Sequence[Article]:
        """The newest articles of one publisher."""
        return self._newsroom.headlines(press, now, limit)

    def page(self, address: str, now: datetime) -> Article | None:
        """The article at a publisher's own address."""
        return self._newsroom.page(address, now)

    def posts(self, subreddit: str, now: datetime) -> Sequence[Post] | None:
        """The posts of a subreddit."""
        return self._forum.posts(subreddit, now)

    def filings(self, start: date, end: date, now: datetime) -> Sequence[Filing]:
        """Filings received inside [start, end]."""
        return self._registry.filings(start, end, now)

    def companies(self, now: datetime) -> Sequence[Company]:
        """DART's company list."""
        return self._registry.companies(now)
