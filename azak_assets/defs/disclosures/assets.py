"""DART filings by trading day, corrections included.

Belongs here: declaring their table. Does not belong here: asking for them (`ingest.filings`). DART gives a date and no
time, so a filing counts as known at the end of its receipt date unless it was seen sooner; in the job `disclosures` the
step asks every five minutes for half an hour.
"""

import dagster as dg

from azak_assets.defs import collectors
from azak_assets.defs.failures import failures_of, skip_unless_available
from azak_assets.defs.reporting import metadata_of, usage
from azak_assets.defs.tables import table_asset
from azak_assets.defs.windows import window_of
from azak_assets.ingest.filings import FilingsWindow, collect_filings
from azak_assets.runtime import Upstreams
from azak_assets.warehouse.warehouse import Warehouse


@table_asset("raw.disclosures", owner="disclosures", deps=["raw.corp_codes"], pool="opendart")
def disclosures(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult[None]:
    """Filings at DART, one row a receipt number, by the trading day they belong to.

    Source: OpenDART `list.json`, with corrections. `stock_code` is DART's, else the one of `raw.corp_codes`, and NULL
    for companies that are not listed. `amends_rcept_no` points from a correction to what it corrects. Filings are never
    retired: DART withdraws with another filing.
    """
    if skipped := skip_unless_available(context, upstreams, "disclosures", "opendart"):
        return skipped
    window = window_of(context)
    with failures_of(f"disclosures {window.label}"):
        report = collect_filings(
            warehouse,
            upstreams.opendart,
            FilingsWindow(lambda now: window.asked_from(now).date(), window.last.day, window.label),
            # Of a window that has closed one round brings everything.
            loops=collectors.is_collector(context.run) and upstreams.now() < window.known_until,
            now=upstreams.now,
            sleep=upstreams.sleep,
            source=f"{upstreams.source}OpenDART list.json",
            log=context.log,
        )
    return dg.MaterializeResult(metadata={**metadata_of(report), **usage(upstreams)})
