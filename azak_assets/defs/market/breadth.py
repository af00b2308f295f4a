"""Market breadth: how many issues of each index rose and fell in a session.

Belongs here: `raw.index_breadth`. Bars of the same indices are in `assets`.
"""

import dagster as dg

from azak_assets import krx
from azak_assets.defs.availability import available
from azak_assets.defs.failures import as_dagster, skip_unless_available
from azak_assets.defs.market.assets import (
    OWNERS,
    ask,
    coverage_check,
    coverage_spec,
    indices,
    needs_live_account,
    not_requested,
    not_requested_check,
    store,
)
from azak_assets.defs.reporting import loaded, nothing, usage
from azak_assets.defs.windows import require_final_bars, window_of
from azak_assets.partitions import TRADING_DAYS
from azak_assets.runtime import Upstreams
from azak_assets.sources.failures import NotForThisAccount, SourceFailure
from azak_assets.sources.records import IndexBreadth
from azak_assets.warehouse.warehouse import Warehouse

ASSET = ["raw", "index_breadth"]


@dg.asset(
    key=ASSET,
    deps=[["raw", "stocks"]],
    partitions_def=TRADING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"python", "postgres"},
    owners=OWNERS,
    code_version="1",
    pool="kis",
    metadata={"dagster/table_name": "raw.index_breadth"},
    tags=available("close"),
    check_specs=[coverage_spec(ASSET)],
)
def index_breadth(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult:
    """Risers, fallers, unchanged issues and those at a limit, of KOSPI, KOSDAQ, KOSPI 200 and each sector of KOSPI.

    Grain: one row an index and session. Source: KIS FHPUP02120000, live accounts only. It tells the newest session and
    no other: what was not collected that evening is lost, and `state` of an older partition says so.
    """
    if skipped := skip_unless_available(context, upstreams, "index_breadth", "kis", needed=True):
        return not_requested(ASSET, skipped)
    now = upstreams.now()
    window = require_final_bars(window_of(context), now)
    newest = krx.last_closed_session(now - krx.FINAL_AFTER_CLOSE)
    past = (
        f"KIS tells the breadth of the newest session, {newest.day}, and of no other: nothing for a session before it"
    )
    if window.last.day != newest.day:
        return dg.MaterializeResult(metadata=nothing(past), check_results=[not_requested_check(ASSET, past)])
    what = f"index breadth {newest.day}"
    try:
        gathered = ask(context, what, upstreams.kis.index_breadth, indices(warehouse))
        if not gathered.answered:
            raise next(iter(gathered.failures.values()))
    except NotForThisAccount as failure:
        return needs_live_account(context, ASSET, "breadth", failure, instead="; bars of the indices need none")
    except SourceFailure as failure:
        raise as_dagster(failure, what) from failure
    source = f"{upstreams.source}KIS FHPUP02120000"
    gathered.whole = [one for one in gathered.whole if one.trade_date == newest.day]
    gathered.whole_keys = [one.index_code for one in gathered.whole]
    if not gathered.whole:
        warehouse.quarantine(gathered.rejects, source=source)
        if now.date() == newest.day:
            raise dg.Failure(
                f"index breadth: KIS tells none of {newest.day}; what it told is in ops.rejected_records. Materialize "
                "again before the next open: later it is lost.",
                allow_retries=False,
            )
        gone = f"{past}, and that one is about to be replaced by the session that comes or runs"
        return dg.MaterializeResult(metadata=nothing(gone), check_results=[not_requested_check(ASSET, gone)])
    result, frame = store(warehouse, "raw.index_breadth", [newest.day], gathered, IndexBreadth, source=source)
    if len(window.days) > 1:
        context.add_asset_metadata({"state": "landed", "rows": len(frame)}, partition_key=newest.day.isoformat())
    metadata = loaded(result, frame, instant="trade_date", rejects=gathered.rejects)
    return dg.MaterializeResult(
        metadata={
            **metadata,
            **gathered.metadata(),
            **usage(upstreams),
            **({"state": past} if len(window.days) > 1 else {}),
        },
        check_results=[coverage_check(ASSET, gathered)],
    )
