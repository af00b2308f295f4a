"""`azak run` told to stop: it ends all it started, says so in one sentence, and the same command goes on from there."""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from azak_assets.warehouse.postgres import database, server
from tests.integration import replay_folder
from tests.integration.conftest import Home
from tests.integration.test_killed_runs import wait_for_step

STOP_S = 45
"""A step gets the patience of `processes.stop` to finish its statement, dbt its own."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    path = Path(tempfile.mkdtemp(prefix="azak-home-"))
    recorded = replay_folder.write(tmp_path_factory.mktemp("recorded") / "2022-01")
    try:
        yield Home(path, recorded)
    finally:
        server.stop(path)
        shutil.rmtree(path, ignore_errors=True)


def started(home: Home) -> subprocess.Popen[str]:
    return subprocess.Popen(
        home.command(),
        env=home.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def stopped(process: subprocess.Popen[str], number: signal.Signals) -> tuple[str, str]:
    """Signal the command alone; what it printed, once it and all it had started have ended."""
    members = family(process)
    assert len(members) > 1, "the sandbox runs"
    process.send_signal(number)
    said, errors = process.communicate(timeout=STOP_S)
    deadline = time.monotonic() + 5  # for Python's own helper, which follows its parent
    while left := [member for member in members if not has_ended(member)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    lines = [line for line in errors.splitlines() if not line.startswith("Opened ")]
    assert len(lines) == 1, errors
    assert lines[0].startswith("✗ Stopped: "), errors
    assert "same command goes on" in lines[0]
    assert "Interrupted" not in said + errors
    assert "Traceback" not in said + errors
    assert process.returncode > 128, "as a shell tells a command that a signal ended"
    return said, errors


@pytest.mark.timeout(900)
def test_a_run_told_to_stop_ends_what_it_started_and_says_so_once(home: Home) -> None:
    preparing = started(home)
    while not (home.path / "postgres.json").exists():
        assert preparing.poll() is None
        time.sleep(0.1)
    said, _ = stopped(preparing, signal.SIGHUP)
    assert "2022-01-03 …" not in said, "the signal came too late to meet the start"

    asking = started(home)
    wait_for_step(home, asking, "raw__daily_bars")
    said, _ = stopped(asking, signal.SIGINT)
    assert "rows by table" not in said
    assert server.status(home.path) is not None, "PostgreSQL outlives the command"

    building = started(home)
    wait_for_step(home, building, "dbt_before_forecasts")
    deadline = time.monotonic() + 60
    while not (dbt := [member for member in family(building) if "build" in member.cmdline()]):
        assert time.monotonic() < deadline, "dbt never started"
        time.sleep(0.1)
    stopped(building, signal.SIGTERM)
    assert has_ended(dbt[0])

    finished = home.azak()
    assert finished.returncode == 0, finished.stdout + finished.stderr
    retried = (
        "select count(*) from run_tags where key in ('dagster/will_retry', 'dagster/did_retry') and value = 'true'"
    )
    with database.connect(server.ensure_running(home.path).url("dagster")) as connection:
        assert connection.execute(retried).fetchone() == (0,), "who stopped it starts it again, no daemon does"
