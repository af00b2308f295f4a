"""How a benchmark tells its measurements: a line each with its bar beside it, kept as JSON, exit code 1 when one is
missed.

Belongs here: printing and keeping. Does not belong here: measuring.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Row:
    """One measurement: `value` in `unit` (× is a ratio), and the bar it must not exceed, or reach where `at_least`.

    `details` are what the value was made of, for the file.
    """

    what: str
    value: float
    unit: str = "×"
    bar: float | None = None
    at_least: bool = False
    details: Any = None

    @property
    def is_met(self) -> bool | None:
        """None where no bar is set."""
        if self.bar is None:
            return None
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    def __str__(self) -> str:
        shown = f"{self.what:<70} {self.value:>12,.2f} {self.unit:<4}"
        if self.bar is None:
            return shown.rstrip()
        verdict = "met" if self.is_met else "MISSED"
        return f"{shown} {'≥' if self.at_least else '≤'} {self.bar:,g}  {verdict}"


def finish(name: str, rows: list[Row], **about: Any) -> None:
    """Print the rows, keep them in `results/<name>.json`, and end with 1 when a bar is missed."""
    for row in rows:
        print(row)
    RESULTS.mkdir(exist_ok=True)
    kept = {**about, "rows": [{**asdict(row), "is_met": row.is_met} for row in rows]}
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if any(row.is_met is False for row in rows):
        sys.exit(1)
