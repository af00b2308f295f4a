"""Children and signals: what was started is found and ended however its parents died; nothing interrupts stopping."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from azak_assets.cli import processes
from azak_assets.cli.processes import Child, end_all, family, stop

PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
STUBBORN = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (2, 15)]; print('here'); time.sleep(600)"


def child(tmp_path: Path, code: str) -> Child:
    log = tmp_path / "child.log"
    return Child.start("child", [sys.executable, "-u", "-c", code], environment={}, log=log, cwd=tmp_path)


def until(is_true, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def has_ended(process: psutil.Process) -> bool:
    """Gone, or a zombie that waits for a parent only, which a container may not have."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def bystander() -> Iterator[psutil.Process]:
    """In a session of its own like our children, and none of them."""
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def test_what_a_dead_child_leaves_behind_is_found_and_ended(tmp_path: Path, bystander: psutil.Process) -> None:
    died = child(tmp_path, PARENT)
    until(lambda: died.has_ended)
    (orphan,) = died.family()
    assert orphan.pid != died.process.pid
    stop([died])
    assert has_ended(orphan)
    assert died.family() == []
    assert bystander.is_running()


def test_a_grandchild_with_a_session_of_its_own_belongs_to_the_family(tmp_path: Path) -> None:
    apart = PARENT.replace("])", "], start_new_session=True); time.sleep(600)")
    living = child(tmp_path, apart)
    until(lambda: len(living.family()) == 2)
    members = living.family()
    stop([living], patience_s=1)
    assert all(has_ended(member) for member in members)


def test_a_pid_that_somebody_else_has_by_now_is_left_alone(bystander: psutil.Process) -> None:
    assert family(bystander.pid, bystander.create_time()) == [bystander]
    assert family(bystander.pid, bystander.create_time() - 60) == []


def test_who_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LAST_PATIENCE_S", 0.2)
    stubborn = child(tmp_path, STUBBORN)
    until(lambda: "here" in stubborn.log.read_text())
    end_all(stubborn.family, patience_s=0.2)
    assert stubborn.family() == []
    stop([stubborn])


PREAMBLE = """
import os, signal, subprocess, sys, time
from contextlib import ExitStack
from pathlib import Path
from azak_assets.cli import processes
from azak_assets.cli import processes
from azak_assets.cli.processes import Child, Stopped, stop, stop_on_signals
stop.__defaults__ = (1,)  # patience
processes.LAST_PATIENCE_S = 0.5
stop_on_signals()
def start(name, *command, among=None):
    return Child.start(name, command, environment={}, log=Path(name), cwd=".", among=among)
child = start("stubborn", sys.executable, "-u", "-c", STUBBORN)
print(child.process.pid, flush=True)
while "here" not in child.log.read_text():
    time.sleep(0.05)
print("ready", flush=True)
"""


BEHIND_NOHUP = ("sh", "-c", "trap '' INT HUP; exec \"$@\"", "sh")
"""Put before a command it starts as below `nohup … &`: Ctrl-C and a closed terminal are ignored from birth."""


