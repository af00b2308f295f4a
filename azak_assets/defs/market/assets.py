"""Prices by trading day: daily bars and index bars after every close, minute bars of the stocks of tiers 1 and 2.

Belongs here: KIS price feeds. A request serves a stock for a whole range of sessions, so a backfill is one run.
"""

import dataclasses
import operator
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import Any

import dagster as dg
import pandas as pd

from azak_assets import krx
from azak_assets.defs.failures import as_dagster, silent
from azak_assets.defs.reporting import line_plot, loaded, total
from azak_assets.defs.windows import settled, window_of
from azak_assets.partitions import TRADING_DAYS
from azak_assets.resources import Upstreams
from azak_assets.sources.collect import collect
from azak_assets.sources.failures import SourceFailure
from azak_assets.sources.records import Batch, DailyBar, IndexBar, MinuteBar, Reject
from azak_assets.warehouse.scope import LoadResult, Scope
from azak_assets.warehouse.warehouse import Warehouse

OWNERS = ["team:market-data"]
INDEX_NAMES = {"0001": "KOSPI", "1001": "KOSDAQ", "2001": "KOSPI200"}
PLOTTED_STOCKS = 3


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

    def metadata(self) -> dict[str, Any]:
        """Answers and failures, for the materialization."""
        answered = len(self.whole_keys) + len(self.partial_keys)
        metadata: dict[str, Any] = {"answered": answered, "failed": len(self.failures)}
        if self.failures:
            lines = [f"* {key}: {failure}" for key, failure in sorted(self.failures.items())[:10]]
            metadata["failures"] = dg.MetadataValue.md("\n".join(lines))
        return metadata


def gather(
    context: dg.AssetExecutionContext, what: str, fetch: Callable[[str], Batch], keys: Iterable[str]
) -> Collected:
    """Ask for every key, log progress, and keep the good answers when some keys fail.

    Raises:
        dagster.Failure or dagster.RetryRequested: no key answered, or the upstream refuses everybody (keys, quota) or
            is down; see `as_dagster`.
    """
    wanted = list(keys)
    gathered = Collected()

    def progress(done: int, total: int) -> None:
        if done == total or done % max(total // 20, 1) == 0:
            context.log.info("%s: %d of %d", what, done, total)

    try:
        for key, answer in collect(fetch, wanted, on_progress=progress):
            if isinstance(answer, SourceFailure):
                gathered.failures[key] = answer
            else:
                gathered.add(key, answer)
        if wanted and len(gathered.failures) == len(wanted):
            raise next(iter(gathered.failures.values()))
    except SourceFailure as failure:
        raise as_dagster(failure, what) from failure
    return gathered


def store(
    warehouse: Warehouse, table: str, days: Sequence[date], gathered: Collected, record: type, *, source: str
) -> tuple[LoadResult, pd.DataFrame]:
    """Load what was gathered about ``days``; returns what changed and the frame that was loaded.

    A key that answered without rejects is answered for: its rows that are gone upstream are retired. A key with rejects
    only adds and corrects, since the row that is missing may be the one that was refused.
    """
    frames = [_frame(gathered.whole, record), _frame(gathered.partial, record)]
    results = [
        warehouse.load(table, frames[0], Scope(tuple(days), tuple(gathered.whole_keys)), complete=True, source=source)
    ]
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
    if nobody := silent(context, upstreams, "daily_bars", "kis", needed=True):
        return nobody
    window = settled(window_of(context), datetime.now(krx.KST))
    stocks = warehouse.read("raw.stocks", columns=["stock_code", "tier"], order_by=["tier", "stock_code"])
    if stocks.empty:
        raise dg.Failure(
            "raw.stocks is empty, so there is nothing to ask for: materialize raw/stocks first.", allow_retries=False
        )
    gathered = gather(
        context,
        f"daily bars {window.label}",
        lambda code: upstreams.kis.daily_bars(code, window.first.day, window.last.day),
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
    return dg.MaterializeResult(metadata={**metadata, **gathered.metadata()})


@dg.asset(
    key=["raw", "index_bars"],
    partitions_def=TRADING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"python", "postgres"},
    owners=OWNERS,
    code_version="1",
    pool="kis",
    metadata={"dagster/table_name": "raw.index_bars"},
)
def index_bars(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult:
    """Daily bars of KOSPI (0001), KOSDAQ (1001) and KOSPI 200 (2001) in index points.

    Grain: one row an index and session. Source: KIS FHKUP03500100. Volume is published in thousands of shares and
    turnover in millions of KRW, so their last digits are zeros.
    """
    if nobody := silent(context, upstreams, "index_bars", "kis", needed=True):
        return nobody
    window = settled(window_of(context), datetime.now(krx.KST))
    gathered = gather(
        context,
        f"index bars {window.label}",
        lambda code: upstreams.kis.index_bars(code, window.first.day, window.last.day),
        INDEX_NAMES,
    )
    result, frame = store(
        warehouse, "raw.index_bars", window.days, gathered, IndexBar, source=f"{upstreams.source}KIS FHKUP03500100"
    )
    metadata = loaded(result, frame, instant="trade_date", rejects=gathered.rejects)
    closes = frame.pivot_table(index="trade_date", columns="index_code", values="close")
    metadata["closes"] = line_plot(
        {INDEX_NAMES[code]: 100 * closes[code] / closes[code].iloc[0] for code in closes.columns},
        title=f"index, first day = 100, {window.label}",
    )
    return dg.MaterializeResult(metadata={**metadata, **gathered.metadata()})


@dg.asset(
    key=["raw", "minute_bars"],
    deps=[["raw", "stocks"]],
    partitions_def=TRADING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"python", "postgres"},
    owners=OWNERS,
    code_version="1",
    pool="kis",
    metadata={"dagster/table_name": "raw.minute_bars"},
)
def minute_bars(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult:
    """One-minute bars of the stocks of tiers 1 and 2; `ts` is the start of the minute.

    Grain: one row a stock and minute. Source: KIS FHKST03010230, which keeps about one year and needs a live account.
    Known defect: a minute without a trade has no row.
    """
    if nobody := silent(context, upstreams, "minute_bars", "kis", needed=True):
        return nobody
    window = settled(window_of(context), datetime.now(krx.KST))
    codes = warehouse.read(
        "raw.stocks", columns=["stock_code"], where={"tier": [1, 2], "is_active": True}, order_by=["tier", "stock_code"]
    )["stock_code"].tolist()
    frames, results, everything = [], [], Collected()
    for day in window.days:
        gathered = gather(
            context, f"minute bars {day}", lambda code, day=day: upstreams.kis.minute_bars(code, day), codes
        )
        result, frame = store(
            warehouse, "raw.minute_bars", [day], gathered, MinuteBar, source=f"{upstreams.source}KIS FHKST03010230"
        )
        results.append(result)
        frames.append(frame)
        everything.rejects += gathered.rejects
        everything.whole_keys += gathered.whole_keys
        everything.partial_keys += gathered.partial_keys
        everything.failures |= {f"{day} {code}": failure for code, failure in gathered.failures.items()}
    return dg.MaterializeResult(
        metadata={
            **loaded(total(results), pd.concat(frames, ignore_index=True), instant="ts", rejects=everything.rejects),
            **everything.metadata(),
        }
    )


def _frame(records: list[Any], record: type) -> pd.DataFrame:
    """Records as a frame whose columns are the record's fields, in key order, also when there are none."""
    names = [field.name for field in dataclasses.fields(record)]
    return pd.DataFrame(map(operator.attrgetter(*names), records), columns=names)
