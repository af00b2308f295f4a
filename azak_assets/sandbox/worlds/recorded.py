"""The recorded world: serves a folder of recorded market data, headlines and filings as the upstreams would have.

Reading and checking of recorded files belongs here, and what a recorded file cannot say stays unsaid: no minute bars,
no corporate actions, no flows, no feeds, no ratios, and no second source of prices: one made from the same record
would agree with itself. Wire formats do not belong here. Every file is checked when the world is opened, so that a
damaged record is one sentence at the start instead of a wrong answer later.

Layout (any file may be missing; its feed is then absent from `feeds`):
`daily_bars.csv.gz`, `index_bars_*.csv`, `news.csv`, `disclosures_*.csv`, and `corp_codes*.csv` here or one level up.
"""

import csv
import gzip
import hashlib
import io
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time
from pathlib import Path
from typing import cast

from azak_assets import krx
from azak_assets.sandbox.worlds.world import (
    Article,
    Breadth,
    Company,
    DailyBar,
    Filing,
    IndexBar,
    InvestorFlow,
    Issue,
    Market,
    MinuteBar,
    OvertimeBar,
    Post,
    Product,
    Ratios,
    Standing,
    isin_of,
    terms_of,
)

INDEX_CODES = {"KOSPI": "0001", "KOSDAQ": "1001", "KOSPI200": "2001"}

#: Words that ask for the market instead of a company: everything recorded answers them.
MARKET_WORDS = frozenset(
    ["증시", "코스피", "코스닥", "주식", "주가", "특징주", "상장사", "시황", "경제", "금융", "공시"]
)

#: What the DART web list spells out, and the letter the API's `rm` has for it.
REMARK_LETTERS = {
    "본 공시사항은 한국거래소 유가증권시장본부 소관임": "유",
    "본 공시사항은 한국거래소 코스닥시장본부 소관임": "코",
    "본 문서는 한국거래소 코넥스시장 소관임": "넥",
    "본 공시사항은 한국거래소 채권시장 소관임": "채",
    "본 공시사항은 공정거래위원회 소관임": "공",
    "본 보고서는 연결부분을 포함한 것임": "연",
    "본 보고서 제출 후 정정신고가 있으니 관련 보고서를 참조하시기 바람": "정",
    "본 보고서는 철회되었으니 관련 철회신고서를 참고하시기 바람": "철",
}

CORP_CLASSES = {"유": "Y", "코": "K", "넥": "N", "기": "E"}


class RecordedDataError(ValueError):
    """A recorded file that cannot be served: names file, column, row (the header is row 1) and what is expected."""


class _Table:
    """One CSV file read row by row, each value checked where it is used."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        try:
            raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            text = raw.decode("utf-8-sig")
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            expected = "a readable gzip of UTF-8 CSV" if path.suffix == ".gz" else "a readable file of UTF-8 CSV"
            raise RecordedDataError(
                f"{path}: {error}. Expected {expected}; replace the file or take it out."
            ) from error
        self._lines = csv.reader(io.StringIO(text, newline=""))
        header = self._next(1) or []
        missing = [column for column in columns if column not in header]
        if missing:
            raise RecordedDataError(
                f"{path}: column {missing[0]!r} is missing in row 1. Expected the columns {', '.join(columns)}; "
                f"found {', '.join(header) or 'nothing'}."
            )
        self._width = len(header)
        self._positions = {column: header.index(column) for column in columns}

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Row number and values of every row; blank lines count as rows and are passed over."""
        row = 1
        while (values := self._next(row := row + 1)) is not None:
            if not "".join(values).strip() and len(values) <= 1:
                continue
            if len(values) != self._width:
                raise RecordedDataError(f"{self.path}: row {row} has {len(values)} values. Expected {self._width}.")
            yield row, {column: values[position] for column, position in self._positions.items()}

    def _next(self, row: int) -> list[str] | None:
        try:
            return next(self._lines, None)
        except csv.Error as error:
            raise RecordedDataError(f"{self.path}: row {row}: {error}. Expected a row of CSV.") from error

    def refuse(self, column: str, row: int, value: str, expected: str) -> RecordedDataError:
        return RecordedDataError(f"{self.path}: column {column!r}, row {row}: {value!r}. Expected {expected}.")

    def whole(self, column: str, row: int, value: str) -> int:
        """A count of KRW or shares, never negative."""
        if not (value.isascii() and value.isdigit()):
            raise self.refuse(column, row, value, "a whole number of at least 0")
        return int(value)

    def number(self, column: str, row: int, value: str) -> float:
        """A finite number of at least 0."""
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 <= number < float("inf"):
            raise self.refuse(column, row, value, "a number of at least 0")
        return number

    def day(self, column: str, row: int, value: str, form: str, expected: str) -> date:
        try:
            return datetime.strptime(value, form).replace(tzinfo=krx.KST).date()
        except ValueError:
            raise self.refuse(column, row, value, f"a date like {expected}") from None

    def session(self, column: str, row: int, value: str) -> date:
        day = self.day(column, row, value, "%Y-%m-%d", "2022-01-03")
        try:
            krx.session(day)
        except (krx.NotASession, krx.OutsideCalendar) as error:
            raise self.refuse(column, row, value, f"a trading session ({error})") from None
        return day


