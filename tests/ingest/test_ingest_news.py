"""News without Dagster: what lands of an answer, whose row it is, what is refused, and when a feed is confirmed."""

import logging
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from azak_assets import krx
from azak_assets.ingest.clusters import make_clusters
from azak_assets.ingest.failures import CollectError
from azak_assets.ingest.mentions import make_mentions
from azak_assets.ingest.news import NewsReport, NewsWindow, collect_news
from azak_assets.ingest.reasons import Reason
from azak_assets.warehouse.warehouse import Warehouse
from tests.ingest.text_sources import NOW, Upstream, item

LOG = logging.getLogger("test")
TODAY = krx.session(NOW.date())
KNOWN_FROM, KNOWN_UNTIL = krx.news_window(TODAY.day)


def collect(warehouse: Warehouse, upstream: Upstream, *, is_open: bool = True, **changes: Any) -> NewsReport:
    given: dict[str, Any] = {
        "search": upstream.naver(), "feeds": [upstream.rss()], "names": ["케이티앤지"], "skipped": {}, **changes,
    }  # fmt: skip
    window = NewsWindow(NOW - timedelta(days=1), KNOWN_FROM, KNOWN_UNTIL, is_open, str(TODAY.day))
    return collect_news(warehouse, given.pop("search"), given.pop("feeds"), window=window, source="", log=LOG, **given)


def titles(warehouse: Warehouse) -> dict[str, str]:
    """Source by title."""
    rows = warehouse.read("raw.news_articles", columns=["title", "source"])
    return dict(zip(rows["title"], rows["source"], strict=True))


def test_each_article_lands_once_as_it_was_written(warehouse: Warehouse, upstream: Upstream) -> None:
    upstream.found["증시"] = [
        item(1, "<b>BTC</b>&amp;ETH 강세", description="?id=1&amp;copy=2&amp;lang=ko"),
        item(2, "신용등급 &lt;A&gt; 유지"),
    ]
    upstream.found["케이티앤지"] = [item(1, "BTC&amp;ETH 강세", description="다른 발췌")]
    upstream.feed = [(2, "신용등급 &lt;A&gt; 유지"), (3, "KT&G, 3분기 R&D 확대")]
    report = collect(warehouse, upstream)
    assert titles(warehouse) == {"BTC&ETH 강세": "naver", "신용등급 <A> 유지": "naver", "KT&G, 3분기 R&D 확대": "mk"}
    excerpts = warehouse.read("raw.news_articles", columns=["excerpt"], where={"title": ["BTC&ETH 강세"]})
    assert excerpts["excerpt"].tolist() == ["?id=1&copy=2&lang=ko"], "the fuller one"
    assert (report.articles.rows, report.articles.inserted) == (3, 3)
    assert report.sightings.inserted == 5, "by source, query and article"
    assert report.outcomes == {("naver", "answered"): 4, ("mk", "answered"): 1}
    again = collect(warehouse, upstream).articles
    assert (again.inserted, again.changed) == (0, 0)


@pytest.mark.parametrize("title", ["&nbsp;", "\u200b", "\ufeff", "<b></b>", "\ud83d"])
def test_an_item_without_a_readable_title_is_refused_and_the_rest_lands(
    warehouse: Warehouse, engine: sa.Engine, upstream: Upstream, title: str
) -> None:
    upstream.found["증시"] = [item(1, "코스피 상승"), item(2, title)]
    upstream.feed = [(3, "코스닥 하락")]
    answer = collect(warehouse, upstream)
    assert set(titles(warehouse)) == {"코스피 상승", "코스닥 하락"}
    (refused,) = answer.articles.rejects
    assert (refused.field, refused.reason) == ("title", "holds nothing that can be read")
    with engine.connect() as connection:
        kept = connection.execute(sa.text("select source, field from ops.rejected_records")).all()
    assert kept == [("naver", "title")]


def test_a_closed_window_keeps_its_own_articles_and_confirms_no_feed(warehouse: Warehouse, upstream: Upstream) -> None:
    upstream.feed = [(1, "코스피 상승")]
    upstream.found["증시"] = [item(2, "어제 소식", at=KNOWN_FROM - timedelta(minutes=1)), item(3, "오늘 소식")]
    collect(warehouse, upstream, is_open=False)
    assert set(titles(warehouse)) == {"코스피 상승", "오늘 소식"}
    assert upstream.validators.kept == {}
    collect(warehouse, upstream)
    assert upstream.validators.kept == {"mk /rss/50200011/": {"if-none-match": "1"}}


def test_a_source_that_fails_leaves_the_others_and_all_that_fail_are_an_error(
    warehouse: Warehouse, upstream: Upstream
) -> None:
    upstream.attempts = 1
    upstream.feed = [(1, "코스피 상승")]
    upstream.refused["/v1/search/news.json"] = 503
    report = collect(warehouse, upstream)
    assert set(titles(warehouse)) == {"코스피 상승"}
    assert sum(count for (source, _), count in report.outcomes.items() if source == "naver") == 3, "failures in a row"
    upstream.refused["/rss/50200011/"] = 403
    with pytest.raises(CollectError, match="No news source answered about 2026-11-18"):
        collect(warehouse, upstream)


def test_without_a_source_to_ask_there_is_a_state_and_no_failure(warehouse: Warehouse, upstream: Upstream) -> None:
    report = collect(warehouse, upstream, search=None, feeds=[], skipped={"naver": "not recorded"})
    assert (report.articles.reasons, report.articles.rows) == ([Reason.NO_SOURCE], 0)
    assert report.sightings.lists["sources"] == ["naver: 1 × not recorded"]


def test_clusters_and_mentions_follow_from_what_landed(warehouse: Warehouse, upstream: Upstream) -> None:
    upstream.found["증시"] = [
        item(1, "코스피 사상 최고 마감", at=NOW - timedelta(hours=3)),
        item(2, "[종합] 코스피 사상 최고 마감", at=NOW - timedelta(hours=2)),
    ]
    upstream.feed = [(3, "코스닥 하락")]
    collect(warehouse, upstream)
    days = warehouse.read("raw.news_articles", columns=["trading_day"])["trading_day"].unique().tolist()
    clusters = make_clusters(warehouse, days)
    assert (clusters.rows, clusters.notes["folded"]) == (3, 1)
    assert make_clusters(warehouse, days).unchanged == 3
    report, most = make_mentions(warehouse, days)
    assert (report.rows, report.notes["articles"], len(most)) == (0, 3, 0)
