"""Once a session: Dagster's own scheduler over whole weeks on one instance, and the runs that came of it.

A rule about a tick cannot see that the next tick asks again. Here the daemon's loop evaluates the schedules at every
tick under a stopped clock, what it launches is written down, and each run ends as the test says.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.instance.ref import InstanceRef
from dagster._core.instance.runs.run_domain import RunDomain
from dagster._core.instance.types import InstanceType
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.scheduler import DagsterDaemonScheduler
from dagster._core.storage.event_log import InMemoryEventLogStorage
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._core.storage.runs import InMemoryRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.test_utils import create_run_for_test, freeze_time
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._scheduler.scheduler import launch_scheduled_runs

from azak_assets import krx
from tests.harness import at

Launched = tuple[str, str, str]
"""(job, partition, KST minute)."""
TEN_MINUTES = timedelta(minutes=10)


class Daemon:
    """The scheduler of one instance under a stopped clock."""

    def __init__(self, instance: dg.DagsterInstance, workspace: WorkspaceProcessContext) -> None:
        self.instance = instance
        self._workspace = workspace
        self._iterations: dict[str, Any] = {}
        self.launched: list[Launched] = []
        self.outcome: Callable[[dg.DagsterRun], bool | None] = lambda run: True
        """Whether a run succeeds; None leaves it in progress."""
        (entry,) = workspace.create_request_context().get_code_location_entries().values()
        assert entry.code_location is not None
        (self._repository,) = entry.code_location.get_repositories().values()

    def start(self, now: str, *schedules: str) -> None:
        with freeze_time(at(now)):
            for name in schedules:
                self.instance.start_schedule(self._repository.get_schedule(name))

    def run(self, first: str, last: str, step: timedelta = TEN_MINUTES) -> None:
        """Let the daemon live from ``first`` to ``last``; between two calls it is down."""
        now = at(first)
        while now <= at(last):
            self.tick(now)
            now += step

    def tick(self, now: datetime) -> None:
        with freeze_time(now):
            list(launch_scheduled_runs(self._workspace, logging.getLogger("test"), now, self._iterations))
            for run in self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])):
                self.launched.append((run.job_name, run.tags["dagster/partition"], f"{now:%Y-%m-%d %H:%M}"))
                self.end(run, self.outcome(run))

    def end(self, run: dg.DagsterRun, succeeded: bool | None) -> None:
        if succeeded is None:
            self._report(run, DagsterEventType.RUN_START)
        elif succeeded:
            self.materialize(run.tags["dagster/partition"], self.assets_of(run))
            self._report(run, DagsterEventType.RUN_SUCCESS)
        else:
            self.instance.report_run_failed(run)

    def assets_of(self, run: dg.DagsterRun) -> set[dg.AssetKey]:
        keys = {node.asset_key for node in self._repository.get_asset_node_snaps(run.job_name)}
        return set(run.asset_selection) if run.asset_selection is not None else keys

    def assets_of_job(self, job: str) -> set[dg.AssetKey]:
        return {node.asset_key for node in self._repository.get_asset_node_snaps(job)}

    def materialize(self, partition: str, keys: set[dg.AssetKey]) -> None:
        for key in keys:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))

    def skipped(self, schedule: str) -> str:
        """What the newest tick of a schedule says."""
        remote = self._repository.get_schedule(schedule)
        (tick,) = self.instance.get_ticks(remote.get_remote_origin_id(), remote.selector_id, limit=1)
        assert tick.error is None, tick.error
        return str(tick.skip_reason)

    def _report(self, run: dg.DagsterRun, kind: DagsterEventType) -> None:
        self.instance.report_dagster_event(DagsterEvent(kind.value, run.job_name), run.run_id)


class KeptSchedules(SqliteScheduleStorage):
    """The file over one connection: Dagster's opens one, and looks for its tables, at every question of a tick."""

    @cached_property
    def _engine(self) -> sa.Engine:
        return sa.create_engine(self._conn_string, poolclass=sa.StaticPool, connect_args={"check_same_thread": False})

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        with self._engine.begin() as connection:
            yield connection

    def has_instigators_table(self) -> bool:
        return True


