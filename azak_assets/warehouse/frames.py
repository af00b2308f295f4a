"""Whether a frame fits its table and its scope, and what the writer adds to it.

Belongs here: the checks of a frame and of a scope, the order of the key, the columns derived from `known_at`. Does not
belong here: how single values become bytes (`encode`), statements (`changes`). Every refusal names table, column and
value, and is made before anything is written.
"""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from typing import Final, cast

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from azak_assets import krx
from azak_assets.warehouse import copy_format, encode
from azak_assets.warehouse.copy_format import EPOCH_DAYS, EPOCH_US, Coded, Encoded, Fixed
from azak_assets.warehouse.encode import FrameError
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.tables import TableSpec

KST_OFFSET_US: Final = 9 * 3_600_000_000
DAY_US: Final = 86_400_000_000
DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]
UNIX_EPOCH: Final = date(1970, 1, 1)


def check_scope(spec: TableSpec, scope: Scope, *, complete: bool) -> None:
    """Refuse a scope that its table cannot answer for."""
    if scope.days is not None and spec.day is None:
        raise ValueError(f"{spec.name} is not partitioned by day: pass Scope(days=None)")
    if scope.keys is not None and spec.entity is None:
        raise ValueError(f"{spec.name} has no entity to answer for: pass Scope(keys=None)")
    if complete and spec.known_at == "seen":
        raise ValueError(
            f"{spec.name} is a feed and never complete: an article that is no longer listed was still there"
        )
    if complete and spec.day is not None and scope.days is None:
        raise ValueError(f"{spec.name} is partitioned by {spec.day}: a complete load must name the days it answers for")


def encode_frame(spec: TableSpec, frame: pd.DataFrame) -> dict[str, Encoded]:
    """Encode the table's columns, in the table's order; refuse missing and unknown ones, wrong types and NULLs."""
    columns = spec.table.columns
    wanted = [column.name for column in columns if column.name not in spec.set_by_writer]
    if len(frame) or len(frame.columns):
        _check_columns(spec, frame, wanted)
    encoded: dict[str, Encoded] = {}
    for name in wanted:
        if name not in frame.columns and (len(frame) or name in spec.set_once):
            continue
        series = frame[name] if name in frame.columns else pd.Series([], dtype=object)
        encoded[name] = encode.encode(series, columns[name].type, f"{spec.name}.{name}")
        nulls = None if columns[name].nullable else encoded[name].nulls
        if nulls is not None:
            position = int(np.flatnonzero(nulls)[0])
            raise FrameError(
                f"{spec.name}.{name} must not be empty, but {int(nulls.sum())} of {len(frame)} rows have none; the"
                f" first is row {position}: {_describe(spec, frame, position)}"
            )
    return encoded


def _check_columns(spec: TableSpec, frame: pd.DataFrame, wanted: list[str]) -> None:
    given = [str(name) for name in frame.columns]
    if len(set(given)) != len(given):
        raise FrameError(f"{spec.name}: the frame holds a column twice: {', '.join(sorted(given))}")
    if mine := sorted(spec.set_by_writer.intersection(given)):
        raise FrameError(f"{spec.name}: {', '.join(mine)} are set by the writer; leave them out of the frame")
    if unknown := sorted(set(given) - set(wanted)):
        raise FrameError(f"{spec.name} has no column {', '.join(unknown)}; it wants {', '.join(wanted)}")
    # trading_day follows from known_at; a table made from articles gives that of the article instead.
    if missing := [name for name in wanted if name not in given and name not in spec.set_once]:
        raise FrameError(f"{spec.name}: the frame lacks {', '.join(missing)}; give None where a value is unknown")


def _describe(spec: TableSpec, frame: pd.DataFrame, position: int) -> str:
    """Name a row by its key, as far as the frame holds it."""
    return ", ".join(f"{name} {frame[name].iloc[position]}" for name in spec.key if name in frame.columns)


