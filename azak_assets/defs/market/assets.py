"""Prices by trading day: daily bars and index bars after every close.

Belongs here: declaring the two. Does not belong here: asking for them (`ingest.bars`), and what KIS gives while a
session runs (`intraday`). A request serves a stock for a whole range of sessions, so a backfill is one run.
"""

import dagster as dg

from azak_assets.defs.availability import available
from azak_assets.defs.coverage import coverage_spec, not_requested, with_coverage
from azak_assets.defs.failures import failures_of, skip_unless_available
from azak_assets.defs.reporting import metadata_of, usage
from azak_assets.defs.tables import table_asset
from azak_assets.defs.windows import require_final_bars, window_of
from azak_assets.runtime import Upstreams
from azak_assets.warehouse.warehouse import Warehouse

DAILY_BARS = ["raw", "daily_bars"]


@table_asset(
    "raw.daily_bars",
    owner="market-data",
    deps=["raw.stocks"],
    pool="kis",
    tags=available("close"),
    check_specs=[coverage_spec(DAILY_BARS)],
)
def daily_bars(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult[None]:
    """Daily bars of every listed issue: raw prices in KRW, volume in shares, turnover in KRW.

    Grain: one row a stock and session. Source: KIS FHKST03010100, unadjusted. A halted session has no open, high and
    low, volume 0 and the carried close. Known defect: delisted issues are asked for only while they are in
    `raw.stocks`.
    """
    from azak_assets.ingest import bars  # noqa: PLC0415 - pandas, which only a run needs

    if skipped := skip_unless_available(context, upstreams, "daily_bars", "kis", needed=True):
        return not_requested(DAILY_BARS, skipped)
    window = require_final_bars(window_of(context), upstreams.now())
    source = f"{upstreams.source}KIS FHKST03010100"
    with failures_of(f"daily bars {window.label}"):
        report = bars.daily_bars(
            warehouse, upstreams.kis, window.sessions, label=window.label, source=source, log=context.log
        )
    return with_coverage(context, DAILY_BARS, report, upstreams)


@table_asset(
    "raw.index_bars",
    owner="market-data",
    deps=["raw.stocks"],
    pool="kis",
    version="2",
    tags=available("close"),
)
def index_bars(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult[None]:
    """Daily bars of KOSPI (0001), KOSDAQ (1001), KOSPI 200 (2001) and of every sector's index, in index points.

    Grain: one row an index and session. Source: KIS FHKUP03500100. Sectors are those that `raw.stocks` names; one whose
    code the service does not know is among the failures. Volume is published in thousands of shares and turnover in
    millions of KRW, so their last digits are zeros.
    """
    from azak_assets.ingest import bars  # noqa: PLC0415 - pandas, which only a run needs

    if skipped := skip_unless_available(context, upstreams, "index_bars", "kis", needed=True):
        return skipped
    window = require_final_bars(window_of(context), upstreams.now())
    source = f"{upstreams.source}KIS FHKUP03500100"
    with failures_of(f"index bars {window.label}"):
        report = bars.index_bars(
            warehouse, upstreams.kis, window.sessions, label=window.label, source=source, log=context.log
        )
    return dg.MaterializeResult(metadata={**metadata_of(report), **usage(upstreams)})
