"""Databases: URLs as users write them, two databases a server, migrations there and back, and clear refusals."""

import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from psycopg import sql

from azak_assets.warehouse import migrations
from azak_assets.warehouse.postgres import database as databases
from azak_assets.warehouse.postgres import server
from azak_assets.warehouse.postgres.address import parse_url


@pytest.fixture
def own_server(server_url: str) -> Iterator[str]:
    """A database of the user's own, of a role that may not create databases; both are dropped afterwards."""
    name = f"azak_own_{uuid.uuid4().hex[:8]}"
    word = sql.Identifier(name)
    with databases.connect(server_url) as owner:
        owner.execute(sql.SQL("create role {} login password 'p@ss/word%'").format(word))
        owner.execute(sql.SQL("create database {} owner {}").format(word, word))
        try:
            yield (
                sa.make_url(server_url)
                .set(username=name, password="p@ss/word%", database=name)
                .render_as_string(hide_password=False)
            )
        finally:
            for made in (name, f"{name}_dagster"):
                owner.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(made)))
            owner.execute(sql.SQL("drop role {}").format(word))


@pytest.mark.parametrize(
    "text", ["postgresql://u:p%40s@h:5433/d", "postgres://u:p%40s@h:5433/d", "postgresql+psycopg://u:p%40s@h:5433/d"]
)
def test_a_url_gets_our_driver(text: str) -> None:
    url = databases.parse_url(text)
    assert url.render_as_string(hide_password=False) == "postgresql+psycopg://u:p%40s@h:5433/d"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("postgresql+psycopg2://u:secret@h/d", "names `postgresql.psycopg2`"),
        ("mysql://u:secret@h/d", "names `mysql`"),
        ("postgresql://u:secret@h", "names no database"),
        ("u:secret@h/d", "cannot be read as a URL"),
        ("postgresql://u:secret@h:port/d", "cannot be read as a URL"),
    ],
)
def test_a_url_that_cannot_serve_is_refused_without_repeating_it(text: str, problem: str) -> None:
    with pytest.raises(
        databases.DatabaseError, match=rf"AZAK_DATABASE_URL {problem}.* write postgresql\+psycopg://"
    ) as raised:
        databases.parse_url(text)
    assert "secret" not in str(raised.value)


def test_the_embedded_server_gets_both_databases_and_keeps_them() -> None:
    with tempfile.TemporaryDirectory(prefix="azak-test-") as folder:
        try:
            found = databases.ensure_databases(Path(folder), None)
            assert databases.ensure_databases(Path(folder), None) == found
            assert found.azak.startswith("postgresql+psycopg://")
            assert found.dagster.startswith("postgresql+psycopg2://")
            for url, name in ((found.azak, "azak"), (found.dagster, "dagster")):
                engine = sa.create_engine(url)
                with engine.connect() as connection:
                    assert connection.execute(sa.text("select current_database()")).scalar_one() == name
                engine.dispose()
        finally:
            server.stop(Path(folder))


def test_dagster_gets_a_database_beside_the_user_s_own(server_url: str, own_server: str) -> None:
    url = sa.make_url(own_server)
    with databases.connect(server_url) as owner:
        owner.execute(sql.SQL("alter role {} createdb").format(sql.Identifier(str(url.username))))
    found = databases.ensure_databases(Path("/nowhere"), own_server)
    assert databases.ensure_databases(Path("/nowhere"), own_server) == found
    assert sa.make_url(found.azak) == url
    dagster = sa.make_url(found.dagster)
    assert (dagster.drivername, dagster.database) == ("postgresql+psycopg2", f"{url.database}_dagster")
    assert dagster.password == "p@ss/word%"
    engine = sa.create_engine(dagster)
    with engine.connect() as connection:
        connection.execute(sa.text("create table may_write (x int)"))
    engine.dispose()


def test_dagsters_database_writes_utc_and_old_rows_move_once(empty_database: str) -> None:
    """Fault S16: nine hours lay between the clock of the server, in Seoul, and what Dagster read."""
    found = databases.ensure_databases(Path("/nowhere"), empty_database)
    dagster = sa.make_url(found.dagster).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    name = sql.Identifier(str(sa.make_url(dagster).database))
    try:
        with databases.connect(dagster) as connection:
            assert connection.execute("show timezone").fetchone() == ("UTC",)
            # As an older version left it: no zone of its own, on a server in Seoul.
            connection.execute(sql.SQL("alter database {} set timezone to 'Asia/Seoul'").format(name))
        with databases.connect(dagster) as connection:
            connection.execute(
                "create table runs (create_timestamp timestamp default current_timestamp, start_time float);"
                "create table event_logs (timestamp timestamp); insert into runs values (default, 1);"
                "insert into runs values (null, 2); insert into event_logs values (now() at time zone 'UTC')"
            )
            ahead = (
                "select round(extract(epoch from max(create_timestamp) - now() at time zone 'UTC') / 3600) from runs"
            )
            assert connection.execute(ahead).fetchone() == (9,)
        for _ in range(2):
            databases.ensure_databases(Path("/nowhere"), empty_database)
            with databases.connect(dagster) as connection:
                assert connection.execute(ahead).fetchone() == (0,)
                connection.execute("insert into runs values (default, 3)")
                assert connection.execute(ahead).fetchone() == (0,)
                late = "select abs(extract(epoch from timestamp - now() at time zone 'UTC')) < 600 from event_logs"
                assert connection.execute(late).fetchone() == (True,), "Dagster had written that in UTC itself"
    finally:
        with databases.connect(empty_database) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(name))


