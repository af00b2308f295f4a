"""The Korea Exchange itself: its sessions, the session an instant belongs to, codes, ticks and daily limits.

Everything public is exported here; other rooms import from `azak_assets.krx` only. It imports nothing of ours, reads
nothing but its own committed files, and knows no upstream, table or asset.
"""

from azak_assets.krx.after_hours import LAST_SINGLE_PRICE_DAY, after_hours_end, has_single_price_session
from azak_assets.krx.codes import is_stock_code
from azak_assets.krx.instants import (
    current_or_next_session,
    last_closed_session,
    news_window,
    tradable_session,
    tradable_sessions_of,
    trading_day_of,
    trading_days_of,
)
from azak_assets.krx.prices import PriceLimits, price_limits, round_to_tick, tick_size
from azak_assets.krx.publication import (
    SEEN_WITHIN,
    final_at,
    flows_published_from,
    newest_final_session,
    published_from,
    surely_published_from,
)
from azak_assets.krx.sessions import (
    FIRST_DAY,
    KST,
    LAST_DAY,
    Closure,
    NotASession,
    OutsideCalendar,
    Session,
    count_between,
    is_session,
    next_session,
    previous_session,
    session,
    session_on_or_after,
    session_on_or_before,
    sessions,
    shift,
    weekday_closures,
)

__all__ = [
    "FIRST_DAY",
    "KST",
    "LAST_DAY",
    "LAST_SINGLE_PRICE_DAY",
    "SEEN_WITHIN",
    "Closure",
    "NotASession",
    "OutsideCalendar",
    "PriceLimits",
    "Session",
    "after_hours_end",
    "count_between",
    "current_or_next_session",
    "final_at",
    "flows_published_from",
    "has_single_price_session",
    "is_session",
    "is_stock_code",
    "last_closed_session",
    "newest_final_session",
    "news_window",
    "next_session",
    "previous_session",
    "price_limits",
    "published_from",
    "round_to_tick",
    "session",
    "session_on_or_after",
    "session_on_or_before",
    "sessions",
    "shift",
    "surely_published_from",
    "tick_size",
    "tradable_session",
    "tradable_sessions_of",
    "trading_day_of",
    "trading_days_of",
    "weekday_closures",
]
