"""Publishers' RSS feeds: the newest headlines with link and excerpt.

Put here reading a feed as it is offered; article pages have a reader of their own (`pages`). A feed holds its newest 50
items or so and has no paging, so that it must be read more often than it turns over.
"""

import io
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import feedparser

from azak_assets import krx
from azak_assets.ports import Channel, ValidatorStore
from azak_assets.sources.answer import Answer, payload_hash, undeclared_xml
from azak_assets.sources.failures import ContractChanged, Empty, Unavailable
from azak_assets.sources.fields import Refused, Row, instant, is_date_only, markup, optional_text, parse_rows
from azak_assets.sources.records import Article, Batch, Reject, noted
from azak_assets.sources.transport import Transport

FEEDS: Mapping[str, tuple[str, ...]] = {"hankyung": ("/feed/finance",), "mk": ("/rss/50200011/",)}
"""The securities feed of each publisher we know."""

_END_OF_FEED = re.compile(rb"</(?:\w+:)?(?:rss|rdf|feed)\s*>", re.IGNORECASE)
_CDATA_OR_AMPERSAND = re.compile(r"<!\[CDATA\[.*?\]\]>|&(?!(?:amp|lt|gt|quot|apos|#[0-9]+|#x[0-9a-fA-F]+);)", re.DOTALL)
_NOT_MODIFIED = 304


@dataclass(frozen=True, slots=True)
class _Feed:
    """One answer about a feed: its items (none where it has not changed), and what to say at the next question."""

    body: bytes
    rows: list[Row]
    validators: Mapping[str, str] | None
    notes: Mapping[str, int]


class RssClient:
    """The feeds of one publisher, safe to share between threads. All methods raise `SourceFailure`s.

    A publisher that answers 403 is `Blocked`, and is left alone for six hours. `source` is the publisher's key in
    `FEEDS`; give `feeds`, paths under `base_url`, for another one. `now` must return an aware datetime: an item dated
    long after it is refused.

    A feed is asked for only if it has changed since what was last `confirm`ed. Whoever stores the items confirms them
    then: a feed whose items were lost between the answer and the table is read in full by the next question.
    """

    def __init__(
        self,
        source: str,
        base_url: str,
        feeds: Sequence[str] = (),
        *,
        channel: Channel,
        validators: ValidatorStore,
        per_second: float = 1,
        now: Callable[[], datetime] = lambda: datetime.now(krx.KST),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.source = source
        self._now = now
        self._feeds = tuple(feeds) or FEEDS[source]
        self._http = Transport(
            source, base_url, channel=channel, per_second=per_second, follow_redirects=True, sleep=sleep
        )
        self._validators = validators
        self._unconfirmed: dict[str, Mapping[str, str]] = {}
        self._lock = threading.Lock()

    def articles(self) -> Batch[Article]:
        """The items of every feed in its order, those of two feeds once; none of a feed unchanged since confirmed.

        `Empty` when a feed arrives without items, `ContractChanged` when something else arrives in its place.
        """
        now = self._now()
        answers: dict[str, _Feed] = {}
        articles: dict[Article, None] = {}
        rejects: list[Reject] = []
        for path in self._feeds:
            answers[path] = self._http.ask(_feed, path, headers=self._validators.read(self._name(path)))
            found, refused = parse_rows(answers[path].rows, lambda row: _article(row, now))
            articles.update(dict.fromkeys(found))
            rejects.extend(refused)
        with self._lock:
            self._unconfirmed |= {
                path: feed.validators for path, feed in answers.items() if feed.validators is not None
            }
        bodies = [feed.body for feed in answers.values()]
        notes = noted(*(feed.notes for feed in answers.values()))
        return Batch(list(articles), rejects, len(bodies), payload_hash(bodies), notes)

    def confirm(self) -> None:
        """Say that the items of all answers so far are stored: from now on feeds are asked what has changed since."""
        with self._lock:
            confirmed, self._unconfirmed = self._unconfirmed, {}
        for path, headers in confirmed.items():
            self._validators.keep(self._name(path), headers)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _name(self, path: str) -> str:
        return f"{self.source} {path}"


def _feed(answer: Answer) -> _Feed:
    if answer.status == _NOT_MODIFIED:
        return _Feed(answer.body, [], None, {"unchanged feeds": 1})
    answer.raise_for_status()
    answer.raise_if_empty()
    return _Feed(answer.body, _entries(answer), _validators(answer), answer.notes)


def _validators(answer: Answer) -> dict[str, str]:
    sent = {"if-none-match": answer.headers.get("etag"), "if-modified-since": answer.headers.get("last-modified")}
    return {name: value for name, value in sent.items() if value}


def _entries(answer: Answer) -> list[Row]:
    # Some Korean servers send CP949 under no name or under UTF-8's. Handing feedparser UTF-8 without the declaration
    # leaves it nothing to guess; left alone it takes such bytes for a Western encoding. Its sanitizer would drop a
    # headline's own angle brackets, and `text` strips markup.
    source = _well_formed(undeclared_xml(answer.body)).encode()
    parsed = feedparser.parse(io.BytesIO(source), sanitize_html=False, resolve_relative_uris=False)
    if not parsed.version:
        raise ContractChanged(answer.upstream, f"no feed came: {answer.excerpt()}", url=answer.url)
    # feedparser reads on where the feed broke off, and would hand out half a headline as an article.
    if parsed.bozo and not _END_OF_FEED.search(source):
        what = f"a feed of {len(answer.body)} bytes that breaks off: …{source[-60:].decode(errors='replace')}"
        raise Unavailable(answer.upstream, " ".join(what.split()), url=answer.url)
    if not parsed.entries:
        raise Empty(answer.upstream, "the feed has no items", url=answer.url)
    return list(parsed.entries)


def _well_formed(feed: str) -> str:
    """The feed with every `&` escaped that opens no entity of XML.

    Left as they are they make feedparser read the feed as loose HTML, which loses text (`KT&G` becomes `KT`) and
    decodes what stands in CDATA. A name of HTML (`&nbsp;`) reaches `text` as it was written.
    """
    return _CDATA_OR_AMPERSAND.sub(lambda found: found[0] if len(found[0]) > 1 else "&amp;", feed)


def _article(row: Row, now: datetime) -> Article:
    title = markup(row, "title")
    if title is None:
        raise Refused("title", row.get("title", ""), "is missing or empty")
    published_at = instant(row, "published", now)
    return Article(
        title=title,
        url=optional_text(row, "link"),
        excerpt=markup(row, "summary"),
        press=None,
        published_at=published_at,
        is_date_only=is_date_only(published_at),
    )
