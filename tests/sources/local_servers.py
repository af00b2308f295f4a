"""Small real HTTP servers, a token store and a rate limiter in memory, to test the clients of `sources` against.

The servers here are written from the wire contract alone and share nothing with the project's sandbox.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from azak_assets.ports import ATTEMPTS, Channel, HostRules, RateLimiter, Token
from azak_assets.sources.kis.client import KisClient
from azak_assets.sources.transport import direct
from azak_assets.warehouse.calls.playback import Unlogged

KST = ZoneInfo("Asia/Seoul")

APP_KEY = "APPKEY-0123456789-never-in-a-message"
APP_SECRET = "APPSECRET-9876543210-never-in-a-message"


@dataclass
class Request:
    """One request as the server saw it; query values are single, header names lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """What the server answers: bytes as they are, anything else as JSON; with `drip`, a byte in so many seconds."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    drip: float = 0

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body, ensure_ascii=False).encode()


class LocalServer:
    """An HTTP server on a free loopback port whose answers a function makes; keeps the requests."""

    def __init__(self, answer: Callable[[Request], Reply]) -> None:
        self.requests: list[Request] = []
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                request = Request(self.command, parts.path, query, headers, body)
                requests.append(request)
                reply = answer(request)
                self.send_response(reply.status)
                for name, value in {"content-length": str(len(reply.content)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                content = reply.content
                with suppress(ConnectionError):
                    for piece in (bytes([byte]) for byte in content) if reply.drip else [content]:
                        self.wfile.write(piece)
                        time.sleep(reply.drip)

            do_POST = do_GET  # noqa: N815 - http.server's name

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class MemoryTokens:
    """One process's token store, with the promise of the protocol: one issuer at a time, `discard` only once."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(KST)) -> None:
        self._now = now
        self._tokens: dict[str, Token] = {}
        self._lock = threading.Lock()

    def get_or_issue(self, name: str, issue: Callable[[], Token], *, discard: str | None = None) -> Token:
        with self._lock:
            kept = self._tokens.get(name)
            if kept is None or kept.access_token == discard or kept.expires_at <= self._now():
                kept = self._tokens[name] = issue()
            return kept

    def put(self, token: Token, client: KisClient) -> None:
        self._tokens[client._gateway.token_name] = token


class MemoryValidators:
    """One process's ETags."""

    def __init__(self) -> None:
        self.kept: dict[str, Mapping[str, str]] = {}

    def read(self, feed: str) -> Mapping[str, str]:
        return self.kept.get(feed, {})

    def keep(self, feed: str, headers: Mapping[str, str]) -> None:
        self.kept[feed] = headers


class MemoryHosts:
    """One process's robots.txt."""

    def __init__(self) -> None:
        self.kept: dict[str, HostRules] = {}

    def read(self, host: str) -> HostRules | None:
        return self.kept.get(host)

    def keep(self, host: str, rules: HostRules) -> None:
        self.kept[host] = rules


