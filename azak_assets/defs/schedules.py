"""When things run: a trading day's clock, by the session and not by the wall.

Belongs here: jobs and their schedules. A tick looks at the session (exam days close an hour later, the year opens late)
and at what the instance has of it (`owed`), and either asks for its partition or says why not. Schedules start running
in the live world and stopped in the sandbox.
"""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any

import dagster as dg

from azak_assets import krx
from azak_assets.defs.disclosures.sensors import disclosures_collector, disclosures_job
from azak_assets.defs.health.sensors import source_health_watch
from azak_assets.defs.market.flows import flows_are_out
from azak_assets.defs.market.sensors import intraday_collector, intraday_job
from azak_assets.defs.news.assets import SEARCHED_TIERS_TAG
from azak_assets.defs.owed import PARTITION, is_owed, made_since, next_owed
from azak_assets.runtime import is_live

PRODUCTS, RATIOS, WITNESS = (
    dg.AssetKey(["raw", name]) for name in ("product_info", "financial_ratios", "krx_daily_bars")
)
WEEKLY = dg.AssetSelection.assets(PRODUCTS, RATIOS)
REFERENCE = (
    dg.AssetSelection.groups("reference", "health")
    | dg.AssetSelection.assets(["ml", "models"], ["ml", "prompt_versions"])
) - WEEKLY
TEXT = dg.AssetSelection.groups("news")
FILINGS = dg.AssetSelection.groups("disclosures")
FLOWS = dg.AssetSelection.assets(["raw", "investor_flows"])
EVENING = dg.AssetSelection.assets(["raw", "index_bars"], ["raw", "index_breadth"], ["raw", "overtime_bars"])
"""What is asked for at the end of the after-hours session, indices for the second time."""
WHILE_OPEN = dg.AssetSelection.assets(["raw", "quote_snapshots"], ["raw", "order_books"])
"""Nobody gives them after the close: the sensor `intraday_collector` alone asks for them."""
TOLD_LATER = dg.AssetSelection.assets(WITNESS)
"""What an upstream tells of a session only on the next day."""
NOT_AT_THE_CLOSE = FLOWS | dg.AssetSelection.assets(["raw", "overtime_bars"]) | TOLD_LATER | WHILE_OPEN
"""What is not to be had ten minutes after the close: not any more, or not yet."""
AFTER_CLOSE = (
    dg.AssetSelection.groups("market", "retrieval", "forecasts", "scores", "marts") - REFERENCE - NOT_AT_THE_CLOSE
)
CORRECTED = (
    dg.AssetSelection.groups("market", "scores", "marts")
    - NOT_AT_THE_CLOSE
    - dg.AssetSelection.assets(["raw", "index_breadth"])
)
"""What follows from final prices alone: it tells whether a session is there. Breadth is told once and never again."""
STOCKS, DAILY_BARS, EVALUATIONS = (
    dg.AssetKey(path) for path in (["raw", "stocks"], ["raw", "daily_bars"], ["ml", "model_evaluations"])
)

reference_job = dg.define_asset_job(
    "reference", REFERENCE, description="Sessions, listed stocks, company codes, models, and how the upstreams answer."
)
news_job = dg.define_asset_job(
    "news",
    TEXT | dg.AssetSelection.groups("retrieval", "forecasts") - REFERENCE,
    description="News of a session, what it is about, its vectors, and a forecast of every new match.",
)
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
flows_job = dg.define_asset_job("flows", FLOWS, description="Who bought and sold in a session.")
evening_job = dg.define_asset_job(
    "evening", EVENING, description="A session's indices once more, their breadth, and prices after hours."
)
products_job = dg.define_asset_job(
    "products", dg.AssetSelection.assets(PRODUCTS), description="Product information of every listed issue."
)
ratios_job = dg.define_asset_job(
    "ratios", dg.AssetSelection.assets(RATIOS), description="Financial ratios of every listed company."
)
witness_job = dg.define_asset_job(
    "witness", TOLD_LATER, description="The exchange's own bars of a session, and whether ours agree with them."
)
JOBS = [
    reference_job,
    news_job,
    disclosures_job,
    close_job,
    corrections_job,
    intraday_job,
    flows_job,
    evening_job,
    products_job,
    ratios_job,
    witness_job,
]

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


