"""What the broker knows of each company: product information and financial ratios, asked once a week.

Belongs here: declaring the two tables, and how often a load asks for them. Does not belong here: asking
(`ingest.companies`). Unpartitioned: neither is of a session. Each costs a call or two a stock, so a load of everything
(`azak run`, the first load of `azak up`) asks only where the last answer is older than a week; the schedules and a
materialization by hand always ask.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from azak_assets import krx
from azak_assets.defs.availability import available
from azak_assets.defs.catchup import ASKED_AT, last_asked
from azak_assets.defs.coverage import coverage_of, coverage_spec, needs_live_account, not_requested
from azak_assets.defs.failures import failures_of, skip_unless_available
from azak_assets.defs.reporting import metadata_of, usage
from azak_assets.defs.tables import table_asset
from azak_assets.ingest.reasons import Reason
from azak_assets.ingest.report import StepReport
from azak_assets.partition_tags import WHY
from azak_assets.runtime import Upstreams
from azak_assets.sources.failures import NotForThisAccount
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from azak_assets.ingest.companies import CompanyTable

FRESH_FOR = timedelta(days=7)
PRODUCT_INFO, FINANCIAL_RATIOS = ["raw", "product_info"], ["raw", "financial_ratios"]


@table_asset(
    "raw.product_info",
    owner="market-data",
    deps=["raw.stocks"],
    pool="kis",
    is_daily=False,
    tags=available("weekly"),
    check_specs=[coverage_spec(PRODUCT_INFO)],
)
def product_info(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult[None]:
    """Listing dates, shares, par value, industry, and halted and administrative flags of every listed issue.

    Grain: one row an issue. Source: KIS CTPF1002R, live accounts only; CTPF1604R for the class of the product where the
    first names no industry, which is all that the second adds. Known defect: a flag is of the moment of asking, once a
    week. An issue that left the market keeps its last row.
    """
    from azak_assets.ingest.companies import PRODUCTS  # noqa: PLC0415 - pandas: runs only

    return _weekly(context, warehouse, upstreams, PRODUCTS)


@table_asset(
    "raw.financial_ratios",
    owner="market-data",
    deps=["raw.stocks"],
    pool="kis",
    is_daily=False,
    tags=available("weekly"),
    check_specs=[coverage_spec(FINANCIAL_RATIOS)],
)
def financial_ratios(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult[None]:
    """Growth, return on equity, earnings and book value per share, and debt ratio of every listed company.

    Grain: one row a stock and fiscal period, annual and quarterly from the start of the year. Source: KIS
    FHKST66430300, live accounts only. It does not say when a number was published: one is known from when we first saw
    it, and a restated one is a new version. Known defect: the past before our first look has no versions.
    """
    from azak_assets.ingest.companies import RATIOS  # noqa: PLC0415 - pandas: runs only

    return _weekly(context, warehouse, upstreams, RATIOS)


def _weekly(
    context: dg.AssetExecutionContext, warehouse: Warehouse, upstreams: Upstreams, table: "CompanyTable"
) -> dg.MaterializeResult[None]:
    """Ask for the table's issues unless a load of everything finds a fresh answer."""
    from azak_assets.ingest.companies import collect_companies  # noqa: PLC0415 - pandas: runs only

    asset = table.relation.split(".")
    if skipped := skip_unless_available(context, upstreams, asset[-1], "kis") or _asked_lately(context, asset):
        return not_requested(asset, skipped)
    with failures_of(table.label):
        try:
            report = collect_companies(warehouse, upstreams.kis, table, source=upstreams.source, log=context.log)
        except NotForThisAccount as failure:
            return needs_live_account(context, asset, table.label, failure)
    asked_at = {} if report.answered is None else {ASKED_AT: dg.MetadataValue.timestamp(datetime.now(krx.KST))}
    return dg.MaterializeResult(
        metadata={**metadata_of(report), **usage(upstreams), **asked_at}, check_results=[coverage_of(asset, report)]
    )


def _asked_lately(context: dg.AssetExecutionContext, asset: list[str]) -> dg.MaterializeResult[None] | None:
    """In a run that loads everything: the result that says when this was asked for, if that is not a week ago yet.

    Runs with `WHY` load whatever there is: they need not ask for what a weekly run has brought.
    """
    if WHY not in context.run.tags:
        return None
    at = last_asked(context.instance, dg.AssetKey(asset))
    if at is None or datetime.now(krx.KST) - at >= FRESH_FOR:
        return None
    report = StepReport.without_rows(Reason.ASKED_RECENTLY, f"weekly, asked for on {at:%Y-%m-%d %H:%M} KST")
    return dg.MaterializeResult(metadata={**metadata_of(report), ASKED_AT: dg.MetadataValue.timestamp(at)})
