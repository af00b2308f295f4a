"""What keeps the collector of filings alive, around the clock.

Belongs here: its job and its sensor. Does not belong here: what it does (`assets`), whether one works already
(`defs.collectors`).
"""

from datetime import datetime

import dagster as dg

from azak_assets import krx
from azak_assets.defs import collectors
from azak_assets.ingest.filings import LAST_ROUND
from azak_assets.ingest.loop import HALF_HOUR
from azak_assets.runtime import is_live

disclosures_job = dg.define_asset_job(
    "disclosures",
    dg.AssetSelection.groups("disclosures"),
    description="DART filings of a session, every five minutes to the end of the half hour.",
    tags=collectors.JOB_TAGS,
)


@dg.sensor(
    job=disclosures_job,
    minimum_interval_seconds=collectors.LOOKS_EVERY_S,
    default_status=dg.DefaultSensorStatus.RUNNING if is_live() else dg.DefaultSensorStatus.STOPPED,
    description="Keeps one collector of filings at work, around the clock; a closed day's are the next session's.",
)
def disclosures_collector(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for a collector when none works."""
    now = datetime.now(krx.KST)
    session = krx.session_on_or_after(now.date())
    return collectors.next_run(context.instance, disclosures_job.name, session, now, longest=HALF_HOUR + LAST_ROUND)
