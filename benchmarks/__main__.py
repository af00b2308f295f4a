"""`make bench`: every benchmark, one after the other; each prints its table and keeps `results/<name>.json`.

Ends with 1 when one failed or missed a bar, after all have run.
"""

import subprocess
import sys

NAMES = (
    "start", "load_partition", "kis_client", "kis_minutes", "daily_session", "landing", "dbt_window", "text",
    "opening",
)  # fmt: skip

if __name__ == "__main__":
    failed = []
    for name in NAMES:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-W", "ignore", "-m", f"benchmarks.{name}"], check=False).returncode != 0:
            failed.append(name)
    if failed:
        sys.exit(f"failed, or missed a bar: {', '.join(failed)}")