class EvenLimiter:
    """Starts calls at even distances, and counts them by name."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self._next: dict[str, float] = {}
        self._lock = threading.Lock()

    def acquire(self, name: str, per_second: float) -> None:
        with self._lock:
            now = time.monotonic()
            at = max(self._next.get(name, now), now)
            self._next[name] = at + 1 / per_second
            self.calls[name] = self.calls.get(name, 0) + 1
        time.sleep(max(0.0, at - now))


def channel_of(limiter: RateLimiter, *, attempts: int = ATTEMPTS) -> Channel:
    """Calls over the network at this rate, not logged."""
    return Channel(limiter, Unlogged(), direct, attempts)


class Clock:
    """Sleeps that are written down instead of slept."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class KisServer:
    """KIS as its documents describe it: tokens, envelope, 18 calls in any second, rows newest first.

    `faults` are answered before anything else, one a call; `daily`, `index`, `minutes` and `holidays` hold rows,
    `newest` whole answers of the services that take no range, by transaction id; `ratios` those of a code and division,
    `ledger` the record of a transaction and code.
    """

    def __init__(self) -> None:
        self.faults: deque[Reply] = deque()
        self.token_faults: deque[Reply] = deque()
        self.daily: dict[str, list[dict[str, str]]] = {}
        self.index: dict[str, list[dict[str, str]]] = {}
        self.minutes: dict[str, list[dict[str, str]]] = {}
        self.holidays: list[dict[str, str]] = []
        self.newest: dict[str, dict[str, Any]] = {}
        self.ratios: dict[tuple[str, str], list[Any]] = {}
        self.ledger: dict[tuple[str, str], Any] = {}
        self.tokens: list[str] = []
        self.expired: set[str] = set()
        self.rejections = 0
        self.per_second = 18
        self._starts: deque[float] = deque()
        self._lock = threading.Lock()
        self.server = LocalServer(self._answer)

    @property
    def quotes(self) -> list[Request]:
        return [request for request in self.server.requests if request.method == "GET"]

    def _answer(self, request: Request) -> Reply:
        if request.path == "/oauth2/tokenP":
            return self._issue(request)
        with self._lock:
            now = time.monotonic()
            while self._starts and self._starts[0] <= now - 1:
                self._starts.popleft()
            if len(self._starts) >= self.per_second:
                self.rejections += 1
                return Reply(kis_error("EGW00201", "초당 거래건수를 초과하였습니다."), 500)
            self._starts.append(now)
            if self.faults:
                return self.faults.popleft()
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token in self.expired:
            return Reply(kis_error("EGW00123", "기간이 만료된 token 입니다."), 500)
        if token not in self.tokens:
            return Reply(kis_error("EGW00121", "유효하지 않은 token 입니다."), 500)
        services = {
            "FHKST03010100": self._daily,
            "FHKUP03500100": self._index,
            "FHKST03010230": self._past_minutes,
            "FHKST03010200": self._past_minutes,
            "CTCA0903R": self._holidays,
            "FHKST66430300": self._ratios,
            "CTPF1002R": lambda query: self._record("CTPF1002R", query),
            "CTPF1604R": lambda query: self._record("CTPF1604R", query),
        }
        if (tr_id := request.headers["tr_id"]) in self.newest:
            return Reply({"rt_cd": "0", "msg_cd": "MCA00000", "msg1": "정상처리 되었습니다.   ", **self.newest[tr_id]})
        return Reply(services[tr_id]({name.upper(): v for name, v in request.query.items()}))

    def _issue(self, request: Request) -> Reply:
        if self.token_faults:
            return self.token_faults.popleft()
        keys = json.loads(request.body)
        if keys["appkey"] != APP_KEY or keys["appsecret"] != APP_SECRET:
            return Reply(
                {"error_code": "EGW00103", "error_description": f"유효하지 않은 AppKey입니다. {keys['appkey']}"}, 403
            )
        token = f"token-{len(self.tokens) + 1}-never-in-a-message"
        self.tokens.append(token)
        end = datetime.now(KST) + timedelta(days=1)
        return Reply({
            "access_token": token, "token_type": "Bearer", "expires_in": 86400,
            "access_token_token_expired": f"{end:%Y-%m-%d %H:%M:%S}",
        })  # fmt: skip

    def _daily(self, query: dict[str, str]) -> dict[str, Any]:
        assert query["FID_COND_MRKT_DIV_CODE"] == "J"
        assert query["FID_ORG_ADJ_PRC"] == "1", "0 would be adjusted prices"
        code = query["FID_INPUT_ISCD"]
        return kis_success(self._between(self.daily.get(code, []), query)[:100], stck_shrn_iscd=code)

    def _index(self, query: dict[str, str]) -> dict[str, Any]:
        assert query["FID_COND_MRKT_DIV_CODE"] == "U"
        return kis_success(self._between(self.index.get(query["FID_INPUT_ISCD"], []), query)[:50])

    def _past_minutes(self, query: dict[str, str]) -> dict[str, Any]:
        rows = self.minutes.get(query["FID_INPUT_ISCD"], [])
        most = 120 if "FID_INPUT_DATE_1" in query else 30
        hour = query["FID_INPUT_HOUR_1"]
        day = query.get("FID_INPUT_DATE_1") or max((row["stck_bsop_date"] for row in rows), default="")
        upto = [r for r in rows if (r["stck_bsop_date"], r["stck_cntg_hour"]) <= (day, hour)]
        return kis_success(sorted(upto, key=lambda r: (r["stck_bsop_date"], r["stck_cntg_hour"]), reverse=True)[:most])

    def _holidays(self, query: dict[str, str]) -> dict[str, Any]:
        assert set(query) == {"BASS_DT", "CTX_AREA_NK", "CTX_AREA_FK"}
        rows = [row for row in self.holidays if row["bass_dt"] >= query["BASS_DT"]][:24]
        more = {"msg_cd": "KIOK0500"} if rows else {"msg_cd": "KIOK0530"}
        keys = {"ctx_area_nk": " " * 20, "ctx_area_fk": " " * 20}
        return {"rt_cd": "0", "msg1": "조회되었습니다", **more, **keys, "output": rows}

    def _ratios(self, query: dict[str, str]) -> dict[str, Any]:
        assert query["FID_COND_MRKT_DIV_CODE"] == "J"
        rows = self.ratios.get((query["FID_INPUT_ISCD"], query["FID_DIV_CLS_CODE"]), [])
        return {"rt_cd": "0", "msg_cd": "MCA00000", "msg1": "정상처리 되었습니다!", "output": rows}

    def _record(self, transaction: str, query: dict[str, str]) -> dict[str, Any]:
        assert query["PRDT_TYPE_CD"] == "300"
        record = self.ledger.get((transaction, query["PDNO"]), {"pdno": "", "prdt_name": "", "std_pdno": ""})
        return {"rt_cd": "0", "msg_cd": "KIOK0530", "msg1": "조회되었습니다" + " " * 60, "output": record}

    @staticmethod
    def _between(rows: list[dict[str, str]], query: dict[str, str]) -> list[dict[str, str]]:
        first, last = query["FID_INPUT_DATE_1"], query["FID_INPUT_DATE_2"]
        found = [row for row in rows if not row or first <= row.get("stck_bsop_date", "") <= last]
        return sorted(found, key=lambda row: row.get("stck_bsop_date", ""), reverse=True)


def kis_error(code: str, message: str) -> dict[str, str]:
    return {"rt_cd": "1", "msg_cd": code, "msg1": message}


def kis_success(rows: list[dict[str, str]], **about: str) -> dict[str, Any]:
    return {"rt_cd": "0", "msg_cd": "MCA00000", "msg1": "정상처리 되었습니다.   ", "output1": about, "output2": rows}
