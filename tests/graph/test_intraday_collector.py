"""The collector over real HTTP with a moved clock: what it has at each hour, and what a past session can be asked."""

import dataclasses
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from rich.console import Console

from azak_assets import krx
from azak_assets.cli.replay_payloads import Rerun, rerun_all
from azak_assets.defs.collectors import LOOP_TAG
from azak_assets.ingest import hours
from azak_assets.ports import ATTEMPTS
from azak_assets.sandbox import SeededWorld
from azak_assets.sandbox.wire import kis as sandbox_kis
from azak_assets.settings import Mode, Settings
from azak_assets.sources.kis.client import KisClient
from azak_assets.warehouse.calls import recordings
from azak_assets.warehouse.postgres import database as warehouse_database
from azak_assets.warehouse.warehouse import Warehouse
from tests.databases import fresh_database
from tests.graph.intraday_world import Exchange, exchange, stocks_of
from tests.harness import at

REPOSITORY = Path(__file__).resolve().parents[2]
FRIDAY, EXAM_DAY, LATE_OPEN = "2026-11-20", "2026-11-19", "2026-01-02"
TABLES = ("quote_snapshots", "order_books", "minute_bars")

Open = Callable[..., Exchange]


@pytest.fixture(scope="module")
def seeded() -> SeededWorld:
    return SeededWorld(1)


@pytest.fixture(scope="module")
def followed(seeded: SeededWorld) -> list[str]:
    """Stocks of tiers 1 and 2 that trade in every session of the tests; the broker keeps their past minutes."""
    tiered = seeded._followed(at(f"{FRIDAY} 10:00"))
    days = [seeded._market.position[date.fromisoformat(day)] for day in (FRIDAY, EXAM_DAY, LATE_OPEN)]
    return sorted(
        code for code in tiered if all(seeded._market.volume[day, seeded._market.number[code]] for day in days)
    )[:3]


@pytest.fixture
def open_at(
    definitions: dg.Definitions,
    engine: sa.Engine,
    seeded: SeededWorld,
    followed: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Open]:
    """`open_at("2026-11-20 09:00")`: the exchange at that instant."""
    with ExitStack() as stack:

        def enter(
            now: str, codes: list[str] | None = None, world: SeededWorld | None = None, *, attempts: int = ATTEMPTS
        ) -> Exchange:
            chosen = followed if codes is None else codes
            return stack.enter_context(exchange(engine, now, chosen, world or seeded, attempts=attempts))

        yield enter


def instants(found: Exchange, table: str, column: str = "snapshot_at") -> list[str]:
    """The distinct instants of a table, in Korean time."""
    query = f"select distinct {column} from raw.{table} order by 1"
    return [f"{row[0].astimezone(krx.KST):%H:%M}" for row in found.query(query)]


# ---- while the session runs ------------------------------------------------------------------------------------------


def test_half_an_hour_from_the_open_has_every_snapshot_and_every_minute(open_at: Open, followed: list[str]) -> None:
    found = open_at(f"{FRIDAY} 09:00:20")
    done = found.run(loops=True)
    assert done.success, done.said
    snapshots = ["09:00", "09:05", "09:10", "09:15", "09:20", "09:25", "09:30"]
    assert instants(found, "quote_snapshots") == instants(found, "order_books") == snapshots
    assert found.query("select count(*) from raw.quote_snapshots") == [(len(snapshots) * len(followed),)]
    minutes = [bar.at for bar in found.world.minute_bars(followed[0], found.clock.now.date(), at(f"{FRIDAY} 09:30"))]
    stored = found.query(f"select ts from raw.minute_bars where stock_code = '{followed[0]}' order by 1")
    assert [row[0] for row in stored] == minutes
    assert done.by_asset["minute_bars"]["minutes missing"] == 0
    assert done.by_asset["minute_bars"]["rounds"] == 31
    assert all(check.passed for check in done.checks.values()), done.checks
    assert found.clock.now < at(f"{FRIDAY} 09:31"), "it makes room for the next one"


