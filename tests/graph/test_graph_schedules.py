"""Pitfall 3: every schedule's ticks around Chuseok, on an exam day, at the turn of the year and on a Saturday.

Ticks are evaluated as the daemon does, with the partitions as they are at that instant: a request for a partition that
does not exist yet fails here. One tick at a time: what a row of ticks launches is told in `test_graph_clock`.
"""

import runpy
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pytest

from azak_assets.defs import schedules
from tests.harness import at

Tick = Callable[[str, str], tuple[str | None, str]]
"""(schedule, KST instant) -> (partition, run key), or (None, the reason for asking nothing)."""


@pytest.fixture(scope="session")
def instance() -> Iterator[dg.DagsterInstance]:
    """One that knows the stocks and has no session yet."""
    with dg.DagsterInstance.local_temp() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(["raw", "stocks"]))
        yield instance


@pytest.fixture(scope="session")
def tick(repository: dg.RepositoryDefinition, instance: dg.DagsterInstance) -> Tick:
    def evaluate(name: str, instant: str) -> tuple[str | None, str]:
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=at(instant), repository_def=repository
        )
        done = repository.get_schedule_def(name).evaluate_tick(context)
        if done.skip_message is not None:
            return None, done.skip_message
        (request,) = done.run_requests
        return request.partition_key, request.run_key

    return evaluate


@pytest.mark.parametrize(
    ("instant", "partition"),
    [
        ("2026-09-21 00:00", "2026-09-21"),
        ("2026-09-23 15:40", "2026-09-23"),
        ("2026-09-23 23:50", "2026-09-23"),
        ("2026-09-24 00:00", "2026-09-28"),  # Chuseok: news of three days belong to the session after them
        ("2026-09-25 12:00", "2026-09-28"),
        ("2026-09-26 09:00", "2026-09-28"),
        ("2026-09-27 23:50", "2026-09-28"),
        ("2026-09-28 08:00", "2026-09-28"),
        ("2026-10-02 23:50", "2026-10-02"),
        ("2026-10-03 00:00", "2026-10-06"),  # Foundation Day on a Saturday, closed again on Monday the 5th
        ("2026-10-05 12:00", "2026-10-06"),
        ("2026-11-19 16:00", "2026-11-19"),  # the exam day
        ("2026-11-21 10:00", "2026-11-23"),  # a Saturday
        ("2026-12-31 10:00", "2027-01-04"),  # the year's closing day
        ("2027-01-01 10:00", "2027-01-04"),
        ("2027-01-04 09:30", "2027-01-04"),  # the year's first session, before it opens at 10:00
    ],
)
def test_news_are_asked_for_the_session_the_instant_belongs_to(tick: Tick, instant: str, partition: str) -> None:
    asked, run_key = tick("news_feed", instant)
    assert asked == partition
    assert run_key == f"news {instant.replace(' ', 'T')}", "two ticks of one minute are one run"


@pytest.mark.parametrize(
    ("instant", "asks"),
    [
        ("2026-09-23 15:30", None),  # closed, not settled
        ("2026-09-23 15:40", "2026-09-23"),
        ("2026-09-24 15:40", None),
        ("2026-09-25 15:40", None),
        ("2026-09-28 15:40", "2026-09-28"),
        ("2026-11-19 15:40", None),  # the exam day closes at 16:30
        ("2026-11-19 16:30", None),
        ("2026-11-19 16:40", "2026-11-19"),
        ("2026-11-20 15:40", "2026-11-20"),
        ("2026-11-21 15:40", None),
        ("2026-12-30 15:40", "2026-12-30"),
        ("2026-12-31 15:40", None),
        ("2027-01-04 10:00", None),
        ("2027-01-04 15:40", "2027-01-04"),
    ],
)
def test_after_close_asks_once_bars_are_final(tick: Tick, instant: str, asks: str | None) -> None:
    asked, said = tick("after_close", instant)
    assert asked == asks
    if asks:
        assert said == f"after_close {asks}"


@pytest.mark.parametrize(
    ("instant", "words"),
    [
        ("2026-09-25 15:40", ["2026-09-25 is no session", "2026-09-28"]),
        ("2026-12-31 15:40", ["2026-12-31 is no session", "2027-01-04"]),
        ("2026-11-19 15:40", ["2026-11-19", "16:40", "15:40"]),
    ],
)
def test_a_tick_that_asks_nothing_says_why(tick: Tick, instant: str, words: list[str]) -> None:
    asked, reason = tick("after_close", instant)
    assert asked is None
    for word in words:
        assert word in reason


