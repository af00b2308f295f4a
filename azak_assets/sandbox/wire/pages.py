"""The article pages of the two publishers with feeds, and their robots.txt.

The markup of each publisher's page is here, as its readers see it: headline, body, what stands between. What an article
says is the world's; its body is its description, at more length. As on the real sites, one page in a few sends
CP949 without saying so, and one is behind a paywall.
"""

import zlib
from collections.abc import Callable
from datetime import datetime
from html import escape

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from azak_assets import krx
from azak_assets.sandbox.worlds.world import Article, UpstreamData

ONE_IN_CP949, ONE_PAYWALLED = 7, 11

ROBOTS = {
    "hankyung": "User-agent: *\nDisallow: /print/\nCrawl-delay: 1\n\nUser-agent: GPTBot\nDisallow: /\n",
    "mk": "User-agent: *\nDisallow: /news/premium/\nAllow: /news/\n",
}


def _paragraphs(article: Article) -> list[str]:
    return [
        article.description,
        f"{article.published_at:%d}일 시장에서는 관련 소식에 관심이 쏠렸다. 투자자들은 공시와 실적을 함께 살폈다.",
        "증권가에서는 업황 회복의 속도와 환율을 변수로 꼽았다. 회사 측은 추가로 밝힐 내용이 없다고 했다.",
        "전문가들은 단기 등락보다 수급과 실적의 방향을 볼 것을 권했다. 거래대금은 평소와 비슷한 수준이었다.",
    ]


def _hankyung(article: Article, *, is_paywalled: bool) -> str:
    body = "<br><br>".join(escape(text) for text in _paragraphs(article))
    shown = (
        "<div class='paywall'>로그인 후 읽을 수 있습니다</div>"
        if is_paywalled
        else "<div class='article-body' id='articletxt' itemprop='articleBody'>"
        f"<figure class='article-figure'><img src='a.jpg'><figcaption>사진=연합</figcaption></figure>{body}</div>"
    )
    return f"<h1 class='headline'>{escape(article.title)}</h1>{_stamp('txt-date', article)}{shown}"


def _maeil(article: Article, *, is_paywalled: bool) -> str:
    paragraphs = "".join(f"<p refid='{n}'>{escape(text)}</p>" for n, text in enumerate(_paragraphs(article), 1))
    shown = (
        "<div class='paywall'>유료 기사입니다</div>"
        if is_paywalled
        else f"<div class='news_cnt_detail_wrap' itemprop='articleBody'><script>ad()</script>{paragraphs}</div>"
    )
    return f"<h2 class='news_ttl'>{escape(article.title)}</h2>{_stamp('registration', article)}{shown}"


def _stamp(name: str, article: Article) -> str:
    return f"<span class='{name}'>{article.published_at.astimezone(krx.KST):%Y.%m.%d %H:%M}</span>"


def routes(world: UpstreamData, clock: Callable[[], datetime]) -> list[Route]:
    """Robots and article pages, each publisher's under the address its feed has here."""

    def page(publisher: str, address: str) -> Response:
        article = world.page(address, clock())
        if article is None:
            return HTMLResponse("<h1>페이지를 찾을 수 없습니다</h1>", 404)
        lot = zlib.crc32(address.encode())
        written = {"hankyung": _hankyung, "mk": _maeil}[publisher](article, is_paywalled=lot % ONE_PAYWALLED == 0)
        html = f"<!DOCTYPE html><html lang='ko'><head><title>{escape(article.title)}</title></head><body>{written}"
        if lot % ONE_IN_CP949 == 0:
            return Response(html.encode("cp949", "xmlcharrefreplace"), media_type="text/html; charset=utf-8")
        return HTMLResponse(html + "</body></html>")

    async def hankyung(request: Request) -> Response:
        address = f"https://www.hankyung.com/article/{request.path_params['id']}"
        return await run_in_threadpool(page, "hankyung", address)

    async def maeil(request: Request) -> Response:
        address = f"https://www.mk.co.kr/news/{request.path_params['section']}/{request.path_params['id']}"
        return await run_in_threadpool(page, "mk", address)

    async def robots(request: Request) -> Response:
        return PlainTextResponse(ROBOTS[request.url.path.split("/")[1]])

    return [
        *(Route(f"/{name}/robots.txt", robots, methods=["GET"], name=name) for name in ROBOTS),
        Route("/hankyung/article/{id}", hankyung, methods=["GET"]),
        Route("/mk/news/{section}/{id}", maeil, methods=["GET"]),
    ]
