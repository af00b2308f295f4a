"""What KIS gives only while a session runs: quotes and order books every five minutes, and the minutes as they end.

Belongs here: one step for the three, because one process collects them in turns (DESIGN, decision 13). In the job
`intraday` it loops for half an hour and `intraday_collector` starts the next one; in any other run it makes one round,
asks the past service for the minutes of past sessions, and says of past quotes and books that nobody gives them. Does
not belong here: what is due when (`collector`), the loop (`defs.collectors`).
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg
import pandas as pd

from azak_assets import krx
from azak_assets.defs import collectors
from azak_assets.defs.availability import available
from azak_assets.defs.failures import as_dagster, skip_unless_available
from azak_assets.defs.markdown import TABLE_ROWS, table
from azak_assets.defs.market import collector
from azak_assets.defs.market.assets import (
    OWNERS,
    PROBES,
    Collected,
    ask,
    coverage_check,
    coverage_spec,
    not_requested_check,
    store,
)
from azak_assets.defs.reporting import COUNTS, line_plot, loaded, nothing, span, total, usage
from azak_assets.defs.windows import Window, require_open_sessions, window_of
from azak_assets.partitions import TRADING_DAYS
from azak_assets.runtime import Upstreams
from azak_assets.sources.failures import Empty, NotForThisAccount, SourceFailure
from azak_assets.sources.records import Batch, MinuteBar, OrderBook, Quote
from azak_assets.warehouse.scope import LoadResult
from azak_assets.warehouse.warehouse import Warehouse

QUOTES, BOOKS, MINUTES = (dg.AssetKey(["raw", name]) for name in ("quote_snapshots", "order_books", "minute_bars"))
FEEDS = {QUOTES: "quotes", BOOKS: "order_books", MINUTES: "minute_bars"}
"""What a world calls them."""
ALONE = "intraday collector"
PLOTTED_STOCKS = 3
SURELY_KEPT = timedelta(days=350)
"""KIS keeps "about one year" of minutes: a younger session without any is a failure, an older one is past its reach."""
EVERY_MARK, NO_MINUTE = "every_mark_was_asked", "no_minute_is_missing"


def _spec(key: dg.AssetKey, description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        deps=[["raw", "stocks"]],
        description=description,
        kinds={"python", "postgres"},
        owners=OWNERS,
        code_version="1",
        metadata={"dagster/table_name": ".".join(key.path)},
        tags=available("close" if key == MINUTES else "intraday"),
    )


def _marks_spec(key: dg.AssetKey) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        EVERY_MARK,
        asset=key,
        description="Every five-minute mark of the session has rows: KIS gives nothing of a mark that has passed.",
    )


@dg.multi_asset(
    name="collect_intraday",
    specs=[
        _spec(
            QUOTES,
            "Quotes of the stocks of tiers 1 and 2 at every five-minute mark of a session, from its open to its close."
            "\n\nGrain: one row a mark and stock. Source: KIS FHKST01010100, which names no time: `known_at` is the "
            "clock at the answer. A stock that has not traded today has no open, high and low, volume 0 and the last "
            "price; one whose trading is stopped has `is_halted`. Known defect: a mark that nobody asked at is lost.",
        ),
        _spec(
            BOOKS,
            "Order books of the stocks of tiers 1 and 2 at every five-minute mark of a session, ten levels a side."
            "\n\nGrain: one row a mark and stock, the levels in arrays, best first. Arrays and not a row a level: a "
            "book without orders is then a row with empty arrays, told apart from a book nobody asked for and from "
            "zeros; it takes three tenths of the space (measured: a day of 200 stocks 9.8 MB against 32.9 MB); "
            "`ask_prices[1]` is the best ask, and `unnest(ask_prices, ask_shares) with ordinality` gives rows. Source: "
            "KIS FHKST01010200; `known_at` is the clock at the answer. Known defect: a mark that nobody asked at is "
            "lost.",
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
        _marks_spec(QUOTES),
        _marks_spec(BOOKS),
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
) -> Iterator[dg.MaterializeResult]:
    """Collect what is selected: today's session while it can be asked for, past ones as far as KIS keeps them."""
    told: dict[dg.AssetKey, _Told] = {}
    for key in [key for key in FEEDS if key in context.selected_asset_keys]:
        if skipped := skip_unless_available(context, upstreams, FEEDS[key], "kis", needed=True):
            told[key] = _Told.of_nobody(key, skipped)
    wanted = [key for key in FEEDS if key in context.selected_asset_keys and key not in told]
    if wanted:
        now = upstreams.now()
        window = require_open_sessions(window_of(context), now)
        codes = _codes(warehouse)
        today = [session for session in window.sessions if session.day == now.date()]
        past = [session.day for session in window.sessions if session.day != now.date()]
        if today:
            told |= _today(context, warehouse, upstreams, session=today[0], codes=codes, wanted=wanted)
        if MINUTES in wanted and past:
            one = told.setdefault(MINUTES, _Told(MINUTES))
            _past_minutes(context, warehouse, upstreams, days=past, codes=codes, told=one)
        for key in wanted:
            if key != MINUTES:
                _say_what_is_kept(warehouse, window, told.setdefault(key, _Told(key)), now)
    checked = context.selected_asset_check_keys
    for one in told.values():
        if wanted:
            one.metadata |= usage(upstreams)
        yield one.result(checked)