class RecordedWorld:
    """A folder of records served as a world. Opening it reads and checks every file (RecordedDataError).

    The clock does not bound a recorded world: all of it is past. Its name is `replay:` and the first 12 hex digits of
    the SHA-256 over its files, so that two folders with the same content are the same world.
    """

    def __init__(self, folder: Path) -> None:
        folder = Path(folder)
        if not folder.is_dir():
            raise RecordedDataError(
                f"{folder}: no such folder. Expected a folder with daily_bars.csv.gz or another record."
            )
        bars = sorted(folder.glob("daily_bars.csv.gz"))
        indices = sorted(folder.glob("index_bars_*.csv"))
        news = sorted(folder.glob("news.csv"))
        disclosures = sorted(folder.glob("disclosures_*.csv"))
        corps = sorted(folder.glob("corp_codes*.csv")) or sorted(folder.absolute().parent.glob("corp_codes*.csv"))[-1:]
        if not (bars or indices or news or disclosures):
            raise RecordedDataError(
                f"{folder}: nothing to replay. Expected daily_bars.csv.gz, index_bars_*.csv, news.csv or "
                "disclosures_*.csv."
            )
        digest = hashlib.sha256()
        for path in [*bars, *indices, *news, *disclosures, *corps]:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        self.name = f"replay:{digest.hexdigest()[:12]}"

        self._companies = [company for path in corps for company in _read_companies(path)]
        self._bars, self._issues, self._names = _read_daily_bars(bars)
        for company in self._companies:
            self._names.setdefault(company.stock_code, set()).add(company.name)
        self._indices = _read_index_bars(indices)
        self._articles = _read_news(news)
        self._filings = _read_filings(disclosures, {c.corp_code: c.stock_code for c in self._companies})

        present: Mapping[str, object] = {
            "master": self._issues,
            "daily_bars": self._bars,
            "index_bars": self._indices,
            "news": self._articles,
            "disclosures": self._filings,
            "corp_codes": self._companies,
        }
        self.feeds = (*(feed for feed, records in present.items() if records), "holidays", "llm")
        days = (
            [bar.day for series in self._bars.values() for bar in series]
            or [bar.day for series in self._indices.values() for bar in series]
            or [article.published_at.date() for _, article in self._articles]
            or [filing.rcept_dt for filing in self._filings]
        )
        if not days:
            raise RecordedDataError(f"{folder}: the files hold no rows. Expected at least one bar, headline or filing.")
        self.first_day, self._last_day = min(days), max(days)

    def last_day(self, now: datetime) -> date:  # noqa: ARG002 - a record is wholly past
        """The last recorded day."""
        return self._last_day

    def issues(self, now: datetime) -> Sequence[Issue]:  # noqa: ARG002
        """Every recorded issue as of its last bar; one that left the market inside the record is asked for too."""
        return list(self._issues.values())

    def issue(self, code: str, now: datetime) -> Issue | None:  # noqa: ARG002
        """One recorded issue."""
        return self._issues.get(code)

    def daily_bars(self, code: str, start: date, end: date, now: datetime, *, adjusted: bool) -> Sequence[DailyBar]:  # noqa: ARG002
        """The recorded bars; no corporate action is recorded, so adjusted and raw are the same."""
        return [bar for bar in self._bars.get(code, []) if start <= bar.day <= end]

    def index_bars(self, code: str, start: date, end: date, now: datetime) -> Sequence[IndexBar]:  # noqa: ARG002
        """The recorded index bars."""
        return [bar for bar in self._indices.get(code, []) if start <= bar.day <= end]

    def minute_bars(self, code: str, day: date, now: datetime) -> Sequence[MinuteBar]:  # noqa: ARG002
        """Nothing: minutes are not recorded."""
        return []

    def investor_flows(self, code: str, start: date, end: date, now: datetime) -> Sequence[InvestorFlow]:  # noqa: ARG002
        """Nothing: who bought and sold is not recorded."""
        return []

    def overtime_bars(self, code: str, start: date, end: date, now: datetime) -> Sequence[OvertimeBar]:  # noqa: ARG002
        """Nothing: single prices after hours are not recorded."""
        return []

    def breadth(self, code: str, now: datetime) -> Breadth | None:  # noqa: ARG002
        """Nothing: risers and fallers are not recorded."""
        return None

    def exchange_day(self, market: Market, day: date, now: datetime) -> Sequence[tuple[Issue, DailyBar]]:  # noqa: ARG002
        """Nothing: the exchange's own numbers are not recorded."""
        return []

    def ratios(self, code: str, now: datetime, *, annual: bool) -> Sequence[Ratios]:  # noqa: ARG002
        """Nothing: ratios are not recorded."""
        return []

    def product(self, code: str, now: datetime) -> Product | None:  # noqa: ARG002
        """Nothing: the ledger is not recorded."""
        return None

    def standing(self, code: str, now: datetime) -> Standing | None:  # noqa: ARG002
        """Nothing: quotes and books are not recorded."""
        return None

    def search(self, query: str, now: datetime) -> Sequence[Article]:  # noqa: ARG002
        """Recorded rows, repeats included, as a search lists an article again under another address.

        A query for a company finds what was listed on that company's page, whatever the headline says; a market word
        finds everything; any other query finds the headlines that hold all its words.
        """
        wanted, excluded = terms_of(query)
        phrase = " ".join(wanted)
        found = []
        for page_code, article in self._articles:
            if any(term in article.title for term in excluded):
                continue
            listed = phrase in self._names.get(page_code, ())
            if listed or MARKET_WORDS.intersection(wanted) or all(term in article.title for term in wanted):
                found.append(article)
        return found

    def headlines(self, press: str, now: datetime, limit: int) -> Sequence[Article]:  # noqa: ARG002
        """Nothing: feeds are not recorded."""
        return []

    def page(self, address: str, now: datetime) -> Article | None:  # noqa: ARG002
        """Nothing: article pages are not recorded."""
        return None

    def posts(self, subreddit: str, now: datetime) -> Sequence[Post] | None:  # noqa: ARG002
        """Nothing: posts are not recorded."""
        return None

    def filings(self, start: date, end: date, now: datetime) -> Sequence[Filing]:  # noqa: ARG002
        """The recorded filings received inside [start, end]."""
        return [filing for filing in self._filings if start <= filing.rcept_dt <= end]

    def companies(self, now: datetime) -> Sequence[Company]:  # noqa: ARG002
        """The recorded company list."""
        return self._companies


