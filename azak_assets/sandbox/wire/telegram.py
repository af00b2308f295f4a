"""Telegram's Bot API, as far as messages are sent with it: HTML, lengths, limits, refusals.

The messages reach no person: /sandbox/telegram returns them. A bot whose token begins with
`invalid` is unknown; of chats, 403 has blocked the bot and 404 does not exist.

Does not belong here: a client's retries and pauses.
"""

import re
from collections.abc import Callable
from datetime import datetime
from html import unescape
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azak_assets.sandbox.wire.limits import PerPeriod

LONGEST = 4096
BLOCKED, UNKNOWN = "403", "404"
_TAGS = frozenset({
    "a", "b", "blockquote", "code", "del", "em", "i", "ins", "pre", "s", "span", "strike", "strong", "tg-spoiler", "u",
})  # fmt: skip
_TAG = re.compile(r"<(/?)([a-zA-Z-]+)([^<>]*)>")
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|#\d{1,7}|#x[0-9a-fA-F]{1,6});")


class MessageError(Exception):
    """A refused message; its text is the description."""


def visible(html: str) -> str:
    """The text without its markup. Raises MessageError for markup that the service does not read."""
    opened: list[str] = []
    shown, position = [], 0
    while position < len(html):
        character = html[position]
        if character == "<":
            tag = _TAG.match(html, position)
            if tag is None or tag[2].lower() not in _TAGS:
                raise MessageError(
                    f'Bad Request: can\'t parse entities: Unsupported start tag "{tag[2] if tag else ""}" at byte '
                    f"offset {len(html[:position].encode())}"
                )
            if not tag[1]:
                opened.append(tag[2])
            elif not opened or opened.pop() != tag[2]:
                raise MessageError("Bad Request: can't parse entities: Unmatched end tag at byte offset 0")
            position = tag.end()
            continue
        entity = _ENTITY.match(html, position) if character == "&" else None
        shown.append(unescape(entity[0]) if entity else character)
        position = entity.end() if entity else position + 1
    if opened:
        raise MessageError(
            f"Bad Request: can't parse entities: Can't find end tag corresponding to start tag {opened[-1]}"
        )
    return "".join(shown)


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


class Bots:
    """The messages that were sent, in their order."""

    def __init__(self, clock: Callable[[], datetime], group: PerPeriod, chat: PerPeriod) -> None:
        self._clock = clock
        self._group = group
        self._chat = chat
        self.messages: list[dict[str, Any]] = []

    def send(self, body: dict[str, Any]) -> dict[str, Any]:
        """The message as it was sent. Raises MessageError."""
        chat_id = str(body.get("chat_id", ""))
        if not chat_id:
            raise MessageError("Bad Request: chat_id is empty")
        if chat_id == UNKNOWN or not re.fullmatch(r"-?\d+|@\w+|sandbox", chat_id):
            raise MessageError("Bad Request: chat not found")
        if chat_id == BLOCKED:
            raise MessageError("Forbidden: bot was blocked by the user")
        text = str(body.get("text", ""))
        shown = (visible(text) if body.get("parse_mode") == "HTML" else text).strip()
        if not shown:
            raise MessageError("Bad Request: message text is empty")
        if _units(shown) > LONGEST:
            raise MessageError("Bad Request: message is too long")
        is_group = not chat_id.isdigit()
        for calls in [self._chat, *([self._group] if is_group else [])]:
            _, left, reset = calls.take(chat_id)
            if left < 0:
                raise MessageError(f"Too Many Requests: retry after {max(1, round(reset))}")
        message = {
            "message_id": len(self.messages) + 1,
            "date": int(self._clock().timestamp()),
            "chat": {"id": chat_id, "type": "group" if is_group else "private"},
            "text": shown,
        }
        self.messages.append(message)
        return message


def _refused(description: str) -> Response:
    code = {"Unau": 401, "Forb": 403, "Not ": 404, "Too ": 429}.get(description[:4], 400)
    body: dict[str, Any] = {"ok": False, "error_code": code, "description": description}
    if code == 429:
        body["parameters"] = {"retry_after": int(description.rpartition(" ")[2])}
    return JSONResponse(body, code)


def routes(bots: Bots) -> list[Route]:
    """The one method, and what was sent with it."""

    async def call(request: Request) -> Response:
        token, method = request.path_params["token"], request.path_params["method"]
        if token.startswith("invalid"):
            return _refused("Unauthorized")
        if method.lower() != "sendmessage":
            return _refused("Not Found: method not found")
        try:
            body = await request.json()
            return JSONResponse({"ok": True, "result": bots.send(dict(body))})
        except (ValueError, TypeError):
            return _refused("Bad Request: message text is empty")
        except MessageError as error:
            return _refused(str(error))

    async def sent(_: Request) -> Response:
        return JSONResponse(bots.messages)

    return [
        Route("/telegram/bot{token}/{method}", call, methods=["GET", "POST"]),
        Route("/sandbox/telegram", sent, methods=["GET"]),
    ]
