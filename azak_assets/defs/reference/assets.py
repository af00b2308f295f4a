"""What rarely changes: the sessions, the listed stocks and DART's company codes. Unpartitioned; each load is complete.

Belongs here: declaring reference data that the daily assets look things up in. Does not belong here: how it is made
(`ingest.calendar`, `ingest.stocks`, `ingest.companies`). Model and prompt versions live with the forecasts.
"""

import dagster as dg

from azak_assets.defs.failures import failures_of, skip_unless_available
from azak_assets.defs.reporting import metadata_of, usage
from azak_assets.defs.tables import table_asset
from azak_assets.ingest.reasons import Reason
from azak_assets.ingest.report import StepReport
from azak_assets.runtime import Upstreams
from azak_assets.sources.failures import NotForThisAccount
from azak_assets.warehouse.warehouse import Warehouse


@table_asset("raw.trading_sessions", owner="market-data", is_daily=False)
def trading_sessions(
    context: dg.AssetExecutionContext, warehouse: dg.ResourceParam[Warehouse]
) -> dg.MaterializeResult[None]:
    """Every KRX session 2010–2027 with its opening and closing instant, from the calendar committed with the code.

    Grain: one row a session. Source: `azak_assets/krx/data`, a source per row. Known defect: days after the next
    government notice are projected from the holiday law, and say so in `note`.
    """
    from azak_assets.ingest.calendar import load_sessions  # noqa: PLC0415 - pandas: runs only

    report = load_sessions(warehouse)
    context.log.info("%d sessions, %d changed", report.rows, report.changed)
    return dg.MaterializeResult(metadata=metadata_of(report))


@table_asset("raw.broker_calendar", owner="market-data", pool="kis", is_daily=False)
def broker_calendar(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult[None]:
    """On which of the coming days the broker expects the market to open: reconciled with the calendar.

    Grain: one row a calendar day. Source: KIS CTCA0903R, asked once a day for four weeks ahead; live accounts only. It
    decides nothing: the committed calendar is the authority, and a check says where the two disagree.
    """
    from azak_assets.ingest.calendar import collect_broker_calendar  # noqa: PLC0415 - pandas: runs only

    if skipped := skip_unless_available(context, upstreams, "holidays", "kis"):
        return skipped
    with failures_of("the broker's calendar"):
        try:
            report = collect_broker_calendar(
                warehouse, upstreams.kis, upstreams.now().date(), source=f"{upstreams.source}KIS CTCA0903R"
            )
        except NotForThisAccount as failure:
            context.log.warning("broker calendar: %s", failure)
            report = StepReport.without_rows(Reason.PAPER_ACCOUNT, "not asked: a paper account has no holiday service")
    return dg.MaterializeResult(metadata={**metadata_of(report), **usage(upstreams)})


@table_asset("raw.stocks", owner="market-data", pool="kis", is_daily=False)
def stocks(
    context: dg.AssetExecutionContext,  # noqa: ARG001 - Dagster hands it to every step
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult[None]:
    """Every listed issue of KOSPI, KOSDAQ and KONEX, with its tier and the other names the press uses.

    Grain: one row an issue. Source: KIS master files; tier and aliases from `universe.csv`, else by rank of
    market capitalisation. An issue that leaves the master files stays, inactive, with the day it was first missed.
    """
    from azak_assets.ingest.stocks import collect_stocks  # noqa: PLC0415 - pandas: runs only

    with failures_of("listed stocks"):
        report = collect_stocks(
            warehouse, upstreams.kis, upstreams.now().date(), source=f"{upstreams.source}KIS master files"
        )
    return dg.MaterializeResult(metadata={**metadata_of(report), **usage(upstreams)})


@table_asset("raw.corp_codes", owner="market-data", pool="opendart", is_daily=False)
def corp_codes(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult[None]:
    """DART's company codes with the stock code where the company has one.

    Grain: one row a company. Source: OpenDART `corpCode.xml`. Known defect: a delisted company may keep its stock code.
    """
    from azak_assets.ingest.companies import collect_corp_codes  # noqa: PLC0415 - pandas: runs only

    if skipped := skip_unless_available(context, upstreams, "corp_codes", "opendart"):
        return skipped
    with failures_of("company codes"):
        report = collect_corp_codes(warehouse, upstreams.opendart, source=f"{upstreams.source}OpenDART corpCode.xml")
    return dg.MaterializeResult(metadata={**metadata_of(report), **usage(upstreams)})
