"""Faults a test orders: the next answers under a path go wrong in a named way.

What belongs here is how each upstream fails on the wire. When it fails of its own accord (limits, keys, bad fields) is
decided by the module of that upstream.
"""

import io
import json
import re
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KINDS = (
    "500", "429", "401", "403", "error_in_200", "empty", "html", "truncated", "cp949", "words", "expired_token", "lost",
)  # fmt: skip

_MAINTENANCE = (
    "<!DOCTYPE html><html lang='ko'><head><title>서비스 점검 안내</title></head>"
    "<body><h1>시스템 점검 중입니다</h1><p>잠시 후 다시 이용해 주십시오.</p></body></html>"
)
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")
#: Keys whose digits are names, not quantities: turned into words they would break the envelope, not the record.
_NAMES = re.compile(
    r"date|_dt$|_de$|_dd$|_cd$|yymm|hour|code|iscd|status|_no$|msg|_yn$|created|^id$|pubDate", re.IGNORECASE
)
_ELEMENT = re.compile(r"<([\w:]+)>([^<>]*)</\1>")
_DIGIT_WORDS = str.maketrans("0123456789.", "영일이삼사오육칠팔구점")


@dataclass
class _Order:
    path: str
    kind: str
    times: int


class Faults:
    """The orders still open; a request takes the first that names a prefix of its path."""

    def __init__(self) -> None:
        self._orders: list[_Order] = []
        self._lock = threading.Lock()

    async def order(self, request: Request) -> Response:
        """`POST /sandbox/faults {"path": prefix, "kind": one of KINDS, "times": n}`."""
        try:
            body = await request.json()
            order = _Order(str(body["path"]), str(body["kind"]), int(body.get("times", 1)))
        except (ValueError, KeyError, TypeError, AttributeError):
            return JSONResponse({"error": 'expected {"path": "/kis", "kind": "500", "times": 1}'}, 400)
        if order.kind not in KINDS:
            return JSONResponse({"error": f"unknown kind {order.kind!r}; expected one of {', '.join(KINDS)}"}, 400)
        if order.kind == "error_in_200" and _upstream(order.path) not in _IN_SUCCESS:
            known = ", ".join(_IN_SUCCESS)
            return JSONResponse(
                {"error": f"only {known} announce errors in an HTTP 200; the path is {order.path!r}"}, 400
            )
        with self._lock:
            self._orders.append(order)
        return JSONResponse({"ordered": order.kind, "path": order.path, "times": order.times})

    def take(self, path: str) -> str | None:
        """The kind of fault the request to `path` meets, if any."""
        with self._lock:
            for order in self._orders:
                if order.times > 0 and path.startswith(order.path):
                    order.times -= 1
                    return order.kind
        return None


