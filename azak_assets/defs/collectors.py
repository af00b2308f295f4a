"""The runs of a collector: which job collects for half an hour, and when the next run starts.

Belongs here: tags, and the look whether a collector is at work. Does not belong here: the loop (`ingest.loop`), what is
asked (`ingest.intraday`), when a collector is wanted at all (the sensors).
"""

from datetime import datetime, timedelta

import dagster as dg

from azak_assets import krx
from azak_assets.defs.catchup import IN_PROGRESS, began, pause_after
from azak_assets.partition_tags import PARTITION

LOOP_TAG = {"azak/collector": "half hour"}
"""Carried by the jobs that collect for half an hour; any other run makes one round."""
JOB_TAGS = {**LOOP_TAG, "dagster/max_retries": "0"}
"""The sensor starts the next one: Dagster's own retry of a killed run would come on top of that."""
LOOKS_EVERY_S = 30
OVERDUE = timedelta(minutes=5)
SHORTEST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(minutes=30)
LOOKED_BACK = 10


def is_collector(run: dg.DagsterRun) -> bool:
    """Whether a run is to collect for half an hour."""
    return LOOP_TAG.items() <= run.tags.items()


def next_run(
    instance: dg.DagsterInstance, job: str, session: krx.Session, now: datetime, *, longest: timedelta
) -> dg.RunRequest | dg.SkipReason:
    """Ask for a collector of ``session`` unless one is at work; after failures ever later.

    Args:
        instance: whose runs are looked at.
        job: the collector's job.
        session: whose partition it collects.
        now: the instant of the look.
        longest: after so long a collector has ended by itself. A run that has not by ``OVERDUE`` later is a dead
            process without an end in the list of runs, and is not waited for.
    """
    records = instance.get_run_records(
        dg.RunsFilter(job_name=job, tags={PARTITION: session.day.isoformat(), **LOOP_TAG}), limit=LOOKED_BACK
    )
    failed: list[float] = []
    for record in records:  # the newest come first
        status, start = record.dagster_run.status, began(record)
        # The daemon itself fails a run that waits too long for its start.
        if status in IN_PROGRESS and (start is None or now - start < longest + OVERDUE):
            return dg.SkipReason(f"A collector is at work: {record.dagster_run.run_id}.")
        if status is dg.DagsterRunStatus.SUCCESS:
            break
        if status is dg.DagsterRunStatus.FAILURE and record.end_time:
            failed.append(record.end_time)
    if failed:
        again = datetime.fromtimestamp(max(failed), krx.KST) + pause_after(len(failed), SHORTEST_PAUSE, LONGEST_PAUSE)
        if now < again:
            return dg.SkipReason(f"{len(failed)} collectors failed in a row; the next starts at {again:%H:%M:%S}.")
    return dg.RunRequest(partition_key=session.day.isoformat())