def _codes(warehouse: Warehouse) -> list[str]:
    codes: list[str] = warehouse.read(
        "raw.stocks", columns=["stock_code"], where={"tier": [1, 2], "is_active": True}, order_by=["tier", "stock_code"]
    )["stock_code"].tolist()
    if not codes:
        raise dg.Failure(
            "raw.stocks has no stock of tiers 1 and 2, so there is nothing to ask for: materialize raw/stocks first.",
            allow_retries=False,
        )
    return codes


class _Told:
    """What one asset's materialization tells: its metadata, its states, its checks."""

    def __init__(self, key: dg.AssetKey) -> None:
        self.key = key
        self.metadata: dict[str, Any] = {}
        self.states: list[str] = []
        self.checks: dict[str, dg.AssetCheckResult] = {}

    @classmethod
    def of_nobody(cls, key: dg.AssetKey, nobody: dg.MaterializeResult) -> "_Told":
        """Of a feed that this world or these settings do not have."""
        told = cls(key)
        told.say(str((nobody.metadata or {})["state"]))
        return told

    @property
    def path(self) -> list[str]:
        """The key as the checks name it."""
        return list(self.key.path)

    def say(self, state: str, *, passed: bool = True, advice: str = "") -> None:
        """That nobody was asked, and why; `advice` is what the check says where somebody can change that."""
        self.states.append(state)
        self.answered(not_requested_check(self.path, advice or state, passed=passed))

    def answered(self, verdict: dg.AssetCheckResult) -> None:
        """The verdict on the answers; a failed one stays beside a later one that passes."""
        name = str(verdict.check_name)
        if name not in self.checks or self.checks[name].passed:
            self.checks[name] = verdict

    def check(self, name: str, *, passed: bool, why: str = "", metadata: dict[str, Any] | None = None) -> None:
        """A verdict that warns."""
        self.checks[name] = dg.AssetCheckResult(
            asset_key=self.key,
            check_name=name,
            passed=passed,
            severity=dg.AssetCheckSeverity.WARN,
            metadata=metadata or {},
            description=why,
        )

    def result(self, selected: Collection[dg.AssetCheckKey]) -> dg.MaterializeResult:
        """The materialization with those of its checks that are selected."""
        metadata = {**nothing(""), **self.metadata}
        if self.states:
            metadata = {**metadata, "state": "; ".join(self.states)}
        else:
            metadata.pop("state", None)
        own = NO_MINUTE if self.key == MINUTES else EVERY_MARK
        if own not in self.checks:
            self.check(own, passed=True, why="not asked: it is about what a running session has")
        checks = [check for name, check in self.checks.items() if dg.AssetCheckKey(self.key, name) in selected]
        return dg.MaterializeResult(asset_key=self.key, metadata=metadata, check_results=checks)