@pytest.fixture
def daemon(definitions: dg.Definitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    # Runs and events in memory, at a tenth of the price of files. Nothing takes runs out of the queue: they stand there
    # until the test says how they ended.
    instance = dg.DagsterInstance(
        InstanceType.EPHEMERAL,
        LocalArtifactStorage(str(tmp_path)),
        InMemoryRunStorage(),
        InMemoryEventLogStorage(),
        QueuedRunCoordinator(),
        NoOpComputeLogManager(),
        DefaultRunLauncher(),
        schedule_storage=KeptSchedules.from_local(str(tmp_path / "schedules")),
        scheduler=DagsterDaemonScheduler(),
        ref=InstanceRef.from_dir(str(tmp_path)),
    )
    # An event for each of a run's assets and checks, a second in all; nothing here reads those.
    monkeypatch.setattr(RunDomain, "_log_asset_planned_events", lambda *_: None)
    # A schedule's function opens the instance by its reference; this one is in memory.
    monkeypatch.setattr(dg.DagsterInstance, "from_ref", lambda _reference: nullcontext(instance))
    target = InProcessWorkspaceLoadTarget(
        InProcessCodeLocationOrigin(
            LoadableTargetOrigin(module_name="azak_assets.definitions", attribute="defs"), location_name="azak"
        )
    )
    with instance, WorkspaceProcessContext(instance, target) as workspace:
        yield Daemon(instance, workspace)


MORNING = ["00:00", "07:20", "07:30", "07:40", "08:30"]
EVENING = ["15:30", "15:40", "15:50", "16:30", "16:40", "16:50", "20:30", "23:50"]
"""Ticks that see every hour at which something could happen, and many at which it must not happen again."""


def live(daemon: Daemon, first: str, last: str) -> None:
    """Closed days and weekends included."""
    day = at(first)
    while day.date() <= at(last).date():
        for time in [*MORNING, *EVENING]:
            now = at(f"{day:%Y-%m-%d} {time}")
            if at(first) <= now <= at(last):
                daemon.tick(now)
        day = at(f"{day + timedelta(days=1):%Y-%m-%d}")


def of(job: str, daemon: Daemon) -> list[tuple[str, str]]:
    return [(partition, minute) for name, partition, minute in daemon.launched if name == job]


@pytest.fixture
def running(daemon: Daemon) -> Daemon:
    """Both schedules run since Monday, 2026-09-21; the session before, of Friday, is done."""
    daemon.start("2026-09-21 00:00", "after_close", "correct_prices")
    with freeze_time(at("2026-09-19 12:00")):
        daemon.instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(["raw", "stocks"])))
        for job in ("after_close", "corrections"):
            done = create_run_for_test(daemon.instance, job_name=job, tags={"dagster/partition": "2026-09-18"})
            daemon.end(done, True)
    return daemon


def test_each_session_around_chuseok_is_run_once_and_corrected_once(running: Daemon) -> None:
    live(running, "2026-09-21 00:00", "2026-09-30 08:30")
    sessions = ["2026-09-21", "2026-09-22", "2026-09-23", "2026-09-28", "2026-09-29"]
    assert of("after_close", running) == [(day, f"{day} 15:40") for day in sessions]
    mornings = ["2026-09-22", "2026-09-23", "2026-09-24", "2026-09-29", "2026-09-30"]
    assert of("corrections", running) == [
        (day, f"{morning} 07:30") for day, morning in zip(sessions, mornings, strict=True)
    ]


def test_the_exam_day_is_run_once_an_hour_later_and_the_weekend_is_silent(daemon: Daemon) -> None:
    with freeze_time(at("2026-11-18 20:00")):
        daemon.materialize("2026-11-18", daemon.assets_of_job("after_close"))
    daemon.start("2026-11-19 00:00", "after_close", "correct_prices")
    live(daemon, "2026-11-19 00:00", "2026-11-22 23:50")
    assert daemon.launched == [
        ("corrections", "2026-11-18", "2026-11-19 07:30"),
        ("after_close", "2026-11-19", "2026-11-19 16:40"),
        ("corrections", "2026-11-19", "2026-11-20 07:30"),
        ("after_close", "2026-11-20", "2026-11-20 15:40"),
        ("corrections", "2026-11-20", "2026-11-21 07:30"),
    ]


def test_a_daemon_that_sleeps_through_the_tick_finds_the_session_later_once(running: Daemon) -> None:
    running.run("2026-09-21 15:00", "2026-09-21 15:30")
    running.run("2026-09-21 17:00", "2026-09-21 18:00")
    assert of("after_close", running) == [("2026-09-21", "2026-09-21 17:00")]


