"""The trading days that a run works on, and the refusal of days that have not come yet.

Belongs here: reading partitions from a Dagster context. Does not belong here: calendar rules (``krx``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import dagster as dg

from azak_assets import krx


@dataclass(frozen=True)
class Window:
    """The sessions of a run's partitions, oldest first."""

    sessions: Sequence[krx.Session]

    @property
    def days(self) -> tuple[date, ...]:
        """Their trading days (KST dates)."""
        return tuple(session.day for session in self.sessions)

    @property
    def first(self) -> krx.Session:
        """The oldest session."""
        return self.sessions[0]

    @property
    def last(self) -> krx.Session:
        """The newest session."""
        return self.sessions[-1]

    @property
    def known_from(self) -> datetime:
        """The first instant of the news time that belongs to these sessions."""
        return krx.news_window(self.first.day)[0]

    @property
    def known_until(self) -> datetime:
        """The instant after the last of the news time that belongs to these sessions."""
        return krx.news_window(self.last.day)[1]

    def asked_from(self, now: datetime) -> datetime:
        """From when on a feed is asked about these sessions.

        While the window is open that is at least a day back: what was published just before midnight is first seen
        after it, and an article counts as known when it was seen, if that was within 24 hours.
        """
        return min(self.known_from, now - krx.SEEN_WITHIN) if now < self.known_until else self.known_from

    @property
    def label(self) -> str:
        """For people: one day, or the first and the last with their number."""
        if len(self.sessions) == 1:
            return f"{self.first.day}"
        return f"{self.first.day} … {self.last.day} ({len(self.sessions)} sessions)"


def window_of(context: dg.AssetExecutionContext) -> Window:
    """The sessions of the run's partition or partition range."""
    return Window([krx.session(datetime.fromisoformat(key).date()) for key in context.partition_keys])


def require_final_bars(window: Window, now: datetime) -> Window:
    """The window itself, if the bars of all its sessions are final at ``now``.

    Raises:
        dagster.Failure: some are not, so that no partition turns green without its prices. ``end_offset=1`` offers the
            next session on a closed day, which is right for news and wrong for prices; the message says from when on
            the session can be asked for.
    """
    ready = krx.final_at(window.last)
    if now < ready:
        newest = krx.newest_final_session(now).day
        raise dg.Failure(
            f"The session of {window.last.day} has no final bars yet: it opens {window.last.open_at:%Y-%m-%d %H:%M} "
            f"and its bars can be asked for from {ready:%H:%M} KST. Materialize it then; the newest session with "
            f"final bars is {newest}.",
            allow_retries=False,
        )
    return window


def require_open_sessions(window: Window, now: datetime) -> Window:
    """The window itself, if all its sessions have opened at ``now``.

    Raises:
        dagster.Failure: one is still to come; the message says when it opens.
    """
    if now < window.last.open_at:
        raise dg.Failure(
            f"The session of {window.last.day} has not opened: it opens {window.last.open_at:%Y-%m-%d %H:%M} KST. "
            "Materialize it then.",
            allow_retries=False,
        )
    return window
