"""Daily bars of stocks and indexes, page by page backwards from the newest session asked.

Does not belong here: the meaning of a row (`kis.bars`).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TypeVar

from azak_assets.sources.failures import ContractChanged, Empty
from azak_assets.sources.fields import Row, parse_rows
from azak_assets.sources.kis import bars
from azak_assets.sources.kis.gateway import Calls, Gateway, Service, check_code, dated, one_a_day, rows_of, stock_query
from azak_assets.sources.records import Batch, DailyBar, IndexBar, Reject

B = TypeVar("B", DailyBar, IndexBar)


DAILY = Service("/inquire-daily-itemchartprice", "FHKST03010100", 100)
INDEX = Service("/inquire-daily-indexchartprice", "FHKUP03500100", 50)


def daily_bars(gateway: Gateway, stock_code: str, start: date, end: date) -> Batch[DailyBar]:
    """As `KisClient.daily_bars`."""
    asked = bars.Asked.between(start, end, gateway.now())
    calls = Calls()
    query = {**stock_query(stock_code), "FID_ORG_ADJ_PRC": "1"}
    rows = _pages(gateway, DAILY, query, asked, calls)

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


def index_bars(gateway: Gateway, index_code: str, start: date, end: date) -> Batch[IndexBar]:
    """As `KisClient.index_bars`."""
    asked = bars.Asked.between(start, end, gateway.now())
    calls = Calls()
    query = {"FID_COND_MRKT_DIV_CODE": "U", "FID_INPUT_ISCD": index_code}
    rows = _pages(gateway, INDEX, query, asked, calls)
    found, rejects = parse_rows(rows, lambda row: bars.index_bar(row, index_code, asked))
    records = _by_day(f"bar of index {index_code}", asked, found, rejects)
    return calls.batch(records, [*rejects, *_missing(index_code, asked.finished, records)])


def _pages(gateway: Gateway, service: Service, query: Mapping[str, str], asked: bars.Asked, calls: Calls) -> list[Row]:
    # KIS counts `service.rows` sessions backwards from DATE_2, so a shorter answer is the last one.
    rows: list[Row] = []
    open_days = sorted(asked.finished)
    while open_days:
        dates = {
            "FID_INPUT_DATE_1": f"{asked.start:%Y%m%d}",
            "FID_INPUT_DATE_2": f"{open_days[-1]:%Y%m%d}",
            "FID_PERIOD_DIV_CODE": "D",
        }
        body = gateway.get(service, {**query, **dates}, calls)
        check_code(body, query["FID_INPUT_ISCD"])
        page = rows_of(body)
        rows.extend(page)
        if len(page) < service.rows:
            break
        oldest = _oldest_day(page, open_days)
        open_days = [day for day in open_days if day < oldest]
    return dated(rows)


def _oldest_day(page: Sequence[Row], asked: Sequence[date]) -> date:
    """The oldest of the sessions asked that a full page holds; a day that is no such session proves nothing."""
    days, _ = parse_rows(page, bars.row_day)
    known = set(days).intersection(asked)
    if not known:
        what = f"none of {len(page)} rows is about a session of {asked[0]} … {asked[-1]}, so older ones stay unknown"
        raise ContractChanged("kis", what)
    return min(known)


def _by_day(what: str, asked: bars.Asked, found: Sequence[B], rejects: list[Reject]) -> list[B]:
    """The bars in the order of their days, one each, as `one_a_day` has them; `Empty` without any."""
    records = one_a_day(found, rejects)
    if asked.finished and not records and not rejects:
        first, last = min(asked.finished), max(asked.finished)
        raise Empty(
            "kis",
            f"no {what} in the {len(asked.finished)} session(s) from {first} to {last}",
            advice="KIS answers so for an unknown code, before a listing and after a delisting: check the code",
        )
    return records


def _missing(code: str, expected: Iterable[date], records: Iterable[B]) -> list[Reject]:
    """A reject for every session that must have a bar and has none."""
    days = {bar.trade_date for bar in records}
    return [
        Reject(code, "stck_bsop_date", str(day), "KIS sent no usable bar for this session")
        for day in sorted(set(expected) - days)
    ]
