"""Databases: their URLs, whether they answer, whether they exist, and which migration they stand at.

Belongs here: everything between a server and a schema, for the embedded server and for one of the user's own alike.
Does not belong here: starting a server (`server`), what a migration does (`migrations/`), reading and writing tables.

Two databases stand side by side on one server: Azak's own and Dagster's storage, so that a dump of the marts carries no
event log and Dagster's migrations and ours never meet.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from azak_assets.warehouse import migrations
from azak_assets.warehouse.postgres import server
from azak_assets.warehouse.postgres.address import DatabaseError, parse_url
from azak_assets.warehouse.postgres.address_file import ANALYST
from azak_assets.warehouse.postgres.dagster_clock import write_in_utc
from azak_assets.warehouse.postgres.messages import Trouble, says

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy import Engine as Engine  # noqa: PLC0414 - exported to rooms that import no SQLAlchemy

MINIMUM_VERSION = 15
DAGSTER_DRIVER = "psycopg2"
"""dagster-postgres speaks psycopg2 and nothing else."""
READY_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Databases:
    """SQLAlchemy URLs of the two databases, passwords included: do not log them."""

    azak: str
    """`postgresql+psycopg://…`"""
    dagster: str
    """`postgresql+psycopg2://…`"""


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """Where a database stands: its revision (None: never migrated), the newest one, and what lies between."""

    current: str | None
    head: str
    pending: tuple[str, ...]
    """`revision: title` of each migration that `upgrade` would run, in that order."""


def create_engine(url: str) -> "sa.Engine":
    """An engine for Azak's own database: it notices a restarted server before it uses a dead connection, and keeps the
    parameters of a failed statement, which may hold a token, out of error messages.
    """
    import sqlalchemy as sa  # noqa: PLC0415 - 0.4 s, and no command needs an engine to look at the state of a database

    return sa.create_engine(
        parse_url(url).render_as_string(hide_password=False),
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={"connect_timeout": 10, "application_name": "azak"},
    )


def lost_errors() -> tuple[type[Exception], ...]:
    """What SQLAlchemy raises where a database no longer answers: a read through Dagster's storage passes it on."""
    import sqlalchemy as sa  # noqa: PLC0415 - as above

    return (sa.exc.SQLAlchemyError,)


def ensure_databases(home: Path, database_url: str | None) -> Databases:
    """Make sure that both databases exist and answer; the embedded server is started where none is given.

    Azak's database on a server of the user's own must exist; Dagster's, `<database>_dagster`, is created beside it.

    Raises:
        server.ServerError: the embedded server cannot run.
        DatabaseError: the server does not answer, is too old, or does not let us create a database.
    """
    if database_url is None:
        info = server.ensure_running(home)
        for name in ("azak", "dagster"):
            _create_if_missing(info.url("postgres"), name)
        with connect(info.url("dagster")) as connection:
            write_in_utc(connection)
        return Databases(info.url("azak"), info.url("dagster", DAGSTER_DRIVER))
    address = parse_url(database_url)
    wait_until_ready(database_url)
    dagster = address.set(drivername=f"postgresql+{DAGSTER_DRIVER}", database=f"{address.database}_dagster")
    _create_if_missing(database_url, dagster.database)
    with connect(address.set(database=dagster.database).render_as_string(hide_password=False)) as connection:
        write_in_utc(connection)
    return Databases(address.render_as_string(hide_password=False), dagster.render_as_string(hide_password=False))


def wait_until_ready(url: str, timeout_s: float = READY_TIMEOUT_S) -> None:
    """Return when the database answers and is new enough; give up after `timeout_s` seconds.

    Raises:
        DatabaseError: with host, port, database and the server's own words.
    """
    parsed = parse_url(url)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with connect(url, connect_timeout=max(2, int(timeout_s))) as connection:
                version = connection.info.server_version
            break
        except psycopg.OperationalError as error:
            reason = " ".join(str(error).split())
            if time.monotonic() >= deadline or says(Trouble.REFUSED, reason):
                msg = (
                    f"PostgreSQL does not let us into {parsed} ({reason}): start it, or correct "
                    "AZAK_DATABASE_URL (without it Azak runs its own server)."
                )
                raise DatabaseError(msg) from error
            time.sleep(0.25)
    if version < MINIMUM_VERSION * 10000:
        msg = (
            f"PostgreSQL at {parsed} is version {version // 10000}.{version % 10000} and Azak needs "
            f"{MINIMUM_VERSION} or newer: upgrade it, or unset AZAK_DATABASE_URL to use the embedded server."
        )
        raise DatabaseError(msg)


