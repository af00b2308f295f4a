"""January 2022 as it was recorded, through every step: what must be left of it. Long; runs with `make soak`."""

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.homes import Home, new_home

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

WINDOW = ("--from", "2022-01-03", "--to", "2022-01-28")
MOST_S = 600


@pytest.fixture(scope="module")
def folder(recorded_data: Path) -> Path:
    return recorded_data / "2022-01"


@pytest.fixture(scope="module")
def january(folder: Path) -> Iterator[Home]:
    with new_home(folder) as home:
        started = time.monotonic()
        finished = run(home)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        assert time.monotonic() - started < MOST_S
        yield home


def run(home: Home) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        home.command("run", *WINDOW, "--replay", str(home.replay)),
        env=home.environment,
        capture_output=True,
        text=True,
        timeout=2 * MOST_S,
        check=False,
    )


def test_every_bar_is_there_to_the_won_and_halts_are_kept(january: Home, folder: Path) -> None:
    file = pd.read_csv(folder / "daily_bars.csv.gz", dtype={"stock_code": str})
    halted = (file["volume"] == 0) & (file["open"] == 0)
    assert january.query("select count(*), sum(volume), sum(turnover_krw) from raw.daily_bars") == [
        (52_171, int(file["volume"].sum()), int(file["turnover_krw"].sum()))
    ]
    assert january.query(
        "select count(*), count(open), count(high), count(low), min(close) from raw.daily_bars where is_halted"
    ) == [(int(halted.sum()), 0, 0, 0, int(file.loc[halted, "close"].min()))]


def test_each_article_is_there_once_on_its_day_and_matched_where_it_names_a_company(january: Home) -> None:
    assert january.query("select count(*), count(distinct article_id) from raw.news_articles") == [(600, 600)]
    # Only a date is known: an article counts as known at its end, and belongs to the first session from there.
    assert january.query(
        "select count(*) from raw.news_articles a where trading_day <> (select min(trade_date) from"
        " raw.trading_sessions s where s.trade_date >= (a.published_at at time zone 'Asia/Seoul')::date)"
    ) == [(0,)]
    for code, name in (("005380", "현대차"), ("323410", "카카오뱅크")):
        # The group and the broker are other names.
        others = " and ".join(f"title not like '%{name}{other}%'" for other in ("그룹", " 그룹", "證"))
        named = f"title like '%{name}%' and {others}"
        matched = f"article_id in (select article_id from marts.matches where stock_code = '{code}')"
        ((all_named, found),) = january.query(
            f"select count(*), count(*) filter (where {matched}) from raw.news_articles where {named}"
        )
        assert found >= 0.98 * all_named > 0, name


def test_the_filings_of_new_year_are_there_with_their_stocks(january: Home) -> None:
    assert january.query("select count(*), min(rcept_dt)::text, max(rcept_dt)::text from raw.disclosures") == [
        (497, "2021-12-31", "2022-01-03")
    ]
    assert january.query(
        "select count(*) from raw.disclosures d join raw.corp_codes c using (corp_code)"
        " where d.stock_code is distinct from c.stock_code and c.stock_code is not null"
    ) == [(0,)]


def test_forecasts_mature_as_far_as_the_window_reaches(january: Home) -> None:
    assert january.query("select vectors from ml.faiss_index") == january.query(
        "select count(*) from ml.news_embeddings"
    )
    last = "'2022-01-28'"
    assert january.query(
        f"select count(*) from ml.model_evaluations where (status = 'pending') <> (exit_day > {last})"
        " and status <> 'censored'"
    ) == [(0,)]
    assert {row[0] for row in january.query("select distinct status from ml.model_evaluations")} == {
        "matured",
        "pending",
        "censored",
    }
    for mart in ("daily_performance", "evaluation_history"):
        assert january.query(f"select count(distinct exit_day) > 15 from marts.{mart}") == [(True,)]


def test_a_second_run_changes_no_row(january: Home) -> None:
    before = january.state()
    again = run(january)
    assert again.returncode == 0, again.stdout + again.stderr
    assert re.search(r"this run\s+inserted 0, changed 0, unchanged \d+, retired 0, rejected 0", again.stdout)
    assert january.state() == before
