"""Services that give a stock's newest sessions, about 30, and take no range of days: flows and after-hours prices.

Belongs here: which stocks are asked, how far back an answer reached, and a state for each session that it could not
serve. One answer serves every asked session inside its reach; a session before it is not failed for ever and not
silently empty. Does not belong here: the wire format (`sources.kis`), when a session's numbers are out (the callers).
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from azak_assets import krx
from azak_assets.ingest.days import each_of
from azak_assets.ingest.failures import CollectError
from azak_assets.ingest.reasons import Reason
from azak_assets.ingest.report import DayState, Plot, StepReport
from azak_assets.ingest.round import PROBES, Collected, gather, store
from azak_assets.ingest.stocks import listed_in
from azak_assets.sources.failures import Empty
from azak_assets.sources.records import Batch, InvestorFlow, OvertimeBar
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from azak_assets.sources.kis.client import KisClient

SURELY_GIVEN = 20
"""Sessions back from today that an answer of "about 30" reaches for certain."""
GROUPS = ("retail", "foreign", "institution")
PLOTTED_IN = 100_000_000
"""KRW: the unit in which the market speaks of flows."""
ENDED = f"there was no single-price session after hours since {krx.next_session(krx.LAST_SINGLE_PRICE_DAY).day}"


def investor_flows(
    warehouse: Warehouse,
    kis: "KisClient",
    sessions: Sequence[krx.Session],
    now: datetime,
    *,
    from_when: Callable[[krx.Session], datetime],
    label: str,
    source: str,
    log: logging.Logger,
) -> StepReport:
    """The flows of those of the sessions that are out, as far back as KIS gives them.

    Args:
        warehouse: where the rows go.
        kis: whom to ask.
        sessions: oldest first, all of them closed.
        now: the instant of asking (aware).
        from_when: from when on a session's flows can be asked for.
        label: the sessions, for people.
        source: the provenance column.
        log: progress.

    Raises:
        SourceFailure: no stock answered.
        CollectError: no stock has a row of a session inside the reach; what landed stays.
    """
    due, later = ready(sessions, now, from_when)
    if not due:
        return StepReport.without_rows(Reason.NOT_OUT_YET, "; ".join(later.values()))
    days = [session.day for session in due]
    gathered = ask_newest(
        f"investor flows {label}",
        kis.investor_flows,
        listed_in(warehouse, sessions, label),
        days,
        surely=is_surely_given(days[-1], now),
        log=log,
    )
    landed = land(warehouse, "raw.investor_flows", days, gathered, InvestorFlow, source=source)
    _require_rows(landed, "investor flows", "Today's are empty until the broker fills them: materialize again later.")
    if landed.past:
        reached = f"answered back to {landed.reach}" if landed.reach else "had none for the few stocks it was asked for"
        state = f"KIS gives about 30 sessions of flows and {reached}: nothing for a session before it"
        landed.report.add_state(Reason.PAST_REACH, state)
        log.warning("%s: %d asked sessions lie before it", state, len(landed.past))
    if landed.frame is not None and not landed.frame.empty:
        by_day = landed.frame.groupby("trade_date")[[f"{name}_net_krw" for name in GROUPS]].sum() / PLOTTED_IN
        lines = {name: by_day[f"{name}_net_krw"] for name in GROUPS}
        landed.report.plots["net"] = Plot(f"net buying of all stocks, 100 million KRW, {label}", lines)
    return by_session(landed, later)


def overtime_bars(
    warehouse: Warehouse,
    kis: "KisClient",
    sessions: Sequence[krx.Session],
    now: datetime,
    *,
    label: str,
    source: str,
    log: logging.Logger,
) -> StepReport:
    """The single-price session after hours of those of the sessions that had one and whose after-hours are over.

    The arguments are those of `investor_flows`; so is what it raises.
    """
    due, later = ready(sessions, now, krx.after_hours_end)
    if not due:
        return StepReport.without_rows(Reason.NOT_OUT_YET, "; ".join(later.values()))
    days = [session.day for session in due if krx.has_single_price_session(session.day)]
    gathered = ask_newest(
        f"after-hours prices {label}",
        kis.overtime_bars,
        listed_in(warehouse, sessions, label),
        days,
        surely=krx.has_single_price_session(now.date()) and is_surely_given(due[-1].day, now),
        log=log,
    )
    landed = land(warehouse, "raw.overtime_bars", days, gathered, OvertimeBar, source=source)
    _require_rows(landed, "after-hours prices", "Materialize again later.")
    if len(days) < len(due):
        answered = "its rows are in quarantine" if gathered.rejects else "and KIS answered empty, which is right"
        landed.report.add_state(Reason.DISCONTINUED, f"{ENDED}, {answered}")
    if landed.past:
        reached = f"it answered back to {landed.reach}" if landed.reach else "it has none any more"
        gone = f"KIS gave 30 days of after-hours prices, {reached}: nothing for a session before it"
        landed.report.add_state(Reason.PAST_REACH, gone)
    if landed.report.state:
        log.warning("%s", landed.report.state)
    return by_session(landed, later)


def ready(
    sessions: Sequence[krx.Session], now: datetime, from_when: Callable[[krx.Session], datetime]
) -> tuple[list[krx.Session], dict[date, str]]:
    """The sessions that can be asked for at ``now``, and of each of the others, in a sentence, from when on it can."""
    late = {session.day: from_when(session) for session in sessions if from_when(session) > now}
    return (
        [session for session in sessions if session.day not in late],
        {
            day: f"not out yet: {day} can be asked for from {at:%Y-%m-%d %H:%M} KST, materialize it then"
            for day, at in late.items()
        },
    )


def is_surely_given(day: date, now: datetime) -> bool:
    """Whether the session is young enough that no answer could leave it out."""
    return krx.count_between(day, now.astimezone(krx.KST).date()) <= SURELY_GIVEN


def ask_newest(
    what: str,
    fetch: Callable[[str], Batch[Any]],
    codes: Sequence[str],
    days: Sequence[date],
    *,
    surely: bool,
    log: logging.Logger,
) -> Collected:
    """Ask for every stock; where the days may be out of reach, first for a few, which answer for all.

    A few without anything answer for all too: only for a session of these weeks is that a failure.

    Raises:
        SourceFailure: no stock answered; see `gather`.
    """
    if not surely:
        few = gather(what, fetch, codes[:PROBES], may_be_empty=True, log=log)
        if not any(record.trade_date in days for record in [*few.whole, *few.partial]):
            return few
    return gather(what, fetch, codes, log=log)


@dataclass(frozen=True)
class Landed:
    """What came of the asked sessions: those inside the answers' reach were loaded, the older ones are past it.

    ``reach`` is the oldest session of any answer; None where there was none, and then ``frame`` is too.
    """

    report: StepReport
    frame: pd.DataFrame | None
    reach: date | None
    inside: list[date]
    past: list[date]
    rows: Counter[date]

    @property
    def without(self) -> list[date]:
        """Sessions inside the reach of which no stock has a row."""
        return [day for day in self.inside if not self.rows[day]]


def land(
    warehouse: Warehouse, table: str, days: Sequence[date], gathered: Collected, record: type, *, source: str
) -> Landed:
    """Load what was gathered about those of ``days`` that the answers reach back to; older rows of the table stay.

    A stock whose own answer reaches back to the first of them is answered for; a stock with fewer sessions only adds
    and corrects. A stock without the newest session counts as failed. Refused rows go to quarantine.

    Raises:
        CollectError: sessions were asked for and every row was refused.
    """
    records = [*gathered.whole, *gathered.partial]
    oldest: dict[str, date] = {}
    for row in records:
        oldest[row.stock_code] = min(row.trade_date, oldest.get(row.stock_code, row.trade_date))
    reach = min(oldest.values(), default=None)
    inside = [day for day in days if reach is not None and day >= reach]
    past = [day for day in days if day not in inside]
    if not inside:
        warehouse.quarantine(gathered.rejects, source=source)
        if days and gathered.rejects and not records:
            first = gathered.rejects[0]
            raise CollectError(
                f"{table}: every row was refused, the first for {first.field}={first.value!r}: {first.reason}. All of "
                "them are in ops.rejected_records."
            )
        report = gathered.report()
        report.excused = set(report.failures)  # none of the days is given any more, whatever a stock answers
        return Landed(report, None, reach, [], past, Counter())
    kept = Collected()
    kept.rejects = gathered.rejects
    kept.whole_keys = [code for code in gathered.whole_keys if oldest.get(code, date.max) <= inside[0]]
    kept.partial_keys = sorted({*gathered.whole_keys, *gathered.partial_keys} - set(kept.whole_keys))
    is_whole, asked = set(kept.whole_keys), set(inside)
    for row in records:
        if row.trade_date in asked:
            (kept.whole if row.stock_code in is_whole else kept.partial).append(row)
    report, frame = store(warehouse, table, inside, kept, record, source=source)
    rows = Counter(frame["trade_date"])
    newest = inside[-1]
    if rows[newest]:
        there = set(frame.loc[frame["trade_date"] == newest, "stock_code"])
        for code in sorted({*gathered.whole_keys, *gathered.partial_keys} - there):
            gathered.failures[code] = Empty("kis", f"no usable row of {code} for {newest}")
    report.add_failures(gathered.failures)
    report.notes["answers reach back to"] = str(reach)
    return Landed(report, frame, reach, inside, past, rows)


def _require_rows(landed: Landed, what: str, advice: str) -> None:
    if landed.without:
        raise CollectError(
            f"{what}: no stock has any for {each_of(landed.without)}, which KIS gives the sessions around it for. "
            f"{advice} What landed stays."
        )


def by_session(landed: Landed, later: dict[date, str]) -> StepReport:
    """The report of the step, with what is true of single sessions only.

    Its ``state`` is that of the sessions which have nothing. Sessions that landed are named one by one, and not the
    other way round: they are few, and the ones past reach may be thousands.
    """
    report = landed.report
    if report.state:
        report.days = {day: DayState(Reason.LANDED, "landed", landed.rows[day]) for day in landed.inside}
    report.days |= {day: DayState(Reason.NOT_OUT_YET, why, 0) for day, why in later.items()}
    return report
