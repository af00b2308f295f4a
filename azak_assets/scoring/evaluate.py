"""The evaluation rows: every forecast × horizon with its status and its scores, as the prices stand now.

Belongs here: which forecasts a run of sessions can concern, one read of all the bars they need, and the versions of
`ml.model_evaluations`. Does not belong here: the rules (`horizons`, `proper`, `classic`) and any aggregate.

Versions: a pending row becomes matured or censored in place (version 1; the pending state goes to the history). When
what is behind a matured or censored score changes later (`prices_hash`), a new version is added and the old one stays.

`known_at` of a row first written as matured: when the last of its bars became known; as censored: when the bar that
censored it did, or would have, became known (the session's close + 10 minutes); as pending: the cut-off. A row that
matures later takes the instant at which it was written, as every later version does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import accumulate
from math import isnan
from operator import mul, truediv
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from azak_assets import krx
from azak_assets.scoring import classic, proper
from azak_assets.scoring.bars import LOOKBACK_SESSIONS, BarHistory, Bars
from azak_assets.scoring.horizons import (
    HORIZONS,
    Bar,
    Entry,
    MinuteEntry,
    Resolution,
    entry_of,
    needs_minutes,
    outcome_of,
    resolve,
)
from azak_assets.warehouse import readers
from azak_assets.warehouse.scope import LoadResult, Scope

if TYPE_CHECKING:
    from azak_assets.warehouse.warehouse import Warehouse

SOURCE = "scoring"
CLASSIC_HORIZON = classic.WINDOW_SESSIONS
_PROBABILITIES = ["p_up", "p_flat", "p_down"]
_PREDICTION_COLUMNS = [
    "prediction_id",
    "model_id",
    "stock_code",
    "cutoff_at",
    "trading_day",
    "base_price",
    "target_price",
    "support_price",
]


_Window = tuple[tuple[float, ...], tuple[float, ...]]
"""Highs and lows of the sessions of the classic window."""


@dataclass(frozen=True, slots=True)
class _Resolved:
    """What one stock and cut-off share at one horizon, whatever model forecast it."""

    entry: Entry
    resolution: Resolution
    sigma20: float
    known_at: datetime
    highs: tuple[float, ...]
    lows: tuple[float, ...]
    prices_hash: str | None

    @classmethod
    def of(cls, entry: Entry, one: Resolution, sigma20: float, cutoff_at: datetime, window: _Window) -> _Resolved:
        """Add to a resolution when it was known and the hash of everything its scores rest on."""
        if one.status == "pending":
            return cls(entry, one, sigma20, cutoff_at, (), (), None)
        known_at = one.known_at or krx.final_at(krx.session(one.exit_day))
        highs, lows = window
        evidence = [
            one.status,
            one.censor_reason,
            entry.at.astimezone(UTC).isoformat(),
            one.entry_price,
            one.exit_price,
            one.factor,
            sigma20,
            [None if isnan(value) else value for value in (*highs, *lows)],
        ]
        prices_hash = hashlib.sha256(json.dumps(evidence).encode()).hexdigest()
        return cls(entry, one, sigma20, known_at, highs, lows, prices_hash)


def evaluate(warehouse: Warehouse, days: tuple[date, date]) -> LoadResult:
    """Bring `ml.model_evaluations` up to date with the bars of the sessions from `days[0]` to `days[1]`, inclusive.

    Covers every forecast whose life from cut-off to last exit can touch those sessions (trading days up to
    `days[1]`, from 21 sessions before `days[0]`), and every older one still pending. Re-running changes nothing.
    """
    start, end = days
    first = krx.shift(krx.session_on_or_after(start).day, -(max(HORIZONS) + 1)).day
    predictions = _read_predictions(warehouse, first, end)
    if predictions.empty:
        return warehouse.load("ml.model_evaluations", _empty_frame(), Scope(days=(end,)), complete=False, source=SOURCE)
    horizons = warehouse.read(
        "ml.prediction_horizons",
        columns=["prediction_id", "horizon_sessions", *_PROBABILITIES],
        days=(predictions["trading_day"].min(), end),
    )
    asked = predictions.merge(horizons, on="prediction_id", validate="one_to_many")
    resolved = _resolve_all(warehouse, asked)
    frame = _score(asked, resolved)
    trading_days = tuple(sorted(set(frame["trading_day"])))
    frame["version"] = _versions(warehouse, frame, trading_days)
    # The writer takes a version for a new row and would keep its nominal time: a score must not be known before the
    # correction behind it.
    rescored = frame["version"] > 1
    if rescored.any():  # the cut-off waits for every load in progress
        frame.loc[rescored, "known_at"] = pd.Timestamp(warehouse.cutoff())
    return warehouse.load("ml.model_evaluations", frame, Scope(days=trading_days), complete=False, source=SOURCE)


def _empty_frame() -> pd.DataFrame:
    return pd.DataFrame()


def _read_predictions(warehouse: Warehouse, first: date, end: date) -> pd.DataFrame:
    recent = warehouse.read("ml.predictions", columns=_PREDICTION_COLUMNS, days=(first, end))
    pending = warehouse.read("ml.model_evaluations", columns=["trading_day"], where={"status": "pending"})
    older = sorted({day for day in pending["trading_day"] if day < first})
    if not older:
        return recent
    late = warehouse.read("ml.predictions", columns=_PREDICTION_COLUMNS, where={"trading_day": older})
    return pd.concat([late, recent], ignore_index=True)


def _resolve_all(warehouse: Warehouse, asked: pd.DataFrame) -> dict[tuple[str, datetime, int], _Resolved]:
    """Resolve every distinct stock, cut-off and horizon once; models that share them share the market too."""
    cutoffs = asked["cutoff_at"].dt.tz_convert(UTC)
    first = krx.session_on_or_before(cutoffs.min().tz_convert(krx.KST).date()).day
    last = krx.shift(krx.tradable_session(cutoffs.max().to_pydatetime()).day, max(HORIZONS)).day
    start = krx.shift(first, -LOOKBACK_SESSIONS - 1).day
    stocks = sorted(set(asked["stock_code"]))
    history = BarHistory.read(warehouse, start, last, stocks)
    market = _Market(warehouse, start, last)
    minutes = _Minutes.read(warehouse, asked)
    delisted = _delistings(warehouse, stocks)
    bars = {stock: _by_day(history.current(stock)) for stock in stocks}

    resolved: dict[tuple[str, datetime, int], _Resolved] = {}
    for stock, cutoff in sorted(set(zip(asked["stock_code"], cutoffs, strict=True))):
        at = cutoff.to_pydatetime()
        minute = minutes.after(stock, at)
        entry = entry_of(at, minute)
        sigma = history.sigma20(stock, at)
        sigma = market.sigma20(at) if sigma is None else sigma
        for horizon in HORIZONS:
            one = resolve(
                entry,
                horizon,
                bars[stock],
                minute=minute,
                market_days=market.days,
                delisted_on=delisted.get(stock),
            )
            window: _Window = (), ()
            if horizon == CLASSIC_HORIZON and one.status == "matured":
                window = _window(entry, bars[stock], minute, at)
            resolved[stock, cutoff, horizon] = _Resolved.of(entry, one, sigma, at, window)
    return resolved


def _window(entry: Entry, bars: Mapping[date, Bar], minute: MinuteEntry | None, cutoff_at: datetime) -> _Window:
    """Highs and lows of the five sessions that close after entry; empty where a bar is missing.

    In terms of the last close known at the cut-off, which is what a target and a support were named against.
    """
    days = [entry.exit_day(n) for n in range(1, CLASSIC_HORIZON + 1)]
    if any(day not in bars for day in days):
        return (), ()
    highs, lows = [bars[day].high for day in days], [bars[day].low for day in days]
    if entry.kind == "minute" and minute is not None:
        # What the stock did earlier that day was no longer to be had.
        highs[0], lows[0] = minute.high, minute.low
    base_day = krx.newest_final_session(cutoff_at).day
    steps = [bars[one.day].factor for one in krx.sessions(base_day, days[-1])[1:] if one.day in bars]
    factors = list(accumulate(steps, mul))[-len(days) :]
    return tuple(map(truediv, highs, factors)), tuple(map(truediv, lows, factors))


def _by_day(bars: Bars) -> dict[date, Bar]:
    known = [instant.astype(datetime).replace(tzinfo=UTC) for instant in bars.known_at]
    columns = (bars.open, bars.high, bars.low, bars.close, bars.is_halted)
    prices = (column.tolist() for column in columns)
    rows = zip(bars.days.astype(object), *prices, known, bars.factor.tolist(), strict=True)
    return {day: Bar(*values) for day, *values in rows}


class _Market:
    """What is asked of the whole market: the days on which it traded, and its median σ20, read when first needed."""

    def __init__(self, warehouse: Warehouse, start: date, last: date) -> None:
        self._warehouse, self._start, self._last = warehouse, start, last
        self._history: BarHistory | None = None
        self.days = readers.days_with_bars(warehouse.engine, [one.day for one in krx.sessions(start, last)])

    def sigma20(self, at: datetime) -> float:
        if self._history is None:
            self._history = BarHistory.read(self._warehouse, self._start, self._last)
        return self._history.market_sigma20(at)


class _Minutes:
    """The minute bars of the sessions in which a cut-off fell, for finding the first one after it."""

    def __init__(self, frame: pd.DataFrame) -> None:
        ordered = frame.sort_values(["stock_code", "ts"])
        self._by_stock_day = {
            key: (part["ts"].dt.tz_convert(UTC), part[["open", "high", "low"]].to_numpy(float))
            for key, part in ordered.groupby(["stock_code", "trade_date"])
        }

    @classmethod
    def read(cls, warehouse: Warehouse, asked: pd.DataFrame) -> _Minutes:
        """Read the minutes of every stock and session with a cut-off inside; `ts` and prices, traded minutes only."""
        pairs = asked[["stock_code", "cutoff_at"]].drop_duplicates()
        inside = pairs[[needs_minutes(at.to_pydatetime()) for at in pairs["cutoff_at"]]]
        days = [krx.tradable_session(at.to_pydatetime()).day for at in inside["cutoff_at"]]
        return cls(readers.traded_minutes(warehouse.engine, set(zip(inside["stock_code"], days, strict=True))))

    def after(self, stock: str, at: datetime) -> MinuteEntry | None:
        """The first minute that began after the cut-off, with the extremes from there to the close."""
        ts, prices = self._by_stock_day.get((stock, krx.tradable_session(at).day), (None, None))
        if ts is None or prices is None or not needs_minutes(at):
            return None
        first = int(ts.searchsorted(pd.Timestamp(at), side="right"))
        if first == len(ts):
            return None
        rest = prices[first:]
        return MinuteEntry(ts.iloc[first].to_pydatetime(), rest[0, 0], rest[:, 1].max(), rest[:, 2].min())


def _delistings(warehouse: Warehouse, stocks: list[str]) -> dict[str, date]:
    rows = warehouse.read("raw.stocks", columns=["stock_code", "delisted_on"], where={"stock_code": stocks})
    gone = rows.dropna(subset="delisted_on")
    return dict(zip(gone["stock_code"], gone["delisted_on"], strict=True))


def _score(asked: pd.DataFrame, resolved: Mapping[tuple[str, datetime, int], _Resolved]) -> pd.DataFrame:
    """One evaluation row a forecast and horizon, without its version."""
    keys = zip(asked["stock_code"], asked["cutoff_at"].dt.tz_convert(UTC), asked["horizon_sessions"], strict=True)
    ones = [resolved[key] for key in keys]
    log_returns = [one.resolution.log_return for one in ones]
    outcomes = np.array(
        [
            None if r is None else outcome_of(r, one.sigma20, horizon)
            for r, one, horizon in zip(log_returns, ones, asked["horizon_sessions"], strict=True)
        ],
        dtype=object,
    )
    matured = np.array([outcome is not None for outcome in outcomes])
    probabilities = asked[_PROBABILITIES].to_numpy(float)
    calls = proper.called(probabilities)
    classics = [
        classic.classic_score(_number(base), _number(target), _number(support), one.highs, one.lows)
        if one.highs
        else classic.NOTHING_TO_SCORE
        for one, base, target, support in zip(
            ones, asked["base_price"], asked["target_price"], asked["support_price"], strict=True
        )
    ]
    frame = asked[["prediction_id", "horizon_sessions", "model_id", "stock_code", "trading_day"]].copy()
    frame["status"] = [one.resolution.status for one in ones]
    frame["censor_reason"] = [one.resolution.censor_reason for one in ones]
    frame["entry_day"] = [one.entry.day for one in ones]
    frame["entry_at"] = pd.to_datetime([one.entry.at for one in ones], utc=True)
    frame["entry_price"] = pd.array([one.resolution.entry_price for one in ones], dtype="Int64")
    frame["exit_day"] = [one.resolution.exit_day for one in ones]
    frame["exit_price"] = pd.array([one.resolution.exit_price for one in ones], dtype="Int64")
    frame["adjustment_factor"] = pd.array(
        [one.resolution.factor if m else None for one, m in zip(ones, matured, strict=True)], "Float64"
    )
    frame["log_return"] = pd.array(log_returns, dtype="Float64")
    frame["sigma20"] = pd.array([one.sigma20 if m else None for one, m in zip(ones, matured, strict=True)], "Float64")
    frame["outcome"] = outcomes
    for column, score in (("brier", proper.brier), ("log_score", proper.log_score)):
        values = np.full(len(frame), np.nan)
        values[matured] = score(probabilities[matured], outcomes[matured])
        frame[column] = values
    frame["is_direction_right"] = pd.array(
        [None if o is None or c is None else o == c for o, c in zip(outcomes, calls, strict=True)], dtype="boolean"
    )
    for column in ("target_achieved", "support_breached"):
        frame[column] = pd.array([getattr(c, column) for c in classics], dtype="boolean")
    for column in ("target_score", "timing_score", "risk_score", "classic_score"):
        frame[column] = pd.array([getattr(c, column) for c in classics], dtype="Float64")
    frame["prices_hash"] = [one.prices_hash for one in ones]
    frame["known_at"] = pd.to_datetime([one.known_at for one in ones], utc=True)
    return frame


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _versions(warehouse: Warehouse, frame: pd.DataFrame, trading_days: tuple[date, ...]) -> pd.Series:
    """The version each row belongs to, given the newest version there is."""
    key = ["prediction_id", "horizon_sessions"]
    there = warehouse.read(
        "ml.model_evaluations",
        columns=[*key, "version", "status", "prices_hash"],
        days=(trading_days[0], trading_days[-1]),
    )
    newest = there.sort_values("version").drop_duplicates(key, keep="last")
    both = frame[[*key, "prices_hash"]].merge(
        newest, on=key, how="left", suffixes=("", "_there"), validate="one_to_one"
    )
    is_new = both["version"].isna()
    was_open = both["status"] == "pending"
    same = both["prices_hash"].fillna("") == both["prices_hash_there"].fillna("")
    version = both["version"].fillna(1).astype(int) + (~is_new & ~was_open & ~same).astype(int)
    return pd.Series(version.to_numpy(), index=frame.index)
