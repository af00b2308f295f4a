"""Which session or week a job owes: what its runs, and the materializations of its assets, say is missing.

Belongs here: reading the instance's history of one job. Does not belong here: when a session is due (`schedules`, by
the calendar), nor what a run does.

A schedule's run key tells apart two requests of one tick, never two ticks: "once a session" has to be asked of the
instance.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta

import dagster as dg

from azak_assets import krx

PARTITION = "dagster/partition"
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")

IN_PROGRESS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""Not among them: NOT_STARTED. A daemon that dies between making a run and submitting it evaluates the tick again, gets
the same request from us and submits that run; were it in progress, nobody ever would."""

ATTEMPTS = 5
RETRY_AFTER = timedelta(minutes=30)
"""After the first failure, and twice as long after each further one: the last of five attempts comes 7.5 hours later,
which outlasts an evening's trouble of an upstream."""

MOST_EVENTS = 1000

ASKED_AT = "asked_at"
"""Metadata of a materialization of an asset that is not asked for in every run: when its upstream last answered."""


def next_owed(
    instance: dg.DagsterInstance,
    job: str,
    *,
    makes: Collection[dg.AssetKey],
    due: Mapping[date, datetime],
    one_at_a_time: Collection[str],
    now: datetime,
) -> date | str:
    """The oldest session to run ``job`` for now, or one sentence on why there is none.

    A session is owed from the instant it is due until a run of the job that was made since has succeeded, or until all
    of ``makes`` was materialized since by whomever. It is tried ``ATTEMPTS`` times; a session that waits for its next
    attempt does not hold up the ones after it.

    Args:
        instance: whose history is read.
        job: the name of the job, run for one partition at a time.
        makes: the assets that tell whether a session is there, for sessions loaded by a backfill or by hand.
        due: when each session was due, oldest first, none later than ``now``.
        one_at_a_time: the jobs of which no other may be in progress.
        now: the tick.
    """
    if not due:
        return "No session is due."
    in_progress = instance.get_runs(filters=dg.RunsFilter(statuses=IN_PROGRESS))
    for run in in_progress:
        if run.job_name in one_at_a_time:
            return f"A run of {run.job_name} for {run.tags.get(PARTITION)} is in progress: {run.run_id}."
    since, failed = _open_sessions(instance, job, due)
    there = made_since(instance, makes, since)
    waiting = []
    for day in (day for day in since if day not in there):
        ends = failed[day]
        if any(_makes(run, day, makes) for run in in_progress):
            waiting.append(f"Another run works on {day}.")
        elif len(ends) >= ATTEMPTS:
            waiting.append(f"{day} failed {ATTEMPTS} times and is not tried again: see its runs, then materialize it.")
        elif ends and now < (again := _next_attempt(ends)):
            waiting.append(f"{day} failed and is tried again from {again:%Y-%m-%d %H:%M}.")
        else:
            return date.fromisoformat(day)
    return " ".join(waiting) or f"All sessions up to {max(due)} are there."


def last_asked(instance: dg.DagsterInstance, asset: dg.AssetKey) -> datetime | None:
    """When the upstream of an unpartitioned asset last answered; None where it never did."""
    for record in instance.fetch_materializations(asset, limit=1).records:
        made = record.asset_materialization
        if made is not None and ASKED_AT in made.metadata:
            return datetime.fromtimestamp(float(str(made.metadata[ASKED_AT].value)), krx.KST)
    return None


def is_owed(instance: dg.DagsterInstance, job: str, *, makes: dg.AssetKey, due: datetime, now: datetime) -> str | None:
    """Why the job of an unpartitioned asset need not run; None where it was not made since ``due``.

    It is tried ``ATTEMPTS`` times, as a session is.
    """
    for made in instance.fetch_materializations(makes, limit=1).records:
        at = last_asked(instance, makes) or datetime.fromtimestamp(made.timestamp, krx.KST)
        if at >= due:
            return f"Made on {at:%Y-%m-%d %H:%M}, since it was due on {due:%Y-%m-%d %H:%M}."
    failed = []
    for record in instance.get_run_records(dg.RunsFilter(job_name=job, created_after=due)):
        if record.dagster_run.status in IN_PROGRESS:
            return f"A run of {job} is in progress: {record.dagster_run.run_id}."
        if record.dagster_run.status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED):
            failed.append(record.end_time or record.update_timestamp.timestamp())
    if len(failed) >= ATTEMPTS:
        return f"{job} failed {ATTEMPTS} times and is not tried again before next week: see its runs, then run it."
    if failed and now < (again := _next_attempt(failed)):
        return f"{job} failed and is tried again from {again:%Y-%m-%d %H:%M}."
    return None


def _open_sessions(
    instance: dg.DagsterInstance, job: str, due: Mapping[date, datetime]
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """The sessions without a run that succeeded, each with the instant from which on a materialization counts; and when
    their failed runs ended.
    """
    since = {day.isoformat(): instant.timestamp() for day, instant in due.items()}
    failed: dict[str, list[float]] = defaultdict(list)
    for record in instance.get_run_records(dg.RunsFilter(job_name=job, tags={PARTITION: list(since)})):
        day, status = record.dagster_run.tags[PARTITION], record.dagster_run.status
        if record.create_timestamp < due[date.fromisoformat(day)]:
            continue
        if status is dg.DagsterRunStatus.SUCCESS:
            since.pop(day, None)
        elif status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED):
            failed[day].append(record.end_time or record.update_timestamp.timestamp())
    for day in since.keys() & failed.keys():
        # What a failed run left behind does not count: a test that failed at its end had a reason.
        since[day] = max(since[day], *failed[day])
    return since, failed


def made_since(
    instance: dg.DagsterInstance, assets: Collection[dg.AssetKey], since: Mapping[str, float]
) -> frozenset[str]:
    """The partitions of ``since`` that every one of ``assets`` materialized at or after the instant given for it."""
    there = frozenset(since)
    for key in assets:
        if not there:
            break
        newest: dict[str | None, float] = {}
        filters = dg.AssetRecordsFilter(asset_key=key, asset_partitions=sorted(there))
        for record in instance.fetch_materializations(filters, limit=MOST_EVENTS).records:  # the newest come first
            newest.setdefault(record.partition_key, record.timestamp)
        there = frozenset(day for day in there if day in newest and newest[day] >= since[day])
    return there


def _next_attempt(failed: list[float]) -> datetime:
    return datetime.fromtimestamp(max(failed), krx.KST) + RETRY_AFTER * (1 << len(failed) - 1)


def _makes(run: dg.DagsterRun, day: str, assets: Collection[dg.AssetKey]) -> bool:
    """Whether a run (a backfill, `azak run`, somebody's click) materializes some of the assets for this session."""
    if not (run.asset_selection or frozenset()) & set(assets):
        return False
    alone = run.tags.get(PARTITION, "")
    first, last = (run.tags.get(tag, alone) for tag in RANGE)
    return first <= day <= last
