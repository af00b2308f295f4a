"""Exact duplicates of articles: from `raw.news_articles` to `text.article_clusters`.

Belongs here: which articles are compared with those of the sessions in question. Does not belong here: what makes two
articles the same (`text.duplicates`).
"""

from collections.abc import Sequence
from datetime import date

from azak_assets import krx
from azak_assets.ingest.report import StepReport
from azak_assets.text.duplicates import fold
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

ARTICLE_COLUMNS = [
    "article_id", "url", "title", "press", "published_at", "is_date_only", "known_at", "trading_day",
]  # fmt: skip


def make_clusters(warehouse: Warehouse, days: Sequence[date]) -> StepReport:
    """Fold the articles of some trading days, oldest first, and replace their clusters."""
    report = StepReport()
    # It reads, computes and replaces the days: of two at once the staler would retire what the newer had found.
    with warehouse.exclusive("article clusters"):
        # The first session's articles may repeat ones of the session before: clusters look back 24 hours.
        earlier = krx.previous_session(days[0]).day
        articles = warehouse.read("raw.news_articles", columns=ARTICLE_COLUMNS, days=(earlier, days[-1]))
        # Of the session before only the first-known members count: a repeat of theirs must not start a cluster of its
        # own here, when a run over both sessions would have found the first.
        known = warehouse.read("text.article_clusters", columns=["article_id", "cluster_id"], days=(earlier, earlier))
        repeats = known.loc[known["article_id"] != known["cluster_id"], "article_id"]
        articles = articles[~articles["article_id"].isin(repeats)]
        clusters = fold(articles.drop(columns="trading_day")).merge(
            articles[["article_id", "trading_day"]], on="article_id"
        )
        clusters = clusters[clusters["trading_day"] >= days[0]].reset_index(drop=True)
        result = warehouse.load(
            "text.article_clusters", clusters, Scope(tuple(days)), complete=True, source="text.duplicates"
        )
    report.add_load(result, clusters, instant="known_at")
    report.notes["folded"] = int((clusters["article_id"] != clusters["cluster_id"]).sum())
    return report
