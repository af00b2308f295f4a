"""The second witness for prices: what the exchange itself says of a session, and whether our bars agree.

Belongs here: `raw.krx_daily_bars` and the check that compares it with `raw.daily_bars`. It corrects nothing: a bar that
differs stays as the broker sent it until the broker corrects it, and a person reads the difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, get_args

import dagster as dg
import pandas as pd

from azak_assets import krx
from azak_assets.defs.availability import available
from azak_assets.defs.failures import as_dagster, skip_unless_available
from azak_assets.defs.markdown import TABLE_ROWS, bullets, table
from azak_assets.defs.market.assets import OWNERS, Collected, ask, frame_of
from azak_assets.defs.reporting import loaded, nothing, total, usage
from azak_assets.defs.windows import window_of
from azak_assets.partitions import TRADING_DAYS
from azak_assets.runtime import Upstreams
from azak_assets.sources.failures import NotForThisAccount, SourceFailure
from azak_assets.sources.records import ExchangeBar, Market, Reject
from azak_assets.warehouse.scope import LoadResult, Scope
from azak_assets.warehouse.warehouse import Warehouse

VOLUME_SHARE = 0.20
"""So far volume and turnover may lie apart. Ours are of ten minutes after the close or of the next morning, the
exchange's of the whole day: closing-price trades until 16:00, the after-market until 20:00 and block trades are a few
percent on most days. Another venue's trades (Nextrade adds 30 % and more) or a wrong unit lie far beyond."""
TURNOVER_LEAST_KRW = 100_000_000
"""A share that hardly trades moves by a fifth with a single late order; below this nobody is misled."""
SHOWN = 50


@dataclass
class _Told:
    """What is told of the sessions of a run without keeping their rows."""

    results: list[LoadResult] = field(default_factory=list)
    samples: list[pd.DataFrame] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    days: list[date] = field(default_factory=list)
    not_yet: list[date] = field(default_factory=list)
    not_approved: dict[str, SourceFailure] = field(default_factory=dict)
    rows: int = 0

    def metadata(self) -> dict[str, Any]:
        """Counts, span and sample of what landed, and why something did not."""
        state = self.state()
        if not self.results:
            return nothing(state)
        sample = pd.concat(self.samples, ignore_index=True)
        metadata = {
            **loaded(total(self.results), sample, instant="trade_date", rejects=self.rejects),
            "rows": self.rows,
            "earliest": str(min(self.days)),
            "latest": str(max(self.days)),
        }
        if self.not_approved:
            lines = [f"{market}: {failure}" for market, failure in self.not_approved.items()]
            metadata["not approved"] = bullets(lines)
        return metadata | ({"state": state} if state else {})

    def state(self) -> str:
        """A few words on what is not there; empty when everything is."""
        said = []
        if self.not_yet:
            from_then = krx.surely_published_from(self.not_yet[-1])
            days = ", ".join(map(str, self.not_yet))
            said.append(f"not published yet: {days}, at the latest {from_then:%Y-%m-%d %H:%M} KST")
        if self.not_approved:
            said.append(f"this key was not approved for {', '.join(self.not_approved)}")
        return "; ".join(said)


