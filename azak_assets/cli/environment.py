"""What every working command needs before it works: folder, sandbox, PostgreSQL, migrations, dbt manifest, environment.

Belongs here: the steps that `azak up` and `azak run` share, each shown on the console. Does not belong here: Dagster.
"""

import hashlib
import importlib.metadata
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import fasteners

from azak_assets import krx
from azak_assets.cli.processes import Child, program, stop
from azak_assets.loopback import free_port
from azak_assets.settings import REPOSITORY, Mode, Settings
from azak_assets.universe import FIRST_TRADING_DAY
from azak_assets.warehouse.postgres import database, server, stamp
from azak_assets.warehouse.postgres.address import parse_url

if TYPE_CHECKING:
    from rich.console import Console

    from azak_assets.runtime import World

SANDBOX_START_S = 60
DEFAULT_SEED = 1
DBT_PROJECT = REPOSITORY / "azak_dbt"


KIND_OF_WORLD = {"live": "", "seed": " (sandbox: invented data)", "replay": " (sandbox: recorded data, replayed)"}


HISTORY_SESSIONS = 60
"""Sessions of prices behind the first one that is forecast: 20 returns for σ20, 60 bars for a context; one KIS request
brings 100 sessions of a stock, so they cost nothing."""
PRICE_HISTORY = (("raw", "daily_bars"), ("raw", "index_bars"))


def history_of(first: date, world: "World") -> list[date]:
    """The sessions whose prices belong behind ``first``, as far as the world and Azak's calendar go back."""
    oldest = max(FIRST_TRADING_DAY, world.first_day or FIRST_TRADING_DAY)
    return [s.day for s in krx.sessions(krx.shift(first, -HISTORY_SESSIONS).day, first) if oldest <= s.day < first]


class CannotStart(Exception):  # noqa: N818 - reads as the sentence it opens
    """A command cannot begin; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Prepared:
    """A world that is ready to work in: its settings, its databases and the environment for child processes."""

    settings: Settings
    world: "World"
    databases: database.Databases
    environment: dict[str, str]
    children: list[Child]


@contextmanager
def prepared(console: "Console", *, replay: Path | None = None, seed: int = DEFAULT_SEED) -> Iterator[Prepared]:
    """Make the world ready, tell the console each step, and stop the sandbox afterwards if it was started here.

    Raises:
        CannotStart, server.ServerError, database.DatabaseError, stamp.WorldMismatch: with one sentence on what to do.
    """
    from azak_assets.runtime import current_world  # noqa: PLC0415 - loads NumPy and HTTP, which `azak env` does not need

    settings = Settings()
    (settings.azak_home / "logs").mkdir(parents=True, exist_ok=True)
    if replay is not None and settings.mode is Mode.LIVE:
        raise CannotStart(
            "--replay plays recorded data through the sandbox, and the mode is live: set AZAK_MODE=sandbox, or leave "
            "--replay out."
        )
    with ExitStack() as stack:
        children: list[Child] = []
        stack.callback(stop, children)
        if settings.mode is Mode.SANDBOX:
            if settings.azak_sandbox_url is None:
                settings = settings.in_sandbox(start_sandbox(settings, children, replay=replay, seed=seed))
            elif replay is not None or seed != DEFAULT_SEED:
                raise CannotStart(
                    f"AZAK_SANDBOX_URL names a running sandbox ({settings.azak_sandbox_url}), which plays what it was "
                    "started with: unset it, or leave --replay and --seed out."
                )
            else:
                settings = settings.in_sandbox(settings.azak_sandbox_url)
        of_world = current_world(settings)
        console.print(f"[green]✓[/] world [bold]{of_world.name}[/]{KIND_OF_WORLD[of_world.name.partition(':')[0]]}")
        databases = ready_databases(settings, console)
        engine = database.create_engine(databases.azak)
        try:
            stamp.stamp(engine, of_world.name)
        finally:
            engine.dispose()
        variables = environment(settings, databases)
        console.print(f"[green]✓[/] dbt manifest {ready_manifest(variables)}")
        yield Prepared(settings, of_world, databases, variables, children)


def start_sandbox(settings: Settings, children: list[Child], *, replay: Path | None, seed: int) -> str:
    """The address of a sandbox of our own on a free port; it is among ``children``, which the caller stops.

    Raises:
        CannotStart: it ended or did not answer; the message holds its last words.
    """
    import httpx  # noqa: PLC0415 - 0.2 s

    port = free_port()
    command = [program("azak"), "sandbox", "--port", str(port), "--seed", str(seed), "--until-input-closes"]
    if replay is not None:
        command += ["--replay", str(replay.resolve())]
    log = settings.azak_home / "logs" / "sandbox.log"
    log.unlink(missing_ok=True)
    child = Child.start("sandbox", command, environment={}, log=log, cwd=REPOSITORY, among=children)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + SANDBOX_START_S
    while time.monotonic() < deadline:
        if child.has_ended:
            raise CannotStart(f"The sandbox did not start: {child.last_lines().removeprefix('✗ ')}")
        try:
            httpx.get(f"{url}/sandbox/world", timeout=2).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return url
    raise CannotStart(f"The sandbox did not answer at {url} within {SANDBOX_START_S} s; its log is {log}.")


def ready_databases(settings: Settings, console: "Console") -> database.Databases:
    """Both databases exist, answer and are migrated."""
    own = settings.azak_database_url.get_secret_value() if settings.azak_database_url else None
    databases = database.ensure_databases(settings.azak_home, own)
    where = "your server" if own else f"embedded, {server.ensure_running(settings.azak_home).data_dir}"
    console.print(f"[green]✓[/] PostgreSQL ({where})")
    pending = database.status(databases.azak).pending
    database.upgrade(databases.azak)
    console.print("[green]✓[/] migrations: " + (f"{len(pending)} applied" if pending else "up to date"))
    return databases


CONNECTION = ("AZAK_DBT_HOST", "AZAK_DBT_PORT", "AZAK_DBT_USER", "AZAK_DBT_DATABASE")
"""What dbt's parse cache holds for: with any other of these a call parses the whole project again."""