def check_rows(
    spec: TableSpec, columns: dict[str, Encoded], frame: pd.DataFrame, scope: Scope
) -> copy_format.Ints | None:
    """Refuse rows outside the scope and duplicate keys; return the order of the key, None when the frame has it."""
    if not len(frame):
        return None
    _check_inside(spec, columns, frame, scope)
    ranked = [cast("Fixed | Coded", columns[name]).ranks() for name in spec.key if name in columns]
    combined, size = ranked[0]
    for ranks, count in ranked[1:]:
        if size * count > np.iinfo(np.int64).max:
            distinct, combined = np.unique(combined, return_inverse=True)
            size = len(distinct)
        combined, size = combined * count + ranks, size * count
    steps = np.diff(combined)
    order = None
    if (steps <= 0).any():
        order = np.argsort(combined, kind="stable")
        steps = np.diff(combined[order])
    if (steps == 0).any():
        first = int(np.flatnonzero(steps == 0)[0])
        position = first if order is None else int(order[first])
        raise FrameError(
            f"{spec.name}: {int((steps == 0).sum())} rows repeat a key ({', '.join(spec.key)}), the first one"
            f" {_describe(spec, frame, position)}; a frame holds one row a key"
        )
    return order


def _check_inside(spec: TableSpec, columns: dict[str, Encoded], frame: pd.DataFrame, scope: Scope) -> None:
    if spec.day is not None and spec.day in columns:
        days = cast("Fixed", columns[spec.day]).values
        outside = np.zeros(len(days), dtype=bool)
        if scope.days is not None:
            inside = [(day - UNIX_EPOCH).days - EPOCH_DAYS for day in scope.days]
            # A day's load, a million rows at times, needs no set.
            outside = days != inside[0] if len(inside) == 1 else ~np.isin(days, inside)
        if outside.any():
            position = int(np.flatnonzero(outside)[0])
            raise FrameError(
                f"{spec.name}.{spec.day}: {int(outside.sum())} of {len(frame)} rows lie outside the scope's days; the"
                f" first is {frame[spec.day].iloc[position]} ({_describe(spec, frame, position)})"
            )
        if spec.day_instant is not None:
            instants = cast("Fixed", columns[spec.day_instant]).values
            wrong = (instants + KST_OFFSET_US) // DAY_US != days
            if wrong.any():
                position = int(np.flatnonzero(wrong)[0])
                raise FrameError(
                    f"{spec.name}.{spec.day} {frame[spec.day].iloc[position]} is not the KST date of"
                    f" {spec.day_instant} {frame[spec.day_instant].iloc[position]}"
                )
    if scope.keys is not None and spec.entity is not None:
        column = cast("Coded", columns[spec.entity])
        allowed = {key.encode() for key in scope.keys}
        if strangers := sorted(text.decode() for text in column.texts if text not in allowed):
            raise FrameError(
                f"{spec.name}.{spec.entity}: {len(strangers)} values lie outside the scope's keys, the first one"
                f" {strangers[0]}"
            )


def derive(spec: TableSpec, columns: dict[str, Encoded], observed_at: datetime) -> None:
    """Set `known_at`, `trading_day` and `tradable_session` as a first version has them, by the table's rule."""
    if spec.known_at is None or spec.known_at == "observed":
        return
    known_at = cast("Fixed", columns["known_at"])
    if spec.known_at == "seen":
        now = round(observed_at.timestamp() * 1_000_000) - EPOCH_US
        window = krx.SEEN_WITHIN // timedelta(microseconds=1)
        known_at = Fixed(np.where(np.abs(known_at.values - now) <= window, now, known_at.values), None)
        columns["known_at"] = known_at
    derived = [
        name for name in ("trading_day", "tradable_session") if name in spec.table.columns and name not in columns
    ]
    if derived:
        instants = encode.as_series(known_at)
        rules = {"trading_day": krx.trading_days_of, "tradable_session": krx.tradable_sessions_of}
        for name in derived:
            columns[name] = encode.encode(rules[name](instants), sa.Date(), f"{spec.name}.{name}")


def definition(spec: TableSpec) -> str:
    """Return everything about a table that decides what a frame means to it."""
    types = [f"{column.name} {column.type.compile(DIALECT)} {column.nullable}" for column in spec.table.columns]
    return json.dumps([types, spec.key, spec.compared, spec.day, spec.entity, spec.known_at])
