"""Every table that Azak itself owns, as SQLAlchemy Core tables with a comment on each table and column.

Belongs here: columns, keys, indexes, comments, and what the writer must know of a table (its day, its entity, its rule
for `known_at`). Does not belong here: statements (`load`, `asof`), and the tables of `staging` and `marts`, which dbt
owns. The migrations create what stands here, and a test compares the two; change both together.

Three kinds of table. A *versioned* one has a twin `<name>_history` with the same columns and `superseded_at`, where
every replaced or retired version goes. An *append-only* one never changes a row. The tables of `ops` are bookkeeping.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL
from sqlalchemy.types import TypeEngine

KnownAtRule = Literal["nominal", "seen", "observed"]

PROVENANCE: Final = ("source", "observed_at", "run_id")
"""Who said it, when our database wrote it, and which run asked: set by the writer, never compared."""

NAMING: Final = {
    "pk": "%(table_name)s_pkey",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}

metadata = sa.MetaData(naming_convention=NAMING)


@dataclass(frozen=True, slots=True)
class TableSpec:
    """What the writer and the readers know of one table.

    `day` is the column that names its partition (a session), `entity` the column whose values a source answers for
    one by one. `day_instant` is the key column whose KST date is `day`, where the key holds no date. `known_at` is the
    rule of the column of that name: `nominal` (the frame's value for a first version), `seen` (`observed_at` for a
    first version seen within 24 hours of the frame's value, else that value) or `observed` (always `observed_at`);
    later versions take `observed_at` under every rule. `history` is None for an append-only table. `volatile`: columns
    whose change alone does not create a new version.
    """

    table: sa.Table
    history: sa.Table | None
    day: str | None = None
    entity: str | None = None
    day_instant: str | None = None
    known_at: KnownAtRule | None = None
    volatile: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """`schema.table`."""
        return self.table.fullname

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of the primary key, in its order."""
        return tuple(column.name for column in self.table.primary_key.columns)

    @property
    def is_day_in_key(self) -> bool:
        """Whether a row's key alone decides its day, so that rows of other days can never meet those of a load."""
        return self.day in self.key or self.day_instant is not None

    @property
    def set_by_writer(self) -> frozenset[str]:
        """Columns a frame must not carry: provenance, and what the writer derives from the final `known_at`."""
        derived: set[str] = set()
        if self.known_at == "observed":
            derived = {"known_at"}
        elif self.known_at == "seen":
            derived = {"trading_day", "tradable_session", "first_seen_at"}
        return frozenset(PROVENANCE) | (derived & set(self.table.columns.keys()))

    @property
    def set_once(self) -> tuple[str, ...]:
        """Columns that keep the value of the first version through all later ones."""
        return tuple(c for c in ("trading_day", "first_seen_at") if self.known_at and c in self.table.columns)

    @property
    def compared(self) -> tuple[str, ...]:
        """Columns whose change makes a new version: all but the key, provenance and the times derived from it."""
        skipped = {*self.key, *PROVENANCE, *self.set_once, *self.volatile, "known_at"}
        if self.known_at == "seen":
            skipped.add("tradable_session")
        return tuple(c for c in self.table.columns.keys() if c not in skipped)  # noqa: SIM118 (not a dict)


SPECS: dict[str, TableSpec] = {}
"""Every table that `load_partition` or `append` may write, by `schema.table`."""

TEXT: Final = sa.Text()
DAY: Final = sa.Date()
INSTANT: Final = sa.DateTime(timezone=True)
BIG: Final = sa.BigInteger()
INT: Final = sa.Integer()
SMALL: Final = sa.SmallInteger()
BOOL: Final = sa.Boolean()
DOUBLE: Final = sa.Double[float]()
TEXTS: Final = ARRAY(sa.Text())
REALS: Final = ARRAY[float](REAL())
BIGS: Final = ARRAY[int](sa.BigInteger())


Make = Callable[[], sa.Column[Any]]
"""Makes a column anew, since a table and its history each need their own."""


def _col(name: str, kind: TypeEngine[Any], comment: str, *, null: bool = False) -> Make:
    return lambda: sa.Column(name, kind, nullable=null, comment=comment)


def _one_of(column: str, *values: str) -> sa.CheckConstraint:
    """Allow only these values (and NULL where the column allows it)."""
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} in ({listed})", name=column)


def _known_at(rule: str) -> Make:
    return _col("known_at", INSTANT, f"Instant from which this version may be used: {rule}")


TRADING_DAY: Final = "Session the row belongs to (its partition), a KST date; fixed when the row was first written"
TRADABLE_SESSION: Final = "First session that closes after known_at, a KST date: returns and scores start there"
CLOSE_PLUS_30: Final = "the session's close + 30 minutes, observed_at for later versions"
CLOSE_PLUS_10: Final = "the session's close + 10 minutes, observed_at for later versions"
ARTICLES_OWN: Final = "that of the article, observed_at for later versions"


def _provenance() -> list[Make]:
    return [
        _col("source", TEXT, "Upstream or step that gave the row"),
        _col("observed_at", INSTANT, "The database's clock in the transaction that wrote this version"),
        _col("run_id", TEXT, "Run that wrote this version"),
    ]


def _table(
    name: str,
    comment: str,
    columns: list[Make],
    *,
    key: tuple[str, ...],
    checks: tuple[sa.CheckConstraint, ...] = (),
    day: str | None = None,
    entity: str | None = None,
    day_instant: str | None = None,
    known_at: KnownAtRule | None = None,
    volatile: frozenset[str] = frozenset(),
    append_only: bool = False,
) -> sa.Table:
    """Declare a table with its provenance, its history and its `TableSpec`.

    A partitioned table gets an index on its day, and so does its history, unless the primary key already serves it.
    """
    schema, _, base = name.partition(".")
    columns = [*columns, *_provenance()]

    def declare(table_name: str, comment: str, extra: list[Make], more_key: tuple[str, ...]) -> sa.Table:
        made = [make() for make in [*columns, *extra]]
        table = sa.Table(
            table_name, metadata, *made, sa.PrimaryKeyConstraint(*key, *more_key), schema=schema, comment=comment
        )
        if day and not day_instant and key[0] != day:
            sa.Index(None, table.c[day])
        return table

    table = declare(base, comment, [], ())
    for check in checks:
        table.append_constraint(check)
    history = None
    if not append_only:
        superseded = _col("superseded_at", INSTANT, "observed_at of the load that replaced or retired this version")
        meaning = f"Replaced and retired versions of {name}, one row a version; current rows are not here"
        history = declare(f"{base}_history", meaning, [superseded], ("observed_at",))
    SPECS[name] = TableSpec(table, history, day, entity, day_instant, known_at, volatile)
    return table