def test_sessions_that_nobody_was_there_for_come_oldest_first_one_run_at_a_time(running: Daemon) -> None:
    running.run("2026-09-21 15:40", "2026-09-21 16:00")
    running.outcome = lambda run: None if run.tags["dagster/partition"] == "2026-09-22" else True
    running.run("2026-09-29 20:00", "2026-09-29 20:30")
    (open_run,) = running.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    assert open_run.run_id in running.skipped("after_close")
    with freeze_time(at("2026-09-29 20:35")):
        running.end(open_run, True)
    running.run("2026-09-29 20:40", "2026-09-29 21:30")
    # Dagster evaluates the schedules of one tick in any order, so the corrections come first or in between.
    days = ["2026-09-21", "2026-09-22", "2026-09-23", "2026-09-28", "2026-09-29"]
    assert [day for day, _ in of("after_close", running)] == days
    # Those of the 22nd to the 28th are loaded after their mornings and need no corrections.
    assert [day for day, _ in of("corrections", running)] == ["2026-09-21"]
    assert len({instant for *_, instant in running.launched}) == len(running.launched)


def test_a_missed_session_is_asked_for_with_its_news_and_filings_and_todays_without(running: Daemon) -> None:
    running.run("2026-09-22 15:40", "2026-09-22 16:20")
    today, missed, _ = running.instance.get_runs(dg.RunsFilter(job_name="after_close"))
    news = {dg.AssetKey(["raw", "news_articles"]), dg.AssetKey(["raw", "disclosures"])}
    assert (missed.tags["dagster/partition"], today.tags["dagster/partition"]) == ("2026-09-21", "2026-09-22")
    assert news <= running.assets_of(missed)
    assert missed.tags["azak/searched_tiers"] == "1", "the quota of a day must outlast ten missed sessions"
    assert not news & running.assets_of(today)
    assert running.assets_of_job("corrections") < running.assets_of(today) < running.assets_of(missed)


def test_only_the_newest_ten_sessions_are_made_up_for(running: Daemon) -> None:
    running.tick(at("2026-12-01 20:00"))
    ((_, oldest, _),) = running.launched
    assert krx.count_between(datetime.fromisoformat(oldest).date(), at("2026-12-01").date()) == 9


def test_a_failed_session_is_tried_five_times_ever_later_and_holds_up_no_other(running: Daemon) -> None:
    running.outcome = lambda run: run.tags["dagster/partition"] != "2026-09-21"
    for first, last in (("15:40", "16:20"), ("17:00", "17:20"), ("19:00", "19:20"), ("23:00", "23:50")):
        running.run(f"2026-09-21 {first}", f"2026-09-21 {last}")
    running.run("2026-09-22 15:30", "2026-09-22 15:50")
    assert of("after_close", running) == [
        ("2026-09-21", "2026-09-21 15:40"),
        ("2026-09-21", "2026-09-21 16:10"),
        ("2026-09-21", "2026-09-21 17:10"),
        ("2026-09-21", "2026-09-21 19:10"),
        ("2026-09-21", "2026-09-21 23:10"),
        ("2026-09-22", "2026-09-22 15:40"),
    ]
    said = running.skipped("after_close")
    assert "2026-09-21 failed 5 times and is not tried again" in said
    assert "materialize it" in said

    # Somebody materializes it: then it is there.
    with freeze_time(at("2026-09-22 16:15")):
        running.materialize("2026-09-21", running.assets_of_job("corrections"))
    running.run("2026-09-22 16:20", "2026-09-22 16:20")
    assert "2026-09-21 failed" not in running.skipped("after_close")


def test_a_failed_run_whose_assets_all_landed_is_tried_again_all_the_same(running: Daemon) -> None:
    """A test of dbt that fails last leaves every table materialized."""
    running.outcome = lambda run: None
    running.run("2026-09-21 15:40", "2026-09-21 15:40")
    (run,) = running.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    with freeze_time(at("2026-09-21 15:48")):
        running.materialize("2026-09-21", running.assets_of(run))
    with freeze_time(at("2026-09-21 15:49")):
        running.end(run, False)
    running.run("2026-09-21 16:00", "2026-09-21 16:20")
    assert [minute for _, minute in of("after_close", running)] == ["2026-09-21 15:40", "2026-09-21 16:20"]


def test_a_run_that_was_made_and_never_submitted_is_not_waited_for(running: Daemon) -> None:
    create_run_for_test(
        running.instance,
        job_name="after_close",
        status=dg.DagsterRunStatus.NOT_STARTED,
        tags={"dagster/partition": "2026-09-21"},
    )
    running.run("2026-09-21 15:40", "2026-09-21 15:50")
    assert of("after_close", running) == [("2026-09-21", "2026-09-21 15:40")]


