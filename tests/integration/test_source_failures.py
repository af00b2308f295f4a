"""A source is unplugged, refuses us or falls silent: who reads what where; and its answers, loaded once more from disk.

The upstreams are the sandbox over a small recorded folder, over real sockets; the steps run in this process.
"""

import dataclasses
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
import sqlalchemy as sa
from rich.console import Console
from tenacity import wait_none

from azak_assets import krx
from azak_assets.cli.ask_sources import ask_sources
from azak_assets.cli.environment import CannotStart
from azak_assets.cli.replay_payloads import Rerun, kept_runs, rerun_all
from azak_assets.defs import failures
from azak_assets.defs.health.sensors import source_health_watch
from azak_assets.defs.health.verdicts import ASSET, EVERY_SOURCE_BRINGS_ROWS, EVERY_UPSTREAM_ANSWERS, verdicts
from azak_assets.loopback import free_port
from azak_assets.partition_tags import PARTITION
from azak_assets.runtime import SystemClock
from azak_assets.sandbox.server import create_app, start_in_thread
from azak_assets.sandbox.worlds.recorded import RecordedWorld
from azak_assets.sandbox.worlds.seeded import SeededWorld
from azak_assets.sandbox.worlds.world import Article, DailyBar, UpstreamData
from azak_assets.settings import Settings
from azak_assets.sources import transport
from azak_assets.warehouse.calls import recordings
from azak_assets.warehouse.postgres import database as databases
from azak_assets.warehouse.postgres import stamp
from azak_assets.warehouse.warehouse import Warehouse
from tests.databases import fresh_database
from tests.harness import at, tags_of_range
from tests.homes import OF_THE_RUN, RUN_COLUMNS
from tests.integration.replay_folder import COMPANIES, FIRST, LAST

# Dagster's own, when it makes a resource that needs another.
pytestmark = pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning")

FOR_EVER = 100_000
RANGE = tags_of_range(FIRST, LAST)
DAILY = [["raw", name] for name in ("daily_bars", "index_bars", "disclosures", "news_articles", "news_sightings")]
REFERENCE = [["raw", "stocks"], ["raw", "corp_codes"]]


class Correctable(RecordedWorld):
    """The recorded world with a headline in each feed, and a close that the exchange corrects when told to."""

    is_corrected = False

    def headlines(self, press: str, now: datetime, limit: int) -> list[Article]:
        at = datetime(2022, 1, 3, 10, tzinfo=krx.KST)
        return [Article("가온누리전자 오전 강세", "", press, "", f"https://{press}.example.com/1", at)]

    def daily_bars(self, code: str, first: date, last: date, now: datetime, *, adjusted: bool) -> list[DailyBar]:
        bars = super().daily_bars(code, first, last, now, adjusted=adjusted)
        if not self.is_corrected or code != "990010":
            return bars
        return [dataclasses.replace(bar, volume=bar.volume + 1) for bar in bars]


def playing(folder: Path) -> Correctable:
    told = Correctable(folder)
    told.feeds = (*told.feeds, "rss")
    return told


@pytest.fixture
def recorded(recorded_folder: Path) -> Correctable:
    return playing(recorded_folder)


@contextmanager
def sandbox_process(recorded: UpstreamData, folder: Path, database: str) -> Iterator[str]:
    """The environment of a process in the sandbox's world; the sandbox's address."""
    with pytest.MonkeyPatch.context() as patch, start_in_thread(create_app(recorded)) as url:
        for name in [name for name in os.environ if name.startswith(("AZAK_", "KIS_", "OPENDART_", "NAVER_"))]:
            patch.delenv(name)
        patch.setattr(transport, "_backoff", wait_none())
        patch.setattr(failures, "RETRY_AFTER_S", 0)
        for name, value in {
            "AZAK_HOME": str(folder), "AZAK_MODE": "sandbox", "AZAK_SANDBOX_URL": url, "AZAK_DATABASE_URL": database,
        }.items():  # fmt: skip
            patch.setenv(name, value)
        yield url


@pytest.fixture
def home(tmp_path: Path, database: str, recorded: Correctable) -> Iterator[str]:
    """A new home and an empty database; the sandbox's address."""
    with sandbox_process(recorded, tmp_path / "home", database) as url:
        yield url


def order(url: str, path: str, kind: str, times: int = FOR_EVER) -> None:
    httpx.post(f"{url}/sandbox/faults", json={"path": path, "kind": kind, "times": times}).raise_for_status()


