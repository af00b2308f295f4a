"""The broker's REST gateway: tokens, the limit per second, the quotation services and their error bodies.

Field names, units and codes of KIS belong here and nowhere else in the sandbox. The rules are those of the broker's
published specification and of the notices that changed them (18 calls a second since 2026-04-20, one request for a
token a minute since 2023-10-27, the same token within six hours since 2023-04-28).
"""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from itertools import accumulate
from types import MappingProxyType
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azak_assets import krx
from azak_assets.sandbox.wire.kis_after_close import AfterClose
from azak_assets.sandbox.wire.kis_fields import RefusedError, Row, change_of, day_of, field_of, stamp
from azak_assets.sandbox.wire.kis_quotes import Quotes
from azak_assets.sandbox.wire.limits import PerSecond
from azak_assets.sandbox.worlds.world import INDICES, DailyBar, MinuteBar, World

TOKEN_LIFE = timedelta(hours=24)
SAME_TOKEN = timedelta(hours=6)
NEW_TOKEN_EVERY = timedelta(minutes=1)

DAILY_ROWS, INDEX_ROWS, TODAY_MINUTES, PAST_MINUTES, HOLIDAY_ROWS = 100, 50, 30, 120, 24
PAST_MINUTES_KEPT = timedelta(days=365)
MINUTE = timedelta(minutes=1)

_PREFIX = "/uapi/domestic-stock/v1"

_GATEWAY_WORDS = {
    "EGW00103": "유효하지 않은 AppKey입니다.",
    "EGW00105": "유효하지 않은 AppSecret입니다.",
    "EGW00121": "유효하지 않은 token 입니다.",
    "EGW00123": "기간이 만료된 token 입니다.",
    "EGW00133": "접근토큰 발급 잠시 후 다시 시도하세요(1분당 1회)",
    "EGW00201": "초당 거래건수를 초과하였습니다.",
    "EGW00205": "credentials_type이 유효하지 않습니다.(Bearer)",
    "EGW00208": "고객타입이 유효하지 않습니다.",
    "EGW00213": "모의투자 TR 이 아닙니다.",
}

#: Transactions that the paper host refuses. A key that starts with `paper` is one of a paper account.
LIVE_ONLY = frozenset(
    ["FHKST03010230", "FHPUP02100000", "FHPUP02120000", "FHKST66430300", "CTPF1002R", "CTPF1604R", "CTCA0903R"]
)

Answer = Callable[[Mapping[str, str]], dict[str, Any]]
"""What a service makes of a query: its part of the envelope. Raises RefusedError."""

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


def _key_refusal(app_key: str, secret: str) -> str | None:
    """A key is good unless it is empty or starts with `invalid`, so that tests can present a bad one.

    One that starts with `paper` is that of a paper account.
    """
    if not app_key or app_key.startswith("invalid"):
        return "EGW00103"
    if not secret or secret.startswith("invalid"):
        return "EGW00105"
    return None


