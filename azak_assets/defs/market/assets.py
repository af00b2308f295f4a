"""Prices by trading day: daily bars and index bars after every close.

Belongs here: KIS price feeds of finished sessions, and the rounds of requests that `flows`, `overtime` and `breadth`
make too. A request serves a stock for a whole range of sessions, so a backfill is one run. What KIS gives while a
session runs is in `intraday`.
"""

import operator
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any, get_args, get_origin, get_type_hints

import dagster as dg
import numpy as np
import pandas as pd

from azak_assets import krx
from azak_assets.defs.availability import available
from azak_assets.defs.failures import as_dagster, skip_unless_available
from azak_assets.defs.markdown import bullets, literal
from azak_assets.defs.reporting import line_plot, loaded, nothing, total, usage
from azak_assets.defs.windows import Window, require_final_bars, window_of
from azak_assets.partitions import TRADING_DAYS
from azak_assets.runtime import Upstreams
from azak_assets.sources.collect import collect
from azak_assets.sources.failures import Empty, NotForThisAccount, SourceFailure
from azak_assets.sources.records import Batch, DailyBar, IndexBar, Reject
from azak_assets.warehouse.scope import LoadResult, Scope
from azak_assets.warehouse.warehouse import Warehouse

OWNERS = ["team:market-data"]
INDEX_NAMES = {"0001": "KOSPI", "1001": "KOSDAQ", "2001": "KOSPI200"}
PLOTTED_STOCKS = 3
NEARLY_EVERY_STOCK_ANSWERED = "nearly_every_stock_answered"
FAILED_SHARE = 0.05
"""More than this share of the stocks without an answer is no longer a handful of odd codes."""
NAMED_FAILURES = 3
PROBES = 5
"""So many of the most wanted stocks are asked first about a session that may be past reach."""


class Collected:
    """What a round of requests brought: records by key that answered, rejects, and failures by key that did not."""

    def __init__(self) -> None:
        self.whole: list[Any] = []
        """Records of the keys whose answer was good throughout."""
        self.partial: list[Any] = []
        """The good records of keys with rejects."""
        self.whole_keys: list[str] = []
        self.partial_keys: list[str] = []
        self.rejects: list[Reject] = []
        self.failures: dict[str, SourceFailure] = {}

    def add(self, key: str, answer: Batch[Any]) -> None:
        """Keep one answer."""
        records, keys = (self.partial, self.partial_keys) if answer.rejects else (self.whole, self.whole_keys)
        records.extend(answer.records)
        keys.append(key)
        self.rejects.extend(answer.rejects)

    @property
    def answered(self) -> int:
        """How many keys answered."""
        return len(self.whole_keys) + len(self.partial_keys)

    @property
    def is_empty(self) -> bool:
        """Whether every key that was asked for answered, and that there is nothing."""
        return not self.answered and all(isinstance(failure, Empty) for failure in self.failures.values())

    def metadata(self) -> dict[str, Any]:
        """Answers and failures, for the materialization."""
        metadata: dict[str, Any] = {"answered": self.answered, "failed": len(self.failures)}
        if self.failures:
            lines = [f"{key}: {failure}" for key, failure in sorted(self.failures.items())[:10]]
            metadata["failures"] = bullets(lines)
        return metadata


def ask(context: dg.AssetExecutionContext, what: str, fetch: Callable[[str], Batch], keys: Iterable[str]) -> Collected:
    """Ask for every key, log progress, and keep the good answers when some keys fail.

    Raises:
        SourceFailure: the upstream refuses everybody (keys, quota) or is down.
    """
    wanted = list(keys)
    gathered = Collected()

    def progress(done: int, total: int) -> None:
        if done == total or done % max(total // 20, 1) == 0:
            context.log.info("%s: %d of %d", what, done, total)

    for key, answer in collect(fetch, wanted, on_progress=progress):
        if isinstance(answer, SourceFailure):
            gathered.failures[key] = answer
        else:
            gathered.add(key, answer)
    return gathered


def gather(
    context: dg.AssetExecutionContext,
    what: str,
    fetch: Callable[[str], Batch],
    keys: Iterable[str],
    *,
    may_be_empty: bool = False,
) -> Collected:
    """`ask`, where no answer at all is a failure of the step; ``may_be_empty``: unless they all say there is nothing.

    Raises:
        dagster.Failure or dagster.RetryRequested: no key answered, or the upstream refuses everybody (keys, quota) or
            is down; see `as_dagster`.
    """
    try:
        gathered = ask(context, what, fetch, keys)
        if gathered.failures and not gathered.answered and not (may_be_empty and gathered.is_empty):
            raise next(iter(gathered.failures.values()))
    except SourceFailure as failure:
        raise as_dagster(failure, what) from failure
    return gathered


def coverage_spec(asset: list[str]) -> dg.AssetCheckSpec:
    """The check that a partition which turned green has nearly all of its stocks."""
    return dg.AssetCheckSpec(
        NEARLY_EVERY_STOCK_ANSWERED,
        asset=asset,
        description=f"At most {FAILED_SHARE:.0%} of the stocks that were asked for gave no answer.",
    )


def coverage_check(asset: list[str], gathered: Collected, *, excused: Iterable[str] = ()) -> dg.AssetCheckResult:
    """The verdict on one round of requests. ``excused``: keys that need have no answer."""
    missing = {key: gathered.failures[key] for key in sorted(gathered.failures.keys() - set(excused))}
    asked = gathered.answered + len(missing)
    passed = len(missing) <= FAILED_SHARE * asked
    first = "; ".join(literal(f"{key}: {failure}") for key, failure in list(missing.items())[:NAMED_FAILURES])
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=NEARLY_EVERY_STOCK_ANSWERED,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"asked": asked, "failed": len(missing), "share": len(missing) / asked if asked else 0.0},
        description=""
        if passed
        else f"{len(missing)} of {asked} failed. {first}. Materialize again once the cause is gone: what landed stays.",
    )


