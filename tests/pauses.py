"""Measurements against the clock on a machine that others use too.

Belongs here: telling a pause of the machine from a fault of ours, for tests marked `timing` (`make test` runs those
alone, after the rest). Not here: bounds; each test states its own.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")

LONGEST_PAUSE_S = 0.1
"""Fifteen evenly spaced calls a second that are all held back for 0.2 s reach the server as nineteen."""
ATTEMPTS = 5
_STEP_S = 0.005


class _Watch:
    """Notes how late a thread that does nothing wakes up: the pauses that every other thread had too."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            slept_from = time.monotonic()
            time.sleep(_STEP_S)
            self.longest = max(self.longest, time.monotonic() - slept_from - _STEP_S)


def undisturbed(measure: Callable[[], T]) -> T:
    """The first result that `measure` had while the machine never paused; skips where it always did."""
    pauses = []
    for _ in range(ATTEMPTS):
        with _Watch() as watch:
            result = measure()
        if watch.longest < LONGEST_PAUSE_S:
            return result
        pauses.append(f"{watch.longest:.2f}")
    pytest.skip(f"this machine pauses too long to measure anything: {', '.join(pauses)} s in {ATTEMPTS} attempts")