@pytest.mark.parametrize(
    ("session", "not_yet", "from_then"),
    [
        ("2026-09-21", "2026-09-22 06:30", "2026-09-22 07:30"),
        ("2026-09-23", "2026-09-24 06:30", "2026-09-24 07:30"),  # Chuseok has begun; its eve is still looked at again
        ("2026-10-02", "2026-10-03 06:30", "2026-10-03 07:30"),  # a Saturday, after a session
        ("2026-11-19", "2026-11-20 06:30", "2026-11-20 07:30"),
        ("2026-12-30", "2026-12-31 06:30", "2026-12-31 07:30"),
        ("2027-01-04", "2027-01-05 06:30", "2027-01-05 07:30"),
    ],
)
def test_morning_after_looks_again_at_a_session_that_has_prices(
    repository: dg.RepositoryDefinition, session: str, not_yet: str, from_then: str
) -> None:
    schedule = repository.get_schedule_def("correct_prices")

    def asked(instance: dg.DagsterInstance, instant: str) -> list[str | None]:
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=at(instant), repository_def=repository
        )
        return [request.partition_key for request in schedule.evaluate_tick(context).run_requests or []]

    with dg.DagsterInstance.local_temp() as instance:
        assert asked(instance, from_then) == [], "there is nothing to correct"
        instance.report_runless_asset_event(dg.AssetMaterialization(["raw", "daily_bars"], partition=session))
        assert asked(instance, not_yet) == []
        assert asked(instance, from_then) == [session]


def test_reference_is_asked_before_a_session_opens_and_needs_no_partition(tick: Tick) -> None:
    asked, said = tick("before_open", "2026-09-28 08:00")
    assert asked is None
    assert said == "reference 2026-09-28"


def test_reference_is_not_asked_on_a_closed_day(tick: Tick) -> None:
    _, said = tick("before_open", "2026-09-25 08:00")
    assert said == "2026-09-25 is no session; the next is 2026-09-28."


def test_schedules_tick_in_korean_time_and_say_what_for(repository: dg.RepositoryDefinition) -> None:
    for schedule in repository.schedule_defs:
        assert schedule.execution_timezone == "Asia/Seoul", schedule.name
        assert len(schedule.description or "") > len(schedule.name), schedule.name
        # A weekday field of 1-5 knows no holidays; each schedule asks the calendar itself.
        assert not schedule.cron_schedule.endswith("1-5"), schedule.name


@pytest.mark.parametrize(
    ("mode", "status"),
    [("live", dg.DefaultScheduleStatus.RUNNING), ("sandbox", dg.DefaultScheduleStatus.STOPPED)],
)
def test_schedules_run_in_the_live_world_only(
    monkeypatch: pytest.MonkeyPatch, mode: str, status: dg.DefaultScheduleStatus
) -> None:
    monkeypatch.setenv("AZAK_MODE", mode)
    loaded: list[Any] = runpy.run_path(schedules.__file__)["SCHEDULES"]
    assert {schedule.name: schedule.default_status for schedule in loaded} == {
        schedule.name: status for schedule in schedules.SCHEDULES
    }


def test_every_asset_is_in_a_job_that_something_starts(repository: dg.RepositoryDefinition) -> None:
    """An asset that no schedule and no sensor reaches would only be as fresh as somebody's last click."""
    scheduled = {schedule.job_name for schedule in repository.schedule_defs}
    scheduled |= {target.job_name for sensor in repository.sensor_defs for target in sensor.targets}
    reached = set().union(*(repository.get_job(name).asset_layer.executable_asset_keys for name in scheduled))
    assert reached == set(repository.asset_graph.executable_asset_keys)


def test_what_only_a_running_session_has_is_left_to_its_collector(
    repository: dg.RepositoryDefinition,
) -> None:
    """After the close there is nothing of it, and a session would never be there for `after_close`."""
    while_open = {dg.AssetKey(["raw", "quote_snapshots"]), dg.AssetKey(["raw", "order_books"])}
    scheduled = {schedule.job_name for schedule in repository.schedule_defs}
    for name in scheduled:
        assert not while_open & repository.get_job(name).asset_layer.executable_asset_keys, name
    assert repository.get_job("intraday").asset_layer.executable_asset_keys == {
        *while_open,
        dg.AssetKey(["raw", "minute_bars"]),
    }


def test_no_asset_runs_by_cron_condition(nodes: dict[str, Any]) -> None:
    """`on_cron` asks for a future session on a closed day; the schedules above ask the calendar."""
    conditions = {name: str(node.automation_condition) for name, node in nodes.items() if node.automation_condition}
    assert not [name for name, condition in conditions.items() if "cron" in condition.lower()]


def test_a_day_of_news_searches_stays_inside_the_quota() -> None:
    """Tiers of 30, 170 and 2,500 stocks, three market queries a tick, against Naver's 25,000 calls a day."""
    from azak_assets.defs.schedules import searched_tiers  # noqa: PLC0415 - the definitions come first

    stocks = {1: 30, 2: 170, 3: 1_000, 4: 1_000, 5: 500}
    ticks = [at(f"2026-09-28 {hour:02d}:{minute:02d}") for hour in range(24) for minute in range(0, 60, 10)]
    calls = sum(3 + sum(stocks[tier] for tier in searched_tiers(tick)) for tick in ticks)
    assert 15_000 < calls < 17_000
    assert all(1 in searched_tiers(tick) for tick in ticks)
    assert sum(2 in searched_tiers(tick) for tick in ticks) == 24
    assert sum(5 in searched_tiers(tick) for tick in ticks) == 3
