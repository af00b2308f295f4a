"""What the embedded server raises: sentences that name the place and say what to do.

Belongs here: the words for a full disk, a folder of somebody else and the last line of a log. Does not belong here:
deciding that something failed (`server`, `programs`).
"""

import errno
import os
import pwd
from pathlib import Path

from azak_assets.warehouse.postgres.home import Home
from azak_assets.warehouse.postgres.messages import Trouble, says


class ServerError(Exception):
    """The embedded server cannot be started, found or stopped; the message is one sentence that says what to do."""


def explain(place: Home, output: str, *, doing: str) -> str:
    """The sentence for a program of PostgreSQL that failed; ``output`` is what it printed or logged."""
    if says(Trouble.DISK_FULL, output):
        return explain_full_disk(place)
    severe = [line for line in output.splitlines() if any(word in line for word in ("FATAL", "PANIC", "error:"))]
    reason = _last_line("\n".join(severe)) or _last_line(output) or "no reason given"
    return (
        f"The PostgreSQL server of {place.path} could not {doing}: {reason}; its log is {place.log}; if the data is "
        f"damaged, restore {place.folder} from a backup or move it away to start empty."
    )


def explain_os_error(place: Home, error: OSError) -> str:
    """The sentence for a folder or file that the system refused."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return explain_full_disk(place)
    if isinstance(error, PermissionError):
        return not_ours(Path(os.fsdecode(error.filename)) if error.filename else place.path)
    return f"The folder {place.path} cannot be used for PostgreSQL ({error}): set AZAK_HOME to another folder."


def explain_full_disk(place: Home) -> str:
    """The sentence for a disk or quota that is used up."""
    return (
        f"The disk of {place.path} is full, PostgreSQL could not write: free some space, or set AZAK_HOME to a folder "
        "on another disk, and run this again."
    )


def not_ours(path: Path) -> str:
    """The sentence for a file of another user."""
    try:
        owner = pwd.getpwuid(path.stat().st_uid).pw_name
    except (KeyError, OSError):
        owner = "another user"
    return f"{path} belongs to {owner}: run azak as that user, or set AZAK_HOME to a folder of your own."


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
