"""`postgres.json`: the port and the passwords of the embedded server, kept between two starts; and its URLs.

Belongs here: reading and writing that file, and the URL of a database of the server. Does not belong here: starting and
stopping, and giving the passwords to the roles (`server`).
"""

import json
import logging
import os
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from azak_assets.loopback import HOST
from azak_assets.warehouse.postgres.address import DRIVER, Address
from azak_assets.warehouse.postgres.failures import ServerError, not_ours
from azak_assets.warehouse.postgres.home import Home, give_to_home_owner

logger = logging.getLogger(__name__)

SUPERUSER = "postgres"
ANALYST = "azak_analyst"
"""The role for BI tools: reads the schema `marts` (granted by `database.upgrade`), writes nothing."""


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

    def url(self, database: str, driver: str = DRIVER) -> str:
        """A SQLAlchemy URL over the Unix socket, as superuser; it holds no password and works for the owner only."""
        query = {"host": str(self.socket_dir), "port": str(self.port)}
        return Address(f"postgresql+{driver}", database, SUPERUSER, query=query).render_as_string()

    def tcp_url(self, database: str, driver: str | None = DRIVER, user: str = SUPERUSER) -> str:
        """A URL over 127.0.0.1 with the password of `postgres` or `azak_analyst`; `driver=None`: `postgresql://`."""
        password = {SUPERUSER: self.superuser_password, ANALYST: self.analyst_password}[user]
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return Address(scheme, database, user, password, HOST, self.port).render_as_string(hide_password=False)


@dataclass(frozen=True, slots=True)
class Remembered:
    """The port, None before the first start, and the passwords of both roles."""

    port: int | None
    superuser_password: str = field(repr=False)
    analyst_password: str = field(repr=False)


def new_passwords() -> Remembered:
    """Passwords for a first start."""
    return Remembered(None, secrets.token_urlsafe(24), secrets.token_urlsafe(24))


def read_remembered(place: Home) -> Remembered | None:
    """The content of the file; None when it is missing or unreadable (the passwords are then made anew).

    Raises:
        ServerError: the file belongs to another user.
    """
    try:
        remembered: Any = json.loads(place.address.read_text())
        return Remembered(
            int(remembered["port"]), str(remembered["superuser_password"]), str(remembered["analyst_password"])
        )
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise ServerError(not_ours(place.address)) from error
    except (ValueError, KeyError, TypeError):
        logger.warning("%s is damaged: PostgreSQL's passwords are made anew.", place.address)
        return None


def remember(place: Home, info: ServerInfo) -> None:
    """Write the file, mode 0600, for the owner of the home."""
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
    give_to_home_owner(place, Path(name))
    Path(name).replace(place.address)