# ---- today ----------------------------------------------------------------------------------------------------------


def _today(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    upstreams: Upstreams,
    *,
    session: krx.Session,
    codes: list[str],
    wanted: Sequence[dg.AssetKey],
) -> dict[dg.AssetKey, _Told]:
    """Collect what can still be asked of today's session; a second collector leaves it to the first."""
    now = upstreams.now
    can_be_asked = [key for key in wanted if key == MINUTES or now() < session.close_at + krx.FINAL_AFTER_CLOSE]
    told = {key: _Told(key) for key in can_be_asked}
    with warehouse.if_alone(ALONE) as alone:
        if not alone:
            for one in told.values():
                one.say("another collector is at work on this session: nothing was asked beside it")
            return told
        feeds = _feeds(upstreams, can_be_asked, now, warehouse=warehouse, session=session, codes=codes)
        try:
            if collectors.is_collector(context.run):
                until = collector.half_hour(session, now())
                collectors.run(list(feeds.values()), until=until, now=now, sleep=upstreams.sleep, log=context.log)
            else:
                collectors.once(list(feeds.values()), now)
        except SourceFailure as failure:
            raise as_dagster(failure, f"today's session, {session.day}") from failure
    for key, feed in feeds.items():
        _tell_of_today(told[key], feed)
    return told


def _feeds(
    upstreams: Upstreams, wanted: Sequence[dg.AssetKey], now: Callable[[], datetime], **common: Any
) -> dict[dg.AssetKey, "collector.Marks | collector.Minutes"]:
    """A feed for each asset; ``common`` is what all of them need: warehouse, session and codes."""
    kis = upstreams.kis
    asked: dict[dg.AssetKey, tuple[type, Any, str]] = {
        QUOTES: (Quote, kis.quote, "FHKST01010100"),
        BOOKS: (OrderBook, kis.order_book, "FHKST01010200"),
    }
    feeds: dict[dg.AssetKey, collector.Marks | collector.Minutes] = {}
    for key in wanted:
        if key == MINUTES:
            source = f"{upstreams.source}KIS FHKST03010200"
            feeds[key] = collector.Minutes(kis, source=source, now=now(), **common)
        else:
            record, fetch, service = asked[key]
            source = f"{upstreams.source}KIS {service}"
            feeds[key] = collector.Marks(".".join(key.path), record, fetch, source=source, now=now, **common)
    return feeds


def _tell_of_today(told: _Told, feed: "collector.Marks | collector.Minutes") -> None:
    loads = feed.loads
    if loads.results:
        told.metadata = loaded(total(loads.results), loads.newest, instant="known_at", rejects=loads.rejects)
        told.metadata |= {"rows": loads.rows, "earliest": str(loads.earliest), "latest": str(loads.latest)}
    else:
        told.metadata = nothing("")
    told.metadata |= {"rounds": loads.rounds, **loads.gathered.metadata()}
    told.answered(coverage_check(told.path, loads.gathered))
    if isinstance(feed, collector.Marks):
        told.metadata["left out"] = feed.left_out
        return
    stocks = feed.completeness()
    short = stocks[stocks["missing"] > 0].sort_values("missing", ascending=False)
    missing = int(stocks["missing"].sum())
    told.metadata |= {
        "minutes expected": int(stocks["expected"].sum()),
        "minutes present": int(stocks["present"].sum()),
        "minutes missing": missing,
        "missing by stock": dg.MetadataValue.json(
            dict(zip(short["stock_code"], map(int, short["missing"]), strict=True))
        ),
    }
    told.check(
        NO_MINUTE,
        passed=not missing,
        why=""
        if not missing
        else f"{missing} minutes of {len(short)} stocks traded, or may have, and KIS sent no bar of them though the "
        "session was asked for twice. Materialize today's partition again before the day ends: past minutes need a "
        "live account.",
        metadata={
            "stocks": len(stocks),
            "missing": missing,
            "shares off the book": int(stocks["off the book"].sum()),
            "short": table(short),
        },
    )


