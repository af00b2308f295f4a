"""Posts of a few subreddits, by trading day.

Belongs here: collecting posts. They are text beside the news and not news: no clusters, mentions or forecasts are made
of them.
"""

from collections import Counter

import dagster as dg

from azak_assets.defs.failures import skip_unless_available
from azak_assets.defs.markdown import bullets
from azak_assets.defs.reporting import loaded, nothing, usage
from azak_assets.defs.windows import window_of
from azak_assets.partitions import TRADING_DAYS
from azak_assets.runtime import Upstreams
from azak_assets.sources.failures import SourceFailure
from azak_assets.sources.records import RedditPost, Reject
from azak_assets.text.articles import posts_frame
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

SHOWN = ["published_at", "subreddit", "score", "comments", "title", "author"]
GONE = "nothing was asked: Reddit lists the posts of the last 24 hours, the past cannot be asked for"


@dg.asset(
    key=["raw", "reddit_posts"],
    partitions_def=TRADING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"python", "postgres"},
    owners=["team:news"],
    code_version="1",
    pool="reddit",
    metadata={"dagster/table_name": "raw.reddit_posts"},
)
def reddit_posts(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult:
    """Posts of r/stocks, r/investing, r/Korea_Stock and r/StockMarket with 10 upvotes and 2 comments within 24 hours.

    Grain: one row a post, in the trading day it became known on. Source: Reddit through PRAW, half of each listing
    `new`, half `hot`; optional. Score and comments are those of the moment a version was first seen: a forecast may see
    no later ones, and their further course is not kept. An edited text, or an account that is gone, is a new version.
    Known defects: the past cannot be asked for, so that a tick missed for a day is lost; a post removed after it was
    seen stays.
    """
    if skipped := skip_unless_available(context, upstreams, "reddit", "reddit"):
        return skipped
    window = window_of(context)
    if window.known_until <= upstreams.now():
        return dg.MaterializeResult(metadata=nothing(GONE))
    posts: dict[str, RedditPost] = {}
    rejects: list[Reject] = []
    told: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    for name in upstreams.reddit.subreddits:
        try:
            batch = upstreams.reddit.posts(name)
        except SourceFailure as failure:
            context.log.error("r/%s: %s", name, failure)
            told[name] = str(failure)
            if failure.action in ("wait", "stop"):  # the next one would fare no better
                break
            continue
        told[name] = f"{len(batch.records)} posts"
        posts.update({post.post_id: post for post in batch.records})
        rejects.extend(batch.rejects)
        left_out.update(batch.notes)
    asked = [f"r/{name}: {state}" for name, state in told.items()]
    if not any(state.endswith(" posts") for state in told.values()):
        raise dg.Failure(f"No subreddit answered. {'; '.join(asked)}", allow_retries=False)
    source = f"{upstreams.source}reddit"
    frame, repaired = posts_frame(posts.values())
    result = warehouse.load("raw.reddit_posts", frame, Scope(days=None), complete=False, source=source)
    warehouse.quarantine(rejects, source=source)
    return dg.MaterializeResult(
        metadata={
            **loaded(result, frame, instant="published_at", rejects=rejects, columns=SHOWN),
            "subreddits": bullets(asked),
            "repaired": repaired,
            **left_out,
            **usage(upstreams),
        }
    )
