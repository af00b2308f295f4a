"""Databases for tests, made from a migrated template or made as if new.

Belongs here: making, resetting and dropping them. Does not belong here: the server and the fixtures (`conftest`), and
homes with a server of their own (`homes`).
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa
from psycopg import sql

from azak_assets.warehouse.postgres import database as warehouse_database

SHAPE = r"""
select array[
    (select count(*)::text || max(oid)::text from pg_class),
    (select count(*)::text || max(xmin::text::bigint)::text from pg_attribute where attrelid >= 16384),
    (select count(*)::text || max(xmin::text::bigint)::text from pg_proc),
    (select count(*)::text || max(xmin::text::bigint)::text from pg_constraint),
    (select count(*)::text || max(xmin::text::bigint)::text from pg_trigger),
    (select count(*)::text || max(xmin::text::bigint)::text from pg_description),
    (select string_agg(nspname || coalesce(nspacl::text, ''), ',' order by nspname) from pg_namespace
        where nspname !~ '^pg_(toast_)?temp_'),
    (select md5(string_agg(relname || coalesce(relacl::text, '') || relowner, ',' order by oid)) from pg_class),
    (select string_agg(setconfig::text, ',') from pg_db_role_setting),
    (select datacl::text from pg_database where datname = current_database()),
    (select string_agg(version_num, ',') from ops.alembic_version)
]
"""
"""What a test changes that does more than write rows; the first temporary table of a backend leaves its schemas."""
WRITTEN = r"""
select format('%I.%I', nspname, relname) from pg_class join pg_namespace on pg_namespace.oid = relnamespace
where relkind = 'r' and nspname not like 'pg\_%' and nspname <> 'information_schema'
    and relname <> 'alembic_version' and pg_relation_size(pg_class.oid) > 0
"""
ADVANCED = """
select format('%I.%I', schemaname, sequencename) from pg_sequences where last_value is not null
"""


@contextmanager
def fresh_database(server_url: str, template: str = "template1") -> Iterator[str]:
    """Create a database from a template, hand out its URL, drop it whoever is still connected."""
    name = f"azak_test_{uuid.uuid4().hex[:12]}"
    with warehouse_database.connect(server_url) as connection:
        _create(connection, name, template)
        try:
            yield sa.make_url(server_url).set(database=name).render_as_string(hide_password=False)
        finally:
            _drop(connection, name)


class ReusedDatabase:
    """A database that is emptied between two tests: to make and drop one costs the server a quarter of a second.

    Only rows are emptied. Whatever else a test has changed (a table, a right, a comment, a setting) is seen by `SHAPE`,
    and the next test gets a new copy of the template.
    """

    def __init__(self, server_url: str, template: str) -> None:
        self._name = f"azak_test_reused_{os.environ.get('PYTEST_XDIST_WORKER', os.getpid())}"
        self._template = template
        self._server = warehouse_database.connect(server_url)
        self.url = sa.make_url(server_url).set(database=self._name).render_as_string(hide_password=False)
        self._make()

    def reset(self) -> None:
        """As if new, whoever is still connected."""
        self._server.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", [self._name]
        )
        with warehouse_database.connect(self.url) as connection:
            if is_as_made := self._shape_of(connection) == self._shape:
                if written := [table for (table,) in connection.execute(WRITTEN)]:
                    connection.execute("set session_replication_role = replica")  # append-only tables refuse it
                    connection.execute(f"truncate {', '.join(written)} cascade")
                for (sequence,) in connection.execute(ADVANCED).fetchall():
                    connection.execute(f"alter sequence {sequence} restart")
        if not is_as_made:
            self.drop(for_good=False)
            self._make()

    def drop(self, *, for_good: bool = True) -> None:
        """Drop it, and the connection for it unless it comes again."""
        _drop(self._server, self._name)
        if for_good:
            self._server.close()

    def _make(self) -> None:
        _create(self._server, self._name, self._template)
        with warehouse_database.connect(self.url) as connection:
            self._shape = self._shape_of(connection)
            assert not connection.execute(WRITTEN).fetchall(), "a row of the template would be lost at the first reset"

    def _shape_of(self, connection: psycopg.Connection) -> list[str]:
        (shape,) = connection.execute(SHAPE).fetchone() or ([],)
        return list(shape)


def _create(connection: psycopg.Connection, name: str, template: str) -> None:
    # Copied as files: through the log costs half as much again.
    create = sql.SQL("create database {} template {} strategy file_copy")
    connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))


def _drop(connection: psycopg.Connection, name: str) -> None:
    connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
