"""The committed calendar beside what the market did and what the broker expects: the days on which they disagree.

Belongs here: both comparisons, for the checks and for `azak doctor`. Does not belong here: the calendar itself (`krx`),
collecting the broker's (`calendar`), and what the operator is to do about a disagreement.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from azak_assets import krx
from azak_assets.sources.records import RejectCode
from azak_assets.warehouse.warehouse import Warehouse


@dataclass(frozen=True)
class CalendarDays:
    """The days on which a source has the exchange open, and those on which it has it closed (KST dates)."""

    open: frozenset[date]
    closed: frozenset[date]

    @property
    def surplus(self) -> list[date]:
        """The open days that the committed calendar has closed, oldest first."""
        return sorted(day for day in self.open if not krx.is_session(day))

    @property
    def missing(self) -> list[date]:
        """The closed days that the committed calendar has open, oldest first."""
        return sorted(day for day in self.closed if krx.is_session(day))

    @property
    def agrees(self) -> bool:
        """Whether the committed calendar says the same of every day."""
        return not self.surplus and not self.missing


def observed_trading(warehouse: Warehouse, loaded: Collection[date] | None = None) -> CalendarDays:
    """Days with daily bars, and the sessions between the first and the last of them that have none.

    A session that no run has loaded yet is a gap of the backfill and proves nothing about the calendar. ``loaded`` are
    the days that a run has loaded; None: unknown, and then a session counts as loaded if both its neighbours have bars.
    Before the first bar there are no days at all.
    """
    days = frozenset(warehouse.count_by_day("raw.daily_bars")["day"])
    if not days:
        return CalendarDays(days, days)
    empty = [session.day for session in krx.sessions(min(days), max(days)) if session.day not in days]
    if loaded is None:
        closed = [day for day in empty if {krx.previous_session(day).day, krx.next_session(day).day} <= days]
    else:
        closed = [day for day in empty if day in loaded]
    return CalendarDays(days | _refused_days(warehouse), frozenset(closed))


def broker_calendar(warehouse: Warehouse) -> CalendarDays:
    """The days that the broker's holiday service was asked about."""
    answers = warehouse.read("raw.broker_calendar", columns=["day", "is_open"])
    is_open = answers["is_open"].astype(bool)
    return CalendarDays(frozenset(answers.loc[is_open, "day"]), frozenset(answers.loc[~is_open, "day"]))


def _refused_days(warehouse: Warehouse) -> set[date]:
    """The closed days of which the broker sent a bar. It never landed: the client refuses it, and its refusal is kept.

    A day that a corrected calendar calls a session is none of them any more.
    """
    closed = map(date.fromisoformat, warehouse.refused_values(RejectCode.CLOSED_DAY))
    return {day for day in closed if not krx.is_session(day)}
