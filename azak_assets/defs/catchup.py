"""Which sessions still need a run, read from the runs of a job and from the materializations of its assets.

Belongs here: reading the instance's history of one job. Does not belong here: when a session is due (`schedules`, by
the calendar), nor what a run does.

A schedule's run key tells apart two requests of one tick, never two ticks: "once a session" has to be asked of the
instance.

Instants of runs are those of their events, which Dagster stores as seconds since 1970. Its columns `create_timestamp`
and `update_timestamp` have no zone and hold the wall clock of whatever zone the database has; nothing here reads them
or filters by them.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta

import dagster as dg

from azak_assets import krx
from azak_assets.partition_tags import PARTITION, RANGE_END, RANGE_START
from azak_assets.renamed import names_of_job

IN_PROGRESS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""Not among them: NOT_STARTED. A daemon that dies between making a run and submitting it evaluates the tick again, gets
the same request from us and submits that run; were it in progress, it would wait for ever."""
FAILED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)

ATTEMPTS = 5
RETRY_AFTER = timedelta(minutes=30)
"""After the first failure, and twice as long after each further one: the last of five attempts comes 7.5 hours later,
which outlasts an evening's trouble of an upstream."""

MOST_EVENTS = 1000
NEWEST_RUNS = 100
"""More runs of one weekly job than a week can hold: five attempts, and some by hand."""

ASKED_AT = "asked_at"
"""Metadata of a materialization of an asset that is not asked for in every run: when its upstream last answered."""


def next_session_to_run(
    instance: dg.DagsterInstance,
    job: str,
    *,
    produces: Collection[dg.AssetKey],
    due: Mapping[date, datetime],
    one_at_a_time: Collection[str],
    now: datetime,
) -> date | str:
    """The oldest session to run ``job`` for now, or a sentence on why there is none.

    A session needs a run from the instant it is due until a run of the job that began since has succeeded, or until
    every asset of ``produces`` has been materialized since by any run. A session is tried ``ATTEMPTS`` times; while it
    waits for its next attempt, later sessions go on.

    Args:
        instance: whose history is read.
        job: the name of the job, run for one partition at a time.
        produces: the assets whose materializations show that a session loaded by a backfill or by hand is complete.
        due: when each session was due, oldest first, none later than ``now``.
        one_at_a_time: the jobs of which no other run may be in progress.
        now: the tick.
    """
    if not due:
        return "No session is due."
    in_progress = instance.get_runs(filters=dg.RunsFilter(statuses=IN_PROGRESS))
    exclusive = {name for current in one_at_a_time for name in names_of_job(current)}
    for run in in_progress:
        if run.job_name in exclusive:
            return f"A run of {run.job_name} for {run.tags.get(PARTITION)} is in progress: {run.run_id}."
    since, failed = _sessions_without_success(instance, job, due)
    complete = materialized_since(instance, produces, since)
    waiting = []
    for day in (day for day in since if day not in complete):
        ends = failed[day]
        if any(_covers(run, day, produces) for run in in_progress):
            waiting.append(f"Another run works on {day}.")
        elif len(ends) >= ATTEMPTS:
            waiting.append(f"{day} failed {ATTEMPTS} times and is not tried again: see its runs, then materialize it.")
        elif ends and now < (again := _next_attempt(ends)):
            waiting.append(f"{day} failed and is tried again from {again:%Y-%m-%d %H:%M}.")
        else:
            return date.fromisoformat(day)
    return " ".join(waiting) or f"Every session up to {max(due)} is complete."


def last_asked(instance: dg.DagsterInstance, asset: dg.AssetKey) -> datetime | None:
    """When the upstream of an unpartitioned asset last answered; None where it never did."""
    for record in instance.fetch_materializations(asset, limit=1).records:
        event = record.asset_materialization
        if event is not None and ASKED_AT in event.metadata:
            return datetime.fromtimestamp(float(str(event.metadata[ASKED_AT].value)), krx.KST)
    return None


