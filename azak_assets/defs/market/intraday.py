"""What KIS gives only while a session runs: quotes and order books every five minutes, and the minutes as they end.

Belongs here: declaring one step for the three, because one process collects them in turns: starting another costs
more than a round. In the job `intraday` it loops for half an hour and `intraday_collector` starts the next run; any
other run makes one round, asks the past service for the minutes of past sessions, and says of past quotes and books
that no source has them. Does not belong here: what is asked and loaded (`ingest.session`, `ingest.intraday`), the loop
(`ingest.loop`).
"""

from collections.abc import Collection, Iterator, Sequence

import dagster as dg

from azak_assets.defs import collectors
from azak_assets.defs.availability import available
from azak_assets.defs.coverage import coverage_of, coverage_spec, finding_check
from azak_assets.defs.failures import failures_of, why_unavailable
from azak_assets.defs.reporting import metadata_of, usage
from azak_assets.defs.tables import table_spec
from azak_assets.defs.windows import require_open_sessions, window_of
from azak_assets.ingest.report import Finding, StepReport
from azak_assets.partitions import TRADING_DAYS
from azak_assets.runtime import Upstreams
from azak_assets.warehouse.warehouse import Warehouse

QUOTES, BOOKS, MINUTES = (dg.AssetKey(["raw", name]) for name in ("quote_snapshots", "order_books", "minute_bars"))
FEEDS = {QUOTES: "quotes", BOOKS: "order_books", MINUTES: "minute_bars"}
"""What a world calls them."""
NO_SNAPSHOT, NO_MINUTE = "no_snapshot_is_missing", "no_minute_is_missing"
OWN_CHECK = {QUOTES: NO_SNAPSHOT, BOOKS: NO_SNAPSHOT, MINUTES: NO_MINUTE}
NOT_JUDGED = Finding(passed=True, why="not asked: it is about what a running session has")


def _spec(key: dg.AssetKey, description: str) -> dg.AssetSpec:
    tags = available("close" if key == MINUTES else "intraday")
    return table_spec(".".join(key.path), description, owner="market-data", deps=["raw.stocks"], tags=tags)


def _snapshots_spec(key: dg.AssetKey) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        NO_SNAPSHOT,
        asset=key,
        description="Every five-minute snapshot of the session has rows: KIS gives nothing of one that has passed.",
    )


@dg.multi_asset(
    name="collect_intraday",
    specs=[
        _spec(
            QUOTES,
            "Quotes of the stocks of tiers 1 and 2 every five minutes of a session, from its open to its close."
            "\n\nGrain: one row a snapshot and stock. Source: KIS FHKST01010100, which names no time: `known_at` is "
            "the clock at the answer. A stock that has not traded today has no open, high and low, volume 0 and the "
            "last price; a stock whose trading is stopped has `is_halted`. Known defect: a snapshot that was not asked "
            "for in time is lost.",
        ),
        _spec(
            BOOKS,
            "Order books of the stocks of tiers 1 and 2 every five minutes of a session, ten levels a side."
            "\n\nGrain: one row a snapshot and stock, the levels in arrays, best first. Arrays and not a row a level: "
            "a book without orders is then a row with empty arrays, distinct from a book that was not asked for and "
            "from zeros; it takes three tenths of the space (measured: a day of 200 stocks 9.8 MB against 32.9 MB); "
            "`ask_prices[1]` is the best ask, and `unnest(ask_prices, ask_shares) with ordinality` gives rows. Source: "
            "KIS FHKST01010200; `known_at` is the clock at the answer. Known defect: a snapshot that was not asked "
            "for in time is lost.",
        ),
        _spec(
            MINUTES,
            "One-minute bars of the stocks of tiers 1 and 2; `ts` is the start of the minute."
            "\n\nGrain: one row a stock and minute. Source: today KIS FHKST03010200, as the minutes end; past sessions "
            "FHKST03010230, which keeps about one year and needs a live account. Where there is none, `state` says so "
            "and scores enter at the close. Known defect: a minute without a trade has no row; that none with a trade "
            "is missing is proven from the day's totals while the session can still be asked for.",
        ),
    ],
    check_specs=[
        *(coverage_spec(list(key.path)) for key in FEEDS),
        _snapshots_spec(QUOTES),
        _snapshots_spec(BOOKS),
        dg.AssetCheckSpec(
            NO_MINUTE,
            asset=MINUTES,
            description="The day's total volume leaves no minute of today in which a stock traded and has no bar.",
        ),
    ],
    partitions_def=TRADING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    can_subset=True,
    pool="kis_session",
)
def collect_intraday(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> Iterator[dg.MaterializeResult[None]]:
    """Collect what is selected: today's session while it can be asked for, past ones as far as KIS keeps them."""
    from azak_assets.ingest import session  # noqa: PLC0415 - pandas, which only a run needs

    selected = [key for key in FEEDS if key in context.selected_asset_keys]
    reports: dict[dg.AssetKey, list[StepReport]] = {}
    for key in selected:
        if why := why_unavailable(context, upstreams, FEEDS[key], "kis", needed=True):
            reports[key] = [StepReport.without_rows(why.reason, str(why))]
    wanted = {".".join(key.path): key for key in selected if key not in reports}
    if wanted:
        window = require_open_sessions(window_of(context), upstreams.now())
        with failures_of(f"session {window.label}"):
            collected = session.collect(
                warehouse,
                upstreams.kis,
                window.sessions,
                tables=list(wanted),
                now=upstreams.now,
                sleep=upstreams.sleep,
                loops=collectors.is_collector(context.run),
                source=upstreams.source,
                log=context.log,
            )
        reports |= {wanted[table]: parts for table, parts in collected.items()}
    for key in selected:
        yield _result(key, reports[key], context.selected_asset_check_keys, upstreams)


def _result(
    key: dg.AssetKey, parts: Sequence[StepReport], selected: Collection[dg.AssetCheckKey], upstreams: Upstreams
) -> dg.MaterializeResult[None]:
    """The materialization of one table with those of its checks that are selected.

    Of the parts' coverage a failed verdict stays beside a later one that passes.
    """
    whole = StepReport()
    for part in parts:
        whole.add(part)
    verdicts = [coverage_of(key.path, part) for part in parts if part.reasons or part.answered is not None]
    coverage = next((verdict for verdict in verdicts if not verdict.passed), verdicts[-1])
    own = finding_check(key.path, OWN_CHECK[key], whole.finding or NOT_JUDGED)
    checks = [one for one in (coverage, own) if dg.AssetCheckKey(key, str(one.check_name)) in selected]
    return dg.MaterializeResult(
        asset_key=key, metadata={**metadata_of(whole), **usage(upstreams)}, check_results=checks
    )
