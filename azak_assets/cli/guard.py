"""The guard before Dagster's web server: which requests pass, and the security headers of every answer.

Belongs here: rules about requests, as an ASGI wrapper that knows nothing of Dagster. Does not belong here: starting
servers (`ui`).

Dagster's server has no login, and executes a GraphQL mutation that comes by GET, or by POST with any content
type. A page that the operator merely has open can send both to a port of this machine. Hence:

1. **Method**: GET, HEAD and POST. No CORS header is ever sent, so a browser's preflight request fails.
2. **Host** must be a name of this machine (``localhost``, ``127.0.0.1``, ``[::1]``, with any port) or belong to an
   origin of ``AZAK_UI_ORIGINS``. This stops DNS rebinding, which needs a name that the attacker's DNS server resolves.
   Any port, since SSH tunnels and containers change it.
3. **Origin**, where there is one, must be the page's own: ``http://`` and the Host, or one of ``AZAK_UI_ORIGINS``. A
   WebSocket must have one: the same-origin rule does not cover WebSockets, and browsers always send it.
4. **Sec-Fetch-Site** other than ``same-origin`` and ``none`` (an address typed in) is refused unless it is a link that
   opens a page of its own. Another port of localhost is ``same-site``, so that is refused too.
5. **POST** must be ``application/json``, whatever the path: a form, ``text/plain`` and a body without a type need no
   preflight. Dagster's ``/report_asset_*`` take their parameters from the address when there is no body.
6. **GET of /graphql** is only the page of the query editor. Its query string is dropped before Dagster sees it.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = ("GET", "HEAD", "POST")
HERE = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?")
DECISIVE = ("host", "origin", "content-type", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest")
"""Headers that the rules read: one that comes twice could mean one thing here and another behind."""
DEFAULT_PORT = re.compile(r":(80|443)$")
"""A browser leaves it out of Origin and Host; some proxies put it into the Host."""
POLICY_VIOLATION = 1008
"""The WebSocket close code; before the handshake the server answers HTTP 403 instead."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
EVERYWHERE = (
    "img-src 'self' data:",
    "font-src 'self' data:",
    "media-src 'self'",
    "worker-src 'self' blob:",
    "frame-src 'none'",
    "frame-ancestors 'none'",
    "object-src 'none'",
    "base-uri 'self'",
    "form-action 'self'",
)
"""What holds beside a policy that an answer already has: a browser obeys both. Dagster's page says by a nonce which
scripts may run, and says nothing of images, connections and frames."""
WITHOUT_OWN = ("default-src 'self'", "style-src 'self' 'unsafe-inline'")


@dataclass(frozen=True)
class Refusal:
    """Why a request does not pass, as an HTTP status and one sentence for whoever sent it."""

    status: int
    sentence: str


@dataclass(frozen=True)
class Guard:
    """An ASGI application that lets the permitted requests through to ``app``.

    Args:
        app: the application behind.
        origins: further origins (``https://azak.example.com``) that count as the UI's own, canonical: lower case and
            without the default port.
    """

    app: ASGIApp
    origins: Collection[str] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with the refusal; either way with the security headers."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if scope["type"] == "websocket":
            if refusal is None:
                await self.app(scope, receive, send)
            else:
                await receive()
                await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": refusal.sentence[:100]})
            return
        # A Host that was not checked is never repeated in a header.
        host = headers["host"].lower() if refusal is None else None
        is_editor = _is_graphql(scope) and scope["method"] == "GET"
        guarded = _with_headers(send, host, is_editor=is_editor)
        if refusal is not None:
            allow = {"Allow": ", ".join(METHODS)} if refusal.status == 405 else None
            answer = PlainTextResponse(refusal.sentence + "\n", refusal.status, allow)
            await answer(scope, receive, guarded)
            return
        await self.app({**scope, "query_string": b""} if is_editor else scope, receive, guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> Refusal | None:
        is_websocket = scope["type"] == "websocket"
        method = "GET" if is_websocket else scope["method"]
        if method not in METHODS:
            return Refusal(405, f"{method} is not used here: GET, HEAD and POST are.")
        for name in DECISIVE:
            if len(headers.getlist(name)) > 1:
                return Refusal(400, f"The header {name} came more than once.")
        return (
            self._refusal_of_origin(headers, is_websocket=is_websocket)
            or _refusal_of_site(headers, method)
            or (None if is_websocket else _refusal_of_content(scope, headers))
        )

    def _refusal_of_origin(self, headers: Headers, *, is_websocket: bool) -> Refusal | None:
        host, origin = headers.get("host", "").lower(), headers.get("origin")
        is_here = HERE.fullmatch(host) is not None
        if not is_here and DEFAULT_PORT.sub("", host) not in {urlsplit(one).netloc for one in self.origins}:
            return Refusal(
                403,
                "This UI does not answer to this Host: open it as localhost, or name its origin in AZAK_UI_ORIGINS.",
            )
        if origin is None:
            return Refusal(403, "A WebSocket needs an Origin.") if is_websocket else None
        if origin in self.origins or (is_here and origin == f"http://{host}"):
            return None
        return Refusal(403, "This request comes from a page of another origin: AZAK_UI_ORIGINS names those that may.")


def _is_graphql(scope: Scope) -> bool:
    return str(scope["path"]).rstrip("/").endswith("/graphql")


def _refusal_of_site(headers: Headers, method: str) -> Refusal | None:
    if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
        return None
    opens_a_page = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    if method == "GET" and opens_a_page:
        return None
    return Refusal(403, "This request was made by a page of another site.")


def _refusal_of_content(scope: Scope, headers: Headers) -> Refusal | None:
    method = scope["method"]
    if method == "POST":
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        return None if kind == "application/json" else Refusal(415, "A POST must have Content-Type: application/json.")
    # Dagster answers a GET that accepts HTML with the editor, and executes the ``query`` of any other.
    shows_editor = "text/html" in headers.get("accept", "") and "query" not in QueryParams(scope["query_string"])
    if method == "GET" and _is_graphql(scope) and not shows_editor:
        return Refusal(405, "GraphQL is asked by POST, with Content-Type: application/json.")
    return None


def _with_headers(send: Send, host: str | None, *, is_editor: bool) -> Send:
    """``send`` that puts the security headers on the answer."""
    connections = "connect-src 'self'" + (f" ws://{host} wss://{host}" if host else "")

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", [])))
            own = () if "content-security-policy" in headers else WITHOUT_OWN
            # The page of the query editor has its start as an inline script, and shows nothing from outside.
            scripts = ("script-src 'self' 'unsafe-inline'",) if own and is_editor else ()
            headers.append("Content-Security-Policy", "; ".join((*own, *scripts, connections, *EVERYWHERE)))
            for name, value in HEADERS.items():
                headers[name] = value
            message = {**message, "headers": headers.raw}
        await send(message)

    return guarded
