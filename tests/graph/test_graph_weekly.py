"""Two Sundays' jobs and the exchange's mornings: when a tick asks, what it waits for, and how it catches up."""

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test, freeze_time

from tests.harness import at

PRODUCTS = dg.AssetKey(["raw", "product_info"])
EXCHANGE_BARS, DAILY_BARS = dg.AssetKey(["raw", "krx_daily_bars"]), dg.AssetKey(["raw", "daily_bars"])


class Clockwork:
    """One instance and what its schedules make of an instant."""

    def __init__(self, instance: dg.DagsterInstance, repository: dg.RepositoryDefinition) -> None:
        self.instance = instance
        self._repository = repository

    def tick(self, schedule: str, instant: str) -> dg.RunRequest | str:
        context: Any = dg.build_schedule_context(scheduled_execution_time=at(instant), repository_def=self._repository)
        # A schedule opens the instance by its reference; this one is in memory and has none.
        context._instance = context._instance_ref = self.instance
        with freeze_time(at(instant)):
            done = self._repository.get_schedule_def(schedule).evaluate_tick(context)
        return done.run_requests[0] if done.run_requests else str(done.skip_message)

    def asks(self, schedule: str, instant: str) -> bool:
        return isinstance(self.tick(schedule, instant), dg.RunRequest)

    def made(self, key: dg.AssetKey, instant: str, partition: str | None = None) -> None:
        with freeze_time(at(instant)):
            metadata = {"asked_at": dg.MetadataValue.timestamp(at(instant))}
            event = dg.AssetMaterialization(key, partition=partition, metadata=metadata)
            self.instance.report_runless_asset_event(event)

    def ran(self, job: str, instant: str, status: dg.DagsterRunStatus) -> None:
        with freeze_time(at(instant)):
            run = create_run_for_test(self.instance, job_name=job, status=dg.DagsterRunStatus.STARTED)
            if status is dg.DagsterRunStatus.FAILURE:
                self.instance.report_run_failed(run)


@pytest.fixture
def clockwork(repository: dg.RepositoryDefinition) -> Iterator[Clockwork]:
    with dg.DagsterInstance.ephemeral() as instance:
        ready = Clockwork(instance, repository)
        ready.made(dg.AssetKey(["raw", "stocks"]), "2026-11-02 08:00")
        yield ready


@pytest.mark.parametrize(
    ("schedule", "key", "hour"),
    [("sunday_products", PRODUCTS, 1), ("sunday_ratios", dg.AssetKey(["raw", "financial_ratios"]), 2)],
)
def test_each_sunday_is_asked_for_once_at_its_hour(
    clockwork: Clockwork, schedule: str, key: dg.AssetKey, hour: int
) -> None:
    clockwork.made(key, "2026-11-15 03:00")
    asked = [
        f"{day} {tick:02d}:00"
        for day, ticks in (("2026-11-20", (7, 18)), ("2026-11-21", (1, 2, 23)), ("2026-11-22", range(4)))
        for tick in ticks
        if clockwork.asks(schedule, f"{day} {tick:02d}:00")
    ]
    assert asked[0] == f"2026-11-22 {hour:02d}:00"
    clockwork.made(key, f"2026-11-22 {hour:02d}:10")
    assert not clockwork.asks(schedule, f"2026-11-22 {hour + 1:02d}:00")
    assert "since it was due on 2026-11-22" in str(clockwork.tick(schedule, "2026-11-28 23:00"))
    assert clockwork.asks(schedule, f"2026-11-29 {hour:02d}:00")


def test_a_request_names_no_partition_and_its_week_s_tick(clockwork: Clockwork) -> None:
    request = clockwork.tick("sunday_products", "2026-11-22 01:00")
    assert isinstance(request, dg.RunRequest)
    assert (request.partition_key, request.run_key) == (None, "products 2026-11-22T01:00")


def test_a_missed_sunday_is_made_up_for_outside_the_session(clockwork: Clockwork) -> None:
    clockwork.made(PRODUCTS, "2026-11-15 01:10")
    assert "waits until the session has closed" in str(clockwork.tick("sunday_products", "2026-11-23 10:00"))
    assert clockwork.asks("sunday_products", "2026-11-23 08:00")
    assert clockwork.asks("sunday_products", "2026-11-23 16:00")
    assert not clockwork.asks("sunday_products", "2026-11-21 23:00"), "the week before is done"


