"""What keeps the collectors alive: while one is wanted there is one, and never two; one that died is replaced."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.test_utils import create_run_for_test, freeze_time

from azak_assets.defs.collectors import LOOP_TAG
from tests.harness import at

Look = Callable[..., str]
FRIDAY = "2026-11-20"


def stop(monkeypatch: pytest.MonkeyPatch, now: str) -> None:
    """Stop the clock that the sensors look at; Dagster's own is stopped by `freeze_time`."""
    from azak_assets.defs.disclosures import sensors as filings  # noqa: PLC0415 - the definitions come first
    from azak_assets.defs.market import sensors as session  # noqa: PLC0415

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return at(now).astimezone(tz)

    for sensors in (filings, session):
        monkeypatch.setattr(sensors, "datetime", Stopped)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """One that knows the stocks."""
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(["raw", "stocks"]))
        yield instance


@pytest.fixture
def look(repository: dg.RepositoryDefinition, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Look:
    """`look("2026-11-20 10:00")`: the partition that a look at that instant asks for, or why it asks for none."""

    def evaluate(now: str, sensor: str = "intraday_collector") -> str:
        stop(monkeypatch, now)
        with freeze_time(at(now)):
            context = dg.build_sensor_context(instance=instance, repository_def=repository)
            done = repository.get_sensor_def(sensor).evaluate_tick(context)
        if done.skip_message is not None:
            return done.skip_message
        (request,) = done.run_requests
        assert request.run_key is None, "a run key would let one collector a session start, and no second one"
        return str(request.partition_key)

    return evaluate


@pytest.fixture
def collector(instance: dg.DagsterInstance) -> Callable[..., dg.DagsterRun]:
    """`collector("2026-11-20 10:00", dg.DagsterRunStatus.STARTED)`: a run of the job that was made at that instant."""

    def make(made: str, status: dg.DagsterRunStatus, job: str = "intraday") -> dg.DagsterRun:
        with freeze_time(at(made)):
            tags = {"dagster/partition": FRIDAY, **LOOP_TAG}
            run = create_run_for_test(instance, job_name=job, tags=tags, status=status)
            if status is dg.DagsterRunStatus.STARTED:
                event = DagsterEvent(DagsterEventType.RUN_START.value, run.job_name)
                instance.report_dagster_event(event, run.run_id)
            return run

    return make


@pytest.mark.parametrize(
    ("now", "asked"),
    [
        (f"{FRIDAY} 08:59:59", None),
        (f"{FRIDAY} 09:00:00", FRIDAY),
        (f"{FRIDAY} 12:34:56", FRIDAY),
        (f"{FRIDAY} 15:30:30", FRIDAY),  # the minute of the closing auction
        (f"{FRIDAY} 15:32:00", None),
        ("2026-11-19 09:30:00", None),  # the exam day opens at ten and closes at half past four
        ("2026-11-19 10:00:00", "2026-11-19"),
        ("2026-11-19 16:29:00", "2026-11-19"),
        ("2026-11-21 10:00:00", None),  # a Saturday
        ("2026-09-25 10:00:00", None),  # Chuseok
        ("2026-12-31 10:00:00", None),
        ("2027-01-04 09:30:00", None),
        ("2027-01-04 10:00:00", "2027-01-04"),
    ],
)
def test_a_collector_is_wanted_while_a_session_runs(look: Look, now: str, asked: str | None) -> None:
    said = look(now)
    assert said == asked if asked else said.startswith("No session runs: the next opens 20")


def test_before_there_are_stocks_nobody_is_asked_for(
    repository: dg.RepositoryDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(monkeypatch, f"{FRIDAY} 10:00")
    with dg.DagsterInstance.ephemeral() as empty, freeze_time(at(f"{FRIDAY} 10:00")):
        context = dg.build_sensor_context(instance=empty, repository_def=repository)
        done = repository.get_sensor_def("intraday_collector").evaluate_tick(context)
    assert "run the job `reference`" in str(done.skip_message)


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
def test_a_second_one_is_not_started_beside_one_at_work(
    look: Look, collector: Callable[..., dg.DagsterRun], status: dg.DagsterRunStatus
) -> None:
    run = collector(f"{FRIDAY} 10:00", status)
    assert look(f"{FRIDAY} 10:20") == f"A collector is at work: {run.run_id}."


def test_one_that_has_ended_is_followed_by_the_next_at_once(
    look: Look, collector: Callable[..., dg.DagsterRun]
) -> None:
    collector(f"{FRIDAY} 10:00", dg.DagsterRunStatus.SUCCESS)
    assert look(f"{FRIDAY} 10:31") == FRIDAY


def test_one_that_does_not_end_is_dead_and_not_waited_for(look: Look, collector: Callable[..., dg.DagsterRun]) -> None:
    collector(f"{FRIDAY} 10:00", dg.DagsterRunStatus.STARTED)
    assert look(f"{FRIDAY} 10:39").startswith("A collector is at work")
    assert look(f"{FRIDAY} 10:41") == FRIDAY


def test_a_killed_one_is_replaced_after_a_minute_and_one_that_fails_again_and_again_ever_later(
    look: Look, collector: Callable[..., dg.DagsterRun], instance: dg.DagsterInstance
) -> None:
    waited = []
    now = at(f"{FRIDAY} 10:00")
    for _ in range(7):
        run = collector(f"{now:%Y-%m-%d %H:%M:%S}", dg.DagsterRunStatus.STARTED)
        with freeze_time(now):
            instance.report_run_failed(run)
        start = now
        while look(f"{now:%Y-%m-%d %H:%M:%S}") != FRIDAY:
            now += (at(f"{FRIDAY} 00:01") - at(f"{FRIDAY} 00:00")) / 2
        waited.append((now - start).total_seconds() / 60)
    assert waited == [1, 2, 4, 8, 16, 30, 30]
    collector(f"{now:%Y-%m-%d %H:%M:%S}", dg.DagsterRunStatus.SUCCESS)
    run = collector(f"{now:%Y-%m-%d %H:%M:%S}", dg.DagsterRunStatus.STARTED)
    with freeze_time(now):
        instance.report_run_failed(run)
    assert look(f"{now:%Y-%m-%d} {now.hour}:{now.minute + 1}:00") == FRIDAY, "a success forgives what was before it"


@pytest.mark.parametrize(
    ("now", "partition"),
    [
        (f"{FRIDAY} 03:00:00", FRIDAY),
        (f"{FRIDAY} 12:34:56", FRIDAY),
        (f"{FRIDAY} 23:59:59", FRIDAY),
        ("2026-11-21 00:00:00", "2026-11-23"),  # a Saturday
        ("2026-09-24 00:00:00", "2026-09-28"),  # Chuseok
        ("2026-12-31 10:00:00", "2027-01-04"),  # the year's closing day
    ],
)
def test_filings_are_collected_around_the_clock_into_the_session_the_instant_belongs_to(
    look: Look, now: str, partition: str
) -> None:
    assert look(now, "disclosures_collector") == partition


def test_a_collector_of_filings_follows_another_and_a_dead_one_is_not_waited_for(
    look: Look, collector: Callable[..., dg.DagsterRun]
) -> None:
    run = collector(f"{FRIDAY} 10:00", dg.DagsterRunStatus.STARTED, "disclosures")
    assert look(f"{FRIDAY} 10:31", "disclosures_collector") == f"A collector is at work: {run.run_id}."
    assert look(f"{FRIDAY} 10:37", "disclosures_collector") == FRIDAY
    assert look("2026-11-21 00:00:30", "disclosures_collector") == "2026-11-23", "one may still end the day before"


def test_a_session_s_filings_asked_for_by_somebody_else_are_no_collector(
    look: Look, instance: dg.DagsterInstance
) -> None:
    tags = {"dagster/partition": FRIDAY}
    create_run_for_test(instance, job_name="disclosures", tags=tags, status=dg.DagsterRunStatus.STARTED)
    assert look(f"{FRIDAY} 10:00", "disclosures_collector") == FRIDAY


@pytest.mark.parametrize("job", ["intraday", "disclosures"])
def test_a_collector_is_not_retried_by_dagster_too_and_loops(repository: dg.RepositoryDefinition, job: str) -> None:
    tags = repository.get_job(job).tags
    assert tags["dagster/max_retries"] == "0"
    assert LOOP_TAG.items() <= tags.items()
