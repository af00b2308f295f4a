"""KIS rows to bars and market days: one function a row kind, no network.

Put here the meaning of the rows of FHKST03010100 (daily), FHKUP03500100 (index), FHKST03010230 and FHKST03010200
(minutes), and CTCA0903R (holidays). Paging and calls belong to `services`. Every number is text; a field that cannot be
read refuses its row.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import TypeVar

from azak_assets import krx
from azak_assets.sources.fields import Refused, Row, day, optional_text, positive_decimal, scaled, text, whole
from azak_assets.sources.records import MINUTE, DailyBar, IndexBar, MarketDay, MinuteBar, RejectCode

B = TypeVar("B", DailyBar, MinuteBar)

_HOUR = re.compile(r"\d{6}", re.ASCII)

RIGHTS = {
    "01": "ex rights",
    "02": "ex dividend",
    "03": "ex distribution",
    "04": "ex rights and dividend",
    "05": "ex interim dividend",
    "06": "ex rights and interim dividend",
    "07": "ex rights and quarterly dividend",
}
REVALUATIONS = {
    "01": "split-off",
    "02": "capital reduction",
    "03": "long halt",
    "04": "excess distribution",
    "05": "large dividend",
    "06": "split or merger of shares",
    "07": "split or merger of a note",
    "08": "new issue",
    "99": "other",
}
"""What `flng_cls_code` and `revl_issu_reas` say of a day whose base price is not the last close."""

HOLIDAY_PAGE = timedelta(days=60)
"""A page of the holiday service has 24 days; a day far behind them is a mistake that would hide those between."""

TURNOVER_SLACK = 0.02
"""How far a minute's average price may leave its range: totals hold trades outside the order book too (87 of the 50,035
traded daily bars of January 2022 average outside theirs). A lost minute usually doubles the difference and shows."""


@dataclass(frozen=True)
class Asked:
    """The sessions of an inclusive range of days, and which of them are over (final) at `now`."""

    start: date
    end: date
    finished: Mapping[date, krx.Session]

    @classmethod
    def between(cls, start: date, end: date, now: datetime) -> "Asked":
        """Look the range up in the calendar; `ValueError` when it is reversed, `OutsideCalendar` when unknown."""
        if start > end:
            raise ValueError(f"the first day asked, {start}, is after the last, {end}")
        over = {s.day: s for s in krx.sessions(start, end) if krx.final_at(s) <= now}
        return cls(start, end, over)

    def session_of(self, row: Row) -> krx.Session | None:
        """The finished session of a row, None for one that is not over yet; refuses rows that were not asked for."""
        trade_date = row_day(row)
        if not self.start <= trade_date <= self.end:
            raise Refused("stck_bsop_date", trade_date, f"is outside the days asked, {self.start} … {self.end}")
        if not krx.is_session(trade_date):
            reason = "is a day on which the market was closed"
            raise Refused("stck_bsop_date", trade_date, reason, RejectCode.CLOSED_DAY)
        return self.finished.get(trade_date)


def row_day(row: Row) -> date:
    """The day a row is about."""
    return day(row, "stck_bsop_date")


def daily_bar(row: Row, stock_code: str, asked: Asked) -> DailyBar | None:
    """Read one row of FHKST03010100 asked with raw prices (FID_ORG_ADJ_PRC = 1); None for an unfinished session."""
    session = asked.session_of(row)
    if session is None:
        return None
    try:
        base_price, base_ratio, base_reason = base_of(row)
    except Refused:  # the prices are still good; `unread_base` gives the refusal
        base_price = base_ratio = base_reason = None
    if _is_halt(row):
        return DailyBar(
            stock_code=stock_code,
            trade_date=session.day,
            open=None,
            high=None,
            low=None,
            close=whole(row, "stck_clpr", minimum=1),
            volume=0,
            turnover_krw=whole(row, "acml_tr_pbmn") if optional_text(row, "acml_tr_pbmn") else 0,
            is_halted=True,
            known_at=krx.final_at(session),
            base_price=base_price,
            base_ratio=base_ratio,
            base_reason=base_reason,
        )
    bar = DailyBar(
        stock_code=stock_code,
        trade_date=session.day,
        open=whole(row, "stck_oprc"),
        high=whole(row, "stck_hgpr"),
        low=whole(row, "stck_lwpr"),
        close=whole(row, "stck_clpr", minimum=1),
        volume=whole(row, "acml_vol"),
        turnover_krw=whole(row, "acml_tr_pbmn"),
        is_halted=False,
        known_at=krx.final_at(session),
        base_price=base_price,
        base_ratio=base_ratio,
        base_reason=base_reason,
    )
    return _consistent(row, bar)


def base_of(row: Row) -> tuple[int, float, str | None] | tuple[None, None, None]:
    """The base price of a day with one (`prtt_rate` is not zero), its ratio to the last close, and the reason.

    The ratio has two decimals, too few for a split in three, so the price itself is taken from the day's change, which
    counts from it. Three times None on every other day.
    """
    ratio = (optional_text(row, "prtt_rate") or "0").strip("0.")
    if not ratio:
        return None, None, None
    base_ratio = positive_decimal(row, "prtt_rate")
    base_price = whole(row, "stck_clpr", minimum=1) - whole(row, "prdy_vrss", minimum=-(2**63))
    if base_price <= 0:
        raise Refused("prdy_vrss", row.get("prdy_vrss"), "leaves no base price below the close")
    revaluation, rights = optional_text(row, "revl_issu_reas") or "00", optional_text(row, "flng_cls_code") or "00"
    return base_price, base_ratio, REVALUATIONS.get(revaluation) or RIGHTS.get(rights)


def unread_base(row: Row) -> None:
    """Refuse a row whose base price cannot be read, though its prices can."""
    base_of(row)


def _is_halt(row: Row) -> bool:
    """Whether nothing traded: volume 0 with open, high and low 0 or empty, or marked so with the last price in them."""
    if whole(row, "acml_vol") != 0:
        return False
    prices = {optional_text(row, name) or "0" for name in ("stck_oprc", "stck_hgpr", "stck_lwpr")}
    return prices == {"0"} or (row.get("mod_yn") == "Y" and prices == {optional_text(row, "stck_clpr")})


def index_bar(row: Row, index_code: str, asked: Asked) -> IndexBar | None:
    """Read one row of FHKUP03500100: volume comes in thousand shares, turnover in million KRW."""
    session = asked.session_of(row)
    if session is None:
        return None
    opened, high, low, close = (positive_decimal(row, f"bstp_nmix_{name}") for name in ("oprc", "hgpr", "lwpr", "prpr"))
    # None of the 738 index bars recorded of 2022 breaks this.
    if not low <= min(opened, close) <= max(opened, close) <= high:
        raise Refused("bstp_nmix_hgpr", row.get("bstp_nmix_hgpr"), "open, high, low and close contradict each other")
    return IndexBar(
        index_code=index_code,
        trade_date=session.day,
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=scaled(row, "acml_vol", 1_000),
        turnover_krw=scaled(row, "acml_tr_pbmn", 1_000_000),
        known_at=krx.final_at(session),
    )


def market_day(row: Row, first: date) -> MarketDay | None:
    """Read one row of CTCA0903R asked from `first` on; None for the day before, with which a page may begin again.

    `opnd_yn` is the exchange; on its year-end closure the banks (`bzdy_yn`) and the securities business (`tr_day_yn`)
    are open.
    """
    trade_date, is_open = day(row, "bass_dt"), text(row, "opnd_yn")
    if trade_date == first - timedelta(days=1):
        return None
    if not first <= trade_date < first + HOLIDAY_PAGE:
        raise Refused("bass_dt", trade_date, f"is none of the days from {first} on")
    if is_open not in {"Y", "N"}:
        raise Refused("opnd_yn", is_open, "is neither Y nor N")
    return MarketDay(trade_date, is_open == "Y")


@dataclass(frozen=True, slots=True)
class MinuteRow:
    """A minute as KIS sends it: the bar without its turnover, and the day's turnover so far in KRW, None if unread."""

    bar: MinuteBar
    turnover_so_far: int | None


