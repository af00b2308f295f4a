"""A collector's loop: a run of half an hour that asks its feeds again and again.

Belongs here: the loop, whose clock and sleep are handed in. Does not belong here: what is asked and when it is due
(`intraday`, `filings`), and which run starts when (`defs.collectors`).

Decision 13 of the design: a run every five minutes is a new interpreter every five minutes, which costs more than what
it asks, and 288 entries a day in the list of runs.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from azak_assets.sources.failures import SourceFailure

HALF_HOUR = timedelta(minutes=30)


class Feed(Protocol):
    """Something to ask again and again."""

    def due_at(self, now: datetime) -> datetime | None:
        """When its next round is due, which may have passed; None when there is none left."""

    def round(self, now: datetime) -> None:
        """Ask and load. Raises `SourceFailure` where the upstream refuses every request or is down."""


def run(
    feeds: Sequence[Feed],
    *,
    until: datetime,
    now: Callable[[], datetime],
    sleep: Callable[[float], None],
    log: logging.Logger,
) -> None:
    """Ask whichever feed is most overdue, again and again, until nothing is due before ``until``.

    An upstream that is down or slow ends a round, not the collector: the next round asks for what is missing.

    Raises:
        SourceFailure: the upstream refuses us altogether (`stop`), or no round of any feed came through.
    """
    came_through, last_failure = False, None
    while True:
        waiting = [(at, position) for position, feed in enumerate(feeds) if (at := feed.due_at(now())) is not None]
        if not waiting or min(waiting)[0] >= until:
            break
        at, position = min(waiting)
        if (wait := (at - now()).total_seconds()) > 0:
            sleep(wait)
        try:
            feeds[position].round(now())
        except SourceFailure as failure:
            if failure.action == "stop":
                raise
            log.warning("a round was cut short: %s", failure)
            last_failure = failure
        else:
            came_through = True
    if last_failure is not None and not came_through:
        raise last_failure


def once(feeds: Sequence[Feed], now: Callable[[], datetime]) -> None:
    """One round of each feed. Raises `SourceFailure` where one could not be made."""
    for feed in feeds:
        feed.round(now())