def _read_daily_bars(
    paths: Sequence[Path],
) -> tuple[dict[str, list[DailyBar]], dict[str, Issue], dict[str, set[str]]]:
    """Bars, issues and every name an issue had, by stock code."""
    columns = (
        "stock_code", "name", "market", "trade_date", "open", "high", "low", "close", "volume", "turnover_krw",
        "market_cap_krw", "listed_shares",
    )  # fmt: skip
    records: dict[str, dict[date, tuple[DailyBar, dict[str, str]]]] = defaultdict(dict)
    names: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        table = _Table(path, columns)
        days: dict[str, date] = {}
        for row, values in table.rows():
            code, text = values["stock_code"], values["trade_date"]
            if text not in days:
                days[text] = table.session("trade_date", row, text)
            day = days[text]
            if code not in records and not krx.is_stock_code(code):
                raise table.refuse("stock_code", row, code, "six characters of a KRX short code such as 005930")
            if day in records[code]:
                raise table.refuse("trade_date", row, text, f"one row a session; {code} has this one already")
            if values["market"] not in {"KOSPI", "KOSDAQ", "KONEX"}:
                raise table.refuse("market", row, values["market"], "KOSPI, KOSDAQ or KONEX")
            if not values["name"]:
                raise table.refuse("name", row, "", "the issue's name")
            records[code][day] = (_daily_bar(table, row, day, values), values)
            names[code].add(values["name"])
    bars: dict[str, list[DailyBar]] = {}
    issues: dict[str, Issue] = {}
    for code, by_day in records.items():
        ordered = [by_day[day] for day in sorted(by_day)]
        closes = [0, *(bar.close for bar, _ in ordered)]
        bars[code] = [replace(bar, reference=close) for (bar, _), close in zip(ordered, closes, strict=False)]
        last, values = ordered[-1]
        market = cast("Market", values["market"])
        issues[code] = Issue(
            code=code, isin=isin_of(code), name=values["name"], market=market,
            group="KN" if market == "KONEX" else "ST", sector="0000", is_preferred=not code.endswith("0"),
            is_spac="스팩" in values["name"], listed_on=None, listed_shares=int(values["listed_shares"]),
            market_cap_krw=int(values["market_cap_krw"]), previous_close=last.close, previous_volume=last.volume,
            is_halted=last.volume == 0,
        )  # fmt: skip
    return bars, issues, names


