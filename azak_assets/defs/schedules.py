"""When things run: a trading day's clock, by the session and not by the wall.

Belongs here: schedules. A tick looks at the session (exam days close an hour later, the year opens late) and at which
sessions still need a run (`catchup`), and either asks for a partition or says why not. Does not belong here: what runs
together (`jobs`). Schedules start running in the live world and stopped in the sandbox.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import dagster as dg
from dagster import DagsterInstance, RunRequest, ScheduleEvaluationContext, SkipReason

from azak_assets import krx
from azak_assets.defs import jobs
from azak_assets.defs.catchup import materialized_since, next_session_to_run, why_not_due
from azak_assets.defs.disclosures.sensors import disclosures_collector
from azak_assets.defs.health.sensors import source_health_watch
from azak_assets.defs.market.sensors import NO_STOCKS, STOCKS, intraday_collector
from azak_assets.defs.news.assets import SEARCHED_TIERS_TAG
from azak_assets.partition_tags import PARTITION
from azak_assets.runtime import is_live

DAILY_BARS, EVALUATIONS = dg.AssetKey(["raw", "daily_bars"]), dg.AssetKey(["ml", "model_evaluations"])
RUNNING_WHEN_LIVE = dg.DefaultScheduleStatus.RUNNING if is_live() else dg.DefaultScheduleStatus.STOPPED
KST = "Asia/Seoul"
EVERY_TEN_MINUTES = "*/10 * * * *"
LOOK_BACK_SESSIONS = 10
"""Two weeks of sessions are caught up with by themselves; older ones are left to the operator."""
CORRECTED_FROM = time(7, 30)
TIERS_OF_A_MISSED_SESSION = "1"
"""A search into the past takes up to eleven calls a query: ten missed sessions of tiers 1 and 2 would use up the day's
quota of the feed."""
EVERY_TIER_AT = (8, 12, 18)
"""Hours (KST) whose first tick searches for every stock by name."""

Sessions = Mapping[date, datetime]
"""Session days, oldest first, with the instant from which on each is due."""


# --- which sessions a schedule may ask for --------------------------------------------------------------------------


def _first_scheduled_session(instance: DagsterInstance) -> str | None:
    """The first session that was scored or tried. Earlier sessions are never scheduled, only backfilled by hand.

    Not the first with prices: those are loaded for the sessions before, too, that forecasts look back on.
    """
    first_run = instance.get_runs(dg.RunsFilter(job_name=jobs.close_job.name), limit=1, ascending=True)
    tried = [run.tags[PARTITION] for run in first_run if PARTITION in run.tags]
    return min([*tried, *instance.get_materialized_partitions(EVALUATIONS)], default=None)


def _todays_and_scheduled(instance: DagsterInstance, due: Sessions, today: date) -> Sessions | str:
    """Today's session, the first of all perhaps, and those from the first scheduled one on."""
    first = _first_scheduled_session(instance)
    if first is None and instance.get_latest_materialization_event(STOCKS) is None:
        return NO_STOCKS
    return {day: at for day, at in due.items() if day == today or (first is not None and day.isoformat() >= first)}


def _scheduled(instance: DagsterInstance, due: Sessions, today: date) -> Sessions | str:  # noqa: ARG001 - one signature
    """Those from the first scheduled one on: before `after_close` has run there may be no stocks to ask for."""
    first = _first_scheduled_session(instance)
    if first is None:
        return "No session has been asked for yet: `after_close` begins with the first."
    return {day: at for day, at in due.items() if day.isoformat() >= first}


def _with_prices(instance: DagsterInstance, due: Sessions, today: date) -> Sessions | str:  # noqa: ARG001 - one signature
    """Those whose daily bars are loaded, by whichever run."""
    loaded = materialized_since(instance, [DAILY_BARS], dict.fromkeys(map(str, due), 0.0))
    return {day: at for day, at in due.items() if str(day) in loaded}


# --- schedules that follow a session ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class SessionSchedule:
    """A schedule that runs its job for each session once, oldest first, and catches up with missed ones.

    Attributes:
        name: of the schedule; also the first word of a run key.
        job: its name; run for one partition.
        produces: the assets whose materializations show that a session is complete.
        ready_at: the instant from which on a session is due.
        among: which of the newest sessions may be asked for, or why none.
        cron: when to look, in KST.
        description: for the operator, with the usual time of day.
        not_beside: jobs that write the same tables: of two at once one would only wait for the other. The job itself
            never runs twice at once.
        of_its_day: what a run on the session's own day makes, if that is less than the whole job.
    """

    name: str
    job: str
    produces: dg.AssetSelection
    ready_at: Callable[[krx.Session], datetime]
    among: Callable[[DagsterInstance, Sessions, date], Sessions | str]
    cron: str
    description: str
    not_beside: tuple[str, ...] = ()
    of_its_day: dg.AssetSelection | None = None