def materialize(
    definitions: dg.Definitions, *assets: list[str], tags: dict[str, str] | None = None
) -> dg.ExecuteInProcessResult:
    """As `azak run` does, with the resources that the environment names."""
    with dg.DagsterInstance.ephemeral() as instance:
        return definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(path) for path in assets],
            tags=tags,
            raise_on_error=False,
        )


@pytest.fixture
def make(definitions: dg.Definitions, home: str) -> Callable[..., dg.ExecuteInProcessResult]:
    """Materialize assets."""
    return partial(materialize, definitions)


def told_in(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """The metadata of the step that failed, and its words."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data
    told = data.user_failure_data
    assert told is not None
    return {"said": told.description, **{name: value.value for name, value in (told.metadata or {}).items()}}


@pytest.mark.parametrize(
    ("kind", "cause", "action"),
    [("403", "Blocked", "alert"), ("401", "Unauthorized", "stop"), ("html", "ContractChanged", "alert")],
)
def test_a_failed_asset_shows_whose_failure_it_is_and_what_is_done_about_it(
    make, home: str, kind, cause, action
) -> None:
    order(home, "/opendart", kind)
    told = told_in(make(["raw", "corp_codes"]))
    assert (told["upstream"], told["cause"]) == ("opendart", cause)
    assert told["policy"].startswith(f"{action}: ")
    assert told["calls"] == "1 calls today of 20000"
    assert told["said"].startswith("company codes: opendart: ")


def test_a_failure_that_was_tried_again_shows_it_too(make, home: str) -> None:
    order(home, "/opendart", "500")
    result = make(["raw", "corp_codes"])
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    everything = str(failed.step_failure_data.error.to_string())
    assert "upstream: opendart; cause: Unavailable; policy: retry: asked again with growing pauses" in everything


def test_after_a_refusal_the_next_run_asks_nobody_and_says_until_when(make, home: str) -> None:
    order(home, "/opendart", "403", times=1)
    assert not make(["raw", "corp_codes"]).success
    told = told_in(make(["raw", "corp_codes"]))
    assert "not asked before" in told["said"]
    assert told["cause"] == "Blocked"
    assert "calls" not in told, "nobody was asked"


def test_a_feed_that_lands_shows_its_calls_and_the_quota(make) -> None:
    result = make(["raw", "corp_codes"])
    assert result.success
    (made,) = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
    assert made.metadata["calls"].value == "* opendart: 1 calls of this run so far, 1 today of 20000 (0%)"


@pytest.fixture
def look(engine: sa.Engine) -> Iterator[Callable[[], dict[str, tuple[str, str]] | str]]:
    """A tick of the sensor, its events reported as the daemon does; what the checks then say, or why it skipped."""
    with dg.DagsterInstance.ephemeral() as instance:
        cursor: list[str | None] = [None]

        def tick() -> dict[str, tuple[str, str]] | str:
            context = dg.build_sensor_context(
                instance=instance, cursor=cursor[0], resources={"warehouse": Warehouse(engine, run_id="")}
            )
            said = source_health_watch(context)
            if isinstance(said, dg.SkipReason):
                return said.skip_message
            cursor[0] = said.cursor
            for event in said.asset_events:
                instance.report_runless_asset_event(event)
            made = instance.get_latest_materialization_event(ASSET)
            assert made is not None
            assert made.asset_materialization.metadata["rows"].value == len(
                Warehouse(engine, run_id="").source_health()
            )
            keys = [dg.AssetCheckKey(ASSET, name) for name in (EVERY_UPSTREAM_ANSWERS, EVERY_SOURCE_BRINGS_ROWS)]
            found = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
            return {
                key.name: (record.status.value, record.event.dagster_event.asset_check_evaluation_data.description)
                for key, record in found.items()
            }

        yield tick


def test_an_unplugged_source_is_read_in_the_ui_with_who_since_when_why_and_what_to_do(
    make, home: str, look, recorded: Correctable, monkeypatch: pytest.MonkeyPatch, engine: sa.Engine
) -> None:
    assert make(["raw", "corp_codes"]).success
    assert look() == {EVERY_UPSTREAM_ANSWERS: ("SUCCEEDED", ""), EVERY_SOURCE_BRINGS_ROWS: ("SUCCEEDED", "")}
    assert look() == "Nothing has changed. Every upstream answers."
    order(home, "/opendart", "500")
    assert not make(["raw", "corp_codes"]).success
    status, said = look()[EVERY_UPSTREAM_ANSWERS]
    assert status == "FAILED"
    with engine.connect() as connection:
        dates = "(failing_since at time zone 'Asia/Seoul')::date, (last_success_at at time zone 'Asia/Seoul')::date"
        failing_since, last_success = connection.execute(
            sa.text(f"select {dates} from ops.source_health where upstream = 'opendart'")
        ).one()
    for words in (
        f"opendart fails since {failing_since}", f"(Unavailable; last success {last_success}", "HTTP 500",
        "The upstream has trouble: the run may be repeated later", "What is done: retry, asked again",
    ):  # fmt: skip
        assert words in said
    assert look().startswith("Nothing has changed. opendart fails since")
    (verdict, _) = verdicts(Warehouse(engine, run_id=""))
    assert verdict.severity is dg.AssetCheckSeverity.WARN
    with engine.begin() as connection:
        connection.execute(sa.text("update ops.source_health set failing_since = failing_since - interval '2 hours'"))
    (verdict, _) = verdicts(Warehouse(engine, run_id=""))
    assert verdict.severity is dg.AssetCheckSeverity.ERROR, "an hour without an answer is no hiccup"
    with start_in_thread(create_app(recorded)) as mended:
        monkeypatch.setenv("AZAK_SANDBOX_URL", mended)
        assert make(["raw", "corp_codes"]).success
    assert look()[EVERY_UPSTREAM_ANSWERS] == ("SUCCEEDED", "")


def test_a_source_that_answers_with_nothing_for_three_sessions_is_read_in_the_ui(look, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "insert into ops.feeds values ('mk', 'raw.news_articles', now(), now() - interval '9 days', 3,"
                " current_date), ('paper account', 'raw.minute_bars', now(), null, 90, current_date)"
            )
        )
    status, said = look()[EVERY_SOURCE_BRINGS_ROWS]
    assert status == "FAILED"
    assert said.startswith("mk answers, and has brought no row since ")
    assert "paper account" not in said


def test_the_asset_shows_every_upstream_and_its_checks(make, home: str) -> None:
    order(home, "/opendart", "403", times=1)
    assert not make(["raw", "corp_codes"]).success
    result = make(["ops", "source_health"])
    assert result.success
    (made,) = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
    assert "| opendart | closed until " in made.metadata["sample"].value
    verdict = {one.check_name: one for one in result.get_asset_check_evaluations()}[EVERY_UPSTREAM_ANSWERS]
    assert not verdict.passed
    assert verdict.severity is dg.AssetCheckSeverity.ERROR
    assert "No request is sent before " in str(verdict.description)


# --- azak doctor --sources ------------------------------------------------------------------------------------------


def doctor() -> tuple[bool, str]:
    console = Console(file=io.StringIO(), width=200)
    passed = ask_sources(console)
    return passed, console.file.getvalue()  # type: ignore[attr-defined]


def test_doctor_asks_each_source_and_says_what_it_learnt(home: str) -> None:
    passed, said = doctor()
    assert passed, said
    assert "opendart   the key is good; 0 filings on " in said
    assert "naver      the keys are good; 0 articles about 증시" in said
    assert "mk         the feed has 1 items, the newest of '가온누리전자 오전 강세'" in said
    assert "opendart: 1 calls today of 20000" in said
    assert f"kis-master the files list {len(COMPANIES)} issues" in said
    assert "- krx        not recorded in this world" in said


def test_doctor_asks_the_exchange_and_reddit_where_there_are_any(tmp_path: Path, database: str) -> None:
    with sandbox_process(SeededWorld(1), tmp_path / "home", database):
        passed, said = doctor()
    assert passed, said
    assert re.search(r"✓ krx        the key is good; [1-9]\d* issues of KONEX on 20", said)
    assert re.search(r"✓ reddit     the application is good; \d+ posts of r/", said)


def test_doctor_says_that_a_feed_has_not_changed_since_its_items_were_stored(
    make, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = at("2026-09-07 09:00")
    monkeypatch.setattr(SystemClock, "now", lambda _: now)
    assert make(*REFERENCE).success
    assert make(["raw", "news_articles"], ["raw", "news_sightings"], tags={PARTITION: str(now.date())}).success
    passed, said = doctor()
    assert passed, said
    assert "mk         the feed has not changed since its items were last stored" in said


@pytest.mark.parametrize(
    ("path", "kind", "told"),
    [
        ("/naver", "401", "naver      Unauthorized: HTTP 401"),
        ("/mk", "403", "mk         Blocked: HTTP 403"),
        ("/opendart", "429", "opendart   RateLimited: status 020"),
        ("/hankyung", "html", "hankyung   ContractChanged: no feed came"),
        ("/opendart", "empty", "opendart   Unavailable: HTTP 200 with an empty body"),
    ],
)
def test_doctor_says_each_failure_in_a_sentence_with_what_to_do(home: str, path: str, kind: str, told: str) -> None:
    order(home, path, kind)
    passed, said = doctor()
    assert not passed
    (line,) = [line for line in said.splitlines() if line.startswith("✗")]
    assert line.startswith(f"✗ {told}"), line
    assert "What Azak does: " in line


def test_doctor_says_that_a_source_is_unplugged(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setattr(Settings, "in_sandbox", _with_naver_at(nobody))
    passed, said = doctor()
    assert not passed
    assert "✗ naver      Unavailable: ConnectError: " in said
    assert "✓ hankyung" in said


def _with_naver_at(url: str) -> Callable[[Settings, str], Settings]:
    pointed = Settings.in_sandbox

    def in_sandbox(self: Settings, sandbox: str) -> Settings:
        return pointed(self, sandbox).model_copy(update={"naver_base_url": url})

    return in_sandbox


# --- replays --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loaded_once(
    definitions: dg.Definitions,
    recorded_folder: Path,
    server_url: str,
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, Path]]:
    """A database and its payloads: reference data, everything of the folder, then a session's bars once more after a
    correction, and its filings by their job."""
    folder, recorded = tmp_path_factory.mktemp("loaded"), playing(recorded_folder)
    with fresh_database(server_url, migrated_template) as url, sandbox_process(recorded, folder, url):
        make = partial(materialize, definitions)
        assert make(*REFERENCE).success
        assert make(*DAILY, tags=RANGE).success
        recorded.is_corrected = True
        assert make(["raw", "daily_bars"], tags=tags_of_range(FIRST)).success
        with dg.DagsterInstance.ephemeral() as instance:
            job = definitions.resolve_job_def("disclosures")
            assert job.execute_in_process(instance=instance, partition_key=str(FIRST)).success
        name = sa.make_url(url).database
        assert name is not None
        yield name, folder


@pytest.fixture
def loaded(
    loaded_once: tuple[str, Path], server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[sa.Engine]:
    """A copy of that database, in a home with a copy of its payloads, and no upstream that could be asked."""
    template, folder = loaded_once

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a replay asked an upstream")

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", refuse)
    shutil.copytree(folder / "payloads", tmp_path / "home" / "payloads")
    monkeypatch.setenv("AZAK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AZAK_MODE", "sandbox")
    with fresh_database(server_url, template) as url:
        engine = databases.create_engine(url)
        yield engine
        engine.dispose()


@pytest.fixture
def empty(server_url: str, migrated_template: str) -> Iterator[sa.Engine]:
    """A database at the newest migration, without a row."""
    with fresh_database(server_url, migrated_template) as url:
        engine = databases.create_engine(url)
        yield engine
        engine.dispose()


def replay(engine: sa.Engine) -> tuple[Rerun, str]:
    """Everything that is kept, into a database."""
    console = Console(file=io.StringIO(), width=200)
    runs, of_world = kept_runs(Settings(), engine, date(2020, 1, 1), date(2100, 1, 1))
    told = rerun_all(console, Settings(), engine, of_world, runs)
    return told, console.file.getvalue()  # type: ignore[attr-defined]


def rows(engine: sa.Engine) -> dict[str, list[Any]]:
    """Every raw row, current and past, without what belongs to the run."""
    found: dict[str, list[Any]] = {}
    inspector = sa.inspect(engine)
    for table in inspector.get_table_names("raw"):
        left_out = RUN_COLUMNS | OF_THE_RUN.get(f"raw.{table.removesuffix('_history')}", frozenset())
        columns = [c["name"] for c in inspector.get_columns(table, "raw") if c["name"] not in left_out]
        # The corrected version is known from when it was seen.
        columns = [name for name in columns if (table, name) != ("daily_bars", "known_at")]
        query = sa.select(*map(sa.column, columns)).select_from(sa.table(table, schema="raw"))
        with engine.connect() as connection:
            found[table] = sorted(map(repr, connection.execute(query)))
    return found


def test_a_replay_into_an_empty_database_gives_the_same_rows(loaded: sa.Engine, empty: sa.Engine) -> None:
    told, said = replay(empty)
    assert told.outcome.failures == [], said
    assert told.missing == {}
    assert told.runs == 4
    assert rows(empty) == rows(loaded)
    assert len(rows(empty)["daily_bars"]) > 100
    assert len(rows(empty)["daily_bars_history"]) == 1, "the correction too"
    with empty.connect() as connection:
        runs = connection.execute(sa.text("select distinct run_id from raw.daily_bars")).scalars().all()
        assert connection.execute(sa.text("select count(*) from ops.source_health")).scalar_one() == 0
    assert all(run.startswith("replay of ") for run in runs)
    again, said = replay(empty)
    assert "inserted 0, changed 0" in said
    assert again.outcome.failures == []


def test_a_replay_into_the_same_database_touches_nothing_and_keeps_the_correction(loaded: sa.Engine) -> None:
    before = rows(loaded)
    _, said = replay(loaded)
    assert "inserted 0, changed 0" in said
    assert "retired 0" in said
    assert rows(loaded) == before


def test_a_replay_brings_back_what_was_lost_and_mends_what_is_wrong(loaded: sa.Engine) -> None:
    before = rows(loaded)
    with loaded.begin() as connection:
        connection.execute(sa.text("delete from raw.daily_bars where trade_date = :day"), {"day": LAST})
        connection.execute(sa.text("update raw.disclosures set corp_name = 'wrong'"))
        connection.execute(sa.text("delete from raw.news_articles"))
    told, _ = replay(loaded)
    assert told.outcome.failures == []
    assert told.counts["raw.daily_bars"]["inserted"] == len(COMPANIES)
    after = rows(loaded)
    for table in ("daily_bars", "news_articles"):
        assert after[table] == before[table]
    assert len(after["disclosures"]) == len(before["disclosures"])
    assert not [row for row in after["disclosures"] if "wrong" in row]


def test_a_question_without_a_kept_answer_is_named_and_the_others_land(loaded: sa.Engine, empty: sa.Engine) -> None:
    (kept_world,) = recordings.worlds(Settings().azak_home)
    for run in recordings.runs(
        recordings.folder_of(Settings().azak_home, kept_world), date(2020, 1, 1), date(2100, 1, 1)
    ):
        for (_, path, _), kept in run.answers.items():
            if "FID_INPUT_ISCD=990020" in path:
                kept.body.unlink(missing_ok=True)
    told, said = replay(empty)
    assert told.outcome.failures == []
    assert all("FID_INPUT_ISCD=990020" in path for _, path, _ in told.missing)
    assert "questions have no kept answer" in said
    assert "FID_INPUT_ISCD=990020" in said
    with empty.connect() as connection:
        stocks = connection.execute(sa.text("select distinct stock_code from raw.daily_bars")).scalars().all()
    assert set(stocks) == set(COMPANIES) - {"990020"}


def test_payloads_of_another_world_are_refused(loaded: sa.Engine, empty: sa.Engine) -> None:
    stamp.stamp(empty, "seed:9")
    with pytest.raises(stamp.WorldMismatch, match="seed:9"):
        kept_runs(Settings(), empty, FIRST, LAST)


def test_a_replay_in_the_wrong_mode_is_refused(
    loaded: sa.Engine, empty: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZAK_MODE", "live")
    with pytest.raises(CannotStart, match="the mode is live: worlds never mix"):
        kept_runs(Settings(), loaded, FIRST, LAST)
    with pytest.raises(CannotStart, match="which of them is meant is open"):
        kept_runs(Settings(), empty, FIRST, LAST)


def test_days_without_payloads_are_named(loaded: sa.Engine) -> None:
    today = datetime.now(krx.KST).date()
    with pytest.raises(CannotStart, match=f"No answers of 2022-01-03 .* kept are .* {today}"):
        kept_runs(Settings(), loaded, FIRST, LAST)
    shutil.rmtree(Settings().azak_home / "payloads")
    with pytest.raises(CannotStart, match="No answers are kept under"):
        kept_runs(Settings(), loaded, FIRST, LAST)


def test_no_key_lies_in_the_payloads(loaded: sa.Engine) -> None:
    index = b"".join(path.read_bytes() for path in (Settings().azak_home / "payloads").rglob("*.jsonl"))
    assert b"list.json" in index
    for secret in (b"crtfc_key", b"authorization", b"tokenP"):
        assert secret not in index
