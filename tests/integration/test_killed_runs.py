"""A run that is killed, at a named step or at any moment, and run again ends in the state of one that was not.

One named step runs in every test run; all of them and the random moments run with
`make soak`, which takes about a quarter of an hour on two cores.
"""

import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from azak_assets.warehouse.postgres import database, server
from tests.integration.conftest import RUN_TIMEOUT_S, Home

NAMED_STEPS = (
    "raw__daily_bars",
    "collect_news",
    "ml__faiss_index",
    "dbt_before_forecasts",
    "forecast_articles",
    "ml__model_evaluations",
)
IN_EVERY_TEST_RUN = ("forecast_articles",)
STARTED = "select count(*) from event_logs where step_key = :step and dagster_event_type = 'STEP_START'"
RANDOM_MOMENTS = 20
SHORTEST_S, LONGEST_S = 6.0, 45.0


@pytest.fixture(scope="module")
def expected(recorded_folder: Path) -> Iterator[dict[str, str]]:
    """The state that an uninterrupted run leaves."""
    path = Path(tempfile.mkdtemp(prefix="azak-home-"))
    undisturbed = Home(path, recorded_folder)
    try:
        finished = undisturbed.azak()
        assert finished.returncode == 0, finished.stdout + finished.stderr
        yield undisturbed.state()
    finally:
        server.stop(path)
        shutil.rmtree(path, ignore_errors=True)


def started(home: Home) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        home.command(),
        env=home.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL the command and all it started, but for the database server, which is no child of it."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        member.send_signal(signal.SIGKILL)
    process.wait()
    psutil.wait_procs(family, timeout=10)


def wait_for_step(home: Home, process: subprocess.Popen[bytes], step: str) -> None:
    """Return when the event log says that the step has started, and a moment more."""
    deadline = time.monotonic() + RUN_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the run ended before {step} started"
        info = server.status(home.path)
        if info is not None:
            engine = database.create_engine(info.url("dagster"))
            try:
                with engine.connect() as connection:
                    found = connection.scalar(
                        sa.text(STARTED),
                        {"step": step},
                    )
            except sa.exc.SQLAlchemyError:  # the database or its tables are not there yet
                found = 0
            finally:
                engine.dispose()
            if found:
                time.sleep(0.4)
                return
        time.sleep(0.2)
    pytest.fail(f"{step} did not start within {RUN_TIMEOUT_S} s")


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "step", [pytest.param(s, marks=() if s in IN_EVERY_TEST_RUN else pytest.mark.soak) for s in NAMED_STEPS]
)
def test_killed_at_a_named_step_and_run_again(step: str, recorded_folder: Path, expected: dict[str, str]) -> None:
    path = Path(tempfile.mkdtemp(prefix="azak-home-"))
    home = Home(path, recorded_folder)
    try:
        process = started(home)
        wait_for_step(home, process, step)
        kill(process)
        finished = home.azak()
        assert finished.returncode == 0, finished.stdout + finished.stderr
        assert home.state() == expected
    finally:
        server.stop(path)
        shutil.rmtree(path, ignore_errors=True)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_at_random_moments_and_run_again(recorded_folder: Path, expected: dict[str, str]) -> None:
    seed = random.randrange(1_000_000)
    moments = random.Random(seed)
    path = Path(tempfile.mkdtemp(prefix="azak-home-"))
    home = Home(path, recorded_folder)
    kills = 0
    try:
        for _ in range(RANDOM_MOMENTS):
            process = started(home)
            try:
                process.wait(timeout=moments.uniform(SHORTEST_S, LONGEST_S))
            except subprocess.TimeoutExpired:
                kill(process)
                kills += 1
        finished = home.azak()
        assert finished.returncode == 0, f"seed {seed}: {finished.stdout}{finished.stderr}"
        assert home.state() == expected, f"seed {seed}"
        assert kills > RANDOM_MOMENTS / 2, "too few kills met a running command; lower LONGEST_S"
    finally:
        server.stop(path)
        shutil.rmtree(path, ignore_errors=True)
