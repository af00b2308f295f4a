"""Market breadth: how many issues of each index rose and fell in a session.

Belongs here: declaring `raw.index_breadth`. Does not belong here: asking for it (`ingest.bars`).
"""

import dagster as dg

from azak_assets.defs.availability import available
from azak_assets.defs.coverage import coverage_spec, needs_live_account, not_requested, with_coverage
from azak_assets.defs.failures import failures_of, skip_unless_available
from azak_assets.defs.tables import table_asset
from azak_assets.defs.windows import require_final_bars, window_of
from azak_assets.runtime import Upstreams
from azak_assets.sources.failures import NotForThisAccount
from azak_assets.warehouse.warehouse import Warehouse

ASSET = ["raw", "index_breadth"]


@table_asset(
    "raw.index_breadth",
    owner="market-data",
    deps=["raw.stocks"],
    pool="kis",
    tags=available("close"),
    check_specs=[coverage_spec(ASSET)],
)
def index_breadth(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult[None]:
    """Risers, fallers, unchanged issues and those at a limit, of KOSPI, KOSDAQ, KOSPI 200 and each sector of KOSPI.

    Grain: one row an index and session. Source: KIS FHPUP02120000, live accounts only. It tells the newest session and
    no other: what was not collected that evening is lost, and `state` of an older partition says so.
    """
    from azak_assets.ingest import bars  # noqa: PLC0415 - pandas, which only a run needs

    if skipped := skip_unless_available(context, upstreams, "index_breadth", "kis", needed=True):
        return not_requested(ASSET, skipped)
    now = upstreams.now()
    window = require_final_bars(window_of(context), now)
    source = f"{upstreams.source}KIS FHPUP02120000"
    with failures_of(f"index breadth {window.label}"):
        try:
            report = bars.index_breadth(warehouse, upstreams.kis, window.sessions, now, source=source, log=context.log)
        except NotForThisAccount as failure:
            return needs_live_account(context, ASSET, "breadth", failure, instead="; bars of the indices need none")
    return with_coverage(context, ASSET, report, upstreams)