def test_an_answer_that_was_only_carried_over_counts_from_when_it_was_given(clockwork: Clockwork) -> None:
    with freeze_time(at("2026-11-23 12:00")):
        metadata = {"asked_at": dg.MetadataValue.timestamp(at("2026-11-18 12:00"))}
        clockwork.instance.report_runless_asset_event(dg.AssetMaterialization(PRODUCTS, metadata=metadata))
    assert clockwork.asks("sunday_products", "2026-11-23 18:00")


def test_without_stocks_there_is_nobody_to_ask_about(repository: dg.RepositoryDefinition) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert "run the job `reference`" in str(
            Clockwork(instance, repository).tick("sunday_ratios", "2026-11-22 02:00")
        )


def test_a_failed_sunday_is_tried_five_times_ever_later(clockwork: Clockwork) -> None:
    job = "products"
    clockwork.ran(job, "2026-11-22 01:01", dg.DagsterRunStatus.FAILURE)
    assert "tried again from 2026-11-22 01:3" in str(clockwork.tick("sunday_products", "2026-11-22 01:30"))
    assert clockwork.asks("sunday_products", "2026-11-22 02:00")
    clockwork.ran(job, "2026-11-22 02:01", dg.DagsterRunStatus.FAILURE)
    assert not clockwork.asks("sunday_products", "2026-11-22 03:00")
    assert clockwork.asks("sunday_products", "2026-11-22 04:00")
    for hour in (4, 6, 10):
        clockwork.ran(job, f"2026-11-22 {hour:02d}:01", dg.DagsterRunStatus.FAILURE)
    assert "not tried again before next week" in str(clockwork.tick("sunday_products", "2026-11-25 20:00"))
    assert clockwork.asks("sunday_products", "2026-11-29 01:00")


def test_a_run_in_progress_is_waited_for(clockwork: Clockwork) -> None:
    clockwork.ran("products", "2026-11-22 01:01", dg.DagsterRunStatus.STARTED)
    assert "in progress" in str(clockwork.tick("sunday_products", "2026-11-22 02:00"))


def test_a_load_of_everything_does_not_run_in_the_daily_jobs(repository: dg.RepositoryDefinition) -> None:
    def assets(job: str) -> set[dg.AssetKey]:
        return set(repository.get_job(job).asset_layer.executable_asset_keys)

    weekly = {PRODUCTS, dg.AssetKey(["raw", "financial_ratios"])}
    assert not assets("reference") & weekly
    assert assets("products") | assets("ratios") == weekly
    assert assets("reconciliation") == {EXCHANGE_BARS}
    for job in ("after_close", "corrections", "news"):
        assert EXCHANGE_BARS not in assets(job), f"{job} runs before the exchange publishes"


Tick = Callable[[str], bool]


@pytest.mark.parametrize(
    ("session", "not_yet", "from_then"),
    [
        ("2026-11-18", "2026-11-19 07:45", "2026-11-19 08:45"),
        ("2026-11-20", "2026-11-22 08:45", "2026-11-23 08:45"),  # a Friday, told on Monday at the latest
        ("2026-09-23", "2026-09-27 08:45", "2026-09-28 08:45"),  # before Chuseok
        ("2026-12-30", "2026-12-31 08:45", "2027-01-04 08:45"),
    ],
)
def test_the_exchange_is_asked_on_the_morning_of_the_next_session(
    clockwork: Clockwork, session: str, not_yet: str, from_then: str
) -> None:
    assert not clockwork.asks("reconcile_with_exchange", from_then), "there are no prices to compare with"
    clockwork.made(DAILY_BARS, f"{session} 15:45", session)
    clockwork.made(EXCHANGE_BARS, f"{session} 15:46", session)  # a load of everything: not published yet
    assert not clockwork.asks("reconcile_with_exchange", not_yet)
    request = clockwork.tick("reconcile_with_exchange", from_then)
    assert isinstance(request, dg.RunRequest)
    assert (request.partition_key, request.run_key) == (session, f"reconcile_with_exchange {session}")
    clockwork.made(EXCHANGE_BARS, from_then, session)
    assert not clockwork.asks("reconcile_with_exchange", from_then)
