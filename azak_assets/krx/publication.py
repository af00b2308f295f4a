"""When a session's numbers are final, and when the exchange publishes its own; `sources.krx_openapi` says how sure.

Belongs here: these instants. Does not belong here: what is published, or asking for it.
"""

from datetime import date, datetime, time, timedelta

from azak_assets.krx.sessions import KST, next_session

FINAL_AFTER_CLOSE = timedelta(minutes=10)
"""A session's bars are final this long after its close; the nominal time of daily and index bars."""
SEEN_WITHIN = timedelta(hours=24)
"""An article, post or filing first seen within this time of its own time is known from when it was seen; one first seen
later, from its own time: a backfill would otherwise make old news known on the day of loading."""
PUBLISHED_AT = time(8)


def published_from(session_day: date) -> datetime:
    """The earliest instant at which a session can be there: 08:00 of the next day. A request before then is wasted."""
    return datetime.combine(session_day + timedelta(days=1), PUBLISHED_AT, KST)


def surely_published_from(session_day: date) -> datetime:
    """From when on a session must be there: 08:00 on the day of the next one, whatever weekends do."""
    return datetime.combine(next_session(session_day).day, PUBLISHED_AT, KST)
