"""Children of the command line: started in sessions of their own, watched, and stopped with everything they started.

Belongs here: processes and the signals that end us. Does not belong here: what is started and why
(`environment`, `up`).
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import fasteners
import psutil

STOP_PATIENCE_S = 12
"""A run that gets the signal finishes its transaction first; after this long it is killed, and its transaction rolls
back.
"""
LAST_PATIENCE_S = 3
"""What the first signal did not end has this long after SIGTERM, and again after SIGKILL."""


UP_LOCK = "up.lock"
"""File under AZAK_HOME that a running `azak up` holds; the kernel lets go of it when its holder dies."""


class Stopped(Exception):  # noqa: N818 - no error: somebody asked for it
    """Ctrl-C, SIGTERM or a closed terminal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Held:
    """Whether `Stopped` waits now, and the signal that came meanwhile."""

    depth = 0
    number: int | None = None


def stop_on_signals() -> None:
    """From now on each of `STOPS` raises `Stopped` in the main thread, also where Ctrl-C was inherited as ignored (the
    background of a shell script). SIGHUP alone stays ignored: a command started by nohup outlives its terminal.
    """
    # A query that is cut short makes psycopg complain of its rollback, on the terminal unless the error is handled.
    logging.getLogger("psycopg").addHandler(logging.NullHandler())
    for number in STOPS:
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, _frame: FrameType | None = None) -> None:
    if _Held.depth:
        _Held.number = number
        return
    # A second signal while stopping must not interrupt the stopping.
    ignore_signals()
    raise Stopped(number)


@contextmanager
def signals_held(*, drop: bool = False) -> Iterator[None]:
    """`Stopped` is raised after the block and not within: what it does is done whole. With ``drop``, never."""
    _Held.depth += 1
    try:
        yield
    finally:
        _Held.depth -= 1
        if drop:
            _Held.number = None
    if not _Held.depth and _Held.number is not None:
        number, _Held.number = _Held.number, None
        _stop(number)


def ignore_signals() -> None:
    """Ignore interrupts from here on: for the way out, which ends what we started and takes seconds."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def default_dispositions() -> Iterator[None]:
    """A program that starts in the block meets each of `STOPS` with the system's default.

    Under `nohup`, and in the background of a shell script, we inherit some of them as ignored, and a program that we
    start would too: exec keeps an ignored signal ignored, and resets one that has a handler. So the ignored ones get a
    handler that does nothing while the program starts; the main thread alone may set handlers.
    """
    ignored = [number for number in STOPS if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


def is_held(lock: Path) -> bool:
    """Whether another process holds this lock now."""
    probe = fasteners.InterProcessLock(lock)
    if not probe.acquire(blocking=False):
        return True
    probe.release()
    return False


def program(name: str) -> str:
    """The path of a program installed beside this Python, so that an unactivated virtual environment works."""
    return str(Path(sys.executable).parent / name)


@dataclass(frozen=True)
class Child:
    """One process that we started, with the log its output goes to and its start time (a pid alone is used again)."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    created: float

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        cwd: Path,
        among: "list[Child] | None" = None,
    ) -> "Child":
        """Start ``command`` in a session of its own: Ctrl-C reaches us alone, and we stop our children in order.

        It ignores no signal because we inherited it as ignored.

        Its standard input is a pipe that closes when we end, however we end; a child that reads it can follow us.
        ``among`` is the list that will be stopped: no signal finds the child started and not in it.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output, signals_held(), default_dispositions():
            process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                cwd=cwd,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            child = cls(name, process, log, psutil.Process(process.pid).create_time())
            if among is not None:
                among.append(child)
        return child

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None

    def last_lines(self, count: int = 15) -> str:
        """The end of its log, for an error message."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])

    def family(self) -> list[psutil.Process]:
        """The process and everything it started that still runs."""
        return family(self.process.pid, self.created)


def family(pid: int, created: float) -> list[psutil.Process]:
    """What still runs of a child's session, whether or not the child does, and what started sessions of its own there.

    A child that died leaves its own children to the system, which is their parent from then on; the session remains.
    The system gives no pid away while its session has members, so a leader of another age means that ours is over.
    """
    with contextlib.suppress(psutil.NoSuchProcess):
        if abs(psutil.Process(pid).create_time() - created) >= 1:
            return []
    members: dict[psutil.Process, None] = {}
    for other in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getsid(other) == pid and (process := psutil.Process(other)).create_time() >= created - 1:
                members |= dict.fromkeys([process, *process.children(recursive=True)])
    return [member for member in members if _runs(member)]


def _runs(process: psutil.Process) -> bool:
    """Not gone, and no zombie, which has ended and waits for its parent only."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end_when_input_closes() -> None:
    """End this process when whoever holds the other end of its standard input is gone, killed or not."""

    def wait() -> None:
        # Not sys.stdin: an interpreter that ends for another reason cannot take its lock from this thread and aborts.
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def stop(children: Sequence[Child], patience_s: float = STOP_PATIENCE_S) -> None:
    """Stop children and their descendants: SIGINT, patience, then SIGKILL for what is left. Never touches anything
    else, and no second Ctrl-C interrupts it.
    """

    def left() -> list[psutil.Process]:
        return [member for child in children for member in child.family()]

    with signals_held(drop=True):
        known = left()  # before the first of them dies, and with it the way to what it started elsewhere
        for child in children:
            if child.has_ended:  # nothing of it passes the signal on to its children any more
                send_signal(child.family(), signal.SIGTERM)
            else:
                child.process.send_signal(signal.SIGINT)
        end_all(left, known=known, patience_s=patience_s)
        for child in children:
            child.process.wait()
            if child.process.stdin is not None:
                child.process.stdin.close()


def end_descendants() -> None:
    """End what this process started and left running, dbt say, but for sessions of their own: a PostgreSQL that we
    started is no longer ours.
    """
    here = os.getsid(0)

    def left() -> list[psutil.Process]:
        found = []
        for member in psutil.Process().children(recursive=True):
            with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
                # Python's own helper ends with us, and complains on the terminal when it is ended before.
                is_pythons = any("multiprocessing.resource_tracker" in word for word in member.cmdline())
                if os.getsid(member.pid) == here and _runs(member) and not is_pythons:
                    found.append(member)
        return found

    with signals_held(drop=True):
        send_signal(left(), signal.SIGINT)
        end_all(left)


def end_all(
    left: Callable[[], list[psutil.Process]],
    *,
    known: Sequence[psutil.Process] = (),
    patience_s: float = STOP_PATIENCE_S,
) -> None:
    """Wait until processes that got a signal to stop are gone; then SIGTERM for the rest, then SIGKILL.

    ``left`` looks anew each time: a process that is about to stop may still start another.
    """
    for number, patience in ((None, patience_s), (signal.SIGTERM, LAST_PATIENCE_S), (signal.SIGKILL, LAST_PATIENCE_S)):
        members = [member for member in dict.fromkeys([*known, *left()]) if _runs(member)]
        if number is not None:
            send_signal(members, number)
        deadline = time.monotonic() + patience
        # Not psutil.wait_procs: it waits for an orphan's zombie too, which stays where no process reaps (a container).
        while (members := [member for member in members if _runs(member)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        known = members


def send_signal(members: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to each that is still the process it was."""
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.send_signal(number)
