"""What must hold of news: a source that stops showing articles is noticed.

Does not belong here: counting articles (`warehouse`), and failures of a request (`defs.health`).
"""

from datetime import datetime

import dagster as dg

from azak_assets import krx
from azak_assets.defs.markdown import literal
from azak_assets.warehouse.warehouse import Warehouse

SILENT_SESSIONS = 3
"""A source that showed nothing new for this many sessions, while another did, is silent: each has news every day."""
LOOK_BACK_SESSIONS = 60


@dg.asset_check(
    asset=["raw", "news_sightings"],
    description="Every source that ever showed an article showed one in the newest sessions that have news.",
)
def no_source_is_silent(warehouse: dg.ResourceParam[Warehouse]) -> dg.AssetCheckResult:
    """Compare each source's newest trading day with the newest of all."""
    upcoming = krx.current_or_next_session(datetime.now(krx.KST)).day
    by_day = warehouse.count_by_day("raw.news_sightings")
    if by_day.empty:
        return dg.AssetCheckResult(passed=True, description="no news yet", metadata={"sources": 0})
    newest = min(by_day["day"].max(), upcoming)
    since = krx.shift(newest, -LOOK_BACK_SESSIONS).day
    sightings = warehouse.read("raw.news_sightings", columns=["source", "trading_day"], days=(since, upcoming))
    newest_of = sightings.groupby("source")["trading_day"].max()
    silent = {s: day for s, day in newest_of.items() if krx.count_between(day, newest) >= SILENT_SESSIONS}
    return dg.AssetCheckResult(
        passed=not silent,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={str(source): str(day) for source, day in newest_of.items()},
        description="".join(f"{literal(source)} has shown nothing since {day}; " for source, day in silent.items())
        + ("see its failures in the materializations of raw/news_articles." if silent else ""),
    )
