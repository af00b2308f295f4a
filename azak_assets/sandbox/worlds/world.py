"""What a sandbox world is: the records every stand-in serves and the protocol both worlds fulfil.

Put the shape of market, news and filing facts here, in the field's words and in whole units (KRW, shares), never in the
units or key names of one wire format: those belong to the module that speaks the wire. A world answers "what was known
by `now`"; `now` is always handed in, so that a test can move the clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal, Protocol

Market = Literal["KOSPI", "KOSDAQ", "KONEX"]
MINUTE = timedelta(minutes=1)
"""The length of a minute bar."""

#: Industry indices of KOSPI as `idxcode.mst` lists them (the first digit of a code is the market's).
SECTORS = {
    "0005": "음식료품", "0006": "섬유의복", "0008": "화학", "0009": "의약품", "0011": "철강금속", "0012": "기계",
    "0013": "전기전자", "0014": "의료정밀", "0015": "운수장비", "0016": "유통업", "0017": "전기가스업",
    "0018": "건설업", "0019": "운수창고업", "0020": "통신업", "0021": "금융업", "0026": "서비스업",
}  # fmt: skip

#: The index codes KIS uses, with the names its index service answers.
INDICES = {"0001": "종합", "1001": "KOSDAQ", "2001": "KOSPI200"} | SECTORS


@dataclass(frozen=True, slots=True)
class Issue:
    """One listed issue as the broker's master file has it on the morning after the last session.

    `group` is the security group code of the master file (ST share, RT REIT, KN KONEX). `sector` is the four-digit
    industry index code. `previous_*` are of the last closed session; `market_cap_krw` is close × listed shares.
    """

    code: str
    isin: str
    name: str
    market: Market
    group: str
    sector: str
    is_preferred: bool
    is_spac: bool
    listed_on: date | None
    listed_shares: int
    market_cap_krw: int
    previous_close: int
    previous_volume: int
    is_halted: bool


@dataclass(frozen=True, slots=True)
class DailyBar:
    """One session of one issue, KRW and shares. A halt has open, high, low and volume 0 and the carried close.

    `reference` is the base price of the day's change and limits (0: unknown, the first bar of a record). `ratio` is
    reference / previous close where a corporate action made them differ, else 0; `reason` is KIS's revaluation code.
    """

    day: date
    open: int
    high: int
    low: int
    close: int
    volume: int
    turnover_krw: int
    reference: int
    ratio: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ratios:
    """A company's ratios for one fiscal period, percent and KRW a share; `month` is the last of the period, YYYYMM.

    A quarter counts from the start of its year. A growth rate is 0 where a loss makes it meaningless.
    """

    month: str
    revenue_growth: float
    operating_profit_growth: float
    net_income_growth: float
    roe: float
    eps: float
    sales_per_share: float
    bps: float
    retained: float
    debt: float


@dataclass(frozen=True, slots=True)
class Product:
    """What a broker's ledger knows of an issue besides the master file. `industry` is "" where it names none."""

    issue: Issue
    par: int
    industry: str
    is_kospi200: bool
    is_administrative: bool
    delisted_on: date | None


@dataclass(frozen=True, slots=True)
class IndexBar:
    """One session of one index: points, shares and KRW."""

    day: date
    open: float
    high: float
    low: float
    close: float
    volume: int
    turnover_krw: int


@dataclass(frozen=True, slots=True)
class MinuteBar:
    """One minute that traded, or any minute of a halted issue; `at` is its start (KST).

    `turnover_krw` is of this minute alone.
    """

    at: datetime
    open: int
    high: int
    low: int
    close: int
    volume: int
    turnover_krw: int


Level = tuple[int, int]
"""A price, KRW, and the shares wanted or offered at it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an issue stands at an instant: today's bar so far and the ten best levels of each side, best first.

    `bar` is that of a halt before the first trade. `asks` and `bids` hold fewer levels where there are no more orders,
    none while the issue is halted or the market closed. `expected` is the price and volume of an auction under way.
    `phase` is the part of the day: before the open, the continuous session, the closing auction's call, or after.
    """

    bar: DailyBar
    is_halted: bool
    phase: Literal["before", "continuous", "call", "after"]
    asks: Sequence[Level] = ()
    bids: Sequence[Level] = ()
    expected: Level = (0, 0)


@dataclass(frozen=True, slots=True)
class Side:
    """What one group of investors bought and sold of an issue in a session: shares and KRW."""

    bought: int
    sold: int
    bought_krw: int
    sold_krw: int


@dataclass(frozen=True, slots=True)
class InvestorFlow:
    """Who bought and sold an issue in a session, with its close and base price; the sides are None until published."""

    day: date
    close: int
    reference: int
    retail: Side | None
    foreign: Side | None
    institution: Side | None


@dataclass(frozen=True, slots=True)
class OvertimeBar:
    """Single-price trading after a session: the last price (0 without a trade), shares, KRW.

    `close`, `reference` and `day_volume` are of the session itself.
    """

    day: date
    price: int
    volume: int
    turnover_krw: int
    close: int
    reference: int
    day_volume: int


@dataclass(frozen=True, slots=True)
class Breadth:
    """How many issues of an index rose, fell and stood still, and how many are at a limit (counted twice)."""

    advancers: int
    decliners: int
    unchanged: int
    upper_limit: int
    lower_limit: int