# ---- raw: what a source said ---------------------------------------------------------------------------------------

trading_sessions = _table(
    "raw.trading_sessions",
    "Sessions of the Korea Exchange from the committed calendar, one row a session",
    [
        _col("trade_date", DAY, "Session, a KST date"),
        _col("open_at", INSTANT, "Start of regular trading"),
        _col("close_at", INSTANT, "End of regular trading"),
        _col("note", TEXT, "Why the hours differ from the regular ones; empty on a regular day"),
    ],
    key=("trade_date",),
)

broker_calendar = _table(
    "raw.broker_calendar",
    "Whether the market opens, by the broker's holiday service, one row a calendar day: the committed calendar decides",
    [
        _col("day", DAY, "Calendar day, a KST date"),
        _col("is_open", BOOL, "Whether the broker expects the market to open"),
        _known_at("observed_at"),
    ],
    key=("day",),
    known_at="observed",
)

stocks = _table(
    "raw.stocks",
    "Issues of KOSPI, KOSDAQ and KONEX from the broker's master files, one row an issue",
    [
        _col("stock_code", TEXT, "Six-character short code; may hold letters"),
        _col("isin", TEXT, "International securities identification number", null=True),
        _col("name", TEXT, "Korean short name"),
        _col("market", TEXT, "KOSPI, KOSDAQ or KONEX"),
        _col("security_kind", TEXT, "stock, preferred, etf, reit, spac or other"),
        _col("sector", TEXT, "Industry index of the market; NULL for issues outside one", null=True),
        _col("tier", SMALL, "1 (most wanted) to 5: how much of a quota the stock may use"),
        _col("aliases", TEXTS, "Other names the press uses, from the committed seed; empty when there are none"),
        _col("is_active", BOOL, "Whether the issue is listed and followed"),
        _col("listed_on", DAY, "Listing day, a KST date", null=True),
        _col("delisted_on", DAY, "Delisting day, a KST date; NULL while listed", null=True),
        _col("listed_shares", BIG, "Listed shares", null=True),
        _col("market_cap_krw", BIG, "Market capitalisation, KRW", null=True),
        _known_at("observed_at"),
    ],
    key=("stock_code",),
    checks=(
        _one_of("market", "KOSPI", "KOSDAQ", "KONEX"),
        _one_of("security_kind", "stock", "preferred", "etf", "reit", "spac", "other"),
        sa.CheckConstraint("tier between 1 and 5", name="tier"),
    ),
    entity="stock_code",
    known_at="observed",
)

product_info = _table(
    "raw.product_info",
    "What the broker's ledger says of each issue, one row an issue; asked once a week",
    [
        _col("stock_code", TEXT, "Six-character short code"),
        _col("isin", TEXT, "International securities identification number", null=True),
        _col("name", TEXT, "Korean short name"),
        _col("name_en", TEXT, "English name", null=True),
        _col("market", TEXT, "KOSPI, KOSDAQ or KONEX"),
        _col("security_group", TEXT, "The ledger's group: ST stock, EF ETF, EN ETN, RT REIT and others"),
        _col("fiscal_year_end", TEXT, "Month and day (MMDD) on which the fiscal year ends", null=True),
        _col("par_value", DOUBLE, "Par value, KRW or a foreign issuer's currency; NULL without one", null=True),
        _col("listed_shares", BIG, "Listed shares", null=True),
        _col("kospi_listed_on", DAY, "Day of listing on KOSPI, a KST date", null=True),
        _col("kospi_delisted_on", DAY, "Day of delisting from KOSPI, a KST date", null=True),
        _col("kosdaq_listed_on", DAY, "Day of listing on KOSDAQ, a KST date", null=True),
        _col("kosdaq_delisted_on", DAY, "Day of delisting from KOSDAQ, a KST date", null=True),
        _col("delisted_on", DAY, "Day of delisting, a KST date; NULL while listed", null=True),
        _col("industry_large", TEXT, "Large class of the exchange's index industries", null=True),
        _col("industry_medium", TEXT, "Medium class of the exchange's index industries", null=True),
        _col("industry_small", TEXT, "Small class of the exchange's index industries", null=True),
        _col("industry_code", TEXT, "Code of the standard industry", null=True),
        _col("industry", TEXT, "Name of the standard industry", null=True),
        _col("product_class", TEXT, "Class of the product where the ledger names no industry, else NULL", null=True),
        _col("is_kospi200", BOOL, "Whether it is a member of KOSPI 200; NULL where the broker does not say", null=True),
        _col(
            "is_trading_halted",
            BOOL,
            "Whether trading was halted when asked; NULL where the broker does not say",
            null=True,
        ),
        _col("is_administrative_issue", BOOL, "Whether the exchange has designated it administrative", null=True),
        _col("is_nxt_tradable", BOOL, "Whether it trades on Nextrade; NULL where the broker does not say", null=True),
        _col(
            "is_nxt_halted",
            BOOL,
            "Whether Nextrade had halted it when asked; NULL where the broker does not say",
            null=True,
        ),
        _known_at("observed_at"),
    ],
    key=("stock_code",),
    checks=(_one_of("market", "KOSPI", "KOSDAQ", "KONEX"),),
    entity="stock_code",
    known_at="observed",
)

financial_ratios = _table(
    "raw.financial_ratios",
    "Financial ratios of companies, one row a stock and fiscal period; usable from when we first saw them",
    [
        _col("stock_code", TEXT, "Six-character short code of the common share"),
        _col("period", TEXT, "annual or quarterly; a quarter counts from the start of its fiscal year"),
        _col("period_end", DAY, "Last day of the fiscal period"),
        _col("revenue_growth_pct", DOUBLE, "Growth of revenue on the year before, percent", null=True),
        _col("operating_profit_growth_pct", DOUBLE, "Growth of operating profit, percent; 0 around losses", null=True),
        _col("net_income_growth_pct", DOUBLE, "Growth of net income, percent; 0 around losses", null=True),
        _col("roe_pct", DOUBLE, "Return on equity, percent", null=True),
        _col("eps_krw", DOUBLE, "Earnings per share, KRW", null=True),
        _col("sales_per_share_krw", DOUBLE, "Revenue per share, KRW", null=True),
        _col("bps_krw", DOUBLE, "Book value per share, KRW", null=True),
        _col("retained_ratio_pct", DOUBLE, "Retained earnings and surplus to paid-in capital, percent", null=True),
        _col("debt_ratio_pct", DOUBLE, "Liabilities to equity, percent", null=True),
        _known_at("observed_at"),
    ],
    key=("stock_code", "period", "period_end"),
    checks=(_one_of("period", "annual", "quarterly"),),
    entity="stock_code",
    known_at="observed",
)

