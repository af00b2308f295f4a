"""A source that falls silent is heard of."""

from datetime import date

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa

from azak_assets import krx
from azak_assets.warehouse.warehouse import Warehouse

DAYS = [session.day for session in krx.sessions(date(2026, 11, 2), date(2026, 11, 13))]


@pytest.fixture
def evaluated(definitions: dg.Definitions, engine: sa.Engine):
    from azak_assets.defs.news.checks import no_source_is_silent  # noqa: PLC0415 - the definitions come first

    def evaluate(*heard: tuple[str, list[date]]) -> dg.AssetCheckResult:
        warehouse = Warehouse(engine, run_id="test")
        for source, days in heard:
            articles = [f"{source} {day}" for day in days]
            frame = pd.DataFrame({"article_id": articles, "query": "증시", "trading_day": days})
            warehouse.append("raw.news_sightings", frame, source=source)
        return no_source_is_silent(warehouse)

    return evaluate


def test_sources_that_all_speak_pass(evaluated) -> None:
    assert evaluated(("naver", DAYS), ("mk", DAYS[:-2])).passed


def test_a_source_without_news_for_three_sessions_is_named(evaluated) -> None:
    result = evaluated(("naver", DAYS), ("mk", DAYS[:-3]))
    assert not result.passed
    assert result.description == (
        "mk has shown nothing since 2026-11-10; see its failures in the materializations of raw/news_articles."
    )


def test_no_news_at_all_is_no_verdict_on_a_source(evaluated) -> None:
    assert evaluated().passed
