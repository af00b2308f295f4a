"""The broker's calendar, its master files, and what it knows of a company.

Does not belong here: the meaning of a row (`kis.bars`, `kis.master`, `kis.company`).
"""

from collections.abc import Iterator
from datetime import date, timedelta
from functools import partial

from azak_assets.sources.failures import Empty
from azak_assets.sources.fields import one_each, parse_rows
from azak_assets.sources.kis import bars, company, master
from azak_assets.sources.kis.gateway import FINANCE, Calls, Gateway, Service, record_of, rows_of
from azak_assets.sources.records import Batch, FinancialRatio, ListedStock, MarketDay, ProductInfo, Reject
from azak_assets.sources.transport import Transport

HOLIDAYS = Service("/chk-holiday", "CTCA0903R", 24)
RATIOS = Service("/financial-ratio", "FHKST66430300", 30, FINANCE)
STOCK_INFO = Service("/search-stock-info", "CTPF1002R", 1)
PRODUCT_CLASS = Service("/search-info", "CTPF1604R", 1)


def market_days(gateway: Gateway, start: date, end: date) -> Batch[MarketDay]:
    """As `KisClient.market_days`, asked anew each time."""
    calls = Calls()
    days: dict[date, MarketDay] = {}
    rejects: dict[Reject, None] = {}
    first = start
    while first <= end:
        query = {"BASS_DT": f"{first:%Y%m%d}", "CTX_AREA_NK": "", "CTX_AREA_FK": ""}
        rows = rows_of(gateway.get(HOLIDAYS, query, calls), "output")
        found, refused = parse_rows(rows, partial(bars.market_day, first=first))
        agreed, disputed = one_each(found, lambda day: day.day, "bass_dt")
        rejects.update(dict.fromkeys(refused + disputed))
        if not agreed:
            break
        days |= {day.day: day for day in agreed}
        first = max(days) + timedelta(days=1)
    if not days and not rejects:
        raise Empty("kis", f"the broker's calendar has no day of {start} … {end}")
    found_days = [days[day] for day in sorted(days) if day <= end]
    lost = [day for day in _every_day(start, max(days, default=start)) if day not in days]
    why = "KIS sent no usable row for this day"
    return calls.batch(found_days, [*rejects, *(Reject("CTCA0903R", "bass_dt", str(day), why) for day in lost)])


def listed_stocks(files: Transport) -> Batch[ListedStock]:
    """As `KisClient.listed_stocks`."""
    calls = Calls()
    stocks: dict[str, ListedStock] = {}
    rejects: list[Reject] = []
    for market, layout in master.LAYOUTS.items():
        content, body = files.ask(lambda answer: (answer.unzipped(), answer.body), f"/{layout.file}")
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


def financial_ratios(gateway: Gateway, stock_code: str) -> Batch[FinancialRatio]:
    """As `KisClient.financial_ratios`."""
    calls = Calls()
    found: list[FinancialRatio] = []
    rejects: list[Reject] = []
    for period, division in company.PERIODS.items():
        query = {"FID_DIV_CLS_CODE": division, "fid_cond_mrkt_div_code": "J", "fid_input_iscd": stock_code}
        rows = rows_of(gateway.get(RATIOS, query, calls), "output")
        ratios, refused = parse_rows(rows, partial(company.ratio, stock_code=stock_code, period=period))
        found.extend(ratios)
        rejects.extend(refused)
    if not found and not rejects:
        raise Empty("kis", f"no financial ratio of {stock_code}")
    records, refused = one_each(found, lambda one: f"{one.period} {one.period_end:%Y%m}", "stac_yymm")
    return calls.batch(records, rejects + refused)


def product_info(gateway: Gateway, stock_code: str) -> Batch[ProductInfo]:
    """As `KisClient.product_info`."""
    calls = Calls()
    query = {"PRDT_TYPE_CD": company.SHARES, "PDNO": stock_code}
    row = record_of(gateway.get(STOCK_INFO, query, calls), stock_code)
    classified = row if company.names_industry(row) else record_of(gateway.get(PRODUCT_CLASS, query, calls), stock_code)
    found, rejects = parse_rows(
        [row], partial(company.product_info, stock_code=stock_code, product_class=company.product_class(classified))
    )
    return calls.batch(found, rejects)


def _every_day(start: date, end: date) -> Iterator[date]:
    while start < end:
        yield start
        start += timedelta(days=1)
