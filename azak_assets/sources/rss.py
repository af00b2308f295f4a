"""Publishers' RSS feeds: the newest headlines with link and excerpt.

Put here reading a feed as it is offered. Article pages are never fetched: publishers allow readers of feeds, not
copies. A feed holds its newest 50 items or so and has no paging, hence the ten minutes between two readings.
"""

import io
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import feedparser

from azak_assets.sources.failures import ContractChanged, Empty
from azak_assets.sources.fields import Refused, Row, instant, optional_text, parse_rows, plain_text
from azak_assets.sources.naver import is_date_only
from azak_assets.sources.protocols import Budget
from azak_assets.sources.records import Article, Batch, Reject
from azak_assets.sources.transport import Answer, Transport, decode, payload_hash

FEEDS: Mapping[str, tuple[str, ...]] = {"hankyung": ("/feed/finance",), "mk": ("/rss/50200011/",)}
"""The securities feed of each publisher we know."""

_XML_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")
_NOT_MODIFIED = 304


class RssClient:
    """The feeds of one publisher, safe to share between threads. All methods raise `SourceFailure`s.

    A publisher that answers 403 is `Blocked`, and is not tried again. `source` is the publisher's key in `FEEDS`; give
    `feeds`, paths under `base_url`, for another one.
    """

    def __init__(
        self,
        source: str,
        base_url: str,
        feeds: Sequence[str] = (),
        *,
        budget: Budget,
        per_second: float = 1,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.source = source
        self._feeds = tuple(feeds) or FEEDS[source]
        self._http = Transport(
            source, base_url, budget=budget, per_second=per_second, follow_redirects=True, sleep=sleep
        )
        self._conditions: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    def articles(self) -> Batch[Article]:
        """The items of every feed in its order, those of two feeds once; none of a feed unchanged since the last call.

        What a feed said last (ETag, Last-Modified) is kept in memory only, so a new process reads everything again.
        `Empty` when a feed arrives without items, `ContractChanged` when something else arrives in its place.
        """
        bodies: list[bytes] = []
        articles: dict[Article, None] = {}
        rejects: list[Reject] = []
        for feed in self._feeds:
            answer = self._http.ask(_feed, feed, headers=self._conditions.get(feed, {}))
            bodies.append(answer.body)
            if answer.status == _NOT_MODIFIED:
                continue
            found, refused = parse_rows(_entries(answer), _article)
            articles.update(dict.fromkeys(found))
            rejects.extend(refused)
            with self._lock:
                self._conditions[feed] = _conditions(answer)
        return Batch(list(articles), rejects, len(bodies), payload_hash(bodies))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def _feed(answer: Answer) -> Answer:
    if answer.status != _NOT_MODIFIED:
        answer.raise_for_status()
        answer.raise_if_empty()
    return answer


def _conditions(answer: Answer) -> dict[str, str]:
    sent = {"if-none-match": answer.headers.get("etag"), "if-modified-since": answer.headers.get("last-modified")}
    return {name: value for name, value in sent.items() if value}


def _entries(answer: Answer) -> list[Row]:
    # Some Korean servers send CP949 under no name or under UTF-8's. Handing feedparser UTF-8 without the declaration
    # leaves it nothing to guess; left alone it takes such bytes for a Western encoding. Its sanitizer would drop a
    # headline's own angle brackets, and plain_text removes markup anyway.
    source = _XML_DECLARATION.sub("", decode(answer.body), count=1).encode()
    parsed = feedparser.parse(io.BytesIO(source), sanitize_html=False, resolve_relative_uris=False)
    if not parsed.version:
        raise ContractChanged(answer.upstream, f"no feed came: {answer.excerpt()}", url=answer.url)
    if not parsed.entries:
        raise Empty(answer.upstream, "the feed has no items", url=answer.url)
    return list(parsed.entries)


def _article(row: Row) -> Article:
    title = plain_text(row, "title")
    if title is None:
        raise Refused("title", row.get("title", ""), "is missing or empty")
    published_at = instant(row, "published")
    return Article(
        title=title,
        url=optional_text(row, "link"),
        excerpt=plain_text(row, "summary"),
        press=None,
        published_at=published_at,
        is_date_only=is_date_only(published_at),
    )
