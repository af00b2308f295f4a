"""Pitfall 2 and the two files at the top: `dagster.yaml` and `workspace.yaml`, read by Dagster itself."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.events import DagsterEvent
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickStatus,
)
from dagster._core.test_utils import create_run_for_test
from psycopg import sql

from azak_assets import krx
from azak_assets.cli.environment import environment, ready_manifest
from azak_assets.cli.renames import move_instigator_states
from azak_assets.dagster_storage import KEPT
from azak_assets.defs.catchup import RETRY_AFTER, next_session_to_run
from azak_assets.defs.collectors import LOOP_TAG, next_run
from azak_assets.renamed import JOBS, SCHEDULES
from azak_assets.settings import REPOSITORY, Settings
from azak_assets.warehouse.postgres import database as warehouse_database


@pytest.fixture
def variables(
    empty_database: str, server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """What `azak up`, `azak run` and `azak env` put into the environment, for a database server of the user's own."""
    monkeypatch.setenv("AZAK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AZAK_DATABASE_URL", empty_database)
    settings = Settings()
    databases = warehouse_database.ensure_databases(settings.azak_home, empty_database)
    try:
        yield environment(settings, databases)
    finally:
        name = sa.make_url(databases.dagster).database
        with warehouse_database.connect(server_url) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(str(name))))


@pytest.fixture
def instance(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.from_config(str(REPOSITORY)) as instance:
        yield instance


def test_storage_url_comes_from_one_variable() -> None:
    parsed: dict[str, Any] = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    assert parsed["storage"]["custom"]["config"] == {"postgres_url": {"env": "AZAK_DAGSTER_DATABASE_URL"}}


def test_both_databases_name_their_driver(variables: dict[str, str], empty_database: str) -> None:
    """With SQLAlchemy 2.1 a bare `postgresql://` means psycopg 3, whose parameters dagster-postgres does not speak."""
    assert variables["AZAK_DAGSTER_DATABASE_URL"].startswith("postgresql+psycopg2://")
    assert empty_database.startswith("postgresql+psycopg://")
    own, of_dagster = sa.make_url(empty_database), sa.make_url(variables["AZAK_DAGSTER_DATABASE_URL"])
    assert of_dagster.database == f"{own.database}_dagster"


def test_runs_and_events_are_written_through_it(instance: dg.DagsterInstance) -> None:
    @dg.asset
    def probe() -> None: ...

    done = dg.materialize([probe], instance=instance)
    assert done.success
    assert instance.get_run_by_id(done.run_id) is not None
    materialized = instance.get_latest_materialization_event(dg.AssetKey("probe"))
    assert materialized is not None
    assert materialized.run_id == done.run_id
    instance.add_dynamic_partitions("a set", ["a key"])
    assert instance.get_dynamic_partitions("a set") == ["a key"]


OF_US = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"


def test_it_keeps_its_connections_and_outlives_their_end(instance: dg.DagsterInstance) -> None:
    """Dagster's own storage opens one for every statement; one that the server ended is replaced unnoticed."""
    address = os.environ["AZAK_DAGSTER_DATABASE_URL"].replace("psycopg2", "psycopg")
    instance.report_runless_asset_event(dg.AssetMaterialization("kept"))
    with warehouse_database.connect(address) as watching:
        backends = {pid for (pid,) in watching.execute(f"select pid {OF_US}")}
        for _ in range(5):
            instance.report_runless_asset_event(dg.AssetMaterialization("kept"))
            instance.get_runs()
        assert 1 <= len(backends) <= KEPT
        assert {pid for (pid,) in watching.execute(f"select pid {OF_US}")} == backends
        watching.execute(f"select pg_terminate_backend(pid) {OF_US}")
    instance.report_runless_asset_event(dg.AssetMaterialization("kept", description="after the end"))
    newest = instance.get_latest_materialization_event(dg.AssetKey("kept"))
    assert newest is not None
    assert newest.asset_materialization is not None
    assert newest.asset_materialization.description == "after the end"


def test_sessions_that_still_need_a_run_are_read_from_it(instance: dg.DagsterInstance) -> None:
    """The weeks of `test_graph_clock` run in memory; here the same questions go to PostgreSQL."""
    bars, scores = dg.AssetKey(["raw", "daily_bars"]), dg.AssetKey(["ml", "model_evaluations"])
    due = {session.day: session.close_at for session in krx.sessions(date(2026, 9, 21), date(2026, 9, 23))}

    def asked(now: datetime | None = None) -> date | str:
        return next_session_to_run(
            instance,
            "after_close",
            produces=[bars, scores],
            due=due,
            one_at_a_time=["after_close"],
            now=now or datetime.now(krx.KST),
        )

    first, second, third = due
    for key in (bars, scores):
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=str(first)))
    instance.report_runless_asset_event(dg.AssetMaterialization(bars, partition=str(second)))
    assert asked() == second
    tags = {"dagster/partition": str(second)}
    run = create_run_for_test(instance, job_name="after_close", tags=tags, status=dg.DagsterRunStatus.STARTED)
    assert run.run_id in str(asked())
    instance.report_run_failed(run)
    assert asked() == third, "the failed one waits for its next attempt"
    assert asked(datetime.now(krx.KST) + RETRY_AFTER) == second
    done = create_run_for_test(instance, job_name="after_close", tags=tags)
    instance.report_dagster_event(DagsterEvent("PIPELINE_SUCCESS", "after_close"), done.run_id)
    assert asked(datetime.now(krx.KST) + RETRY_AFTER) == third