def not_requested_check(asset: list[str], why: str, *, passed: bool = True) -> dg.AssetCheckResult:
    """The verdict where nobody was asked: a fault only where somebody can change that."""
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=NEARLY_EVERY_STOCK_ANSWERED,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"asked": 0, "failed": 0, "share": 0.0},
        description=literal(why),
    )


def not_requested(asset: list[str], why: dg.MaterializeResult) -> dg.MaterializeResult:
    """The result of a step that had nobody to ask, with its check."""
    state = why.metadata["state"] if why.metadata else ""
    return dg.MaterializeResult(metadata=why.metadata, check_results=[not_requested_check(asset, str(state))])


def needs_live_account(
    context: dg.AssetExecutionContext, asset: list[str], what: str, failure: NotForThisAccount, *, instead: str = ""
) -> dg.MaterializeResult:
    """Green, with a check that warns: a paper account never has ``what``, so that is no failure of the day."""
    context.log.warning("%s: %s", what, failure)
    state = f"no {what}: this KIS account is a paper account, and the service needs a live one"
    advice = f"{failure} Use the keys of a live account{instead}."
    return dg.MaterializeResult(
        metadata=nothing(state), check_results=[not_requested_check(asset, advice, passed=False)]
    )


def store(
    warehouse: Warehouse,
    table: str,
    days: Sequence[date],
    gathered: Collected,
    record: type,
    *,
    source: str,
    retires: bool = True,
) -> tuple[LoadResult, pd.DataFrame]:
    """Load what was gathered about ``days``; returns what changed and the frame that was loaded.

    A key that answered without rejects is answered for: its rows that are gone upstream are retired, if the source
    ``retires``. A key with rejects only adds and corrects, since the row that is missing may be the one that was
    refused.
    """
    frames = [frame_of(gathered.whole, record), frame_of(gathered.partial, record)]
    whole = Scope(tuple(days), tuple(gathered.whole_keys))
    results = [warehouse.load(table, frames[0], whole, complete=retires, source=source)]
    if gathered.partial_keys:
        scope = Scope(tuple(days), tuple(gathered.partial_keys))
        results.append(warehouse.load(table, frames[1], scope, complete=False, source=source))
    warehouse.quarantine(gathered.rejects, source=source)
    return total(results), pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)


