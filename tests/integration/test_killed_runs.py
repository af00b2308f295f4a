"""A run that is stopped, loses its database or is killed ends cleanly, and run again it ends in the state of one that
was not.

One home is stopped, loses its database and then completes; each test stands alone too. Kills of the whole command, at
every named step and at random moments, run with `make soak`; `test_every_feed` kills each feed's step in every run.
"""

import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from azak_assets.warehouse.postgres import server
from tests.homes import FinishedRun, Home, family, has_ended, kill, new_home

NAMED_STEPS = (
    "raw__daily_bars",
    "collect_news",
    "ml__faiss_index",
    "dbt_before_forecasts",
    "forecast_articles",
    "ml__model_evaluations",
)
RANDOM_MOMENTS = 20
SHORTEST_S, LONGEST_S = 6.0, 45.0
STOP_S = 45
"""A step gets the patience of `processes.stop` to finish its statement, dbt its own."""


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


@pytest.mark.timeout(600)
def test_a_closed_terminal_while_everything_is_prepared_ends_it(recorded_folder: Path) -> None:
    with new_home(recorded_folder) as empty:
        preparing = empty.started()
        while not (empty.path / "postgres.json").exists():
            assert preparing.poll() is None
            time.sleep(0.1)
        said, _ = stopped(preparing, signal.SIGHUP)
    assert "2022-01-03 …" not in said, "the signal came too late to meet the start"


@pytest.mark.timeout(600)
def test_ctrl_c_in_a_step_of_dbt_ends_dbt_too_and_leaves_postgresql(home: Home) -> None:
    building = home.started()
    home.wait_for_step(building, "dbt_before_forecasts")
    deadline = time.monotonic() + 60
    while not (dbt := [member for member in family(building) if is_dbt_build(member)]):
        assert time.monotonic() < deadline, "dbt never started"
        time.sleep(0.1)
    said, _ = stopped(building, signal.SIGINT)
    assert has_ended(dbt[0])
    assert "rows by table" not in said
    assert server.status(home.path) is not None, "PostgreSQL outlives the command"


def is_dbt_build(process: psutil.Process) -> bool:
    try:
        return "build" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


@pytest.mark.timeout(900)
def test_a_database_that_dies_in_a_run_fails_it_with_one_sentence_and_run_again_it_ends_as_if_nothing_had_been(
    home: Home, finished_run: FinishedRun
) -> None:
    running = home.started()
    try:
        home.wait_for_step(running, "raw__daily_bars")
        assert server.stop(home.path)
        said, errors = running.communicate(timeout=120)
    finally:
        kill(running)
    assert running.returncode == 1, said
    assert "Traceback" not in said + errors, said + errors
    assert "PostgreSQL" in (said + errors).splitlines()[-1], said + errors

    finishes_as_if_nothing_had_been(home, finished_run.state)


def finishes_as_if_nothing_had_been(home: Home, expected: dict[str, str]) -> None:
    finished = home.azak()
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert home.state() == expected
    retried = (
        "select count(*) from run_tags where key in ('dagster/will_retry', 'dagster/did_retry') and value = 'true'"
    )
    assert home.query(retried, "dagster") == [(0,)], "a user starts a stopped run again, no daemon does"


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("step", NAMED_STEPS)
def test_killed_at_a_named_step_and_run_again(step: str, recorded_folder: Path, finished_run: FinishedRun) -> None:
    with new_home(recorded_folder) as home:
        process = home.started()
        home.wait_for_step(process, step)
        kill(process)
        finishes_as_if_nothing_had_been(home, finished_run.state)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_at_random_moments_and_run_again(recorded_folder: Path, finished_run: FinishedRun) -> None:
    seed = random.randrange(1_000_000)
    moments = random.Random(seed)
    kills = 0
    with new_home(recorded_folder) as home:
        for _ in range(RANDOM_MOMENTS):
            process = home.started()
            try:
                process.communicate(timeout=moments.uniform(SHORTEST_S, LONGEST_S))
            except subprocess.TimeoutExpired:
                kill(process)
                kills += 1
        print(f"seed {seed}")  # noqa: T201 - shown with a failure
        finishes_as_if_nothing_had_been(home, finished_run.state)
        assert kills > RANDOM_MOMENTS / 2, "too few kills met a running command; lower LONGEST_S"
