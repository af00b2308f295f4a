"""KIS rows of what comes after the close: investor flows, after-hours prices, market breadth; no network.

Put here the meaning of the rows of FHKST01010900 (investors), FHPST02320000 (after hours by day) and of the answer of
FHPUP02120000 (an index with its breadth). None of them takes a range of days: each gives its newest sessions, and what
of them was asked for is the caller's affair. Bars are in `bars`.
"""

from collections.abc import Iterable
from datetime import date, datetime

from azak_assets import krx
from azak_assets.sources.fields import Refused, Row, decimal, parse_rows, positive_decimal, scaled, text, whole
from azak_assets.sources.kis.bars import row_day
from azak_assets.sources.records import IndexBreadth, InvestorFlow, OvertimeBar

MILLION = 1_000_000
SIGNED = -(2**63) + 1
"""The least a signed whole number may be."""

AFTER_HOURS_PERCENT = 10
"""Single prices after hours lie within so much of the session's close."""

INVESTORS = {"retail": "prsn", "foreign": "frgn", "institution": "orgn"}
CELLS = ("ntby_qty", "shnu_vol", "seln_vol", "ntby_tr_pbmn", "shnu_tr_pbmn", "seln_tr_pbmn")
"""Net, bought and sold shares, and the same in million KRW."""


def investor_flow(row: Row, stock_code: str, now: datetime) -> InvestorFlow | None:
    """Read one row of FHKST01010900; None for a session whose flows are not out.

    Those are the sessions that closed less than half an hour ago or have not, and today's as long as all its cells are
    empty: the broker has not filled them, which is not a zero. Empty cells of an older session refuse its row.
    """
    session = _session(row, now)
    if krx.flows_published_from(session) > now or (_is_today(session, now) and _is_blank(row)):
        return None
    numbers: dict[str, int] = {}
    for name, who in INVESTORS.items():
        net = whole(row, f"{who}_ntby_qty", minimum=SIGNED)
        bought, sold = whole(row, f"{who}_shnu_vol"), whole(row, f"{who}_seln_vol")
        if bought - sold != net:
            raise Refused(f"{who}_ntby_qty", net, f"is not what was bought minus what was sold, {bought} - {sold}")
        numbers |= {
            f"{name}_net_shares": net,
            f"{name}_bought_shares": bought,
            f"{name}_sold_shares": sold,
            f"{name}_net_krw": scaled(row, f"{who}_ntby_tr_pbmn", MILLION, minimum=SIGNED),
            f"{name}_bought_krw": scaled(row, f"{who}_shnu_tr_pbmn", MILLION),
            f"{name}_sold_krw": scaled(row, f"{who}_seln_tr_pbmn", MILLION),
        }
    return InvestorFlow(
        stock_code=stock_code, trade_date=session.day, known_at=krx.flows_published_from(session), **numbers
    )


def _is_blank(row: Row) -> bool:
    cells = [row.get(f"{who}_{cell}") for who in INVESTORS.values() for cell in CELLS]
    return all(isinstance(cell, str) and not cell.strip() for cell in cells)


def overtime_bar(row: Row, stock_code: str, now: datetime) -> OvertimeBar | None:
    """Read one row of FHPST02320000; None for a session that is not over at 18:00, or that had no single prices.

    Its volume is `ovtm_untp_vol`; `acml_vol` beside it is that of the regular hours. A row of a day since 2026-09-14
    that tells of trades is refused: they were made under other rules.
    """
    session = _session(row, now)
    if krx.after_hours_end(session) > now:
        return None
    volume = whole(row, "ovtm_untp_vol")
    if not krx.has_single_price_session(session.day):
        if volume:
            ended = f"there were no single prices after hours since {krx.LAST_SINGLE_PRICE_DAY}"
            raise Refused("ovtm_untp_vol", volume, ended)
        return None
    regular = whole(row, "stck_clpr", minimum=1)
    price = whole(row, "ovtm_untp_prpr", minimum=1) if volume else None
    if price is not None and abs(price - regular) * 100 > AFTER_HOURS_PERCENT * regular:
        why = f"is more than {AFTER_HOURS_PERCENT} % from the session's close, {regular}"
        raise Refused("ovtm_untp_prpr", price, why)
    return OvertimeBar(
        stock_code=stock_code,
        trade_date=session.day,
        close=price,
        volume=volume,
        turnover_krw=whole(row, "ovtm_untp_tr_pbmn") if volume else 0,
        regular_close=regular,
        known_at=krx.after_hours_end(session),
    )


def index_breadth(head: Row, rows: Iterable[Row], index_code: str, now: datetime) -> IndexBreadth | None:
    """Read the breadth in output1 of FHPUP02120000; None while its session runs.

    output1 names no day, so the days in output2 have to prove it: the one with the same level and the same change.
    Without one, or with two, the breadth is refused: it could be of any day.
    """
    level, change = positive_decimal(head, "bstp_nmix_prpr"), decimal(head, "bstp_nmix_prdy_vrss")
    days, _ = parse_rows(rows, _level_on)
    same = sorted({on for on, *numbers in days if numbers == [level, change]})
    if len(same) != 1:
        which = "none" if not same else "more than one"
        what = f"with a change of {change} is that of {which} of the {len(days)} days beside it"
        raise Refused("bstp_nmix_prpr", text(head, "bstp_nmix_prpr"), what)
    session = _checked(same[0], now)
    if krx.final_at(session) > now:
        return None
    return IndexBreadth(
        index_code=index_code,
        trade_date=session.day,
        advancers=whole(head, "ascn_issu_cnt"),
        decliners=whole(head, "down_issu_cnt"),
        unchanged=whole(head, "stnr_issu_cnt"),
        upper_limit=whole(head, "uplm_issu_cnt"),
        lower_limit=whole(head, "lslm_issu_cnt"),
        known_at=krx.final_at(session),
    )


def _level_on(row: Row) -> tuple[date, float, float]:
    return row_day(row), positive_decimal(row, "bstp_nmix_prpr"), decimal(row, "bstp_nmix_prdy_vrss")


def _session(row: Row, now: datetime) -> krx.Session:
    return _checked(row_day(row), now)


def _checked(trade_date: date, now: datetime) -> krx.Session:
    if not krx.FIRST_DAY <= trade_date <= _today(now):
        raise Refused("stck_bsop_date", trade_date, f"is no day from {krx.FIRST_DAY} to today")
    if not krx.is_session(trade_date):
        raise Refused("stck_bsop_date", trade_date, "is a day on which the market was closed")
    return krx.session(trade_date)


def _is_today(session: krx.Session, now: datetime) -> bool:
    return session.day == _today(now)


def _today(now: datetime) -> date:
    return now.astimezone(krx.KST).date()