@dataclass(frozen=True, slots=True)
class Article:
    """One entry of a news search or feed, with the title it carries at the time asked.

    `link` is the portal's address and `original_link` the publisher's; either may be empty. `published_at` is KST.
    """

    title: str
    description: str
    press: str
    link: str
    original_link: str
    published_at: datetime


@dataclass(frozen=True, slots=True)
class Post:
    """One post of a subreddit as it stands at the time asked. `author` is "" where the account is gone.

    `link` is "" for a post of text; `removed_by` says who removed it, "" where it stands.
    """

    post_id: str
    subreddit: str
    title: str
    text: str
    link: str
    author: str
    published_at: datetime
    score: int
    comments: int
    removed_by: str
    is_pinned: bool


@dataclass(frozen=True, slots=True)
class Filing:
    """One DART filing. `corp_cls` is Y, K, N or E; `kind` the letter of pblntf_ty, "" where it was not recorded."""

    corp_code: str
    corp_name: str
    stock_code: str
    corp_cls: str
    report_nm: str
    rcept_no: str
    filer_name: str
    rcept_dt: date
    rm: str
    kind: str


@dataclass(frozen=True, slots=True)
class Company:
    """One company of DART's corpCode file; `stock_code` is "" for one that was never listed."""

    corp_code: str
    name: str
    english_name: str
    stock_code: str
    modified_on: date


class UpstreamData(Protocol):
    """A market, its news and its filings. Sequences of bars and filings are oldest first, of articles newest first.

    A feed that is not in `feeds` answers with nothing, as an upstream would that holds no such record.
    """

    @property
    def name(self) -> str:
        """`seed:N` or `replay:HASH`."""

    @property
    def feeds(self) -> tuple[str, ...]:
        """What this world holds; the sandbox lists it at /sandbox/world."""

    @property
    def first_day(self) -> date:
        """The first day anything is known of."""

    def last_day(self, now: datetime) -> date:
        """The last day anything is known of."""

    def issues(self, now: datetime) -> Sequence[Issue]:
        """Every issue of the master files."""

    def issue(self, code: str, now: datetime) -> Issue | None:
        """One issue, also one that has left the market since; None for a code that never existed."""

    def daily_bars(self, code: str, start: date, end: date, now: datetime, *, adjusted: bool) -> Sequence[DailyBar]:
        """Bars inside [start, end], today's unfinished one included while its session runs."""

    def index_bars(self, code: str, start: date, end: date, now: datetime) -> Sequence[IndexBar]:
        """Bars of one of INDICES inside [start, end]."""

    def investor_flows(self, code: str, start: date, end: date, now: datetime) -> Sequence[InvestorFlow]:
        """Who bought and sold inside [start, end]; a session whose figures are not out is there without them."""

    def overtime_bars(self, code: str, start: date, end: date, now: datetime) -> Sequence[OvertimeBar]:
        """Single prices after the sessions inside [start, end]."""

    def breadth(self, code: str, now: datetime) -> Breadth | None:
        """Risers and fallers of one of INDICES in its newest session, the running one included."""

    def minute_bars(self, code: str, day: date, now: datetime) -> Sequence[MinuteBar]:
        """The finished minutes of `day`; a past day is kept for the issues whose past minutes are recorded."""

    def exchange_day(self, market: Market, day: date, now: datetime) -> Sequence[tuple[Issue, DailyBar]]:
        """Every issue of a market with its bar of a finished session, as the exchange itself counts it."""

    def ratios(self, code: str, now: datetime, *, annual: bool) -> Sequence[Ratios]:
        """What a company has reported by `now`, newest first."""

    def product(self, code: str, now: datetime) -> Product | None:
        """An issue in the ledger, also one that has left the market since."""

    def standing(self, code: str, now: datetime) -> Standing | None:
        """Quote and order book of this instant; None for a code that does not exist."""

    def search(self, query: str, now: datetime) -> Sequence[Article]:
        """Articles whose title or description the query matches."""

    def headlines(self, press: str, now: datetime, limit: int) -> Sequence[Article]:
        """The newest articles of one publisher."""

    def page(self, address: str, now: datetime) -> Article | None:
        """The article at a publisher's own address, if it is out by `now`."""

    def posts(self, subreddit: str, now: datetime) -> Sequence[Post] | None:
        """The posts of a subreddit, newest first; None for one that does not exist."""

    def filings(self, start: date, end: date, now: datetime) -> Sequence[Filing]:
        """Filings received inside [start, end]."""

    def companies(self, now: datetime) -> Sequence[Company]:
        """DART's company list."""


def isin_of(code: str) -> str:
    """The ISIN of a Korean share: KR7, the code, 00 and the check digit of ISO 6166."""
    body = f"KR7{code}00"
    digits = "".join(str(int(character, 36)) for character in body)
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if position % 2 == 0 else 1)
        total += value // 10 + value % 10
    return f"{body}{-total % 10}"


def terms_of(query: str) -> tuple[list[str], list[str]]:
    """The wanted and the excluded terms of a search query: quotes hold a phrase together, `-word` excludes."""
    wanted: list[str] = []
    excluded: list[str] = []
    for index, part in enumerate(query.split('"')):
        if index % 2 == 1:
            wanted += [part.strip()] if part.strip() else []
            continue
        for word in part.split():
            (excluded if word.startswith("-") and len(word) > 1 else wanted).append(word.removeprefix("-"))
    return wanted, excluded
