"""Telegram's Bot API: one message to one chat, sent at most once.

Put here the wire format, its limits and what a refusal means. Which message goes where, and which were sent, belongs to
the outbox that calls this. Text is Telegram's HTML: `escaped` for what is not markup, `parts` for what is too long.
Source: core.telegram.org/bots/api and its FAQ.
"""

import re
import time
from collections.abc import Callable
from typing import Any

from azak_assets.ports import Channel
from azak_assets.sources.answer import Answer
from azak_assets.sources.failures import (
    ContractChanged,
    NotForThisAccount,
    RateLimited,
    SourceFailure,
    Unauthorized,
    Unconfirmed,
)
from azak_assets.sources.transport import Transport

UPSTREAM = "telegram"
LONGEST = 4096
"""UTF-16 units of a message. Telegram counts them without the markup; counting with it is never too long."""
ALL_CHATS_PER_SECOND = 25
CHAT_PER_SECOND = 1.0
GROUP_PER_SECOND = 1 / 3.1
"""20 a minute, and a little below, because slots start up to a tenth of a second late."""

_TOKEN = re.compile(r"[A-Za-z0-9:_-]+")
_PIECE = re.compile(r"<[^<>]*>|&[#A-Za-z0-9]{1,10};|[^<&\s]+|\s|.", re.DOTALL)
_NAME = re.compile(r"</?([a-z-]+)")

_CHAT_NOT_FOUND = "chat not found"
"""Telegram's `error_code` is 400 for this as for every other bad request: the description alone tells it apart."""


