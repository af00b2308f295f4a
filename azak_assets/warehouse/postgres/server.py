"""The embedded PostgreSQL: one server per AZAK_HOME, started when needed and left running until it is stopped.

Belongs here: the life of that server (create, start, find, stop), its settings and its two roles. Does not belong here:
PostgreSQL's programs and the account they run as (`programs`), the address (`address_file`), databases, migrations and
readiness of any server (`database`), and settings from the environment (a home is handed in as a path).

Layout of a home::

    postgres.json    address and passwords, mode 0600
    postgres.lock    held while a process starts or stops the server; the kernel releases the lock of a dead holder
    postgres/        mode 0700, owned by the account the server runs as
        data/        the database cluster
        run/         the Unix socket (in a short temporary folder when the path of the home is too long for one)
        server.log   the server's log

Who may connect: over the Unix socket whoever can enter its folder (mode 0700: the owner and root), without a password;
over 127.0.0.1 only with a SCRAM password.
"""

import logging
import os
import shlex
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import fasteners
import psutil
import psycopg
from psycopg import sql

from azak_assets.loopback import HOST, free_port
from azak_assets.warehouse.postgres.address_file import (
    ANALYST,
    SUPERUSER,
    Remembered,
    ServerInfo,
    new_passwords,
    read_remembered,
    remember,
)
from azak_assets.warehouse.postgres.failures import ServerError, explain, explain_os_error, not_ours
from azak_assets.warehouse.postgres.home import Home, give_to_home_owner
from azak_assets.warehouse.postgres.messages import Trouble, says
from azak_assets.warehouse.postgres.programs import (
    MAJOR_VERSION,
    Account,
    find_account,
    let_read_binaries,
    let_walk_through,
    make_private_folder,
    run,
)

logger = logging.getLogger(__name__)

LOCK_TIMEOUT_S = 90
START_TIMEOUT_S = 120
"""After a power cut PostgreSQL replays up to `max_wal_size` of WAL before it answers."""
STOP_TIMEOUT_S = 60
MIN_FREE_BYTES = 256 * 2**20
"""A new cluster takes 40 MB, each WAL file 16 MB; with less than this a start would only die later and less clearly."""
MAX_LOG_BYTES = 20 * 2**20
MAX_SOCKET_PATH_BYTES = 103
"""`sun_path` holds 104 bytes on macOS and 108 on Linux, the closing zero included."""

SETTINGS = {
    # A laptop's share of memory: the bulk loads and the marts of a few hundred sessions fit.
    "shared_buffers": "256MB",
    "effective_cache_size": "2GB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    # Dagster's storage opens a connection per query and every run worker has its own pool.
    "max_connections": "200",
    # A day of minute bars writes 200 MB of WAL; the default of 1 GB would checkpoint in the middle of a backfill.
    "max_wal_size": "4GB",
    "min_wal_size": "256MB",
    "checkpoint_timeout": "15min",
    # Solid state: a random page costs about as much as a sequential one.
    "random_page_cost": "1.1",
    # Sessions show Korean time: an analyst's `known_at::date` is then the KST date, which every `*_day` column means.
    # In UTC it would be yesterday for whatever happens before 09:00, the whole time before the open.
    "timezone": "Asia/Seoul",
    "log_timezone": "Asia/Seoul",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "unix_socket_permissions": "0700",
    "listen_addresses": HOST,
}


@dataclass(frozen=True, slots=True)
class _Postmaster:
    """A live server process of a data directory, as its `postmaster.pid` describes it."""

    pid: int
    port: int
    socket_dir: Path
    is_ready: bool


def ensure_running(home: Path) -> ServerInfo:
    """Return the server of this home, starting (and first creating) it when it does not run.

    Safe to call from many processes at once and cheap when the server runs (it reads two small files).

    Raises:
        ServerError: it cannot run here; the message says why and what to do.
    """
    place = Home(home.expanduser().resolve())
    info = _find(place)
    if info is not None:
        return info
    with _locked(place):
        return _find(place) or _start(place)


def status(home: Path) -> ServerInfo | None:
    """Return the server of this home if it runs and answers, else None; starts nothing."""
    return _find(Home(home.expanduser().resolve()))


def stop(home: Path) -> bool:
    """Stop the server of this home and wait for it; True if it ran. Open sessions are rolled back and disconnected.

    Raises:
        ServerError: it did not stop in time.
    """
    place = Home(home.expanduser().resolve())
    if not place.folder.is_dir():
        return False
    with _locked(place):
        postmaster = _postmaster(place.data)
        if postmaster is None:
            return False
        # SIGINT is PostgreSQL's "fast" shutdown. `pg_ctl stop` would, as root, need a way through the folders again.
        # Wait for the process itself: the next start would otherwise meet its shared memory. A zombie is gone, it waits
        # for a parent only, which a container may not have.
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(postmaster.pid)
            process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while process.is_running() and process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
                time.sleep(0.02)
        if _postmaster(place.data) is None:
            return True
        msg = (
            f"The PostgreSQL server of {place.path} (process {postmaster.pid}) did not stop within {STOP_TIMEOUT_S} s: "
            f"look at the end of {place.log}, end what keeps it busy, and run this again."
        )
        raise ServerError(msg)


