"""What must hold of news, for the operator: a source that stops showing articles is noticed.

Belongs here: declaring the check. Does not belong here: when a source counts as silent (`ingest.completeness`).
"""

from datetime import datetime

import dagster as dg

from azak_assets import krx
from azak_assets.defs.markdown import literal
from azak_assets.ingest.completeness import newest_sightings
from azak_assets.warehouse.warehouse import Warehouse


@dg.asset_check(
    asset=["raw", "news_sightings"],
    description="Every source that ever showed an article showed one in the newest sessions that have news.",
)
def no_source_is_silent(warehouse: dg.ResourceParam[Warehouse]) -> dg.AssetCheckResult:
    """Each source's newest trading day against the newest of all."""
    found = newest_sightings(warehouse, datetime.now(krx.KST))
    if not found.newest:
        return dg.AssetCheckResult(passed=True, description="no news yet", metadata={"sources": 0})
    silent = "".join(f"{literal(source)} has shown nothing since {day}; " for source, day in found.silent.items())
    return dg.AssetCheckResult(
        passed=not found.silent,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={source: str(day) for source, day in found.newest.items()},
        description=silent and f"{silent}see its failures in the materializations of raw/news_articles.",
    )
