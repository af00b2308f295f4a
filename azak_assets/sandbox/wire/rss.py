"""The RSS feeds of the two publishers: RSS 2.0, the fifty newest items, conditional requests.

Only the feeds' shape is here: Hankyung gives an author and no description, Maeil (MK) a description and a category.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Literal
from xml.sax.saxutils import escape

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from azak_assets import krx
from azak_assets.sandbox.worlds.world import Article, UpstreamData

ITEMS = 50

Publisher = Literal["한국경제", "매일경제"]
_SITES: dict[Publisher, str] = {"한국경제": "https://www.hankyung.com", "매일경제": "https://www.mk.co.kr"}
_SECTIONS: dict[Publisher, frozenset[str]] = {
    "한국경제": frozenset({"all-news", "finance", "economy"}),
    "매일경제": frozenset({"30000001", "30100041", "50200011"}),
}


def _item(article: Article, publisher: Publisher) -> str:
    published = format_datetime(article.published_at.astimezone(krx.KST))
    if publisher == "한국경제":
        extra = "<author><![CDATA[편집국]]></author>"
    else:
        extra = f"<category>증권</category><description><![CDATA[{article.description}]]></description>"
    title = article.title.replace("]]>", "]] >")
    return (
        f"<item><title><![CDATA[{title}]]></title><link>{escape(article.original_link)}</link>"
        f"<pubDate>{published}</pubDate>{extra}</item>"
    )


def _is_unchanged(request: Request, tag: str, modified: datetime) -> bool:
    if known := request.headers.get("if-none-match"):
        return tag in {part.strip() for part in known.split(",")}
    try:
        since = parsedate_to_datetime(request.headers.get("if-modified-since", ""))
    except ValueError:
        return False
    return since.tzinfo is not None and since >= modified


def routes(world: UpstreamData, clock: Callable[[], datetime]) -> list[Route]:
    """Both publishers' feeds; every section carries the same items."""

    def feed(request: Request, publisher: Publisher) -> Response:
        if request.path_params["section"] not in _SECTIONS[publisher]:
            return PlainTextResponse("Not Found", 404)
        articles = world.headlines(publisher, clock(), ITEMS)
        newest = (
            articles[0].published_at if articles else datetime.combine(world.first_day, datetime.min.time(), krx.KST)
        )
        body = (
            '<?xml version="1.0" encoding="UTF-8"?><rss version="2.0"><channel>'
            f"<title>{publisher} 증권</title><link>{_SITES[publisher]}</link><description>{publisher}</description>"
            f"<language>ko</language>{''.join(_item(article, publisher) for article in articles)}</channel></rss>"
        ).encode()
        tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
        headers = {"etag": tag, "last-modified": format_datetime(newest.astimezone(UTC), usegmt=True)}
        if _is_unchanged(request, tag, newest):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type="application/rss+xml")

    async def hankyung(request: Request) -> Response:
        return await run_in_threadpool(feed, request, "한국경제")

    async def maeil(request: Request) -> Response:
        return await run_in_threadpool(feed, request, "매일경제")

    return [
        Route("/hankyung/feed/{section}", hankyung, methods=["GET"]),
        Route("/mk/rss/{section}/", maeil, methods=["GET"]),
    ]
