"""The statements of one load: direct copy, stage, differences, history, insertion.

Belongs here: SQL that moves a checked frame into a table. Does not belong here: checks (`frames`), locks and clock
(`transactions`).

Into an empty partition rows are copied directly. Otherwise they go to a temporary stage, one join writes the addresses
of differing rows to a difference table, and two statements act on those alone: old versions move to the history, new
and changed rows come in. Unchanged rows are not touched. Names in the SQL come from `tables`, never from a frame.
"""

# ruff: noqa: S608
# Every statement here is put together from table and column names of `tables`; values are always parameters.

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime, time, timedelta
from typing import Any

import numpy as np

from azak_assets import krx
from azak_assets.warehouse import copy_format, encode
from azak_assets.warehouse.copy_format import Encoded
from azak_assets.warehouse.frames import DIALECT, definition
from azak_assets.warehouse.scope import LoadResult, Scope
from azak_assets.warehouse.tables import PROVENANCE, TableSpec
from azak_assets.warehouse.transactions import Writer


class Change:
    """One load under way: a checked frame, its scope, and the statements that bring it in."""

    def __init__(
        self,
        spec: TableSpec,
        columns: dict[str, Encoded],
        order: copy_format.Ints | None,
        scope: Scope,
        *,
        complete: bool,
        writer: Writer,
        source: str,
        run_id: str,
    ) -> None:
        self._spec = spec
        self._history = "" if spec.history is None else spec.history.fullname
        self._names = list(spec.table.columns.keys())
        self._columns = columns
        self._rows = len(next(iter(columns.values())))
        self._order = order
        self._scope = scope
        self._complete = complete
        self._writer = writer
        # Named by the definition too: a pooled connection may outlive a migration, and its old stage with it.
        suffix = hashlib.sha256(definition(spec).encode()).hexdigest()[:8]
        base = spec.name.replace(".", "_")
        self._stage, self._difference = f"pg_temp.stage_{base}_{suffix}", f"pg_temp.difference_{base}_{suffix}"
        self._values: dict[str, Any] = {
            "source": source,
            "run_id": run_id,
            "observed_at": writer.observed_at,
            "days": None if scope.days is None else list(scope.days),
            "keys": None if scope.keys is None else list(scope.keys),
        }
        if scope.days and spec.day_instant is not None:
            self._values["start"] = datetime.combine(min(scope.days), time.min, krx.KST)
            self._values["end"] = datetime.combine(max(scope.days) + timedelta(days=1), time.min, krx.KST)

    def load(self) -> LoadResult:
        """Make the table agree with the frame inside the scope."""
        has_rows, has_past = self._probe()
        if self._rows and not has_rows and not has_past:
            self._copy_directly()
            return LoadResult(self._rows, 0, 0, 0, self._writer.observed_at)
        self._fill_stage()
        inserted, changed, retired = self._find_differences(has_past=has_past)
        if changed or retired:
            self._move_to_history()
        if inserted or changed:
            self._bring_in()
        return LoadResult(inserted, changed, self._rows - inserted - changed, retired, self._writer.observed_at)

    def append(self) -> LoadResult:
        """Add what is new to an append-only table."""
        self._fill_stage()
        names = ", ".join([*self._columns, *PROVENANCE])
        chosen = ", ".join([*self._columns, *(f"%({name})s" for name in PROVENANCE)])
        inserted = self._writer.execute(
            f"insert into {self._spec.name} ({names}) select {chosen} from {self._stage}"
            f" order by ctid on conflict do nothing",
            **self._values,
        ).rowcount
        return LoadResult(inserted, 0, self._rows - inserted, 0, self._writer.observed_at)

    def _inside(self, alias: str, *, keys: bool) -> str:
        """Return the condition that a stored row lies inside the scope."""
        tests = []
        if self._scope.days is not None:
            if self._spec.day_instant is not None and self._scope.days:
                at = f"{alias}.{self._spec.day_instant}"
                tests.append(f"{at} >= %(start)s and {at} < %(end)s")
            if self._spec.day_instant is None or len(set(self._scope.days)) != 1:
                tests.append(f"{alias}.{self._spec.day} = any(cast(%(days)s as date[]))")
        if keys and self._scope.keys is not None:
            tests.append(f"{alias}.{self._spec.entity} = any(cast(%(keys)s as text[]))")
        return " and ".join(tests) or "true"

    def _probe(self) -> tuple[bool, bool]:
        """Tell whether the table and its history may hold rows of the scope's days, by one index probe a day each."""
        spec = self._spec
        if not spec.is_day_in_key or self._scope.days is None:
            return True, True
        # A range in the order of the index instead of an equality: for the latter the planner expects a row soon and
        # scans the whole table, which holds none.
        if spec.day_instant is not None:
            column = spec.day_instant
            first, end = (f"({day})::timestamp at time zone 'Asia/Seoul'" for day in ("d.day", "d.day + 1"))
        else:
            column, first, end = str(spec.day), "d.day", "d.day + 1"
        probes = [
            "exists (select from unnest(cast(%(days)s as date[])) d(day), lateral (select from"
            f" {table} t where t.{column} >= {first} and t.{column} < {end} order by t.{column} limit 1) found)"
            for table in (spec.name, self._history)
        ]
        has_rows, has_past = self._writer.one_row(f"select {', '.join(probes)}", **self._values)
        return has_rows, has_past

    def _copy_directly(self) -> None:
        """Copy into the table itself: no row of these days was ever there, so every row is a first version."""
        at = round(self._writer.observed_at.timestamp() * 1_000_000)
        columns = {
            **self._columns,
            "source": encode.constant(self._values["source"], self._rows),
            "observed_at": encode.instants(np.broadcast_to(np.int64(at), self._rows)),
            "run_id": encode.constant(self._values["run_id"], self._rows),
        }
        self._writer.copy(self._spec.name, list(columns), list(columns.values()), self._order)

    def _fill_stage(self) -> None:
        """Copy the frame into this connection's stage, made once and emptied by every commit."""
        spec = self._spec
        stage, difference = self._stage, self._difference
        if self._writer.one_row("select to_regclass(%(stage)s::text) is null", stage=stage)[0]:

            def declared(names: Iterable[str]) -> list[str]:
                return [f"{name} {spec.table.columns[name].type.compile(DIALECT)}" for name in names]

            differing = ["old_row tid", "new_row tid", "is_later boolean", *declared(spec.set_once)]
            self._writer.execute(
                f"create temp table {stage} ({', '.join(declared(self._stage_columns))}) on commit delete rows"
            )
            self._writer.execute(f"create temp table {difference} ({', '.join(differing)}) on commit delete rows")
        else:
            # Only a caller who loads the same table twice in one transaction finds rows here.
            for name in (stage, difference):
                if self._writer.one_row(f"select exists (select from {name})")[0]:
                    self._writer.execute(f"truncate {name}")
        self._writer.copy(stage, list(self._columns), list(self._columns.values()), self._order)

    @property
    def _stage_columns(self) -> list[str]:
        """Every column a load of this table may stage; those a frame lacks stay NULL there."""
        skipped = self._spec.set_by_writer - {"known_at", "trading_day", "tradable_session"}
        return [name for name in self._names if name not in skipped]

    def _find_differences(self, *, has_past: bool) -> tuple[int, int, int]:
        """Fill the difference table; return how many rows are new, changed and vanished."""
        spec, stage, execute = self._spec, self._stage, self._writer.execute
        same_key = " and ".join(f"o.{name} = s.{name}" for name in spec.key)
        past_key = " and ".join(f"h.{name} = s.{name}" for name in spec.key)
        past = f"from {self._history} h where {past_key}"
        later = "o.ctid is not null" + (f" or exists (select {past})" if has_past else "")
        fixed = [
            f"coalesce(o.{name}, (select h.{name} {past} order by h.observed_at limit 1))" if has_past else f"o.{name}"
            for name in spec.set_once
        ]
        read = ", ".join(["ctid", *spec.key, *spec.compared, *spec.set_once])
        ours, theirs = (", ".join(f"{alias}.{name}" for name in spec.compared) for alias in "os")
        differs = f"({ours}) is distinct from ({theirs})"
        chosen = ", ".join(["o.ctid", "s.ctid", later, *fixed])
        target = ", ".join(["old_row", "new_row", "is_later", *spec.set_once])
        insert = f"insert into {self._difference} ({target})"
        if self._complete and (spec.is_day_in_key or spec.day is None):
            # No row outside the scope can share a key with the frame, so one join sees new, changed and vanished rows.
            # Frame and table are both in the order of the key: merging them in memory takes 0.65 of the processor time
            # that the planner's hash join takes (which spills to disk with the default work_mem).
            before = self._writer.one_row(
                "select current_setting('work_mem'), current_setting('enable_hashjoin'),"
                " set_config('work_mem', '256MB', true), set_config('enable_hashjoin', 'off', true)"
            )
            inside = self._inside("t", keys=True)
            execute(
                f"{insert} select {chosen} from (select {read} from {spec.name} t where {inside}) o"
                f" full join {stage} s on {same_key} where o.ctid is null or s.ctid is null or {differs}",
                **self._values,
            )
            execute(
                "select set_config('work_mem', %(memory)s, true), set_config('enable_hashjoin', %(hash)s, true)",
                memory=before[0],
                hash=before[1],
            )
        else:
            near = self._inside("o", keys=False) if spec.is_day_in_key else "true"
            execute(
                f"{insert} select {chosen} from {stage} s left join {spec.name} o on {same_key} and {near}"
                f" where o.ctid is null or {differs}",
                **self._values,
            )
            if self._complete:
                execute(
                    f"insert into {self._difference} (old_row) select o.ctid from {spec.name} o"
                    f" where {self._inside('o', keys=True)} and not exists (select from {stage} s where {same_key})",
                    **self._values,
                )
        inserted, changed, retired = self._writer.one_row(
            "select count(*) filter (where old_row is null), count(*) filter (where old_row is not null"
            f" and new_row is not null), count(*) filter (where new_row is null) from {self._difference}"
        )
        return inserted, changed, retired

    def _move_to_history(self) -> None:
        names = ", ".join(self._names)
        self._writer.execute(
            f"with gone as (delete from {self._spec.name} where ctid = any(array("
            f"select old_row from {self._difference} where old_row is not null)) returning {names})"
            f" insert into {self._history} ({names}, superseded_at) select {names}, %(observed_at)s from gone",
            **self._values,
        )

    def _bring_in(self) -> None:
        """Insert new and changed rows; one with an earlier version is known from now and keeps what is set once."""
        spec = self._spec
        later = {"known_at": "%(observed_at)s"}
        if spec.known_at == "seen" and "tradable_session" in self._columns:
            later["tradable_session"] = "%(session)s"
            self._values["session"] = krx.tradable_session(self._writer.observed_at).day

        def value(name: str) -> str:
            if name in PROVENANCE:
                return f"%({name})s"
            first = f"s.{name}" if name in self._columns else "%(observed_at)s"
            if name in spec.set_once:
                return f"coalesce(d.{name}, {first})"
            return f"case when d.is_later then {later[name]} else {first} end" if name in later else first

        self._writer.execute(
            f"insert into {spec.name} ({', '.join(self._names)}) select {', '.join(map(value, self._names))}"
            f" from {self._difference} d join {self._stage} s on s.ctid = d.new_row order by d.new_row",
            **self._values,
        )
