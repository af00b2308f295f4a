"""The migrations make what `tables` declares, can be undone and done again, and explain every table and column."""

import pytest
import sqlalchemy as sa
from alembic import command

from azak_assets.warehouse import migrations
from azak_assets.warehouse.tables import SPECS, metadata

OURS = ["raw", "text", "ml", "ops"]


def relations(engine: sa.Engine) -> set[str]:
    with engine.connect() as connection:
        found = connection.execute(
            sa.text("select schemaname || '.' || tablename from pg_tables where schemaname = any(:ours)"),
            {"ours": OURS},
        )
        return set(found.scalars())


def test_up_down_and_up_again_leave_what_the_tables_declare(empty_database: str) -> None:
    config = migrations.config(empty_database)
    engine = sa.create_engine(empty_database, poolclass=sa.NullPool)
    command.upgrade(config, "head")
    first = relations(engine)
    assert first == {table.fullname for table in metadata.tables.values()} | {"ops.alembic_version"}
    command.check(config)
    command.downgrade(config, "base")
    assert relations(engine) == {"ops.alembic_version"}
    command.upgrade(config, "head")
    command.check(config)
    assert relations(engine) == first


def test_every_table_column_and_schema_is_explained(engine: sa.Engine) -> None:
    silent = """
        select n.nspname || '.' || c.relname || coalesce('.' || a.attname, '')
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where n.nspname = any(:ours) and c.relkind in ('r', 'p') and c.relname <> 'alembic_version'
          and (obj_description(c.oid) is null or col_description(c.oid, a.attnum) is null)
        union all
        select nspname from pg_namespace
        where nspname = any(:ours || array['staging', 'marts']) and obj_description(oid) is null
    """
    with engine.connect() as connection:
        assert connection.execute(sa.text(silent), {"ours": OURS}).scalars().all() == []


def test_staging_and_marts_are_there_for_dbt_and_empty(engine: sa.Engine) -> None:
    inspector = sa.inspect(engine)
    assert {"staging", "marts"} <= set(inspector.get_schema_names())
    assert inspector.get_table_names("staging") + inspector.get_table_names("marts") == []


@pytest.mark.parametrize("name", [name for name, one in SPECS.items() if one.history is not None])
def test_a_history_has_the_columns_of_its_table_and_when_a_version_ended(engine: sa.Engine, name: str) -> None:
    schema, table = name.split(".")
    inspector = sa.inspect(engine)
    current = [(c["name"], str(c["type"]), c["comment"]) for c in inspector.get_columns(table, schema)]
    past = [(c["name"], str(c["type"]), c["comment"]) for c in inspector.get_columns(f"{table}_history", schema)]
    assert past[:-1] == current
    assert past[-1][0] == "superseded_at"


def test_there_is_no_timestamp_without_a_time_zone(engine: sa.Engine) -> None:
    naive = "select column_name from information_schema.columns where data_type = 'timestamp without time zone'"
    with engine.connect() as connection:
        assert connection.execute(sa.text(f"{naive} and table_schema = any(:ours)"), {"ours": OURS}).all() == []
