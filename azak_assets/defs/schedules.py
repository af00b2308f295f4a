"""When things run: a trading day's clock, by the session and not by the wall.

Belongs here: jobs and their schedules. A tick looks at the session (exam days close an hour later, the year opens late)
and either asks for its partition or says why not. Schedules start running in the live world and stopped in the sandbox.
"""

from datetime import datetime, timedelta

import dagster as dg

from azak_assets import krx
from azak_assets.defs.news.assets import SEARCHED_TIERS_TAG
from azak_assets.krx.universe import SETTLED_AFTER_CLOSE
from azak_assets.resources import is_live

REFERENCE = dg.AssetSelection.groups("reference") | dg.AssetSelection.assets(
    ["ml", "models"], ["ml", "prompt_versions"]
)
TEXT = dg.AssetSelection.groups("news")
FILINGS = dg.AssetSelection.groups("disclosures")
AFTER_CLOSE = dg.AssetSelection.groups("market", "retrieval", "forecasts", "scores", "marts") - REFERENCE

reference_job = dg.define_asset_job(
    "reference", REFERENCE, description="Sessions, listed stocks, company codes, models."
)
news_job = dg.define_asset_job(
    "news",
    TEXT | dg.AssetSelection.groups("retrieval", "forecasts") - REFERENCE,
    description="News of a session, what it is about, its vectors, and a forecast of every new match.",
)
disclosures_job = dg.define_asset_job("disclosures", FILINGS, description="DART filings of a session.")
close_job = dg.define_asset_job(
    "after_close",
    AFTER_CLOSE,
    description="Everything that needs the session's final prices: bars, marts, vectors, forecasts, scores.",
)
corrections_job = dg.define_asset_job(
    "corrections",
    dg.AssetSelection.groups("market", "scores", "marts"),
    description="A session's prices once more, and the marts and scores that follow from them; no model is asked.",
)
JOBS = [reference_job, news_job, disclosures_job, close_job, corrections_job]

RUNNING_WHEN_LIVE = dg.DefaultScheduleStatus.RUNNING if is_live() else dg.DefaultScheduleStatus.STOPPED
KST = "Asia/Seoul"


def _session_now(context: dg.ScheduleEvaluationContext) -> tuple[datetime, krx.Session]:
    """The tick's instant in KST, and the session that news of that instant belong to."""
    now = context.scheduled_execution_time.astimezone(krx.KST)
    return now, krx.session_on_or_after(now.date())


EVERY_TIER_AT = (8, 12, 18)
"""Hours (KST) whose first tick searches for every stock by name."""


def searched_tiers(now: datetime) -> tuple[int, ...]:
    """The tiers whose stocks a tick searches for by name: 1 always, 2 hourly, the others three times a day.

    About 16,000 of Naver's 25,000 calls a day (MISSION, section 1); every stock in every tick would be 400,000.
    """
    if now.minute >= 10:
        return (1,)
    return (1, 2, 3, 4, 5) if now.hour in EVERY_TIER_AT else (1, 2)


@dg.schedule(
    job=news_job,
    cron_schedule="*/10 * * * *",
    execution_timezone=KST,
    default_status=RUNNING_WHEN_LIVE,
    description="Every ten minutes, around the clock; news of a closed day go to the next session.",
)
def news_feed(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Collect into the session that the instant belongs to."""
    now, session = _session_now(context)
    tiers = ",".join(map(str, searched_tiers(now)))
    return dg.RunRequest(
        run_key=f"news {now:%Y-%m-%dT%H:%M}",
        partition_key=session.day.isoformat(),
        tags={SEARCHED_TIERS_TAG: tiers},
    )


@dg.schedule(
    job=disclosures_job,
    cron_schedule="*/5 * * * *",
    execution_timezone=KST,
    default_status=RUNNING_WHEN_LIVE,
    description="Every five minutes, around the clock.",
)
def disclosures_feed(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Collect into the session that the instant belongs to."""
    now, session = _session_now(context)
    return dg.RunRequest(run_key=f"disclosures {now:%Y-%m-%dT%H:%M}", partition_key=session.day.isoformat())


@dg.schedule(
    job=close_job,
    cron_schedule="*/10 * * * *",
    execution_timezone=KST,
    default_status=RUNNING_WHEN_LIVE,
    description="Ten minutes after each session's close, whenever that is: 15:40, on exam days 16:40.",
)
def after_close(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for the session exactly once, at the first tick at which its bars are final."""
    now, session = _session_now(context)
    if session.day != now.date():
        return dg.SkipReason(f"{now:%Y-%m-%d} is no session; the next is {session.day}.")
    ready = session.close_at + SETTLED_AFTER_CLOSE
    if now < ready:
        return dg.SkipReason(f"The bars of {session.day} are final from {ready:%H:%M}; it is {now:%H:%M}.")
    # Every later tick of the day asks too, and the run key makes it one run: a daemon that slept through the first
    # tick still finds the session.
    return dg.RunRequest(run_key=f"after_close {session.day}", partition_key=session.day.isoformat())


@dg.schedule(
    job=corrections_job,
    cron_schedule="30 7 * * *",
    execution_timezone=KST,
    default_status=RUNNING_WHEN_LIVE,
    description="The last session once more the next morning: corrections of the night reach tables and scores.",
)
def morning_after(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask again for the session of the day before, if it was one."""
    now, _ = _session_now(context)
    yesterday = (now - timedelta(days=1)).date()
    if not krx.is_session(yesterday):
        return dg.SkipReason(f"{yesterday} was no session.")
    return dg.RunRequest(run_key=f"morning_after {yesterday}", partition_key=yesterday.isoformat())


@dg.schedule(
    job=reference_job,
    cron_schedule="0 8 * * *",
    execution_timezone=KST,
    default_status=RUNNING_WHEN_LIVE,
    description="08:00 on every session: who is listed, by which name, in which tier; a new listing has bars that day.",
)
def before_open(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask on session days; nothing is listed or renamed on others."""
    now, session = _session_now(context)
    if session.day != now.date():
        return dg.SkipReason(f"{now:%Y-%m-%d} is no session; the next is {session.day}.")
    return dg.RunRequest(run_key=f"reference {session.day}")


SCHEDULES = [news_feed, disclosures_feed, after_close, morning_after, before_open]
