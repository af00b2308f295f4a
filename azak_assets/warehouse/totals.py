"""How much a database holds: the rows of every table, the headline numbers of a run, the newest day with bars.

Belongs here: the counts that commands print. Does not belong here: the rows themselves (`asof`, `readers`), and what
stands in a mart (`marts`).
"""

from collections.abc import Iterator
from datetime import date
from typing import Any

import sqlalchemy as sa

from azak_assets.warehouse.catalogue import HISTORY

COUNTED_SCHEMAS = ("raw", "text", "ml", "marts")
HEADLINES = {
    "articles": ("raw.news_articles", "count(*)"),
    "articles matched": ("marts.matches", "count(distinct article_id)"),
    "forecasts": ("ml.predictions", "count(*)"),
    "scores matured": ("ml.model_evaluations", "count(*) filter (where status = 'matured')"),
    "scores pending": ("ml.model_evaluations", "count(*) filter (where status = 'pending')"),
    "scores censored": ("ml.model_evaluations", "count(*) filter (where status = 'censored')"),
}


def rows_by_table(connection: sa.Connection) -> Iterator[tuple[str, int]]:
    """The number of rows of every table and view, by schema and name, without the tables of old versions."""
    inspector = sa.inspect(connection)
    for schema in COUNTED_SCHEMAS:
        names = set(inspector.get_table_names(schema) + inspector.get_view_names(schema))
        for name in sorted(name for name in names if name.removesuffix(HISTORY) not in names - {name}):
            query = sa.select(sa.func.count()).select_from(sa.table(name, schema=schema))
            yield f"{schema}.{name}", connection.execute(query).scalar_one()


def headlines(connection: sa.Connection) -> Iterator[tuple[str, int | None]]:
    """The headline numbers by their label; None where the table is not made yet."""
    for label, (relation, counted) in HEADLINES.items():
        # A run that failed before dbt leaves no marts yet.
        known = connection.scalar(sa.text("select to_regclass(:relation) is not null"), {"relation": relation})
        schema, _, name = relation.partition(".")
        query: sa.Select[Any] = sa.select(sa.literal_column(counted)).select_from(sa.table(name, schema=schema))
        yield label, connection.scalar(query) if known else None


def newest_day_with_bars(connection: sa.Connection) -> date | None:
    """The newest session of which any daily bar is there."""
    day: date | None = connection.scalar(sa.text("select max(trade_date) from raw.daily_bars"))
    return day
