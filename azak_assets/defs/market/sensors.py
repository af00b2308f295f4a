"""What keeps the collector of a running session alive.

Belongs here: when a collector is wanted. Does not belong here: what it does (`intraday`), whether one works already
(`defs.collectors`), and everything that runs once a session or by the wall (`defs.schedules`).
"""

from datetime import datetime

import dagster as dg

from azak_assets import krx
from azak_assets.defs import collectors
from azak_assets.defs.market.intraday import BOOKS, MINUTES, QUOTES
from azak_assets.ingest.hours import LAST_STRETCH, ends_at
from azak_assets.ingest.loop import HALF_HOUR
from azak_assets.runtime import is_live

STOCKS = dg.AssetKey(["raw", "stocks"])
NO_STOCKS = "There are no stocks to ask for yet: run the job `reference`; it also runs before an open."
LONGEST_RUN = HALF_HOUR + LAST_STRETCH
"""Were a longer run alive after all, the new one would find its lock held and leave it to work."""

intraday_job = dg.define_asset_job(
    "intraday",
    dg.AssetSelection.assets(QUOTES, BOOKS, MINUTES),
    description="Quotes, books and minutes of the running session, for half an hour or to its end.",
    tags=collectors.JOB_TAGS,
)


@dg.sensor(
    job=intraday_job,
    minimum_interval_seconds=collectors.LOOKS_EVERY_S,
    default_status=dg.DefaultSensorStatus.RUNNING if is_live() else dg.DefaultSensorStatus.STOPPED,
    description=(
        "Keeps one collector of quotes, books and minutes at work, from each session's open to the minute of its "
        "closing auction."
    ),
)
def intraday_collector(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for a collector while a session runs and none works."""
    now = datetime.now(krx.KST)
    session = krx.session_on_or_after(now.date())
    if not session.open_at <= now < ends_at(session):
        if now >= ends_at(session):
            session = krx.next_session(session.day)
        return dg.SkipReason(f"No session runs: the next opens {session.open_at:%Y-%m-%d %H:%M}.")
    if context.instance.get_latest_materialization_event(STOCKS) is None:
        return dg.SkipReason(NO_STOCKS)
    return collectors.next_run(context.instance, intraday_job.name, session, now, longest=LONGEST_RUN)