def ready_manifest(variables: Mapping[str, str] | None = None) -> str:
    """Parse the dbt project if its files or the database changed since the last time; returns what was done.

    Loading the definitions reads the manifest and never parses, and a run's dbt calls copy the parse cache beside it:
    a parse costs about five seconds. Both are replaced whole and by one process at a time, since others may be reading.

    Args:
        variables: what `environment` gives the runs, of which dbt takes the database and the folder. Without them the
            manifest goes into the project's own folder, for those who read it and connect to nothing.

    Raises:
        CannotStart: dbt cannot parse the project; the message is dbt's.
    """
    variables = variables or {}
    target = Path(variables.get("DBT_TARGET_PATH", DBT_PROJECT / "target"))
    target.mkdir(parents=True, exist_ok=True)
    parsed_for = target / "manifest.sha256"
    with fasteners.InterProcessLock(target / "parse.lock"):
        digest = _parse_digest(variables)
        kept = [target / name for name in ("partial_parse.msgpack", "manifest.json")]
        if all(file.is_file() for file in kept) and parsed_for.is_file() and parsed_for.read_text() == digest:
            return "up to date"
        with tempfile.TemporaryDirectory(dir=target) as fresh:
            place = ("--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT), "--target-path", fresh)
            parsed = subprocess.run(
                [program("dbt"), "parse", "--quiet", "--log-path", fresh, *place],
                env={**os.environ, **variables},
                capture_output=True,
                text=True,
                check=False,
            )
            if parsed.returncode != 0:
                raise CannotStart(f"dbt cannot parse azak_dbt:\n{parsed.stdout}{parsed.stderr}")
            for file in kept:
                (Path(fresh) / file.name).replace(file)
        parsed_for.write_text(digest)
    return "parsed"


def _parse_digest(variables: Mapping[str, str]) -> str:
    """A hash over all that a parse depends on: dbt, the files it reads, the database it is for."""
    digest = hashlib.sha256(importlib.metadata.version("dbt-core").encode())
    digest.update(repr([variables.get(name) for name in CONNECTION]).encode())
    for file in sorted(DBT_PROJECT.rglob("*")):
        if file.suffix in (".sql", ".yml", ".csv", ".md") and "target" not in file.relative_to(DBT_PROJECT).parts:
            digest.update(str(file.relative_to(DBT_PROJECT)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def environment(settings: Settings, databases: database.Databases) -> dict[str, str]:
    """The variables that Dagster and dbt read in child processes, and in a plain `dagster dev`."""
    folder = settings.azak_home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    address = parse_url(databases.azak)
    host, port = address.server
    variables = {
        "AZAK_HOME": str(settings.azak_home),
        "AZAK_MODE": settings.mode.value,
        "AZAK_DAGSTER_DATABASE_URL": databases.dagster,
        "AZAK_DAGSTER_DIR": str(folder),
        "DAGSTER_HOME": str(REPOSITORY),
        "AZAK_DBT_HOST": host,
        "AZAK_DBT_PORT": str(port),
        "AZAK_DBT_USER": address.username or "postgres",
        "AZAK_DBT_PASSWORD": address.password or "",
        "AZAK_DBT_DATABASE": address.database,
        # A folder a home: dbt's parse cache holds for one database, and two homes may work at once.
        "DBT_TARGET_PATH": str(settings.azak_home / "dbt"),
        "PATH": f"{Path(program('dbt')).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    if settings.azak_sandbox_url is not None:
        variables["AZAK_SANDBOX_URL"] = settings.azak_sandbox_url
    return variables