@contextmanager
def running(
    tmp_path: Path, body: str, under: tuple[str, ...] = ()
) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """Another interpreter that has one child, which only a kill ends, and runs ``body``; and that child."""
    code = f"STUBBORN = {STUBBORN!r}{PREAMBLE}{body}"
    with subprocess.Popen(
        [*under, sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path, start_new_session=True
    ) as started:
        assert started.stdout is not None
        child = psutil.Process(int(started.stdout.readline()))
        try:
            assert started.stdout.readline() == "ready\n"
            yield started, child
        finally:
            started.kill()
            for member in (child, *child.children()) if child.is_running() else ():
                member.kill()


def next_line(started: subprocess.Popen[str]) -> str:
    assert started.stdout is not None
    return started.stdout.readline().strip()


@pytest.mark.parametrize(
    ("number", "under"),
    [
        (signal.SIGINT, ()),
        (signal.SIGTERM, ()),
        (signal.SIGHUP, ()),
        (signal.SIGINT, BEHIND_NOHUP),
        (signal.SIGTERM, BEHIND_NOHUP),
    ],
)
def test_a_second_signal_does_not_interrupt_the_stopping(
    tmp_path: Path, number: signal.Signals, under: tuple[str, ...]
) -> None:
    body = """
try:
    print("waiting", flush=True)
    time.sleep(600)
except Stopped as stopped:
    print("stopped", stopped.exit_code, flush=True)
    stop([child])
    print("done", flush=True)
"""
    with running(tmp_path, body, under) as (started, below):
        assert next_line(started) == "waiting"
        started.send_signal(number)
        assert next_line(started) == f"stopped {128 + number}"
        for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            started.send_signal(again)
        assert next_line(started) == "done"
        assert started.wait() == 0
        assert has_ended(below)


def test_a_signal_while_an_error_stops_what_was_started_loses_no_error(tmp_path: Path) -> None:
    # As `prepared` does it: the stopping belongs to the block that the error leaves.
    body = """
try:
    with ExitStack() as stack:
        stack.callback(stop, [child])
        stack.callback(print, "stopping", flush=True)
        raise RuntimeError("the cause")
except (RuntimeError, Stopped) as error:
    print(error, flush=True)
"""
    with running(tmp_path, body) as (started, below):
        assert next_line(started) == "stopping"
        time.sleep(0.3)
        started.send_signal(signal.SIGINT)
        assert next_line(started) == "the cause"
        assert has_ended(below)


def test_no_signal_finds_a_child_started_and_unknown(tmp_path: Path) -> None:
    body = """
popen, children = subprocess.Popen, [child]
def interrupted(*arguments, **options):
    process = popen(*arguments, **options)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
    return process
subprocess.Popen = interrupted
try:
    start("late", "sleep", "600", among=children)
except Stopped:
    print(len(children), flush=True)
    stop(children)
    print(sum(len(one.family()) for one in children), flush=True)
"""
    with running(tmp_path, body) as (started, _):
        assert [next_line(started), next_line(started)] == ["2", "0"]


def test_a_command_ends_what_it_left_running_but_no_session_of_its_own(
    tmp_path: Path, bystander: psutil.Process
) -> None:
    body = """
for apart in (False, True):
    print(subprocess.Popen(["sleep", "600"], start_new_session=apart).pid, flush=True)
processes.end_descendants()
print("done", flush=True)
time.sleep(600)
"""
    with running(tmp_path, body) as (started, below):
        ours, apart = (psutil.Process(int(next_line(started))) for _ in range(2))
        assert next_line(started) == "done"
        assert has_ended(ours)
        assert apart.is_running(), "a PostgreSQL that the command started lives on"
        assert below.is_running()
        assert bystander.is_running()
        apart.kill()


def test_a_command_under_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    code = "from azak_assets.cli.processes import stop_on_signals; stop_on_signals(); print('up', flush=True); input()"
    command = ["nohup", sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path
    ) as started:
        assert next_line(started) == "up"
        started.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert started.poll() is None
        started.communicate("\n")
        assert started.returncode == 0


def test_what_a_command_behind_nohup_starts_ignores_no_signal(tmp_path: Path) -> None:
    body = """
waits = "import time; print('here', flush=True); time.sleep(600)"
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    one = start(number.name, sys.executable, "-c", waits)
    while "here" not in one.log.read_text():
        time.sleep(0.05)
    one.process.send_signal(number)
    print(number.name, one.process.wait(20), flush=True)
print(signal.getsignal(signal.SIGHUP).name, flush=True)
"""
    with running(tmp_path, body, BEHIND_NOHUP) as (started, _):
        # Python makes an exception of Ctrl-C, ends itself with the signal and so keeps the status.
        assert next_line(started) == f"SIGINT {-signal.SIGINT}"
        assert next_line(started) == f"SIGTERM {-signal.SIGTERM}"
        assert next_line(started) == f"SIGHUP {-signal.SIGHUP}"
        assert next_line(started) == "SIG_IGN", "the command itself outlives its terminal as before"


def test_the_session_of_a_child_is_its_own(tmp_path: Path) -> None:
    living = child(tmp_path, "import time; time.sleep(600)")
    assert os.getsid(living.process.pid) == living.process.pid != os.getsid(0)
    stop([living])