def _daily_bar(table: _Table, row: int, day: date, values: Mapping[str, str]) -> DailyBar:
    prices = ("open", "high", "low", "close")
    open_, high, low, close = (table.whole(column, row, values[column]) for column in prices)
    volume, turnover = (table.whole(column, row, values[column]) for column in ("volume", "turnover_krw"))
    if close == 0:
        raise table.refuse("close", row, values["close"], "a price above 0 (a halt carries the last close)")
    for column in ("market_cap_krw", "listed_shares"):
        table.whole(column, row, values[column])
    is_halted = open_ == high == low == volume == 0
    if not is_halted and not 0 < low <= min(open_, close) <= max(open_, close) <= high:
        quoted = ", ".join(f"{column} {values[column]}" for column in (*prices, "volume"))
        raise table.refuse("low", row, quoted, "low ≤ open and close ≤ high, or open, high, low and volume 0 (a halt)")
    return DailyBar(day, open_, high, low, close, volume, turnover, 0)


def _read_index_bars(paths: Sequence[Path]) -> dict[str, list[IndexBar]]:
    records: dict[str, dict[date, IndexBar]] = defaultdict(dict)
    prices = ("Open", "High", "Low", "Close")
    for path in paths:
        table = _Table(path, ("Date", *prices, "Volume", "Amount", "index_name"))
        for row, values in table.rows():
            code = INDEX_CODES.get(values["index_name"])
            if code is None:
                raise table.refuse("index_name", row, values["index_name"], f"one of {', '.join(INDEX_CODES)}")
            day = table.session("Date", row, values["Date"])
            if day in records[code]:
                raise table.refuse("Date", row, values["Date"], f"one row a session; {values['index_name']} has it")
            open_, high, low, close = (table.number(column, row, values[column]) for column in prices)
            volume, turnover = (round(table.number(column, row, values[column])) for column in ("Volume", "Amount"))
            if not 0 < low <= min(open_, close) <= max(open_, close) <= high:
                quoted = ", ".join(f"{column} {values[column]}" for column in prices)
                raise table.refuse("Low", row, quoted, "0 < Low ≤ Open and Close ≤ High")
            records[code][day] = IndexBar(day, open_, high, low, close, volume, turnover)
    return {code: [by_day[day] for day in sorted(by_day)] for code, by_day in records.items()}