def test_known_at_is_the_instant_of_the_answer_and_the_snapshot_that_of_the_round(open_at: Open) -> None:
    found = open_at(f"{FRIDAY} 10:03:12")
    assert found.run("quotes", "books").success
    for table in TABLES[:2]:
        (row,) = found.query(f"select distinct snapshot_at, known_at, trade_date from raw.{table}")
        assert row == (at(f"{FRIDAY} 10:00"), at(f"{FRIDAY} 10:03:12"), date(2026, 11, 20))


def test_a_quote_is_what_the_minutes_up_to_it_add_up_to(open_at: Open) -> None:
    found = open_at(f"{FRIDAY} 10:00:00")
    assert found.run().success
    volumes = "select stock_code, sum(volume), max(high), min(low) from raw.minute_bars group by 1 order by 1"
    quotes = "select stock_code, volume, high, low from raw.quote_snapshots order by 1"
    assert found.query(quotes) == [(code, int(v), h, low) for code, v, h, low in found.query(volumes)]


def test_mid_session_it_walks_to_the_open_once_and_then_asks_one_call_a_stock(
    open_at: Open, followed: list[str]
) -> None:
    found = open_at(f"{FRIDAY} 13:00:00")
    assert found.run("minutes").success
    walk = found.limiter.calls.total()
    assert found.query("select min(ts), max(ts) from raw.minute_bars") == [
        (at(f"{FRIDAY} 09:00"), at(f"{FRIDAY} 12:59"))
    ]
    found.clock.now += timedelta(minutes=10)
    assert found.run("minutes").success
    assert found.limiter.calls.total() - walk == len(followed) < walk


def test_any_other_run_makes_one_round_and_ends(open_at: Open) -> None:
    found = open_at(f"{FRIDAY} 11:07:40")
    assert found.run().success
    assert found.clock.slept == []
    assert instants(found, "order_books") == ["11:05"]


def test_the_minute_before_the_close_stays_for_the_closing_auction(open_at: Open) -> None:
    found = open_at(f"{FRIDAY} 15:29:00")
    done = found.run(loops=True)
    assert done.success, done.said
    assert instants(found, "quote_snapshots") == ["15:25", "15:30"]
    assert instants(found, "minute_bars", "ts")[-2:] == ["15:19", "15:30"]
    assert at(f"{FRIDAY} 15:31:05") <= found.clock.now < at(f"{FRIDAY} 15:32")
    assert done.checks["minute_bars", "no_minute_is_missing"].passed
    # The sum of all minutes is the day: nothing was asked too early.
    day = found.world.daily_bars(
        found.codes[0], date(2026, 11, 20), date(2026, 11, 20), found.clock.now, adjusted=False
    )
    total = found.query(f"select sum(volume) from raw.minute_bars where stock_code = '{found.codes[0]}'")
    assert total == [(day[0].volume,)]


def test_a_half_hour_that_would_end_just_before_the_close_goes_on_to_it() -> None:
    session = krx.session(date(2026, 11, 20))
    assert hours.half_hour(session, at(f"{FRIDAY} 14:00")) == at(f"{FRIDAY} 14:30")
    assert hours.half_hour(session, at(f"{FRIDAY} 14:58")) == at(f"{FRIDAY} 15:32")


def test_after_the_close_the_minutes_come_and_the_snapshots_are_left_as_they_are(open_at: Open) -> None:
    found = open_at(f"{FRIDAY} 16:30")
    done = found.run()
    assert done.success, done.said
    assert instants(found, "minute_bars", "ts")[-1] == "15:30"
    assert done.by_asset["minute_bars"]["minutes missing"] == 0
    for table in TABLES[:2]:
        assert found.query(f"select count(*) from raw.{table}") == [(0,)]
        check = done.checks[table, "no_snapshot_is_missing"]
        assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert "0 of 79 snapshots" in check.description