# ---- past sessions --------------------------------------------------------------------------------------------------


def _say_what_is_kept(warehouse: Warehouse, window: Window, told: _Told, now: datetime) -> None:
    """The check of the marks, and the state of sessions that nobody collected while they ran."""
    kept = {day: _marks_kept(warehouse, ".".join(told.path), day) for day in window.days}
    due = {session.day: collector.marks_until(session, now) for session in window.sessions}
    short = {day: kept[day] for day, marks in due.items() if kept[day] < marks}
    never = [day for day, marks in short.items() if not marks and day != now.date()]
    if never:
        told.say(f"not collected while the session ran, and KIS gives none of the past: {_days(never)}")
    elif not told.checks:
        told.say("the session is over, what was collected is kept: nothing was asked")
    told.check(
        EVERY_MARK,
        passed=not short,
        why=""
        if not short
        else f"{_days(list(short))}: {sum(short.values())} of {sum(due[day] for day in short)} marks were asked. What "
        "is missing is lost: KIS gives no quote or book of the past. Let the sensor intraday_collector run while the "
        "market is open.",
        metadata={"marks due": sum(due.values()), "marks kept": sum(kept.values())},
    )


def _marks_kept(warehouse: Warehouse, table_name: str, day: date) -> int:
    return int(warehouse.read(table_name, columns=["snapshot_at"], days=(day, day))["snapshot_at"].nunique())


def _past_minutes(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    upstreams: Upstreams,
    *,
    days: list[date],
    codes: list[str],
    told: _Told,
) -> None:
    """The minutes of past sessions, each loaded by itself: a year of them fills a memory."""
    source = f"{upstreams.source}KIS FHKST03010230"
    now = upstreams.now()
    minutes, past_reach, unanswered = _Minutes(codes[:PLOTTED_STOCKS]), [], []
    for day in days:
        try:
            gathered = _minutes_of(context, upstreams, day, codes, may_be_past_reach=now.date() - day > SURELY_KEPT)
        except NotForThisAccount as failure:
            _without_live_account(context, told, failure)
            return
        except SourceFailure as failure:
            raise as_dagster(failure, f"minute bars {day}") from failure
        if gathered is None:
            past_reach.append(day)
            continue
        if gathered.is_empty:
            unanswered.append(day)
        # It only adds and corrects: nothing in its answer proves that no minute is missing, and one that was collected
        # while the session ran, and was proven then, is worth more than its silence.
        loaded_now = store(warehouse, "raw.minute_bars", [day], gathered, MinuteBar, source=source, retires=False)
        minutes.add(day, gathered, *loaded_now)
    if unanswered:
        raise dg.Failure(
            f"minute bars: no stock has a minute of {_days(unanswered)}, which KIS must still keep. The other sessions "
            "landed; materialize these again, and if that does not help look at their daily bars.",
            allow_retries=False,
        )
    if past_reach:
        state = f"KIS keeps about a year of minutes; none for {_days(past_reach)}"
        context.log.warning("%s", state)
        told.say(state)
    if minutes.results:
        told.metadata = _together(minutes.metadata(_days(days)), told.metadata)
        told.answered(coverage_check(told.path, minutes.everything))


def _together(past: dict[str, Any], today: dict[str, Any]) -> dict[str, Any]:
    """The metadata of past sessions with that of today's round, where there was one."""
    if not today.get("rows"):
        return {**today, **past}
    return {
        **today,
        **past,
        "latest": today["latest"],
        **{name: past[name] + today[name] for name in ("rows", *COUNTS)},
    }


