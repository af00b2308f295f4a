"""The typed records that every client returns, named as the columns of the tables they end in.

Put here records, rejects and batches; never wire-format names (they stay in the client's module) and no identifiers
that are derived from the content (those are made in `text`). All instants are aware, dates are KST dates, money is KRW,
volumes are shares.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Generic, Literal, TypeVar

T = TypeVar("T")

Market = Literal["KOSPI", "KOSDAQ", "KONEX"]
SecurityKind = Literal["stock", "preferred", "etf", "reit", "spac", "other"]


@dataclass(frozen=True, slots=True)
class DailyBar:
    """One stock and session, raw (unadjusted) prices in KRW, volume in shares.

    A halted session has `is_halted`, no open, high and low, volume 0 and the carried close. `known_at` is nominal: the
    session's close + 10 minutes.
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
class CorpCode:
    """One company of DART. `stock_code` is None for one that never was listed; a delisted one may keep its code."""

    corp_code: str
    corp_name: str
    corp_eng_name: str | None
    stock_code: str | None
    modified_on: date


@dataclass(frozen=True, slots=True)
class Article:
    """One news item as a source listed it: markup and entities removed, nothing else changed.

    `is_date_only`: the source gave no time of day, `published_at` is then 23:59:59 KST of its day.
    """

    title: str
    url: str | None
    excerpt: str | None
    press: str | None
    published_at: datetime
    is_date_only: bool


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


@dataclass(frozen=True, slots=True)
class Reject:
    """A refused record: as it came (JSON or text, shortened), the field, its value and the reason."""

    record: str
    field: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """What one question to an upstream gave: good records, refused ones, the calls and a hash of the raw answers.

    `payload_sha256` covers the bodies of all answers in the order they were asked for.
    """

    records: list[T]
    rejects: list[Reject]
    requests: int
    payload_sha256: str
