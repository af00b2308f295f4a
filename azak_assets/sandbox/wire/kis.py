"""The broker's REST gateway: tokens, the limit per second, the envelope of every answer and the error bodies.

Field names, units and codes of KIS belong into the modules `kis*` and nowhere else in the sandbox; the services are in
`kis_quotations`, `kis_quotes`, `kis_after_close` and `kis_company`. The rules are those of the broker's
published specification and of the notices that changed them (18 calls a second since 2026-04-20, one request for a
token a minute since 2023-10-27, the same token within six hours since 2023-04-28).
"""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azak_assets import krx
from azak_assets.sandbox.wire.kis_after_close import AfterClose
from azak_assets.sandbox.wire.kis_fields import RefusedError, Service
from azak_assets.sandbox.wire.kis_quotations import Quotations, stock_of
from azak_assets.sandbox.wire.kis_quotes import Quotes
from azak_assets.sandbox.wire.limits import PerSecond
from azak_assets.sandbox.worlds.world import UpstreamData

TOKEN_LIFE = timedelta(hours=24)
SAME_TOKEN = timedelta(hours=6)
NEW_TOKEN_EVERY = timedelta(minutes=1)

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


class Endpoints:
    """The HTTP side of the gateway: what is checked of a request, and the envelope around the answer."""

    def __init__(
        self,
        world: UpstreamData,
        gateway: Gateway,
        clock: Callable[[], datetime],
        more: Mapping[str, tuple[str, Service]],
    ) -> None:
        self._gateway = gateway
        self._clock = clock
        quotations, after_close, quotes = Quotations(world, clock), AfterClose(world, clock), Quotes(world, clock)
        services: dict[str, tuple[str, Service]] = {
            "inquire-daily-itemchartprice": ("FHKST03010100", quotations.daily_bars),
            "inquire-time-itemchartprice": ("FHKST03010200", quotations.minutes_today),
            "inquire-time-dailychartprice": ("FHKST03010230", quotations.minutes_past),
            "inquire-daily-indexchartprice": ("FHKUP03500100", quotations.index_bars),
            "inquire-price": ("FHKST01010100", lambda query: quotes.quote(stock_of(query))),
            "inquire-asking-price-exp-ccn": ("FHKST01010200", lambda query: quotes.book(stock_of(query))),
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
    world: UpstreamData,
    gateway: Gateway,
    clock: Callable[[], datetime],
    more: Mapping[str, tuple[str, Service]] = MappingProxyType({}),
) -> list[Route]:
    """Everything under the REST host; `more` are services of other modules, `folder/name` to transaction and answer."""
    endpoints = Endpoints(world, gateway, clock, more)
    return [
        Route("/kis/oauth2/tokenP", endpoints.token, methods=["POST"]),
        Route("/kis/oauth2/revokeP", endpoints.revoke, methods=["POST"]),
        Route(f"/kis{_PREFIX}/{{service:path}}", endpoints.quotation, methods=["GET"]),
    ]
