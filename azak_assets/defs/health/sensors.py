"""A look at the upstreams' health every 30 seconds: a verdict that has changed reaches its check without a run.

Belongs here: when to look and when to report. A run would cost an interpreter each time; two small queries and, when
something has changed, two events cost nothing. Does not belong here: the verdict itself (`verdicts`).
"""

import hashlib
from datetime import UTC, datetime, timedelta

import dagster as dg

from azak_assets.defs.health.assets import shown
from azak_assets.defs.health.verdicts import ASSET, verdicts
from azak_assets.warehouse.warehouse import Warehouse

LOOK_EVERY_S = 30
REPEATED_AFTER = timedelta(hours=1)
"""The UI shows how old a verdict is: one that is a day old would look abandoned."""


@dg.sensor(
    target=dg.AssetSelection.assets(ASSET),
    minimum_interval_seconds=LOOK_EVERY_S,
    # In the sandbox too: it starts no run and sends no request.
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Every 30 seconds: which upstream fails, which feed is empty; goes to the checks of ops/source_health.",
)
def source_health_watch(
    context: dg.SensorEvaluationContext, warehouse: dg.ResourceParam[Warehouse]
) -> dg.SensorResult | dg.SkipReason:
    """Report the verdicts when they have changed, and once an hour."""
    found = verdicts(warehouse)
    digest = hashlib.sha256("\n".join(one.compared for one in found).encode()).hexdigest()[:16]
    reported, _, at = (context.cursor or "").partition(" ")
    now = datetime.now(UTC)
    summary = " ".join(one.description for one in found if not one.passed) or "Every upstream answers."
    if reported == digest and now - datetime.fromisoformat(at) < REPEATED_AFTER:
        return dg.SkipReason(f"Nothing has changed. {summary}")
    return dg.SensorResult(
        asset_events=[dg.AssetMaterialization(ASSET, metadata=shown(warehouse)), *(one.evaluation() for one in found)],
        cursor=f"{digest} {now.isoformat()}",
        skip_reason=f"The checks have the new verdicts, no run is needed. {summary}",
    )
