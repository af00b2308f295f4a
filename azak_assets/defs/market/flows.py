"""Who bought and sold in a session: retail investors, foreigners, institutions; known half an hour after the close.

Belongs here: declaring `raw.investor_flows`. How a service without a range of days is asked is in `ingest.rolling`.
"""

import dagster as dg

from azak_assets import krx
from azak_assets.defs.availability import available
from azak_assets.defs.coverage import coverage_spec, not_requested, with_coverage
from azak_assets.defs.failures import failures_of, skip_unless_available
from azak_assets.defs.tables import table_asset
from azak_assets.defs.windows import require_final_bars, window_of
from azak_assets.runtime import Upstreams
from azak_assets.warehouse.warehouse import Warehouse

ASSET = ["raw", "investor_flows"]


@table_asset(
    "raw.investor_flows",
    owner="market-data",
    deps=["raw.stocks"],
    pool="kis",
    tags=available("half_hour_after_close"),
    check_specs=[coverage_spec(ASSET)],
)
def investor_flows(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult[None]:
    """What retail investors, foreigners and institutions bought and sold of every stock, in shares and KRW.

    Grain: one row a stock and session. Source: KIS FHKST01010900, one call a stock, which gives about 30 sessions back
    from now: `state` of an older partition says that it has nothing. Known defects: values come in million KRW; the
    three groups do not add up to zero, because other corporations are missing.
    """
    from azak_assets.ingest import rolling  # noqa: PLC0415 - pandas, which only a run needs

    if skipped := skip_unless_available(context, upstreams, "investor_flows", "kis", needed=True):
        return not_requested(ASSET, skipped)
    now = upstreams.now()
    window = require_final_bars(window_of(context), now)
    with failures_of(f"investor flows {window.label}"):
        report = rolling.investor_flows(
            warehouse,
            upstreams.kis,
            window.sessions,
            now,
            from_when=krx.flows_published_from,
            label=window.label,
            source=f"{upstreams.source}KIS FHKST01010900",
            log=context.log,
        )
    return with_coverage(context, ASSET, report, upstreams)