corp_codes = _table(
    "raw.corp_codes",
    "Companies of DART and the stock codes of those listed, one row a company",
    [
        _col("corp_code", TEXT, "DART's eight-digit company code"),
        _col("corp_name", TEXT, "Korean name; not unique"),
        _col("corp_eng_name", TEXT, "English name", null=True),
        _col("stock_code", TEXT, "Six-character code; NULL for companies never listed", null=True),
        _col("modified_on", DAY, "Day DART last changed the entry, a KST date", null=True),
        _known_at("observed_at"),
    ],
    key=("corp_code",),
    entity="corp_code",
    known_at="observed",
)

daily_bars = _table(
    "raw.daily_bars",
    "Daily bars, unadjusted, one row a stock and session",
    [
        _col("stock_code", TEXT, "Six-character short code"),
        _col("trade_date", DAY, "Session, a KST date"),
        _col("open", BIG, "Opening price, KRW; NULL when halted", null=True),
        _col("high", BIG, "Highest price, KRW; NULL when halted", null=True),
        _col("low", BIG, "Lowest price, KRW; NULL when halted", null=True),
        _col("close", BIG, "Closing price, KRW; carried from the last trade when halted"),
        _col("volume", BIG, "Traded shares; 0 when halted"),
        _col("turnover_krw", BIG, "Traded value, KRW"),
        _col("is_halted", BOOL, "Whether the stock did not trade in this session"),
        _col(
            "base_price", BIG, "Price the session's change counts from, KRW, where it is not the last close", null=True
        ),
        _col("base_ratio", DOUBLE, "base_price / last close as the source rounds it", null=True),
        _col("base_reason", TEXT, "Why: split or merger of shares, ex rights, …", null=True),
        _known_at(CLOSE_PLUS_10),
    ],
    key=("stock_code", "trade_date"),
    day="trade_date",
    entity="stock_code",
    known_at="nominal",
)

adjustment_factors = _table(
    "raw.adjustment_factors",
    "What makes prices on both sides of a corporate action comparable, one row a stock and first session after it",
    [
        _col("stock_code", TEXT, "Six-character short code"),
        _col(
            "ex_date", DAY, "First session at the new price, a KST date: prices before it times factor compare with it"
        ),
        _col("factor", DOUBLE, "base_price / previous_close; 0.2 after a split of one share into five"),
        _col("base_price", BIG, "Price that ex_date's change counts from, KRW"),
        _col("previous_close", BIG, "Last close before ex_date, KRW"),
        _col("reason", TEXT, "Kind of corporate action as the source names it; NULL where it names none", null=True),
        _known_at("that of ex_date's bar and of the close before it, observed_at for later versions"),
    ],
    key=("stock_code", "ex_date"),
    day="ex_date",
    entity="stock_code",
    known_at="nominal",
)

krx_daily_bars = _table(
    "raw.krx_daily_bars",
    "Daily bars as the exchange publishes them a day later, one row a stock and session: "
    "raw.daily_bars is reconciled with them",
    [
        _col("stock_code", TEXT, "Six-character short code"),
        _col("trade_date", DAY, "Session, a KST date"),
        _col("market", TEXT, "KOSPI, KOSDAQ or KONEX"),
        _col("name", TEXT, "Korean name as published for that session"),
        _col("open", BIG, "Opening price, KRW; NULL when nothing traded in the order book", null=True),
        _col("high", BIG, "Highest price, KRW; NULL when nothing traded in the order book", null=True),
        _col("low", BIG, "Lowest price, KRW; NULL when nothing traded in the order book", null=True),
        _col("close", BIG, "Closing price, KRW; carried from the last trade when nothing traded"),
        _col("volume", BIG, "Traded shares of the whole day"),
        _col("turnover_krw", BIG, "Traded value of the whole day, KRW"),
        _col("market_cap_krw", BIG, "Market capitalisation, KRW", null=True),
        _col("listed_shares", BIG, "Listed shares", null=True),
        _known_at("08:00 KST on the day of the next session, observed_at for later versions"),
    ],
    key=("stock_code", "trade_date"),
    checks=(_one_of("market", "KOSPI", "KOSDAQ", "KONEX"),),
    day="trade_date",
    entity="stock_code",
    known_at="nominal",
)

INDEX_CODE: Final = (
    "The broker's four-digit index code: 0001 KOSPI, 1001 KOSDAQ, 2001 KOSPI200, or a sector of raw.stocks"
)

index_bars = _table(
    "raw.index_bars",
    "Daily bars of market and sector indices, one row an index and session",
    [
        _col("index_code", TEXT, INDEX_CODE),
        _col("trade_date", DAY, "Session, a KST date"),
        _col("open", DOUBLE, "Opening level, points"),
        _col("high", DOUBLE, "Highest level, points"),
        _col("low", DOUBLE, "Lowest level, points"),
        _col("close", DOUBLE, "Closing level, points"),
        _col("volume", BIG, "Traded shares; published in thousands, so the last digits are zeros", null=True),
        _col("turnover_krw", BIG, "Traded value, KRW; published in millions, so the last digits are zeros", null=True),
        _known_at(CLOSE_PLUS_10),
    ],
    key=("index_code", "trade_date"),
    day="trade_date",
    entity="index_code",
    known_at="nominal",
)

index_breadth = _table(
    "raw.index_breadth",
    "Risers and fallers of market and sector indices, one row an index and session",
    [
        _col("index_code", TEXT, INDEX_CODE),
        _col("trade_date", DAY, "Session, a KST date"),
        _col("advancers", BIG, "Issues that rose; whether those at their upper limit are among them is not documented"),
        _col("decliners", BIG, "Issues that fell; whether those at their lower limit are among them is not documented"),
        _col("unchanged", BIG, "Issues that stood still"),
        _col("upper_limit", BIG, "Issues at their upper limit"),
        _col("lower_limit", BIG, "Issues at their lower limit"),
        _known_at(CLOSE_PLUS_10),
    ],
    key=("index_code", "trade_date"),
    day="trade_date",
    entity="index_code",
    known_at="nominal",
)


