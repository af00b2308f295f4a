"""Runs that nobody executes any more: a killed command leaves them as started, and their pool slots taken.

Belongs here: finding and ending them, so that the next run need not wait for slots that nobody will give back. The own
monitoring of Dagster cannot: it sees that a run is old, not that its process is gone.
"""

import os

import dagster as dg
import psutil

PROCESS_TAG = "azak/process"
"""Carried by runs that `azak run` executes itself: its pid and start time, so that a reused pid is not taken for it."""

IN_PROGRESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def this_process() -> str:
    """The value of `PROCESS_TAG` for runs of this process."""
    return f"{os.getpid()} {psutil.Process().create_time():.2f}"


def _is_alive(tag: str) -> bool:
    pid, _, created = tag.partition(" ")
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" == created
    except psutil.NoSuchProcess:
        return False


def end_dead_runs(instance: dg.DagsterInstance, *, no_daemon: bool) -> int:
    """Report runs whose process is gone as failed and free their slots; returns how many there were.

    A run of `azak run` is dead when its process is. With ``no_daemon`` (the caller knows that no `azak up` works on
    this home) so is every other run in progress.
    """
    dead = 0
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=IN_PROGRESS)):
        tag = run.tags.get(PROCESS_TAG)
        if _is_alive(tag) if tag else not no_daemon:
            continue
        instance.report_run_failed(
            run, "The process that executed this run is gone: it was killed or the machine stopped."
        )
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        dead += 1
    return dead