@dg.asset(
    key=["raw", "krx_daily_bars"],
    partitions_def=TRADING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"python", "postgres"},
    owners=OWNERS,
    code_version="1",
    pool="krx",
    metadata={"dagster/table_name": "raw.krx_daily_bars"},
    tags=available("next_day"),
)
def krx_daily_bars(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult:
    """Daily bars as the exchange publishes them on the next day: a witness beside the broker's, used by nothing.

    Grain: one row a stock and session. Source: KRX Open API `stk_bydd_trd`, `ksq_bydd_trd`, `knx_bydd_trd`, three calls
    a session; shares only, no ETF. A session is asked for from 08:00 of the next day; before, `state` says so. Without
    KRX_OPENAPI_KEY there is no witness, and nothing is missing but the comparison.
    """
    if skipped := skip_unless_available(context, upstreams, "krx_daily_bars", "krx_openapi"):
        return skipped
    now = upstreams.now()
    source = f"{upstreams.source}KRX Open API"
    told = _Told()
    broken: dict[str, SourceFailure] = {}
    for day in window_of(context).days:
        if now < krx.published_from(day):
            told.not_yet.append(day)
            continue
        try:
            gathered = ask(
                context,
                f"exchange {day}",
                lambda market, day=day: upstreams.krx_openapi.daily_bars(market, day),
                get_args(Market),
            )
        except SourceFailure as failure:
            raise as_dagster(failure, f"exchange {day}") from failure
        broken |= _failures(told, gathered, day)
        _keep(warehouse, told, gathered, day, source=source)
    if broken:
        what, cause = next(iter(broken.items()))
        raise as_dagster(cause, f"exchange {what}; the other markets and sessions landed") from cause
    if not told.results and told.not_approved:
        raise as_dagster(next(iter(told.not_approved.values())), "exchange") from None
    for reason in [told.state(), *map(str, told.not_approved.values())]:
        if reason:
            context.log.warning("%s", reason)
    return dg.MaterializeResult(metadata={**told.metadata(), **usage(upstreams)})


def _failures(told: _Told, gathered: Collected, day: date) -> dict[str, SourceFailure]:
    """The failures that leave a hole; a market that the key was not approved for is noted and leaves none."""
    holes = {}
    for market, failure in gathered.failures.items():
        if isinstance(failure, NotForThisAccount):
            told.not_approved.setdefault(market, failure)
        else:
            holes[f"{day} {market}"] = failure
    return holes


def _keep(warehouse: Warehouse, told: _Told, gathered: Collected, day: date, *, source: str) -> None:
    """Land what came of one session. Where all of it came, what the exchange no longer tells is retired."""
    records: Sequence[Any] = [*gathered.whole, *gathered.partial]
    told.rejects += gathered.rejects
    warehouse.quarantine(gathered.rejects, source=source)
    if not records:
        if not gathered.failures:
            told.not_yet.append(day)
        return
    frame = frame_of(records, ExchangeBar)
    is_whole = not gathered.failures and not gathered.rejects
    result = warehouse.load("raw.krx_daily_bars", frame, Scope((day,)), complete=is_whole, source=source)
    told.results.append(result)
    told.samples.append(frame.head(TABLE_ROWS))
    told.days.append(day)
    told.rows += len(frame)


@dg.asset_check(
    asset=["raw", "krx_daily_bars"],
    additional_deps=[["raw", "daily_bars"]],
    description=(
        "Every bar that the exchange told us of is ours too, with the same prices, and volume and turnover within a "
        "fifth."
    ),
)
def bars_agree_with_exchange(warehouse: dg.ResourceParam[Warehouse]) -> dg.AssetCheckResult:
    """The broker's bars against the exchange's, all that both have; a wrong price is an error, a volume a warning.

    A bar that is missing here counts where it was asked for: a stock of `raw.stocks` in a session that is loaded.
    """
    found = warehouse.compare_with_exchange(share=VOLUME_SHARE, least_krw=TURNOVER_LEAST_KRW, rows=SHOWN)
    wrong = sum(found.counts.values())
    only_volumes = set(found.counts) <= {"volume"}
    return dg.AssetCheckResult(
        passed=not wrong,
        severity=dg.AssetCheckSeverity.WARN if wrong and only_volumes else dg.AssetCheckSeverity.ERROR,
        metadata={
            "bars compared": found.bars,
            "sessions": found.sessions,
            **{f"different: {kind}": found.counts.get(kind, 0) for kind in ("price", "no bar here", "volume")},
            "differences": table(found.rows, rows=SHOWN),
        },
        description=""
        if not wrong
        else (
            f"{wrong} bars differ; nothing was replaced. Materialize raw/daily_bars for these sessions again: what the "
            "broker has corrected then agrees. What still differs is the broker's or the exchange's to explain."
        ),
    )