def _flows_of(name: str, who: str) -> list[Make]:
    krw = "KRW; published in millions, so the last digits are zeros"
    return [
        _col(f"{name}_net_shares", BIG, f"Shares that {who} bought minus those they sold"),
        _col(f"{name}_bought_shares", BIG, f"Shares that {who} bought"),
        _col(f"{name}_sold_shares", BIG, f"Shares that {who} sold"),
        _col(f"{name}_net_krw", BIG, f"Value of what {who} bought minus what they sold, {krw}"),
        _col(f"{name}_bought_krw", BIG, f"Value of what {who} bought, {krw}"),
        _col(f"{name}_sold_krw", BIG, f"Value of what {who} sold, {krw}"),
    ]


investor_flows = _table(
    "raw.investor_flows",
    "Who bought and sold, one row a stock and session; the groups do not add up to zero: other corporations lack",
    [
        _col("stock_code", TEXT, "Six-character short code"),
        _col("trade_date", DAY, "Session, a KST date"),
        *_flows_of("retail", "retail investors"),
        *_flows_of("foreign", "foreigners, registered and others,"),
        *_flows_of("institution", "domestic institutions"),
        _known_at(CLOSE_PLUS_30),
    ],
    key=("stock_code", "trade_date"),
    day="trade_date",
    entity="stock_code",
    known_at="nominal",
)

overtime_bars = _table(
    "raw.overtime_bars",
    "Single-price trading after hours, one row a stock and session; there was none since 2026-09-14",
    [
        _col("stock_code", TEXT, "Six-character short code"),
        _col("trade_date", DAY, "Session that it followed, a KST date"),
        _col("close", BIG, "Last single price, KRW; NULL where nothing was traded", null=True),
        _col("volume", BIG, "Shares traded after hours alone"),
        _col("turnover_krw", BIG, "Value traded after hours alone, KRW"),
        _col("regular_close", BIG, "Close of the session, KRW, from which the single prices may differ by 10 %"),
        _known_at("18:00 KST of the session, also on exam days; observed_at for later versions"),
    ],
    key=("stock_code", "trade_date"),
    day="trade_date",
    entity="stock_code",
    known_at="nominal",
)

minute_bars = _table(
    "raw.minute_bars",
    "One-minute bars, unadjusted, one row a minute and stock; minutes without a trade have no row",
    [
        _col("ts", INSTANT, "Start of the minute"),
        _col("stock_code", TEXT, "Six-character short code"),
        _col("trade_date", DAY, "Session, the KST date of ts"),
        _col("open", BIG, "First price, KRW"),
        _col("high", BIG, "Highest price, KRW"),
        _col("low", BIG, "Lowest price, KRW"),
        _col("close", BIG, "Last price, KRW"),
        _col("volume", BIG, "Traded shares"),
        _col("turnover_krw", BIG, "Traded value of the minute, KRW; NULL where not given", null=True),
        _known_at("ts + 1 minute, observed_at for later versions"),
    ],
    # ts first: a day is then one contiguous stretch of the index, and a first load costs the same however full the
    # table is (with stock_code first it grew from 2.2 s to 4.9 s over a month of whole-market days).
    key=("ts", "stock_code"),
    day="trade_date",
    entity="stock_code",
    day_instant="ts",
    known_at="nominal",
)

SNAPSHOT: Final = "Instant of the five-minute snapshot that the round of requests belongs to"
ANSWERED: Final = "the instant of the answer, observed_at for later versions"

quote_snapshots = _table(
    "raw.quote_snapshots",
    "Quotes asked for every five minutes of a session, one row a snapshot and stock; one not requested has no row",
    [
        _col("snapshot_at", INSTANT, SNAPSHOT),
        _col("stock_code", TEXT, "Six-character short code"),
        _col("trade_date", DAY, "Session, the KST date of snapshot_at"),
        _col("price", BIG, "Last price, KRW; that of an earlier session where volume is 0"),
        _col("open", BIG, "First price of the day, KRW; NULL before the first trade", null=True),
        _col("high", BIG, "Highest price so far, KRW; NULL before the first trade", null=True),
        _col("low", BIG, "Lowest price so far, KRW; NULL before the first trade", null=True),
        _col("volume", BIG, "Shares traded so far"),
        _col("turnover_krw", BIG, "Traded value so far, KRW"),
        _col("vwap", DOUBLE, "Volume-weighted average price so far, KRW; NULL before the first trade", null=True),
        _col("reference_price", BIG, "Price that the day's change and limits count from, KRW", null=True),
        _col("upper_limit", BIG, "Highest price allowed today, KRW", null=True),
        _col("lower_limit", BIG, "Lowest price allowed today, KRW", null=True),
        _col("foreign_net_shares", BIG, "Shares foreigners bought less sold so far, as estimated", null=True),
        _col("program_net_shares", BIG, "Shares program trading bought less sold so far", null=True),
        _col("foreign_held_pct", DOUBLE, "Share of the foreign holding limit that is used, percent", null=True),
        _col("status_code", TEXT, "Broker's state of the issue: 51 administrative, 55 normal, 58 halted …", null=True),
        _col("warning_code", TEXT, "Market alert: 00 none, 01 caution, 02 warning, 03 risk", null=True),
        _col("is_in_vi", BOOL, "Whether a volatility interruption holds it in an auction", null=True),
        _col("is_halted", BOOL, "Whether the exchange has stopped trading in it"),
        _known_at(ANSWERED),
    ],
    key=("snapshot_at", "stock_code"),
    day="trade_date",
    entity="stock_code",
    day_instant="snapshot_at",
    known_at="nominal",
)

order_books = _table(
    "raw.order_books",
    "Order books asked for every five minutes of a session, ten levels a side, one row a snapshot and stock",
    [
        _col("snapshot_at", INSTANT, SNAPSHOT),
        _col("stock_code", TEXT, "Six-character short code"),
        _col("trade_date", DAY, "Session, the KST date of snapshot_at"),
        _col("ask_prices", BIGS, "Prices offered at, KRW, lowest first; no element for an empty level"),
        _col("ask_shares", BIGS, "Shares offered at the price of the same position"),
        _col("bid_prices", BIGS, "Prices wanted at, KRW, highest first; no element for an empty level"),
        _col("bid_shares", BIGS, "Shares wanted at the price of the same position"),
        _col("total_ask_shares", BIG, "Shares offered at all prices"),
        _col("total_bid_shares", BIG, "Shares wanted at all prices"),
        _col("expected_price", BIG, "Price an auction under way would make, KRW; NULL outside one", null=True),
        _col("expected_volume", BIG, "Shares an auction under way would trade; NULL outside one", null=True),
        _col("phase_code", TEXT, "Broker's phase of the market: 20 continuous, 00 auction call, 31 closed", null=True),
        _col("is_in_vi", BOOL, "Whether a volatility interruption holds it in an auction", null=True),
        _known_at(ANSWERED),
    ],
    key=("snapshot_at", "stock_code"),
    day="trade_date",
    entity="stock_code",
    day_instant="snapshot_at",
    known_at="nominal",
)

