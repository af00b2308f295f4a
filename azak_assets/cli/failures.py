"""The sentence that a user reads for an expected failure; it says what to do.

Belongs here: knowing failures of others (PostgreSQL, the system, pydantic) by their home and name, and how our own
command is typed. Importing each class here would cost `azak --help` three seconds. Does not belong here: the sentences
of Azak's own exceptions, which are written where they are raised.
"""

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from azak_assets.warehouse.postgres.messages import Trouble, says

LOST_DATABASE = ("OperationalError", "InterfaceError", "AdminShutdown", "DagsterPostgresException")
DISK_FULL = "53100"
"""PostgreSQL's code (SQLSTATE) for a disk, or a quota, that is used up."""


def sentences(error: Exception) -> list[str]:
    """What to tell; empty for a defect, whose traceback is wanted. Azak's own exceptions are sentences."""
    home, name = type(error).__module__, type(error).__name__
    if home.startswith("azak_assets."):
        return [str(error)]
    if home.startswith("pydantic") and getattr(error, "title", "") == "Settings":
        return [
            f"{'.'.join(map(str, problem['loc'])).upper()}={problem['input']!r}: "
            f"{problem['msg'].removeprefix('Value error, ')}. Set it right or unset it."
            for problem in error.errors()  # type: ignore[attr-defined]
        ]
    for cause in _chain(error):
        if getattr(cause, "sqlstate", None) == DISK_FULL or getattr(cause, "pgcode", None) == DISK_FULL:
            return [disk_full_message(str(cause))]
    if home.startswith(("sqlalchemy.", "psycopg", "dagster_postgres")) and name in LOST_DATABASE:
        said = str(getattr(error, "orig", error)).splitlines()[0]
        return [f"PostgreSQL went away ({said}): see that it runs (`azak db status`) and repeat the command."]
    return _of_the_system(error) if isinstance(error, OSError) and error.strerror else []


def _of_the_system(error: OSError) -> list[str]:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = Path(os.fsdecode(error.filename or "."))
        return [f"{where}{error.strerror} ({_space(place)}): free some space, or set AZAK_HOME to another disk."]
    return [f"{where}{error.strerror}. Free or correct it, or set AZAK_HOME to another folder."]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what its driver said, and what it was raised from."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            waiting += [getattr(one, "orig", None), one.__cause__, one.__context__]
    yield from seen


def disk_full_message(said: str) -> str:
    """The sentence for a PostgreSQL that could not write; ``said`` are its own words."""
    from azak_assets.settings import Settings  # noqa: PLC0415 - loads pydantic

    settings = Settings()
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    reason = next((line for line in lines if says(Trouble.DISK_FULL, line)), lines[0]).rstrip(".")
    after = "and run the same command again: the transaction that failed left nothing behind."
    if settings.azak_database_url is not None:
        from azak_assets.warehouse.postgres.address import parse_url  # noqa: PLC0415 - only where it is needed

        host, _ = parse_url(settings.azak_database_url.get_secret_value()).server
        return f"The disk of {host} is full, PostgreSQL could not write ({reason}): free some space there {after}"
    return (
        f"The disk of {settings.azak_home} is full, PostgreSQL could not write ({reason}; "
        f"{_space(settings.azak_home)}): free some space, docs/operations.md says under Retention what may go, {after}"
    )


def _space(path: Path) -> str:
    """How much is free on the disk of a path that need not exist."""
    folder = next(one for one in (path.absolute(), *path.absolute().parents) if one.is_dir())
    usage = shutil.disk_usage(folder)
    return f"{usage.free / 2**30:.2f} of {usage.total / 2**30:.0f} GiB are free at {folder}"


def as_typed(sentence: str) -> str:
    """The sentence with each command in it as this user can type it: where `azak` is not on the PATH, with its path."""
    ours = Path(sys.executable).parent / "azak"
    found = shutil.which("azak")
    if not ours.is_file() or (found is not None and Path(found).resolve() == ours.resolve()):
        return sentence
    try:
        typed = ours.relative_to(Path.cwd())
    except ValueError:
        typed = ours
    return sentence.replace("`azak ", f"`{typed} ")
