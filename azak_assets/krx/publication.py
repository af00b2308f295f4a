"""When a session's numbers are final, and when the exchange publishes its own; `sources.krx_openapi` says how sure.

Belongs here: these instants. Does not belong here: what is published, or asking for it.
"""

from datetime import date, datetime, time, timedelta

from azak_assets.krx.instants import last_closed_session
from azak_assets.krx.sessions import KST, Session, next_session

FINAL_AFTER_CLOSE = timedelta(minutes=10)
"""A session's bars are final this long after its close; the nominal time of daily and index bars."""
FLOWS_AFTER_CLOSE = timedelta(minutes=30)
"""A session's investor flows count as known this long after its close; the broker fills them some time after it."""
SEEN_WITHIN = timedelta(hours=24)
"""An article, post or filing first seen within this time of its own time is known from when it was seen; one first seen
later, from its own time: a backfill would otherwise make old news known on the day of loading."""
PUBLISHED_AT = time(8)


def final_at(session: Session) -> datetime:
    """From when on the bars of a session are final; they count as known at this instant."""
    return session.close_at + FINAL_AFTER_CLOSE


def newest_final_session(now: datetime) -> Session:
    """The newest session whose bars are final at ``now`` (aware)."""
    return last_closed_session(now - FINAL_AFTER_CLOSE)


def flows_published_from(session: Session) -> datetime:
    """From when on the investor flows of a session can be asked for; they count as known at this instant."""
    return session.close_at + FLOWS_AFTER_CLOSE


def published_from(session_day: date) -> datetime:
    """The earliest instant at which a session can be there: 08:00 of the next day. A request before then is wasted."""
    return datetime.combine(session_day + timedelta(days=1), PUBLISHED_AT, KST)


def surely_published_from(session_day: date) -> datetime:
    """From when on a session must be there: 08:00 on the day of the next one, whatever weekends do."""
    return datetime.combine(next_session(session_day).day, PUBLISHED_AT, KST)
