"""What happens when keys, servers, files or the database are bad: a clear message or rejects put aside, never a zero.

The steps of one upstream run in this process against the sandbox; what a user would see runs as the `azak` command.
"""

import dataclasses
import gzip
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
import sqlalchemy as sa
from tenacity import wait_none

from azak_assets import krx
from azak_assets.defs import failures
from azak_assets.defs.disclosures import assets as disclosures
from azak_assets.defs.markdown import literal
from azak_assets.defs.market import assets as market
from azak_assets.defs.market import intraday
from azak_assets.defs.market.checks import calendar_agrees_with_trading
from azak_assets.defs.news import assets as news
from azak_assets.defs.reference import assets as reference
from azak_assets.defs.retrieval.checks import index_equals_embeddings
from azak_assets.ingest import session
from azak_assets.ingest.reasons import Reason
from azak_assets.runtime import Retrieval, Upstreams, World
from azak_assets.sandbox.server import create_app, start_in_thread
from azak_assets.sandbox.wire import kis as sandbox_kis
from azak_assets.sandbox.wire import kis_quotations
from azak_assets.sandbox.worlds.recorded import RecordedWorld
from azak_assets.sandbox.worlds.world import Article, MinuteBar
from azak_assets.settings import SANDBOX_PREFIXES, Settings
from azak_assets.sources import transport
from azak_assets.sources.kis.client import KisClient
from azak_assets.text.embedders import LocalEmbedder
from azak_assets.warehouse.postgres import database as warehouse_database
from azak_assets.warehouse.postgres import server
from azak_assets.warehouse.warehouse import Warehouse
from tests.harness import Made, StoppedClock, at, materialize, stores_of, tags_of_range
from tests.homes import AZAK, RUN_TIMEOUT_S, FinishedRun, Home, new_home
from tests.integration import replay_folder
from tests.integration.replay_folder import COMPANIES, FIRST, LAST

MARKER = "do-not-show-me"
DAILY_BARS = "/kis/uapi/domestic-stock/v1/quotations/inquire-daily-itemchartprice"
FILINGS = "/opendart/api/list.json"
FOR_EVER = 100_000
SESSIONS = [session.day for session in krx.sessions(FIRST, LAST)]
MINUTE_BARS = dg.AssetKey(["raw", "minute_bars"])
EVERY_BAR = len(COMPANIES) * len(SESSIONS)


class LiveLike(RecordedWorld):
    """The recorded world with what live upstreams have besides: minutes of each session and a headline in each feed."""

    def headlines(self, press: str, now: datetime, limit: int) -> list[Article]:
        at = datetime.combine(FIRST, time(10), krx.KST)
        return [Article("가온누리전자 오전 강세", "", press, "", "https://news.example.com/1", at)]

    def minute_bars(self, code: str, day: date, now: datetime) -> list[MinuteBar]:
        at = datetime.combine(day, time(9), krx.KST)
        bars = self.daily_bars(code, day, day, now, adjusted=False)
        return [MinuteBar(at, b.close, b.close, b.close, b.close, 10, 10 * b.close) for b in bars if b.volume]


