"""What opens before any work begins: the calendar, the worlds of the sandbox, the address of a server that runs.

`python -m benchmarks.opening`. Processor time where the work is ours alone: the rest of the machine is not our speed.
The recorded world needs the folder that `AZAK_TEST_DATA` names (default: `../shared/data` beside the repository).
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from azak_assets.sandbox.worlds.recorded import RecordedWorld
from azak_assets.sandbox.worlds.seeded import SeededWorld
from azak_assets.settings import REPOSITORY
from azak_assets.warehouse.postgres import server
from benchmarks.bars import Row, finish

CALENDAR_BAR_S, WORLD_BAR_S, FOUND_BAR_S = 0.05, 2.0, 0.05
CALENDAR = (
    # What any code location has loaded already is not the calendar's cost.
    "import bisect, csv, dataclasses, datetime, functools, math, pathlib, re, sys, time, typing, zoneinfo\n"
    "begun = time.process_time()\n"
    "from azak_assets import krx; krx.weekday_closures()\n"
    "print(time.process_time() - begun)"
)


def processor_seconds(work: Callable[[], object]) -> float:
    """The best of three."""
    seconds = []
    for _ in range(3):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds)


def calendar() -> float:
    """Processor seconds that a fresh interpreter takes for the calendar, the best of five."""
    command = [sys.executable, "-c", CALENDAR]
    return min(float(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(5))


def found_server() -> float:
    """Wall seconds to find a server that runs."""
    home = Path(tempfile.mkdtemp(prefix="azak-bench-"))
    try:
        server.ensure_running(home)
        began = time.perf_counter()
        for _ in range(20):
            server.ensure_running(home)
        return (time.perf_counter() - began) / 20
    finally:
        server.stop(home)
        shutil.rmtree(home, ignore_errors=True)


def main() -> None:
    """Print and keep the seconds."""
    rows = [
        Row("the calendar, processor seconds", calendar(), "s", CALENDAR_BAR_S),
        Row("a seeded world, processor seconds", processor_seconds(lambda: SeededWorld(4)), "s", WORLD_BAR_S),
        Row("a server that runs is found", found_server(), "s", FOUND_BAR_S),
    ]
    recorded = Path(os.environ.get("AZAK_TEST_DATA", REPOSITORY.parent / "shared" / "data")) / "2022-01"
    if recorded.is_dir():
        opened = processor_seconds(lambda: RecordedWorld(recorded))
        rows.append(Row("a recorded month, processor seconds", opened, "s", WORLD_BAR_S))
    finish("opening", rows)


if __name__ == "__main__":
    main()
