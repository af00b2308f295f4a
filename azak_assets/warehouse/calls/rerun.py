"""A warehouse that never overwrites newer rows while re-running recorded answers.

Belongs here: which rows of a repeated load are older than those in the table. Does not belong here: reading recordings
(`recordings`), running anything (`cli.replay_payloads`).

A re-run repeats runs in their order. Into an empty database the rows come in as they did. In a database that holds them
an older run must not take back what a newer one has corrected, or every re-run would leave a trail of versions that no
source ever published. So a row that a later run wrote stays, and everything a source answered for together with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from azak_assets.warehouse.calls.recordings import KeptRun
from azak_assets.warehouse.scope import LoadResult, Scope
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd
    import sqlalchemy as sa

    from azak_assets.warehouse.tables import TableSpec

RERUN_OF = "replay of "
"""Begins the run_id of rows that a re-run wrote; the id of the original run follows."""
LOADED_WITHIN = timedelta(minutes=10)
"""A run has loaded an answer so long after it came; rows of unknown runs that were observed later are newer."""


@dataclass(frozen=True, slots=True)
class RerunWarehouse(Warehouse):
    """The warehouse of one repeated run: `later_runs` and `known_runs` are ids; a row of another run is newer if it was
    observed after `ended_by`."""

    later_runs: tuple[str, ...]
    known_runs: tuple[str, ...]
    ended_by: datetime

    def load(self, table: str, frame: pd.DataFrame, scope: Scope, *, complete: bool, source: str) -> LoadResult:
        """As `Warehouse.load`, without the rows, or the keys, that a later run wrote."""
        from azak_assets.warehouse.tables import spec  # noqa: PLC0415

        target = spec(table)
        if complete and (scope.keys is None or target.entity is None):
            # A later run loaded the complete table; rows that it did not find must not come back.
            return (
                self._untouched(len(frame))
                if self._newer(target, scope, target.key, limit=1)
                else self._load(table, frame, scope, complete=True, source=source)
            )
        newer = self._newer(target, scope, target.key)
        keys = frame[list(target.key)].itertuples(index=False, name=None)
        older = frame[[key not in newer for key in keys]] if newer else frame
        result = self._untouched(len(frame) - len(older))
        if not complete or scope.keys is None or target.entity is None:
            return _sum(result, self._load(table, older, scope, complete=False, source=source))
        # Of a key with newer rows nothing is retired: what is missing here may have come since.
        touched = {entity for (entity,) in self._newer(target, scope, (target.entity,))} if newer else set()
        is_touched = older[target.entity].isin(touched)
        if touched:
            result = _sum(result, self._load(table, older[is_touched], scope, complete=False, source=source))
        untouched = Scope(scope.days, tuple(key for key in scope.keys if key not in touched))
        if not untouched.keys and scope.keys:
            return result
        return _sum(result, self._load(table, older[~is_touched], untouched, complete=True, source=source))

    def _load(self, table: str, frame: pd.DataFrame, scope: Scope, *, complete: bool, source: str) -> LoadResult:
        # Named, not super(): a class with slots is made anew by the decorator.
        return Warehouse.load(self, table, frame.reset_index(drop=True), scope, complete=complete, source=source)

    def _untouched(self, rows: int) -> LoadResult:
        return LoadResult(0, 0, rows, 0, self.ended_by)

    def _newer(
        self, target: TableSpec, scope: Scope, columns: Sequence[str], *, limit: int | None = None
    ) -> set[tuple[Any, ...]]:
        """The values of some columns in the rows of a scope that a later run wrote."""
        import sqlalchemy as sa  # noqa: PLC0415

        from azak_assets.warehouse.transactions import transaction  # noqa: PLC0415

        table = target.table
        is_newer = sa.or_(
            table.c.run_id.in_(self.later_runs),
            sa.and_(
                table.c.run_id.not_in(self.known_runs),
                sa.or_(table.c.observed_at > self.ended_by, table.c.run_id.like(f"{RERUN_OF}%")),
            ),
        )
        query: sa.Select[tuple[Any, ...]] = (
            sa.select(*(table.c[name] for name in columns)).where(is_newer).distinct().limit(limit)
        )
        if scope.days is not None and target.day is not None:
            query = query.where(table.c[target.day].in_(scope.days))
        with transaction(self.engine) as connection:
            return {tuple(row) for row in connection.execute(query)}


def _sum(first: LoadResult, second: LoadResult) -> LoadResult:
    """What two loads did together; the instant is the second's."""
    return LoadResult(
        first.inserted + second.inserted,
        first.changed + second.changed,
        first.unchanged + second.unchanged,
        first.retired + second.retired,
        second.observed_at,
    )


def warehouse_for(engine: sa.Engine, run: KeptRun, runs: Sequence[KeptRun]) -> RerunWarehouse:
    """The warehouse in which `run`, one of `runs` in their order, is repeated."""
    place = next(number for number, one in enumerate(runs) if one is run)
    last = max((kept.at for kept in run.answers.values()), default=run.began_at)
    return RerunWarehouse(
        engine,
        f"{RERUN_OF}{run.run_id}",
        later_runs=_ids(runs[place + 1 :]),
        known_runs=_ids(runs),
        ended_by=last + LOADED_WITHIN,
    )


def _ids(runs: Sequence[KeptRun]) -> tuple[str, ...]:
    return tuple(name for run in runs for name in (run.run_id, f"{RERUN_OF}{run.run_id}"))