def test_a_run_counts_by_its_events_whatever_zone_the_database_writes_in(instance: dg.DagsterInstance) -> None:
    """Fault S16: `create_timestamp` is the database's wall clock without a zone, in Korea nine hours ahead."""
    day = krx.sessions(date(2026, 9, 21), date(2026, 9, 21))[0].day
    run = create_run_for_test(instance, job_name="after_close", tags={"dagster/partition": str(day)})
    instance.report_dagster_event(DagsterEvent("PIPELINE_SUCCESS", "after_close"), run.run_id)
    ended = datetime.now(krx.KST)
    for zone in ("Asia/Seoul", "UTC", "America/New_York"):
        written = ended.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        with warehouse_database.connect(os.environ["AZAK_DAGSTER_DATABASE_URL"].replace("psycopg2", "psycopg")) as own:
            own.execute("update runs set create_timestamp = %s, update_timestamp = %s", (written, written))

        def asked(due: datetime) -> date | str:
            return next_session_to_run(
                instance,
                "after_close",
                produces=[dg.AssetKey(["raw", "daily_bars"])],
                due={day: due},
                one_at_a_time=[],
                now=ended + timedelta(hours=12),
            )

        assert asked(ended + timedelta(minutes=1)) == day, f"made before it was due, {zone}"
        assert "complete" in str(asked(ended - timedelta(hours=1))), f"made since it was due, {zone}"


def test_a_collector_that_starts_is_at_work_whatever_zone_the_database_writes_in(instance: dg.DagsterInstance) -> None:
    now = datetime.now(krx.KST)
    session = krx.current_or_next_session(now)
    tags = {"dagster/partition": str(session.day), **LOOP_TAG}
    run = create_run_for_test(instance, job_name="intraday", tags=tags, status=dg.DagsterRunStatus.STARTING)
    for zone in ("Asia/Seoul", "UTC", "America/New_York"):
        written = now.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        with warehouse_database.connect(os.environ["AZAK_DAGSTER_DATABASE_URL"].replace("psycopg2", "psycopg")) as own:
            own.execute("update runs set create_timestamp = %s, update_timestamp = %s", (written, written))
        asked = next_run(instance, "intraday", session, now, longest=timedelta(minutes=30))
        assert isinstance(asked, dg.SkipReason), zone
        assert run.run_id in str(asked.skip_message)


def _state(
    name: str, kind: InstigatorType, status: InstigatorStatus, data: Any, *, port: int = 4000
) -> InstigatorState:
    location = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=port, location_name="azak")
    repository = RemoteRepositoryOrigin(location, "__repository__")
    return InstigatorState(RemoteInstigatorOrigin(repository, name), kind, status, data)


