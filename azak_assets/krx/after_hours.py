"""The after-hours session at single prices: until which day there was one, and when it ended in the evening.

Belongs here: that market fact. Does not belong here: the continuous after-market that replaced it on 2026-09-14, which
other services describe.

Sources: the exchange's notice of the after-market from 2026-09-14 on, as the broker passed it on (the last auction was
on 2026-09-11). The end: 18:00 on every session. On exam days the session began an hour later and ended at 18:00 all the
same, as the exchange announced each year (reported on 2016-11-17, 2020-12-03, 2021-11-04, 2022-11-16, 2024-10-31 and
2025-11-12), and before 2016-08-01, when trading closed at 15:00, it ended at 18:00 too.
"""

from datetime import date, datetime, time

from azak_assets.krx.sessions import KST, Session

LAST_SINGLE_PRICE_DAY = date(2026, 9, 11)
_ENDS = time(18)


def has_single_price_session(day: date) -> bool:
    """Whether single-price trading followed the session of this day."""
    return day <= LAST_SINGLE_PRICE_DAY


def after_hours_end(session: Session) -> datetime:
    """When single-price trading after this session was over: 18:00, also on exam days, which close an hour later."""
    return datetime.combine(session.day, _ENDS, KST)