news_articles = _table(
    "raw.news_articles",
    "News articles as their sources listed them, one row an article",
    [
        _col("article_id", TEXT, "sha256 of the canonical URL, or of title, press and day where there is none"),
        _col("url", TEXT, "Canonical address", null=True),
        _col("title", TEXT, "Headline without markup"),
        _col("excerpt", TEXT, "First lines as the source gave them, without markup", null=True),
        _col("press", TEXT, "Publisher", null=True),
        _col("published_at", INSTANT, "Instant of publication; 23:59:59 KST of its day where is_date_only"),
        _col("is_date_only", BOOL, "Whether the source gave a day and no time"),
        _col("content_hash", TEXT, "sha256 of the normalised content"),
        _known_at("observed_at if seen within 24 hours of published_at, else published_at; later versions observed_at"),
        _col("trading_day", DAY, TRADING_DAY),
        _col("tradable_session", DAY, TRADABLE_SESSION),
    ],
    key=("article_id",),
    day="trading_day",
    entity="article_id",
    known_at="seen",
)

news_sightings = _table(
    "raw.news_sightings",
    "First time each source and query showed an article, one row an article, source and query; append-only",
    [
        _col("article_id", TEXT, "Article of raw.news_articles"),
        _col("query", TEXT, "Question that showed it: a search term, or the name of a feed"),
        _col("trading_day", DAY, "Trading day of the article, a KST date"),
    ],
    key=("article_id", "source", "query"),
    day="trading_day",
    entity="article_id",
    append_only=True,
)

article_bodies = _table(
    "raw.article_bodies",
    "What publishers' article pages said when they were read, one row an article asked for; empty unless switched on",
    [
        _col("article_id", TEXT, "Article of raw.news_articles"),
        _col("url", TEXT, "Address that was asked"),
        _col("status", TEXT, "read, no_text (a paywall or another page), gone, moved or disallowed (by robots.txt)"),
        _col("extent", TEXT, "How much of the text is kept: excerpt or full; NULL unless read", null=True),
        _col("text", TEXT, "Text without markup, a line a paragraph; NULL unless read", null=True),
        _col("characters", INT, "Characters of the whole text; NULL unless read", null=True),
        _col("content_hash", TEXT, "sha256 of the whole text; NULL unless read", null=True),
        _col("trading_day", DAY, "Trading day of the article, a KST date"),
        _known_at("observed_at"),
    ],
    key=("article_id",),
    checks=(
        _one_of("status", "read", "no_text", "gone", "moved", "disallowed"),
        _one_of("extent", "excerpt", "full"),
    ),
    day="trading_day",
    entity="article_id",
    known_at="observed",
)

reddit_posts = _table(
    "raw.reddit_posts",
    "Noticed posts of a few subreddits, one row a post",
    [
        _col("post_id", TEXT, "Reddit's id of the post, without the prefix of its kind"),
        _col("subreddit", TEXT, "Subreddit it was listed in"),
        _col("title", TEXT, "Title"),
        _col("text", TEXT, "Text as written, Markdown; NULL where the post only points somewhere", null=True),
        _col("link_url", TEXT, "Address the post points at; NULL for a post of text", null=True),
        _col("url", TEXT, "Address of the post"),
        _col("author", TEXT, "Account that wrote it; NULL where it is gone", null=True),
        _col("score", INT, "Upvotes minus downvotes when this version was first seen"),
        _col("comments", INT, "Comments when this version was first seen"),
        _col("published_at", INSTANT, "Instant of publication"),
        _known_at("observed_at if seen within 24 hours of published_at, else published_at; later versions observed_at"),
        _col("trading_day", DAY, TRADING_DAY),
        _col("tradable_session", DAY, TRADABLE_SESSION),
    ],
    key=("post_id",),
    day="trading_day",
    entity="post_id",
    known_at="seen",
    # A score moves every ten minutes. A forecast may only see the one that was there when the post became known, and
    # nothing reads how it went on: 100,000 rows a day that no query reads are not kept.
    volatile=frozenset({"score", "comments"}),
)

disclosures = _table(
    "raw.disclosures",
    "Filings of DART, one row a receipt number",
    [
        _col("rcept_no", TEXT, "Receipt number, 14 digits"),
        _col("corp_code", TEXT, "DART's company code"),
        _col("corp_name", TEXT, "Company name as filed"),
        _col("stock_code", TEXT, "Six-character code; NULL for unlisted companies", null=True),
        _col("corp_cls", TEXT, "Y KOSPI, K KOSDAQ, N KONEX, E other"),
        _col("report_nm", TEXT, "Title of the report as published, with any leading [correction mark]"),
        _col("filer_name", TEXT, "Who filed it"),
        _col("rcept_dt", DAY, "Day of receipt, a KST date"),
        _col("rm", TEXT, "DART's remark letters", null=True),
        _col("correction_kind", TEXT, "Text inside the leading [..] of report_nm; NULL for originals", null=True),
        _col("amends_rcept_no", TEXT, "Receipt number this filing corrects, where it is known", null=True),
        _col("first_seen_at", INSTANT, "observed_at of the first version"),
        _known_at("observed_at if seen within 24 hours of the end of rcept_dt, else that; later versions observed_at"),
        _col("trading_day", DAY, TRADING_DAY),
        _col("tradable_session", DAY, TRADABLE_SESSION),
    ],
    key=("rcept_no",),
    day="trading_day",
    entity="rcept_no",
    known_at="seen",
)

# ---- text: what the articles say -----------------------------------------------------------------------------------

article_clusters = _table(
    "text.article_clusters",
    "Which articles are copies of one another, one row an article",
    [
        _col("article_id", TEXT, "Article of raw.news_articles"),
        _col("cluster_id", TEXT, "article_id of the earliest known member; its own for an article without copies"),
        _col("method", TEXT, "How it was joined: single, url or title_press"),
        _col("trading_day", DAY, TRADING_DAY),
        _known_at(ARTICLES_OWN),
    ],
    key=("article_id",),
    checks=(_one_of("method", "single", "url", "title_press"),),
    day="trading_day",
    entity="article_id",
    known_at="nominal",
)

