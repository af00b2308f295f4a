"""Investor flows, after-hours prices and breadth: services that answer about their newest sessions alone.

Does not belong here: the meaning of their rows (`kis.flows`), and which sessions were wanted (`ingest.rolling`).
"""

from azak_assets import krx
from azak_assets.sources.failures import Empty
from azak_assets.sources.fields import parse_rows
from azak_assets.sources.kis import flows
from azak_assets.sources.kis.gateway import (
    UNKNOWN_CODE,
    Calls,
    Gateway,
    Service,
    dated,
    one_a_day,
    rows_of,
    stock_query,
)
from azak_assets.sources.records import Batch, IndexBreadth, InvestorFlow, OvertimeBar

INVESTORS = Service("/inquire-investor", "FHKST01010900", 30)
OVERTIME = Service("/inquire-daily-overtimeprice", "FHPST02320000", 30)
INDEX_TABLE = Service("/inquire-index-daily-price", "FHPUP02120000", 100)


def investor_flows(gateway: Gateway, stock_code: str) -> Batch[InvestorFlow]:
    """As `KisClient.investor_flows`."""
    calls = Calls()
    rows = dated(rows_of(gateway.get(INVESTORS, stock_query(stock_code), calls), "output"))
    if not rows:
        raise Empty("kis", f"no investor flows of {stock_code}", advice=UNKNOWN_CODE)
    now = gateway.now()
    found, rejects = parse_rows(rows, lambda row: flows.investor_flow(row, stock_code, now))
    return calls.batch(one_a_day(found, rejects), rejects)


def overtime_bars(gateway: Gateway, stock_code: str) -> Batch[OvertimeBar]:
    """As `KisClient.overtime_bars`."""
    calls = Calls()
    rows = dated(rows_of(gateway.get(OVERTIME, stock_query(stock_code), calls)))
    now = gateway.now()
    if not rows and krx.has_single_price_session(krx.session_on_or_after(now.astimezone(krx.KST).date()).day):
        raise Empty("kis", f"no after-hours price of {stock_code}", advice=UNKNOWN_CODE)
    found, rejects = parse_rows(rows, lambda row: flows.overtime_bar(row, stock_code, now))
    return calls.batch(one_a_day(found, rejects), rejects)


def index_breadth(gateway: Gateway, index_code: str) -> Batch[IndexBreadth]:
    """As `KisClient.index_breadth`."""
    calls = Calls()
    now = gateway.now()
    query = {
        "FID_COND_MRKT_DIV_CODE": "U",
        "FID_INPUT_ISCD": index_code,
        "FID_INPUT_DATE_1": f"{now.astimezone(krx.KST):%Y%m%d}",
        "FID_PERIOD_DIV_CODE": "D",
    }
    body = gateway.get(INDEX_TABLE, query, calls)
    rows = dated(rows_of(body))
    if not rows:
        raise Empty("kis", f"no day of index {index_code}", advice=UNKNOWN_CODE)
    records, rejects = parse_rows([body.get("output1")], lambda head: flows.index_breadth(head, rows, index_code, now))
    return calls.batch(records, rejects)