def _read_news(paths: Sequence[Path]) -> list[tuple[str, Article]]:
    """(code of the page it was listed on, article), newest first; a date without time is the day's last second."""
    articles = []
    for path in paths:
        table = _Table(path, ("stock_page_code", "title", "press", "published_date", "url"))
        for row, values in table.rows():
            if not values["title"].strip():
                raise table.refuse("title", row, values["title"], "a headline")
            if not krx.is_stock_code(values["stock_page_code"]):
                raise table.refuse("stock_page_code", row, values["stock_page_code"], "a KRX short code such as 005930")
            day = table.day("published_date", row, values["published_date"], "%Y-%m-%d", "2022-01-03")
            article = Article(
                title=values["title"], description="", press=values["press"], link=values["url"], original_link="",
                published_at=datetime.combine(day, time(23, 59, 59), krx.KST),
            )  # fmt: skip
            articles.append((values["stock_page_code"], article))
    return sorted(articles, key=lambda pair: pair[1].published_at, reverse=True)


def _read_filings(paths: Sequence[Path], stock_codes: Mapping[str, str]) -> list[Filing]:
    filings: dict[str, Filing] = {}
    columns = ("market", "corp_name", "corp_code", "report_nm", "rcept_no", "flr_nm", "rcept_dt", "rm")
    for path in paths:
        table = _Table(path, columns)
        for row, values in table.rows():
            if values["market"] not in CORP_CLASSES:
                raise table.refuse("market", row, values["market"], f"one of {', '.join(CORP_CLASSES)}")
            for column, length in (("corp_code", 8), ("rcept_no", 14)):
                if not (values[column].isascii() and values[column].isdigit() and len(values[column]) == length):
                    raise table.refuse(column, row, values[column], f"{length} digits")
            filings[values["rcept_no"]] = Filing(
                corp_code=values["corp_code"], corp_name=values["corp_name"],
                stock_code=stock_codes.get(values["corp_code"], ""), corp_cls=CORP_CLASSES[values["market"]],
                report_nm=values["report_nm"], rcept_no=values["rcept_no"], filer_name=values["flr_nm"],
                rcept_dt=table.day("rcept_dt", row, values["rcept_dt"], "%Y.%m.%d", "2022.01.03"),
                rm=_remark_letters(table, row, values["rm"]), kind="",
            )  # fmt: skip
    return sorted(filings.values(), key=lambda filing: (filing.rcept_dt, filing.rcept_no))


def _remark_letters(table: _Table, row: int, words: str) -> str:
    letters, rest = [], words.strip()
    while rest:
        sentence = next((known for known in REMARK_LETTERS if rest.startswith(known)), None)
        if sentence is None:
            raise table.refuse("rm", row, rest, f"the sentences DART writes: {'; '.join(REMARK_LETTERS)}")
        letters.append(REMARK_LETTERS[sentence])
        rest = rest.removeprefix(sentence).strip()
    return "".join(letters)


def _read_companies(path: Path) -> list[Company]:
    table = _Table(path, ("corp_code", "corp_name", "corp_eng_name", "stock_code", "modify_date"))
    companies = []
    for row, values in table.rows():
        if not (values["corp_code"].isascii() and values["corp_code"].isdigit() and len(values["corp_code"]) == 8):
            raise table.refuse("corp_code", row, values["corp_code"], "8 digits")
        modified = table.day("modify_date", row, values["modify_date"], "%Y%m%d", "20220103")
        name, english, code = values["corp_name"], values["corp_eng_name"], values["stock_code"].strip()
        companies.append(Company(values["corp_code"], name, english, code, modified))
    return companies