@pytest.mark.parametrize(
    ("start", "first", "last"),
    [
        (f"{EXAM_DAY} 10:00:10", "10:00", "10:30"),
        (f"{EXAM_DAY} 16:10:00", "16:10", "16:30"),
        (f"{LATE_OPEN} 10:00:10", "10:00", "10:30"),
    ],
)
def test_exam_days_and_late_opens_have_their_own_hours(open_at: Open, start: str, first: str, last: str) -> None:
    found = open_at(start)
    done = found.run(loops=True)
    assert done.success, done.said
    snapshots = instants(found, "quote_snapshots")
    assert (snapshots[0], snapshots[-1]) == (first, last)
    assert done.by_asset["minute_bars"]["minutes missing"] == 0
    assert instants(found, "minute_bars", "ts")[0] == "10:00"


@pytest.mark.parametrize("now", [f"{EXAM_DAY} 09:30", f"{LATE_OPEN} 09:59", "2026-11-21 11:00"])
def test_a_session_that_has_not_opened_is_refused_before_anybody_is_asked(open_at: Open, now: str) -> None:
    found = open_at(now)
    session = krx.session_on_or_after(found.clock.now.date())
    done = found.run(day=session.day.isoformat())
    assert not done.success
    assert f"has not opened: it opens {session.open_at:%Y-%m-%d %H:%M}" in done.said
    assert found.limiter.calls.total() == 0


def test_a_halted_stock_has_a_state_an_empty_book_and_no_minutes(open_at: Open, seeded: SeededWorld) -> None:
    market = seeded._market
    index = market.position[date(2026, 11, 20)]
    while not (halted := ((market.volume[index] == 0) & (market.close[index] > 0))).any():
        index -= 1
    code, day = market.issuers[int(halted.argmax())].code, market.days[index]
    found = open_at(f"{day} 11:00:30", [code])
    done = found.run()
    assert done.success, done.said
    (quote,) = found.query("select is_halted, status_code, volume, open, high, low, price > 0 from raw.quote_snapshots")
    assert quote == (True, "58", 0, None, None, None, True)
    assert found.query("select ask_prices, ask_shares, bid_prices, bid_shares from raw.order_books") == [
        ([], [], [], [])
    ]
    assert found.query("select count(*) from raw.minute_bars") == [(0,)]
    assert done.by_asset["minute_bars"]["minutes missing"] == 0
    assert all(check.passed for (_, name), check in done.checks.items() if name != "no_snapshot_is_missing")


# ---- holes -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def leaves_out(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`leaves_out("1010", times=2)`: today's minute service has no row of these minutes, so many times."""

    whole, hole, left = sandbox_kis.Quotations.minutes_today, set[str](), [0]

    def holey(self: Any, query: Any) -> Any:
        answer = whole(self, query)
        left[0] -= 1
        if left[0] >= 0:
            answer["output2"] = [row for row in answer["output2"] if row["stck_cntg_hour"][:4] not in hole]
        return answer

    def leave_out(*minutes: str, times: int = 10**9) -> None:
        hole.clear()
        hole.update(minutes)
        left[0] = times

    monkeypatch.setattr(sandbox_kis.Quotations, "minutes_today", holey)
    return leave_out


HOLE = ("1010", "1011", "1012")


def test_a_hole_is_refetched_while_it_can_be(
    open_at: Open, followed: list[str], leaves_out: Callable[..., None]
) -> None:
    found = open_at(f"{FRIDAY} 10:20:00", followed[:1])
    leaves_out(*HOLE, times=1)
    done = found.run("minutes")
    assert done.by_asset["minute_bars"]["minutes missing"] == 0
    assert {"10:10", "10:11", "10:12"} <= set(instants(found, "minute_bars", "ts"))
    assert done.checks["minute_bars", "no_minute_is_missing"].passed


def test_a_hole_that_stays_is_named_and_mended_by_the_next_collector(
    open_at: Open, followed: list[str], leaves_out: Callable[..., None]
) -> None:
    found = open_at(f"{FRIDAY} 10:20:00", followed[:2])
    leaves_out(*HOLE)
    done = found.run("minutes")
    metadata, check = done.by_asset["minute_bars"], done.checks["minute_bars", "no_minute_is_missing"]
    assert done.success, "what can still be fetched is a warning, not a failure"
    assert metadata["missing by stock"] == dict.fromkeys(followed[:2], len(HOLE))
    assert metadata["minutes missing"] == 2 * len(HOLE)
    assert metadata["minutes expected"] - metadata["minutes present"] == 2 * len(HOLE)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "Materialize today's partition again" in check.description
    leaves_out()
    found.clock.now += timedelta(minutes=5)
    again = found.run("minutes")
    assert again.checks["minute_bars", "no_minute_is_missing"].passed
    assert {"10:10", "10:11", "10:12"} <= set(instants(found, "minute_bars", "ts"))


