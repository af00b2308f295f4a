"""The broker's services of what comes after the close: investors of a stock, after-hours prices, an index's breadth.

Field names, units and quirks of these three belong here. They take no range of days and give their newest rows; the
texts are padded as the broker pads them, a recently listed stock's rows are filled up with `{}`, and what is not known
yet is an empty text, never a zero.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from azak_assets import krx
from azak_assets.sandbox.wire.kis_fields import Row, change_of, day_of, field_of, stamp
from azak_assets.sandbox.worlds.world import Breadth, IndexBar, InvestorFlow, OvertimeBar, Side, UpstreamData

ROWS, TABLE_ROWS = 30, 100
MILLION = 1_000_000
OVERTIME_ENDED = date(2026, 9, 14)
"""From this day on the after-hours service answers without rows: the session it tells of is gone."""

_PADDED = {"msg1": f"{'정상처리 되었습니다.':<80}"}
_SIDES = {"prsn": "retail", "frgn": "foreign", "orgn": "institution"}
_CELLS = ("ntby_qty", "ntby_tr_pbmn", "shnu_vol", "shnu_tr_pbmn", "seln_vol", "seln_tr_pbmn")
_OVERTIME_HEAD = (
    "ovtm_untp_prpr", "ovtm_untp_prdy_vrss", "ovtm_untp_prdy_vrss_sign", "ovtm_untp_prdy_ctrt", "ovtm_untp_vol",
    "ovtm_untp_tr_pbmn", "ovtm_untp_mxpr", "ovtm_untp_llam", "ovtm_untp_oprc", "ovtm_untp_hgpr", "ovtm_untp_lwpr",
    "ovtm_untp_antc_cnpr", "ovtm_untp_antc_cntg_vrss", "ovtm_untp_antc_cntg_vrss_sign", "ovtm_untp_antc_cntg_ctrt",
    "ovtm_untp_antc_vol",
)  # fmt: skip


class AfterClose:
    """The three services over a world."""

    def __init__(self, world: UpstreamData, clock: Callable[[], datetime]) -> None:
        self._world = world
        self._clock = clock

    def investors(self, query: Mapping[str, str]) -> dict[str, Any]:
        """FHKST01010900: the newest 30 sessions, newest first; values in million KRW; days in the query are ignored."""
        field_of(query, "FID_COND_MRKT_DIV_CODE", "J", "UN", "NX")
        code, now = field_of(query, "FID_INPUT_ISCD"), self._clock()
        rows = [_flow_row(flow) for flow in reversed(self._world.investor_flows(code, *self._newest(now), now))]
        return {**_PADDED, "output": _filled(rows)}

    def overtime(self, query: Mapping[str, str]) -> dict[str, Any]:
        """FHPST02320000: the single prices after the newest 30 sessions, newest first; no rows since 2026-09-14."""
        field_of(query, "FID_COND_MRKT_DIV_CODE", "J")
        code, now = field_of(query, "FID_INPUT_ISCD"), self._clock()
        bars: list[OvertimeBar] = []
        if self._today(now) < OVERTIME_ENDED:
            bars = list(self._world.overtime_bars(code, *self._newest(now), now))
        rows = [_overtime_row(bar) for bar in reversed(bars)]
        head = dict.fromkeys(_OVERTIME_HEAD, "") | {
            name: text for name, text in (rows[0] if rows else {}).items() if name in _OVERTIME_HEAD
        }
        return {**_PADDED, "output1": head, "output2": _filled(rows)}

    def index_table(self, query: Mapping[str, str]) -> dict[str, Any]:
        """FHPUP02120000: an index now with its breadth, and its newest 100 days up to the day asked; live accounts."""
        field_of(query, "FID_COND_MRKT_DIV_CODE", "U")
        field_of(query, "FID_PERIOD_DIV_CODE", "D")
        code, now = field_of(query, "FID_INPUT_ISCD"), self._clock()
        until = day_of(query, "FID_INPUT_DATE_1")
        days = timedelta(days=2 * TABLE_ROWS)
        today = self._world.last_day(now)
        newest = list(self._world.index_bars(code, today - timedelta(days=30), today, now))
        bars = list(self._world.index_bars(code, until - days, until, now))[-TABLE_ROWS - 1 :]
        # The oldest bar is there for the change of the one after it.
        rows = [_index_row(bar, before) for before, bar in pairwise(bars)]
        breadth = self._world.breadth(code, now)
        return {**_PADDED, "output1": _index_head(newest, breadth), "output2": rows[::-1]}

    @staticmethod
    def _today(now: datetime) -> date:
        return now.astimezone(krx.KST).date()

    def _newest(self, now: datetime) -> tuple[date, date]:
        """The first and the last of the newest sessions, today's included once it has opened."""
        last = krx.session_on_or_before(min(self._today(now), self._world.last_day(now)))
        if last.open_at > now:
            last = krx.previous_session(last.day)
        return krx.shift(last.day, 1 - ROWS).day, last.day