def server_version(url: str) -> str:
    """The version of a server that answers, as the server writes it."""
    with connect(url) as connection:
        row = connection.execute("show server_version").fetchone()
    return str(row[0]) if row else ""


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to a revision (the newest by default) and let the analyst role, if there is one, read marts.

    Two upgrades at once run one after the other; the second finds nothing to do.
    """
    # `status` refuses a database of a newer Azak with a sentence instead of Alembic's "can't locate revision".
    if status(url).pending:
        from alembic import command  # noqa: PLC0415 - 0.9 s with SQLAlchemy, and most starts find nothing to migrate

        command.upgrade(migrations.config(url), revision)
    _let_analyst_read(url)


def downgrade(url: str, revision: str = "-1") -> None:
    """Take migrations back: one by default, all with `base`. Tables and their rows go with them."""
    from alembic import command  # noqa: PLC0415

    status(url)
    command.downgrade(migrations.config(url), revision)


def current(url: str) -> str | None:
    """The revision the database stands at; None when it was never migrated."""
    return status(url).current


def status(url: str) -> MigrationStatus:
    """Compare the database with the migrations of this version of Azak.

    Raises:
        DatabaseError: the database stands at a revision this version does not know (a newer Azak wrote it).
    """
    revisions = migrations.revisions()
    names = [revision.name for revision in revisions]
    found = _revision_of(url)
    if found is not None and found not in names:
        msg = (
            f"{parse_url(url)} stands at revision {found}, which this version of Azak does not know: use the "
            "newer version that migrated it, or another database."
        )
        raise DatabaseError(msg)
    newer = revisions[names.index(found) + 1 :] if found else revisions
    return MigrationStatus(found, names[-1], tuple(f"{name}: {title}" for name, title in newer))


def _revision_of(url: str) -> str | None:
    """The content of Alembic's own table."""
    with connect(url) as connection:
        exists = connection.execute("select to_regclass('ops.alembic_version') is not null").fetchone()
        if exists != (True,):
            return None
        row = connection.execute("select version_num from ops.alembic_version").fetchone()
        return None if row is None else str(row[0])


def _let_analyst_read(url: str) -> None:
    """Grant schema `marts`, and what dbt will build there, to the analyst role of the embedded server."""
    with connect(url) as connection, connection.transaction():
        # Two first grants at once would collide in the catalogue.
        connection.execute("select pg_advisory_xact_lock(hashtextextended('azak.grants', 0))")
        role = connection.execute("select 1 from pg_roles where rolname = %s", [ANALYST]).fetchone()
        marts = connection.execute("select 1 from pg_namespace where nspname = 'marts'").fetchone()
        if role and marts:
            for grant in (
                "grant usage on schema marts to {}",
                "grant select on all tables in schema marts to {}",
                "alter default privileges in schema marts grant select on tables to {}",
            ):
                connection.execute(sql.SQL(grant).format(sql.Identifier(ANALYST)))


def connect(url: str, connect_timeout: int = 10) -> psycopg.Connection:
    """A plain autocommit connection for a URL as SQLAlchemy writes it, for statements about databases and roles."""
    given: dict[str, Any] = parse_url(url).parameters | {"connect_timeout": connect_timeout, "application_name": "azak"}
    return psycopg.connect(**given, autocommit=True)


def _create_if_missing(url: str, name: str) -> None:
    exists = "select 1 from pg_database where datname = %s"
    with connect(url) as connection:
        if connection.execute(exists, [name]).fetchone():
            return
        try:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            pass  # another azak was faster
        except psycopg.errors.InsufficientPrivilege as error:
            role = connection.info.user
            msg = (
                f"The role {role} may not create the database {name} at {parse_url(url)}, where Dagster keeps "
                f'its runs: let the owner of that server run `create database "{name}" owner "{role}"`.'
            )
            raise DatabaseError(msg) from error
