"""The warehouse as the other rooms hold it: a database and the run that works on it.

Belongs here: the methods, without behaviour of their own. Does not belong here: how they work (`load`, `asof`,
`transactions`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from azak_assets.warehouse.scope import LoadResult, Scope

if TYPE_CHECKING:
    import pandas as pd
    import sqlalchemy as sa

    from azak_assets.warehouse.asof import AsOfClock, Days
    from azak_assets.warehouse.calls.call_log import FeedHealth, SourceHealth
    from azak_assets.warehouse.marts import MartReport
    from azak_assets.warehouse.reconciliation import Comparison


@dataclass(frozen=True, slots=True)
class Warehouse:
    """A database and the `run_id` that every row written through it carries.

    `engine` may also be a connection: then everything belongs to its transaction.
    """

    engine: sa.Engine | sa.Connection
    run_id: str

    def load(self, table: str, frame: pd.DataFrame, scope: Scope, *, complete: bool, source: str) -> LoadResult:
        """Make a versioned table agree with a frame inside a scope; see `load.load_partition`."""
        from azak_assets.warehouse import load  # noqa: PLC0415

        return load.load_partition(
            self.engine, table, frame, scope, complete=complete, source=source, run_id=self.run_id
        )

    def append(self, table: str, frame: pd.DataFrame, *, source: str) -> LoadResult:
        """Add rows to an append-only table; see `load.append`."""
        from azak_assets.warehouse import load  # noqa: PLC0415

        return load.append(self.engine, table, frame, source=source, run_id=self.run_id)

    def read(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        days: Days | None = None,
        where: Mapping[str, Any] | None = None,
        order_by: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return current rows; see `asof.read`."""
        from azak_assets.warehouse import asof  # noqa: PLC0415

        return asof.read(self.engine, table, columns=columns, days=days, where=where, order_by=order_by)

    def as_of(
        self,
        table: str,
        at: datetime,
        clock: AsOfClock,
        *,
        columns: Sequence[str] | None = None,
        days: Days | None = None,
        where: Mapping[str, Any] | None = None,
        order_by: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return rows as they stood at an instant; see `asof.as_of`."""
        from azak_assets.warehouse import asof  # noqa: PLC0415

        return asof.as_of(self.engine, table, at, clock, columns=columns, days=days, where=where, order_by=order_by)

    def count_by_day(self, table: str) -> pd.DataFrame:
        """Return (day, rows) of the current rows; see `asof.count_by_day`."""
        from azak_assets.warehouse import asof  # noqa: PLC0415

        return asof.count_by_day(self.engine, table)

    def compare_with_exchange(self, *, share: float, least_krw: int, rows: int) -> Comparison:
        """Compare our daily bars with the exchange's; see `reconciliation.compare_with_exchange`."""
        from azak_assets.warehouse import reconciliation  # noqa: PLC0415

        return reconciliation.compare_with_exchange(self.engine, share=share, least_krw=least_krw, rows=rows)

    def mart_report(
        self, mart: str, invocation_id: str, *, day: str | None, days: Days, sample_rows: int
    ) -> MartReport:
        """Report what a dbt call did to a mart; see `marts.report`. Not inside a transaction."""
        from azak_assets.warehouse import marts  # noqa: PLC0415

        return marts.report(self._own_engine, mart, invocation_id, day=day, days=days, sample_rows=sample_rows)

    def look(self, relation: str, *, rows: int) -> pd.DataFrame:
        """Return some rows of any relation; see `marts.look`. Not inside a transaction."""
        from azak_assets.warehouse import marts  # noqa: PLC0415

        with self._own_engine.connect() as connection:
            return marts.look(connection, relation, rows=rows)

    def quarantine(self, rejects: Iterable[Any], *, source: str) -> int:
        """Keep refused records with their reasons; see `load.quarantine`."""
        from azak_assets.warehouse import load  # noqa: PLC0415

        return load.quarantine(self.engine, rejects, source=source, run_id=self.run_id)

    def refused_values(self, code: str) -> list[str]:
        """Return the values that were refused with a code; see `load.refused_values`."""
        from azak_assets.warehouse import load  # noqa: PLC0415

        return load.refused_values(self.engine, code)

    def source_health(self) -> list[SourceHealth]:
        """Return how each upstream answers; see `call_log.sources`. Not inside a transaction."""
        from azak_assets.warehouse.calls import call_log  # noqa: PLC0415

        return call_log.sources(self._own_engine)

    def feed_health(self) -> list[FeedHealth]:
        """Return when each source last brought rows; see `call_log.feeds`. Not inside a transaction."""
        from azak_assets.warehouse.calls import call_log  # noqa: PLC0415

        return call_log.feeds(self._own_engine)

    def cutoff(self) -> datetime:
        """Return an instant for live as-of reads, taken under the lock that loads hold; see `transactions.cutoff`."""
        from azak_assets.warehouse import transactions  # noqa: PLC0415

        return transactions.cutoff(self.engine)

    @contextmanager
    def exclusive(self, what: str) -> Iterator[None]:
        """Let one process at a time do ``what``; see `transactions.exclusive`. Not inside a transaction."""
        from azak_assets.warehouse import transactions  # noqa: PLC0415

        with transactions.exclusive(self._own_engine, what):
            yield

    @contextmanager
    def if_alone(self, what: str) -> Iterator[bool]:
        """Tell whether no other process does ``what``, and keep it so; see `transactions.if_alone`."""
        from azak_assets.warehouse import transactions  # noqa: PLC0415

        with transactions.if_alone(self._own_engine, what) as alone:
            yield alone

    @property
    def _own_engine(self) -> sa.Engine:
        import sqlalchemy as sa  # noqa: PLC0415

        if isinstance(self.engine, sa.Connection):
            raise TypeError("this needs a connection of its own: leave the transaction first")
        return self.engine

    @contextmanager
    def transaction(self) -> Iterator[Warehouse]:
        """Give a warehouse whose writes are committed together at the end of the block, or not at all."""
        import sqlalchemy as sa  # noqa: PLC0415

        if isinstance(self.engine, sa.Connection):
            with self.engine.begin_nested():
                yield self
        else:
            with self.engine.begin() as connection:
                yield replace(self, engine=connection)