def _find(place: Home) -> ServerInfo | None:
    """The running, answering server with known passwords; None asks for the careful way under the lock."""
    postmaster = _postmaster(place.data)
    address = read_remembered(place)
    if postmaster is None or not postmaster.is_ready or address is None:
        return None
    return _info(place, postmaster, address)


def _info(place: Home, postmaster: _Postmaster, address: Remembered) -> ServerInfo:
    return ServerInfo(
        data_dir=place.data,
        socket_dir=postmaster.socket_dir,
        port=postmaster.port,
        pid=postmaster.pid,
        log=place.log,
        superuser_password=address.superuser_password,
        analyst_password=address.analyst_password,
    )


def _postmaster(data: Path) -> _Postmaster | None:
    """The live server of a data directory.

    A pid alone proves nothing: after a crash another process may own it. A PostgreSQL server works inside its data
    directory, which also holds when the home was moved, or copied from a home whose server runs.
    """
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        process = psutil.Process(int(lines[0]))
        works_here = process.name().startswith("postgres") and Path(process.cwd()).samefile(data)
    except (FileNotFoundError, NotADirectoryError, IndexError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    except PermissionError as error:
        raise ServerError(not_ours(data)) from error
    if not works_here:
        return None
    lines += [""] * (8 - len(lines))  # the file grows while the server starts
    return _Postmaster(process.pid, int(lines[3] or 0), Path(lines[4]), is_ready=lines[7].strip() == "ready")


def _start(place: Home) -> ServerInfo:
    account = find_account(place)
    try:
        _prepare_folders(place, account)
        if not _is_initialised(place):
            _initialise(place, account)
        address = read_remembered(place) or new_passwords()
        postmaster = _postmaster(place.data)
        if postmaster is None:
            address = _launch(place, account, address)
        postmaster = _wait_until_ready(place)
        info = _info(place, postmaster, address)
        remember(place, info)
        _set_roles(info)
    except OSError as error:
        raise ServerError(explain_os_error(place, error)) from error
    return info


def _prepare_folders(place: Home, account: Account | None) -> None:
    free = shutil.disk_usage(place.path).free
    if free < MIN_FREE_BYTES:
        msg = (
            f"The disk of {place.path} has only {free // 2**20} MB free and PostgreSQL needs "
            f"{MIN_FREE_BYTES // 2**20} MB to start: free some space, or set AZAK_HOME to a folder on another disk."
        )
        raise ServerError(msg)
    make_private_folder(place.folder, account)
    if account is not None:
        let_walk_through(place.folder, account)
        let_read_binaries(account)
    if place.log.exists() and place.log.stat().st_size > MAX_LOG_BYTES:
        place.log.replace(place.log.with_suffix(".log.1"))


def _is_initialised(place: Home) -> bool:
    version_file = place.data / "PG_VERSION"
    if version_file.exists():
        version = version_file.read_text().strip()
        if version != str(MAJOR_VERSION):
            msg = (
                f"{place.data} was written by PostgreSQL {version or '(unknown)'} and this Azak brings PostgreSQL "
                f"{MAJOR_VERSION}: dump it with the older version and restore it, or move {place.folder} away to "
                "start empty."
            )
            raise ServerError(msg)
        return True
    if place.data.exists() and any(place.data.iterdir()):
        msg = (
            f"{place.data} holds files but is not a PostgreSQL data directory (no PG_VERSION): restore it from a "
            "backup, or move it away to start empty."
        )
        raise ServerError(msg)
    return False


def _initialise(place: Home, account: Account | None) -> None:
    """Create the cluster beside its place and move it there when complete: a killed initdb leaves nothing behind."""
    unfinished = place.folder / "data.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    logger.info("Creating a PostgreSQL %s cluster in %s", MAJOR_VERSION, place.data)
    arguments = [
        f"--pgdata={unfinished.name}",
        f"--username={SUPERUSER}",
        "--encoding=UTF8",
        # The built-in provider sorts and folds case the same on every system; this build has no ICU.
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--auth-local=trust",
        "--auth-host=scram-sha-256",
    ]
    code, output = run("initdb", arguments, account, folder=place.folder, timeout=START_TIMEOUT_S)
    if code != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise ServerError(explain(place, output, doing="create its data directory"))
    with (unfinished / "postgresql.conf").open("a") as file:
        file.write("\n# Azak writes this file anew at every start.\ninclude 'azak.conf'\n")
    if place.data.exists():
        place.data.rmdir()
    unfinished.rename(place.data)


def _launch(place: Home, account: Account | None, address: Remembered) -> Remembered:
    """Start the server process on a free port, the one it had before if possible."""
    _forget_dead_server(place)
    socket_dir = _socket_dir(place, account)
    for _ in range(3):  # between our look and the server's bind another program may take the port
        port = free_port(address.port)
        if address.port not in (None, port):
            logger.warning(
                "Port %s is taken by another program: PostgreSQL of %s moves to port %s; tell your BI tool.",
                address.port,
                place.path,
                port,
            )
        _write_settings(place, account, port, socket_dir)
        log_start = place.log.stat().st_size if place.log.exists() else 0
        # Relative names: pg_ctl hands them to a shell, which would read a quote or a `$` in the home's path.
        arguments = ["start", "-D", place.data.name, "-l", place.log.name, "-s", "-w", "-t", str(START_TIMEOUT_S)]
        code, output = run("pg_ctl", arguments, account, folder=place.folder, timeout=START_TIMEOUT_S + 10)
        if code == 0:
            return replace(address, port=port)
        said = _read_from(place.log, log_start) + output
        if not says(Trouble.PORT_TAKEN, said):
            break
    raise ServerError(explain(place, said, doing="start"))


def _forget_dead_server(place: Home) -> None:
    """Remove what a crashed server left, now that we know that it does not run.

    PostgreSQL itself ignores a `postmaster.pid` whose process is gone, but refuses to start when an unrelated process
    of the same account got that pid since (`lock file "postmaster.pid" already exists`).
    """
    pid_file = place.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines() if pid_file.exists() else []
    if lines and lines[0].isdigit() and psutil.pid_exists(int(lines[0])):
        pid_file.unlink()
    for candidate in _socket_dir_candidates(place):
        for left_over in candidate.glob(".s.PGSQL.*"):
            left_over.unlink()


def _socket_dir_candidates(place: Home) -> list[Path]:
    short = f"azak-{os.geteuid()}-{sha256(os.fsencode(place.path)).hexdigest()[:12]}"
    return [place.folder / "run", Path(tempfile.gettempdir()) / short, Path("/tmp") / short]  # noqa: S108 -- private, checked


def _socket_dir(place: Home, account: Account | None) -> Path:
    fitting = (
        folder
        for folder in _socket_dir_candidates(place)
        # libpq takes a comma for the end of one host and the start of another
        if len(os.fsencode(folder / ".s.PGSQL.65535.lock")) <= MAX_SOCKET_PATH_BYTES and "," not in str(folder)
    )
    folder = next(fitting)
    make_private_folder(folder, account)
    if account is not None:
        let_walk_through(folder, account)
    return folder


def _write_settings(place: Home, account: Account | None, port: int, socket_dir: Path) -> None:
    values = SETTINGS | {
        "port": str(port),
        "unix_socket_directories": '"{}"'.format(str(socket_dir).replace('"', '""')),
    }
    lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in values.items()]
    file = place.data / "azak.conf"
    file.write_text("# Written by Azak at every start: changes here are lost.\n" + "\n".join(lines) + "\n")
    if account is not None:
        os.chown(file, account.uid, account.gid)


