"""Texts of article pages: which pages are read, and how much of a text is kept.

Belongs here: the order in which pages are read and when a host is left alone. Does not belong here: how a page is read
(`sources.pages`), whether pages may be read at all (the operator's setting).
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import pandas as pd

from azak_assets.ingest.failures import CollectError
from azak_assets.ingest.report import REPAIRED, StepReport
from azak_assets.sources.failures import Blocked, SourceFailure
from azak_assets.sources.streak import FailureStreak
from azak_assets.text.clean import excerpt, readable, repair_encoding
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from azak_assets.sources.pages import Page, PageReader

MOST_PAGES = 120
"""A run's share, two minutes at one page a second; the feeds show fewer new articles in ten minutes."""
FAILURES_IN_A_ROW = 3
EXCERPT = 500
"""Characters of a text that are kept unless the operator states that more may be."""
COLUMNS = ["article_id", "url", "status", "extent", "text", "characters", "content_hash", "trading_day"]
SHOWN = ["url", "status", "characters", "text"]
FULL = "full"


class Wanted(NamedTuple):
    """An article whose page is to be read."""

    article_id: str
    url: str
    trading_day: date


@dataclass
class _Round:
    """What a round of pages brought: rows, counts by outcome, and the hosts that are left alone, with why."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    left_alone: dict[str, str] = field(default_factory=dict)


def collect_pages(
    warehouse: Warehouse,
    reader: "PageReader",
    first: date,
    last: date,
    *,
    extent: str,
    source: str,
    log: logging.Logger,
) -> StepReport:
    """Read the pages of articles of the trading days ``first`` to ``last`` that were not read yet, and land the texts.

    ``extent``: "full" keeps whole texts, anything else the first `EXCERPT` characters; it is stored beside the text.

    Raises:
        CollectError: no publisher let a page be read.
    """
    wanted = wanted_pages(warehouse, first, last, reader.reads)
    done = _read(reader, wanted[:MOST_PAGES], extent=extent, log=log)
    frame = pd.DataFrame(done.rows, columns=COLUMNS).astype({"characters": "Int64"})
    result = warehouse.load("raw.article_bodies", frame, Scope(days=None), complete=False, source=source)
    if done.left_alone and not done.rows:
        raise CollectError("No publisher let a page be read. " + " ".join(done.left_alone.values()))
    report = StepReport()
    report.add_load(result, frame, instant="trading_day", columns=SHOWN)
    report.notes |= {"left for the next run": len(wanted) - len(done.rows), **done.counts}
    report.lists["hosts left alone"] = list(done.left_alone.values())
    return report


def wanted_pages(warehouse: Warehouse, first: date, last: date, reads: Callable[[str], bool]) -> list[Wanted]:
    """The articles whose page can be read (``reads``, of an address) and was not since their newest version.

    The newest first: a page that fails every time then holds up none but those that were tried before.
    """
    days = (first, last)
    articles = warehouse.read(
        "raw.news_articles", columns=["article_id", "url", "trading_day", "known_at", "observed_at"], days=days
    )
    done = warehouse.read("raw.article_bodies", columns=["article_id", "observed_at"], days=days)
    both = articles.dropna(subset=["url"]).merge(done, on="article_id", how="left", suffixes=("", "_read"))
    is_new = both["observed_at_read"].isna() | (both["observed_at_read"] < both["observed_at"])
    ordered = both[is_new].sort_values(["known_at", "article_id"], ascending=False)
    rows = zip(ordered["article_id"], ordered["url"], ordered["trading_day"], strict=True)
    return [Wanted(*row) for row in rows if reads(row[1])]


def _read(reader: "PageReader", wanted: list[Wanted], *, extent: str, log: logging.Logger) -> _Round:
    done = _Round()
    streaks: dict[str, FailureStreak] = {}
    for article in wanted:
        host = urlsplit(article.url).netloc
        if host in done.left_alone:
            continue
        streak = streaks.setdefault(host, FailureStreak(limit=FAILURES_IN_A_ROW))
        try:
            page = reader.read(article.url)
        except SourceFailure as failure:
            log.error("%s: %s", article.url, failure)
            done.counts["pages that failed"] += 1
            streak.add(failure)
            if failure.action == "stop" or isinstance(failure, Blocked) or streak.is_at_limit:
                done.left_alone[host] = str(failure)
            continue
        streak.add(None)
        done.rows.append(_row(article, page, extent, done.counts))
    return done


def _row(article: Wanted, page: "Page", extent: str, counts: Counter[str]) -> dict[str, Any]:
    counts.update(page.notes)
    counts[page.status] += 1
    if page.text and repair_encoding(page.text) != page.text:
        counts[REPAIRED] += 1
    # The reader of the page has decoded its HTML: what is left is text. Its lines stay lines.
    text = "\n".join(line for line in map(readable, (page.text or "").splitlines()) if line) or None
    return {
        "article_id": article.article_id,
        "url": article.url,
        "status": page.status,
        "extent": extent if text else None,
        "text": text if text is None or extent == FULL else excerpt(text, EXCERPT),
        "characters": len(text) if text else None,
        "content_hash": hashlib.sha256(text.encode()).hexdigest() if text else None,
        "trading_day": article.trading_day,
    }