@pytest.fixture
def upstream(recorded_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a sandbox that plays the small folder, and its minutes for ever."""
    monkeypatch.setattr(kis_quotations, "PAST_MINUTES_KEPT", timedelta(days=36500))
    with start_in_thread(create_app(LiveLike(recorded_folder))) as url:
        yield url


def order(upstream: str, path: str, kind: str, times: int) -> None:
    httpx.post(f"{upstream}/sandbox/faults", json={"path": path, "kind": kind, "times": times}).raise_for_status()


def live(upstream: str, **keys: str) -> dict[str, str]:
    """The live mode with every upstream at ``upstream``."""
    addresses = {name.upper(): upstream + prefix for name, prefix in SANDBOX_PREFIXES.items()}
    return {"AZAK_MODE": "live", **addresses, **keys}


KIS_KEYS = {"KIS_APP_KEY": f"{MARKER}-key", "KIS_APP_SECRET": f"{MARKER}-secret"}


# --- one step against a bad server, in this process ----------------------------------------------------------------


class Steps:
    """Assets materialized in this process over a fresh database."""

    def __init__(self, upstream: str, engine: sa.Engine) -> None:
        world = httpx.get(f"{upstream}/sandbox/world").json()
        self.engine = engine
        self.check: Any = None
        self.warehouse = Warehouse(engine, run_id="bad input")
        self.clock = StoppedClock(at("2026-09-07 12:00"))
        self.upstreams = Upstreams(
            Settings().in_sandbox(upstream),
            World(world["world"], frozenset(world["feeds"])),
            stores_of(engine, attempts=2),
            self.clock,
        )

    def make(
        self, asset: dg.AssetsDefinition, first: date = FIRST, last: date = LAST
    ) -> tuple[bool, str, dict[str, Any]]:
        """(whether it succeeded, what a user is told when it did not, its metadata); `check` is its verdict."""
        made = materialize(
            asset,
            {"warehouse": self.warehouse, "upstreams": self.upstreams},
            selection=[MINUTE_BARS] if MINUTE_BARS in asset.keys else None,
            tags=tags_of_range(first, last) if asset.partitions_def is not None else None,
        )
        self.check = made.check
        return made.success, made.said, made.metadata

    def query(self, statement: str) -> list[tuple]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(statement))]


@pytest.fixture
def steps(upstream: str, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    """Steps that know the listed stocks, and that wait for nobody."""
    monkeypatch.setattr(transport, "_backoff", wait_none())
    monkeypatch.setattr(failures, "RETRIES", 1)
    monkeypatch.setattr(failures, "RETRY_AFTER_S", 0)
    ready = Steps(upstream, engine)
    try:
        assert ready.make(reference.stocks)[0]
        yield ready
    finally:
        ready.upstreams.kis.close()
        ready.upstreams.opendart.close()


NO_INVENTED_PRICE = (
    "select count(*) from raw.daily_bars"
    " where close <= 0 or (not is_halted and (open is null or open <= 0 or low <= 0))"
)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("500", "EGW00002"),
        ("429", "EGW00201"),
        ("empty", "empty body"),
        ("html", "a page came instead of JSON"),
        ("truncated", "broken JSON"),
    ],
)
def test_a_server_that_never_answers_well_fails_the_step_with_its_cause(
    steps: Steps, upstream: str, kind: str, told: str
) -> None:
    order(upstream, DAILY_BARS, kind, FOR_EVER)
    succeeded, said, _ = steps.make(market.daily_bars)
    assert not succeeded
    assert told in said
    assert said.startswith(("kis: ", "daily bars"))
    assert steps.query("select count(*) from raw.daily_bars") == [(0,)]


@pytest.mark.parametrize("kind", ["500", "429", "empty", "truncated", "expired_token"])
def test_a_server_that_recovers_leaves_no_gap(steps: Steps, upstream: str, kind: str) -> None:
    order(upstream, DAILY_BARS, kind, 1)
    succeeded, said, metadata = steps.make(market.daily_bars)
    assert succeeded, said
    assert metadata["failed"] == 0
    assert steps.query("select count(*) from raw.daily_bars") == [(EVERY_BAR,)]


def test_numbers_as_words_are_put_aside_and_the_other_stocks_land(steps: Steps, upstream: str) -> None:
    order(upstream, DAILY_BARS, "words", 3)
    succeeded, said, metadata = steps.make(market.daily_bars)
    assert succeeded, said
    landed = steps.query("select count(distinct stock_code), count(*) from raw.daily_bars")
    assert landed == [(len(COMPANIES) - 3, EVERY_BAR - 3 * len(SESSIONS))]
    assert metadata["rejected"] >= 3 * len(SESSIONS)
    put_aside = steps.query("select field, value, reason from ops.rejected_records")
    assert len(put_aside) == metadata["rejected"]
    assert any("영" in (value or "") or "일" in (value or "") for _, value, _ in put_aside)
    assert all(reason for _, _, reason in put_aside)
    assert steps.query(NO_INVENTED_PRICE) == [(0,)]

    again, said, _ = steps.make(market.daily_bars)
    assert again, said
    assert steps.query("select count(*) from raw.daily_bars") == [(EVERY_BAR,)]


def test_a_page_for_some_stocks_names_them_and_the_others_land(steps: Steps, upstream: str) -> None:
    order(upstream, DAILY_BARS, "html", 2)
    succeeded, said, metadata = steps.make(market.daily_bars)
    assert succeeded, said
    assert (metadata["failed"], metadata["answered"]) == (2, len(COMPANIES) - 2)
    assert metadata["failures"].count("a page came instead of JSON") == 2
    assert steps.query("select count(*) from raw.daily_bars") == [(EVERY_BAR - 2 * len(SESSIONS),)]


def test_more_than_a_few_stocks_without_an_answer_are_a_warning_that_names_them(steps: Steps, upstream: str) -> None:
    """The partition turns green: without the check nobody would hear of the hole."""
    assert steps.make(market.daily_bars)[0]
    assert steps.check.passed
    order(upstream, DAILY_BARS, "html", 1)  # one of twelve is more than 5 %
    assert steps.make(market.daily_bars)[0]
    assert not steps.check.passed
    assert steps.check.severity is dg.AssetCheckSeverity.WARN
    said = str(steps.check.description)
    assert said.startswith("1 of 12 failed. `990")
    assert "a page came instead of JSON" in said
    assert said.endswith("Materialize again once the cause is gone: what landed stays.")


def test_a_stock_listed_after_the_sessions_is_no_failure(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    def bars(self: RecordedWorld, code: str, *rest: Any, **more: Any) -> list:
        return [] if code == "990010" else RecordedWorld.daily_bars(self, code, *rest, **more)

    monkeypatch.setattr(LiveLike, "daily_bars", bars)
    assert steps.make(market.daily_bars)[0]
    assert not steps.check.passed, "nobody says why it has no bars"
    with steps.engine.begin() as connection:
        connection.execute(sa.text("update raw.stocks set listed_on = '2022-02-03' where stock_code = '990010'"))
    succeeded, _, metadata = steps.make(market.daily_bars)
    assert succeeded
    assert metadata["failed"] == 1
    assert steps.check.passed


def test_a_bar_of_a_closed_day_is_seen_by_the_calendars_witness(
    steps: Steps, upstream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker trades on a day that the committed calendar calls closed: its bars are refused, and not unheard."""
    closed = date(2022, 1, 8)

    def bars(self: RecordedWorld, code: str, *rest: Any, **more: Any) -> list:
        found = RecordedWorld.daily_bars(self, code, *rest, **more)
        monday = [bar for bar in found if bar.day == date(2022, 1, 10)]
        return sorted([*found, *(dataclasses.replace(bar, day=closed) for bar in monday)], key=lambda bar: bar.day)

    monkeypatch.setattr(LiveLike, "daily_bars", bars)
    # Asked for Monday alone, the closed days before it are asked for with it.
    succeeded, said, metadata = steps.make(market.daily_bars, date(2022, 1, 10), date(2022, 1, 10))
    assert succeeded, said
    assert metadata["rejected"] == len(COMPANIES)
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_asset_check_context(instance=instance)
        verdict = calendar_agrees_with_trading(context, warehouse=steps.warehouse)
    assert not verdict.passed
    assert verdict.metadata["bars on closed days"].value == "2022-01-08"


def test_what_is_put_aside_names_its_world(steps: Steps, upstream: str) -> None:
    order(upstream, FILINGS, "words", 1)
    order(upstream, DAILY_BARS, "words", 1)
    steps.make(disclosures.disclosures)
    steps.make(market.daily_bars)
    sources = {source for (source,) in steps.query("select distinct source from ops.rejected_records")}
    assert sources
    assert all(source.startswith("sandbox replay:") for source in sources), sources


def test_bars_that_landed_survive_a_server_that_turns_bad(steps: Steps, upstream: str) -> None:
    assert steps.make(market.daily_bars)[0]
    bars = "select stock_code, trade_date, open, high, low, close, volume from raw.daily_bars order by 1, 2"
    before = steps.query(bars)
    for kind in ("words", "html"):
        order(upstream, DAILY_BARS, kind, len(COMPANIES))
        steps.make(market.daily_bars)
        assert steps.query(bars) == before
    assert steps.query("select count(*) from raw.daily_bars_history") == [(0,)]


def test_undeclared_cp949_is_read_as_what_it_is(steps: Steps, upstream: str) -> None:
    order(upstream, DAILY_BARS, "cp949", FOR_EVER)
    order(upstream, FILINGS, "cp949", FOR_EVER)
    for asset in (market.daily_bars, disclosures.disclosures):
        succeeded, said, metadata = steps.make(asset)
        assert succeeded, said
        assert metadata["rejected"] == 0
    assert steps.query("select count(*) from raw.daily_bars") == [(EVERY_BAR,)]
    names = steps.query("select corp_name, report_nm from raw.disclosures order by rcept_no")
    assert names[0] == ("가온누리전자", "단일판매ㆍ공급계약체결")


@pytest.mark.parametrize(
    ("kind", "told"), [("429", "020"), ("html", "a page came instead of JSON"), ("truncated", "broken JSON")]
)
def test_filings_of_a_bad_server_fail_with_the_cause_and_without_the_key(
    steps: Steps, upstream: str, kind: str, told: str
) -> None:
    order(upstream, FILINGS, kind, FOR_EVER)
    succeeded, said, _ = steps.make(disclosures.disclosures)
    assert not succeeded
    assert told in said
    assert "crtfc_key=sandbox" not in said
    assert steps.query("select count(*) from raw.disclosures") == [(0,)]


# --- minutes: what KIS no longer keeps, and what a paper account never has ------------------------------------------

MINUTES = "/kis/uapi/domestic-stock/v1/quotations/inquire-time-dailychartprice"


TIERED = list(COMPANIES)[:4]


@pytest.fixture
def minutes(steps: Steps) -> Steps:
    """Steps in a world with minutes of four stocks."""
    steps.upstreams.world = dataclasses.replace(steps.upstreams.world, feeds=None)
    with steps.engine.begin() as connection:
        connection.execute(
            sa.text("update raw.stocks set tier = case when stock_code = any(:tiered) then 2 else 4 end"),
            {"tiered": TIERED},
        )
    return steps


@pytest.fixture
def kept_since(monkeypatch: pytest.MonkeyPatch) -> Callable[[date], None]:
    """Sets the first day of which the broker still has minutes."""

    def keep(since: date) -> None:
        kept = LiveLike.minute_bars
        monkeypatch.setattr(
            LiveLike, "minute_bars", lambda self, code, day, now: kept(self, code, day, now) if day >= since else []
        )

    return keep


def test_sessions_past_the_brokers_reach_are_green_and_say_so(
    minutes: Steps, kept_since: Callable[[date], None]
) -> None:
    """Years ago: scores of these sessions enter at the close, so they must not wait for minutes."""
    kept_since(date(2026, 1, 1))
    succeeded, said, metadata = minutes.make(intraday.collect_intraday)
    assert succeeded, said
    assert metadata["reason"] == "past_reach"
    assert f"{FIRST} … {LAST} (10 sessions)" in metadata["state"]
    assert (metadata["rows"], metadata["inserted"]) == (0, 0)
    assert minutes.check.passed
    assert minutes.check.description == literal(metadata["state"])


def test_a_session_past_reach_costs_a_few_requests(
    minutes: Steps, kept_since: Callable[[date], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    ask = KisClient.minute_bars
    monkeypatch.setattr(KisClient, "minute_bars", lambda self, *what: asked.append(what) or ask(self, *what))
    monkeypatch.setattr(session, "PROBES", 1)
    kept_since(date(2026, 1, 1))
    assert minutes.make(intraday.collect_intraday)[0]
    assert len(asked) == len(SESSIONS)


def test_a_range_that_straddles_the_reach_lands_as_far_as_it_goes(
    minutes: Steps, kept_since: Callable[[date], None]
) -> None:
    kept_since(date(2022, 1, 6))
    minutes.clock.instant = at("2022-12-31 12:00")
    succeeded, said, metadata = minutes.make(intraday.collect_intraday)
    assert succeeded, said
    assert metadata["reason"] == "past_reach"
    assert metadata["state"].endswith("2022-01-03, 2022-01-04, 2022-01-05")
    days = minutes.query("select min(trade_date), max(trade_date), count(distinct trade_date) from raw.minute_bars")
    assert days == [(date(2022, 1, 6), LAST, 7)]
    assert metadata["rows"] == minutes.query("select count(*) from raw.minute_bars")[0][0]
    assert (metadata["earliest"][:10], metadata["latest"][:10]) == ("2022-01-06", str(LAST))
    assert metadata["closes"].startswith("![close, first minute = 100")
    assert metadata["failed"] == 0


def test_a_session_within_reach_without_a_single_minute_fails_after_the_others_landed(
    minutes: Steps, kept_since: Callable[[date], None]
) -> None:
    kept_since(date(2022, 1, 6))
    minutes.clock.instant = at("2022-01-17 08:00")
    succeeded, said, _ = minutes.make(intraday.collect_intraday)
    assert not succeeded
    assert "no stock has a minute of 2022-01-03, 2022-01-04, 2022-01-05, which KIS must still keep" in said
    assert minutes.query("select count(distinct trade_date) from raw.minute_bars") == [(7,)]


def test_a_stock_without_minutes_is_a_failure_of_that_stock_alone(
    minutes: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = LiveLike.minute_bars
    monkeypatch.setattr(
        LiveLike, "minute_bars", lambda self, code, day, now: [] if code == TIERED[1] else kept(self, code, day, now)
    )
    minutes.clock.instant = at("2022-01-17 08:00")
    succeeded, said, metadata = minutes.make(intraday.collect_intraday)
    assert succeeded, said
    assert metadata["failed"] == len(SESSIONS)
    assert f"{FIRST} {TIERED[1]}: kis: no minute of {TIERED[1]}" in metadata["failures"]
    assert not minutes.check.passed


def test_a_paper_account_is_told_once_and_fails_nothing(minutes: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise sandbox_kis.RefusedError("EGW00213", "모의투자 TR 이 아닙니다.")

    monkeypatch.setattr(LiveLike, "minute_bars", refuse)
    succeeded, said, metadata = minutes.make(intraday.collect_intraday)
    assert succeeded, said
    assert metadata["reason"] == "paper_account"
    assert not minutes.check.passed
    assert minutes.check.severity is dg.AssetCheckSeverity.WARN
    assert "EGW00213" in str(minutes.check.description)
    assert "Use the keys of a live account" in str(minutes.check.description)


def test_another_refusal_of_minutes_fails_the_step(minutes: Steps, upstream: str) -> None:
    order(upstream, MINUTES, "html", FOR_EVER)
    succeeded, said, _ = minutes.make(intraday.collect_intraday)
    assert not succeeded
    assert "a page came instead of JSON" in said


# --- the command, with bad keys ------------------------------------------------------------------------------------


def command(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """An `azak` command; no key of its environment may come out."""
    finished = subprocess.run(
        [AZAK, *arguments],
        env={**Home(home, home).environment, **variables},
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    assert MARKER not in finished.stdout + finished.stderr
    assert "Traceback" not in finished.stderr, finished.stderr
    return finished


def first_session(home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return command(home, "run", "--from", str(FIRST), "--to", str(FIRST), **variables)


@pytest.fixture
def live_step(upstream: str, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Made]:
    """A step in the live mode with the given keys."""

    def run(asset: dg.AssetsDefinition, partition: date | None = None, **keys: str) -> Made:
        for name, value in live(upstream, **keys).items():
            monkeypatch.setenv(name, value)
        warehouse = Warehouse(engine, run_id="bad keys")
        with closing(Upstreams(Settings(), World("live"), stores_of(engine, attempts=2))) as upstreams:
            resources = {"warehouse": warehouse, "upstreams": upstreams}
            made = materialize(asset, resources, partition=str(partition) if partition else None)
        assert MARKER not in made.said + str(made.result.all_events), "a key came out"
        return made

    return run


@pytest.mark.parametrize(
    ("asset", "keys", "told"),
    [
        (reference.stocks, {}, ["KIS_APP_KEY and KIS_APP_SECRET not set"]),
        (reference.stocks, {"KIS_APP_KEY": MARKER}, ["KIS_APP_SECRET not set"]),
        (
            reference.broker_calendar,  # the first that asks with a token
            {"KIS_APP_KEY": f"invalid-{MARKER}", "KIS_APP_SECRET": f"invalid-{MARKER}"},
            ["EGW00103", "Check KIS_APP_KEY and KIS_APP_SECRET"],
        ),
    ],
    ids=["no keys", "half a pair", "wrong keys"],
)
def test_kis_keys_that_are_missing_or_wrong_fail_the_step_with_what_to_check(
    live_step: Callable[..., Made], asset: dg.AssetsDefinition, keys: dict[str, str], told: list[str]
) -> None:
    made = live_step(asset, **keys)
    assert not made.success
    assert all(words in made.said for words in told), made.said


def test_without_the_keys_of_the_other_upstreams_live_steps_succeed_and_say_so(
    live_step: Callable[..., Made], engine: sa.Engine
) -> None:
    for asset, partition in ((reference.corp_codes, None), (disclosures.disclosures, FIRST)):
        made = live_step(asset, partition, **KIS_KEYS)
        assert made.success, made.said
        assert made.metadata["reason"] == Reason.NOT_CONFIGURED
        assert "OPENDART_API_KEY not set" in made.metadata["state"]
    found = live_step(news.news, FIRST, **KIS_KEYS)
    assert found.success, found.said
    assert "NAVER_CLIENT_ID and NAVER_CLIENT_SECRET not set" in str(found.metadata), "one source of several"
    assert live_step(reference.stocks, **KIS_KEYS).success
    assert live_step(market.daily_bars, FIRST, **KIS_KEYS).success
    with engine.connect() as connection:
        (bars,) = connection.execute(
            sa.text("select count(*), count(*) filter (where source like 'sandbox%') from raw.daily_bars")
        ).all()
    assert tuple(bars) == (len(COMPANIES), 0)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_without_the_keys_of_the_other_upstreams_a_live_run_succeeds_and_says_so(
    prepared_home: Path, recorded_folder: Path, upstream: str
) -> None:
    with new_home(recorded_folder, like=prepared_home) as home:
        finished = first_session(home.path, **live(upstream, **KIS_KEYS))
        assert finished.returncode == 0, finished.stdout + finished.stderr
        assert finished.stdout.count("not configured: OPENDART_API_KEY not set") == 2, "company codes and filings"
        # The search is one source of several, so what it says stands with the step and not in the summary.
        silent = "select count(*) from event_logs where event like '%not configured: NAVER_CLIENT_ID and%'"
        assert home.query(silent, "dagster")[0][0] > 0
        assert home.query("select world from ops.world") == [("live",)]
        assert home.query("select count(*) from raw.daily_bars") == [(len(COMPANIES),)]
        assert home.query("select count(*) from raw.daily_bars where source like 'sandbox%'") == [(0,)]


def test_the_live_mode_never_imports_the_sandbox(upstream: str, database: str, tmp_path: Path) -> None:
    script = """
import sys
import dagster as dg
from azak_assets.definitions import defs
from azak_assets.resources import ChatModelsResource, RetrievalResource, UpstreamsResource, WarehouseResource
warehouse = WarehouseResource()
with dg.build_resources({
    "warehouse": warehouse, "upstreams": UpstreamsResource(warehouse=warehouse),
    "retrieval": RetrievalResource(), "chat_models": ChatModelsResource(),
}) as opened:
    assert opened.upstreams.world.name == "live"
    assert opened.upstreams.kis.listed_stocks().records
    assert opened.upstreams.opendart and opened.upstreams.naver and opened.upstreams.rss
    assert set(opened.chat_models.clients) == {"openai", "openrouter"}
print(sorted(name for name in sys.modules if name.startswith("azak_assets.sandbox")))
"""
    names = ("OPENDART_API_KEY", "NAVER_CLIENT_ID", "NAVER_CLIENT_SECRET", "OPENAI_API_KEY", "OPENROUTER_API_KEY")
    variables = live(upstream, **KIS_KEYS, **dict.fromkeys(names, MARKER))
    finished = subprocess.run(
        [sys.executable, "-c", script],
        env={**Home(tmp_path, tmp_path).environment, **variables, "AZAK_DATABASE_URL": database},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "[]"


# --- the command, with bad files and a bad database ----------------------------------------------------------------


def test_a_recorded_folder_with_a_missing_column_is_one_sentence(tmp_path: Path) -> None:
    folder = replay_folder.write(tmp_path / "2022-01")
    bars = folder / "daily_bars.csv.gz"
    text = gzip.decompress(bars.read_bytes()).decode()
    bars.write_bytes(gzip.compress(text.replace("turnover_krw", "turnover", 1).encode()))
    home = tmp_path / "home"
    finished = command(home, "run", "--from", str(FIRST), "--to", str(LAST), "--replay", str(folder))
    assert finished.returncode == 1
    (line,) = finished.stderr.strip().splitlines()
    assert str(bars) in line
    assert "'turnover_krw' is missing" in line
    assert not (home / "postgres").exists(), "nothing was started for it"


def test_a_database_that_is_down_at_the_start_is_one_sentence_without_its_password(
    tmp_path: Path, upstream: str
) -> None:
    finished = first_session(
        tmp_path,
        AZAK_SANDBOX_URL=upstream,
        AZAK_DATABASE_URL=f"postgresql://azak:{MARKER}@127.0.0.1:1/azak",
    )
    assert finished.returncode == 1
    (line,) = finished.stderr.strip().splitlines()
    assert "port 1" in line
    assert "start it, or correct AZAK_DATABASE_URL" in line


@pytest.mark.timeout(900)
def test_an_index_file_cut_short_is_found_and_rebuilt(finished_run: FinishedRun, recorded_folder: Path) -> None:
    from azak_assets.defs.retrieval.assets import faiss_index  # noqa: PLC0415
    from azak_assets.ingest.vectors import open_index  # noqa: PLC0415
    from azak_assets.text.vector_index import DamagedIndex  # noqa: PLC0415

    with new_home(recorded_folder, like=finished_run.home) as home:
        (file,) = (home.path / "index").glob("*.npz")
        os.truncate(file, file.stat().st_size // 2)
        engine = warehouse_database.create_engine(server.ensure_running(home.path).url("azak"))
        warehouse, retrieval = Warehouse(engine, run_id="test"), Retrieval(LocalEmbedder(), home.path / "index")
        try:
            found = index_equals_embeddings(warehouse=warehouse, retrieval=retrieval)
            assert not found.passed
            assert file.name in str(found.description)
            with pytest.raises(DamagedIndex, match=r"faiss_index"):
                open_index(warehouse, retrieval.embedder.name, retrieval.index_folder)
            made = materialize(faiss_index, {"warehouse": warehouse, "retrieval": retrieval}, partition=str(LAST))
            assert made.success, made.said
            assert index_equals_embeddings(warehouse=warehouse, retrieval=retrieval).passed
            rebuilt = open_index(warehouse, retrieval.embedder.name, retrieval.index_folder)
            assert rebuilt is not None
            assert len(rebuilt) == replay_folder.DISTINCT_INSIDE
        finally:
            engine.dispose()
