"""The transaction of a load: its locks, its clock, its fingerprint; and the cut-off of live reads.

Belongs here: what every write shares whatever it writes. Does not belong here: the statements of a load (`changes`).

Two advisory locks, both kept until the commit: one per table, so that loads of a table never interleave, and one shared
by all loads, which a cut-off takes alone for a moment. `observed_at` is read once, after both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any, Final, cast

import psycopg
import sqlalchemy as sa

from azak_assets.warehouse import copy_format
from azak_assets.warehouse.copy_format import Encoded
from azak_assets.warehouse.tables import TableSpec

CLOCK_LOCK: Final = "azak.clock"


@contextmanager
def transaction(bind: sa.Engine | sa.Connection) -> Iterator[sa.Connection]:
    """Give a connection inside a transaction: our own on an engine, a savepoint in the caller's on a connection."""
    if isinstance(bind, sa.Engine):
        with bind.begin() as connection:
            yield connection
    else:
        # A failed load then leaves the caller's transaction usable, and half a load is never part of it.
        with bind.begin_nested():
            yield bind


@contextmanager
def exclusive(engine: sa.Engine, what: str) -> Iterator[None]:
    """Let one process at a time, over all machines, do ``what``; the others wait.

    For work that reads, takes long and then writes, where two at once would undo or pay for each other. Held by a
    connection of its own, so it ends with the process that holds it.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("select pg_advisory_lock(hashtextextended(:what, 0))"), {"what": f"azak.{what}"})
        try:
            yield
        finally:
            connection.execute(
                sa.text("select pg_advisory_unlock(hashtextextended(:what, 0))"), {"what": f"azak.{what}"}
            )


@contextmanager
def if_alone(engine: sa.Engine, what: str) -> Iterator[bool]:
    """As ``exclusive``, but never waits: yields whether ``what`` is free, and then keeps it."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        lock = {"what": f"azak.{what}"}
        alone = bool(connection.scalar(sa.text("select pg_try_advisory_lock(hashtextextended(:what, 0))"), lock))
        try:
            yield alone
        finally:
            if alone:
                connection.execute(sa.text("select pg_advisory_unlock(hashtextextended(:what, 0))"), lock)


@contextmanager
def writing(bind: sa.Engine | sa.Connection, spec: TableSpec, scope_hash: str = "") -> Iterator[Writer]:
    """Give a `Writer` of one table; its locks last until the transaction ends."""
    with transaction(bind) as connection:
        driver = connection.connection.driver_connection
        if not isinstance(driver, psycopg.Connection):
            raise TypeError(f"loads need the psycopg driver (postgresql+psycopg://…), not {type(driver)}")
        if driver.autocommit:
            raise ValueError("a load needs a transaction: this connection is in AUTOCOMMIT")
        try:
            writer = Writer(driver, spec, scope_hash)
            yield writer
            if connection is bind:
                # The caller's transaction goes on, and what it writes there itself must end fingerprints again.
                writer.execute("select set_config('azak.loading', 'off', true)")
        except psycopg.OperationalError:
            # SQLAlchemy did not see the error: a failing rollback would hide the dead connection.
            if driver.closed:
                connection.invalidate()
            raise


class Writer:
    """A transaction that holds the lock of one table: its clock, its cursor, the last fingerprint of a scope."""

    def __init__(self, driver: psycopg.Connection[Any], spec: TableSpec, scope_hash: str) -> None:
        self._spec = spec
        self._scope_hash = scope_hash
        self._cursor = driver.cursor()
        self.execute(
            "select pg_advisory_xact_lock_shared(hashtextextended(%(clock)s, 0)),"
            " pg_advisory_xact_lock(hashtextextended(%(lock)s, 0))",
            clock=CLOCK_LOCK,
            lock=f"azak.load:{spec.name}",
        )
        # A statement of its own, so that its snapshot and its clock come after the wait for the locks.
        isolation, self.observed_at, self.table_oid, self.last_fingerprint, _ = self.one_row(
            "select current_setting('transaction_isolation'), clock_timestamp(), %(table)s::text::regclass::oid,"
            " (select fingerprint from ops.load_fingerprints where table_name = %(table)s and scope = %(scope)s),"
            " set_config('azak.loading', 'on', true)",
            table=spec.name,
            scope=scope_hash,
        )
        if isolation != "read committed":
            raise ValueError(
                f"a load needs READ COMMITTED, this transaction is {isolation.upper()}: its snapshot may be older than"
                f" the last load of {spec.name}"
            )

    def execute(self, statement: str, **values: Any) -> psycopg.Cursor[Any]:
        """Execute one statement with named parameters."""
        # Never prepared: a plan made for yesterday's stage would be kept for today's.
        return self._cursor.execute(statement, values, prepare=False)

    def copy(
        self, table: str, names: Sequence[str], columns: Sequence[Encoded], order: copy_format.Ints | None
    ) -> None:
        """Copy encoded columns into a table, rows in `order` (None: as they are)."""
        statement = f"copy {table} ({', '.join(names)}) from stdin (format binary)"
        with self._cursor.copy(statement) as stream:
            for block in copy_format.copy_blocks(columns, order):
                stream.write(block)

    def one_row(self, statement: str, **values: Any) -> tuple[Any, ...]:
        """Execute a query that always has one row and return it."""
        row: tuple[Any, ...] | None = self.execute(statement, **values).fetchone()
        if row is None:
            raise LookupError(f"no row from: {statement}")
        return row

    def remember(self, days: tuple[date, ...] | None, fingerprint: str, rows: int, *, has_written: bool) -> None:
        """Keep the fingerprint of this scope; what was written ends those of other scopes that share a day with it."""
        self.execute(
            "with ended as (delete from ops.load_fingerprints where %(written)s and table_name = %(table)s"
            " and scope <> %(scope)s and (days is null or cast(%(days)s as date[]) is null or days && %(days)s))"
            " insert into ops.load_fingerprints (table_name, scope, days, fingerprint, row_count, observed_at)"
            " values (%(table)s, %(scope)s, %(days)s, %(fingerprint)s, %(rows)s, %(at)s)"
            " on conflict (table_name, scope) do update set fingerprint = excluded.fingerprint,"
            " row_count = excluded.row_count, observed_at = excluded.observed_at",
            written=has_written,
            table=self._spec.name,
            scope=self._scope_hash,
            days=None if days is None else list(days),
            fingerprint=fingerprint,
            rows=rows,
            at=self.observed_at,
        )


def cutoff(bind: sa.Engine | sa.Connection) -> datetime:
    """Return an instant for live as-of reads: what was observed by then is committed, what comes is observed later.

    It waits for the loads in progress, since a load's `observed_at` lies before its commit, and holds back new ones for
    that moment. Inside a transaction that has loaded something, ask on its own connection: on another one the two would
    wait for each other.
    """
    with transaction(bind) as connection:
        connection.execute(sa.text("select pg_advisory_xact_lock(hashtextextended(:lock, 0))"), {"lock": CLOCK_LOCK})
        return cast("datetime", connection.execute(sa.text("select clock_timestamp()")).scalar_one())