def minute_start(row: Row) -> datetime:
    """The start of the minute a row is about, KST; the seconds KIS may write are dropped."""
    trade_date, hour = row_day(row), text(row, "stck_cntg_hour")
    try:
        if not _HOUR.fullmatch(hour):
            raise ValueError(hour)
        at = time(int(hour[:2]), int(hour[2:4]), int(hour[4:])).replace(second=0)
    except ValueError:
        raise Refused("stck_cntg_hour", hour, "is not a time written HHMMSS") from None
    return datetime.combine(trade_date, at, tzinfo=krx.KST)


def minute_row(row: Row, stock_code: str, session: krx.Session, now: datetime) -> MinuteRow | None:
    """Read one row of the minute charts; None for a row that is no traded minute of this session.

    Left out: other days, minutes before the open and after the closing auction (which is stamped with the close
    itself), minutes without a trade (KIS pads those, today's future ones too, with volume 0 and the last price) and
    minutes that are not over at `now`: KIS stamps the running minute's numbers with the asked time, observed on
    2026-01-15 at 13:48, when "15:30" and "14:00" came with volume.
    """
    ts = minute_start(row)
    volume = whole(row, "cntg_vol")
    if not session.open_at <= ts <= session.close_at or ts + MINUTE > now or volume == 0:
        return None
    bar = MinuteBar(
        ts=ts,
        stock_code=stock_code,
        trade_date=session.day,
        open=whole(row, "stck_oprc", minimum=1),
        high=whole(row, "stck_hgpr", minimum=1),
        low=whole(row, "stck_lwpr", minimum=1),
        close=whole(row, "stck_prpr", minimum=1),
        volume=volume,
        turnover_krw=None,
        known_at=ts + MINUTE,
    )
    _consistent(row, bar)
    try:
        so_far = whole(row, "acml_tr_pbmn")
    except Refused:
        so_far = None
    return MinuteRow(bar, so_far)


def with_turnover(rows: Iterable[MinuteRow], before: int | None = 0) -> list[MinuteBar]:
    """Bars in time order, each with the turnover of its own minute where the running total proves it.

    `before` is the total ahead of the first row: 0 at the open, None where that is not known.

    A difference counts only if its average price lies within the minute's low and high, give or take
    `TURNOVER_SLACK`; a missing or refused minute before it, or a block trade booked into the total, fails that and
    leaves None.
    """
    bars = []
    for row in sorted(rows, key=lambda row: row.bar.ts):
        bar, so_far = row.bar, row.turnover_so_far
        if so_far is not None and before is not None:
            turnover = so_far - before
            least, most = bar.low * bar.volume * (1 - TURNOVER_SLACK), bar.high * bar.volume * (1 + TURNOVER_SLACK)
            if least <= turnover <= most:
                bar = replace(bar, turnover_krw=turnover)
        before = so_far
        bars.append(bar)
    return bars


def _consistent(row: Row, bar: B) -> B:
    # One exchange, one session, raw prices: nothing trades outside the day's range. None of the 50,035 traded bars of
    # January 2022 breaks this.
    prices = (bar.open or 0, bar.close)
    if not 0 < (bar.low or 0) <= min(prices) <= max(prices) <= (bar.high or 0):
        raise Refused("stck_hgpr", row.get("stck_hgpr"), "open, high, low and close contradict each other")
    return bar
