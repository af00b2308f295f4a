"""The embedded server: it starts once, answers whom it should, survives what machines do to it, says what is wrong."""

import json
import logging
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import fasteners
import psutil
import psycopg
import pytest

from azak_assets.warehouse.postgres import database, server
from azak_assets.warehouse.postgres.home import Home
from azak_assets.warehouse.postgres.programs import find_account

REPOSITORY = Path(__file__).resolve().parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act for several system accounts")


@pytest.fixture
def home() -> Iterator[Path]:
    """A home of its own, outside pytest's folder (which every starting pytest closes for other accounts again)."""
    with tempfile.TemporaryDirectory(prefix="azak-test-") as folder:
        yield Path(folder) / "home"
        server.stop(Path(folder) / "home")


@pytest.fixture(scope="module")
def stopped_home() -> Iterator[Path]:
    """A home whose server ran and was stopped, to copy from: the many `initdb` would take most of the time."""
    with tempfile.TemporaryDirectory(prefix="azak-test-") as folder:
        server.ensure_running(Path(folder))
        server.stop(Path(folder))
        yield Path(folder)


@pytest.fixture
def used_home(home: Path, stopped_home: Path) -> Path:
    """A home with a cluster in it, nothing running."""
    subprocess.run(["cp", "-a", stopped_home, home], check=True)
    return home


@pytest.fixture(scope="module")
def shared_home() -> Iterator[Path]:
    """One home for the tests that only look."""
    with tempfile.TemporaryDirectory(prefix="azak-test-") as folder:
        server.ensure_running(Path(folder))
        yield Path(folder)
        server.stop(Path(folder))


def run_python(code: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    try:
        return subprocess.run(command, check=False, text=True, capture_output=True, timeout=120, cwd="/", **options)  # type: ignore[call-overload]
    except PermissionError:
        pytest.skip(f"another account may not run {sys.executable}")


ENSURE = """
import sys
from pathlib import Path
from azak_assets.warehouse.postgres import server
try:
    print(server.ensure_running(Path(sys.argv[1])).pid)
except server.ServerError as error:
    sys.exit(f"ServerError: {error}")
"""


def test_starting_twice_is_one_server(shared_home: Path) -> None:
    first = server.ensure_running(shared_home)
    assert server.ensure_running(shared_home) == first
    assert server.status(shared_home) == first


def test_four_processes_at_once_start_one_server(home: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: run_python(ENSURE, home), range(4)))
    assert {answer.returncode for answer in answers} == {0}, [answer.stderr for answer in answers]
    assert len({answer.stdout for answer in answers}) == 1


def test_a_stopped_server_comes_back_with_its_port_its_passwords_and_its_rows(used_home: Path) -> None:
    before = server.ensure_running(used_home)
    with database.connect(before.url("postgres")) as connection:
        connection.execute("create table kept as select 7 as value")
    assert server.stop(used_home) is True
    assert not psutil.pid_exists(before.pid) or psutil.Process(before.pid).status() == psutil.STATUS_ZOMBIE, "gone"
    assert server.status(used_home) is None
    assert server.stop(used_home) is False
    after = server.ensure_running(used_home)
    assert (after.port, after.superuser_password) == (before.port, before.superuser_password)
    with database.connect(after.tcp_url("postgres")) as connection:
        assert connection.execute("select value from kept").fetchone() == (7,)


def test_the_cluster_is_the_same_on_every_machine(shared_home: Path) -> None:
    with database.connect(server.ensure_running(shared_home).url("postgres")) as connection:
        settings = dict(
            connection.execute(
                "select name, setting from pg_settings where name in"
                " ('server_encoding', 'TimeZone', 'synchronous_commit', 'fsync', 'listen_addresses', 'data_checksums')"
            ).fetchall()
        )
        locale = connection.execute(
            "select datlocprovider::text, datlocale, datcollate from pg_database where datname = 'template1'"
        ).fetchone()
    assert settings == {
        "server_encoding": "UTF8",
        "TimeZone": "Asia/Seoul",
        "synchronous_commit": "on",
        "fsync": "on",
        "listen_addresses": "127.0.0.1",
        "data_checksums": "on",
    }
    assert locale == ("b", "C.UTF-8", "C")


