"""What a user is told when something expected goes wrong: one sentence that says what, where and what to do."""

import os
import shutil
import sys
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import sqlalchemy as sa

from azak_assets.cli.failures import as_typed, sentences
from azak_assets.cli.run import _cause
from azak_assets.warehouse.postgres import database as warehouse_database

NO_SPACE = (
    "do $$ begin raise exception 'could not extend file \"base/5/16385\": No space left on device'"
    " using errcode = '53100', hint = 'Check free disk space.'; end $$"
)
"""What PostgreSQL says when it cannot write, in its own words and with its own code."""


@pytest.fixture
def disk_full(engine: sa.Engine) -> sa.exc.OperationalError:
    """The error as it reaches us in the middle of a run: PostgreSQL's, in psycopg's class, in SQLAlchemy's."""
    with engine.connect() as connection, pytest.raises(sa.exc.OperationalError) as caught:
        connection.execute(sa.text(NO_SPACE))
    assert isinstance(caught.value.orig, psycopg.errors.DiskFull)
    return caught.value


def test_a_full_disk_is_no_lost_database(
    disk_full: sa.exc.OperationalError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZAK_DATABASE_URL", raising=False)
    monkeypatch.setenv("AZAK_HOME", str(tmp_path / "not" / "yet"))
    (said,) = sentences(disk_full)
    assert said.startswith(f"The disk of {tmp_path / 'not' / 'yet'} is full")
    assert "could not extend file" in said
    free = shutil.disk_usage(tmp_path).free / 2**30
    assert any(f"{free + off:.1f}" in said for off in (-0.1, 0, 0.1)), "how much is left"
    assert "free some space" in said
    assert "went away" not in said
    assert "\n" not in said


def test_a_full_disk_of_ones_own_server_names_the_server(
    disk_full: sa.exc.OperationalError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZAK_DATABASE_URL", "postgresql://azak:do-not-show-me@db.example.com/azak")
    (said,) = sentences(disk_full)
    assert said.startswith("The disk of db.example.com is full")
    assert "do-not-show-me" not in said


def test_dagsters_own_storage_on_a_full_disk_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    class DiskFullError(Exception):
        """psycopg2 has the code under another name, and Dagster raises from it."""

        pgcode = "53100"

    lost = type("DagsterPostgresException", (Exception,), {"__module__": "dagster_postgres.utils"})("too many retries")
    lost.__cause__ = DiskFullError("could not write to file: No space left on device")
    (said,) = sentences(lost)
    assert "is full" in said


def test_a_step_that_meets_a_full_disk_says_so_in_the_summary(engine: sa.Engine) -> None:
    @dg.asset
    def bars() -> None:
        with engine.connect() as connection:
            connection.execute(sa.text(NO_SPACE))

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([bars], instance=instance, raise_on_error=False)
    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert "is full, PostgreSQL could not write (could not extend file" in _cause(event)


def test_a_file_that_does_not_fit_says_how_much_is_free(tmp_path: Path) -> None:
    (said,) = sentences(OSError(28, os.strerror(28), str(tmp_path / "index")))
    assert said.startswith(f"{tmp_path / 'index'}: No space left on device (")
    assert "GiB are free" in said


def test_a_database_that_went_away_says_so() -> None:
    engine = warehouse_database.create_engine("postgresql://azak@127.0.0.1:1/azak")
    with pytest.raises(sa.exc.OperationalError) as caught:
        engine.connect()
    (said,) = sentences(caught.value)
    assert said.startswith("PostgreSQL went away")


def test_a_defect_has_no_sentence() -> None:
    assert sentences(KeyError("defect")) == []


def test_a_command_in_a_sentence_can_be_pasted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bin_folder = Path(sys.executable).parent
    said = "Stop it, or try `azak up --port 3001`."
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(bin_folder.parent.parent)
    relative = bin_folder.relative_to(Path.cwd())
    assert as_typed(said) == f"Stop it, or try `{relative}/azak up --port 3001`.", "a fresh clone after `make run`"
    monkeypatch.chdir(tmp_path)
    assert as_typed(said) == f"Stop it, or try `{bin_folder}/azak up --port 3001`."
    monkeypatch.setenv("PATH", str(bin_folder))
    assert as_typed(said) == said
