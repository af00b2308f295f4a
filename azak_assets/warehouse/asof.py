"""Reading tables: as they stand, and the one way to read the past.

Belongs here: `read` and `as_of`. Does not belong here: joins and features (dbt, `forecast`), the definition of the
as-of functions (`migrations.ddl`). Both readers return the same types: text as `str` (NULL is NaN), dates as
`datetime.date` objects, instants as `datetime64[us, UTC]`, whole numbers as int64 and booleans as bool (Int64 and
boolean in columns that allow NULL), doubles as float64, arrays as lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, Literal, get_args

import pandas as pd
import sqlalchemy as sa

from azak_assets import krx
from azak_assets.warehouse.tables import TableSpec, spec

AsOfClock = Literal["observed", "known"]
Days = tuple[date, date]
"""First and last day of the table's day column, both included."""


def read(
    bind: sa.Engine | sa.Connection,
    table: str,
    *,
    columns: Sequence[str] | None = None,
    days: Days | None = None,
    where: Mapping[str, Any] | None = None,
    order_by: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return current rows of `schema.table`.

    `where` holds values by column: a list or tuple means any of them, None means IS NULL. Rows come by `order_by`, by
    default in the order of the key, so that the same rows always come in the same order.
    """
    table_spec = spec(table)
    return _select(bind, table_spec, table_spec.table, columns=columns, days=days, where=where, order_by=order_by)


def as_of(
    bind: sa.Engine | sa.Connection,
    table: str,
    at: datetime,
    clock: AsOfClock,
    *,
    columns: Sequence[str] | None = None,
    days: Days | None = None,
    where: Mapping[str, Any] | None = None,
    order_by: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return the rows of `schema.table` as they stood at `at` (aware), corrected and retired ones as they were.

    `clock`: `observed` is what this database held (for live work; take `at` from `Warehouse.cutoff`), `known` what
    could be known (for replays, where everything was observed today). The other arguments are those of `read`.
    """
    table_spec = spec(table)
    if table_spec.known_at is None:
        raise ValueError(f"{table} has no known_at and so no as-of function; read() gives its current rows")
    if clock not in get_args(AsOfClock):
        raise ValueError(f"clock {clock!r}: there are observed and known")
    if at.utcoffset() is None:
        raise ValueError(f"{at!r} has no time zone: an as-of read needs an instant, e.g. .replace(tzinfo=krx.KST)")
    function = getattr(getattr(sa.func, str(table_spec.table.schema)), f"{table_spec.table.name}_as_of")
    # The clock is written into the statement, not bound: the planner then drops the other clock's half.
    rows = function(sa.bindparam("at", at, sa.DateTime(timezone=True)), sa.literal_column(f"'{clock}'"))
    typed = [sa.column(column.name, column.type) for column in table_spec.table.columns]
    past = rows.table_valued(*typed).alias("past")
    return _select(bind, table_spec, past, columns=columns, days=days, where=where, order_by=order_by)


def count_by_day(bind: sa.Engine | sa.Connection, table: str) -> pd.DataFrame:
    """Return (day, rows) of a table's current rows by its day column, oldest first; counted in the database.

    Raises:
        ValueError: the table is not partitioned by day.
    """
    table_spec = spec(table)
    if table_spec.day is None:
        raise ValueError(f"{table} is not partitioned by day")
    day = table_spec.table.c[table_spec.day]
    query = sa.select(day.label("day"), sa.func.count().label("rows")).group_by(day).order_by(day)
    if isinstance(bind, sa.Engine):
        with bind.connect() as connection:
            found = connection.execute(query).all()
    else:
        found = bind.execute(query).all()
    return pd.DataFrame([tuple(row) for row in found], columns=["day", "rows"])


def _select(
    bind: sa.Engine | sa.Connection,
    table_spec: TableSpec,
    rows: sa.FromClause,
    *,
    columns: Sequence[str] | None,
    days: Days | None,
    where: Mapping[str, Any] | None,
    order_by: Sequence[str] | None,
) -> pd.DataFrame:
    names = list(columns) if columns is not None else table_spec.table.columns.keys()
    asked = [*names, *(where or {}), *(order_by or [])]
    if unknown := sorted(set(asked) - set(table_spec.table.columns.keys())):
        raise ValueError(
            f"{table_spec.name} has no column {', '.join(unknown)}; it has {', '.join(table_spec.table.columns.keys())}"
        )
    query = sa.select(*(rows.c[name] for name in names)).order_by(
        *(rows.c[name] for name in order_by or table_spec.key)
    )
    if days is not None:
        if table_spec.day is None:
            raise ValueError(f"{table_spec.name} is not partitioned by day: leave days out")
        query = query.where(rows.c[table_spec.day].between(*days))
        if table_spec.day_instant is not None:
            # Its index begins with the instant: by the day alone the whole table would be read.
            first, end = (datetime.combine(day, time.min, krx.KST) for day in (days[0], days[1] + timedelta(days=1)))
            query = query.where(rows.c[table_spec.day_instant] >= first, rows.c[table_spec.day_instant] < end)
    for name, value in (where or {}).items():
        query = query.where(_test(rows.c[name], value))
    if isinstance(bind, sa.Engine):
        with bind.connect() as connection:
            found = connection.execute(query).all()
    else:
        found = bind.execute(query).all()
    values = list(zip(*found, strict=True)) if found else [()] * len(names)
    return pd.DataFrame(
        {name: _series(table_spec.table.columns[name], content) for name, content in zip(names, values, strict=True)},
        columns=names,
    )


def _test(column: sa.ColumnElement[Any], value: Any) -> sa.ColumnElement[bool]:
    if isinstance(value, (list, tuple, set, frozenset)):
        # One array instead of a parameter a value: a list of every stock costs no more to plan than a list of two.
        array = sa.ARRAY(column.type)
        return column == sa.any_(sa.cast(sa.literal(list(value), array), array))
    return column.is_(None) if value is None else column == value


def _series(column: sa.Column[Any], values: Sequence[Any]) -> pd.Series[Any]:
    match column.type:
        case sa.Integer():
            return pd.Series(values, dtype="Int64" if column.nullable else "int64")
        case sa.Double():
            return pd.Series(values, dtype="float64")
        case sa.Boolean():
            return pd.Series(values, dtype="boolean" if column.nullable else "bool")
        case sa.DateTime():
            return pd.Series(pd.to_datetime(pd.Series(values, dtype=object), utc=True)).astype("datetime64[us, UTC]")
        case sa.Text():
            return pd.Series(values, dtype="str")
        case _:
            return pd.Series(values, dtype=object)