def _minutes_of(
    context: dg.AssetExecutionContext, upstreams: Upstreams, day: date, codes: list[str], *, may_be_past_reach: bool
) -> Collected | None:
    """The minutes of one session; None where it is past KIS's reach, which a few stocks tell for all.

    Raises:
        SourceFailure: no stock answered, for another reason than that there is nothing.
    """

    def fetch(code: str) -> Batch[MinuteBar]:
        return upstreams.kis.minute_bars(code, day)

    if may_be_past_reach and ask(context, f"minute bars {day}", fetch, codes[:PROBES]).is_empty:
        return None
    gathered = ask(context, f"minute bars {day}", fetch, codes)
    if not gathered.answered and not gathered.is_empty:
        raise next(failure for failure in gathered.failures.values() if not isinstance(failure, Empty))
    return gathered


def _without_live_account(context: dg.AssetExecutionContext, told: _Told, failure: SourceFailure) -> None:
    """Green, with a check that warns: a paper account has the minutes of today alone, collected while they pass."""
    context.log.warning("minute bars: %s", failure)
    told.say(
        "no past minutes: this KIS account is a paper account, and the service needs a live one",
        passed=False,
        advice=f"{failure} Use the keys of a live account, or collect each session while it runs; where neither was "
        "done scores enter at the close instead of the minute.",
    )


class _Minutes:
    """What is told of the minutes of several sessions, without keeping their rows: a year of them fills a memory."""

    def __init__(self, plotted: list[str]) -> None:
        self.results: list[LoadResult] = []
        self.everything = Collected()
        self._plotted = plotted
        self._rows = 0
        self._samples: list[pd.DataFrame] = []
        self._ends: list[datetime] = []
        self._closes: list[pd.DataFrame] = []

    def add(self, day: date, gathered: Collected, result: LoadResult, frame: pd.DataFrame) -> None:
        """Take note of one session that was loaded."""
        self.results.append(result)
        self.everything.rejects += gathered.rejects
        self.everything.whole_keys += gathered.whole_keys
        self.everything.partial_keys += gathered.partial_keys
        self.everything.failures |= {f"{day} {code}": failure for code, failure in gathered.failures.items()}
        self._rows += len(frame)
        self._samples.append(frame.head(TABLE_ROWS))
        if len(frame):
            self._ends += [frame["ts"].min(), frame["ts"].max()]
            self._closes.append(frame.loc[frame["stock_code"].isin(self._plotted), ["ts", "stock_code", "close"]])

    def metadata(self, label: str) -> dict[str, Any]:
        """Counts, span, sample and plot of all sessions."""
        sample = pd.concat(self._samples, ignore_index=True)
        metadata = {
            **loaded(total(self.results), sample, instant="ts", rejects=self.everything.rejects),
            "rows": self._rows,
            **span(pd.Series(self._ends, dtype=object)),
            **self.everything.metadata(),
        }
        closes = pd.concat(self._closes, ignore_index=True) if self._closes else pd.DataFrame()
        if len(closes):
            # A plot's axis knows no zones; its hours are Korean ones.
            closes["minute"] = closes["ts"].dt.tz_convert(krx.KST).dt.tz_localize(None)
            lines = {str(code): one.set_index("minute")["close"] for code, one in closes.groupby("stock_code")}
            metadata["closes"] = line_plot(
                {code: 100 * line / line.iloc[0] for code, line in lines.items()},
                title=f"close, first minute = 100, {label}",
            )
        return metadata


def _days(days: Sequence[date]) -> str:
    """Some days for people: each of a few, else the first, the last and their number."""
    few = 3
    return ", ".join(map(str, days)) if len(days) <= few else f"{days[0]} … {days[-1]} ({len(days)} sessions)"