class Gateway:
    """Tokens and the call counter of one sandbox, shared by its worker threads.

    A token says by itself whom it was issued to and until when, under a signature, so that one that a client stored is
    still good after the sandbox was started again.
    """

    def __init__(self, world: str, clock: Callable[[], datetime], calls: PerSecond) -> None:
        self._secret = f"azak sandbox {world}".encode()
        self._clock = clock
        self._calls = calls
        self._lock = threading.Lock()
        self._current: dict[str, tuple[str, datetime]] = {}
        self._answered: dict[str, datetime] = {}
        self._issued = 0
        self._dead: dict[str, str] = {}

    def _sign(self, payload: str) -> str:
        signature = hmac.digest(self._secret, payload.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(signature).decode().rstrip("=")

    def issue(self, app_key: str) -> tuple[str, datetime] | None:
        """The token and its expiry (KST); None for a second request within a minute of one that was answered.

        The minute counts whether the token is a new one or, within six hours, the same again. A token that died of age
        was issued a day ago: an ordered fault that ages one ends its minute too.
        """
        now = self._clock()
        with self._lock:
            token, issued = self._current.get(app_key, ("", now))
            is_dead, is_aged = token in self._dead, self._dead.get(token) == "EGW00123"
            since = now - self._answered.get(app_key, datetime.min.replace(tzinfo=krx.KST))
            # A test may set its clock back; the minute does not reach into the past.
            if timedelta(0) <= since < NEW_TOKEN_EVERY and not is_aged:
                return None
            self._answered[app_key] = now
            if token and not is_dead and now - issued < SAME_TOKEN:
                return token, issued + TOKEN_LIFE
            self._issued += 1
            claims = {"aud": app_key, "exp": (now + TOKEN_LIFE).timestamp(), "jti": f"{now.timestamp()}-{self._issued}"}
            payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
            token = f"eyJhbGciOiJIUzI1NiJ9.{payload}.{self._sign(payload)}"
            self._current[app_key] = token, now
            return token, now + TOKEN_LIFE

    def kill(self, token: str, code: str) -> None:
        """From now on the token is refused with `code`; one that died of age may be replaced at once."""
        with self._lock:
            self._dead[token] = code

    def token_refusal(self, token: str, app_key: str) -> str | None:
        """Why a token does not open the door for this key, as an EGW code."""
        if token in self._dead:
            return self._dead[token]
        _, _, rest = token.partition(".")
        payload, _, signature = rest.partition(".")
        if not payload or not hmac.compare_digest(self._sign(payload).encode(), signature.encode()):
            return "EGW00121"
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        if claims["aud"] != app_key:
            return "EGW00121"
        return "EGW00123" if self._clock().timestamp() >= claims["exp"] else None

    def admits(self, app_key: str) -> bool:
        """Whether one more call fits into the second that ends now."""
        return self._calls.admits(app_key)


def _failure(code: str, message: str = "", status: int = 500) -> Response:
    return JSONResponse({"rt_cd": "1", "msg_cd": code, "msg1": message or _GATEWAY_WORDS[code]}, status)


def _token_failure(code: str) -> Response:
    return JSONResponse({"error_description": _GATEWAY_WORDS[code], "error_code": code}, 403)


def _stock(query: Mapping[str, str]) -> str:
    """The code that a service about one issue at the moment is asked for."""
    field_of(query, "FID_COND_MRKT_DIV_CODE", "J", "UN", "NX")
    return field_of(query, "FID_INPUT_ISCD")


class Quotations:
    """The quotation services over a world."""

    def __init__(self, world: World, clock: Callable[[], datetime]) -> None:
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
        """CTCA0903R: 24 calendar days from the day given; more are told by msg_cd KIOK0500."""
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


class Endpoints:
    """The HTTP side of the gateway: what is checked of a request, and the envelope around the answer."""

    def __init__(
        self,
        world: World,
        gateway: Gateway,
        clock: Callable[[], datetime],
        more: Mapping[str, tuple[str, Answer]],
    ) -> None:
        self._gateway = gateway
        self._clock = clock
        quotations, after_close, quotes = Quotations(world, clock), AfterClose(world, clock), Quotes(world, clock)
        services: dict[str, tuple[str, Answer]] = {
            "inquire-daily-itemchartprice": ("FHKST03010100", quotations.daily_bars),
            "inquire-time-itemchartprice": ("FHKST03010200", quotations.minutes_today),
            "inquire-time-dailychartprice": ("FHKST03010230", quotations.minutes_past),
            "inquire-daily-indexchartprice": ("FHKUP03500100", quotations.index_bars),
            "inquire-price": ("FHKST01010100", lambda query: quotes.quote(_stock(query))),
            "inquire-asking-price-exp-ccn": ("FHKST01010200", lambda query: quotes.book(_stock(query))),
            "chk-holiday": ("CTCA0903R", quotations.holidays),
            "inquire-investor": ("FHKST01010900", after_close.investors),
            "inquire-daily-overtimeprice": ("FHPST02320000", after_close.overtime),
            "inquire-index-daily-price": ("FHPUP02120000", after_close.index_table),
        }
        self._services = {f"quotations/{name}": service for name, service in services.items()} | dict(more)

    async def token(self, request: Request) -> Response:
        """`POST /oauth2/tokenP`."""
        try:
            body = await request.json()
            app_key, secret = str(body["appkey"]), str(body["appsecret"])
        except (ValueError, KeyError, TypeError):
            return _token_failure("EGW00103")
        if refused := _key_refusal(app_key, secret):
            return _token_failure(refused)
        issued = self._gateway.issue(app_key)
        if issued is None:
            return _token_failure("EGW00133")
        value, expires_at = issued
        answer = {
            "access_token": value,
            "access_token_token_expired": f"{expires_at.astimezone(krx.KST):%Y-%m-%d %H:%M:%S}",
            "token_type": "Bearer",
            "expires_in": round((expires_at - self._clock()).total_seconds()),
        }
        return JSONResponse(answer)

    async def revoke(self, request: Request) -> Response:
        """`POST /oauth2/revokeP`."""
        try:
            body = await request.json()
            app_key, value = str(body["appkey"]), str(body["token"])
        except (ValueError, KeyError, TypeError):
            return _token_failure("EGW00121")
        if self._gateway.token_refusal(value, app_key):
            return _token_failure("EGW00121")
        self._gateway.kill(value, "EGW00121")
        return JSONResponse({"code": 200, "message": "접근토큰 폐기에 성공하였습니다"})

    def _refusal(self, request: Request) -> Response | None:
        headers = request.headers
        app_key = headers.get("appkey", "")
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if getattr(request.state, "expired_token", False):
            self._gateway.kill(value, "EGW00123")
        if refused := _key_refusal(app_key, headers.get("appsecret", "")):
            return _failure(refused, status=403)
        code = "EGW00205" if scheme != "Bearer" else self._gateway.token_refusal(value, app_key)
        if not self._gateway.admits(app_key):
            code = "EGW00201"
        elif not code and headers.get("custtype", "P") not in {"P", "B"}:
            code = "EGW00208"
        return _failure(code) if code else None

    async def quotation(self, request: Request) -> Response:
        """`GET` of a quotation service."""
        if refusal := self._refusal(request):
            return refusal
        tr_id, answer = self._services.get(request.path_params["service"], ("", None))
        if answer is None:
            return _failure("OPSQ0002", "없는 서비스 코드 입니다.", 200)
        if request.headers.get("tr_id") != tr_id:
            return _failure("OPSQ9999", f"ERROR : TR_ID [{request.headers.get('tr_id', '')}]", 200)
        if tr_id in LIVE_ONLY and request.headers.get("appkey", "").startswith("paper"):
            return _failure("EGW00213")
        query = {name.upper(): text for name, text in request.query_params.items()}
        try:
            body = await run_in_threadpool(answer, query)
        except RefusedError as error:
            return _failure(error.code, error.message, 200)
        envelope = {"rt_cd": "0", "msg_cd": "MCA00000", "msg1": "정상처리 되었습니다."} | body
        more = "M" if envelope["msg_cd"] == "KIOK0500" else ""
        return JSONResponse(envelope, headers={"tr_id": tr_id, "tr_cont": more, "gt_uid": ""})


def routes(
    world: World,
    gateway: Gateway,
    clock: Callable[[], datetime],
    more: Mapping[str, tuple[str, Answer]] = MappingProxyType({}),
) -> list[Route]:
    """Everything under the REST host; `more` are services of other modules, `folder/name` to transaction and answer."""
    endpoints = Endpoints(world, gateway, clock, more)
    return [
        Route("/kis/oauth2/tokenP", endpoints.token, methods=["POST"]),
        Route("/kis/oauth2/revokeP", endpoints.revoke, methods=["POST"]),
        Route(f"/kis{_PREFIX}/{{service:path}}", endpoints.quotation, methods=["GET"]),
    ]
