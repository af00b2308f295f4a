"""`azak run --replay` as a user runs it: what it leaves, and that running it again changes nothing."""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from azak_assets.cli.environment import CannotStart
from azak_assets.cli.run import checked_range
from azak_assets.settings import REPOSITORY
from azak_assets.warehouse.postgres import server
from tests.homes import FinishedRun, Home, new_home
from tests.integration.replay_folder import COMPANIES, DISTINCT_INSIDE, HALTED, MATCHED

pytestmark = pytest.mark.timeout(900)  # whole runs, on a machine that others use too


@pytest.fixture(scope="module")
def home(finished_run: FinishedRun, recorded_folder: Path) -> Iterator[Home]:
    """What a first run left."""
    with new_home(recorded_folder, like=finished_run.home) as made:
        yield made


def test_every_recorded_bar_is_there_and_the_halt_is_marked(home: Home) -> None:
    assert home.query("select count(*) from raw.daily_bars") == [(len(COMPANIES) * 10,)]
    code, day = HALTED
    assert home.query(
        "select open, high, low, volume, is_halted from raw.daily_bars"
        f" where stock_code = '{code}' and trade_date = '{day}'"
    ) == [(None, None, None, 0, True)]


def test_each_article_is_there_once_in_the_partition_of_its_date(home: Home) -> None:
    assert home.query("select count(*), count(distinct article_id) from raw.news_articles") == [
        (DISTINCT_INSIDE, DISTINCT_INSIDE)
    ]
    by_day = home.query("select trading_day::text, count(*) from raw.news_articles group by 1 order by 1")
    # 2021-12-31 was closed and 2022-01-08 a Saturday: both belong to the Monday after.
    assert by_day == [
        ("2022-01-03", 2),
        ("2022-01-05", 2),
        ("2022-01-10", 2),
        ("2022-01-11", 1),
        ("2022-01-12", 1),
        ("2022-01-13", 1),
    ]


def test_articles_are_matched_to_the_companies_their_headlines_name(home: Home) -> None:
    assert set(home.query("select stock_code, count(*) from marts.matches group by 1")) == MATCHED


def test_an_exact_duplicate_is_one_question(home: Home) -> None:
    assert home.query("select count(*) from text.article_clusters where article_id <> cluster_id") == [(1,)]
    asked = home.query("select count(distinct article_id) from ml.predictions where stock_code = '990040'")
    assert asked == [(1,)]


def test_a_correction_points_at_what_it_corrects(home: Home) -> None:
    assert home.query("select rcept_no, amends_rcept_no, stock_code from raw.disclosures order by 1") == [
        ("20220103000001", None, "990010"),
        ("20220103000002", None, None),
        ("20220104000003", "20220103000001", "990010"),
    ]


def test_every_model_answered_every_question_and_scores_mature_inside_the_window(home: Home) -> None:
    questions = sum(count for _, count in MATCHED) - 1  # the duplicate is folded
    assert set(home.query("select model_id, count(*) from ml.predictions group by 1")) == {
        (model, questions) for model in ("base_rate", "persistence", "gpt-4o", "deepseek-v3.2")
    }
    assert home.query("select distinct origin from ml.predictions") == [("replayed",)]
    status = dict(home.query("select status, count(*) from ml.model_evaluations group by 1"))
    assert sum(status.values()) == questions * 4 * 3
    assert status["matured"] > 0
    assert status["pending"] > 0, "the 20-session horizon ends behind the window"
    assert home.query("select count(*) from ml.model_evaluations where status = 'matured' and brier is null") == [(0,)]
    assert home.query("select count(*) from marts.daily_performance")[0][0] > 0
    assert home.query("select count(*) from marts.evaluation_history")[0][0] > 0


def test_the_index_holds_the_embedded_articles(home: Home) -> None:
    assert home.query("select vectors from ml.faiss_index") == [(DISTINCT_INSIDE,)]


def test_sandbox_rows_say_so(home: Home) -> None:
    assert home.query("select count(*) from raw.daily_bars where source not like 'sandbox replay:%'") == [(0,)]


COUNTS = ("inserted", "changed", "unchanged", "retired", "rejected")
PRICES = {"raw.daily_bars", "raw.index_bars"}  # minutes are not recorded in this folder


def test_every_materialization_tells_its_counts_its_span_and_shows_some_rows(
    home: Home, definitions: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZAK_DAGSTER_DATABASE_URL", server.ensure_running(home.path).url("dagster", driver="psycopg2"))
    monkeypatch.setenv("AZAK_DAGSTER_DIR", str(home.path / "dagster"))
    monkeypatch.setenv("DAGSTER_HOME", str(REPOSITORY))
    with dg.DagsterInstance.get() as instance:
        for key in definitions.resolve_asset_graph().executable_asset_keys:
            name = ".".join(key.path)
            (record,) = instance.fetch_materializations(key, limit=1).records
            materialization = record.asset_materialization
            assert materialization is not None
            told = materialization.metadata
            assert "| --- |" in told["sample"].value or told["sample"].value == "no rows", name
            if name.startswith("staging."):
                continue  # a view has no rows of its own
            assert all(isinstance(told[count].value, int) for count in COUNTS), name
            assert told["earliest"].value <= told["latest"].value, name
            if name in PRICES:
                assert "data:image/png" in told["closes"].value


def test_a_second_run_changes_no_row_and_says_so(home: Home) -> None:
    before = home.state()
    # The newest sessions: what they look back on is read all the same, and Dagster's price is by session.
    newest = ("--from", "2022-01-12", "--to", "2022-01-14", "--replay", str(home.replay))
    again = home.azak("run", *newest)
    assert again.returncode == 0, again.stdout + again.stderr
    assert re.search(r"this run\s+inserted 0, changed 0, unchanged \d+, retired 0, rejected 0", again.stdout), (
        again.stdout
    )
    assert home.state() == before


def test_another_world_is_refused_with_a_way_out(home: Home) -> None:
    refused = home.azak("run", "--from", "2026-11-02", "--to", "2026-11-02", "--seed", "7")
    assert refused.returncode == 1
    assert "replay:" in refused.stderr
    assert "seed:7" in refused.stderr
    assert "AZAK_HOME" in refused.stderr


@pytest.mark.parametrize(
    ("first", "last", "told"),
    [
        ("2026-10-05", "2026-10-06", "2026-10-02"),  # Chuseok substitute: the sessions near it are named
        ("2022-01-05", "2022-01-04", "swap"),
        ("2027-06-01", "2027-06-01", "closes 2027-06-01"),
    ],
)
def test_a_date_that_cannot_be_run_is_one_sentence(first: str, last: str, told: str) -> None:
    with pytest.raises(CannotStart, match=told):
        checked_range(date.fromisoformat(first), date.fromisoformat(last))