# ---- killed, twice, refused -----------------------------------------------------------------------------------------


def test_a_collector_killed_and_run_again_has_the_rows_of_one_that_ran_through(
    open_at: Open,
    server_url: str,
    migrated_template: str,
    followed: list[str],
    seeded: SeededWorld,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = f"{FRIDAY} 15:12:00"
    with fresh_database(server_url, migrated_template) as url:
        program = [sys.executable, "-W", "ignore", "-m", "tests.graph.intraday_world"]
        killed = subprocess.run(
            [*program, url, start, "117", *followed],
            cwd=REPOSITORY,
            capture_output=True,
            check=False,
            text=True,
        )
        assert killed.returncode == -9, killed.stdout + killed.stderr
        engine = warehouse_database.create_engine(url)
        try:
            with engine.connect() as connection:
                left = connection.scalar(sa.text("select max(known_at) from raw.quote_snapshots"))
                bars = connection.scalar(sa.text("select count(*) from raw.minute_bars"))
            assert left is not None
            assert bars, "what was collected before the kill is there"
            with exchange(engine, f"{left.astimezone(krx.KST):%Y-%m-%d %H:%M:%S}", followed, seeded) as again:
                assert again.run(loops=True).success
                mended = {table: again.rows(table) for table in TABLES}
        finally:
            engine.dispose()
    whole = open_at(start)
    assert whole.run(loops=True).success
    for table in TABLES:
        assert mended[table] == whole.rows(table), table
    assert instants(whole, "quote_snapshots") == ["15:10", "15:15", "15:20", "15:25", "15:30"]


def test_a_second_collector_does_not_start_beside_the_first(open_at: Open, engine: sa.Engine) -> None:
    found = open_at(f"{FRIDAY} 10:00:30")
    with Warehouse(engine, run_id="the first").if_alone("intraday collector") as alone:
        assert alone
        done = found.run(loops=True)
    assert done.success
    assert all(one["reason"] == "other_collector" for one in done.by_asset.values())
    assert found.limiter.calls.total() == 0
    assert found.run().success, "the lock goes with its holder"
    assert found.limiter.calls.total() > 0


def test_a_snapshot_is_requested_once_however_many_runs_there_are(open_at: Open) -> None:
    found = open_at(f"{FRIDAY} 10:00:30")
    found.run("quotes")
    before = found.rows("quote_snapshots")
    found.clock.now += timedelta(minutes=2)
    done = found.run("quotes")
    assert done.success
    assert found.rows("quote_snapshots") == before


def test_a_server_that_is_down_for_a_while_costs_its_snapshots_and_no_minutes(
    open_at: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = open_at(f"{FRIDAY} 10:00:10", attempts=1)
    honest = sandbox_kis.Endpoints._refusal
    down = (at(f"{FRIDAY} 10:09"), at(f"{FRIDAY} 10:14"))

    def refusal(self: Any, request: Any) -> Any:
        if down[0] <= found.clock.now <= down[1]:
            return sandbox_kis._failure("EGW00002", "서버 에러가 발생했습니다.")
        return honest(self, request)

    monkeypatch.setattr(sandbox_kis.Endpoints, "_refusal", refusal)
    done = found.run(loops=True)
    assert done.success, done.said
    assert "10:10" not in instants(found, "quote_snapshots")
    assert {"10:05", "10:15"} <= set(instants(found, "quote_snapshots"))
    assert done.by_asset["minute_bars"]["minutes missing"] == 0
    assert "11 of 13 snapshots" not in str(done.checks)
    check = done.checks["quote_snapshots", "no_snapshot_is_missing"]
    assert not check.passed
    assert "What is missing is lost" in check.description


# ---- past sessions ---------------------------------------------------------------------------------------------------


def test_a_past_session_is_green_says_what_nobody_can_give_and_keeps_no_other_days_values(open_at: Open) -> None:
    found = open_at(f"{FRIDAY} 10:30")
    done = found.run(day="2026-11-18")
    assert done.success, done.said
    for table in TABLES[:2]:
        metadata = done.by_asset[table]
        assert metadata["reason"] == "not_collected"
        assert (metadata["rows"], metadata["inserted"]) == (0, 0)
        check = done.checks[table, "no_snapshot_is_missing"]
        assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert "2026-11-18: 0 of 79 snapshots" in check.description
        assert found.query(f"select count(*) from raw.{table}") == [(0,)]
    assert found.query("select distinct trade_date from raw.minute_bars") == [(date(2026, 11, 18),)]


def test_a_past_session_that_was_collected_says_that_it_is_kept(open_at: Open, engine: sa.Engine) -> None:
    found = open_at(f"{FRIDAY} 09:00:00")
    assert found.run("quotes").success
    before = found.rows("quote_snapshots")
    found.clock.now = at("2026-11-23 12:00")
    done = found.run("quotes", day=FRIDAY)
    check = done.checks["quote_snapshots", "no_snapshot_is_missing"]
    assert done.by_asset["quote_snapshots"]["reason"] == "session_over"
    assert not check.passed
    assert "2026-11-20: 1 of 79 snapshots" in check.description
    assert found.rows("quote_snapshots") == before
    columns = ", ".join(column["name"] for column in sa.inspect(engine).get_columns("quote_snapshots", "raw")[1:])
    every_snapshot = (
        f"insert into raw.quote_snapshots (snapshot_at, {columns}) select snapshot_at + n * interval '5 min', {columns}"
        " from raw.quote_snapshots, generate_series(1, 78) as n"
    )
    with engine.begin() as connection:
        connection.execute(sa.text(every_snapshot))
    assert found.run("quotes", day=FRIDAY).checks["quote_snapshots", "no_snapshot_is_missing"].passed


def test_a_range_into_today_loads_the_past_and_a_round_of_today(open_at: Open) -> None:
    found = open_at(f"{FRIDAY} 10:31")
    done = found.run(day="2026-11-18", last=FRIDAY)
    assert done.success, done.said
    days = found.query("select trade_date, count(*) > 0 from raw.minute_bars group by 1 order by 1")
    assert [day for day, _ in days] == [date(2026, 11, 18), date(2026, 11, 19), date(2026, 11, 20)]
    assert done.by_asset["minute_bars"]["rows"] == found.query("select count(*) from raw.minute_bars")[0][0]
    assert found.query("select distinct trade_date from raw.quote_snapshots") == [(date(2026, 11, 20),)]
    assert "2026-11-18, 2026-11-19" in done.by_asset["quote_snapshots"]["state"]


def test_a_paper_account_collects_today_and_says_that_the_past_is_not_for_it(
    open_at: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise sandbox_kis.RefusedError("EGW00213", "모의투자 TR 이 아닙니다.")

    monkeypatch.setattr(sandbox_kis.Quotations, "minutes_past", refuse)
    found = open_at(f"{FRIDAY} 10:00:30")
    today = found.run(loops=True)
    assert today.success, today.said
    assert today.by_asset["minute_bars"]["minutes missing"] == 0
    kept = found.rows("minute_bars")
    assert kept
    found.clock.now = at("2026-11-23 07:30")
    later = found.run("minutes", day=FRIDAY)
    assert later.success, later.said
    check = later.checks["minute_bars", "nearly_every_stock_answered"]
    assert later.by_asset["minute_bars"]["reason"] == "paper_account"
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "EGW00213" in check.description
    assert found.rows("minute_bars") == kept, "what was collected stays"


def test_a_short_answer_about_a_past_session_takes_back_no_minute_that_was_collected(
    open_at: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = open_at(f"{FRIDAY} 15:31:10")
    assert found.run("minutes").success
    before = found.rows("minute_bars")
    told = KisClient.minute_bars

    def cut_short(self: KisClient, code: str, day: date) -> Any:
        batch = told(self, code, day)
        return dataclasses.replace(batch, records=batch.records[: len(batch.records) // 2])

    monkeypatch.setattr(KisClient, "minute_bars", cut_short)
    found.clock.now = at("2026-11-23 07:30")
    later = found.run("minutes", day=FRIDAY)
    assert later.success, later.said
    assert later.by_asset["minute_bars"]["unchanged"] > 0
    assert found.rows("minute_bars") == before


# ---- once more from what was kept ------------------------------------------------------------------------------------


@pytest.fixture
def half_an_hour(
    definitions: dg.Definitions,
    engine: sa.Engine,
    seeded: SeededWorld,
    followed: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Exchange, Path]]:
    """A collector's half hour, and the folder of its answers."""
    folder = recordings.folder_of(tmp_path, "live")
    about = {"job": "intraday", "assets": None, "tags": {"dagster/partition": FRIDAY, **LOOP_TAG}, "feeds": None}

    def writer(clock: Callable[[], datetime]) -> recordings.PayloadWriter:
        return recordings.PayloadWriter(folder, run_id="collector", about=about, keep_days=30, now=clock)

    with exchange(engine, f"{FRIDAY} 10:00:20", followed, seeded, kept=writer) as opened:
        done = opened.run(loops=True)
        assert done.success, done.said
        yield opened, folder


@pytest.fixture
def replayed(
    half_an_hour: tuple[Exchange, Path],
    server_url: str,
    migrated_template: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[], tuple[Rerun, Exchange]]]:
    """Replays what is kept into an empty database that knows the stocks."""
    found, folder = half_an_hour
    day = date.fromisoformat(FRIDAY)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a replay asked an upstream")

    with fresh_database(server_url, migrated_template) as url:
        engine = warehouse_database.create_engine(url)

        def replay() -> tuple[Rerun, Exchange]:
            monkeypatch.setattr(httpx.HTTPTransport, "handle_request", refuse)
            other = dataclasses.replace(found, engine=engine)
            stocks_of(other.warehouse, found.world, found.codes, at(f"{FRIDAY} 10:00"))
            console = Console(file=io.StringIO(), width=200)
            settings = Settings(azak_mode=Mode.LIVE, kis_app_key=SecretStr("a-key"), kis_app_secret=SecretStr("b"))
            return rerun_all(console, settings, engine, "live", recordings.runs(folder, day, day)), other

        yield replay
        engine.dispose()


def test_a_collectors_half_hour_is_rebuilt_from_what_was_kept(
    half_an_hour: tuple[Exchange, Path], replayed: Callable[[], tuple[Rerun, Exchange]]
) -> None:
    found, _ = half_an_hour
    told, again = replayed()
    assert told.outcome.failures == []
    assert told.missing == {}
    for table in TABLES:
        assert again.rows(table) == found.rows(table), table
    assert instants(again, "order_books") == ["10:00", "10:05", "10:10", "10:15", "10:20", "10:25", "10:30"]


def test_of_a_collector_that_was_killed_what_it_had_is_rebuilt(
    half_an_hour: tuple[Exchange, Path], replayed: Callable[[], tuple[Rerun, Exchange]]
) -> None:
    found, folder = half_an_hour
    (index,) = folder.rglob("*.jsonl")
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join(line for line in lines if '"at": "2026-11-20T10:1' not in line or "10:10" in line))
    index.write_text("".join(line for line in index.read_text().splitlines(keepends=True) if "T10:2" not in line))
    index.write_text("".join(line for line in index.read_text().splitlines(keepends=True) if "T10:3" not in line))
    told, again = replayed()
    assert told.outcome.failures == []
    assert told.missing == {}
    assert instants(again, "quote_snapshots") == ["10:00", "10:05", "10:10"]
    before = [row for row in found.rows("quote_snapshots") if row in again.rows("quote_snapshots")]
    assert before == again.rows("quote_snapshots")
    assert max(instants(again, "minute_bars", "ts")) == "10:09"