SESSION_SCHEDULES = (
    SessionSchedule(
        name="after_close",
        job=jobs.close_job.name,
        produces=jobs.CORRECTED,
        ready_at=krx.final_at,
        among=_todays_and_scheduled,
        cron=EVERY_TEN_MINUTES,
        description=(
            "Ten minutes after each session's close, whenever that is: 15:40, on exam days 16:40. Sessions that were "
            "missed come first."
        ),
        not_beside=(jobs.corrections_job.name,),
        of_its_day=jobs.AFTER_CLOSE,
    ),
    SessionSchedule(
        name="after_close_flows",
        job=jobs.flows_job.name,
        produces=jobs.FLOWS,
        ready_at=krx.flows_published_from,
        among=_scheduled,
        cron=EVERY_TEN_MINUTES,
        description="Half an hour after each session's close: 16:00, on exam days 17:00. Missed sessions come first.",
    ),
    SessionSchedule(
        name="after_hours",
        job=jobs.after_hours_job.name,
        produces=jobs.AFTER_HOURS,
        ready_at=krx.after_hours_end,
        among=_scheduled,
        cron=EVERY_TEN_MINUTES,
        description="18:00 on every session, exam days too: trading after hours is over. Missed sessions come first.",
    ),
    SessionSchedule(
        name="correct_prices",
        job=jobs.corrections_job.name,
        produces=jobs.CORRECTED,
        ready_at=lambda session: datetime.combine(session.day + timedelta(days=1), CORRECTED_FROM, krx.KST),
        among=_with_prices,
        cron="30 * * * *",
        description=(
            "Each session once more from 07:30 of the next day: corrections of the night reach tables and scores. "
            "Hourly, to catch up with a missed morning."
        ),
        not_beside=(jobs.close_job.name,),
    ),
    SessionSchedule(
        name="reconcile_with_exchange",
        job=jobs.reconciliation_job.name,
        produces=jobs.NEXT_DAY,
        ready_at=lambda session: krx.surely_published_from(session.day),
        among=_with_prices,
        cron="45 * * * *",
        description=(
            "08:45 on the day of the next session: the exchange's own bars beside the broker's. Hourly, to catch up "
            "with a missed morning."
        ),
    ),
)


