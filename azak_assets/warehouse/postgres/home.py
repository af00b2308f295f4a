"""Where the files of one home lie.

Belongs here: their paths and their owner. Does not belong here: what stands in them (`address_file`, `server`).
"""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """The files of one home; `path` is absolute and without symbolic links, so that two spellings are one server."""

    path: Path

    @property
    def address(self) -> Path:
        """The address file: port and passwords."""
        return self.path / "postgres.json"

    @property
    def lock(self) -> Path:
        """Held while a process starts or stops the server."""
        return self.path / "postgres.lock"

    @property
    def folder(self) -> Path:
        """All that belongs to the server's account."""
        return self.path / "postgres"

    @property
    def data(self) -> Path:
        """The database cluster."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.folder / "server.log"


def give_to_home_owner(place: Home, file: Path) -> None:
    """What root writes into the home of an ordinary user, that user must be able to use."""
    if os.geteuid() == 0:
        owner = place.path.stat()
        os.chown(file, owner.st_uid, owner.st_gid)
