"""News by trading day: articles from every source, the sightings of each, exact duplicates and company mentions.

Belongs here: declaring these tables. Does not belong here: how they are made (`ingest.news`, `ingest.clusters`,
`ingest.mentions`). What is known on a closed day belongs to the next session; what is known after a close is traded in
the next one. Matches (article × stock) are a mart, made by dbt.
"""

from collections.abc import Iterator

import dagster as dg

from azak_assets.defs.failures import failures_of
from azak_assets.defs.markdown import table
from azak_assets.defs.reporting import metadata_of, usage
from azak_assets.defs.tables import table_asset, table_spec
from azak_assets.defs.windows import window_of
from azak_assets.partitions import TRADING_DAYS
from azak_assets.runtime import Upstreams
from azak_assets.warehouse.warehouse import Warehouse

SEARCHED_TIERS_TAG = "azak/searched_tiers"
"""Run tag with the tiers whose stocks are searched for by name; a schedule spends its quota by it."""
SEARCHED_TIERS = "1,2"
"""Without the tag, as in a backfill: the lower tiers come with the market's queries and the feeds."""


@dg.multi_asset(
    name="collect_news",
    specs=[
        table_spec(
            "raw.news_articles",
            "News articles, one row an article, by the trading day they belong to: what is known on a closed day "
            "belongs to the next session.\n\nSources: Naver Search Open API (the market, and stocks by name, by "
            "tier), Hankyung and Maeil RSS. An article that carries a date and no time counts as known at the end "
            "of that day. Known defect: a search reaches about 1,100 newest articles a query, so old days fill "
            "only as far as that.",
            owner="news",
            deps=["raw.stocks"],
        ),
        table_spec(
            "raw.news_sightings",
            "Which source and query showed which article first, and when. Append only.",
            owner="news",
            deps=["raw.stocks"],
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
) -> Iterator[dg.MaterializeResult[None]]:
    """Ask every source about the window, keep each article once, in the partition its date belongs to."""
    from azak_assets.ingest.news import NewsWindow, collect_news, searched_names  # noqa: PLC0415 - pandas: runs only

    window, now = window_of(context), upstreams.now()
    no_search, no_feeds = upstreams.why_unavailable("news", "naver"), upstreams.why_unavailable("rss", "rss")
    skipped = {} if no_search is None else {"naver": str(no_search)}
    skipped |= {} if no_feeds is None else {feed.source: str(no_feeds) for feed in upstreams.rss}
    tiers = [int(tier) for tier in context.run.tags.get(SEARCHED_TIERS_TAG, SEARCHED_TIERS).split(",")]
    with failures_of(f"news {window.label}"):
        report = collect_news(
            warehouse,
            None if no_search else upstreams.naver,
            [] if no_feeds else upstreams.rss,
            names=searched_names(warehouse, tiers),
            window=NewsWindow(
                asked_from=window.asked_from(now),
                known_from=window.known_from,
                known_until=window.known_until,
                is_open=now < window.known_until,
                label=window.label,
            ),
            skipped=skipped,
            source=upstreams.source,
            log=context.log,
        )
    yield dg.MaterializeResult(
        asset_key=["raw", "news_articles"], metadata={**metadata_of(report.articles), **usage(upstreams)}
    )
    yield dg.MaterializeResult(asset_key=["raw", "news_sightings"], metadata=metadata_of(report.sightings))


@table_asset("text.article_clusters", owner="news", deps=["raw.news_articles"])
def article_clusters(
    context: dg.AssetExecutionContext, warehouse: dg.ResourceParam[Warehouse]
) -> dg.MaterializeResult[None]:
    """Exact duplicates folded, members kept: the same normalised title of the same press within 24 hours is one
    cluster.

    Grain: one row an article. `cluster_id` is the article that was known first; forecasts are made for it alone.
    """
    from azak_assets.ingest.clusters import make_clusters  # noqa: PLC0415 - pandas: runs only

    return dg.MaterializeResult(metadata=metadata_of(make_clusters(warehouse, window_of(context).days)))


@table_asset("text.mentions", owner="news", deps=["raw.news_articles", "raw.stocks"])
def mentions(context: dg.AssetExecutionContext, warehouse: dg.ResourceParam[Warehouse]) -> dg.MaterializeResult[None]:
    """Companies named in titles and excerpts: leftmost-longest over names and aliases, several an article.

    Grain: one row an article, field, place and stock. Known defect: a headline that names only the group ("현대차그룹",
    "삼성") names no issuer and has no row here.
    """
    from azak_assets.ingest.mentions import make_mentions  # noqa: PLC0415 - pandas: runs only

    report, most = make_mentions(warehouse, window_of(context).days)
    return dg.MaterializeResult(metadata={**metadata_of(report), "most mentioned": table(most)})
