"""News by trading day: articles from every source, the sightings of each, exact duplicates and company mentions.

Belongs here: collecting news and the text tables made from it. What is known on a closed day belongs to the next
session; what is known after a close is traded in the next one. Matches (article × stock) are a mart, made by dbt.
"""

from collections import Counter
from collections.abc import Iterator

import dagster as dg
import pandas as pd

from azak_assets import krx
from azak_assets.defs.markdown import bullets, table
from azak_assets.defs.reporting import loaded, nothing, total, usage
from azak_assets.defs.windows import Window, window_of
from azak_assets.partitions import TRADING_DAYS
from azak_assets.runtime import Upstreams
from azak_assets.sources.failures import NotKept, SourceFailure
from azak_assets.sources.records import Article, Batch, noted
from azak_assets.text.articles import articles_frame, newest_versions, repaired, with_first_snippets
from azak_assets.text.duplicates import fold
from azak_assets.text.mentions import MentionFinder, mentions_frame
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

OWNERS = ["team:news"]
MARKET_QUERIES = ("증시", "코스피", "코스닥")
SHOWN = ["published_at", "press", "title", "url"]
SEARCHES = ("naver",)
"""Sources whose excerpt depends on what was asked."""
FAILURES_IN_A_ROW = 3
SEARCHED_TIERS_TAG = "azak/searched_tiers"
"""Run tag with the tiers whose stocks are searched for by name; a schedule spends its quota by it."""
SEARCHED_TIERS = "1,2"
"""Without the tag, as in a backfill: the lower tiers come with the market's queries and the feeds."""


