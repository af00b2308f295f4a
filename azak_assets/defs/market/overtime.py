"""Prices after hours: the single-price session that followed each session until 2026-09-11.

Belongs here: `raw.overtime_bars`, the days on which it had a session and those on which nothing is right. How a service
without a range of days is asked is in `rolling`.
"""

import dagster as dg

from azak_assets import krx
from azak_assets.defs.availability import available
from azak_assets.defs.failures import skip_unless_available
from azak_assets.defs.market.assets import OWNERS, coverage_check, coverage_spec, not_requested, not_requested_check
from azak_assets.defs.market.rolling import ask_newest, followed, is_surely_given, land, ready, told
from azak_assets.defs.reporting import nothing, usage
from azak_assets.defs.windows import require_final_bars, window_of
from azak_assets.partitions import TRADING_DAYS
from azak_assets.runtime import Upstreams
from azak_assets.sources.records import OvertimeBar
from azak_assets.warehouse.warehouse import Warehouse

ASSET = ["raw", "overtime_bars"]
ENDED = f"there was no single-price session after hours since {krx.next_session(krx.LAST_SINGLE_PRICE_DAY).day}"


@dg.asset(
    key=ASSET,
    deps=[["raw", "stocks"]],
    partitions_def=TRADING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"python", "postgres"},
    owners=OWNERS,
    code_version="1",
    pool="kis",
    metadata={"dagster/table_name": "raw.overtime_bars"},
    tags=available("evening"),
    check_specs=[coverage_spec(ASSET)],
)
def overtime_bars(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult:
    """Last price, volume and turnover of every stock in the single-price session after hours, until 2026-09-11.

    Grain: one row a stock and session. Source: KIS FHPST02320000, one call a stock, which gave the newest 30 days. The
    session (16:00–18:00) is gone since 2026-09-14 and the service answers empty: a few stocks are asked, and `state`
    says so. Known defect: the continuous after-market that replaced it (16:00–20:00) is not in this service.
    """
    if skipped := skip_unless_available(context, upstreams, "overtime_bars", "kis", needed=True):
        return not_requested(ASSET, skipped)
    now = upstreams.now()
    window = require_final_bars(window_of(context), now)
    due, later = ready(window, now, krx.after_hours_end)
    if not due:
        state = "; ".join(later.values())
        return dg.MaterializeResult(metadata=nothing(state), check_results=[not_requested_check(ASSET, state)])
    days = [session.day for session in due if krx.has_single_price_session(session.day)]
    gathered = ask_newest(
        context,
        f"after-hours prices {window.label}",
        upstreams.kis.overtime_bars,
        followed(warehouse, window),
        days,
        surely=krx.has_single_price_session(now.date()) and is_surely_given(due[-1].day, now),
    )
    source = f"{upstreams.source}KIS FHPST02320000"
    landed = land(warehouse, "raw.overtime_bars", days, gathered, OvertimeBar, source=source)
    if landed.without:
        raise dg.Failure(
            f"after-hours prices: no stock has any for {', '.join(map(str, landed.without))}, which KIS gives the "
            "sessions around it for. Materialize again later; what landed stays.",
            allow_retries=False,
        )
    states = []
    if len(days) < len(due):
        answered = "its rows are in quarantine" if gathered.rejects else "and KIS answered empty, which is right"
        states.append(f"{ENDED}, {answered}")
    if landed.past:
        reached = f"it answered back to {landed.reach}" if landed.reach else "it has none any more"
        states.append(f"KIS gave 30 days of after-hours prices, {reached}: nothing for a session before it")
    state = "; ".join(states)
    if state:
        context.log.warning("%s", state)
    check = not_requested_check(ASSET, state) if landed.frame is None else coverage_check(ASSET, gathered)
    metadata = told(context, landed, state, later, **usage(upstreams))
    return dg.MaterializeResult(metadata=metadata, check_results=[check])
