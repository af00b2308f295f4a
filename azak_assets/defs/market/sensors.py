"""What keeps the collector of a running session alive.

Belongs here: when a collector is wanted, and whether one works already. Does not belong here: what it does
(`intraday`), and everything that runs once a session or by the wall (`defs.schedules`).
"""

from datetime import datetime, timedelta

import dagster as dg

from azak_assets import krx
from azak_assets.defs.market.collector import HALF_HOUR, LAST_STRETCH, MINUTE, ends_at
from azak_assets.defs.market.intraday import BOOKS, LOOP_TAG, MINUTES, QUOTES
from azak_assets.defs.owed import IN_PROGRESS, PARTITION
from azak_assets.resources import is_live

STOCKS = dg.AssetKey(["raw", "stocks"])
LOOKS_EVERY_S = 30
LONGEST_RUN = HALF_HOUR + LAST_STRETCH + 5 * MINUTE
"""A collector ends by itself: one that has not by now is a dead process that nobody has noticed, and is not waited for.
Were it alive after all, the new one would find its lock held and leave it to work."""
LONGEST_PAUSE = timedelta(minutes=30)
LOOKED_BACK = 10

intraday_job = dg.define_asset_job(
    "intraday",
    dg.AssetSelection.assets(QUOTES, BOOKS, MINUTES),
    description="Quotes, books and minutes of the running session, for half an hour or to its end.",
    # The sensor starts the next one: Dagster's own retry of a killed run would come on top of that.
    tags={**LOOP_TAG, "dagster/max_retries": "0"},
)


@dg.sensor(
    job=intraday_job,
    minimum_interval_seconds=LOOKS_EVERY_S,
    default_status=dg.DefaultSensorStatus.RUNNING if is_live() else dg.DefaultSensorStatus.STOPPED,
    description=(
        "Keeps one collector of quotes, books and minutes at work, from each session's open to the minute of its "
        "closing auction."
    ),
)
def intraday_collector(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for a collector while a session runs and none works; after failures ever later."""
    now = datetime.now(krx.KST)
    session = krx.session_on_or_after(now.date())
    if not session.open_at <= now < ends_at(session):
        if now >= ends_at(session):
            session = krx.next_session(session.day)
        return dg.SkipReason(f"No session runs: the next opens {session.open_at:%Y-%m-%d %H:%M}.")
    if context.instance.get_latest_materialization_event(STOCKS) is None:
        return dg.SkipReason("There are no stocks to ask for yet: run the job `reference`.")
    records = context.instance.get_run_records(
        dg.RunsFilter(job_name=intraday_job.name, tags={PARTITION: session.day.isoformat()}), limit=LOOKED_BACK
    )
    failed: list[float] = []
    for record in records:  # the newest come first
        status = record.dagster_run.status
        if status in IN_PROGRESS and (status is dg.DagsterRunStatus.QUEUED or now - _began(record) < LONGEST_RUN):
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
