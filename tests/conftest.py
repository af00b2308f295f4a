"""Fixtures every test may ask for: a real PostgreSQL, databases on it, and the recorded market data.

What belongs here: the one server of a test session, the fresh databases made on it, and the definitions. What does
not: stand-ins for our own functions, and data of one room (a room keeps its own `conftest.py` for that).

`AZAK_TEST_DATABASE_URL` names a server to use instead of the embedded one (its role must be allowed to create
databases); `AZAK_TEST_DATA` names the folder of recorded data (default: `../shared/data` beside the repository).
"""

import gc
import json
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.storage.event_log import in_memory as events_in_memory
from dagster._core.storage.runs import in_memory as runs_in_memory

from azak_assets.cli.environment import DBT_PROJECT, ready_manifest
from azak_assets.cli.processes import STOPS
from azak_assets.warehouse.postgres import database as warehouse_database
from azak_assets.warehouse.postgres import server
from tests.databases import ReusedDatabase, fresh_database
from tests.homes import FinishedRun, built_once, copy, new_home
from tests.integration import replay_folder

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """What a test starts meets every signal with the system's default, also below `nohup make test &`.

    There Ctrl-C and a closed terminal are ignored, and every program started inherits that. A handler that does nothing
    ignores them too, and exec resets it. Workers of xdist do this themselves: they must not lose it to their own exec.
    """
    has_workers = bool(config.getoption("numprocesses", None)) and not hasattr(config, "workerinput")
    if has_workers or threading.current_thread() is not threading.main_thread():
        return
    for number in STOPS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


LONGEST_FIRST = (
    "integration/test_killed_runs.py",
    "cli/test_up.py",
    "integration/test_replay_run.py",
    "docker/test_services.py",
    "dbt/test_marts.py",
    "cli/test_commands.py",
    "integration/test_bad_input.py",
    "integration/test_every_feed.py",
    "graph/test_intraday_collector.py",
    "graph/test_graph_clock.py",
    "integration/test_after_close.py",
    "warehouse/postgres/test_server.py",
    "integration/test_text_sources.py",
    "integration/test_source_failures.py",
    "sources/test_mutated_payloads.py",
)
"""Files that take longest, measured: one that starts last leaves the other workers idle (`--no-loadscope-reorder` keeps
this order, by default the files with the most tests start first)."""


def pytest_collection_finish() -> None:
    """What was collected stays to the end: the collector of garbage need not walk it at every turn.

    A million objects of Dagster, dbt and the tests; walking them took a twelfth of a worker's CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, the others as they were found."""
    ranks = {REPOSITORY / "tests" / name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(scope="session", autouse=True)
def cheap_starts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What libraries do at each start and no test needs: two thirds of the time of some files.

    Every HTTP client, of ours and of the processes we start, reads the certificates of all the web's authorities (30 ms
    and more); upstreams of tests are on loopback and have none. Every ephemeral instance of Dagster loads forty
    migrations to note a revision (0.1 s) that goes with it.
    """
    authority = tmp_path_factory.mktemp("certificates") / "one.pem"
    first, end, _ = certifi.contents().partition("-----END CERTIFICATE-----")
    authority.write_text(first + end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(authority))
        for storage in (runs_in_memory, events_in_memory):
            patch.setattr(storage, "stamp_alembic_rev", lambda *_: None)
        yield


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A URL (`postgresql+psycopg://…`) whose role may create databases; one server a test session and xdist worker."""
    given = os.environ.get("AZAK_TEST_DATABASE_URL")
    if given:
        yield warehouse_database.parse_url(given).render_as_string(hide_password=False)
        return
    # Not below pytest's own folder: every starting pytest closes that one again for the account the server runs as.
    with tempfile.TemporaryDirectory(prefix="azak-test-") as folder:
        home = Path(folder)
        with pytest.MonkeyPatch.context() as patch:
            # These databases need not survive a power cut.
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                patch.setitem(server.SETTINGS, name, "off")
            url = server.ensure_running(home).url("postgres")
        try:
            yield url
        finally:
            server.stop(home)


@pytest.fixture
def empty_database(server_url: str) -> Iterator[str]:
    """The URL of a fresh database without any schema of ours."""
    with fresh_database(server_url) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_template(server_url: str) -> Iterator[str]:
    """The name of a database at the newest migration that nobody connects to, to copy from (some 50 ms a copy)."""
    with fresh_database(server_url) as url:
        warehouse_database.upgrade(url)
        name = sa.make_url(url).database
        assert name is not None
        yield name


@pytest.fixture(scope="session")
def reused_database(server_url: str, migrated_template: str) -> Iterator[ReusedDatabase]:
    """One database for the tests of a worker, one after the other."""
    reused = ReusedDatabase(server_url, migrated_template)
    try:
        yield reused
    finally:
        reused.drop()


@pytest.fixture
def database(reused_database: ReusedDatabase) -> Iterator[str]:
    """The URL of a database at the newest migration and as if new, always under one name."""
    yield reused_database.url
    reused_database.reset()


@pytest.fixture
def engine(database: str) -> Iterator[sa.Engine]:
    """A SQLAlchemy engine on `database`."""
    engine = warehouse_database.create_engine(database)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def recorded_data() -> Path:
    """The folder of recorded market data (never committed); a test that needs it skips where it is absent."""
    folder = Path(os.environ.get("AZAK_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no recorded data at {folder}: set AZAK_TEST_DATA to its folder to run this test")
    return folder


@pytest.fixture(scope="session")
def of_all_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all xdist workers of this test session share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def recorded_folder(of_all_workers: Path) -> Path:
    """The small recorded market of invented companies; one world for all workers."""
    return built_once(of_all_workers, "recorded", replay_folder.write)


@pytest.fixture(scope="session")
def prepared_home(of_all_workers: Path, recorded_folder: Path) -> Path:
    """A home to copy: server stopped, both databases at the newest migration, of no world yet."""

    def build(kept: Path) -> None:
        with new_home(recorded_folder) as home:
            migrated = home.azak("db", "migrate")
            assert "applied" in migrated.stdout, migrated.stdout + migrated.stderr
            server.stop(home.path)
            copy(home.path, kept)

    return built_once(of_all_workers, "prepared", build)


@pytest.fixture(scope="session")
def finished_run(of_all_workers: Path, recorded_folder: Path, prepared_home: Path) -> FinishedRun:
    """What one undisturbed `azak run` over the recorded folder left."""

    def build(kept: Path) -> None:
        with new_home(recorded_folder, like=prepared_home) as home:
            finished = home.azak()
            assert finished.returncode == 0, finished.stdout + finished.stderr
            (kept / "state.json").write_text(json.dumps(home.state()))
            server.stop(home.path)
            copy(home.path, kept / "home")

    kept = built_once(of_all_workers, "finished", build)
    return FinishedRun(kept / "home", json.loads((kept / "state.json").read_text()))


@pytest.fixture(scope="session")
def dbt_manifest() -> dict[str, Any]:
    """The manifest that the definitions load from, parsed now where the project has changed."""
    ready_manifest()
    manifest: dict[str, Any] = json.loads((DBT_PROJECT / "target" / "manifest.json").read_text())
    return manifest


@pytest.fixture(scope="session")
def definitions(dbt_manifest: dict[str, Any]) -> dg.Definitions:
    """`azak_assets.definitions.defs`, imported only once the manifest is there."""
    from azak_assets.definitions import defs  # noqa: PLC0415 - it reads the manifest

    return defs