mentions = _table(
    "text.mentions",
    "Companies named in articles, one row a span and stock",
    [
        _col("article_id", TEXT, "Article of raw.news_articles"),
        _col("field", TEXT, "Where the name stands: title or excerpt"),
        _col("span_start", INT, "First character of the name, counted from 0"),
        _col("span_end", INT, "Character after the last one of the name"),
        _col("stock_code", TEXT, "Six-character code of the company named"),
        _col("surface", TEXT, "The name as written"),
        _col("method", TEXT, "What matched: name, alias or former_name"),
        _col("trading_day", DAY, TRADING_DAY),
        _known_at(ARTICLES_OWN),
    ],
    key=("article_id", "field", "span_start", "stock_code"),
    checks=(_one_of("field", "title", "excerpt"), _one_of("method", "name", "alias", "former_name")),
    day="trading_day",
    entity="article_id",
    known_at="nominal",
)

# ---- ml: embeddings, forecasts and their scores --------------------------------------------------------------------

news_embeddings = _table(
    "ml.news_embeddings",
    "Vectors of articles, one row an article and embedder",
    [
        _col("article_id", TEXT, "Article of raw.news_articles"),
        _col("embedder", TEXT, "Name and version of the embedder"),
        _col("vector_id", BIG, "Id in the FAISS index: 63 bits of the sha256 of article_id, never a position"),
        _col("embedding", REALS, "The vector, of unit length"),
        _col("content_hash", TEXT, "content_hash of the article that was embedded"),
        _col("trading_day", DAY, TRADING_DAY),
        _known_at(ARTICLES_OWN),
    ],
    key=("article_id", "embedder"),
    day="trading_day",
    entity="article_id",
    known_at="nominal",
)

faiss_index = _table(
    "ml.faiss_index",
    "Manifest of the FAISS index file, one row an embedder; replaced manifests are in the history",
    [
        _col("embedder", TEXT, "Name and version of the embedder"),
        _col("file_name", TEXT, "Index file under AZAK_HOME, named by its content"),
        _col("checksum", TEXT, "sha256 of the file"),
        _col("dimensions", INT, "Components of a vector"),
        _col("vectors", INT, "Vectors in the index"),
        _col("first_known_at", INSTANT, "Earliest known_at among them; NULL when the index is empty", null=True),
        _col("last_known_at", INSTANT, "Latest known_at among them; NULL when the index is empty", null=True),
    ],
    key=("embedder",),
    entity="embedder",
)

models = _table(
    "ml.models",
    "Forecasting models, one row a model",
    [
        _col("model_id", TEXT, "Our name of the model"),
        _col("provider", TEXT, "local, openai or openrouter"),
        _col("model", TEXT, "The provider's name of the model; for a local one its own"),
        _col("temperature", DOUBLE, "Sampling temperature; NULL for local models", null=True),
        _col("is_active", BOOL, "Whether it is asked"),
        _col("training_cutoff", DAY, "Last day its training data may hold; NULL when unknown or untrained", null=True),
        _col("usd_per_1m_input", DOUBLE, "Price of a million prompt tokens, USD; NULL when free", null=True),
        _col("usd_per_1m_output", DOUBLE, "Price of a million answer tokens, USD; NULL when free", null=True),
    ],
    key=("model_id",),
    checks=(_one_of("provider", "local", "openai", "openrouter"),),
    entity="model_id",
)

prompt_versions = _table(
    "ml.prompt_versions",
    "Prompt templates, one row a version",
    [
        _col("prompt_version", TEXT, "Name of the version"),
        _col("sha256", TEXT, "sha256 of the body"),
        _col("body", TEXT, "The template"),
    ],
    key=("prompt_version",),
    entity="prompt_version",
)

predictions = _table(
    "ml.predictions",
    "Forecasts, one row an answer of a model about one stock; append-only; observed_at is when it was made",
    [
        _col("prediction_id", TEXT, "sha256 of kind, article or slot, stock, model version, prompt version and origin"),
        _col("kind", TEXT, "article or report"),
        _col("article_id", TEXT, "Article the forecast is about; NULL for reports", null=True),
        _col("slot", TEXT, "Session and time of a report; NULL for articles", null=True),
        _col("stock_code", TEXT, "Six-character code of the stock"),
        _col("model_id", TEXT, "Model of ml.models"),
        _col("model_version", TEXT, "Version of the model that answered"),
        _col("prompt_version", TEXT, "Prompt of ml.prompt_versions; the rule's version for local models"),
        _col("origin", TEXT, "live or replayed; never mixed in a score"),
        _col("cutoff_at", INSTANT, "Nothing known after this instant was shown to the model"),
        _col("trading_day", DAY, "Trading day of the article or slot, a KST date"),
        _col("tradable_session", DAY, "First session that closes after cutoff_at, a KST date"),
        _col("sentiment_direction", TEXT, "positive, negative or neutral", null=True),
        _col("sentiment_score", DOUBLE, "Sentiment from -1 to 1", null=True),
        _col("impact_level", TEXT, "low, medium, high or critical", null=True),
        _col("relevance", DOUBLE, "How much the article concerns the stock, 0 to 1", null=True),
        _col("urgency_level", TEXT, "routine, notable, urgent or breaking", null=True),
        _col("reasoning", TEXT, "The model's reasons in its words", null=True),
        _col("direction", TEXT, "up, flat or down over five sessions"),
        _col("confidence", DOUBLE, "Confidence in the direction, 0 to 1", null=True),
        _col("target_price", BIG, "Price the move should reach, KRW", null=True),
        _col("support_price", BIG, "Price that would refute the call, KRW", null=True),
        _col("base_price", BIG, "Price the model was shown as current, KRW", null=True),
        _col("context_hash", TEXT, "sha256 of the context the model saw"),
        _col("prompt_hash", TEXT, "sha256 of the prompt as sent", null=True),
        _col("articles_seen", TEXTS, "article_ids in the context, in its order"),
        _col("tokens_in", INT, "Prompt tokens; NULL for local models", null=True),
        _col("tokens_out", INT, "Answer tokens; NULL for local models", null=True),
        _col("cost_usd", DOUBLE, "Cost of the call, USD; NULL for local models", null=True),
        _col("is_contaminated", BOOL, "Whether it may have been trained on what followed; NULL unknown", null=True),
    ],
    key=("prediction_id",),
    checks=(
        _one_of("kind", "article", "report"),
        _one_of("origin", "live", "replayed"),
        _one_of("direction", "up", "flat", "down"),
    ),
    day="trading_day",
    entity="stock_code",
    append_only=True,
)

