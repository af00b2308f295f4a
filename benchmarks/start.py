"""How long a start takes: the code location as a ratio to the bare import of its libraries, a usable UI, and commands
that only look.

`python -m benchmarks.start`. The loads run in turn, A B A B …, so that a machine that slows down slows both.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from azak_assets.cli.environment import ready_manifest
from azak_assets.loopback import free_port
from azak_assets.warehouse.postgres import server
from benchmarks.bars import Row, finish

PAIRS = 7
LOAD_BAR, UI_BAR_S, COMMAND_BAR_S = 1.5, 40.0, 0.5
COMMANDS = (("--help",), ("env",), ("db", "status"))
AZAK = str(Path(sys.executable).parent / "azak")
BARE = "import dagster, dagster_dbt"
OURS = "import azak_assets.definitions"


def seconds_of(statement: str) -> float:
    """Wall seconds of a fresh interpreter that runs one statement."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-W", "ignore", "-c", statement], check=True)
    return time.perf_counter() - began


def code_location() -> Row:
    """The ratio pair by pair; the median counts."""
    ready_manifest()
    seconds_of(BARE), seconds_of(OURS)  # a warm file cache for both
    pairs = [(seconds_of(BARE), seconds_of(OURS)) for _ in range(PAIRS)]
    ratio = statistics.median(ours / bare for bare, ours in pairs)
    return Row("code location load ÷ bare import", ratio, bar=LOAD_BAR, details=pairs)


def usable_ui() -> list[Row]:
    """Seconds from `azak up` to the line that names the UI, on an installed machine: the first start, which makes the
    database and parses dbt, and the second.
    """
    home = Path(tempfile.mkdtemp(prefix="azak-bench-"))
    command = [AZAK, "up", "--sessions", "0", "--port", str(free_port())]
    taken = []
    try:
        for _ in range(2):
            began = time.perf_counter()
            with subprocess.Popen(
                command, env={**os.environ, "AZAK_HOME": str(home)}, stdout=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    if "Dagster UI" in line:
                        taken.append(time.perf_counter() - began)
                        break
                process.send_signal(signal.SIGINT)
                process.stdout.read()
                process.wait(timeout=60)
    finally:
        server.stop(home)
        shutil.rmtree(home, ignore_errors=True)
    first, second = taken
    return [
        Row("`azak up` to a usable UI, first start", first, "s", UI_BAR_S),
        Row("`azak up` to a usable UI, second start", second, "s", UI_BAR_S),
    ]


def commands() -> list[Row]:
    """CPU seconds (user and system) of commands on a migrated home whose server runs; the best of `PAIRS` counts."""
    home = Path(tempfile.mkdtemp(prefix="azak-bench-"))
    environment = {**os.environ, "AZAK_HOME": str(home)}
    rows = []
    try:
        subprocess.run([AZAK, "db", "migrate"], env=environment, check=True, capture_output=True)
        for command in COMMANDS:
            taken = []
            for _ in range(PAIRS):
                before = os.times()
                subprocess.run([AZAK, *command], env=environment, check=True, capture_output=True)
                after = os.times()
                taken.append(
                    after.children_user - before.children_user + after.children_system - before.children_system
                )
            rows.append(Row(f"`azak {' '.join(command)}`, CPU", min(taken), "s", COMMAND_BAR_S, details=taken))
    finally:
        server.stop(home)
        shutil.rmtree(home, ignore_errors=True)
    return rows


if __name__ == "__main__":
    finish("start", [code_location(), *commands(), *usable_ui()])
