"""When things run: a trading day's clock, by the session and not by the wall.

Belongs here: jobs and their schedules. A tick looks at the session (exam days close an hour later, the year opens late)
and at what the instance has of it (`owed`), and either asks for its partition or says why not. Schedules start running
in the live world and stopped in the sandbox.
"""

from datetime import date, datetime, time, timedelta
from typing import Any

import dagster as dg

from azak_assets import krx
from azak_assets.defs.market.sensors import intraday_collector, intraday_job
from azak_assets.defs.news.assets import SEARCHED_TIERS_TAG
from azak_assets.defs.owed import PARTITION, made_since, next_owed
from azak_assets.krx.universe import SETTLED_AFTER_CLOSE
from azak_assets.resources import is_live

REFERENCE = dg.AssetSelection.groups("reference") | dg.AssetSelection.assets(
    ["ml", "models"], ["ml", "prompt_versions"]
)
TEXT = dg.AssetSelection.groups("news")
FILINGS = dg.AssetSelection.groups("disclosures")
WHILE_OPEN = dg.AssetSelection.assets(["raw", "quote_snapshots"], ["raw", "order_books"])
"""Nobody gives them after the close: the sensor `intraday_collector` alone asks for them."""
AFTER_CLOSE = dg.AssetSelection.groups("market", "retrieval", "forecasts", "scores", "marts") - REFERENCE - WHILE_OPEN
CORRECTED = dg.AssetSelection.groups("market", "scores", "marts") - WHILE_OPEN
"""What follows from final prices alone: it tells whether a session is there."""
STOCKS, DAILY_BARS, EVALUATIONS = (
    dg.AssetKey(path) for path in (["raw", "stocks"], ["raw", "daily_bars"], ["ml", "model_evaluations"])
)

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
    AFTER_CLOSE | TEXT | FILINGS,
    description=(
        "Everything that needs the session's final prices: bars, marts, vectors, forecasts, scores; of a session that "
        "was missed also its news and filings."
    ),
)
corrections_job = dg.define_asset_job(
    "corrections",
    CORRECTED,
    description="A session's prices once more, and the marts and scores that follow from them; no model is asked.",
)
JOBS = [reference_job, news_job, disclosures_job, close_job, corrections_job, intraday_job]

RUNNING_WHEN_LIVE = dg.DefaultScheduleStatus.RUNNING if is_live() else dg.DefaultScheduleStatus.STOPPED
KST = "Asia/Seoul"
ONE_AT_A_TIME = (close_job.name, corrections_job.name)
"""They write the same tables: of two at once one would only wait for the other."""
LOOK_BACK_SESSIONS = 10
"""Two weeks of sessions are made up for without anybody's asking."""
CORRECTED_FROM = time(7, 30)
TIERS_OF_A_MISSED_SESSION = "1"
"""A search into the past takes up to eleven calls a query: ten missed sessions of tiers 1 and 2 would use up the day's
quota of the feed."""


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


def _settled(now: datetime) -> list[krx.Session]:
    """The newest sessions whose bars are final, oldest first; an older one that is missing is left to a person."""
    newest = krx.last_closed_session(now - SETTLED_AFTER_CLOSE)
    return krx.sessions(krx.shift(newest.day, 1 - LOOK_BACK_SESSIONS).day, newest.day)


def _begun(instance: dg.DagsterInstance) -> str | None:
    """The first session that was ever scored or tried; what lies before it nobody has asked for.

    Not the first with prices: those are loaded for the sessions before, too, that forecasts look back on.
    """
    first_run = instance.get_runs(dg.RunsFilter(job_name=close_job.name), limit=1, ascending=True)
    tried = [run.tags[PARTITION] for run in first_run if PARTITION in run.tags]
    return min([*tried, *instance.get_materialized_partitions(EVALUATIONS)], default=None)


@dg.schedule(
    job=close_job,
    cron_schedule="*/10 * * * *",
    execution_timezone=KST,
    default_status=RUNNING_WHEN_LIVE,
    description=(
        "Ten minutes after each session's close, whenever that is: 15:40, on exam days 16:40. Sessions that were "
        "missed come first."
    ),
)
def after_close(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for the oldest of the newest sessions that is final and not there: once each, one run at a time."""
    now, session = _session_now(context)
    begun = _begun(context.instance)
    if begun is None and context.instance.get_latest_materialization_event(STOCKS) is None:
        return dg.SkipReason(
            "There are no stocks to ask for yet: run the job `reference`; it also runs before an open."
        )
    today = now.date()
    graph = context.repository_def.asset_graph
    due = {
        one.day: one.close_at + SETTLED_AFTER_CLOSE
        for one in _settled(now)
        if one.day == today or (begun is not None and one.day.isoformat() >= begun)
    }
    owed = next_owed(
        context.instance,
        close_job.name,
        makes=CORRECTED.resolve(graph),
        due=due,
        one_at_a_time=ONE_AT_A_TIME,
        now=now,
    )
    if isinstance(owed, str):
        ready = session.close_at + SETTLED_AFTER_CLOSE
        if session.day != today:
            clock = f"{today} is no session; the next is {session.day}."
        else:
            clock = f"The bars of {session.day} are final from {ready:%H:%M}; it is {now:%H:%M}."
        return dg.SkipReason(f"{owed} {clock}")
    if owed == today:
        return _request("after_close", owed, asset_selection=sorted(AFTER_CLOSE.resolve(graph)))
    # On a later day nobody may have collected the session's news and filings either, so the job runs whole.
    return _request("after_close", owed, tags={SEARCHED_TIERS_TAG: TIERS_OF_A_MISSED_SESSION})


@dg.schedule(
    job=corrections_job,
    cron_schedule="30 * * * *",
    execution_timezone=KST,
    default_status=RUNNING_WHEN_LIVE,
    description=(
        "Each session once more from 07:30 of the next day: corrections of the night reach tables and scores. Hourly, "
        "so that a missed morning is made up for."
    ),
)
def morning_after(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask again for the oldest of the newest sessions whose prices were there, and not looked at since its morning."""
    now, _ = _session_now(context)
    due = {one.day: datetime.combine(one.day + timedelta(days=1), CORRECTED_FROM, krx.KST) for one in _settled(now)}
    have = made_since(context.instance, [DAILY_BARS], dict.fromkeys(map(str, due), 0.0))
    owed = next_owed(
        context.instance,
        corrections_job.name,
        makes=CORRECTED.resolve(context.repository_def.asset_graph),
        due={day: at for day, at in due.items() if at <= now and str(day) in have},
        one_at_a_time=ONE_AT_A_TIME,
        now=now,
    )
    return dg.SkipReason(owed) if isinstance(owed, str) else _request("morning_after", owed)


def _request(why: str, day: date, **what: Any) -> dg.RunRequest:
    return dg.RunRequest(run_key=f"{why} {day}", partition_key=day.isoformat(), **what)


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
SENSORS = [intraday_collector]
