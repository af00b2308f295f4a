"""Feeds faster than ten minutes: one run per half hour that asks again and again, and a sensor that starts the next.

Belongs here: the loop, whose clock and sleep are handed in, and the look whether a collector is at work. Does not
belong here: what is asked and when it is due (`market.collector`, `disclosures.assets`), when a collector is wanted at
all (the sensors).

Decision 13 of the design: a run every five minutes is a new interpreter every five minutes, which costs more than what
it asks, and 288 entries a day in the list of runs.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import dagster as dg

from azak_assets import krx
from azak_assets.defs.catchup import IN_PROGRESS
from azak_assets.partition_tags import PARTITION
from azak_assets.sources.failures import SourceFailure

LOOP_TAG = {"azak/collector": "half hour"}
"""Carried by the jobs that collect for half an hour; any other run makes one round."""
JOB_TAGS = {**LOOP_TAG, "dagster/max_retries": "0"}
"""The sensor starts the next one: Dagster's own retry of a killed run would come on top of that."""
HALF_HOUR = timedelta(minutes=30)
LOOKS_EVERY_S = 30
MINUTE = timedelta(minutes=1)
OVERDUE = 5 * MINUTE
LONGEST_PAUSE = timedelta(minutes=30)
LOOKED_BACK = 10


class Feed(Protocol):
    """Something to ask again and again."""

    def due_at(self, now: datetime) -> datetime | None:
        """When its next round is due, which may have passed; None when there is none left."""

    def round(self, now: datetime) -> None:
        """Ask and load. Raises `SourceFailure` where the upstream refuses everybody or is down."""


def is_collector(run: dg.DagsterRun) -> bool:
    """Whether a run is to collect for half an hour."""
    return LOOP_TAG.items() <= run.tags.items()


def run(
    feeds: Sequence[Feed],
    *,
    until: datetime,
    now: Callable[[], datetime],
    sleep: Callable[[float], None],
    log: logging.Logger,
) -> None:
    """Ask whichever feed is most overdue, again and again, until nothing is due before ``until``.

    An upstream that is down or slow ends a round, not the collector: the next round asks for what is missing.

    Raises:
        SourceFailure: it refuses us altogether (`stop`), or no round of any feed came through.
    """
    came_through, last_failure = False, None
    while True:
        waiting = [(at, position) for position, feed in enumerate(feeds) if (at := feed.due_at(now())) is not None]
        if not waiting or min(waiting)[0] >= until:
            break
        at, position = min(waiting)
        if (wait := (at - now()).total_seconds()) > 0:
            sleep(wait)
        try:
            feeds[position].round(now())
        except SourceFailure as failure:
            if failure.action == "stop":
                raise
            log.warning("a round was cut short: %s", failure)
            last_failure = failure
        else:
            came_through = True
    if last_failure is not None and not came_through:
        raise last_failure


def once(feeds: Sequence[Feed], now: Callable[[], datetime]) -> None:
    """One round of each feed. Raises `SourceFailure` where one could not be made."""
    for feed in feeds:
        feed.round(now())


def next_run(
    instance: dg.DagsterInstance, job: str, session: krx.Session, now: datetime, *, longest: timedelta
) -> dg.RunRequest | dg.SkipReason:
    """Ask for a collector of ``session`` unless one is at work; after failures ever later.

    Args:
        instance: whose runs are looked at.
        job: the collector's job.
        session: whose partition it collects.
        now: the instant of the look.
        longest: after so long a collector has ended by itself. One that has not by ``OVERDUE`` later is a dead process
            that nobody has noticed, and is not waited for.
    """
    records = instance.get_run_records(
        dg.RunsFilter(job_name=job, tags={PARTITION: session.day.isoformat(), **LOOP_TAG}), limit=LOOKED_BACK
    )
    failed: list[float] = []
    for record in records:  # the newest come first
        status = record.dagster_run.status
        if status in IN_PROGRESS and (status is dg.DagsterRunStatus.QUEUED or now - _began(record) < longest + OVERDUE):
            return dg.SkipReason(f"A collector is at work: {record.dagster_run.run_id}.")
        if status is dg.DagsterRunStatus.SUCCESS:
            break
        if status is dg.DagsterRunStatus.FAILURE:
            failed.append(record.end_time or record.update_timestamp.timestamp())
    if failed:
        pause = min(MINUTE * (1 << len(failed) - 1), LONGEST_PAUSE)
        again = datetime.fromtimestamp(max(failed), krx.KST) + pause
        if now < again:
            return dg.SkipReason(f"{len(failed)} collectors failed in a row; the next starts at {again:%H:%M:%S}.")
    return dg.RunRequest(partition_key=session.day.isoformat())


def _began(record: dg.RunRecord) -> datetime:
    return datetime.fromtimestamp(record.start_time or record.create_timestamp.timestamp(), krx.KST)