def test_tcp_asks_for_the_password_and_the_socket_is_closed_to_other_accounts(shared_home: Path) -> None:
    info = server.ensure_running(shared_home)
    with database.connect(info.tcp_url("postgres")) as connection:
        assert connection.execute("select current_user").fetchone() == ("postgres",)
    for url in (
        info.tcp_url("postgres").replace(info.superuser_password, "wrong"),
        f"postgresql://postgres@127.0.0.1:{info.port}/postgres",
    ):
        with pytest.raises(psycopg.OperationalError, match="password"):
            database.connect(url)
    with database.connect(info.url("postgres")) as connection:
        verifiers = connection.execute("select rolpassword from pg_authid where rolpassword is not null").fetchall()
    assert len(verifiers) == 2
    assert all(verifier.startswith("SCRAM-SHA-256$") for (verifier,) in verifiers)
    assert stat.S_IMODE(info.socket_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((shared_home / "postgres").stat().st_mode) == 0o700


def test_the_address_file_is_for_the_owner_only_and_no_text_of_ours_holds_a_password(shared_home: Path) -> None:
    info = server.ensure_running(shared_home)
    file = shared_home / "postgres.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    remembered = json.loads(file.read_text())
    assert remembered["port"] == info.port
    assert remembered["superuser_password"] == info.superuser_password
    passwords = (info.superuser_password, info.analyst_password)
    assert min(map(len, passwords)) >= 32
    assert not any(
        password in text for password in passwords for text in (repr(info), info.url("azak"), info.log.read_text())
    )


def test_the_analyst_reads_the_marts_of_today_and_tomorrow_and_nothing_else(shared_home: Path) -> None:
    info = server.ensure_running(shared_home)
    url = database.ensure_databases(shared_home, None).azak
    database.upgrade(url)
    with database.connect(url) as owner:
        owner.execute("create table if not exists marts.made_later as select 1 as value")
    with database.connect(info.tcp_url("azak", user=server.ANALYST)) as analyst:
        assert analyst.execute("select value from marts.made_later").fetchone() == (1,)
        for forbidden in ("select * from ops.access_tokens", "select * from raw.stocks"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                analyst.execute(forbidden)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            analyst.execute("insert into marts.made_later values (2)")
        analyst.execute("set default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            analyst.execute("insert into marts.made_later values (2)")


@pytest.mark.parametrize("name", ["a" * 180, 'it\'s a "$HOME", with spaces', "한글 폴더"])
def test_a_home_may_be_called_anything(home: Path, name: str) -> None:
    place = home / name
    try:
        info = server.ensure_running(place)
        with database.connect(info.url("postgres")) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        assert len(os.fsencode(info.socket_dir / f".s.PGSQL.{info.port}")) <= 107
    finally:
        server.stop(place)


def test_a_killed_server_starts_again_with_its_rows(used_home: Path) -> None:
    info = server.ensure_running(used_home)
    with database.connect(info.url("postgres")) as connection:
        connection.execute("create table kept as select 7 as value")
    os.kill(info.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while server.status(used_home) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (used_home / "postgres/data/postmaster.pid").exists(), "the crash leaves its pid file"
    with database.connect(server.ensure_running(used_home).url("postgres")) as connection:
        assert connection.execute("select value from kept").fetchone() == (7,)


def test_a_pid_that_another_process_got_since_is_neither_trusted_nor_touched(used_home: Path) -> None:
    folder = used_home / "postgres"
    account = {"user": folder.stat().st_uid} if os.geteuid() == 0 else {}
    stranger = subprocess.Popen(["sleep", "60"], **account)
    try:
        pid_file = folder / "data/postmaster.pid"
        pid_file.write_text(f"{stranger.pid}\n{folder / 'data'}\n1\n5432\n{folder / 'run'}\n127.0.0.1\n1 1\nready   \n")
        shutil.chown(pid_file, folder.stat().st_uid)
        assert server.status(used_home) is None
        assert server.stop(used_home) is False
        assert server.ensure_running(used_home).pid != stranger.pid
        server.stop(used_home)
        assert stranger.poll() is None, "the other process still runs"
    finally:
        stranger.kill()
        stranger.wait()


def test_a_copied_home_does_not_mistake_the_original_for_its_own(used_home: Path) -> None:
    original = server.ensure_running(used_home)
    copy = used_home.with_name("copy")
    subprocess.run(["cp", "-a", used_home, copy], check=True)
    try:
        assert server.status(copy) is None
        assert server.stop(copy) is False
        second = server.ensure_running(copy)
        assert (second.pid, second.port) != (original.pid, original.port)
        server.stop(copy)
        assert server.status(used_home) == original
    finally:
        server.stop(copy)


def test_a_moved_home_still_finds_its_running_server(used_home: Path) -> None:
    info = server.ensure_running(used_home)
    moved = used_home.rename(used_home.with_name("moved"))
    try:
        found = server.status(moved)
        assert found is not None
        assert found.pid == info.pid
        with database.connect(server.ensure_running(moved).tcp_url("postgres")) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        assert server.stop(moved) is True
    finally:
        moved.rename(used_home)


def test_it_moves_to_another_port_when_its_own_was_taken_and_says_so(
    used_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = server.ensure_running(used_home).port
    server.stop(used_home)
    with socket.socket() as other:
        # Connections that the stopped server has just closed may still hold the port for a minute.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with caplog.at_level(logging.WARNING):
            assert server.ensure_running(used_home).port != port
    assert f"Port {port} is taken by another program" in caplog.text


def test_a_lost_or_damaged_address_file_is_made_anew(used_home: Path, caplog: pytest.LogCaptureFixture) -> None:
    info = server.ensure_running(used_home)
    (used_home / "postgres.json").write_text('{"port": 1')
    again = server.ensure_running(used_home)
    assert again.pid == info.pid
    assert again.superuser_password != info.superuser_password
    assert "postgres.json is damaged" in caplog.text
    with database.connect(again.tcp_url("postgres", user=server.ANALYST)) as connection:
        assert connection.execute("select current_user").fetchone() == (server.ANALYST,)


def test_an_initdb_that_was_killed_leaves_nothing_in_the_way(home: Path) -> None:
    (home / "postgres/data.new/base").mkdir(parents=True)
    assert server.ensure_running(home).port > 0
    assert not (home / "postgres/data.new").exists()


def test_a_folder_of_something_else_is_left_alone(home: Path) -> None:
    (home / "postgres/data").mkdir(parents=True)
    (home / "postgres/data/thesis.txt").write_text("years of work")
    with pytest.raises(server.ServerError, match=r"not a PostgreSQL data directory .* move it away"):
        server.ensure_running(home)
    assert (home / "postgres/data/thesis.txt").read_text() == "years of work"


def test_a_cluster_of_another_version_is_named(used_home: Path) -> None:
    (used_home / "postgres/data/PG_VERSION").write_text("16\n")
    with pytest.raises(
        server.ServerError, match=r"written by PostgreSQL 16 and this Azak brings PostgreSQL 18: dump it"
    ):
        server.ensure_running(used_home)


def test_a_damaged_cluster_says_what_postgresql_said_and_what_to_do(used_home: Path) -> None:
    (used_home / "postgres/data/global/pg_control").write_bytes(b"not a control file")
    with pytest.raises(
        server.ServerError, match=r"could not start: .*pg_control.* restore .* or move it away"
    ) as raised:
        server.ensure_running(used_home)
    assert "\n" not in str(raised.value)


def test_a_lock_file_without_a_holder_is_no_obstacle_and_a_held_one_is_named(
    used_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (used_home / "postgres.lock").write_text("left over")
    server.ensure_running(used_home)
    server.stop(used_home)
    monkeypatch.setattr(server, "LOCK_TIMEOUT_S", 0.3)
    holder = fasteners.InterProcessLock(used_home / "postgres.lock")
    assert holder.acquire(blocking=False)
    try:
        code = (
            "import azak_assets.warehouse.postgres.server as s, sys; from pathlib import Path; s.LOCK_TIMEOUT_S = 0.3\n"
            "try: s.ensure_running(Path(sys.argv[1]))\nexcept s.ServerError as error: print(error)"
        )
        assert "Another azak command has been starting or stopping" in run_python(code, used_home).stdout
    finally:
        holder.release()


def test_a_nearly_full_disk_is_refused_before_anything_is_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MIN_FREE_BYTES", 2**60)
    with pytest.raises(server.ServerError, match=r"MB free and PostgreSQL needs .* free some space, or set AZAK_HOME"):
        server.ensure_running(home)
    assert not (home / "postgres").exists()


@as_root
@pytest.mark.parametrize("megabytes", [20, 60])
def test_a_disk_that_fills_up_while_starting_is_called_full(
    home: Path, monkeypatch: pytest.MonkeyPatch, megabytes: int
) -> None:
    home.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", home], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("this system does not let us mount a small disk")
    try:
        monkeypatch.setattr(server, "MIN_FREE_BYTES", 0)
        if megabytes > 50:  # large enough for the cluster, then full: the start itself fails
            server.ensure_running(home)
            server.stop(home)
            with suppress(OSError), (home / "filler").open("wb", buffering=0) as filler:
                while True:
                    filler.write(b"x" * 65536)
        with pytest.raises(server.ServerError, match=r"disk of .* is full, .* free some space"):
            server.ensure_running(home)
    finally:
        server.stop(home)
        subprocess.run(["umount", home], check=True)


def test_it_outlives_its_starter_and_a_ctrl_c_in_the_starters_terminal(used_home: Path) -> None:
    code = ENSURE + "\nimport time; sys.stdout.flush(); time.sleep(60)"
    starter = subprocess.Popen(
        [sys.executable, "-c", code, used_home], stdout=subprocess.PIPE, text=True, start_new_session=True, cwd="/"
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    os.killpg(starter.pid, signal.SIGINT)
    starter.wait(timeout=30)
    starter.stdout.close()
    info = server.status(used_home)
    assert info is not None
    assert info.pid == pid


@as_root
def test_as_root_a_home_below_a_closed_folder_works_and_the_folder_stays_unlisted(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(parents=True, mode=0o700)
    info = server.ensure_running(closed / "home")
    try:
        assert psutil.Process(info.pid).uids().real != 0
        assert stat.S_IMODE(closed.stat().st_mode) == 0o701
    finally:
        server.stop(closed / "home")


@as_root
def test_an_ordinary_user_runs_it_as_themselves_and_root_may_join(home: Path) -> None:
    user = find_account(Home(home))
    assert user is not None
    home.mkdir()
    home.parent.chmod(0o755)
    os.chown(home, user.uid, user.gid)
    started = run_python(ENSURE, home, user=user.uid, group=user.gid, extra_groups=[])
    assert started.returncode == 0, started.stderr
    assert server.ensure_running(home).pid == int(started.stdout)
    assert psutil.Process(int(started.stdout)).uids().real == user.uid
    server.stop(home)
    assert psutil.Process(server.ensure_running(home).pid).uids().real == user.uid
    assert {file.stat().st_uid for file in (home / "postgres.json", home / "postgres.lock")} == {user.uid}


@as_root
def test_the_home_of_somebody_else_is_refused_with_their_name(home: Path) -> None:
    server.ensure_running(home)
    home.parent.chmod(0o755)
    refused = run_python(ENSURE, home, user=65534, group=65534, extra_groups=[])
    assert "ServerError: " in refused.stderr
    assert "run azak as that user, or set AZAK_HOME" in refused.stderr
    assert "Traceback" not in refused.stderr
