"""Article pages of publishers that let readers like us read them: robots.txt first, then one page at a time.

Put here how a page is asked for politely, where a publisher keeps its text, and that text, a line a paragraph: it takes
the parsed page, and no selector leaves this module. Markup in titles and excerpts is `text.clean`'s. A publisher is
added by an entry in `PUBLISHERS`; nothing is guessed about a page that is not in it. How much of a text may be
kept is the operator's to say, and whether pages are read at all. Sources: the pages themselves, RFC 9309 (robots.txt).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit

from protego import Protego
from selectolax.lexbor import LexborHTMLParser

from azak_assets import krx
from azak_assets.ports import Channel, HostRules, HostStore
from azak_assets.sources.answer import Answer
from azak_assets.sources.failures import Blocked, ContractChanged, RateLimited, SourceFailure, Unauthorized
from azak_assets.sources.transport import Transport

AGENT = "Azak"
"""Our name in a robots.txt; the user agent begins with it."""
PER_SECOND = 1.0
SLOWEST_S = 60.0
"""Seconds. A host that wants longer between two pages does not want them read."""
LONGEST_ROBOTS = 500_000
"""Characters; the RFC lets a reader stop at 500 kibibytes."""

_BLOCKS = "br, p, div, li, tr, h1, h2, h3, h4, h5, h6, blockquote"
_END = "\x1e"
"""Marks the end of a paragraph: a line break in the markup is only a space."""

Status = Literal["read", "no_text", "gone", "moved", "disallowed"]


@dataclass(frozen=True, slots=True)
class Publisher:
    """Where a publisher keeps an article's text, and what in it is none of it (CSS selectors)."""

    text: str
    aside: str = "script, style, figure, figcaption, iframe, button, .ad"


PUBLISHERS: Mapping[str, Publisher] = {
    "www.hankyung.com": Publisher(text="div#articletxt, div.article-body"),
    "www.mk.co.kr": Publisher(text="div.news_cnt_detail_wrap"),
}


@dataclass(frozen=True, slots=True)
class Page:
    """One article page: its text, a line a paragraph, or why there is none; `notes` as in a `Batch`."""

    status: Status
    text: str | None
    notes: Mapping[str, int]


class PageReader:
    """Reads article pages of the hosts it is given, each under its base address. Not for several threads.

    A host's robots.txt and its refusals are kept in `hosts` and count for that KST day, whichever process asks. Raises
    `SourceFailure`s: `Blocked` for a host that refuses us, which then is not asked again that day.
    """

    def __init__(
        self,
        bases: Mapping[str, str],
        *,
        channel: Channel,
        hosts: HostStore,
        now: Callable[[], datetime] = lambda: datetime.now(krx.KST),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bases = {host: base.rstrip("/") for host, base in bases.items()}
        self._channel = channel
        self._hosts = hosts
        self._now = now
        self._sleep = sleep
        self._ways: dict[str, tuple[Protego, Transport]] = {}

    def reads(self, url: str) -> bool:
        """Whether this is a page that can be asked for."""
        return urlsplit(url).hostname in self._bases.keys() & PUBLISHERS.keys()

    def read(self, url: str) -> Page:
        """The text of one article page."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        robots, way = self._way(host)
        if not robots.can_fetch(url, AGENT):
            return Page("disallowed", None, {})
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            return way.ask(lambda answer: _page(answer, PUBLISHERS[host]), path)
        except (Blocked, Unauthorized) as refusal:
            raise self._left_alone(host, refusal) from None

    def close(self) -> None:
        """Close the connections."""
        for _, way in self._ways.values():
            way.close()

    def _way(self, host: str) -> tuple[Protego, Transport]:
        """What the host allows, and the transport that keeps to its pace."""
        if host not in self._ways:
            robots = Protego.parse(self._rules(host).robots)
            delay = max(robots.crawl_delay(AGENT) or 0.0, 1 / PER_SECOND)
            if delay > SLOWEST_S:
                what = f"robots.txt asks for {delay:.0f} s between two pages"
                raise Blocked(host, what, advice="The publisher does not want its pages read by programs: leave it")
            self._ways[host] = robots, self._transport(host, 1 / delay)
        return self._ways[host]

    def _rules(self, host: str) -> HostRules:
        kept = self._hosts.read(host)
        if kept is None or kept.read_at.astimezone(krx.KST).date() != self._now().astimezone(krx.KST).date():
            transport = self._transport(host, PER_SECOND)
            try:
                kept = HostRules(transport.ask(_robots, "/robots.txt"), None, self._now())
            except (Blocked, Unauthorized) as refusal:
                raise self._left_alone(host, refusal) from None
            finally:
                transport.close()
            self._hosts.keep(host, kept)
        if kept.refusal is not None:
            raise Blocked(host, f"it refused us today and is left alone: {kept.refusal}")
        return kept

    def _left_alone(self, host: str, refusal: SourceFailure) -> Blocked:
        """Remember that a host refused us, and give the failure to raise."""
        _, way = self._ways.pop(host, (None, None))
        if way is not None:
            way.close()
        self._hosts.keep(host, HostRules("", refusal.what, self._now()))
        return Blocked(host, refusal.what, url=refusal.url)

    def _transport(self, host: str, per_second: float) -> Transport:
        return Transport(host, self._bases[host], channel=self._channel, per_second=per_second, sleep=self._sleep)


def _robots(answer: Answer) -> str:
    """A robots.txt; a host without one allows everything (RFC 9309, 2.3.1.3), one that is down nothing."""
    if 400 <= answer.status < 500 and answer.status not in {401, 403, 408, 429}:
        return ""
    answer.raise_for_status()
    content = answer.text[:LONGEST_ROBOTS]
    if content.lstrip().startswith("<"):
        raise ContractChanged(answer.upstream, f"a page came for a robots.txt: {answer.excerpt()}", url=answer.url)
    return content


def _page(answer: Answer, publisher: Publisher) -> Page:
    if answer.status in {404, 410}:
        return Page("gone", None, {})
    if 300 <= answer.status < 400:  # elsewhere other rules hold
        return Page("moved", None, {})
    if answer.status == 429:
        raise RateLimited(answer.upstream, "HTTP 429", url=answer.url, action="stop")
    answer.raise_for_status()
    answer.raise_if_empty()
    text = _text(answer.text, publisher)
    return Page("read", text, answer.notes) if text else Page("no_text", None, answer.notes)


def _text(html: str, publisher: Publisher) -> str:
    body = LexborHTMLParser(html).css_first(publisher.text)
    if body is None:
        return ""
    for aside in body.css(publisher.aside):
        aside.decompose()
    for block in body.css(_BLOCKS):
        block.insert_after(_END)
    lines = (" ".join(line.split()) for line in body.text().split(_END))
    return "\n".join(line for line in lines if line)