def _session_schedule(row: SessionSchedule) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=row.name,
        job_name=row.job,
        cron_schedule=row.cron,
        execution_timezone=KST,
        default_status=RUNNING_WHEN_LIVE,
        description=row.description,
    )
    def next_run(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
        now, session = _session_now(context)
        due = {one.day: at for one in _with_final_bars(now) if (at := row.ready_at(one)) <= now}
        sessions = row.among(context.instance, due, now.date())
        if isinstance(sessions, str):
            return SkipReason(sessions)
        graph = context.repository_def.asset_graph
        chosen = next_session_to_run(
            context.instance,
            row.job,
            produces=row.produces.resolve(graph),
            due=sessions,
            one_at_a_time=(row.job, *row.not_beside),
            now=now,
        )
        if isinstance(chosen, str):
            return SkipReason(f"{chosen} {_what_is_next(row, session, now)}")
        run_key, partition = f"{row.name} {chosen}", chosen.isoformat()
        if row.of_its_day is None:
            return RunRequest(run_key=run_key, partition_key=partition)
        if chosen == now.date():
            # The session's news and filings are collected all day.
            selected = sorted(row.of_its_day.resolve(graph))
            return RunRequest(run_key=run_key, partition_key=partition, asset_selection=selected)
        # On a later day they may be missing, too.
        tags = {SEARCHED_TIERS_TAG: TIERS_OF_A_MISSED_SESSION}
        return RunRequest(run_key=run_key, partition_key=partition, tags=tags)

    return next_run


def _session_now(context: ScheduleEvaluationContext) -> tuple[datetime, krx.Session]:
    """The tick's instant in KST, and the session that news of that instant belong to."""
    now = context.scheduled_execution_time.astimezone(krx.KST)
    return now, krx.session_on_or_after(now.date())


def _with_final_bars(now: datetime) -> list[krx.Session]:
    """The newest sessions whose bars are final, oldest first."""
    newest = krx.newest_final_session(now)
    return krx.sessions(krx.shift(newest.day, 1 - LOOK_BACK_SESSIONS).day, newest.day)


def _what_is_next(row: SessionSchedule, session: krx.Session, now: datetime) -> str:
    if session.day != now.date():
        return f"{now:%Y-%m-%d} is no session; the next is {session.day}."
    return f"The session of {session.day} is due from {row.ready_at(session):%Y-%m-%d %H:%M}; it is {now:%H:%M}."


# --- schedules of a week ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WeeklySchedule:
    """A schedule that runs its job once a week, from Sunday at ``at`` (KST) on; a missed Sunday at any later hour
    in which no session is open.
    """

    name: str
    job: str
    produces: dg.AssetKey
    at: time
    description: str


WEEKLY_SCHEDULES = (
    WeeklySchedule(
        name="sunday_products",
        job=jobs.products_job.name,
        produces=jobs.PRODUCTS,
        at=time(1),
        description="Sunday 01:00: product information. Hourly, to catch up with a missed Sunday.",
    ),
    WeeklySchedule(
        name="sunday_ratios",
        job=jobs.ratios_job.name,
        produces=jobs.RATIOS,
        at=time(2),
        description="Sunday 02:00: financial ratios. Hourly, to catch up with a missed Sunday.",
    ),
)


def _weekly_schedule(row: WeeklySchedule) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=row.name,
        job_name=row.job,
        cron_schedule="0 * * * *",
        execution_timezone=KST,
        default_status=RUNNING_WHEN_LIVE,
        description=row.description,
    )
    def next_run(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
        now, session = _session_now(context)
        # A day of the week, and no question to the exchange's calendar.
        sunday = datetime.combine(now.date() - timedelta(days=now.isoweekday() % 7), row.at, krx.KST)
        due = sunday if sunday <= now else sunday - timedelta(days=7)
        if context.instance.get_latest_materialization_event(STOCKS) is None:
            return SkipReason(NO_STOCKS)
        if why := why_not_due(context.instance, row.job, produces=row.produces, due=due, now=now):
            return SkipReason(why)
        if session.open_at <= now < session.close_at:
            return SkipReason(f"{row.job} waits until the session has closed, so that live prices have the quota.")
        return RunRequest(run_key=f"{row.job} {now:%Y-%m-%dT%H:%M}")

    return next_run


# --- schedules of their own kind --------------------------------------------------------------------------------------


def searched_tiers(now: datetime) -> tuple[int, ...]:
    """The tiers whose stocks a tick searches for by name: 1 always, 2 hourly, the others three times a day.

    About 16,000 of Naver's 25,000 calls a day; every stock in every tick would be 400,000.
    """
    if now.minute >= 10:
        return (1,)
    return (1, 2, 3, 4, 5) if now.hour in EVERY_TIER_AT else (1, 2)


@dg.schedule(
    job=jobs.news_job,
    cron_schedule=EVERY_TEN_MINUTES,
    execution_timezone=KST,
    default_status=RUNNING_WHEN_LIVE,
    description="Every ten minutes, around the clock; news of a closed day go to the next session.",
)
def news_feed(context: ScheduleEvaluationContext) -> RunRequest:
    """Collect into the session that the instant belongs to."""
    now, session = _session_now(context)
    tiers = ",".join(map(str, searched_tiers(now)))
    return RunRequest(
        run_key=f"news {now:%Y-%m-%dT%H:%M}",
        partition_key=session.day.isoformat(),
        tags={SEARCHED_TIERS_TAG: tiers},
    )


@dg.schedule(
    job=jobs.reference_job,
    cron_schedule="0 8 * * *",
    execution_timezone=KST,
    default_status=RUNNING_WHEN_LIVE,
    description="08:00 on every session: who is listed, by which name, in which tier; a new listing has bars that day.",
)
def before_open(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
    """Ask on session days; nothing is listed or renamed on others."""
    now, session = _session_now(context)
    if session.day != now.date():
        return SkipReason(f"{now:%Y-%m-%d} is no session; the next is {session.day}.")
    return RunRequest(run_key=f"reference {session.day}")


SCHEDULES = [
    news_feed,
    *map(_session_schedule, SESSION_SCHEDULES),
    before_open,
    *map(_weekly_schedule, WEEKLY_SCHEDULES),
]
SENSORS = [disclosures_collector, intraday_collector, source_health_watch]