class FaultMiddleware:
    """Applies the ordered fault to an answer. `expired_token` is left to the broker's gateway, in `scope["state"]`."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        path = scope.get("path", "")
        kind = None if scope["type"] != "http" or path.startswith("/sandbox") else self._faults.take(path)
        if kind is None:
            await self._app(scope, receive, send)
        elif kind == "expired_token":
            scope.setdefault("state", {})["expired_token"] = True
            await self._app(scope, receive, send)
        elif kind in {"500", "429", "401", "403", "error_in_200"}:
            await refusal(path, kind)(scope, receive, send)
        elif kind == "empty":
            await Response(b"", media_type="application/json")(scope, receive, send)
        elif kind == "html":
            await HTMLResponse(_MAINTENANCE)(scope, receive, send)
        else:
            await self._spoilt(kind, scope, receive, send)

    async def _spoilt(self, kind: str, scope: Scope, receive: Receive, send: Send) -> None:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, keep)
        body = b"".join(message.get("body", b"") for message in messages if message["type"] == "http.response.body")
        start = next(message for message in messages if message["type"] == "http.response.start")
        kept = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        if kind == "lost":
            # It was carried out; of the answer the caller hears the first line, then the connection ends.
            await send({**start, "headers": [*kept, (b"content-length", str(len(body) + 1).encode())]})
            await send({"type": "http.response.body", "body": body[:1], "more_body": True})
            raise ConnectionAbortedError("ordered")
        body = body[: len(body) // 2] if kind == "truncated" else spoilt(kind, body)
        kept.append((b"content-length", str(len(body)).encode()))
        await send({**start, "headers": kept})
        await send({"type": "http.response.body", "body": body})


def spoilt(kind: str, body: bytes) -> bytes:
    """The body in undeclared CP949 ("cp949") or with its numbers as words ("words"); of an archive, its files so.

    What is no UTF-8 text, or for words neither JSON nor XML, stays as it is: a master file is CP949 of fixed width.
    """
    if body.startswith(b"PK"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(body)) as whole, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as changed:
            for member in whole.infolist():
                changed.writestr(member, spoilt(kind, whole.read(member)))
        return buffer.getvalue()
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return body
    if kind == "cp949":
        return text.encode("cp949", "replace")
    if text.lstrip().startswith("<"):
        return _ELEMENT.sub(lambda found: f"<{found[1]}>{_in_words(found[1], found[2])}</{found[1]}>", text).encode()
    try:
        return json.dumps(_in_words("", json.loads(text)), ensure_ascii=False).encode()
    except ValueError:
        return body


def _in_words(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _in_words(name, item) for name, item in value.items()}
    if isinstance(value, list):
        return [_in_words(key, item) for item in value]
    if isinstance(value, bool) or _NAMES.search(key):
        return value
    text = str(value) if isinstance(value, int | float) else value
    return text.translate(_DIGIT_WORDS) if isinstance(text, str) and _NUMBER.fullmatch(text) else value


def _upstream(path: str) -> str:
    return path.strip("/").partition("/")[0]


def refusal(path: str, kind: str) -> Response:
    """The upstream's own answer to a server fault ("500"; "error_in_200" under HTTP 200) or too many calls ("429").

    A gateway before it turns clients away with a page ("401", "403"), whatever they asked.
    """
    upstream = _upstream(path)
    answers = {"500": _BROKEN, "429": _TOO_OFTEN, "error_in_200": _IN_SUCCESS}.get(kind, {})
    otherwise = (int(kind) if kind.isdigit() else 200, _MAINTENANCE)
    status, body = answers.get(f"{upstream}.xml" if path.endswith(".xml") else upstream, otherwise)
    headers = {"retry-after": "1"} if status == 429 else None
    if isinstance(body, dict):
        return JSONResponse(body, status, headers)
    return Response(body, status, headers, "application/xml" if body.startswith("<?xml") else "text/html")


_BROKEN: dict[str, tuple[int, dict[str, Any] | str]] = {
    "telegram": (500, {"ok": False, "error_code": 500, "description": "Internal Server Error"}),
    "reddit": (500, {"message": "Internal Server Error", "error": 500}),
    "kis": (500, {"rt_cd": "1", "msg_cd": "EGW00002", "msg1": "서버 에러가 발생했습니다."}),
    "krx": (500, {"respMsg": "Internal Server Error", "respCode": "500"}),
    "naver": (500, {"errorMessage": "System Error (시스템 에러)", "errorCode": "SE99"}),
    "openai": (
        500,
        {"error": {"message": "The server had an error.", "type": "server_error", "param": None, "code": None}},
    ),
    "openrouter": (500, {"error": {"code": 500, "message": "Internal Server Error"}}),
}
_TOO_OFTEN: dict[str, tuple[int, dict[str, Any] | str]] = {
    "reddit": (429, {"message": "Too Many Requests", "error": 429}),
    "telegram": (
        429,
        {
            "ok": False,
            "error_code": 429,
            "description": "Too Many Requests: retry after 1",
            "parameters": {"retry_after": 1},
        },
    ),
    "kis": (500, {"rt_cd": "1", "msg_cd": "EGW00201", "msg1": "초당 거래건수를 초과하였습니다."}),
    "opendart": (200, {"status": "020", "message": "사용한도를 초과하였습니다."}),
    "opendart.xml": (
        200,
        '<?xml version="1.0" encoding="UTF-8"?>'
        "<result><status>020</status><message>사용한도를 초과하였습니다.</message></result>",
    ),
    "krx": (429, {"respMsg": "Too Many Requests", "respCode": "429"}),
    "naver": (429, {"errorMessage": "Query limit exceeded (쿼리 한도 초과)", "errorCode": "010"}),
    "openai": (
        429,
        {"error": {"message": "Rate limit", "type": "requests", "param": None, "code": "rate_limit_exceeded"}},
    ),
    "openrouter": (429, {"error": {"code": 429, "message": "Rate limit exceeded"}}),
}
_IN_SUCCESS: dict[str, tuple[int, dict[str, Any] | str]] = {
    "kis": (200, {"rt_cd": "1", "msg_cd": "EGW00002", "msg1": "서버 에러가 발생했습니다."}),
    "opendart": (200, {"status": "900", "message": "정의되지 않은 오류가 발생하였습니다."}),
    "opendart.xml": (
        200,
        '<?xml version="1.0" encoding="UTF-8"?>'
        "<result><status>900</status><message>정의되지 않은 오류가 발생하였습니다.</message></result>",
    ),
    # The router had begun to answer when the provider behind it failed.
    "openrouter": (
        200,
        {
            "error": {
                "code": 502,
                "message": "Provider returned error",
                "metadata": {"provider_name": "Sandbox", "raw": "upstream connect error"},
            }
        },
    ),
}
