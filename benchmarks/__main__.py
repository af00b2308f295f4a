"""`make bench`: every benchmark, one after the other; each prints its table and keeps `results/<name>.json`."""

import subprocess
import sys

NAMES = ("start", "load_partition", "dbt_window", "text")

if __name__ == "__main__":
    failed = []
    for name in NAMES:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode != 0:
            failed.append(name)
    if failed:
        sys.exit(f"benchmarks that failed: {', '.join(failed)}")
