"""News: the search and the feeds are asked, each article is kept once, and so is who showed it first.

Belongs here: which questions are asked, which version of an article is kept, and the order in which an answer is stored
and confirmed. Does not belong here: wire formats (`sources.naver`, `sources.rss`), cleaning and identities (`text`),
what is made of the articles (`clusters`, `mentions`).
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from azak_assets.ingest.failures import CollectError
from azak_assets.ingest.reasons import Reason
from azak_assets.ingest.report import REPAIRED, StepReport
from azak_assets.sources.failures import SourceFailure
from azak_assets.sources.fields import Refused, reject
from azak_assets.sources.records import Article, Batch, noted
from azak_assets.sources.streak import FailureStreak
from azak_assets.text.articles import ArticleRecord, articles_frame, newest_versions, with_first_snippets
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from azak_assets.sources.naver import NaverSearchClient
    from azak_assets.sources.rss import RssClient

ARTICLES, SIGHTINGS = "raw.news_articles", "raw.news_sightings"
SEARCH = "naver"
MARKET_QUERIES = ("증시", "코스피", "코스닥")
SHOWN = ["published_at", "press", "title", "url"]
FAILURES_IN_A_ROW = 3


@dataclass(frozen=True)
class NewsWindow:
    """Which articles are asked for and kept; all instants are aware.

    ``asked_from``: the search goes back to it. ``known_from`` (inclusive) and ``known_until`` (exclusive): the news
    time of the window. ``is_open``: it has not ended; then all that a source shows is kept, else what is known inside
    it. ``label`` is for people.
    """

    asked_from: datetime
    known_from: datetime
    known_until: datetime
    is_open: bool
    label: str


class NewsAnswer(NamedTuple):
    """What a source answered to one query ("" for a feed)."""

    source: str
    query: str
    result: Batch[Article] | SourceFailure


@dataclass
class NewsReport:
    """What a collection did to its two tables, and how many questions of each source ended how."""

    articles: StepReport = field(default_factory=StepReport)
    sightings: StepReport = field(default_factory=StepReport)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)


def searched_names(warehouse: Warehouse, tiers: Sequence[int]) -> list[str]:
    """The names of the active stocks of some tiers, the most wanted first."""
    stocks = warehouse.read(
        "raw.stocks",
        columns=["name"],
        where={"tier": list(tiers), "is_active": True},
        order_by=["tier", "stock_code"],
    )
    return [str(name) for name in stocks["name"]]


def collect_news(
    warehouse: Warehouse,
    search: "NaverSearchClient | None",
    feeds: "Sequence[RssClient]",
    *,
    names: Sequence[str],
    window: NewsWindow,
    skipped: Mapping[str, str],
    source: str,
    log: logging.Logger,
) -> NewsReport:
    """Ask every source about the window and land each article in the partition that its date belongs to.

    Args:
        warehouse: where the rows go.
        search: the news search, None where it is not asked.
        feeds: the publishers' feeds that are asked.
        names: stocks that are searched for beside the market's own queries.
        window: which articles are asked for and kept.
        skipped: by source that is not asked, why.
        source: what the provenance column says before the name of the source.
        log: progress and failures.

    Raises:
        CollectError: sources were asked and none answered.
    """
    report = NewsReport()
    for name, why in skipped.items():
        log.warning("%s: %s", name, why)
        report.outcomes[name, why] += 1
    batches: dict[str, list[tuple[str, Batch[Article]]]] = {}
    for answer in _answers(search, feeds, names=names, window=window, log=log):
        if isinstance(answer.result, Batch):
            batches.setdefault(answer.source, []).append((answer.query, answer.result))
            report.outcomes[answer.source, "answered"] += 1
        else:
            log.error("%s %s: %s", answer.source, answer.query, answer.result)
            report.outcomes[answer.source, str(answer.result)] += 1
    if not batches and (search or feeds):
        outcomes = " ".join(outcome for _, outcome in report.outcomes)
        raise CollectError(f"No news source answered about {window.label}. {outcomes}")
    by_name = {feed.source: feed for feed in feeds}
    for name, answered in batches.items():
        _land(warehouse, name, answered, window, label=f"{source}{name}", report=report)
        # A feed is confirmed last: what was lost before that is sent again. Of a closed window only a part is kept, and
        # the rest has to be sent again to the next run about today.
        if name in by_name and window.is_open:
            by_name[name].confirm()
    if not batches:
        for one in (report.articles, report.sightings):
            one.add_state(Reason.NO_SOURCE, "no source to ask")
    asked = [f"{name}: {count} × {outcome}" for (name, outcome), count in report.outcomes.items()]
    report.articles.lists["sources"] = report.sightings.lists["sources"] = asked
    return report


def _answers(
    search: "NaverSearchClient | None",
    feeds: "Sequence[RssClient]",
    *,
    names: Sequence[str],
    window: NewsWindow,
    log: logging.Logger,
) -> Iterator[NewsAnswer]:
    if search is not None:
        yield from _searched(search, [*MARKET_QUERIES, *names], window, log)
    for feed in feeds:
        try:
            yield NewsAnswer(feed.source, "", feed.articles())
        except SourceFailure as failure:
            yield NewsAnswer(feed.source, "", failure)


def _searched(
    search: "NaverSearchClient", queries: Sequence[str], window: NewsWindow, log: logging.Logger
) -> Iterator[NewsAnswer]:
    streak = FailureStreak(limit=FAILURES_IN_A_ROW)
    for done, query in enumerate(queries, start=1):
        try:
            yield NewsAnswer(SEARCH, query, search.search(query, since=window.asked_from, until=window.known_until))
            streak.add(None)
        except SourceFailure as failure:
            yield NewsAnswer(SEARCH, query, failure)
            streak.add(failure)
            # Every further query would wait out its retries, or be refused like this one; the feeds are still asked.
            if failure.action in ("stop", "alert") or streak.is_at_limit:
                return
        if done == len(queries) or done % max(len(queries) // 10, 1) == 0:
            log.info("news search %s: %d of %d queries", window.label, done, len(queries))


def _land(
    warehouse: Warehouse,
    name: str,
    batches: Sequence[tuple[str, Batch[Article]]],
    window: NewsWindow,
    *,
    label: str,
    report: NewsReport,
) -> None:
    """Store what one source answered: articles, then sightings, then rejects."""
    frames = [articles_frame(batch.records, name, query) for query, batch in batches]
    shown = newest_versions(pd.concat([frame.articles for frame in frames]))
    if not window.is_open:
        shown = shown[(shown["known_at"] >= window.known_from) & (shown["known_at"] < window.known_until)]
    sightings = pd.concat([frame.sightings for frame in frames])
    sightings = sightings[sightings["article_id"].isin(shown["article_id"])].drop_duplicates()

    articles = _own_articles(warehouse, shown.reset_index(drop=True), label=label, is_search=name == SEARCH)
    result = warehouse.load(ARTICLES, articles, Scope(days=None), complete=False, source=label)
    report.articles.add_load(result, articles, instant="published_at", columns=SHOWN)
    seen = _with_trading_days(warehouse, sightings)
    report.sightings.add_load(warehouse.append(SIGHTINGS, seen, source=label), seen, instant="trading_day")

    untitled = [reject(repr(record), _untitled(record)) for frame in frames for record in frame.untitled]
    rejects = [*(one for _, batch in batches for one in batch.rejects), *untitled]
    warehouse.quarantine(rejects, source=label)
    report.articles.add_rejects(rejects)
    notes = Counter(noted(*(batch.notes for _, batch in batches)))
    notes[REPAIRED] += sum(frame.repaired for frame in frames)
    for note, count in notes.items():
        report.articles.count(note, count)


def _own_articles(warehouse: Warehouse, articles: pd.DataFrame, *, label: str, is_search: bool) -> pd.DataFrame:
    """The articles whose row belongs to this source.

    A row belongs to the source that showed the article first: two sources that word one article differently would
    otherwise replace each other's version at every tick.
    """
    stored = warehouse.read(
        ARTICLES,
        columns=["article_id", "source", "title", "excerpt", "content_hash"],
        where={"article_id": articles["article_id"].tolist()},
    )
    others = stored.loc[stored["source"] != label, "article_id"]
    own = articles[~articles["article_id"].isin(others)].reset_index(drop=True)
    return with_first_snippets(own, stored.drop(columns="source")) if is_search else own


def _with_trading_days(warehouse: Warehouse, sightings: pd.DataFrame) -> pd.DataFrame:
    """Each sighting with the trading day that its article's row was given when it was first stored."""
    days = warehouse.read(
        ARTICLES,
        columns=["article_id", "trading_day"],
        where={"article_id": sightings["article_id"].unique().tolist()},
    )
    return sightings.merge(days, on="article_id")


def _untitled(record: ArticleRecord) -> Refused:
    return Refused("title", record.title, "holds nothing that can be read")