def _wait_until_ready(place: Home) -> _Postmaster:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        postmaster = _postmaster(place.data)
        if postmaster is None:
            break
        if postmaster.is_ready:
            return postmaster
        time.sleep(0.1)
    raise ServerError(explain(place, _read_from(place.log, max(0, place.log.stat().st_size - 4096)), doing="start"))


def _set_roles(info: ServerInfo) -> None:
    """Give both roles the passwords of `postgres.json`, whatever they were before; only verifiers reach the server."""
    with psycopg.connect(
        host=str(info.socket_dir),
        port=info.port,
        user=SUPERUSER,
        dbname="postgres",
        autocommit=True,
        connect_timeout=10,
    ) as connection:
        known = connection.execute("select 1 from pg_roles where rolname = %s", [ANALYST]).fetchone()
        if known is None:
            connection.execute(sql.SQL("create role {} login").format(sql.Identifier(ANALYST)))
        connection.execute(
            sql.SQL("alter role {} set default_transaction_read_only = on").format(sql.Identifier(ANALYST))
        )
        for role, password in ((SUPERUSER, info.superuser_password), (ANALYST, info.analyst_password)):
            verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
            connection.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(verifier)))


@contextmanager
def _locked(place: Home) -> Iterator[None]:
    try:
        place.path.mkdir(parents=True, exist_ok=True)
        lock = fasteners.InterProcessLock(place.lock)
        acquired = lock.acquire(timeout=LOCK_TIMEOUT_S, delay=0.02, max_delay=0.2)
        give_to_home_owner(place, place.lock)
    except OSError as error:
        raise ServerError(explain_os_error(place, error)) from error
    if not acquired:
        msg = (
            f"Another azak command has been starting or stopping the PostgreSQL server of {place.path} for over "
            f"{LOCK_TIMEOUT_S} s: wait for it or end it (`lsof {shlex.quote(str(place.lock))}` names it), then retry."
        )
        raise ServerError(msg)
    try:
        yield
    finally:
        lock.release()


def _read_from(file: Path, offset: int) -> str:
    if not file.exists():
        return ""
    with file.open("rb") as opened:
        opened.seek(offset)
        return opened.read().decode(errors="replace")