def _settled(now: datetime) -> list[krx.Session]:
    """The newest sessions whose bars are final, oldest first; an older one that is missing is left to a person."""
    newest = krx.last_closed_session(now - krx.FINAL_AFTER_CLOSE)
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
        one.day: one.close_at + krx.FINAL_AFTER_CLOSE
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
        ready = session.close_at + krx.FINAL_AFTER_CLOSE
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
    job=flows_job,
    cron_schedule="*/10 * * * *",
    execution_timezone=KST,
    default_status=RUNNING_WHEN_LIVE,
    description="Half an hour after each session's close: 16:00, on exam days 17:00. Missed sessions come first.",
)
def after_close_flows(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for the oldest of the newest sessions whose flows are out and not there."""
    return _once_out(context, flows_job.name, FLOWS, flows_are_out)


@dg.schedule(
    job=evening_job,
    cron_schedule="*/10 * * * *",
    execution_timezone=KST,
    default_status=RUNNING_WHEN_LIVE,
    description="18:00 on every session, exam days too: trading after hours was over. Missed sessions come first.",
)
def evening(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for the oldest of the newest sessions whose after-hours are over and whose evening is not there."""
    return _once_out(context, evening_job.name, EVENING, krx.after_hours_end)


def _once_out(
    context: dg.ScheduleEvaluationContext,
    job: str,
    makes: dg.AssetSelection,
    out_at: Callable[[krx.Session], datetime],
) -> dg.RunRequest | dg.SkipReason:
    """Ask for the oldest of the newest sessions that is out and not there: once each, one run at a time.

    Which sessions are Azak's is what `after_close` says; today's counts from its own run on, since nobody knows the
    stocks before the first.
    """
    now, _ = _session_now(context)
    begun = _begun(context.instance)
    if begun is None:
        return dg.SkipReason("No session has been asked for yet: `after_close` begins with the first.")
    owed = next_owed(
        context.instance,
        job,
        makes=makes.resolve(context.repository_def.asset_graph),
        due={one.day: out_at(one) for one in _settled(now) if out_at(one) <= now and one.day.isoformat() >= begun},
        one_at_a_time=(job,),
        now=now,
    )
    return dg.SkipReason(owed) if isinstance(owed, str) else _request(job, owed)


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


@dg.schedule(
    job=witness_job,
    cron_schedule="45 * * * *",
    execution_timezone=KST,
    default_status=RUNNING_WHEN_LIVE,
    description=(
        "08:45 on the day of the next session: what the exchange says of the one before. Hourly, so that a missed "
        "morning is made up for."
    ),
)
def exchange_told(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for the oldest of the newest sessions whose prices are there and that the exchange must have published."""
    now, _ = _session_now(context)
    due = {one.day: krx.surely_published_from(one.day) for one in _settled(now)}
    have = made_since(context.instance, [DAILY_BARS], dict.fromkeys(map(str, due), 0.0))
    owed = next_owed(
        context.instance,
        witness_job.name,
        makes=[WITNESS],
        due={day: at for day, at in due.items() if at <= now and str(day) in have},
        one_at_a_time=[witness_job.name],
        now=now,
    )
    return dg.SkipReason(owed) if isinstance(owed, str) else _request("exchange_told", owed)


def _weekly(
    context: dg.ScheduleEvaluationContext, job: str, asset: dg.AssetKey, at: time
) -> dg.RunRequest | dg.SkipReason:
    """Ask once from the newest Sunday at ``at`` on; a missed one at any later hour in which no session is open."""
    now, session = _session_now(context)
    # A day of the week, and no question to the exchange's calendar.
    sunday = datetime.combine(now.date() - timedelta(days=now.isoweekday() % 7), at, krx.KST)
    due = sunday if sunday <= now else sunday - timedelta(days=7)
    if context.instance.get_latest_materialization_event(STOCKS) is None:
        return dg.SkipReason("There are no stocks to ask for yet: run the job `reference`.")
    if why := is_owed(context.instance, job, makes=asset, due=due, now=now):
        return dg.SkipReason(why)
    if session.open_at <= now < session.close_at:
        return dg.SkipReason(f"{job} waits until the session has closed, so that live prices have the quota.")
    return dg.RunRequest(run_key=f"{job} {now:%Y-%m-%dT%H:%M}")


@dg.schedule(
    job=products_job,
    cron_schedule="0 * * * *",
    execution_timezone=KST,
    default_status=RUNNING_WHEN_LIVE,
    description="Sunday 01:00: product information. Hourly, so that a missed Sunday is made up for.",
)
def sunday_products(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask once a week."""
    return _weekly(context, products_job.name, PRODUCTS, time(1))


@dg.schedule(
    job=ratios_job,
    cron_schedule="0 * * * *",
    execution_timezone=KST,
    default_status=RUNNING_WHEN_LIVE,
    description="Sunday 02:00: financial ratios. Hourly, so that a missed Sunday is made up for.",
)
def sunday_ratios(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask once a week."""
    return _weekly(context, ratios_job.name, RATIOS, time(2))


SCHEDULES = [
    news_feed,
    after_close,
    after_close_flows,
    evening,
    morning_after,
    before_open,
    exchange_told,
    sunday_products,
    sunday_ratios,
]
SENSORS = [disclosures_collector, intraday_collector, source_health_watch]
