"""Homes of `azak` for tests of the whole platform: made once a test session, copied to whoever needs one, and run in.

What belongs here: AZAK_HOME folders, the `azak` command as a user runs it, and its processes. What does not: fixtures
(`conftest`), and what a single step does in this process (`harness`).

A run over the small recorded folder costs some 30 seconds of CPU, a copy of the home that it left half a second.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import fasteners
import psutil
import pytest
import sqlalchemy as sa

from azak_assets.loopback import free_port
from azak_assets.warehouse.postgres import database, server
from tests.integration import replay_folder

AZAK = str(Path(sys.executable).parent / "azak")
RUN_TIMEOUT_S = 600

_OF_THIS_PROCESS = tempfile.TemporaryDirectory(prefix="azak-parsed-")

RUN_COLUMNS = frozenset({"observed_at", "run_id", "superseded_at"})
OF_THE_RUN = {
    # Reference data is known from when it was observed; a filing keeps the instant it was first seen.
    "raw.stocks": frozenset({"known_at"}),
    "raw.product_info": frozenset({"known_at"}),
    "raw.financial_ratios": frozenset({"known_at"}),
    "raw.broker_calendar": frozenset({"known_at"}),
    "raw.corp_codes": frozenset({"known_at"}),
    "raw.disclosures": frozenset({"first_seen_at"}),
    "raw.article_bodies": frozenset({"known_at"}),
    # A measured duration, and the provider's own id and clock inside the stored answer.
    "ml.llm_calls": frozenset({"latency_ms", "response"}),
}
"""Columns by table that two runs over the same data fill differently, besides `RUN_COLUMNS`."""


class Home:
    """One AZAK_HOME and what a user does with it."""

    def __init__(self, path: Path, replay: Path) -> None:
        self.path = path
        self.replay = replay
        self._began = 0.0

    @property
    def environment(self) -> dict[str, str]:
        """The caller's environment without any Azak variable but the home."""
        foreign = ("AZAK_", "KIS_", "OPENDART_", "NAVER_", "OPENAI_", "OPENROUTER_", "DAGSTER_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return {**kept, "AZAK_HOME": str(self.path)}

    def command(self, *arguments: str) -> list[str]:
        """The command line of `azak run` over the whole folder, or of the given arguments."""
        first, last = replay_folder.FIRST.isoformat(), replay_folder.LAST.isoformat()
        return [AZAK, *(arguments or ("run", "--from", first, "--to", last, "--replay", str(self.replay)))]

    def azak(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=False,
        )

    def started(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command in a session of its own, its output in pipes."""
        self._began = time.time()
        return subprocess.Popen(
            self.command(*arguments),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @contextmanager
    def connection(self, name: str = "azak") -> Iterator[sa.Connection]:
        """A connection to one of the home's databases; its server starts if it does not run."""
        engine = database.create_engine(server.ensure_running(self.path).url(name))
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()

    def query(self, statement: str, name: str = "azak") -> list[tuple[Any, ...]]:
        """Rows of a statement on one of the home's databases."""
        with self.connection(name) as connection:
            return [tuple(row) for row in connection.execute(sa.text(statement))]

    def state(self) -> dict[str, str]:
        """A digest of every table's rows, without what belongs to the run: observed_at, run_id, what follows them."""
        columns = (
            "select c.table_schema, c.table_name, array_agg(c.column_name::text order by c.column_name::text)"
            " from information_schema.columns c join information_schema.tables using (table_schema, table_name)"
            " where c.table_schema in ('raw', 'text', 'ml', 'marts') and table_type = 'BASE TABLE' group by 1, 2"
        )
        digests = {}
        with self.connection() as connection:
            for schema, table, names in connection.execute(sa.text(columns)).all():
                of_the_run = OF_THE_RUN.get(f"{schema}.{table.removesuffix('_history')}", frozenset()) | RUN_COLUMNS
                row = " || '|' || ".join(f"coalesce(t.{name}::text, '')" for name in names if name not in of_the_run)
                digest = (
                    f"select count(*) || ' ' || coalesce(md5(string_agg(md5({row}), '' order by md5({row}))), '')"
                    f' from {schema}."{table}" as t'
                )
                digests[f"{schema}.{table}"] = str(connection.scalar(sa.text(digest)))
        return digests

    def wait_for_step(self, process: subprocess.Popen[str], step: str) -> None:
        """Return when the event log says that the command started last has begun the step, and a moment more."""
        deadline = time.monotonic() + RUN_TIMEOUT_S
        while time.monotonic() < deadline:
            assert process.poll() is None, f"the run ended before {step} started"
            if self._has_begun(step):
                time.sleep(0.4)
                return
            time.sleep(0.2)
        pytest.fail(f"{step} did not start within {RUN_TIMEOUT_S} s")

    def _has_begun(self, step: str) -> bool:
        info = server.status(self.path)
        if info is None:
            return False
        engine = database.create_engine(info.url("dagster"))
        try:
            with engine.connect() as connection:
                # Dagster writes UTC without its zone.
                begun = (
                    "select count(*) > 0 from event_logs where step_key = :step and dagster_event_type = 'STEP_START'"
                    " and timestamp > to_timestamp(:began) at time zone 'UTC'"
                )
                return bool(connection.scalar(sa.text(begun), {"step": step, "began": self._began}))
        except sa.exc.SQLAlchemyError:  # the database or its tables are not there yet
            return False
        finally:
            engine.dispose()


@dataclass(frozen=True)
class FinishedRun:
    """A home to copy, its server stopped, and the digests of its tables (`Home.state`)."""

    home: Path
    state: dict[str, str]


@contextmanager
def new_home(replay: Path, like: Path | None = None) -> Iterator[Home]:
    """A home that is removed afterwards with its server: empty, or a copy of ``like``, whose server is stopped."""
    # Not pytest's folder: it is closed to the account that the server runs as when we are root.
    path = Path(tempfile.mkdtemp(prefix="azak-home-"))
    try:
        if like is not None:
            copy(like, path)
            address = path / "postgres.json"
            address.write_text(json.dumps({**json.loads(address.read_text()), "port": _port()}))
            if PARSED.exists():
                shutil.copytree(PARSED, path / "dbt", dirs_exist_ok=True)
        yield Home(path, replay)
        if like is not None and not PARSED.exists() and (path / "dbt" / "manifest.sha256").exists():
            PARSED.mkdir()
            for name in ("manifest.sha256", "manifest.json", "partial_parse.msgpack"):
                shutil.copy(path / "dbt" / name, PARSED)
    finally:
        server.stop(path)
        shutil.rmtree(path, ignore_errors=True)


PARSED = Path(_OF_THIS_PROCESS.name) / "dbt"
"""What dbt parsed in the first copied home, for the others: it holds for one address of a database, hence `_port`."""


@cache
def _port() -> int:
    """The port of every copied home: one runs at a time in a worker, and two workers must not want the same."""
    return free_port()


def copy(source: Path, into: Path) -> None:
    """Copy a folder's content with its owners, which a home's database needs and `shutil` drops."""
    into.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", f"{source}/.", str(into)], check=True)


def built_once(folder: Path, name: str, build: Callable[[Path], None]) -> Path:
    """``folder / name``, which the first of all workers that asks has filled with ``build``; the others wait."""
    kept = folder / name
    with fasteners.InterProcessLock(str(folder / f"{name}.lock")):
        if not kept.exists():
            unfinished = folder / f"{name}.new"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            build(unfinished)
            unfinished.rename(kept)
    return kept


def family(process: "subprocess.Popen[Any]") -> list[psutil.Process]:
    """The process and everything below it; empty where it is gone."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    return []


def has_ended(process: psutil.Process) -> bool:
    """Gone, or a zombie that waits for a parent only, which a container may not have."""
    with suppress(psutil.NoSuchProcess):
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    return True


def kill(process: "subprocess.Popen[Any]") -> None:
    """SIGKILL a command and all it started, but for the database server, which is no child of it."""
    members = family(process)
    for member in members:
        with suppress(psutil.NoSuchProcess):
            member.send_signal(signal.SIGKILL)
    # Not `communicate`: what Dagster tails its logs with holds our pipe until the command is reaped.
    process.wait()
    psutil.wait_procs(members, timeout=10)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