def test_a_renamed_schedule_or_sensor_keeps_its_state_and_its_cursor(instance: dg.DagsterInstance) -> None:
    renamed = {"morning_after": "correct_prices", "evening": "after_hours", "old_watch": "new_watch"}
    schedule = ScheduleInstigatorData("30 * * * *", start_timestamp=1.0, last_iteration_timestamp=2.0)
    sensor = SensorInstigatorData(cursor="2026-11-30 07", last_run_key="a key")
    stopped, running = InstigatorStatus.STOPPED, InstigatorStatus.RUNNING
    before = [
        _state("morning_after", InstigatorType.SCHEDULE, stopped, schedule),
        _state("evening", InstigatorType.SCHEDULE, running, schedule),
        _state("old_watch", InstigatorType.SENSOR, running, sensor),
        _state("before_open", InstigatorType.SCHEDULE, running, schedule),
    ]
    for state in before:
        instance.add_instigator_state(state)
    # The next `azak up` of the old version: another port of the code server, so another origin of the same schedule.
    instance.update_instigator_state(_state("evening", InstigatorType.SCHEDULE, running, schedule, port=4001))

    assert move_instigator_states(instance, renamed) == ["after_hours", "correct_prices", "new_watch"]

    def found(name: str, kind: InstigatorType) -> InstigatorState | None:
        looked_for = _state(name, kind, stopped, sensor if kind is InstigatorType.SENSOR else schedule, port=4002)
        return instance.get_instigator_state(looked_for.instigator_origin_id, looked_for.selector_id)

    for old, state in zip(("morning_after", "evening", "old_watch"), before, strict=False):
        new = found(renamed[old], state.instigator_type)
        assert new is not None, old
        assert (new.status, new.instigator_data) == (state.status, state.instigator_data), old
        left = found(old, state.instigator_type)
        assert left is None or left.status is stopped, "the daemon would look for it"
    assert found("before_open", InstigatorType.SCHEDULE) == before[3]

    # The operator changes the new one; a second start leaves that alone.
    changed = found("after_hours", InstigatorType.SCHEDULE)
    assert changed is not None
    instance.update_instigator_state(changed.with_status(stopped))
    assert move_instigator_states(instance, renamed) == []
    again = found("after_hours", InstigatorType.SCHEDULE)
    assert again is not None
    assert again.status is stopped


def test_every_new_name_is_one_that_the_definitions_have(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    names = {one.name for one in (*repository.schedule_defs, *repository.sensor_defs)}
    assert set(SCHEDULES.values()) <= names
    assert set(JOBS.values()) <= set(repository.job_names)
    assert not (SCHEDULES.keys() & names) | (JOBS.keys() & set(repository.job_names))


def test_a_pool_holds_back_other_runs_until_its_step_ends(instance: dg.DagsterInstance) -> None:
    """While a step holds a slot other runs get what the limit leaves; then they get that slot too (dagster#31936)."""
    slots = instance.event_log_storage
    claimed: list[bool] = []

    @dg.asset(pool="kis")
    def probe() -> None:
        limit = instance.global_op_concurrency_default_limit or 0
        others = [slots.claim_concurrency_slot("kis", f"run {number}", "a step") for number in range(limit)]
        claimed.extend(one.is_claimed for one in others)
        for number in range(limit):
            slots.free_concurrency_slots_for_run(f"run {number}")

    assert dg.materialize([probe], instance=instance).success
    assert claimed == [True] * (len(claimed) - 1) + [False]
    assert slots.claim_concurrency_slot("kis", "a later run", "a step").is_claimed


def test_settings_arrive_in_the_instance(instance: dg.DagsterInstance) -> None:
    assert not instance.telemetry_enabled
    pools = instance.get_concurrency_config().pool_config
    assert str(pools.pool_granularity.value) == "op", "run granularity would hold a whole run for one step"
    assert pools.default_pool_limit is not None, "a pool without a limit bounds nothing"
    assert instance.run_monitoring_enabled
    assert instance.get_settings("run_monitoring")["free_slots_after_run_end_seconds"] > 0, (
        "a cancelled run keeps its slot"
    )
    assert instance.run_monitoring_max_runtime_seconds
    assert instance.run_retries_enabled
    assert instance.run_retries_max_retries > 0
    assert not instance.run_retries_retry_on_asset_or_op_failure, "retries of steps and of runs would multiply"
    for kind in (InstigatorType.SCHEDULE, InstigatorType.SENSOR):
        kept = instance.get_tick_retention_settings(kind)
        for status in (TickStatus.SKIPPED, TickStatus.SUCCESS, TickStatus.FAILURE):
            assert kept[status] > 0, f"{kind} ticks that are {status} are kept for ever"


def test_dbt_sends_no_statistics() -> None:
    project: dict[str, Any] = yaml.safe_load((REPOSITORY / "azak_dbt" / "dbt_project.yml").read_text())
    assert project["flags"]["send_anonymous_usage_stats"] is False


def test_workspace_loads_as_dagster_loads_it(
    variables: dict[str, str], dbt_manifest: dict[str, Any], tmp_path: Path
) -> None:
    """One process reads both files and the code location, as `dagster dev` would, and reports no defect."""
    ready_manifest(variables)
    done = subprocess.run(
        [Path(sys.executable).parent / "dagster", "definitions", "validate", "-w", "workspace.yaml"],
        cwd=REPOSITORY,
        env={**os.environ, **variables, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Validation successful for code location azak." in done.stdout + done.stderr
