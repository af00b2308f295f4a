"""Runs and backfills that nobody works on any more, as the next start finds them."""

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.events import RunFailureReason
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.execution.retries import auto_reexecution_should_retry_run
from dagster._core.test_utils import create_run_for_test, instance_for_test

from azak_assets.cli.dead_runs import FIRST_LOAD, NO_RETRY, PROCESS_TAG, cancel_first_loads, end_dead_runs, this_process

BY_HAND = {"azak/why": "a user asked for it"}
RETRIES = {"run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with instance_for_test(overrides=RETRIES) as made:
        yield made


def backfill(
    instance: dg.DagsterInstance, name: str, tags: dict[str, str], status: BulkActionStatus = BulkActionStatus.REQUESTED
) -> None:
    instance.add_backfill(
        PartitionBackfill(
            backfill_id=name,
            status=status,
            from_failure=False,
            tags=tags,
            backfill_timestamp=0.0,
            asset_selection=[dg.AssetKey(["raw", "daily_bars"])],
        )
    )


def status_of(instance: dg.DagsterInstance, name: str) -> str:
    found = instance.get_backfill(name)
    assert found is not None
    return found.status.value


def run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, tags: dict[str, str]) -> str:
    return create_run_for_test(instance, status=status, tags=tags).run_id


def state(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run_id)
    assert found is not None
    return found.status


def would_retry(instance: dg.DagsterInstance, run_id: str) -> bool:
    found = instance.get_run_by_id(run_id)
    assert found is not None
    return auto_reexecution_should_retry_run(instance, found, RunFailureReason.UNKNOWN)


def test_a_first_load_that_was_stopped_is_not_made_a_second_time(instance: dg.DagsterInstance) -> None:
    backfill(instance, "stopped", FIRST_LOAD)
    backfill(instance, "loaded", FIRST_LOAD, BulkActionStatus.COMPLETED_SUCCESS)
    backfill(instance, "by hand", BY_HAND)
    executing = run(instance, dg.DagsterRunStatus.STARTED, {**FIRST_LOAD, "dagster/backfill": "stopped"})
    waiting = run(instance, dg.DagsterRunStatus.NOT_STARTED, {**FIRST_LOAD, "dagster/backfill": "stopped"})
    of_a_user = run(instance, dg.DagsterRunStatus.NOT_STARTED, {**BY_HAND, "dagster/backfill": "by hand"})

    assert cancel_first_loads(instance) == 1
    assert end_dead_runs(instance, no_daemon=True) == 1

    assert status_of(instance, "stopped") == "CANCELED"
    assert status_of(instance, "loaded") == "COMPLETED_SUCCESS"
    assert status_of(instance, "by hand") == "REQUESTED", "the daemon goes on with it"
    assert state(instance, waiting) == dg.DagsterRunStatus.CANCELED
    assert state(instance, of_a_user) == dg.DagsterRunStatus.NOT_STARTED
    assert state(instance, executing) == dg.DagsterRunStatus.FAILURE
    assert not would_retry(instance, executing), "what is missing is asked for anew; a retry would load it twice"
    assert cancel_first_loads(instance) == 0


def test_a_dead_run_of_a_user_is_tried_again(instance: dg.DagsterInstance) -> None:
    dead = run(instance, dg.DagsterRunStatus.STARTED, BY_HAND)
    assert end_dead_runs(instance, no_daemon=False) == 0, "somebody may be working on it"
    assert end_dead_runs(instance, no_daemon=True) == 1
    assert would_retry(instance, dead)


def test_a_run_of_the_command_is_dead_when_its_process_is(instance: dg.DagsterInstance) -> None:
    mine = run(instance, dg.DagsterRunStatus.STARTED, {PROCESS_TAG: this_process(), **NO_RETRY})
    reused = run(instance, dg.DagsterRunStatus.STARTED, {PROCESS_TAG: f"{this_process()}9", **NO_RETRY})
    assert end_dead_runs(instance, no_daemon=True) == 1
    assert state(instance, mine) == dg.DagsterRunStatus.STARTED
    assert state(instance, reused) == dg.DagsterRunStatus.FAILURE
    assert not would_retry(instance, reused), "who started `azak run` starts it again, no daemon does"
