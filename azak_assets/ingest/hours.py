"""When a running session is asked: its five-minute snapshots, its last minute, the half hours of its collectors.

Belongs here: these instants, from a session and a clock. Does not belong here: what is asked (`intraday`), and the
sessions themselves (`krx`). Free of pandas, since the sensors need it.
"""

from datetime import datetime, timedelta

from azak_assets import krx
from azak_assets.ingest.loop import HALF_HOUR
from azak_assets.sources.records import MINUTE

SNAPSHOT_EVERY = timedelta(minutes=5)
BOOKED_WITHIN = timedelta(seconds=5)
"""So long after its end a minute is asked for: its last trades are booked by then, and no second version follows."""
LAST_STRETCH = timedelta(minutes=5)
"""A half hour that would end so shortly before the session's last minute goes on to it."""


def snapshot_time(session: krx.Session, now: datetime) -> datetime:
    """The newest snapshot of an open session: its open, every five minutes, and its close."""
    return session.open_at + (min(now, session.close_at) - session.open_at) // SNAPSHOT_EVERY * SNAPSHOT_EVERY


def snapshots_until(session: krx.Session, now: datetime) -> int:
    """How many snapshots a session has had."""
    return (min(now, session.close_at) - session.open_at) // SNAPSHOT_EVERY + 1 if now >= session.open_at else 0


def ends_at(session: krx.Session) -> datetime:
    """When there is nothing more to collect: the minute of the closing auction has ended and was asked for."""
    return session.close_at + 2 * MINUTE


def half_hour(session: krx.Session, began: datetime) -> datetime:
    """When a collector that began then makes room for the next one."""
    end = ends_at(session)
    return end if began + HALF_HOUR + LAST_STRETCH >= end else began + HALF_HOUR
