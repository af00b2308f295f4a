"""Quotes, books and minutes of sessions: today's while it can be asked for, the minutes of past ones.

Belongs here: which of the three is collected for which session, and what is reported of those that no source gives any
more. Does not belong here: the feeds of a running session (`intraday`), when they are due (`hours`), Dagster.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from azak_assets import krx
from azak_assets.ingest import loop
from azak_assets.ingest.days import span_of
from azak_assets.ingest.failures import CollectError, RoundError
from azak_assets.ingest.hours import half_hour, snapshots_until
from azak_assets.ingest.intraday import Minutes, Snapshots
from azak_assets.ingest.reasons import Reason
from azak_assets.ingest.report import PLOTTED_STOCKS, Finding, Plot, StepReport
from azak_assets.ingest.round import PROBES, Collected, ask, store
from azak_assets.ingest.stocks import stocks_of_tiers
from azak_assets.sources.failures import Empty, NotForThisAccount, SourceFailure
from azak_assets.sources.records import Batch, MinuteBar, OrderBook, Quote
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from azak_assets.sources.kis.client import KisClient

QUOTES, BOOKS, MINUTES = "raw.quote_snapshots", "raw.order_books", "raw.minute_bars"
ALONE = "intraday collector"
COLLECTED_TIERS = (1, 2)
SURELY_KEPT = timedelta(days=350)
"""KIS keeps "about one year" of minutes: a younger session without any is a failure, an older one is past its reach."""


def collect(
    warehouse: Warehouse,
    kis: "KisClient",
    sessions: Sequence[krx.Session],
    *,
    tables: Sequence[str],
    now: Callable[[], datetime],
    sleep: Callable[[float], None],
    loops: bool,
    source: str,
    log: logging.Logger,
) -> dict[str, list[StepReport]]:
    """Collect what each table can have of the sessions.

    Args:
        warehouse: where the rows go.
        kis: whom to ask.
        sessions: all of them have opened at ``now``.
        tables: some of `QUOTES`, `BOOKS`, `MINUTES`.
        now: the clock (aware).
        sleep: waits so many seconds.
        loops: whether to collect today's session for half an hour, or for one round.
        source: what the provenance column says before the service.
        log: progress.

    Returns:
        By table a report of each part: today's session, past sessions, what was kept of the snapshots.

    Raises:
        CollectError: no stocks to ask for, or past sessions without the minutes that KIS must still keep.
        RoundError: KIS failed as a whole.
    """
    codes, began = stocks_of_tiers(warehouse, COLLECTED_TIERS), now()
    reports: dict[str, list[StepReport]] = {table: [] for table in tables}
    today = [session for session in sessions if session.day == began.date()]
    past = [session.day for session in sessions if session.day != began.date()]
    if today:
        collected = _collect_today(
            warehouse, kis, today[0], codes, tables=tables, now=now, sleep=sleep, loops=loops, source=source, log=log
        )
        for table, report in collected.items():
            reports[table].append(report)
    if MINUTES in tables and past:
        reports[MINUTES].append(
            past_minutes(warehouse, kis, past, codes, today=now().date(), source=f"{source}KIS FHKST03010230", log=log)
        )
    for table in tables:
        if table != MINUTES:
            reports[table].append(_kept(warehouse, table, sessions, began, was_asked=bool(reports[table])))
    return reports


def _collect_today(
    warehouse: Warehouse,
    kis: "KisClient",
    session: krx.Session,
    codes: Sequence[str],
    *,
    tables: Sequence[str],
    now: Callable[[], datetime],
    sleep: Callable[[float], None],
    loops: bool,
    source: str,
    log: logging.Logger,
) -> dict[str, StepReport]:
    """Collect what can still be asked of today's session; a second collector leaves it to the first."""
    can_be_asked = [table for table in tables if table == MINUTES or now() < krx.final_at(session)]
    with warehouse.if_alone(ALONE) as alone:
        if not alone:
            state = "another collector is at work on this session: nothing was asked beside it"
            return {table: StepReport.without_rows(Reason.OTHER_COLLECTOR, state) for table in can_be_asked}
        feeds: dict[str, Snapshots | Minutes] = {}
        common: dict[str, Any] = {"session": session, "codes": codes, "warehouse": warehouse}
        asked: dict[str, tuple[type, Callable[[str], Batch[Any]], str]] = {
            QUOTES: (Quote, kis.quote, "FHKST01010100"),
            BOOKS: (OrderBook, kis.order_book, "FHKST01010200"),
        }
        for table in can_be_asked:
            if table == MINUTES:
                feeds[table] = Minutes(kis, source=f"{source}KIS FHKST03010200", now=now(), **common)
            else:
                record, fetch, service = asked[table]
                feeds[table] = Snapshots(table, record, fetch, source=f"{source}KIS {service}", now=now, **common)
        try:
            if loops:
                until = half_hour(session, now())
                loop.run(list(feeds.values()), until=until, now=now, sleep=sleep, log=log)
            else:
                loop.once(list(feeds.values()), now)
        except SourceFailure as failure:
            raise RoundError(f"today's session, {session.day}", failure) from failure
    return {table: feed.report() for table, feed in feeds.items()}


