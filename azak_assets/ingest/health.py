"""Which upstreams fail and how seriously, and which sources answer without bringing anything.

Belongs here: these rules, over what every call left in `ops`. Does not belong here: recording the calls
(`warehouse.calls.call_log`), what a failure is (`sources.failures`), the sentences for the operator (`defs.health`).
"""

from datetime import timedelta
from typing import TYPE_CHECKING

from azak_assets.ingest.completeness import SILENT_SESSIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from azak_assets.warehouse.calls.call_log import FeedHealth, SourceHealth

LONG_FAILING = timedelta(hours=1)
"""A failing upstream is a warning; when it has not answered for so long, or refuses us, an error."""


def failing(upstreams: "Iterable[SourceHealth]") -> "list[SourceHealth]":
    """The upstreams whose newest call failed, or that are closed since they refused us."""
    return [one for one in upstreams if one.streak or one.is_closed]


def is_serious(one: "SourceHealth") -> bool:
    """Whether a failing upstream will hardly mend by itself: it is closed, needs a person, or has failed for long."""
    is_long = one.failing_from is not None and one.now - one.failing_from >= LONG_FAILING
    return one.is_closed or is_long or one.action in ("stop", "alert")


def empty_feeds(feeds: "Iterable[FeedHealth]") -> "list[FeedHealth]":
    """The sources that once brought rows, and have answered with none for three sessions."""
    # One that never brought a row may have none to bring: a paper account, the after-hours session that was abolished.
    return [one for one in feeds if one.last_rows_at is not None and one.empty_sessions >= SILENT_SESSIONS]