def test_a_role_that_may_not_create_a_database_learns_the_statement(own_server: str) -> None:
    with pytest.raises(
        databases.DatabaseError, match=r"may not create the database azak_own_\w+_dagster .*create database"
    ):
        databases.ensure_databases(Path("/nowhere"), own_server)


def test_migrations_go_up_down_and_up_again_and_say_where_they_stand(empty_database: str) -> None:
    before = databases.status(empty_database)
    assert before.current is None
    assert before.pending
    assert before.pending[-1].startswith(f"{before.head}: ")
    databases.upgrade(empty_database)
    assert databases.status(empty_database) == databases.MigrationStatus(before.head, before.head, ())
    databases.upgrade(empty_database)
    databases.downgrade(empty_database, "base")
    assert databases.current(empty_database) is None
    databases.upgrade(empty_database)
    assert databases.current(empty_database) == before.head


def test_two_upgrades_at_once_are_one(empty_database: str) -> None:
    url = empty_database
    code = "import sys; from azak_assets.warehouse.postgres import database; database.upgrade(sys.argv[1])"
    running = [subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert not databases.status(url).pending


def test_a_database_of_a_newer_azak_is_not_touched(database: str) -> None:
    with databases.connect(database) as connection:
        connection.execute("update ops.alembic_version set version_num = '9999'")
    for use in (databases.status, databases.upgrade, databases.downgrade):
        with pytest.raises(databases.DatabaseError, match="revision 9999, which this version of Azak does not know"):
            use(database)


def test_an_old_server_is_refused_with_both_versions(server_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    databases.wait_until_ready(server_url)
    monkeypatch.setattr(databases, "MINIMUM_VERSION", 99)
    with pytest.raises(databases.DatabaseError, match=r"is version \d+\.\d+ and Azak needs 99 or newer: upgrade it"):
        databases.wait_until_ready(server_url)


def test_a_server_that_is_down_is_waited_for_and_then_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        started = time.monotonic()
        with pytest.raises(
            databases.DatabaseError, match=rf'host 127.0.0.1, port {port}, database "azak" .* start it'
        ) as raised:
            databases.wait_until_ready(f"postgresql://someone:hidden@127.0.0.1:{port}/azak", timeout_s=1)
    assert 1 <= time.monotonic() - started < 6
    assert "hidden" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_server_that_accepts_and_never_answers_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(databases.DatabaseError, match="does not let us in"):
            databases.wait_until_ready(f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/azak", timeout_s=1)
    assert time.monotonic() - started < 6


def test_what_waiting_does_not_change_is_said_at_once(server_url: str) -> None:
    missing = sa.make_url(server_url).set(database="nowhere_at_all").render_as_string(hide_password=False)
    started = time.monotonic()
    with pytest.raises(databases.DatabaseError, match='"nowhere_at_all" does not exist'):
        databases.wait_until_ready(missing, timeout_s=30)
    assert time.monotonic() - started < 5


def test_parameters_stay_out_of_error_messages(engine: sa.Engine) -> None:
    with pytest.raises(sa.exc.ProgrammingError) as raised, engine.connect() as connection:
        connection.execute(sa.text("select * from nowhere where token = :token"), {"token": "very-secret"})
    assert "very-secret" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:p%40s@h:5433/d",
        "postgresql://u:p/s:s%@h/d?sslmode=require&application_name=a%20b",
        "postgresql://h/d",
        "postgresql://u@[::1]:5433/d",
        "postgresql+psycopg://postgres@/azak?host=%2Fhome%2Fa%20b%2Frun&port=5433",
        "postgresql://u:p+q@h/a%2Fb",
    ],
)
def test_a_url_is_read_as_sqlalchemy_reads_it(text: str) -> None:
    address = parse_url(text)
    theirs = sa.make_url(text).set(drivername="postgresql+psycopg")
    assert sa.make_url(address.render_as_string(hide_password=False)) == theirs
    assert address.parameters == theirs.translate_connect_args(username="user", database="dbname") | dict(theirs.query)
    if theirs.password:
        assert theirs.password not in repr(address) + address.render_as_string() + str(address)


def test_the_migrations_are_those_that_alembic_finds_in_its_order() -> None:
    found = ScriptDirectory.from_config(migrations.config("postgresql+psycopg://u@h/d")).walk_revisions()
    assert [(script.revision, script.doc) for script in reversed(list(found))] == list(migrations.revisions())
