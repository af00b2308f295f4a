"""KIS quotations of prices: daily, index and minute bars; and the holiday service.

Belongs here: what each service makes of a query. Does not belong here: tokens, limits and the envelope (`kis`), quotes
and books (`kis_quotes`), what appears after the close (`kis_after_close`).
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from itertools import accumulate
from typing import Any

from azak_assets import krx
from azak_assets.sandbox.wire.kis_fields import RefusedError, Row, change_of, day_of, field_of, stamp
from azak_assets.sandbox.worlds.world import INDICES, MINUTE, DailyBar, MinuteBar, UpstreamData

DAILY_ROWS, INDEX_ROWS, TODAY_MINUTES, PAST_MINUTES, HOLIDAY_ROWS = 100, 50, 30, 120, 24
PAST_MINUTES_KEPT = timedelta(days=365)

# The keys of output1; the first eight of an issue are also those of its minute services.
_DAILY_HEAD = (
    "prdy_vrss", "prdy_vrss_sign", "prdy_ctrt", "stck_prdy_clpr", "acml_vol", "acml_tr_pbmn", "hts_kor_isnm",
    "stck_prpr", "stck_shrn_iscd", "prdy_vol", "stck_mxpr", "stck_llam", "stck_oprc", "stck_hgpr", "stck_lwpr",
    "stck_prdy_oprc", "stck_prdy_hgpr", "stck_prdy_lwpr", "askp", "bidp", "prdy_vrss_vol", "vol_tnrt", "stck_fcam",
    "lstn_stcn", "cpfn",
    "hts_avls", "per", "eps", "pbr",
)  # fmt: skip
_INDEX_HEAD = (
    "bstp_nmix_prdy_vrss", "prdy_vrss_sign", "bstp_nmix_prdy_ctrt", "prdy_nmix", "acml_vol", "acml_tr_pbmn",
    "hts_kor_isnm", "bstp_nmix_prpr", "bstp_cls_code", "prdy_vol", "bstp_nmix_oprc", "bstp_nmix_hgpr", "bstp_nmix_lwpr",
    "futs_prdy_oprc", "futs_prdy_hgpr", "futs_prdy_lwpr",
)  # fmt: skip


def stock_of(query: Mapping[str, str]) -> str:
    """The code that a service about one issue at the moment is asked for."""
    field_of(query, "FID_COND_MRKT_DIV_CODE", "J", "UN", "NX")
    return field_of(query, "FID_INPUT_ISCD")


class Quotations:
    """The quotation services over a world."""

    def __init__(self, world: UpstreamData, clock: Callable[[], datetime]) -> None:
        self._world = world
        self._clock = clock

    def daily_bars(self, query: Mapping[str, str]) -> dict[str, Any]:
        """FHKST03010100: at most 100 bars, newest first, counted back from the last day."""
        field_of(query, "FID_COND_MRKT_DIV_CODE", "J", "UN", "NX")
        field_of(query, "FID_PERIOD_DIV_CODE", "D")
        adjusted = field_of(query, "FID_ORG_ADJ_PRC", "0", "1") == "0"
        code, now = field_of(query, "FID_INPUT_ISCD"), self._clock()
        start, end = day_of(query, "FID_INPUT_DATE_1"), day_of(query, "FID_INPUT_DATE_2")
        bars = self._world.daily_bars(code, start, end, now, adjusted=adjusted)
        return {
            "output1": self._daily_head(code, now),
            "output2": [_daily_row(bar) for bar in reversed(bars[-DAILY_ROWS:])],
        }

    def _daily_head(self, code: str, now: datetime) -> Row:
        issue = self._world.issue(code, now)
        head = dict.fromkeys(_DAILY_HEAD, "")
        if issue is None:
            return head
        last_day = self._world.last_day(now)
        recent = self._world.daily_bars(code, last_day - timedelta(days=30), last_day, now, adjusted=False)
        head |= {"hts_kor_isnm": issue.name, "stck_shrn_iscd": code, "lstn_stcn": str(issue.listed_shares)}
        head |= {"hts_avls": str(issue.market_cap_krw // 100_000_000), "per": "0.00", "eps": "0.00", "pbr": "0.00"}
        if recent:
            bar, before = recent[-1], recent[-2] if len(recent) > 1 else recent[-1]
            change, sign, percent = change_of(bar.close, bar.reference, "d")
            limits = krx.price_limits(bar.reference or bar.close, bar.day, issue.market)
            head |= {
                "prdy_vrss": change, "prdy_vrss_sign": sign, "prdy_ctrt": percent, "stck_prdy_clpr": str(before.close),
                "acml_vol": str(bar.volume), "acml_tr_pbmn": str(bar.turnover_krw), "stck_prpr": str(bar.close),
                "prdy_vol": str(before.volume), "stck_mxpr": str(limits.upper), "stck_llam": str(limits.lower),
                "stck_oprc": str(bar.open), "stck_hgpr": str(bar.high),
                "stck_lwpr": str(bar.low), "stck_prdy_oprc": str(before.open), "stck_prdy_hgpr": str(before.high),
                "stck_prdy_lwpr": str(before.low), "askp": str(bar.close), "bidp": str(bar.close),
                "prdy_vrss_vol": str(bar.volume - before.volume),
                "vol_tnrt": f"{100 * bar.volume / max(issue.listed_shares, 1):.2f}",
            }  # fmt: skip
        return head

    def index_bars(self, query: Mapping[str, str]) -> dict[str, Any]:
        """FHKUP03500100: at most 50 bars, newest first; volume in thousand shares, turnover in million KRW."""
        field_of(query, "FID_COND_MRKT_DIV_CODE", "U")
        field_of(query, "FID_PERIOD_DIV_CODE", "D")
        code, now = field_of(query, "FID_INPUT_ISCD"), self._clock()
        start, end = day_of(query, "FID_INPUT_DATE_1"), day_of(query, "FID_INPUT_DATE_2")
        bars = self._world.index_bars(code, start, end, now)
        rows = [
            {
                "stck_bsop_date": stamp(bar.day), "bstp_nmix_prpr": f"{bar.close:.2f}",
                "bstp_nmix_oprc": f"{bar.open:.2f}", "bstp_nmix_hgpr": f"{bar.high:.2f}",
                "bstp_nmix_lwpr": f"{bar.low:.2f}", "acml_vol": str(round(bar.volume / 1000)),
                "acml_tr_pbmn": str(round(bar.turnover_krw / 1_000_000)), "mod_yn": "N",
            }
            for bar in reversed(bars[-INDEX_ROWS:])
        ]  # fmt: skip
        return {"output1": self._index_head(code, now), "output2": rows}

    def _index_head(self, code: str, now: datetime) -> Row:
        last_day = self._world.last_day(now)
        recent = self._world.index_bars(code, last_day - timedelta(days=30), last_day, now)
        if not recent:
            return dict.fromkeys(_INDEX_HEAD, "")
        bar, before = recent[-1], recent[-2] if len(recent) > 1 else recent[-1]
        change, sign, percent = change_of(bar.close, before.close, ".2f")
        values = (
            change, sign, percent, f"{before.close:.2f}", str(round(bar.volume / 1000)),
            str(round(bar.turnover_krw / 1_000_000)), INDICES[code], f"{bar.close:.2f}", code,
            str(round(before.volume / 1000)), f"{bar.open:.2f}", f"{bar.high:.2f}", f"{bar.low:.2f}",
            f"{before.open:.2f}", f"{before.high:.2f}", f"{before.low:.2f}",
        )  # fmt: skip
        return dict(zip(_INDEX_HEAD, values, strict=True))

    def minutes_today(self, query: Mapping[str, str]) -> dict[str, Any]:
        """FHKST03010200: at most 30 minutes of today up to the hour given, newest first.

        The running minute comes with what it has traded so far, also in the totals of output1. A future hour is
        answered as now, and the running minute then carries the hour that was asked for instead of its own (seen on
        2026-01-15 at 13:48, when minutes of 14:00 and 15:30 came with volume).
        """
        now = self._clock()
        answer = self._minutes(query, now.date(), now, TODAY_MINUTES)
        running, hour = self._running_minute(query["FID_INPUT_ISCD"], now), query["FID_INPUT_HOUR_1"]
        if running is not None:
            head, rows = answer["output1"], answer["output2"]
            head["acml_vol"] = str(int(head["acml_vol"] or 0) + running.volume)
            head["acml_tr_pbmn"] = total = str(int(head["acml_tr_pbmn"] or 0) + running.turnover_krw)
            head["stck_prpr"] = str(running.close)
            if hour >= f"{running.at:%H%M%S}":
                stamp = hour if hour > f"{now:%H%M%S}" else f"{running.at:%H%M%S}"
                answer["output2"] = [_minute_row(now.date(), stamp, running, total), *rows[: TODAY_MINUTES - 1]]
        return answer

    def _running_minute(self, code: str, now: datetime) -> MinuteBar | None:
        """What the minute under way has traded: the share of it that has passed, at its first price."""
        start = now.replace(second=0, microsecond=0)
        whole = [bar for bar in self._world.minute_bars(code, now.date(), start + MINUTE) if bar.at == start]
        share = (now - start) / MINUTE
        volume = int(whole[0].volume * share) if whole else 0
        if not volume:
            return None
        price = whole[0].open
        return MinuteBar(start, price, price, price, price, volume, price * volume)

    def minutes_past(self, query: Mapping[str, str]) -> dict[str, Any]:
        """FHKST03010230: at most 120 minutes of a day of the last year up to the hour given, newest first."""
        day, now = day_of(query, "FID_INPUT_DATE_1"), self._clock()
        return self._minutes(query, day, now, PAST_MINUTES)

    def _minutes(self, query: Mapping[str, str], day: date, now: datetime, rows: int) -> dict[str, Any]:
        field_of(query, "FID_COND_MRKT_DIV_CODE", "J", "UN", "NX")
        field_of(query, "FID_PW_DATA_INCU_YN", "Y", "N")
        code, hour = field_of(query, "FID_INPUT_ISCD"), field_of(query, "FID_INPUT_HOUR_1")
        try:
            until = datetime.strptime(hour, "%H%M%S").replace(tzinfo=krx.KST).time()
        except ValueError:
            raise RefusedError("OPSQ2001", "ERROR : INVALID FID_INPUT_HOUR_1") from None
        bars = self._world.minute_bars(code, day, now) if now.date() - day <= PAST_MINUTES_KEPT else []
        turnovers = accumulate(bar.turnover_krw for bar in bars)
        lines = [
            _minute_row(day, f"{bar.at:%H%M%S}", bar, str(turnover))
            for bar, turnover in zip(bars, turnovers, strict=True)
            if bar.at.time() <= until
        ]
        head = self._daily_head(code, now)
        return {"output1": {key: head[key] for key in _DAILY_HEAD[:8]}, "output2": lines[-rows:][::-1]}

    def holidays(self, query: Mapping[str, str]) -> dict[str, Any]:
        """CTCA0903R: 24 calendar days from the day given; msg_cd KIOK0500 says that there are more."""
        first = day_of(query, "BASS_DT")
        days = [first + timedelta(days=n) for n in range(HOLIDAY_ROWS)]
        known = [day for day in days if krx.FIRST_DAY <= day <= krx.LAST_DAY]
        if known:
            return {
                "ctx_area_nk": f"{stamp(known[-1]):<20}", "ctx_area_fk": f"{stamp(first):<20}",
                "output": [_holiday_row(day) for day in known], "msg_cd": "KIOK0500", "msg1": "조회가 계속됩니다.",
            }  # fmt: skip
        end = {"ctx_area_nk": " " * 20, "ctx_area_fk": " " * 20}
        return {**end, "output": [], "msg_cd": "KIOK0530", "msg1": "조회되었습니다"}


def _daily_row(bar: DailyBar) -> Row:
    change, sign, _ = change_of(bar.close, bar.reference, "d")
    return {
        "stck_bsop_date": stamp(bar.day), "stck_clpr": str(bar.close), "stck_oprc": str(bar.open),
        "stck_hgpr": str(bar.high), "stck_lwpr": str(bar.low), "acml_vol": str(bar.volume),
        "acml_tr_pbmn": str(bar.turnover_krw), "flng_cls_code": "00", "prtt_rate": f"{bar.ratio:.2f}",
        "mod_yn": "Y" if bar.volume == 0 else "N", "prdy_vrss_sign": sign, "prdy_vrss": change,
        "revl_issu_reas": bar.reason,
    }  # fmt: skip


def _minute_row(day: date, hour: str, bar: MinuteBar, turnover_so_far: str) -> Row:
    return {
        "stck_bsop_date": stamp(day), "stck_cntg_hour": hour, "stck_prpr": str(bar.close), "stck_oprc": str(bar.open),
        "stck_hgpr": str(bar.high), "stck_lwpr": str(bar.low), "cntg_vol": str(bar.volume),
        "acml_tr_pbmn": turnover_so_far,
    }  # fmt: skip


def _holiday_row(day: date) -> Row:
    is_weekend, is_open = day.isoweekday() >= 6, krx.is_session(day)
    # The exchange's own year-end closure is a working day for banks and brokers (official sample, 2022-12-30).
    is_bank_day = is_open or (not is_weekend and (day.month, day.day) >= (12, 29))
    return {
        "bass_dt": stamp(day), "wday_dvsn_cd": f"0{day.isoweekday() % 7 + 1}", "bzdy_yn": "NY"[is_bank_day],
        "tr_day_yn": "Y", "opnd_yn": "NY"[is_open], "sttl_day_yn": "NY"[is_open],
    }  # fmt: skip
