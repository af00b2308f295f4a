"""Posts of a few subreddits, by trading day.

Belongs here: declaring their table. Posts are text beside the news and not news: no clusters, mentions or forecasts are
made of them. Does not belong here: asking for them (`ingest.reddit`).
"""

import dagster as dg

from azak_assets.defs.failures import failures_of, skip_unless_available
from azak_assets.defs.reporting import metadata_of, usage
from azak_assets.defs.tables import table_asset
from azak_assets.defs.windows import window_of
from azak_assets.ingest.reasons import Reason
from azak_assets.ingest.report import StepReport
from azak_assets.runtime import Upstreams
from azak_assets.warehouse.warehouse import Warehouse

GONE = "nothing was asked: Reddit lists the posts of the last 24 hours, the past cannot be asked for"


@table_asset("raw.reddit_posts", owner="news", pool="reddit")
def reddit_posts(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult[None]:
    """Posts of r/stocks, r/investing, r/Korea_Stock and r/StockMarket with 10 upvotes and 2 comments within 24 hours.

    Grain: one row a post, in the trading day it became known on. Source: Reddit through PRAW, half of each listing
    `new`, half `hot`; optional. Score and comments are those of the moment a version was first seen: a forecast may see
    no later ones, and their further course is not kept. An edited text, or an account that is gone, is a new version.
    Known defects: the past cannot be asked for, so that a tick missed for a day is lost; a post removed after it was
    seen stays.
    """
    from azak_assets.ingest.reddit import collect_posts  # noqa: PLC0415 - pandas: runs only

    if skipped := skip_unless_available(context, upstreams, "reddit", "reddit"):
        return skipped
    if window_of(context).known_until <= upstreams.now():
        return dg.MaterializeResult(metadata=metadata_of(StepReport.without_rows(Reason.PAST_REACH, GONE)))
    with failures_of("Reddit"):
        report = collect_posts(warehouse, upstreams.reddit, source=f"{upstreams.source}reddit", log=context.log)
    return dg.MaterializeResult(metadata={**metadata_of(report), **usage(upstreams)})