def _answers(
    context: dg.AssetExecutionContext, upstreams: Upstreams, names: list[str], window: Window
) -> Iterator[tuple[str, str, Batch[Article] | SourceFailure | str]]:
    """(source, query, batch or failure or reason for silence) of every question asked about ``window``."""
    now = upstreams.now()
    if silence := upstreams.silence("news", "naver"):
        yield "naver", "", silence
    else:
        queries = [*MARKET_QUERIES, *names]
        since, until, in_a_row = window.asked_from(now), window.known_until, 0
        for done, query in enumerate(queries, start=1):
            try:
                yield "naver", query, upstreams.naver.search(query, since=since, until=until)
                in_a_row = 0
            except SourceFailure as failure:
                yield "naver", query, failure
                in_a_row += not isinstance(failure, NotKept)
                # Every further query would wait out its retries, or be refused like this one; the feeds still speak.
                if failure.action in ("stop", "alert") or in_a_row == FAILURES_IN_A_ROW:
                    break
            if done == len(queries) or done % max(len(queries) // 10, 1) == 0:
                context.log.info("news search %s: %d of %d queries", window.label, done, len(queries))
    for feed in upstreams.rss:
        if silence := upstreams.silence("rss", "rss"):
            yield feed.source, "", silence
            continue
        try:
            yield feed.source, "", feed.articles()
        except SourceFailure as failure:
            yield feed.source, "", failure


@dg.multi_asset(
    name="collect_news",
    specs=[
        dg.AssetSpec(
            ["raw", "news_articles"],
            deps=[["raw", "stocks"]],
            description=(
                "News articles, one row an article, by the trading day they belong to: what is known on a closed day "
                "belongs to the next session.\n\nSources: Naver Search Open API (the market, and stocks by name, by "
                "tier), Hankyung and Maeil RSS. An article that carries a date and no time counts as known at the end "
                "of that day. Known defect: a search reaches about 1,100 newest articles a query, so old days fill "
                "only as far as that."
            ),
            kinds={"python", "postgres"},
            owners=OWNERS,
            code_version="1",
            metadata={"dagster/table_name": "raw.news_articles"},
        ),
        dg.AssetSpec(
            ["raw", "news_sightings"],
            deps=[["raw", "stocks"]],
            description="Which source and query showed which article first, and when. Append only.",
            kinds={"python", "postgres"},
            owners=OWNERS,
            code_version="1",
            metadata={"dagster/table_name": "raw.news_sightings"},
        ),
    ],
    partitions_def=TRADING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="naver",
)
def news(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> Iterator[dg.MaterializeResult]:
    """Ask every source about the window, keep each article once, in the partition its date belongs to."""
    window = window_of(context)
    tiers = [int(tier) for tier in context.run.tags.get(SEARCHED_TIERS_TAG, SEARCHED_TIERS).split(",")]
    stocks = warehouse.read(
        "raw.stocks",
        columns=["name"],
        where={"tier": tiers, "is_active": True},
        order_by=["tier", "stock_code"],
    )
    found: dict[str, list[tuple[str, Batch[Article]]]] = {}
    states: Counter[tuple[str, str]] = Counter()
    for source, query, answer in _answers(context, upstreams, stocks["name"].tolist(), window):
        if isinstance(answer, Batch):
            found.setdefault(source, []).append((query, answer))
            states[source, "answered"] += 1
        else:
            log = context.log.error if isinstance(answer, SourceFailure) else context.log.warning
            log("%s %s: %s", source, query, answer)
            states[source, str(answer)] += 1
    if not found and any(upstreams.world.records(feed) for feed in ("news", "rss")):
        raise dg.Failure(f"No news source answered about {window.label}. " + " ".join(text for _, text in states))

    results, frames, seen_results, seen_frames, rejects = [], [], [], [], []
    notes: Counter[str] = Counter()
    feeds = {feed.source: feed for feed in upstreams.rss}
    # The current window keeps all it is shown. A closed one keeps to its sessions: the rest of a feed is not stored
    # then, and has to be sent again to whoever asks next.
    keeps_all = window.known_until > upstreams.now()
    for source, batches in found.items():
        label = f"{upstreams.source}{source}"
        answers = [articles_frame(batch.records, source, query) for query, batch in batches]
        articles = newest_versions(pd.concat([a for a, _ in answers]))
        if not keeps_all:
            articles = _inside(articles, window)
        sightings = pd.concat([s for _, s in answers])
        sightings = sightings[sightings["article_id"].isin(articles["article_id"])].drop_duplicates()
        # The row belongs to the source that showed it first: two sources that word one article differently would
        # otherwise replace each other's version at every tick.
        stored = warehouse.read(
            "raw.news_articles",
            columns=["article_id", "source", "title", "excerpt", "content_hash"],
            where={"article_id": articles["article_id"].tolist()},
        )
        others = stored.loc[stored["source"] != label, "article_id"]
        articles = articles[~articles["article_id"].isin(others)].reset_index(drop=True)
        if source in SEARCHES:
            articles = with_first_snippets(articles, stored.drop(columns="source"))
        results.append(warehouse.load("raw.news_articles", articles, Scope(days=None), complete=False, source=label))
        days = warehouse.read(
            "raw.news_articles",
            columns=["article_id", "trading_day"],
            where={"article_id": sightings["article_id"].unique().tolist()},
        )
        seen_frames.append(sightings.merge(days, on="article_id"))
        seen_results.append(warehouse.append("raw.news_sightings", seen_frames[-1], source=label))
        if source in feeds and keeps_all:
            feeds[source].confirm()
        frames.append(articles)
        notes.update(noted(*(batch.notes for _, batch in batches)))
        notes["texts decoded wrongly and repaired"] += sum(repaired(batch.records) for _, batch in batches)
        source_rejects = [reject for _, batch in batches for reject in batch.rejects]
        warehouse.quarantine(source_rejects, source=label)
        rejects.extend(source_rejects)
    asked = bullets(f"{source}: {count} × {state}" for (source, state), count in states.items())
    if not frames:
        for key in (["raw", "news_articles"], ["raw", "news_sightings"]):
            yield dg.MaterializeResult(asset_key=key, metadata={**nothing("no source to ask"), "sources": asked})
        return
    frame = pd.concat(frames, ignore_index=True)
    yield dg.MaterializeResult(
        asset_key=["raw", "news_articles"],
        metadata={
            **loaded(total(results), frame, instant="published_at", rejects=rejects, columns=SHOWN),
            "sources": asked,
            **notes,
            **usage(upstreams),
        },
    )
    seen = pd.concat(seen_frames, ignore_index=True)
    yield dg.MaterializeResult(
        asset_key=["raw", "news_sightings"],
        metadata={**loaded(total(seen_results), seen, instant="trading_day"), "sources": asked},
    )


def _inside(articles: pd.DataFrame, window: Window) -> pd.DataFrame:
    """The articles that belong to the sessions of ``window``."""
    inside = (articles["known_at"] >= window.known_from) & (articles["known_at"] < window.known_until)
    return articles[inside].reset_index(drop=True)


@dg.asset(
    key=["text", "article_clusters"],
    deps=[["raw", "news_articles"]],
    partitions_def=TRADING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"python", "postgres"},
    owners=OWNERS,
    code_version="1",
    metadata={"dagster/table_name": "text.article_clusters"},
)
def article_clusters(context: dg.AssetExecutionContext, warehouse: dg.ResourceParam[Warehouse]) -> dg.MaterializeResult:
    """Exact duplicates folded, members kept: the same normalised title of the same press within 24 hours is one
    cluster.

    Grain: one row an article. `cluster_id` is the article that was known first; forecasts are made for it alone.
    """
    window = window_of(context)
    # It reads, computes and replaces the window: of two at once the staler would retire what the newer had found.
    with warehouse.exclusive("article clusters"):
        # The first session's articles may repeat ones of the session before: clusters look back 24 hours.
        earlier = krx.previous_session(window.first.day).day
        articles = warehouse.read(
            "raw.news_articles",
            columns=["article_id", "url", "title", "press", "published_at", "is_date_only", "known_at", "trading_day"],
            days=(earlier, window.last.day),
        )
        # Of the session before only the first-known members count: a repeat of theirs must not start a cluster of its
        # own here, when a run over both sessions would have found the first.
        told = warehouse.read("text.article_clusters", columns=["article_id", "cluster_id"], days=(earlier, earlier))
        repeats = told.loc[told["article_id"] != told["cluster_id"], "article_id"]
        articles = articles[~articles["article_id"].isin(repeats)]
        clusters = fold(articles.drop(columns="trading_day")).merge(
            articles[["article_id", "trading_day"]], on="article_id"
        )
        clusters = clusters[clusters["trading_day"] >= window.first.day].reset_index(drop=True)
        result = warehouse.load(
            "text.article_clusters", clusters, Scope(window.days), complete=True, source="text.duplicates"
        )
    folded = int((clusters["article_id"] != clusters["cluster_id"]).sum())
    return dg.MaterializeResult(metadata={**loaded(result, clusters, instant="known_at"), "folded": folded})


@dg.asset(
    key=["text", "mentions"],
    deps=[["raw", "news_articles"], ["raw", "stocks"]],
    partitions_def=TRADING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"python", "postgres"},
    owners=OWNERS,
    code_version="1",
    metadata={"dagster/table_name": "text.mentions"},
)
def mentions(context: dg.AssetExecutionContext, warehouse: dg.ResourceParam[Warehouse]) -> dg.MaterializeResult:
    """Companies named in titles and excerpts: leftmost-longest over names and aliases, several an article.

    Grain: one row an article, field, place and stock. Known defect: a headline that names only the group ("현대차그룹",
    "삼성") names no issuer and has no row here.
    """
    window = window_of(context)
    # As for the clusters: one at a time.
    with warehouse.exclusive("mentions"):
        articles = warehouse.read(
            "raw.news_articles",
            columns=["article_id", "title", "excerpt", "known_at", "trading_day"],
            days=(window.first.day, window.last.day),
        )
        stocks = warehouse.read("raw.stocks", columns=["stock_code", "name", "aliases", "delisted_on"])
        frame = mentions_frame(MentionFinder(stocks), articles)
        result = warehouse.load("text.mentions", frame, Scope(window.days), complete=True, source="text.mentions")
    metadata = loaded(
        result, frame, instant="known_at", columns=["stock_code", "surface", "field", "method", "trading_day"]
    )
    most = frame["stock_code"].value_counts().head(10).rename_axis("stock_code").reset_index(name="mentions")
    return dg.MaterializeResult(
        metadata={
            **metadata,
            "articles": len(articles),
            "articles with a mention": int(frame["article_id"].nunique()),
            "most mentioned": table(most),
        }
    )
