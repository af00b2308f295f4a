"""Article pages without Dagster: HTML is decoded once, and a page is read once a version."""

import logging
from datetime import timedelta

import pandas as pd

from azak_assets.ingest.pages import collect_pages
from azak_assets.text.articles import articles_frame
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse
from tests.ingest.text_sources import NOW, Upstream
from tests.text.test_articles import Record

LOG = logging.getLogger("test")


def test_a_page_is_decoded_once_and_read_once(warehouse: Warehouse, upstream: Upstream) -> None:
    records = [
        Record(f"소식 {n}", f"https://www.mk.co.kr/news/stock/{n}", published_at=NOW - timedelta(hours=n))
        for n in (1, 2)
    ]
    frame = articles_frame(records, "mk", "").articles
    warehouse.load("raw.news_articles", frame, Scope(days=None), complete=False, source="mk")
    days = warehouse.read("raw.news_articles", columns=["trading_day"])["trading_day"]
    upstream.pages = {1: "<p>BTC&amp;ETH</p><p>코드 &amp;lt;b&amp;gt; ?a=1&amp;copy=2</p>"}

    def collect(extent: str) -> pd.DataFrame:
        report = collect_pages(
            warehouse, upstream.reader(), days.min(), days.max(), extent=extent, source="article pages", log=LOG
        )
        assert report.notes["left for the next run"] == 0
        return warehouse.read("raw.article_bodies", order_by=["url"])

    first = collect("full")
    assert first["status"].tolist() == ["read", "gone"]
    assert first["text"].tolist()[0] == "BTC&ETH\n코드 &lt;b&gt; ?a=1&copy=2"
    asked = len(upstream.server.requests)
    collect("full")
    assert len(upstream.server.requests) == asked
