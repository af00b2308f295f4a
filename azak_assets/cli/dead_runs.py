"""Runs whose process is gone: a killed command leaves them as started, and their pool slots taken.

Belongs here: finding and ending them, so that the next run need not wait for slots that are never freed, and the first
load that a stopped `azak up` left half done. The own monitoring of Dagster cannot: it sees that a run is old, not that
its process is gone. Does not belong here: a live run that hangs, which an operator ends.
"""

import os

import dagster as dg
import psutil

from azak_assets.partition_tags import WHY

PROCESS_TAG = "azak/process"
"""Carried by runs that `azak run` executes itself: its pid and start time, so that a reused pid is not taken for it."""

NO_RETRY = {"dagster/max_retries": "0"}
"""Carried by runs that somebody watches and starts again himself; Dagster's own retry would come on top of that."""
FIRST_LOAD = {WHY: "first load", **NO_RETRY}
"""Carried by the backfills of `azak up` and their runs."""

UNFINISHED = frozenset({"REQUESTED", "CANCELING", "FAILING"})
"""States of a backfill that the daemon still works on."""
NEWEST_BACKFILLS = 200
WAITING = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.QUEUED]
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


def cancel_first_loads(instance: dg.DagsterInstance) -> int:
    """Cancel what is left of an earlier first load, for a caller that has no daemon yet and asks for what is missing
    anew; returns how many backfills there were. Backfills of other people go on.
    """
    canceled = 0
    for backfill in instance.get_backfills(limit=NEWEST_BACKFILLS):
        if backfill.status.value in UNFINISHED and FIRST_LOAD.items() <= (backfill.tags or {}).items():
            # The enumeration itself is Dagster's private matter.
            canceled_one = backfill.with_status(type(backfill.status)["CANCELED"])  # type: ignore[no-untyped-call]
            instance.update_backfill(canceled_one)
            canceled += 1
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=WAITING, tags={WHY: FIRST_LOAD[WHY]})):
        instance.report_run_canceled(run, "The `azak up` that wanted this load has ended.")
    return canceled
