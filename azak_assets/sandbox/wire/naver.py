"""Naver's search API for news: markup, limits and errors as its reference has them.

What matches a query is the world's to say; how a match goes over the wire is here: `<b>` around what was searched for,
HTML entities, RFC 822 times, at most 100 items a page and 1,000 for the first item.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from email.utils import format_datetime
from html import escape
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azak_assets import krx
from azak_assets.sandbox.wire.limits import PerDay, PerSecond
from azak_assets.sandbox.worlds.world import Article, UpstreamData, terms_of

_ERRORS = {
    "SE01": (400, "Incorrect query request (잘못된 쿼리요청입니다.)"),
    "SE02": (400, "Invalid display value (부적절한 display 값입니다.)"),
    "SE03": (400, "Invalid start value (부적절한 start 값입니다.)"),
    "SE04": (400, "Invalid sort value (부적절한 sort 값입니다.)"),
    "SE05": (404, "Invalid search api (존재하지 않는 검색 api 입니다.)"),
    "010": (429, "Query limit exceeded (쿼리 한도 초과)"),
    "012": (429, "Rate limit exceeded. (속도 제한을 초과했습니다.)"),
    "024": (401, "NID AUTH Result Invalid (1000) : Authentication failed. (인증에 실패했습니다.)"),
}


class SearchError(Exception):
    """A refused search; its text is the error code."""


def _marked(text: str, terms: Sequence[str]) -> str:
    """The text with entities, and `<b>` around the searched terms."""
    if not terms:
        return escape(text)
    pattern = re.compile("|".join(re.escape(term) for term in sorted(terms, key=len, reverse=True)))
    parts, position = [], 0
    for match in pattern.finditer(text):
        parts += [escape(text[position : match.start()]), f"<b>{escape(match.group())}</b>"]
        position = match.end()
    return "".join([*parts, escape(text[position:])])


def _between(query: Mapping[str, str], name: str, default: int, most: int, code: str) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise SearchError(code)
    return int(text)


def _item(article: Article, terms: Sequence[str]) -> dict[str, str]:
    return {
        "title": _marked(article.title, terms),
        "originallink": article.original_link,
        "link": article.link,
        "description": _marked(article.description, terms),
        "pubDate": format_datetime(article.published_at.astimezone(krx.KST)),
    }


def search(world: UpstreamData, query: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """One page of results. Sorted by date, or by how often the terms occur (`sim`). Raises SearchError."""
    words = query.get("query", "").strip()
    terms, _ = terms_of(words)
    if not terms:
        raise SearchError("SE01")
    display = _between(query, "display", 10, 100, "SE02")
    start = _between(query, "start", 1, 1000, "SE03")
    sort = query.get("sort", "sim")
    if sort not in {"sim", "date"}:
        raise SearchError("SE04")
    found = list(world.search(words, now))
    if sort == "sim":
        found.sort(key=lambda article: -sum(article.title.count(term) for term in terms))
    page = found[start - 1 : start - 1 + display]
    return {
        "lastBuildDate": format_datetime(now.astimezone(krx.KST).replace(microsecond=0)),
        "total": len(found),
        "start": start,
        "display": len(page),
        "items": [_item(article, terms) for article in page],
    }


def routes(world: UpstreamData, clock: Callable[[], datetime], a_second: PerSecond, a_day: PerDay) -> list[Route]:
    """Everything under the host; any other search is refused as the host does."""

    def refuse(code: str) -> Response:
        status, words = _ERRORS[code]
        return JSONResponse({"errorMessage": words, "errorCode": code}, status)

    async def answer(request: Request) -> Response:
        keys = (request.headers.get("x-naver-client-id", ""), request.headers.get("x-naver-client-secret", ""))
        if any(not key or key.startswith("invalid") for key in keys):
            return refuse("024")
        if not a_second.admits(keys[0]):
            return refuse("012")
        if not a_day.admits(keys[0]):
            return refuse("010")
        if request.path_params["kind"] != "news.json":
            return refuse("SE05")
        try:
            return JSONResponse(await run_in_threadpool(search, world, request.query_params, clock()))
        except SearchError as error:
            return refuse(str(error))

    return [Route("/naver/v1/search/{kind}", answer, methods=["GET"])]
