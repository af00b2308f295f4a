"""The typed records that every client returns, named as the columns of the tables they end in.

Put here records, rejects and batches; never wire-format names (they stay in the client's module) and no identifiers
that are derived from the content (those are made in `text`). All instants are aware, dates are KST dates, money is KRW,
volumes are shares.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Generic, Literal, TypeVar

T = TypeVar("T")

MINUTE = timedelta(minutes=1)
"""The length of a minute bar."""

Market = Literal["KOSPI", "KOSDAQ", "KONEX"]
SecurityKind = Literal["stock", "preferred", "etf", "reit", "spac", "other"]


@dataclass(frozen=True, slots=True)
class DailyBar:
    """One stock and session, raw (unadjusted) prices in KRW, volume in shares.

    A halted session has `is_halted`, no open, high and low, volume 0 and the carried close. `known_at` is nominal: the
    session's close + 10 minutes. The last three fields are None but on the few days that open from another price than
    the last close, after a split or a rights issue: `base_price` is that price, `base_ratio` the source's own figure
    for base price / last close, rounded as it came.
    """

    stock_code: str
    trade_date: date
    open: int | None
    high: int | None
    low: int | None
    close: int
    volume: int
    turnover_krw: int
    is_halted: bool
    known_at: datetime
    base_price: int | None = None
    base_ratio: float | None = None
    base_reason: str | None = None


@dataclass(frozen=True, slots=True)
class IndexBar:
    """One index and session: points, volume in shares, turnover in KRW. `known_at` is the session's close + 10 minutes.

    The broker publishes volume in thousands and turnover in millions, so the last digits are zeros.
    """

    index_code: str
    trade_date: date
    open: float
    high: float
    low: float
    close: float
    volume: int
    turnover_krw: int
    known_at: datetime


@dataclass(frozen=True, slots=True)
class MinuteBar:
    """One stock and minute of a session; `ts` is the start of the minute, `known_at` its end.

    `turnover_krw` is the turnover of this minute alone, None where the upstream's running total does not give it.
    """

    ts: datetime
    stock_code: str
    trade_date: date
    open: int
    high: int
    low: int
    close: int
    volume: int
    turnover_krw: int | None
    known_at: datetime


@dataclass(frozen=True, slots=True)
class Quote:
    """How one stock stood when it was asked for: KRW, shares, the day's totals so far.

    `open`, `high`, `low` and `vwap` are None while nothing has traded: `price` is then the last one of an earlier
    session and no trade of today. `is_halted`: the exchange has stopped trading in it. `known_at` is the instant of the
    answer, since the answer itself names none; `trade_date` is its KST date. What the broker left out is None.
    """

    stock_code: str
    trade_date: date
    price: int
    open: int | None
    high: int | None
    low: int | None
    volume: int
    turnover_krw: int
    vwap: float | None
    reference_price: int | None
    upper_limit: int | None
    lower_limit: int | None
    foreign_net_shares: int | None
    program_net_shares: int | None
    foreign_held_pct: float | None
    status_code: str | None
    warning_code: str | None
    is_in_vi: bool | None
    is_halted: bool
    known_at: datetime


@dataclass(frozen=True, slots=True)
class OrderBook:
    """The orders of one stock when it was asked for: prices in KRW and shares, best first, at most ten a side.

    A level without orders is not in the lists, so an empty book has empty lists and never zeros. `expected_price` and
    `expected_volume` are those of an auction under way, else None. `known_at` as for a quote.
    """

    stock_code: str
    trade_date: date
    ask_prices: list[int]
    ask_shares: list[int]
    bid_prices: list[int]
    bid_shares: list[int]
    total_ask_shares: int
    total_bid_shares: int
    expected_price: int | None
    expected_volume: int | None
    phase_code: str | None
    is_in_vi: bool | None
    known_at: datetime


@dataclass(frozen=True, slots=True)
class InvestorFlow:
    """What retail investors, foreigners and institutions bought and sold of one stock in one session, shares and KRW.

    Net is bought minus sold. The three do not add up to zero: other corporations are missing. KRW are published in
    millions. `known_at` is nominal: the session's close + 30 minutes.
    """

    stock_code: str
    trade_date: date
    retail_net_shares: int
    retail_bought_shares: int
    retail_sold_shares: int
    retail_net_krw: int
    retail_bought_krw: int
    retail_sold_krw: int
    foreign_net_shares: int
    foreign_bought_shares: int
    foreign_sold_shares: int
    foreign_net_krw: int
    foreign_bought_krw: int
    foreign_sold_krw: int
    institution_net_shares: int
    institution_bought_shares: int
    institution_sold_shares: int
    institution_net_krw: int
    institution_bought_krw: int
    institution_sold_krw: int
    known_at: datetime


@dataclass(frozen=True, slots=True)
class OvertimeBar:
    """One stock after the hours of one session, at single prices: KRW and shares; `close` is None without a trade.

    `regular_close` is the session's own close, which limits the price to ±10 %. `known_at` is 18:00 KST of the day.
    """

    stock_code: str
    trade_date: date
    close: int | None
    volume: int
    turnover_krw: int
    regular_close: int
    known_at: datetime


@dataclass(frozen=True, slots=True)
class IndexBreadth:
    """How many issues of an index rose, fell and stood still in one session, and how many ended at a limit.

    As published; whether those at a limit are among those that rose or fell is not documented. `known_at` is nominal:
    the session's close + 10 minutes.
    """

    index_code: str
    trade_date: date
    advancers: int
    decliners: int
    unchanged: int
    upper_limit: int
    lower_limit: int
    known_at: datetime


@dataclass(frozen=True, slots=True)
class MarketDay:
    """One calendar day as the broker sees it, and whether the exchange trades on it."""

    day: date
    is_open: bool


@dataclass(frozen=True, slots=True)
class ListedStock:
    """One issue of today's master files.

    `sector` is the four-digit code of the market's own industry index, None for issues outside one. `listed_shares` and
    `market_cap_krw` are published in thousands of shares and 100 million KRW and are exact to that.
    """

    stock_code: str
    isin: str
    name: str
    market: Market
    security_kind: SecurityKind
    sector: str | None
    listed_on: date | None
    listed_shares: int | None
    market_cap_krw: int | None


@dataclass(frozen=True, slots=True)
class FinancialRatio:
    """One fiscal period of one company; every number may be None where the upstream leaves it blank.

    `period_end` is the last day of the fiscal month. Quarterly periods count from the start of the fiscal year. A
    growth rate is 0 where a loss makes it meaningless.
    """

    stock_code: str
    period: Literal["annual", "quarterly"]
    period_end: date
    revenue_growth_pct: float | None
    operating_profit_growth_pct: float | None
    net_income_growth_pct: float | None
    roe_pct: float | None
    eps_krw: float | None
    sales_per_share_krw: float | None
    bps_krw: float | None
    retained_ratio_pct: float | None
    debt_ratio_pct: float | None


@dataclass(frozen=True, slots=True)
class ProductInfo:
    """What the broker's ledger says of one issue. A flag is None where it says neither yes nor no.

    `product_class` is known only where the ledger names no industry.
    """

    stock_code: str
    isin: str | None
    name: str
    name_en: str | None
    market: Market
    security_group: str
    fiscal_year_end: str | None
    par_value: float | None
    listed_shares: int | None
    kospi_listed_on: date | None
    kospi_delisted_on: date | None
    kosdaq_listed_on: date | None
    kosdaq_delisted_on: date | None
    delisted_on: date | None
    industry_large: str | None
    industry_medium: str | None
    industry_small: str | None
    industry_code: str | None
    industry: str | None
    product_class: str | None
    is_kospi200: bool | None
    is_trading_halted: bool | None
    is_administrative_issue: bool | None
    is_nxt_tradable: bool | None
    is_nxt_halted: bool | None


@dataclass(frozen=True, slots=True)
class ExchangeBar:
    """One stock and session as the exchange itself publishes it on the next day, raw prices in KRW.

    Without a trade in the order book there is no open, high and low, and the close is carried. `known_at` is nominal:
    08:00 on the day of the next session.
    """

    stock_code: str
    trade_date: date
    market: Market
    name: str
    open: int | None
    high: int | None
    low: int | None
    close: int
    volume: int
    turnover_krw: int
    market_cap_krw: int | None
    listed_shares: int | None
    known_at: datetime


@dataclass(frozen=True, slots=True)
class CorpCode:
    """One company of DART. `stock_code` is None for one that never was listed; a delisted one may keep its code."""

    corp_code: str
    corp_name: str
    corp_eng_name: str | None
    stock_code: str | None
    modified_on: date


@dataclass(frozen=True, slots=True)
class Article:
    """One news item as a source listed it. `title` and `excerpt` are HTML, which `text.clean` makes readable.

    `is_date_only`: the source gave no time of day, `published_at` is then 23:59:59 KST of its day.
    """

    title: str
    url: str | None
    excerpt: str | None
    press: str | None
    published_at: datetime
    is_date_only: bool


@dataclass(frozen=True, slots=True)
class RedditPost:
    """One post of a subreddit as a listing showed it. `author` is None where the account is gone.

    `url` is the post's own address, `link_url` what a post without text points at. `score` and `comments` are of the
    instant it was listed.
    """

    post_id: str
    subreddit: str
    title: str
    text: str | None
    link_url: str | None
    url: str
    author: str | None
    score: int
    comments: int
    published_at: datetime


@dataclass(frozen=True, slots=True)
class Filing:
    """One disclosure. DART gives a date and no time: `known_at` is nominal, 23:59:59 KST of `rcept_dt`.

    `rm` holds DART's remark letters as they came; `correction_kind` the text inside a leading [..] of `report_nm`,
    which itself is kept as published.
    """

    rcept_no: str
    corp_code: str
    corp_name: str
    stock_code: str | None
    corp_cls: str
    report_nm: str
    filer_name: str
    rcept_dt: date
    rm: str | None
    correction_kind: str | None
    known_at: datetime


class RejectCode(StrEnum):
    """Why a record was refused, for programs; the reason says the same for people."""

    UNREADABLE = "unreadable"
    CLOSED_DAY = "closed_day"
    """A record of a day that the calendar calls closed: one of the two is wrong."""
    CONFLICT = "conflict"
    """Two conflicting records for the same key: both are refused."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A refused record: as it came (JSON or text, shortened), the field, its value and the reason."""

    record: str
    field: str
    value: str
    reason: str
    code: RejectCode = RejectCode.UNREADABLE


def noted(*notes: Mapping[str, int]) -> dict[str, int]:
    """The sum of the `notes` of several answers or batches."""
    return dict(sum((Counter(one) for one in notes), Counter[str]()))


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """What one question to an upstream gave: good records, refused ones, the calls and a hash of the raw answers.

    `payload_sha256` covers the bodies of all answers in the order they were asked for. `notes` counts what an operator
    may want to know of them, by what it is: records left out on purpose, answers in an odd encoding.
    """

    records: list[T]
    rejects: list[Reject]
    requests: int
    payload_sha256: str
    notes: Mapping[str, int] = field(default_factory=dict)
