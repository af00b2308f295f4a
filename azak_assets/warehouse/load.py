"""The one way to write: whole frames, versioned, in one transaction, with what changed as the result.

Belongs here: `load_partition` for versioned tables, `append` for append-only ones, and `quarantine`. Does not belong
here what they are made of: `frames` checks, `encode` makes bytes, `transactions` holds locks and clock, `changes` has
the SQL.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from azak_assets.warehouse import encode, frames
from azak_assets.warehouse.calls import call_log
from azak_assets.warehouse.changes import Change
from azak_assets.warehouse.encode import FrameError
from azak_assets.warehouse.scope import LoadResult, Scope
from azak_assets.warehouse.tables import rejected_records, spec
from azak_assets.warehouse.transactions import Writer, transaction, writing

__all__ = ["FrameError", "LoadResult", "Scope", "append", "load_partition", "quarantine", "refused_values"]

logger = logging.getLogger(__name__)


def load_partition(
    bind: sa.Engine | sa.Connection,
    table: str,
    frame: pd.DataFrame,
    scope: Scope,
    *,
    complete: bool,
    source: str,
    run_id: str,
) -> LoadResult:
    """Make a versioned table agree with a frame inside a scope, in one transaction.

    `frame` holds the table's columns, all but those that `TableSpec.set_by_writer` names; `known_at` in it is the
    nominal time, and `trading_day` may be left out where it follows from that. Rows equal to the stored ones are left
    alone, changed ones move to the history, new ones come in. With `complete` the frame is all there is inside the
    scope: stored rows of its days and keys that the frame lacks are retired to the history. Feeds (tables with the rule
    `seen`) are never complete. A frame identical to the last one of the same scope is skipped, unless anything else
    has written to those days since.

    With an engine the load commits itself; with a connection it belongs to the caller's transaction, which must be
    READ COMMITTED. Two loads of one table run one after the other.

    Raises FrameError for a frame that does not fit, ValueError for a scope or a table that does not, psycopg.Error for
    what the database refuses. Nothing is written then.
    """
    table_spec = spec(table)
    if table_spec.history is None:
        raise ValueError(f"{table} is append-only: use append()")
    frames.check_scope(table_spec, scope, complete=complete)
    columns = frames.encode_frame(table_spec, frame)
    content = encode.fingerprint(columns, frames.definition(table_spec))
    with writing(bind, table_spec, _scope_hash(scope, complete=complete)) as writer:
        _note_arrival(writer, table, source, len(frame))
        fingerprint = f"{content} {writer.table_oid}"
        if writer.last_fingerprint == fingerprint:
            return LoadResult(0, 0, len(frame), 0, writer.observed_at, skipped_by_fingerprint=True)
        order = frames.check_rows(table_spec, columns, frame, scope)
        frames.derive(table_spec, columns, writer.observed_at)
        change = Change(
            table_spec, columns, order, scope, complete=complete, writer=writer, source=source, run_id=run_id
        )
        result = change.load()
        has_written = bool(result.inserted or result.changed or result.retired)
        writer.remember(
            scope.days if table_spec.is_day_in_key else None, fingerprint, len(frame), has_written=has_written
        )
    logger.debug("%s: %s", table, result)
    return result


def append(bind: sa.Engine | sa.Connection, table: str, frame: pd.DataFrame, *, source: str, run_id: str) -> LoadResult:
    """Add the rows of a frame whose keys an append-only table does not hold yet; the others count as unchanged.

    A stored row is never compared and never changes. Transactions, locks and errors as for `load_partition`.
    """
    table_spec = spec(table)
    if table_spec.history is not None:
        raise ValueError(f"{table} is versioned: use load_partition()")
    columns = frames.encode_frame(table_spec, frame)
    scope = Scope(days=None)
    with writing(bind, table_spec) as writer:
        _note_arrival(writer, table, source, len(frame))
        order = frames.check_rows(table_spec, columns, frame, scope)
        change = Change(table_spec, columns, order, scope, complete=False, writer=writer, source=source, run_id=run_id)
        return change.append()


def quarantine(bind: sa.Engine | sa.Connection, rejects: Iterable[Any], *, source: str, run_id: str) -> int:
    """Keep refused records with their reasons in `ops.rejected_records`; return how many were not known there yet.

    A reject is a mapping or a dataclass with `record` (text, or JSON-able), `field`, `value`, `reason` and `code`.
    """
    rows = {}
    for reject in rejects:
        given: Mapping[str, Any] = reject if isinstance(reject, Mapping) else asdict(reject)
        record = given["record"]
        text = (
            record if isinstance(record, str) else json.dumps(record, ensure_ascii=False, sort_keys=True, default=str)
        )
        value = None if given["value"] is None else str(given["value"])
        parts = [source, text, given["field"], value, given["reason"]]
        reject_id = hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode(errors="surrogatepass")).hexdigest()
        kept = {"record": text, "field": given["field"], "value": value, "reason": given["reason"]}
        # PostgreSQL stores neither NUL nor half characters, and a refused record may well hold either.
        clean = {name: content and encode.storable(content) for name, content in kept.items()}
        about = {"code": str(given["code"]), "source": source, "run_id": run_id}
        rows[reject_id] = {"reject_id": reject_id, **clean, **about}
    if not rows:
        return 0
    table = rejected_records
    statement = (
        postgresql.insert(table)
        .values(observed_at=sa.func.clock_timestamp())
        .on_conflict_do_nothing()
        .returning(table.c.reject_id)
    )
    with transaction(bind) as connection:
        return len(connection.execute(statement, list(rows.values())).all())


def refused_values(bind: sa.Engine | sa.Connection, code: str) -> list[str]:
    """The distinct values that were ever refused with this code, in order; see `quarantine`."""
    columns = rejected_records.c
    query = (
        sa.select(columns.value)
        .where(columns.code == code, columns.value.is_not(None))
        .distinct()
        .order_by(columns.value)
    )
    with transaction(bind) as connection:
        return list(connection.execute(query).scalars())


def _note_arrival(writer: Writer, table: str, source: str, rows: int) -> None:
    """Record when a source last delivered a table, and when it last delivered rows; for schema `raw` only."""
    if table.startswith("raw."):
        at = writer.observed_at
        session = call_log.session_of(at)
        writer.execute(call_log.FEED_LOADED, source=source, table=table, at=at, rows=rows, session=session)


def _scope_hash(scope: Scope, *, complete: bool) -> str:
    days = None if scope.days is None else sorted({day.isoformat() for day in scope.days})
    keys = None if scope.keys is None else sorted(set(scope.keys))
    return hashlib.sha256(json.dumps([days, keys, complete]).encode()).hexdigest()
