"""How long a start takes: the code location as a ratio to the bare import of its libraries, and a usable UI.

`python -m benchmarks.start`. The loads run in turn, A B A B …, so that a machine that slows down slows both.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from azak_assets.cli.environment import ready_manifest
from azak_assets.cli.processes import free_port
from azak_assets.warehouse import server

RESULTS = Path(__file__).resolve().parent / "results"
PAIRS = 7
LOAD_BAR, UI_BAR_S = 1.6, 40.0
BARE = "import dagster, dagster_dbt"
OURS = "import azak_assets.definitions"


def seconds_of(statement: str) -> float:
    """Wall seconds of a fresh interpreter that runs one statement."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-W", "ignore", "-c", statement], check=True)
    return time.perf_counter() - began


def code_location() -> dict[str, Any]:
    """The ratio pair by pair; the median counts."""
    ready_manifest()
    seconds_of(BARE), seconds_of(OURS)  # a warm file cache for both
    pairs = [(seconds_of(BARE), seconds_of(OURS)) for _ in range(PAIRS)]
    ratio = statistics.median(ours / bare for bare, ours in pairs)
    return {"what": "code location load ÷ bare import", "value": ratio, "bar": LOAD_BAR, "pairs": pairs}


def usable_ui() -> dict[str, Any]:
    """Seconds from `azak up` to the line that names the UI, on an installed machine with a database already made."""
    home = Path(tempfile.mkdtemp(prefix="azak-bench-"))
    command = [str(Path(sys.executable).parent / "azak"), "up", "--sessions", "0", "--port", str(free_port())]
    taken = []
    try:
        for _ in range(2):  # the first start makes the database
            began = time.perf_counter()
            process = subprocess.Popen(
                command, env={**os.environ, "AZAK_HOME": str(home)}, stdout=subprocess.PIPE, text=True
            )
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
    return {"what": "`azak up` to a usable UI, s", "value": taken[-1], "bar": UI_BAR_S, "first start": taken[0]}


def main() -> None:
    """Print and keep both."""
    rows = [code_location(), usable_ui()]
    for row in rows:
        met = "met" if row["value"] <= row["bar"] else "MISSED"
        print(f"{row['what']:40} {row['value']:7.2f}   ≤ {row['bar']}  {met}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "start.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
