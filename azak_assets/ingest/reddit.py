"""Posts of a few subreddits.

Belongs here: one round over the subreddits, and the frame that it becomes. Does not belong here: which posts count
(`sources.reddit`), cleaning (`text.articles`).
"""

import logging
from typing import TYPE_CHECKING

from azak_assets.ingest.failures import CollectError
from azak_assets.ingest.report import REPAIRED, StepReport
from azak_assets.sources.failures import SourceFailure
from azak_assets.sources.records import Batch, RedditPost
from azak_assets.text.articles import posts_frame
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from azak_assets.sources.reddit import RedditClient

SHOWN = ["published_at", "subreddit", "score", "comments", "title", "author"]


def collect_posts(warehouse: Warehouse, reddit: "RedditClient", *, source: str, log: logging.Logger) -> StepReport:
    """Ask every subreddit once and land the posts, each once.

    Raises:
        CollectError: no subreddit answered.
    """
    batches: dict[str, Batch[RedditPost]] = {}
    failures: dict[str, SourceFailure] = {}
    for name in reddit.subreddits:
        try:
            batches[name] = reddit.posts(name)
        except SourceFailure as failure:
            log.error("r/%s: %s", name, failure)
            failures[name] = failure
            if failure.action in ("wait", "stop"):  # the next subreddit would fare no better
                break
    outcomes = {name: f"{len(batch.records)} posts" for name, batch in batches.items()}
    outcomes |= {name: str(failure) for name, failure in failures.items()}
    lines = [f"r/{name}: {outcomes[name]}" for name in reddit.subreddits if name in outcomes]
    if not batches:
        raise CollectError(f"No subreddit answered. {'; '.join(lines)}")
    report = StepReport(lists={"subreddits": lines})
    posts = {post.post_id: post for batch in batches.values() for post in batch.records}
    frame, repaired = posts_frame(posts.values())
    result = warehouse.load("raw.reddit_posts", frame, Scope(days=None), complete=False, source=source)
    report.add_load(result, frame, instant="published_at", columns=SHOWN)
    report.count(REPAIRED, repaired)
    for batch in batches.values():
        report.add_rejects(batch.rejects)
        for note, count in batch.notes.items():
            report.count(note, count)
    warehouse.quarantine(report.rejects, source=source)
    return report
