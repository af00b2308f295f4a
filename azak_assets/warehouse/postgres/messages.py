"""What PostgreSQL and the system say where no code comes with the words, and what the words mean.

Belongs here: each text that a branch depends on, with the reason why there is no code. Does not belong here: errors
that carry an SQLSTATE, an errno or a type of their own, which are recognised by that; what the user reads (`failures`).
"""

import errno
import os
from enum import Enum


class Trouble(Enum):
    """A cause that is known by its words alone."""

    DISK_FULL = "disk full"
    PORT_TAKEN = "port taken"
    REFUSED = "refused"
    """The server answers and will go on to refuse."""


WORDS = {
    # `initdb`, `pg_ctl` and the server's log print the system's text for an errno; a step's error reaches the command
    # that shows it as text, out of another process.
    Trouble.DISK_FULL: (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT)),
    # `pg_ctl` has one exit code for every start that failed; the log has the system's text.
    Trouble.PORT_TAKEN: (os.strerror(errno.EADDRINUSE),),
    # libpq passes no SQLSTATE on for a connection that was not made. In the language of an English server; the answers
    # of others are waited for, then shown.
    Trouble.REFUSED: (
        "password authentication failed",
        "does not exist",
        "no pg_hba.conf entry",
        "no password supplied",
    ),
}


def says(trouble: Trouble, text: str) -> bool:
    """Whether the text has words of this trouble."""
    return any(words in text for words in WORDS[trouble])