def _kept(
    warehouse: Warehouse, table: str, sessions: Sequence[krx.Session], now: datetime, *, was_asked: bool
) -> StepReport:
    """Whether every snapshot of the sessions is there, and the state of those that were not collected in time."""
    kept = {session.day: _snapshots_kept(warehouse, table, session.day) for session in sessions}
    due = {session.day: snapshots_until(session, now) for session in sessions}
    short = {day: kept[day] for day, snapshots in due.items() if kept[day] < snapshots}
    never = [day for day, snapshots in short.items() if not snapshots and day != now.date()]
    report = StepReport()
    if never:
        lost = f"not collected while the session ran, and KIS gives none of the past: {span_of(never)}"
        report.add_state(Reason.NOT_COLLECTED, lost)
    elif not was_asked:
        report.add_state(Reason.SESSION_OVER, "the session is over, what was collected is kept: nothing was asked")
    report.finding = Finding(
        passed=not short,
        why=""
        if not short
        else f"{span_of(list(short))}: {sum(short.values())} of {sum(due[day] for day in short)} snapshots are kept. "
        "What is missing is lost: KIS gives no quote or book of the past. Let the sensor intraday_collector run while "
        "the market is open.",
        numbers={"snapshots due": sum(due.values()), "snapshots kept": sum(kept.values())},
    )
    return report


def _snapshots_kept(warehouse: Warehouse, table: str, day: date) -> int:
    return int(warehouse.read(table, columns=["snapshot_at"], days=(day, day))["snapshot_at"].nunique())


# ---- past sessions --------------------------------------------------------------------------------------------------


def past_minutes(
    warehouse: Warehouse,
    kis: "KisClient",
    days: Sequence[date],
    codes: Sequence[str],
    *,
    today: date,
    source: str,
    log: logging.Logger,
) -> StepReport:
    """The minutes of past sessions, each loaded by itself: a year of them fills a memory.

    Raises:
        CollectError: sessions without any minute that KIS must still keep; the others landed.
        RoundError: KIS failed as a whole.
    """
    report = StepReport()
    closes: list[pd.DataFrame] = []
    past_reach, unanswered = [], []
    for day in days:
        try:
            gathered = _minutes_of(kis, day, codes, may_be_past_reach=today - day > SURELY_KEPT, log=log)
        except NotForThisAccount as failure:
            log.warning("minute bars: %s", failure)
            instead = (
                ", or collect each session while it runs; where neither was done scores enter at the close instead of "
                "the minute"
            )
            report.needs_live_account("past minutes", failure, instead=instead)
            return report
        except SourceFailure as failure:
            raise RoundError(f"minute bars {day}", failure) from failure
        if gathered is None:
            past_reach.append(day)
            continue
        if gathered.is_empty:
            unanswered.append(day)
        # It only adds and corrects: nothing in its answer proves that no minute is missing, and one that was collected
        # while the session ran, and was proven then, is worth more than its silence.
        of_day, frame = store(
            warehouse, MINUTES, [day], gathered, MinuteBar, source=source, instant="ts", retires=False
        )
        of_day.failures = {f"{day} {code}": failure for code, failure in of_day.failures.items()}
        report.add(of_day)
        closes.append(frame.loc[frame["stock_code"].isin(codes[:PLOTTED_STOCKS]), ["ts", "stock_code", "close"]])
    if unanswered:
        raise CollectError(
            f"minute bars: no stock has a minute of {span_of(unanswered)}, which KIS must still keep. The other "
            "sessions landed; materialize these again, and if that does not help look at their daily bars."
        )
    if past_reach:
        report.add_state(Reason.PAST_REACH, f"KIS keeps about a year of minutes; none for {span_of(past_reach)}")
        log.warning("%s", report.state)
    if any(map(len, closes)):
        report.plots["closes"] = _plot(pd.concat(closes, ignore_index=True), span_of(days))
    return report


def _minutes_of(
    kis: "KisClient", day: date, codes: Sequence[str], *, may_be_past_reach: bool, log: logging.Logger
) -> Collected | None:
    """The minutes of one session; None where it is past KIS's reach, which a few stocks tell for all.

    Raises:
        SourceFailure: no stock answered, for another reason than that there is nothing.
    """

    def fetch(code: str) -> Batch[MinuteBar]:
        return kis.minute_bars(code, day)

    if may_be_past_reach and ask(f"minute bars {day}", fetch, codes[:PROBES], log=log).is_empty:
        return None
    gathered = ask(f"minute bars {day}", fetch, codes, log=log)
    if not gathered.answered and not gathered.is_empty:
        raise next(failure for failure in gathered.failures.values() if not isinstance(failure, Empty))
    return gathered


def _plot(closes: pd.DataFrame, label: str) -> Plot:
    # A plot's axis knows no zones; its hours are Korean ones.
    closes["minute"] = closes["ts"].dt.tz_convert(krx.KST).dt.tz_localize(None)
    lines = {str(code): of_stock.set_index("minute")["close"] for code, of_stock in closes.groupby("stock_code")}
    return Plot.from_100(f"close, first minute = 100, {label}", lines)