def why_not_due(
    instance: dg.DagsterInstance, job: str, *, produces: dg.AssetKey, due: datetime, now: datetime
) -> str | None:
    """Why the job of an unpartitioned asset need not run; None where the asset has no answer since ``due``.

    The job is tried ``ATTEMPTS`` times, as a session is.
    """
    for event in instance.fetch_materializations(produces, limit=1).records:
        at = last_asked(instance, produces) or datetime.fromtimestamp(event.timestamp, krx.KST)
        if at >= due:
            return f"Loaded on {at:%Y-%m-%d %H:%M}, since it was due on {due:%Y-%m-%d %H:%M}."
    failed = []
    for record in instance.get_run_records(dg.RunsFilter(job_name=job), limit=NEWEST_RUNS):
        if record.dagster_run.status in IN_PROGRESS:
            return f"A run of {job} is in progress: {record.dagster_run.run_id}."
        start = began(record)
        if record.dagster_run.status in FAILED and record.end_time and start and start >= due:
            failed.append(record.end_time)
    if len(failed) >= ATTEMPTS:
        return f"{job} failed {ATTEMPTS} times and is not tried again before next week: see its runs, then run it."
    if failed and now < (again := _next_attempt(failed)):
        return f"{job} failed and is tried again from {again:%Y-%m-%d %H:%M}."
    return None


def began(record: dg.RunRecord) -> datetime | None:
    """When a run began to work (KST), or ended without; None where it still waits for its start."""
    at = record.start_time or record.end_time
    return datetime.fromtimestamp(at, krx.KST) if at else None


def pause_after(failures: int, first: timedelta, longest: timedelta = timedelta.max) -> timedelta:
    """The pause after so many failures in a row: ``first``, doubled by each further one, at most ``longest``."""
    return min(first * (1 << failures - 1), longest)


def materialized_since(
    instance: dg.DagsterInstance, assets: Collection[dg.AssetKey], since: Mapping[str, float]
) -> frozenset[str]:
    """The partitions of ``since`` that every one of ``assets`` materialized at or after the instant given for it."""
    complete = frozenset(since)
    for key in assets:
        if not complete:
            break
        newest: dict[str | None, float] = {}
        filters = dg.AssetRecordsFilter(asset_key=key, asset_partitions=sorted(complete))
        for record in instance.fetch_materializations(filters, limit=MOST_EVENTS).records:  # the newest come first
            newest.setdefault(record.partition_key, record.timestamp)
        complete = frozenset(day for day in complete if day in newest and newest[day] >= since[day])
    return complete


def _sessions_without_success(
    instance: dg.DagsterInstance, job: str, due: Mapping[date, datetime]
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """The sessions without a run that succeeded, each with the instant from which on a materialization counts; and when
    their failed runs ended.
    """
    since = {day.isoformat(): instant.timestamp() for day, instant in due.items()}
    failed: dict[str, list[float]] = defaultdict(list)
    sessions = list(since)
    for name in names_of_job(job):
        for record in instance.get_run_records(dg.RunsFilter(job_name=name, tags={PARTITION: sessions})):
            day, status = record.dagster_run.tags[PARTITION], record.dagster_run.status
            start = began(record)
            if not record.end_time or start is None or start < due[date.fromisoformat(day)]:
                continue
            if status is dg.DagsterRunStatus.SUCCESS:
                since.pop(day, None)
            elif status in FAILED:
                failed[day].append(record.end_time)
    for day in since.keys() & failed.keys():
        # What a failed run left behind does not count: a test that failed at its end had a reason.
        since[day] = max(since[day], *failed[day])
    return since, failed


def _next_attempt(failed: list[float]) -> datetime:
    return datetime.fromtimestamp(max(failed), krx.KST) + pause_after(len(failed), RETRY_AFTER)


def _covers(run: dg.DagsterRun, day: str, assets: Collection[dg.AssetKey]) -> bool:
    """Whether a run (a backfill, `azak run`, a click in the UI) materializes some of the assets for this session."""
    if not (run.asset_selection or frozenset()) & set(assets):
        return False
    single = run.tags.get(PARTITION, "")
    return run.tags.get(RANGE_START, single) <= day <= run.tags.get(RANGE_END, single)