class TelegramClient:
    """One bot, safe to share between threads. All methods raise `SourceFailure`s."""

    def __init__(
        self,
        base_url: str,
        *,
        token: str,
        channel: Channel,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._token = token
        self._channel = channel
        self._http = Transport(
            UPSTREAM,
            base_url,
            channel=channel,
            per_second=ALL_CHATS_PER_SECOND,
            secrets=(token,),
            is_repeatable=False,
            sleep=sleep,
        )

    def send(self, chat_id: str, html: str, *, is_silent: bool = False) -> int:
        """Send one message of at most `LONGEST` units to a chat (a number, or @name of a channel); return its id.

        It is asked again only where Telegram certainly did not take the message: no connection, or a 429, which says
        when. Whatever else leaves it open is `Unconfirmed`: there is no key by which Telegram would know a repetition.
        """
        if units(html) > LONGEST or not html.strip():
            raise ValueError(f"a message holds 1 to {LONGEST} UTF-16 units, this one {units(html)}: use parts()")
        if not _TOKEN.fullmatch(self._token):
            advice = "Copy TELEGRAM_BOT_TOKEN from @BotFather again: it looks like 123456789:ABC…"
            raise Unauthorized(UPSTREAM, "the token holds characters that no token has", advice=advice)
        # Groups have negative numbers; a name may be one's too.
        is_person = re.fullmatch(r"\d+", chat_id, re.ASCII) is not None
        self._channel.limiter.acquire(f"{UPSTREAM} {chat_id}", CHAT_PER_SECOND if is_person else GROUP_PER_SECOND)
        body = {
            "chat_id": int(chat_id) if re.fullmatch(r"-?\d+", chat_id, re.ASCII) else chat_id,
            "text": html,
            "parse_mode": "HTML",
            "disable_notification": is_silent,
            "link_preview_options": {"is_disabled": True},
        }
        return self._http.ask(_message_id, f"/bot{self._token}/sendMessage", method="POST", json_body=body)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def escaped(text: str) -> str:
    """Text as Telegram's HTML shows it unchanged."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def units(text: str) -> int:
    """The length of a text in UTF-16 units: an emoji counts two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def parts(html: str) -> list[str]:
    """Cut a long text into messages of at most `LONGEST` units each, none of them blank.

    Cut behind a line if the message then is at least half full, else behind a space, else inside a word: never inside a
    tag, an entity or a character. Tags open at a cut are closed and opened again.
    """
    messages: list[str] = []
    opened: list[str] = []  # tags open at the start of the message being filled
    pieces = _pieces(html)
    while pieces:
        taken, opened_then = _fitting(pieces, opened)
        message = "".join([*opened, *pieces[:taken], *_closing(opened_then)])
        if _has_text(pieces[:taken]):
            messages.append(message)
        pieces, opened = pieces[taken:], opened_then
    return messages


def _pieces(html: str) -> list[str]:
    """Tags, entities, words and single spaces; a word too long for any message comes apart into characters."""
    pieces: list[str] = []
    for piece in _PIECE.findall(html):
        is_whole = piece[0] in "<&" or units(piece) <= LONGEST // 8
        pieces.extend([piece] if is_whole else piece)
    return pieces


def _fitting(pieces: list[str], opened: list[str]) -> tuple[int, list[str]]:
    """How many pieces the next message takes, and the tags open behind them."""
    length = units("".join(opened))
    stack = list(opened)
    line = space = (0, stack)
    for index, piece in enumerate(pieces):
        after = _after(stack, piece)
        length += units(piece)
        if length + units("".join(_closing(after))) > LONGEST:
            is_full = units("".join(pieces[: line[0]])) >= LONGEST // 2
            cut = line if is_full else max(line, space, key=lambda place: place[0])
            return cut if cut[0] else (max(index, 1), stack if index else after)
        stack = after
        if piece == "\n":
            line = (index + 1, stack)
        elif piece.isspace():
            space = (index + 1, stack)
    return len(pieces), stack


def _after(stack: list[str], piece: str) -> list[str]:
    """The open tags behind a piece."""
    name = _NAME.match(piece)
    if name is None:
        return stack
    if not piece.startswith("</"):
        return [*stack, piece]
    return stack[:-1] if stack else stack


def _closing(stack: list[str]) -> list[str]:
    names = (_NAME.match(tag) for tag in reversed(stack))
    return [f"</{name[1]}>" for name in names if name]


def _has_text(pieces: list[str]) -> bool:
    return any(not piece.isspace() and not _NAME.match(piece) for piece in pieces)


def _message_id(answer: Answer) -> int:
    try:
        body = answer.json_object()
    except SourceFailure as failure:
        if 300 <= answer.status < 500 and answer.status != 408:
            raise
        raise Unconfirmed(UPSTREAM, failure.what, url=answer.url) from None
    if answer.status >= 500 or answer.status == 408:
        raise Unconfirmed(UPSTREAM, f"HTTP {answer.status}: {answer.excerpt()}", url=answer.url)
    if body.get("ok") is not True:
        raise _refusal(answer, body)
    result = body.get("result")
    message_id = result.get("message_id") if isinstance(result, dict) else None
    if not isinstance(message_id, int):
        raise Unconfirmed(UPSTREAM, f"an ok without a message: {answer.excerpt()}", url=answer.url)
    return message_id


def _refusal(answer: Answer, body: dict[str, Any]) -> SourceFailure:
    """What a refusal means; none of them leaves a message behind."""
    code = body.get("error_code", answer.status)
    said = f"{code}: {body.get('description') or answer.excerpt()}"
    details = body.get("parameters")
    parameters = details if isinstance(details, dict) else {}
    if code == 429:
        after = parameters.get("retry_after")
        return RateLimited(UPSTREAM, said, url=answer.url, retry_after=after if isinstance(after, int) else 5)
    if code in {401, 404}:
        advice = "Check TELEGRAM_BOT_TOKEN: @BotFather shows the one that is valid"
        return Unauthorized(UPSTREAM, said, url=answer.url, advice=advice)
    if code == 403:
        advice = "The bot may not write there: the chat has to start it, or take it in as a member, first"
        # One chat's word: the others are not to be left alone for it.
        return NotForThisAccount(UPSTREAM, said, url=answer.url, advice=advice, action="alert")
    if moved := parameters.get("migrate_to_chat_id"):
        advice = f"The group has become a supergroup: set TELEGRAM_CHAT_ID to {moved}"
        return ContractChanged(UPSTREAM, said, url=answer.url, advice=advice)
    if _CHAT_NOT_FOUND in said:
        advice = "Check TELEGRAM_CHAT_ID: a number, or @name of a channel that the bot is a member of"
        return ContractChanged(UPSTREAM, said, url=answer.url, advice=advice)
    advice = "The message was refused as it stands, and was not sent"
    return ContractChanged(UPSTREAM, said, url=answer.url, advice=advice)
