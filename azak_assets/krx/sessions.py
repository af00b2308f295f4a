"""The days and hours on which the Korea Exchange trades, 2010 to 2027.

Belongs here: what the committed files in `data/` say (closures, special hours, regular hours) and questions about days.
Does not belong here: questions about instants (`instants`), and any guess where the files end: a day outside them is
refused.

The files are read once, on first use, without pandas: every code location loads this module, and its load time is a
bar.
"""

import csv
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

KST = ZoneInfo("Asia/Seoul")
FIRST_DAY = date(2010, 1, 1)
LAST_DAY = date(2027, 12, 31)

_SATURDAY = 5
_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class Session:
    """One trading session: its KST date, when regular trading opens and closes (KST), and why its hours are special."""

    day: date
    open_at: datetime
    close_at: datetime
    note: str


@dataclass(frozen=True, slots=True)
class Closure:
    """A weekday on which the exchange is closed, the name of the occasion, and who says so."""

    day: date
    name: str
    source: str


class NotASession(ValueError):  # noqa: N818 - what the market would say, not what Python would call it
    """A closed day where a session is needed: `reason` names the closure, `before` and `after` the next sessions."""

    def __init__(self, day: date, reason: str, before: date | None, after: date | None) -> None:
        self.day = day
        self.reason = reason
        self.before = before
        self.after = after
        near = " and ".join(
            f"{neighbour} {side}" for neighbour, side in ((before, "before it"), (after, "after it")) if neighbour
        )
        super().__init__(f"{day} is not a KRX session ({reason}); the nearest sessions are {near}")


class OutsideCalendar(ValueError):  # noqa: N818
    """A question about a time that the committed calendar does not cover."""

    def __init__(self, asked: str) -> None:
        super().__init__(
            f"{asked} is outside the KRX calendar, which covers {FIRST_DAY} to {LAST_DAY}; ask for a day inside it, "
            "or add that year's rows to azak_assets/krx/data and widen FIRST_DAY or LAST_DAY"
        )


@dataclass(frozen=True, slots=True)
class _Hours:
    opens: time
    closes: time
    note: str


@dataclass(frozen=True, slots=True)
class _Calendar:
    """The files, indexed: closures by day, special hours by day, regular hours newest first, session days in order."""

    closures: dict[date, Closure]
    special: dict[date, _Hours]
    regular: list[tuple[date, _Hours]]
    days: list[date]
    members: frozenset[date]


def _rows(name: str) -> list[dict[str, str]]:
    with (_DATA / name).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@cache
def _calendar() -> _Calendar:
    closures = {
        day: Closure(day, row["name"], row["source"])
        for row in _rows("closures.csv")
        for day in (date.fromisoformat(row["day"]),)
    }
    special = {
        date.fromisoformat(row["day"]): _Hours(
            time.fromisoformat(row["open"]), time.fromisoformat(row["close"]), row["note"]
        )
        for row in _rows("special_hours.csv")
    }
    regular = [
        (
            date.fromisoformat(row["from_day"]),
            _Hours(time.fromisoformat(row["open"]), time.fromisoformat(row["close"]), ""),
        )
        for row in reversed(_rows("regular_hours.csv"))
    ]
    all_days = (FIRST_DAY + timedelta(days=n) for n in range((LAST_DAY - FIRST_DAY).days + 1))
    days = [day for day in all_days if day.weekday() < _SATURDAY and day not in closures]
    return _Calendar(closures, special, regular, days, frozenset(days))


def _checked(day: date) -> date:
    # A datetime is a date to Python, but never equals one: unrefused, it would silently be "no session".
    if isinstance(day, datetime):
        msg = f"{day!r} is an instant, not a KST date: ask trading_day_of() or tradable_session(), or pass a date"
        raise TypeError(msg)
    if not FIRST_DAY <= day <= LAST_DAY:
        raise OutsideCalendar(str(day))
    return day


def _session(day: date) -> Session:
    calendar = _calendar()
    hours = calendar.special.get(day)
    if hours is None:
        hours = next(hours for start, hours in calendar.regular if start <= day)
    return Session(
        day,
        datetime.combine(day, hours.opens, KST),
        datetime.combine(day, hours.closes, KST),
        hours.note,
    )


def _at(index: int, asked: str) -> Session:
    days = _calendar().days
    if not 0 <= index < len(days):
        raise OutsideCalendar(asked)
    return _session(days[index])


def _position(day: date) -> int:
    """Position of a session day among all session days; a closed day raises NotASession."""
    calendar = _calendar()
    place = bisect_left(calendar.days, _checked(day))
    if day not in calendar.members:
        closure = calendar.closures.get(day)
        reason = closure.name if closure else f"a {day:%A}"
        before = calendar.days[place - 1] if place > 0 else None
        after = calendar.days[place] if place < len(calendar.days) else None
        raise NotASession(day, reason, before, after)
    return place


def is_session(day: date) -> bool:
    """Whether the exchange trades on this KST date."""
    return _checked(day) in _calendar().members


def session(day: date) -> Session:
    """The session of this KST date; NotASession on a closed day."""
    _position(day)
    return _session(day)


def sessions(start: date, end: date) -> list[Session]:
    """All sessions from `start` to `end`, both inclusive, in order."""
    days = _calendar().days
    return [_session(day) for day in days[bisect_left(days, _checked(start)) : bisect_right(days, _checked(end))]]


def next_session(day: date) -> Session:
    """The first session strictly after this date, which need not be a session itself."""
    return _at(bisect_right(_calendar().days, _checked(day)), f"the session after {day}")


def previous_session(day: date) -> Session:
    """The last session strictly before this date, which need not be a session itself."""
    return _at(bisect_left(_calendar().days, _checked(day)) - 1, f"the session before {day}")


def session_on_or_after(day: date) -> Session:
    """This date's session, or the next one when the exchange is closed on it."""
    return _at(bisect_left(_calendar().days, _checked(day)), f"the session on or after {day}")


def session_on_or_before(day: date) -> Session:
    """This date's session, or the previous one when the exchange is closed on it."""
    return _at(bisect_right(_calendar().days, _checked(day)) - 1, f"the session on or before {day}")


def shift(day: date, n: int) -> Session:
    """The session `n` sessions after a session day (before it where n < 0)."""
    return _at(_position(day) + n, f"the session {abs(n)} sessions {'after' if n >= 0 else 'before'} {day}")


def count_between(a: date, b: date) -> int:
    """How many sessions lie in (a, b], negative where b < a; for sessions, shift(a, count_between(a, b)).day == b."""
    days = _calendar().days
    return bisect_right(days, _checked(b)) - bisect_right(days, _checked(a))


def weekday_closures() -> list[Closure]:
    """Every closed weekday of the calendar in order: with weekends, exactly the days that are no sessions."""
    return list(_calendar().closures.values())