prediction_horizons = _table(
    "ml.prediction_horizons",
    "Probabilities of a forecast, one row a forecast and horizon; append-only",
    [
        _col("prediction_id", TEXT, "Forecast of ml.predictions"),
        _col("horizon_sessions", SMALL, "Horizon in sessions"),
        _col("p_up", DOUBLE, "Probability of a rise beyond the flat band"),
        _col("p_flat", DOUBLE, "Probability of staying inside the flat band"),
        _col("p_down", DOUBLE, "Probability of a fall beyond the flat band"),
        _col("band_low", DOUBLE, "Lower end of the 80 % band, log return; NULL where none was given", null=True),
        _col("band_high", DOUBLE, "Upper end of the 80 % band, log return; NULL where none was given", null=True),
        _col("trading_day", DAY, "Trading day of the forecast, a KST date"),
    ],
    key=("prediction_id", "horizon_sessions"),
    day="trading_day",
    entity="prediction_id",
    append_only=True,
)

model_evaluations = _table(
    "ml.model_evaluations",
    "Scores of forecasts, one row a forecast, horizon and version; a corrected price makes a new version",
    [
        _col("prediction_id", TEXT, "Forecast of ml.predictions"),
        _col("horizon_sessions", SMALL, "Horizon in sessions"),
        _col("version", INT, "1 for the first score, one more for each correction of the prices behind it"),
        _col("model_id", TEXT, "Model of ml.models"),
        _col("stock_code", TEXT, "Six-character code of the stock"),
        _col("trading_day", DAY, "Trading day of the forecast, a KST date"),
        _col("status", TEXT, "pending, matured or censored"),
        _col("censor_reason", TEXT, "Why it will never be scored; NULL unless censored", null=True),
        _col("entry_day", DAY, "Session of the entry price, a KST date", null=True),
        _col("entry_at", INSTANT, "Instant of the entry price", null=True),
        _col("entry_price", BIG, "Price at which the forecast could be acted on, KRW", null=True),
        _col("exit_day", DAY, "Session of the exit price, a KST date; planned while pending", null=True),
        _col("exit_price", BIG, "Close of the exit session, KRW", null=True),
        _col(
            "adjustment_factor",
            DOUBLE,
            "Product of raw.adjustment_factors after entry_day until exit_day; 1 where there is none",
            null=True,
        ),
        _col("log_return", DOUBLE, "ln(exit_price / (entry_price * adjustment_factor))", null=True),
        _col("sigma20", DOUBLE, "Standard deviation of the 20 daily log returns before entry", null=True),
        _col("outcome", TEXT, "up, flat or down", null=True),
        _col("brier", DOUBLE, "Three-class Brier sum, 0 (best) to 2", null=True),
        _col("log_score", DOUBLE, "-ln of the probability given to the outcome; 0 is best", null=True),
        _col("is_direction_right", BOOL, "Whether the most probable class came true", null=True),
        _col("target_achieved", BOOL, "Whether the target was reached on the forecast's side", null=True),
        _col("support_breached", BOOL, "Whether the support was broken against the forecast", null=True),
        _col("target_score", DOUBLE, "Part of the classic score for the target, 0 to 40", null=True),
        _col("timing_score", DOUBLE, "Part of the classic score for timing, 0 to 30", null=True),
        _col("risk_score", DOUBLE, "Part of the classic score for risk, 0 to 30", null=True),
        _col("classic_score", DOUBLE, "Sum of the three parts, 0 to 100; NULL without target or support", null=True),
        _col("prices_hash", TEXT, "sha256 of the prices behind the score; NULL while pending", null=True),
        _known_at("when the last price behind the score was known, observed_at for later versions"),
    ],
    key=("prediction_id", "horizon_sessions", "version"),
    checks=(
        _one_of("status", "pending", "matured", "censored"),
        _one_of("outcome", "up", "flat", "down"),
    ),
    day="trading_day",
    entity="prediction_id",
    known_at="nominal",
)
# Marts look for the days that a run has scored, and for what was scored since they last looked.
sa.Index(None, model_evaluations.c.exit_day)
sa.Index(None, model_evaluations.c.observed_at)
# Every run asks for what is still open, a small part of all that was ever scored.
sa.Index(
    "model_evaluations_pending_idx", model_evaluations.c.trading_day, postgresql_where=sa.text("status = 'pending'")
)

llm_calls = _table(
    "ml.llm_calls",
    "Calls of language models and their answers: cache and ledger, one row a request and attempt; append-only",
    [
        _col("request_hash", TEXT, "sha256 of model, messages and parameters"),
        _col("attempt", SMALL, "Attempt, counted from 1"),
        _col("status", TEXT, "ok or error"),
        _col("provider", TEXT, "Provider asked"),
        _col("model", TEXT, "The provider's name of the model"),
        _col("response", JSONB(), "Answer as received; NULL on error", null=True),
        _col("error", TEXT, "What went wrong; NULL when ok", null=True),
        _col("tokens_in", INT, "Prompt tokens", null=True),
        _col("tokens_out", INT, "Answer tokens", null=True),
        _col("cost_usd", DOUBLE, "Cost, USD", null=True),
        _col("latency_ms", INT, "Milliseconds from request to answer", null=True),
    ],
    key=("request_hash", "attempt"),
    checks=(_one_of("status", "ok", "error"),),
    entity="request_hash",
    append_only=True,
)

# ---- ops: bookkeeping ----------------------------------------------------------------------------------------------

world = sa.Table(
    "world",
    metadata,
    sa.Column(
        "is_only_row", BOOL, primary_key=True, server_default=sa.text("true"), comment="Always true: one row at most"
    ),
    _col("world", TEXT, "live, seed:N or replay:HASH")(),
    _col("stamped_at", INSTANT, "When the database was first used")(),
    sa.CheckConstraint("is_only_row", name="is_only_row"),
    schema="ops",
    comment="The world whose data this database holds, stamped at first use; any other world is refused",
)

access_tokens = sa.Table(
    "access_tokens",
    metadata,
    sa.Column("name", TEXT, primary_key=True, comment="Upstream and key the token belongs to, without secrets"),
    _col("access_token", TEXT, "The token, a secret: readable by the owner alone")(),
    _col("expires_at", INSTANT, "Instant from which the upstream refuses it")(),
    _col("issued_at", INSTANT, "When it was stored")(),
    schema="ops",
    comment="Short-lived access tokens shared by all processes, because an upstream issues at most one a minute",
)

