"""Which session an instant belongs to: the rules behind `trading_day` and `tradable_session`.

Belongs here: questions about aware instants, one at a time or a whole column. Does not belong here: what a day's hours
are (`sessions`), and when a record becomes known (the warehouse's rule for each table).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import TYPE_CHECKING

from azak_assets.krx.sessions import (
    FIRST_DAY,
    KST,
    LAST_DAY,
    Session,
    next_session,
    previous_session,
    session,
    session_on_or_after,
    session_on_or_before,
    sessions,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def _kst_day(instant: datetime) -> date:
    if instant.utcoffset() is None:
        msg = f"{instant!r} has no time zone: attach the zone it was written in, e.g. .replace(tzinfo=krx.KST)"
        raise ValueError(msg)
    return instant.astimezone(KST).date()


def tradable_session(known_at: datetime) -> Session:
    """The first session that closes after `known_at`: news at the very second of the close is for the next session."""
    candidate = session_on_or_after(_kst_day(known_at))
    return candidate if candidate.close_at > known_at else next_session(candidate.day)


def trading_day_of(known_at: datetime) -> date:
    """The partition of a record: the first session on or after the KST date on which it became known."""
    return session_on_or_after(_kst_day(known_at)).day


def last_closed_session(now: datetime) -> Session:
    """The newest session whose regular trading has ended by `now` (at the second of the close it has)."""
    candidate = session_on_or_before(_kst_day(now))
    return candidate if candidate.close_at <= now else previous_session(candidate.day)


def current_or_next_session(now: datetime) -> Session:
    """The session in progress or, outside trading hours, the next to open; the same rule as `tradable_session`."""
    return tradable_session(now)


def news_window(day: date) -> tuple[datetime, datetime]:
    """The half-open KST interval [start, end) of instants whose trading day is this session day.

    It starts at midnight after the previous session's date, so a Monday owns its weekend; it ends at midnight after
    `day`.
    """
    this = session(day).day
    return _midnight_after(previous_session(this).day), _midnight_after(this)


def _midnight_after(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time.min, KST)


# pandas and numpy are imported inside the functions below: this room is loaded with every code location, and their
# import would cost more than everything else here together.


def trading_days_of(known_at: pd.Series) -> pd.Series:
    """`trading_day_of` for a time-zone-aware column: dates (dtype object), same index and name."""
    import numpy as np  # noqa: PLC0415

    days, day_numbers, _ = _columns()
    # Korea has kept UTC+9 without summer time throughout the calendar, so a fixed offset gives the KST date.
    kst_days = (_utc_instants(known_at) + np.timedelta64(9, "h")).astype("datetime64[D]")
    return _series_like(known_at, days[np.searchsorted(day_numbers, kst_days, side="left")])


def tradable_sessions_of(known_at: pd.Series) -> pd.Series:
    """The day of `tradable_session` for a time-zone-aware column: dates (dtype object), same index and name."""
    import numpy as np  # noqa: PLC0415

    days, _, closes = _columns()
    return _series_like(known_at, days[np.searchsorted(closes, _utc_instants(known_at), side="right")])


@cache
def _columns() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All sessions in order: days as `date` objects, days as datetime64[D], closes as UTC datetime64[us]."""
    import numpy as np  # noqa: PLC0415

    every = sessions(FIRST_DAY, LAST_DAY)
    days = [one.day for one in every]
    closes = [one.close_at.astimezone(UTC).replace(tzinfo=None) for one in every]
    return np.array(days, dtype=object), np.array(days, dtype="datetime64[D]"), np.array(closes, dtype="datetime64[us]")


def _utc_instants(known_at: pd.Series) -> np.ndarray:
    """The column as UTC datetime64[us], refused unless every value is an instant the calendar can answer for.

    Finer units are cut to whole microseconds, which cannot move an instant across a close or a midnight: both are whole
    seconds.
    """
    import pandas as pd  # noqa: PLC0415

    if not isinstance(known_at.dtype, pd.DatetimeTZDtype):
        msg = (
            f"column {known_at.name!r} has dtype {known_at.dtype}, not time-zone-aware datetimes: "
            "localise it first, e.g. pd.to_datetime(column, utc=True) if its values carry an offset"
        )
        raise ValueError(msg)
    if known_at.isna().any():
        msg = f"column {known_at.name!r} has {int(known_at.isna().sum())} empty values: every known_at must be set"
        raise ValueError(msg)
    if len(known_at):
        # The scalar rule refuses what the calendar does not cover; the extremes stand for all values between them.
        for extreme in (known_at.min(), known_at.max()):
            tradable_session(extreme.to_pydatetime(warn=False))
    instants: np.ndarray = known_at.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
    return instants


def _series_like(known_at: pd.Series, days: np.ndarray) -> pd.Series:
    import pandas as pd  # noqa: PLC0415

    return pd.Series(days, index=known_at.index, name=known_at.name, dtype=object)