def _filled(rows: list[Row]) -> list[Row]:
    """Rows of a stock that is listed for fewer sessions are followed by empty objects; without any there are none."""
    return rows + [{} for _ in range(ROWS - len(rows))] if rows else []


def _flow_row(flow: InvestorFlow) -> Row:
    change, sign, _ = change_of(flow.close, flow.reference, "d")
    row = {
        "stck_bsop_date": stamp(flow.day), "stck_clpr": str(flow.close), "prdy_vrss": change, "prdy_vrss_sign": sign,
    }  # fmt: skip
    for prefix, name in _SIDES.items():
        side: Side | None = getattr(flow, name)
        texts = [""] * len(_CELLS) if side is None else _texts(side)
        row |= {f"{prefix}_{cell}": text for cell, text in zip(_CELLS, texts, strict=True)}
    return row


def _texts(side: Side) -> list[str]:
    numbers = (
        side.bought - side.sold, round((side.bought_krw - side.sold_krw) / MILLION), side.bought,
        round(side.bought_krw / MILLION), side.sold, round(side.sold_krw / MILLION),
    )  # fmt: skip
    return [str(number) for number in numbers]


def _overtime_row(bar: OvertimeBar) -> Row:
    change, sign, percent = change_of(bar.price or bar.close, bar.close, "d")
    day_change, day_sign, day_percent = change_of(bar.close, bar.reference, "d")
    return {
        "stck_bsop_date": stamp(bar.day), "ovtm_untp_prpr": str(bar.price), "ovtm_untp_prdy_vrss": change,
        "ovtm_untp_prdy_vrss_sign": sign, "ovtm_untp_prdy_ctrt": percent, "ovtm_untp_vol": str(bar.volume),
        "stck_clpr": str(bar.close), "prdy_vrss": day_change, "prdy_vrss_sign": day_sign, "prdy_ctrt": day_percent,
        "acml_vol": str(bar.day_volume), "ovtm_untp_tr_pbmn": str(bar.turnover_krw),
    }  # fmt: skip


def _index_numbers(bar: IndexBar, before: IndexBar | None) -> Row:
    change, sign, percent = change_of(bar.close, before.close if before else 0, ".2f")
    return {
        "bstp_nmix_prpr": f"{bar.close:.2f}", "bstp_nmix_prdy_vrss": change, "prdy_vrss_sign": sign,
        "bstp_nmix_prdy_ctrt": percent, "bstp_nmix_oprc": f"{bar.open:.2f}", "bstp_nmix_hgpr": f"{bar.high:.2f}",
        "bstp_nmix_lwpr": f"{bar.low:.2f}", "acml_vol": str(round(bar.volume / 1000)),
        "acml_tr_pbmn": str(round(bar.turnover_krw / MILLION)),
    }  # fmt: skip


def _index_row(bar: IndexBar, before: IndexBar) -> Row:
    more = {"stck_bsop_date": stamp(bar.day), "acml_vol_rlim": "100.00", "invt_new_psdg": "50.00", "d20_dsrt": "100.00"}
    return {**_index_numbers(bar, before), **more}


def _index_head(bars: list[IndexBar], breadth: Breadth | None) -> Row:
    names = ("ascn_issu_cnt", "down_issu_cnt", "stnr_issu_cnt", "uplm_issu_cnt", "lslm_issu_cnt")
    if not bars or breadth is None:
        return {}
    before = bars[-2] if len(bars) > 1 else None
    counts = (breadth.advancers, breadth.decliners, breadth.unchanged, breadth.upper_limit, breadth.lower_limit)
    more = {"prdy_vol": "0", "prdy_tr_pbmn": "0"}
    if before is not None:
        more = {
            "prdy_vol": str(round(before.volume / 1000)),
            "prdy_tr_pbmn": str(round(before.turnover_krw / MILLION)),
        }
    return {**_index_numbers(bars[-1], before), **more, **dict(zip(names, map(str, counts), strict=True))}
