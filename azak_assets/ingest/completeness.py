"""Whether what was collected is complete: sessions with too few bars, sources of news that show nothing any more.

Belongs here: these rules, over the rows that landed. Does not belong here: a round whose stocks did not answer
(`round`), a running session's minutes (`session`), upstreams that fail (`health`).
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from azak_assets import krx
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

COMPARED_SESSIONS = 60
FEWEST_OF_NORMAL = 0.9
"""A session with less than this share of the usual number of bars is incomplete: listings change by a handful a week.
"""
SILENT_SESSIONS = 3
"""A source without anything new for this many sessions is silent: each has news every day."""
LOOK_BACK_SESSIONS = 60


@dataclass(frozen=True)
class BarCounts:
    """How many daily bars the newest sessions have."""

    median: float
    """Of those sessions; 0 without any."""
    short: "pd.DataFrame"
    """(day, rows) of the sessions that have far fewer."""


def count_bars(warehouse: Warehouse) -> BarCounts:
    """Compare each of the newest 60 sessions' number of bars with their median; listings change over the years."""
    counts = warehouse.count_by_day("raw.daily_bars").tail(COMPARED_SESSIONS)
    median = float(counts["rows"].median()) if len(counts) else 0.0
    return BarCounts(median, counts[counts["rows"] < FEWEST_OF_NORMAL * median])


@dataclass(frozen=True)
class Sightings:
    """The newest trading day on which each source of news showed an article, and the same of the silent ones."""

    newest: dict[str, date]
    silent: dict[str, date]


def newest_sightings(warehouse: Warehouse, now: datetime) -> Sightings:
    """Compare each source's newest trading day with the newest of all, up to the session of ``now`` (aware).

    A source is silent if it showed nothing for three sessions while another did. Sources that showed nothing in the
    last 60 sessions are not among them.
    """
    upcoming = krx.current_or_next_session(now).day
    by_day = warehouse.count_by_day("raw.news_sightings")
    if by_day.empty:
        return Sightings({}, {})
    newest = min(by_day["day"].max(), upcoming)
    since = krx.shift(newest, -LOOK_BACK_SESSIONS).day
    sightings = warehouse.read("raw.news_sightings", columns=["source", "trading_day"], days=(since, upcoming))
    newest_of = {str(source): day for source, day in sightings.groupby("source")["trading_day"].max().items()}
    silent = {source: day for source, day in newest_of.items() if krx.count_between(day, newest) >= SILENT_SESSIONS}
    return Sightings(newest_of, silent)
