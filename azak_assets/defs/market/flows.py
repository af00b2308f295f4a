"""Who bought and sold in a session: retail investors, foreigners, institutions; known half an hour after the close.

Belongs here: `raw.investor_flows`. How a service without a range of days is asked is in `rolling`.
"""

from datetime import datetime

import dagster as dg
import pandas as pd

from azak_assets import krx
from azak_assets.defs.availability import available
from azak_assets.defs.failures import skip_unless_available
from azak_assets.defs.market.assets import OWNERS, coverage_check, coverage_spec, not_requested, not_requested_check
from azak_assets.defs.market.rolling import ask_newest, followed, is_surely_given, land, ready, told
from azak_assets.defs.reporting import line_plot, nothing, usage
from azak_assets.defs.windows import require_final_bars, window_of
from azak_assets.partitions import TRADING_DAYS
from azak_assets.runtime import Upstreams
from azak_assets.sources.kis.flows import FLOWS_DELAY
from azak_assets.sources.records import InvestorFlow
from azak_assets.warehouse.warehouse import Warehouse

ASSET = ["raw", "investor_flows"]
GROUPS = ("retail", "foreign", "institution")
PLOTTED_IN = 100_000_000
"""KRW: the unit in which the market speaks of flows."""


def flows_are_out(session: krx.Session) -> datetime:
    """From when on a session's flows can be asked for."""
    return session.close_at + FLOWS_DELAY


@dg.asset(
    key=ASSET,
    deps=[["raw", "stocks"]],
    partitions_def=TRADING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"python", "postgres"},
    owners=OWNERS,
    code_version="1",
    pool="kis",
    metadata={"dagster/table_name": "raw.investor_flows"},
    tags=available("half_hour_after_close"),
    check_specs=[coverage_spec(ASSET)],
)
def investor_flows(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult:
    """What retail investors, foreigners and institutions bought and sold of every stock, in shares and KRW.

    Grain: one row a stock and session. Source: KIS FHKST01010900, one call a stock, which gives about 30 sessions back
    from now: `state` of an older partition says that it has nothing. Known defects: values come in million KRW; the
    three groups do not add up to zero, because other corporations are missing.
    """
    if skipped := skip_unless_available(context, upstreams, "investor_flows", "kis", needed=True):
        return not_requested(ASSET, skipped)
    now = upstreams.now()
    window = require_final_bars(window_of(context), now)
    due, later = ready(window, now, flows_are_out)
    if not due:
        state = "; ".join(later.values())
        return dg.MaterializeResult(metadata=nothing(state), check_results=[not_requested_check(ASSET, state)])
    days = [session.day for session in due]
    gathered = ask_newest(
        context,
        f"investor flows {window.label}",
        upstreams.kis.investor_flows,
        followed(warehouse, window),
        days,
        surely=is_surely_given(days[-1], now),
    )
    source = f"{upstreams.source}KIS FHKST01010900"
    landed = land(warehouse, "raw.investor_flows", days, gathered, InvestorFlow, source=source)
    if landed.without:
        raise dg.Failure(
            f"investor flows: no stock has any for {', '.join(map(str, landed.without))}, which KIS gives the sessions "
            "around it for. Today's are empty until the broker fills them: materialize again later. What landed stays.",
            allow_retries=False,
        )
    state = ""
    if landed.past:
        reached = f"answered back to {landed.reach}" if landed.reach else "had none for the few stocks it was asked for"
        state = f"KIS gives about 30 sessions of flows and {reached}: nothing for a session before it"
        context.log.warning("%s: %d asked sessions lie before it", state, len(landed.past))
    check = not_requested_check(ASSET, state) if landed.frame is None else coverage_check(ASSET, gathered)
    metadata = told(context, landed, state, later, **_plot(landed.frame, window.label), **usage(upstreams))
    return dg.MaterializeResult(metadata=metadata, check_results=[check])


def _plot(frame: pd.DataFrame | None, label: str) -> dict[str, dg.MarkdownMetadataValue]:
    if frame is None or frame.empty:
        return {}
    by_day = frame.groupby("trade_date")[[f"{name}_net_krw" for name in GROUPS]].sum() / PLOTTED_IN
    lines = {name: by_day[f"{name}_net_krw"] for name in GROUPS}
    return {"net": line_plot(lines, title=f"net buying of all stocks, 100 million KRW, {label}")}