def test_a_session_loaded_by_hand_or_by_azak_run_is_not_asked_for_again(running: Daemon) -> None:
    with freeze_time(at("2026-09-22 15:45")):
        for day in ("2026-09-21", "2026-09-22"):
            running.materialize(day, running.assets_of_job("corrections"))
    running.run("2026-09-22 15:50", "2026-09-22 16:10")
    assert running.launched == []
    running.run("2026-09-23 07:30", "2026-09-23 07:30")
    assert running.launched == [("corrections", "2026-09-22", "2026-09-23 07:30")]


def test_a_run_of_the_job_s_earlier_name_counts(evenings: Daemon) -> None:
    """The home was updated after the session had run."""
    with freeze_time(at("2026-09-21 18:20")):
        run = create_run_for_test(evenings.instance, job_name="evening", tags={"dagster/partition": "2026-09-21"})
        evenings.end(run, True)
    evenings.run("2026-09-21 18:30", "2026-09-21 18:40")
    assert of("after_hours", evenings) == []
    with freeze_time(at("2026-09-22 18:05")):
        create_run_for_test(
            evenings.instance,
            job_name="evening",
            tags={"dagster/partition": "2026-09-22"},
            status=dg.DagsterRunStatus.STARTED,
        )
    evenings.run("2026-09-22 18:10", "2026-09-22 18:10")
    assert "A run of evening for 2026-09-22 is in progress" in evenings.skipped("after_hours")


def test_marts_made_before_the_close_do_not_count(running: Daemon) -> None:
    with freeze_time(at("2026-09-21 12:00")):
        running.materialize("2026-09-21", running.assets_of_job("corrections"))
    running.run("2026-09-21 15:40", "2026-09-21 16:00")
    assert of("after_close", running) == [("2026-09-21", "2026-09-21 15:40")]


def test_a_backfill_over_the_session_is_waited_for_and_another_is_not(running: Daemon) -> None:
    def backfill(first: str, last: str) -> dg.DagsterRun:
        return create_run_for_test(
            running.instance,
            job_name="__ASSET_JOB",
            status=dg.DagsterRunStatus.STARTED,
            asset_selection=frozenset({dg.AssetKey(["raw", "daily_bars"])}),
            tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
        )

    backfill("2020-01-02", "2026-09-18")
    over = backfill("2026-09-01", "2026-09-21")
    running.run("2026-09-21 15:40", "2026-09-21 15:50")
    assert running.launched == []
    assert "Another run works on 2026-09-21." in running.skipped("after_close")
    running.instance.report_run_failed(over)
    running.run("2026-09-21 16:00", "2026-09-21 16:10")
    assert of("after_close", running) == [("2026-09-21", "2026-09-21 16:00")]


def test_an_empty_database_is_not_filled_by_itself(daemon: Daemon) -> None:
    daemon.start("2026-09-21 00:00", "after_close", "correct_prices")
    daemon.run("2026-09-21 15:40", "2026-09-21 15:50")
    assert daemon.launched == []
    assert "run the job `reference`" in daemon.skipped("after_close")
    with freeze_time(at("2026-09-21 15:55")):
        daemon.instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(["raw", "stocks"])))
        # The prices that forecasts look back on, loaded for sessions that nobody has asked for.
        for day in ("2026-09-17", "2026-09-18"):
            daemon.materialize(day, {dg.AssetKey(["raw", "daily_bars"])})
    daemon.run("2026-09-21 16:00", "2026-09-21 16:30")
    assert of("after_close", daemon) == [("2026-09-21", "2026-09-21 16:00")]


def test_a_session_missed_on_the_first_day_is_remembered_by_its_run(running: Daemon) -> None:
    running.instance.wipe_assets([dg.AssetKey(["ml", "model_evaluations"])])
    running.outcome = lambda run: False
    running.run("2026-09-21 15:40", "2026-09-21 15:40")
    running.outcome = lambda run: True
    running.run("2026-09-22 09:00", "2026-09-22 09:00")
    assert of("after_close", running) == [("2026-09-21", "2026-09-21 15:40"), ("2026-09-21", "2026-09-22 09:00")]


def test_a_missed_morning_is_made_up_for_and_a_late_load_needs_none(running: Daemon) -> None:
    running.run("2026-09-21 15:40", "2026-09-21 15:40")
    running.run("2026-09-22 13:00", "2026-09-22 14:50")
    assert of("corrections", running) == [("2026-09-21", "2026-09-22 13:00")]
    # The session of the 22nd is loaded on the 23rd after 07:30, with what the night corrected.
    running.run("2026-09-23 09:00", "2026-09-23 11:00")
    assert of("after_close", running)[-1] == ("2026-09-22", "2026-09-23 09:00")
    assert of("corrections", running) == [("2026-09-21", "2026-09-22 13:00")]


