"""What dbt left in a mart: how much of it a call changed, and a look at the rows, for people.

Belongs here: reading relations that dbt owns. Does not belong here: how a mart is made (`azak_dbt`), nor reads of our
own tables (`asof`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd
import sqlalchemy as sa

from azak_assets.warehouse.tables import mart_changes


@dataclass(frozen=True, slots=True)
class MartReport:
    """What a dbt call did to a mart, and the first rows of its window.

    `rows`, `earliest` and `latest` are of the window's days (of the whole mart where it has none), `sample` shows
    some of them.
    """

    rows: int
    inserted: int
    changed: int
    unchanged: int
    retired: int
    earliest: date | None
    latest: date | None
    sample: pd.DataFrame


def report(
    engine: sa.Engine, mart: str, invocation_id: str, *, day: str | None, days: tuple[date, date], sample_rows: int
) -> MartReport:
    """Report on `mart` (schema.table) after the dbt call `invocation_id`; `day` is the column that its window bounds.

    A call that made the mart from nothing has written no changes: all its rows are inserted ones.
    """
    schema, _, name = mart.partition(".")
    relation = sa.table(name, schema=schema)
    inside = sa.true() if day is None else sa.column(day).between(*days)
    span = sa.literal_column("null::date") if day is None else sa.column(day, sa.Date())
    measured = sa.select(sa.func.count(), sa.func.min(span), sa.func.max(span)).select_from(relation).where(inside)
    changes = sa.select(
        mart_changes.c.inserted, mart_changes.c.changed, mart_changes.c.unchanged, mart_changes.c.retired
    ).where(mart_changes.c.invocation_id == invocation_id, mart_changes.c.mart == mart)
    with engine.connect() as connection:
        window: Any = connection.execute(measured).one()
        change: Any = connection.execute(changes).one_or_none()
        sample = look(connection, mart, where=inside, rows=sample_rows)
    rows, earliest, latest = window
    inserted, changed, unchanged, retired = change or (rows, 0, 0, 0)
    return MartReport(rows, inserted, changed, unchanged, retired, earliest, latest, sample)


def look(
    connection: sa.Connection, relation: str, *, rows: int, where: sa.ColumnElement[bool] | None = None
) -> pd.DataFrame:
    """Some rows of any relation (schema.name), whichever the database finds first, as PostgreSQL writes them: a time of
    infinity has no other form."""
    schema, _, name = relation.partition(".")
    table = sa.table(name, schema=schema)
    columns = list(connection.execute(sa.select(sa.text("*")).select_from(table).limit(0)).keys())
    texts = [sa.cast(sa.column(column), sa.Text()).label(column) for column in columns]
    query = sa.select(*texts).select_from(table).limit(rows)
    found = connection.execute(query if where is None else query.where(where)).all()
    return pd.DataFrame([tuple(row) for row in found], columns=columns, dtype=object)
