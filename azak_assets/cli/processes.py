"""Children of the command line: started in sessions of their own, watched, and stopped with everything they started.

Belongs here: processes and ports. Does not belong here: what is started and why (`environment`, `up`).
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

STOP_PATIENCE_S = 12
"""A run that is told to stop finishes its transaction first; after this long it is killed, and its transaction rolls
back.
"""


UP_LOCK = "up.lock"
"""File under AZAK_HOME that a running `azak up` holds; the kernel lets go of it when its holder dies."""


def is_held(lock: Path) -> bool:
    """Whether another process holds this lock now."""
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def program(name: str) -> str:
    """The path of a program installed beside this Python, so that an unactivated virtual environment works."""
    return str(Path(sys.executable).parent / name)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_port_free(port: int) -> bool:
    """Whether nobody listens on this TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class Child:
    """One process that we started, with the log its output goes to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(
        cls, name: str, command: Sequence[str], *, environment: Mapping[str, str], log: Path, cwd: Path
    ) -> "Child":
        """Start ``command`` in a session of its own: Ctrl-C reaches us alone, and we stop our children in order.

        Its standard input is a pipe that closes when we end, however we end; a child that reads it can follow us.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                cwd=cwd,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(name, process, log)

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None

    def last_lines(self, count: int = 15) -> str:
        """The end of its log, for an error message."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])

    def family(self) -> list[psutil.Process]:
        """The process and everything it started that still runs."""
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        return []


def end_when_input_closes() -> None:
    """End this process when whoever holds the other end of its standard input is gone, killed or not."""

    def wait() -> None:
        # Not sys.stdin: an interpreter that ends for another reason cannot take its lock from this thread and aborts.
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def stop(children: Sequence[Child]) -> None:
    """Stop children and their descendants: SIGINT, patience, then SIGKILL for what is left. Never touches anything
    else.
    """
    family = [member for child in children for member in child.family()]
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            child.process.send_signal(signal.SIGINT)
    end_all(family, first=signal.SIGTERM, patience_s=STOP_PATIENCE_S)
    for child in children:
        child.process.wait()
        if child.process.stdin is not None:
            child.process.stdin.close()


def end_all(family: Sequence[psutil.Process], *, first: signal.Signals, patience_s: float) -> None:
    """Wait for processes that were told to stop; signal the rest with ``first``, then kill what still runs."""
    _, alive = psutil.wait_procs(family, timeout=patience_s)
    for member in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.send_signal(first)
    _, alive = psutil.wait_procs(alive, timeout=3)
    for member in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(alive, timeout=3)
