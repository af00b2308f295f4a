"""A press, Naver's search, article pages and DART on one real local server, and clients of it.

Belongs here: what `tests/ingest` collects from. Written from the wire contracts; shares nothing with the sandbox.
"""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any
from xml.sax.saxutils import escape

from azak_assets import krx
from azak_assets.ports import ATTEMPTS
from azak_assets.sources.naver import NaverSearchClient
from azak_assets.sources.opendart import OpenDartClient
from azak_assets.sources.pages import PageReader
from azak_assets.sources.rss import RssClient
from azak_assets.warehouse.calls.playback import Unlimited
from tests.sources.local_servers import LocalServer, MemoryHosts, MemoryValidators, Reply, Request, channel_of

NOW = datetime(2026, 11, 18, 14, 0, tzinfo=krx.KST)


def item(
    number: int, title: str, *, at: datetime = NOW - timedelta(hours=1), description: str = "본문"
) -> dict[str, str]:
    """An item of Naver's answer; its title is HTML."""
    link = f"https://www.mk.co.kr/news/stock/{number}"
    return {
        "title": title, "originallink": link, "link": link, "description": description, "pubDate": format_datetime(at),
    }  # fmt: skip


class Upstream:
    """Answers of every upstream of text; a test writes them, and a path in ``refused`` answers with that status.

    Clients made after ``attempts`` was set try a call that often.
    """

    def __init__(self) -> None:
        self.found: dict[str, list[dict[str, str]]] = {}
        self.feed: list[tuple[int, str]] = []
        self.pages: dict[int, str] = {}
        self.filings: list[dict[str, str]] = []
        self.refused: dict[str, int] = {}
        self.attempts = ATTEMPTS
        self.validators, self.hosts = MemoryValidators(), MemoryHosts()
        self._made: list[Any] = []
        self.server = LocalServer(self._answer)

    def naver(self) -> NaverSearchClient:
        access = {"client_id": "naver-id", "client_secret": "naver-secret", "per_second": 1000}
        return self._keep(NaverSearchClient(self.server.url, **access, **self._shared(), now=lambda: NOW))

    def rss(self) -> RssClient:
        state = {"validators": self.validators, "per_second": 1000}
        return self._keep(RssClient("mk", self.server.url, **state, **self._shared(), now=lambda: NOW))

    def reader(self) -> PageReader:
        bases = {"www.mk.co.kr": self.server.url}
        return self._keep(PageReader(bases, hosts=self.hosts, **self._shared(), now=lambda: NOW))

    def dart(self) -> OpenDartClient:
        return self._keep(OpenDartClient(self.server.url, api_key="dart-key", per_second=1000, **self._shared()))

    def close(self) -> None:
        for client in self._made:
            client.close()
        self.server.close()

    def _keep(self, client: Any) -> Any:
        self._made.append(client)
        return client

    def _shared(self) -> dict[str, Any]:
        return {"channel": channel_of(Unlimited(), attempts=self.attempts), "sleep": lambda _: None}

    def _answer(self, request: Request) -> Reply:
        if request.path in self.refused:
            return Reply(b"no", self.refused[request.path])
        answers: dict[str, Callable[[Request], Reply]] = {
            "/v1/search/news.json": self._searched,
            "/rss/50200011/": self._feed,
            "/robots.txt": lambda _: Reply(b"", 404),
            "/list.json": self._filings,
        }
        return answers.get(request.path, self._page)(request)

    def _searched(self, request: Request) -> Reply:
        items = self.found.get(request.query["query"], [])
        answer = {"total": len(items), "start": 1, "display": len(items), "items": items}
        return Reply(json.dumps(answer).encode())  # escaped: half an emoji is no UTF-8

    def _feed(self, request: Request) -> Reply:
        at = format_datetime(NOW - timedelta(hours=1))
        items = "".join(
            f"<item><title>{title}</title><link>https://www.mk.co.kr/news/stock/{number}</link>"
            f"<pubDate>{escape(at)}</pubDate></item>"
            for number, title in self.feed
        )
        return Reply(
            f'<rss version="2.0"><channel><title>증권</title>{items}</channel></rss>'.encode(), headers={"etag": "1"}
        )

    def _page(self, request: Request) -> Reply:
        body = self.pages.get(int(request.path.rpartition("/")[2]))
        if body is None:
            return Reply(b"", 404)
        return Reply(f'<html><body><div class="news_cnt_detail_wrap">{body}</div></body></html>'.encode())

    def _filings(self, request: Request) -> Reply:
        found = [one for one in self.filings if request.query["bgn_de"] <= one["rcept_dt"] <= request.query["end_de"]]
        if not found:
            return Reply({"status": "013", "message": "no data"})
        return Reply({"status": "000", "message": "", "total_count": len(found), "total_page": 1, "list": found})
