"""Alembic's environment: one connection, one transaction, one migrating process at a time.

Does not belong here: migrations themselves (`versions`), and when they run (`postgres.database`).
"""

from typing import Any

import sqlalchemy as sa
from alembic import context

from azak_assets.warehouse.migrations import OWNED_SCHEMAS
from azak_assets.warehouse.tables import metadata


def _is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    """Compare only what the migrations own, so that dbt's relations are never taken for leftovers."""
    return name in OWNED_SCHEMAS if kind == "schema" else True


def _run() -> None:
    url = context.config.get_main_option("sqlalchemy.url")
    if url is None:
        raise ValueError("no database to migrate: make the configuration with migrations.config(url)")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=metadata,
            include_schemas=True,
            include_name=_is_ours,
            version_table_schema="ops",
        )
        with context.begin_transaction():
            connection.execute(sa.text("select pg_advisory_xact_lock(hashtextextended('azak.migrate', 0))"))
            connection.execute(sa.text("create schema if not exists ops"))
            context.run_migrations()


_run()