rate_budgets = sa.Table(
    "rate_budgets",
    metadata,
    sa.Column("name", TEXT, primary_key=True, comment="Upstream whose requests are counted"),
    _col("next_at", INSTANT, "Earliest instant at which the next call may start")(),
    schema="ops",
    comment="Request budgets shared by all processes, one row an upstream",
)

feed_validators = sa.Table(
    "feed_validators",
    metadata,
    sa.Column("feed", TEXT, primary_key=True, comment="Publisher and path of the feed"),
    _col("etag", TEXT, "ETag of the last answer whose items are stored", null=True)(),
    _col("last_modified", TEXT, "Last-Modified of that answer, as it came", null=True)(),
    _col("confirmed_at", INSTANT, "When its items were stored")(),
    schema="ops",
    comment="What each feed said of its version, one row a feed, so that an unchanged one is not sent again",
)

crawled_hosts = sa.Table(
    "crawled_hosts",
    metadata,
    sa.Column("host", TEXT, primary_key=True, comment="Host whose article pages are read"),
    _col("robots", TEXT, "Its robots.txt as read; empty where it has none")(),
    _col("refusal", TEXT, "How it refused us: it is left alone for the day; NULL where it did not", null=True)(),
    _col("read_at", INSTANT, "When it was asked; its word counts for that KST day")(),
    schema="ops",
    comment="What each publisher allows readers of its article pages, one row a host, kept for a day",
)

source_health = sa.Table(
    "source_health",
    metadata,
    sa.Column("upstream", TEXT, primary_key=True, comment="Upstream, by the name its client calls it"),
    _col("last_success_at", INSTANT, "When it last answered a call as it should", null=True)(),
    _col("last_failure_at", INSTANT, "When a call last failed", null=True)(),
    _col("cause", TEXT, "Name of the last failure: Blocked, RateLimited, Unauthorized, Unavailable, …", null=True)(),
    _col("action", TEXT, "What is done about the last failure: retry, wait, stop or alert", null=True)(),
    _col("what", TEXT, "What the upstream did or said at the last failure, without secrets", null=True)(),
    _col("advice", TEXT, "What a person can do about the last failure", null=True)(),
    _col("streak", INT, "Failed calls in a row since the last success, of all processes together")(),
    _col("failing_since", INSTANT, "First failure of that row; NULL while it answers", null=True)(),
    _col("calls_day", DAY, "KST date whose calls are counted")(),
    _col("calls_today", INT, "Calls on that day, of all processes together, failed ones included")(),
    _col("calls_a_day", INT, "Calls a day that the upstream allows; NULL where it has no quota a day", null=True)(),
    _col(
        "closed_until",
        INSTANT,
        "No request is sent before, because the upstream refused us; in the past or NULL: open",
        null=True,
    )(),
    _col("closed_for", TEXT, "Hash of the address and credentials that were refused; others may ask", null=True)(),
    _col("closed_cause", TEXT, "Name of the failure that closed it", null=True)(),
    _col("closed_what", TEXT, "What the upstream said then, without secrets", null=True)(),
    _col("closed_advice", TEXT, "What a person can do about that", null=True)(),
    schema="ops",
    comment="How each upstream answers us, one row an upstream that was ever asked; written with every call",
)

feeds = sa.Table(
    "feeds",
    metadata,
    sa.Column("source", TEXT, primary_key=True, comment="Source of the rows, as in their column source"),
    sa.Column("table_name", TEXT, primary_key=True, comment="schema.table"),
    _col("last_loaded_at", INSTANT, "When its answer was last loaded, with or without rows")(),
    _col("last_rows_at", INSTANT, "When it last held rows; NULL while it never did", null=True)(),
    _col("empty_sessions", INT, "Sessions in a row on which it was loaded and held no row")(),
    _col("last_empty_day", DAY, "Session on which it last held no row, a KST date; NULL if it never did", null=True)(),
    schema="ops",
    comment="When each source last brought rows into each raw table, one row a source and table; written by the loads",
)

load_fingerprints = sa.Table(
    "load_fingerprints",
    metadata,
    sa.Column("table_name", TEXT, primary_key=True, comment="schema.table"),
    sa.Column("scope", TEXT, primary_key=True, comment="sha256 of the scope's days and keys and of completeness"),
    sa.Column("days", ARRAY(sa.Date()), nullable=True, comment="Days whose change ends the row; NULL for any change"),
    _col("fingerprint", TEXT, "sha256 of the frame and of the table's definition")(),
    _col("row_count", BIG, "Rows of the frame")(),
    _col("observed_at", INSTANT, "When the frame was loaded")(),
    schema="ops",
    comment="Last frame loaded for a scope, so that an identical one is skipped; gone once anything else writes there",
)

mart_changes = sa.Table(
    "mart_changes",
    metadata,
    sa.Column("invocation_id", TEXT, primary_key=True, comment="The dbt call"),
    sa.Column("mart", TEXT, primary_key=True, comment="schema.table"),
    _col("inserted", BIG, "Rows whose key was not there")(),
    _col("changed", BIG, "Rows whose key was there with another content")(),
    _col("unchanged", BIG, "Rows that were there already")(),
    _col("retired", BIG, "Rows that the call answers for and did not find again")(),
    _col("made_at", INSTANT, "When dbt wrote them")(),
    schema="ops",
    comment="What each dbt call changed in each mart that was there before; written by dbt with the mart",
)

rejected_records = sa.Table(
    "rejected_records",
    metadata,
    sa.Column("reject_id", TEXT, primary_key=True, comment="sha256 of source, record, field, value and reason"),
    _col("record", TEXT, "The record as it came, shortened")(),
    _col("field", TEXT, "Field that was refused")(),
    _col("value", TEXT, "Its value", null=True)(),
    _col("reason", TEXT, "Why it was refused")(),
    *(make() for make in _provenance()),
    _col("code", TEXT, "Why it was refused, for programs: unreadable, closed_day or conflict")(),
    schema="ops",
    comment="Records that were refused, one row a distinct refusal, with the first time it was seen",
)


def spec(name: str) -> TableSpec:
    """Return what is known of `schema.table`; ValueError names the tables there are."""
    try:
        return SPECS[name]
    except KeyError:
        raise ValueError(f"no table {name!r} to load or read here; there are: {', '.join(sorted(SPECS))}") from None
