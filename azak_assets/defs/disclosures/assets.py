"""DART filings by trading day, corrections included.

Belongs here: collecting disclosures. DART gives a date and no time, so a filing counts as known at the end of its
receipt date unless it was seen sooner.
"""

import dagster as dg
import pandas as pd

from azak_assets.defs.failures import as_dagster, silent
from azak_assets.defs.reporting import loaded, usage
from azak_assets.defs.windows import window_of
from azak_assets.partitions import TRADING_DAYS
from azak_assets.resources import Upstreams
from azak_assets.sources.failures import SourceFailure
from azak_assets.sources.records import Filing
from azak_assets.text.filings import amended
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse


@dg.asset(
    key=["raw", "disclosures"],
    deps=[["raw", "corp_codes"]],
    partitions_def=TRADING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"python", "postgres"},
    owners=["team:disclosures"],
    code_version="1",
    pool="opendart",
    metadata={"dagster/table_name": "raw.disclosures"},
)
def disclosures(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult:
    """Filings at DART, one row a receipt number, by the trading day they belong to.

    Source: OpenDART `list.json`, with corrections. `stock_code` is DART's, else the one of `raw.corp_codes`, and NULL
    for companies that are not listed. `amends_rcept_no` points from a correction to what it corrects. Filings are never
    retired: DART withdraws with another filing.
    """
    if nobody := silent(context, upstreams, "disclosures", "opendart"):
        return nobody
    window = window_of(context)
    try:
        batch = upstreams.opendart.filings(window.asked_from(upstreams.now()).date(), window.last.day)
    except SourceFailure as failure:
        raise as_dagster(failure, f"disclosures {window.label}") from failure
    frame = pd.DataFrame(batch.records, columns=list(Filing.__dataclass_fields__))
    codes = warehouse.read("raw.corp_codes", columns=["corp_code", "stock_code"]).dropna()
    listed = frame["corp_code"].map(codes.drop_duplicates("corp_code").set_index("corp_code")["stock_code"])
    frame["stock_code"] = frame["stock_code"].where(frame["stock_code"].notna(), listed)
    earlier = warehouse.read(
        "raw.disclosures",
        columns=["rcept_no", "corp_code", "filer_name", "report_nm", "rcept_dt"],
        where={"corp_code": frame.loc[frame["correction_kind"].notna(), "corp_code"].unique().tolist()},
    )
    frame["amends_rcept_no"] = amended(frame, earlier)
    result = warehouse.load(
        "raw.disclosures", frame, Scope(days=None), complete=False, source=f"{upstreams.source}OpenDART list.json"
    )
    warehouse.quarantine(batch.rejects, source=f"{upstreams.source}OpenDART list.json")
    context.log.info("%d filings of %s, %d requests", len(frame), window.label, batch.requests)
    metadata = loaded(
        result,
        frame,
        instant="rcept_dt",
        rejects=batch.rejects,
        columns=["rcept_dt", "corp_name", "stock_code", "report_nm", "correction_kind", "rcept_no"],
    )
    return dg.MaterializeResult(
        metadata={
            **metadata,
            "listed companies": int(frame["stock_code"].notna().sum()),
            "corrections": int(frame["correction_kind"].notna().sum()),
            **usage(upstreams),
        }
    )