def test_corrections_of_the_evening_do_not_stand_for_those_of_the_morning(running: Daemon) -> None:
    running.run("2026-09-21 15:40", "2026-09-21 15:40")
    with freeze_time(at("2026-09-21 20:00")):
        by_hand = create_run_for_test(
            running.instance, job_name="corrections", tags={"dagster/partition": "2026-09-21"}
        )
        running.end(by_hand, True)
    running.run("2026-09-22 07:30", "2026-09-22 08:00")
    assert of("corrections", running) == [("2026-09-21", "2026-09-22 07:30")]


# --- the evening: flows half an hour after the close, indices and after-hours at six ---------------------------------

AFTERNOON = ["15:40", "15:50", "16:00", "16:10", "16:40", "17:00", "17:10", "17:50", "18:00", "18:10", "20:00"]


@pytest.fixture
def evenings(running: Daemon) -> Daemon:
    """The schedules of the evening run too."""
    running.start("2026-09-21 00:00", "after_close_flows", "after_hours")
    with freeze_time(at("2026-09-19 12:00")):
        for job in ("flows", "after_hours"):
            done = create_run_for_test(running.instance, job_name=job, tags={"dagster/partition": "2026-09-18"})
            running.end(done, True)
    return running


def spend(daemon: Daemon, *days: str) -> None:
    for day in days:
        for time in AFTERNOON:
            daemon.tick(at(f"{day} {time}"))


def test_flows_are_asked_for_once_after_half_an_hour_and_indices_again_at_six(evenings: Daemon) -> None:
    spend(evenings, "2026-09-22", "2026-09-23", "2026-09-24", "2026-09-28")  # from the eve of Chuseok over it
    sessions = ["2026-09-21", "2026-09-22", "2026-09-23", "2026-09-28"]
    caught_up = [(sessions[0], "2026-09-22 15:40")]
    assert of("flows", evenings) == caught_up + [(day, f"{day} 16:00") for day in sessions[1:]]
    assert of("after_hours", evenings) == caught_up + [(day, f"{day} 18:00") for day in sessions[1:]]
    late = {dg.AssetKey(["raw", name]) for name in ("investor_flows", "overtime_bars")}
    for job in ("after_close", "corrections"):
        assert not late & evenings.assets_of_job(job), job
    breadth = dg.AssetKey(["raw", "index_breadth"])
    assert breadth in evenings.assets_of_job("after_close")
    assert breadth not in evenings.assets_of_job("corrections"), "it is told once"


def test_on_an_exam_day_flows_come_an_hour_later_and_the_after_hours_end_at_six_all_the_same(
    daemon: Daemon,
) -> None:
    with freeze_time(at("2026-11-18 20:00")):
        for job in ("after_close", "flows", "after_hours"):
            daemon.materialize("2026-11-18", daemon.assets_of_job(job))
    daemon.start("2026-11-19 00:00", "after_close", "after_close_flows", "after_hours")
    spend(daemon, "2026-11-19")
    assert daemon.launched == [
        ("after_close", "2026-11-19", "2026-11-19 16:40"),
        ("flows", "2026-11-19", "2026-11-19 17:00"),
        ("after_hours", "2026-11-19", "2026-11-19 18:00"),
    ]


def test_flows_that_were_made_before_they_were_out_do_not_count(evenings: Daemon) -> None:
    """`azak run` at a quarter to four leaves a green partition that says it is not out yet."""
    with freeze_time(at("2026-09-21 15:45")):
        evenings.materialize("2026-09-21", evenings.assets_of_job("flows") | evenings.assets_of_job("after_hours"))
    spend(evenings, "2026-09-21")
    assert of("flows", evenings) == [("2026-09-21", "2026-09-21 16:00")]
    assert of("after_hours", evenings) == [("2026-09-21", "2026-09-21 18:00")]


def test_the_evening_of_an_empty_database_waits_for_the_first_session(daemon: Daemon) -> None:
    daemon.start("2026-09-21 00:00", "after_close_flows", "after_hours")
    daemon.run("2026-09-21 17:50", "2026-09-21 18:10")
    assert daemon.launched == []
    assert "`after_close` begins with the first" in daemon.skipped("after_hours")
