"""What the broker knows of each company: product information and financial ratios, asked once a week.

Belongs here: the ledger's description of every issue, and the ratios of every company's fiscal periods. Unpartitioned:
neither is of a session. Each costs a call or two a stock, so a load of everything (`azak run`, the first load of `azak
up`) asks only where the last answer is older than a week; the schedules and whoever materializes them by hand always
ask.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from azak_assets import krx
from azak_assets.defs.availability import available
from azak_assets.defs.catchup import ASKED_AT, last_asked
from azak_assets.defs.failures import as_dagster, skip_unless_available
from azak_assets.defs.market.assets import (
    ask,
    coverage_check,
    coverage_spec,
    frame_of,
    needs_live_account,
    not_requested,
    not_requested_check,
)
from azak_assets.defs.reporting import loaded, nothing, usage
from azak_assets.runtime import Upstreams
from azak_assets.sources.failures import Empty, NotForThisAccount, SourceFailure
from azak_assets.sources.records import Batch, FinancialRatio, ProductInfo
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

OWNERS = ["team:market-data"]
FRESH_FOR = timedelta(days=7)
LOADS_EVERYTHING = "azak/why"
"""Tag of the runs that load whatever there is: they need not ask for what a weekly run has brought."""
WITH_RATIOS = ["stock", "reit"]
"""Funds and shells publish none; a preferred share's are those of the company's common share."""


@dg.asset(
    key=["raw", "product_info"],
    deps=[["raw", "stocks"]],
    kinds={"python", "postgres"},
    owners=OWNERS,
    code_version="1",
    pool="kis",
    metadata={"dagster/table_name": "raw.product_info"},
    tags=available("weekly"),
    check_specs=[coverage_spec(["raw", "product_info"])],
)
def product_info(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult:
    """Listing dates, shares, par value, industry, and halted and administrative flags of every listed issue.

    Grain: one row an issue. Source: KIS CTPF1002R, live accounts only; CTPF1604R for the class of the product where the
    first names no industry, which is all that the second adds. Known defect: a flag is of the moment of asking, once a
    week. An issue that left the market keeps its last row.
    """
    asset = ["raw", "product_info"]
    if skipped := skip_unless_available(context, upstreams, "product_info", "kis"):
        return not_requested(asset, skipped)
    stocks = warehouse.read("raw.stocks", columns=["stock_code"], where={"is_active": True})
    return _weekly(
        context,
        warehouse,
        upstreams,
        asset=asset,
        record=ProductInfo,
        codes=stocks["stock_code"],
        fetch=upstreams.kis.product_info,
        source=f"{upstreams.source}KIS CTPF1002R",
        instant="kospi_listed_on",
    )


@dg.asset(
    key=["raw", "financial_ratios"],
    deps=[["raw", "stocks"]],
    kinds={"python", "postgres"},
    owners=OWNERS,
    code_version="1",
    pool="kis",
    metadata={"dagster/table_name": "raw.financial_ratios"},
    tags=available("weekly"),
    check_specs=[coverage_spec(["raw", "financial_ratios"])],
)
def financial_ratios(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult:
    """Growth, return on equity, earnings and book value per share, and debt ratio of every listed company.

    Grain: one row a stock and fiscal period, annual and quarterly from the start of the year. Source: KIS
    FHKST66430300, live accounts only. It does not say when a number was published: one is known from when we first saw
    it, and a restated one is a new version. Known defect: the past before our first look has no versions.
    """
    asset = ["raw", "financial_ratios"]
    if skipped := skip_unless_available(context, upstreams, "financial_ratios", "kis"):
        return not_requested(asset, skipped)
    stocks = warehouse.read(
        "raw.stocks", columns=["stock_code"], where={"is_active": True, "security_kind": WITH_RATIOS}
    )
    return _weekly(
        context,
        warehouse,
        upstreams,
        asset=asset,
        record=FinancialRatio,
        codes=stocks["stock_code"],
        fetch=upstreams.kis.financial_ratios,
        source=f"{upstreams.source}KIS FHKST66430300",
        instant="period_end",
    )


def _weekly(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    upstreams: Upstreams,
    *,
    asset: list[str],
    record: type,
    codes: Iterable[str],
    fetch: Callable[[str], Batch[Any]],
    source: str,
    instant: str,
) -> dg.MaterializeResult:
    """Ask for every code and land what came; what an answer no longer holds is kept, since old periods drop out."""
    if fresh := _asked_lately(context, dg.AssetKey(asset)):
        return not_requested(asset, fresh)
    wanted, what = list(codes), asset[-1].replace("_", " ")
    if not wanted:
        raise dg.Failure(
            "raw.stocks has no stock to ask for: materialize raw/stocks first.",
            allow_retries=False,
        )
    try:
        gathered = ask(context, what, fetch, wanted)
        if gathered.is_empty:
            # Nothing else of a load depends on it, so that is a warning to look at and no failure of the load.
            state = f"KIS answered for {len(wanted)} issues that it has nothing"
            check = not_requested_check(
                asset, f"{state}: look at one of them by hand, or run again later.", passed=False
            )
            return dg.MaterializeResult(metadata=nothing(state), check_results=[check])
        if not gathered.answered:
            raise next(iter(gathered.failures.values()))
    except NotForThisAccount as failure:
        return needs_live_account(context, asset, what, failure)
    except SourceFailure as failure:
        raise as_dagster(failure, what) from failure
    frame = frame_of([*gathered.whole, *gathered.partial], record)
    result = warehouse.load(".".join(asset), frame, Scope(days=None), complete=False, source=source)
    warehouse.quarantine(gathered.rejects, source=source)
    # A company that has reported nothing yet is no failure.
    without = [code for code, failure in gathered.failures.items() if isinstance(failure, Empty)]
    for code in without:
        del gathered.failures[code]
    return dg.MaterializeResult(
        metadata={
            **loaded(result, frame, instant=instant, rejects=gathered.rejects),
            **gathered.metadata(),
            **usage(upstreams),
            "without any": len(without),
            ASKED_AT: dg.MetadataValue.timestamp(datetime.now(krx.KST)),
        },
        check_results=[coverage_check(asset, gathered)],
    )


def _asked_lately(context: dg.AssetExecutionContext, key: dg.AssetKey) -> dg.MaterializeResult | None:
    """In a run that loads everything: the result that says when this was asked for, if that is not a week ago yet."""
    if LOADS_EVERYTHING not in context.run.tags:
        return None
    at = last_asked(context.instance, key)
    if at is None or datetime.now(krx.KST) - at >= FRESH_FOR:
        return None
    state = f"weekly, asked for on {at:%Y-%m-%d %H:%M} KST"
    return dg.MaterializeResult(metadata={**nothing(state), ASKED_AT: dg.MetadataValue.timestamp(at)})