@dg.asset(
    key=["raw", "daily_bars"],
    deps=[["raw", "stocks"]],
    partitions_def=TRADING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"python", "postgres"},
    owners=OWNERS,
    code_version="1",
    pool="kis",
    metadata={"dagster/table_name": "raw.daily_bars"},
    tags=available("close"),
    check_specs=[coverage_spec(["raw", "daily_bars"])],
)
def daily_bars(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult:
    """Daily bars of every listed issue: raw prices in KRW, volume in shares, turnover in KRW.

    Grain: one row a stock and session. Source: KIS FHKST03010100, unadjusted. A halted session has no open, high and
    low, volume 0 and the carried close. Known defect: delisted issues are asked for only while they are in
    `raw.stocks`.
    """
    if skipped := skip_unless_available(context, upstreams, "daily_bars", "kis", needed=True):
        return not_requested(["raw", "daily_bars"], skipped)
    window = require_final_bars(window_of(context), upstreams.now())
    stocks = warehouse.read(
        "raw.stocks", columns=["stock_code", "tier", "listed_on", "delisted_on"], order_by=["tier", "stock_code"]
    )
    if stocks.empty:
        raise dg.Failure(
            "raw.stocks is empty, so there is nothing to ask for: materialize raw/stocks first.", allow_retries=False
        )
    # The closed days before the first session are asked for with it, at no further call: a bar on one of them is the
    # market's own word against the calendar (`calendar_agrees_with_trading`).
    since = krx.previous_session(window.first.day).day + timedelta(days=1)
    gathered = gather(
        context,
        f"daily bars {window.label}",
        lambda code: upstreams.kis.daily_bars(code, since, window.last.day),
        stocks["stock_code"],
    )
    result, frame = store(
        warehouse, "raw.daily_bars", window.days, gathered, DailyBar, source=f"{upstreams.source}KIS FHKST03010100"
    )
    metadata = loaded(result, frame, instant="trade_date", rejects=gathered.rejects)
    closes = frame.pivot_table(index="trade_date", columns="stock_code", values="close")
    largest = [code for code in stocks["stock_code"] if code in closes.columns][:PLOTTED_STOCKS]
    metadata["closes"] = line_plot(
        {code: 100 * closes[code] / closes[code].iloc[0] for code in largest},
        title=f"close, first day = 100, {window.label}",
    )
    metadata["halted"] = int(frame["is_halted"].sum())
    return dg.MaterializeResult(
        metadata={**metadata, **gathered.metadata(), **usage(upstreams)},
        check_results=[
            coverage_check(["raw", "daily_bars"], gathered, excused=_without_bars(stocks, window, gathered))
        ],
    )


def _without_bars(stocks: pd.DataFrame, window: Window, gathered: Collected) -> set[str]:
    """The stocks that rightly answered with nothing: listed after the sessions, or gone before them."""
    later = stocks["listed_on"].map(lambda day: pd.notna(day) and day > window.last.day)
    gone = stocks["delisted_on"].map(lambda day: pd.notna(day) and day <= window.first.day)
    empty = {code for code, failure in gathered.failures.items() if isinstance(failure, Empty)}
    return empty & set(stocks.loc[later | gone, "stock_code"])


def indices(warehouse: Warehouse) -> list[str]:
    """The codes of the market's indices and of every sector that a listed stock is in, as the master files name it."""
    sectors = warehouse.read("raw.stocks", columns=["sector"])["sector"].dropna().unique()
    return [*INDEX_NAMES, *sorted(set(sectors) - set(INDEX_NAMES))]


@dg.asset(
    key=["raw", "index_bars"],
    deps=[["raw", "stocks"]],
    partitions_def=TRADING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"python", "postgres"},
    owners=OWNERS,
    code_version="2",
    pool="kis",
    metadata={"dagster/table_name": "raw.index_bars"},
    tags=available("close"),
)
def index_bars(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult:
    """Daily bars of KOSPI (0001), KOSDAQ (1001), KOSPI 200 (2001) and of every sector's index, in index points.

    Grain: one row an index and session. Source: KIS FHKUP03500100. Sectors are those that `raw.stocks` names; one whose
    code the service does not know is among the failures. Volume is published in thousands of shares and turnover in
    millions of KRW, so their last digits are zeros.
    """
    if skipped := skip_unless_available(context, upstreams, "index_bars", "kis", needed=True):
        return skipped
    window = require_final_bars(window_of(context), upstreams.now())
    gathered = gather(
        context,
        f"index bars {window.label}",
        lambda code: upstreams.kis.index_bars(code, window.first.day, window.last.day),
        indices(warehouse),
    )
    result, frame = store(
        warehouse, "raw.index_bars", window.days, gathered, IndexBar, source=f"{upstreams.source}KIS FHKUP03500100"
    )
    metadata = loaded(result, frame, instant="trade_date", rejects=gathered.rejects)
    closes = frame.pivot_table(index="trade_date", columns="index_code", values="close")
    metadata["closes"] = line_plot(
        {
            INDEX_NAMES[code]: 100 * closes[code] / closes[code].iloc[0]
            for code in closes.columns
            if code in INDEX_NAMES
        },
        title=f"index, first day = 100, {window.label}",
    )
    return dg.MaterializeResult(metadata={**metadata, **gathered.metadata(), **usage(upstreams)})


def frame_of(records: list[Any], record: type) -> pd.DataFrame:
    """Records as a frame whose columns are the record's fields with the types declared there, also without records.

    Column by column: pandas, left to infer the types, takes three times as long (2.3 s against 0.8 s for 324,000 bars).
    """
    types = get_type_hints(record)
    return pd.DataFrame(
        {name: _column(list(map(operator.attrgetter(name), records)), types[name]) for name in types}, copy=False
    )


def _column(values: list[Any], declared: Any) -> Any:
    """One column: numbers (float64 where None is allowed), booleans, texts, instants (KST); anything else as it is."""
    if get_origin(declared) is list:
        return pd.Series(values, dtype=object)
    optional = type(None) in get_args(declared)
    kind = next((one for one in get_args(declared) if one is not type(None)), declared)
    if kind is datetime:
        # The bars of a session share an instant: each is converted once.
        codes, instants = pd.factorize(np.array(values, dtype=object))
        distinct = pd.to_datetime(pd.Series(instants, dtype=object), utc=True).dt.tz_convert(krx.KST)
        return distinct.take(codes).reset_index(drop=True)
    if kind is str:
        return pd.array(values, dtype="str")
    if kind in (int, float) and optional:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    numpy_types = {int: np.int64, float: np.float64, bool: object if optional else np.bool_}
    return np.array(values, dtype=numpy_types.get(kind, object))
