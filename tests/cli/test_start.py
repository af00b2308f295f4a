"""What a command loads: Dagster only where it runs some of it, SQLAlchemy and Alembic only where they have work.

Each command starts in a process of its own, does what it does, and reports at its end which of these it has loaded.
Commands that the application gains must be sorted in here too. How long a start takes stands in `benchmarks.start`.
"""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer

from azak_assets.cli import app
from azak_assets.loopback import free_port
from azak_assets.warehouse.postgres import server
from tests.cli.test_commands import commands
from tests.homes import Home

RUN_DAGSTER = {("up",), ("ui",), ("run",), ("replay-payloads",)}
WITHOUT = {
    ("env",): [],
    ("doctor",): [],
    ("predict",): ["no code"],
    ("sandbox",): ["--port", "{taken}"],
    ("db", "migrate"): [],
    ("db", "status"): [],
    ("db", "url"): [],
    ("db", "rollback"): ["9999", "--yes"],
    ("db", "stop"): [],
}
"""Commands that run no Dagster, with arguments that end them early where their work takes long."""
TOO_LONG = {("db", "docs"): "azak_assets.cli.documents"}
"""Of these the module alone is loaded: their work is that of other programs, dbt's here."""
WATCHED = ("dagster", "sqlalchemy", "alembic", "pandas", "numpy", "rich", "azak_assets.sandbox", "azak_assets.sources")
QUICK = [("env",), ("db", "status"), ("db", "url"), ("db", "migrate"), ("db", "stop")]
"""Commands on a migrated home, which need no SQLAlchemy then."""

CODE = """
import atexit, json, sys
def report():
    loaded = [name for name in {watched} if name in sys.modules]
    print("LOADED " + json.dumps(loaded), file=sys.stderr)
atexit.register(report)
from azak_assets.cli import main
sys.argv = ["azak", *{arguments}]
main()
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A migrated home whose server runs."""
    path = Path(tempfile.mkdtemp(prefix="azak-home-"))
    try:
        loaded(path, "db", "migrate")
        yield path
    finally:
        server.stop(path)
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def taken_port() -> Iterator[int]:
    """A port that a sandbox cannot have."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", free_port()))
        listening.listen()
        yield listening.getsockname()[1]


def loaded(home: Path, *arguments: str) -> list[str]:
    """Which of the watched modules a command has loaded when it ends, however it ends."""
    return report_of(home, CODE.format(watched=WATCHED, arguments=list(arguments)))


def report_of(home: Path, code: str) -> list[str]:
    environment = {**Home(home, home).environment, "AZAK_MODE": "sandbox"}
    with tempfile.TemporaryDirectory() as elsewhere:  # `azak` is imported from where it is installed
        finished = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            cwd=elsewhere,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert "Traceback" not in finished.stderr, finished.stderr
    (line,) = [line for line in finished.stderr.splitlines() if line.startswith("LOADED ")]
    return list(json.loads(line.removeprefix("LOADED ")))


def test_every_command_is_sorted() -> None:
    sorted_here = [*RUN_DAGSTER, *WITHOUT, *TOO_LONG]
    assert set(commands(typer.main.get_command(app))) == set(sorted_here)
    assert len(sorted_here) == len(set(sorted_here))


@pytest.mark.parametrize(("command", "arguments"), WITHOUT.items(), ids=[" ".join(command) for command in WITHOUT])
def test_a_command_that_runs_no_dagster_loads_none(
    home: Path, command: tuple[str, ...], arguments: Sequence[str]
) -> None:
    with taken_port() as port:
        found = loaded(home, *command, *(argument.format(taken=port) for argument in arguments))
    assert "dagster" not in found
    if command in QUICK:
        assert not set(found) - {"rich"}


@pytest.mark.parametrize(("command", "module"), TOO_LONG.items(), ids=[" ".join(command) for command in TOO_LONG])
def test_the_module_of_a_long_command_loads_no_dagster(tmp_path: Path, command: tuple[str, ...], module: str) -> None:
    code = CODE.format(watched=WATCHED, arguments=[]).replace("main()", f"import {module}")
    assert "dagster" not in report_of(tmp_path, code), command


@pytest.mark.parametrize("arguments", [["--help"], ["db", "--help"], ["run", "--help"]], ids=" ".join)
def test_help_loads_nothing_of_all_that(tmp_path: Path, arguments: list[str]) -> None:
    assert loaded(tmp_path, *arguments) == []


def test_a_command_that_runs_dagster_says_no_before_it_loads_any(home: Path) -> None:
    for arguments in (
        ["run", "--from", "2026-11-01", "--to", "2026-11-01"],
        ["replay-payloads", "--from", "2026-11-02", "--to", "2026-11-01"],
    ):
        assert "dagster" not in loaded(home, *arguments)
