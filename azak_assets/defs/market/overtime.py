"""Prices after hours: the single-price session that followed each session until 2026-09-11.

Belongs here: declaring `raw.overtime_bars`. How a service without a range of days is asked is in `ingest.rolling`.
"""

import dagster as dg

from azak_assets.defs.availability import available
from azak_assets.defs.coverage import coverage_spec, not_requested, with_coverage
from azak_assets.defs.failures import failures_of, skip_unless_available
from azak_assets.defs.tables import table_asset
from azak_assets.defs.windows import require_final_bars, window_of
from azak_assets.runtime import Upstreams
from azak_assets.warehouse.warehouse import Warehouse

ASSET = ["raw", "overtime_bars"]


@table_asset(
    "raw.overtime_bars",
    owner="market-data",
    deps=["raw.stocks"],
    pool="kis",
    tags=available("after_hours"),
    check_specs=[coverage_spec(ASSET)],
)
def overtime_bars(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult[None]:
    """Last price, volume and turnover of every stock in the single-price session after hours, until 2026-09-11.

    Grain: one row a stock and session. Source: KIS FHPST02320000, one call a stock, which gave the newest 30 days. The
    session (16:00–18:00) is gone since 2026-09-14 and the service answers empty: a few stocks are asked, and `state`
    says so. Known defect: the continuous after-market that replaced it (16:00–20:00) is not in this service.
    """
    from azak_assets.ingest import rolling  # noqa: PLC0415 - pandas, which only a run needs

    if skipped := skip_unless_available(context, upstreams, "overtime_bars", "kis", needed=True):
        return not_requested(ASSET, skipped)
    now = upstreams.now()
    window = require_final_bars(window_of(context), now)
    with failures_of(f"after-hours prices {window.label}"):
        report = rolling.overtime_bars(
            warehouse,
            upstreams.kis,
            window.sessions,
            now,
            label=window.label,
            source=f"{upstreams.source}KIS FHPST02320000",
            log=context.log,
        )
    return with_coverage(context, ASSET, report, upstreams)
