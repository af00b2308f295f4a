"""One `azak up` a home, and what a killed one left behind.

Belongs here: the lock, the notes of what runs, ending what they name. Does not belong here: how processes end
(`processes`), runs in Dagster's storage (`dead_runs`).
"""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fasteners
import psutil

from azak_assets.cli.environment import CannotStart
from azak_assets.cli.processes import UP_LOCK, Child, end_all, family, send_signal

NOTES = "up.json"
"""File under AZAK_HOME with what runs, so that the next start can end what a killed one left behind."""
CLOCK_DRIFT_S = 60
"""The time of the start of the machine is computed from the clock, which is corrected now and then."""


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold the lock of this home; the kernel releases the lock of a dead holder, so it is never stale.

    Raises:
        CannotStart: another `azak up` holds it.
    """
    lock = fasteners.InterProcessLock(home / UP_LOCK)
    if not lock.acquire(blocking=False):
        raise CannotStart(
            f"Azak already runs with AZAK_HOME={home}: use that one, stop it with Ctrl-C in its terminal, or set "
            f"another AZAK_HOME."
        )
    try:
        yield
    finally:
        lock.release()


def write_notes(home: Path, children: list[Child], *, owns_server: bool) -> None:
    """Write down what runs, in one step."""
    running = [{"pid": child.process.pid, "created": child.created} for child in children]
    notes = {"booted": psutil.boot_time(), "owns_server": owns_server, "children": running}
    written = home / f"{NOTES}.new"
    written.write_text(json.dumps(notes))
    written.replace(home / NOTES)


def _left(home: Path) -> tuple[list[psutil.Process], bool]:
    """What still runs of those written down, and whether the PostgreSQL of this home was started by them.

    A pid counts only with the start time we wrote down, and none of before the machine started anew.
    """
    try:
        notes = json.loads((home / NOTES).read_text())
        children = [(int(child["pid"]), float(child["created"])) for child in notes["children"]]
        owns_server, booted = bool(notes["owns_server"]), float(notes["booted"])
    except (OSError, ValueError, KeyError, TypeError):
        return [], False
    if abs(booted - psutil.boot_time()) > CLOCK_DRIFT_S:
        return [], owns_server
    return [member for child in children for member in family(*child)], owns_server


def forget_notes(home: Path) -> None:
    """Drop the notes, but for a process that nothing could end: the next start tries again."""
    if not _left(home)[0]:
        (home / NOTES).unlink(missing_ok=True)


def end_leftovers(home: Path) -> bool:
    """End processes of an earlier `azak up` that was killed; whether the PostgreSQL of this home was its own too.

    Raises:
        CannotStart: one of them cannot be ended.
    """
    leftovers, owns_server = _left(home)
    send_signal(leftovers, signal.SIGTERM)
    end_all(lambda: _left(home)[0], known=leftovers)
    if stubborn := _left(home)[0]:
        pids = ", ".join(str(one.pid) for one in stubborn)
        raise CannotStart(f"Process {pids} of an earlier `azak up` on {home} does not end: end it and start again.")
    return owns_server
