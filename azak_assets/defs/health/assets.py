"""How the upstreams answer, for the operator: the table that the transport writes, and the checks on it.

Belongs here: showing it. Does not belong here: what a verdict says (`verdicts`), requests to an upstream.
"""

from datetime import datetime
from typing import Any

import dagster as dg

from azak_assets import krx
from azak_assets.defs.health.verdicts import SPECS, verdicts
from azak_assets.defs.markdown import table
from azak_assets.defs.reporting import metadata_of
from azak_assets.defs.tables import table_asset
from azak_assets.ingest.report import StepReport
from azak_assets.warehouse.warehouse import Warehouse

EVERY_ROW = 1000


@table_asset("ops.source_health", owner="platform", check_specs=SPECS, is_daily=False)
def source_health(warehouse: dg.ResourceParam[Warehouse]) -> dg.MaterializeResult[None]:
    """How each upstream answers us: last success, last failure with its cause and what to do, calls of today.

    Grain: one row an upstream that ever received a request. Source: every process records each of its calls, so
    materializing shows the table and sends no request; the sensor `source_health_watch` looks at the checks below every
    30 seconds.
    Known defect: a process that is killed loses the successes of its last five seconds from the count.
    """
    return dg.MaterializeResult(
        metadata=shown(warehouse), check_results=[verdict.result() for verdict in verdicts(warehouse)]
    )


def shown(warehouse: Warehouse) -> dict[str, Any]:
    """The table as metadata of a materialization."""
    import pandas as pd  # noqa: PLC0415 - the code location loads without pandas

    upstreams = warehouse.source_health()
    rows = [
        {
            "upstream": one.upstream,
            "state": "closed until " + _short(one.closed_until)
            if one.is_closed
            else (f"{one.streak} failures in a row" if one.streak else "answers"),
            "last success": _short(one.last_success_at),
            "last failure": _short(one.last_failure_at),
            "cause": one.cause,
            "calls today": one.calls_today,
            "calls a day": one.calls_a_day,
            "what": one.what,
        }
        for one in upstreams
    ]
    instants = [at for one in upstreams for at in (one.last_success_at, one.last_failure_at) if at is not None]
    # The calls write the rows, this step none.
    report = StepReport(
        rows=len(rows),
        unchanged=len(rows),
        earliest=min(instants, default=None),
        latest=max(instants, default=None),
    )
    return {**metadata_of(report), "sample": table(pd.DataFrame(rows), EVERY_ROW)}


def _short(instant: datetime | None) -> str:
    return "" if instant is None else f"{instant.astimezone(krx.KST):%m-%d %H:%M}"
