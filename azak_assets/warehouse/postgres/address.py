"""The address of a database: the URL that users write and that SQLAlchemy, psycopg and dbt each need in their own form.

Belongs here: reading and rendering such a URL. Does not belong here: connecting (`database`).

SQLAlchemy reads the same URLs, but its import alone costs most of the 0.5 s of CPU that a command like `azak db status`
may take; a test runs both readers over the same texts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote, unquote, urlencode

DRIVER = "psycopg"
ADVICE = "write postgresql+psycopg://user:password@host:5432/database"

_URL = re.compile(
    r"(?P<driver>[\w+]+)://"
    r"(?:(?P<user>[^:/]*)(?::(?P<password>[^@]*))?@)?"
    r"(?:\[(?P<ipv6>[^/?]+)\]|(?P<host>[^/:?]+))?(?::(?P<port>[^/?]*))?"
    r"(?:/(?P<database>[^?]*))?(?:\?(?P<query>.*))?"
)


class DatabaseError(Exception):
    """A database that cannot be used; the message names host, port and database, never a password, and what to do."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is and who connects. The password stays out of `repr`."""

    drivername: str
    database: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    host: str | None = None
    port: int | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    """Further parameters of libpq. The Unix socket of the embedded server is `host` here: a folder is no host name."""

    def render_as_string(self, *, hide_password: bool = True) -> str:
        """The URL as SQLAlchemy reads it; by default with `***` for the password."""
        user = ""
        if self.username is not None:
            secret = "***" if hide_password else quote(self.password or "", safe="")
            user = quote(self.username, safe="") + ("" if self.password is None else f":{secret}") + "@"
        host = f"[{self.host}]" if ":" in (self.host or "") else self.host or ""
        port = "" if self.port is None else f":{self.port}"
        query = f"?{urlencode(self.query)}" if self.query else ""
        return f"{self.drivername}://{user}{host}{port}/{quote(self.database, safe='')}{query}"

    def set(self, *, drivername: str | None = None, database: str | None = None) -> "Address":
        """The same server through another driver, or another database of the server."""
        return replace(self, drivername=drivername or self.drivername, database=database or self.database)

    @property
    def server(self) -> tuple[str, int]:
        """Host, or folder of the Unix socket, and port."""
        return self.host or self.query.get("host") or "localhost", int(self.port or self.query.get("port") or 5432)

    @property
    def parameters(self) -> dict[str, str | int]:
        """What `psycopg.connect` takes."""
        named = {
            "user": self.username,
            "password": self.password,
            "host": self.host,
            "port": self.port,
            "dbname": self.database,
        }
        return {name: value for name, value in named.items() if value is not None} | dict(self.query)

    def __str__(self) -> str:
        """For messages: host, port and database."""
        host, port = self.server
        return f'host {host}, port {port}, database "{self.database}"'


def parse_url(text: str) -> Address:
    """Read a database URL as users write it and give it our driver.

    `postgresql://` (and libpq's `postgres://`) means "you pick the driver"; any other driver than psycopg is refused.

    Raises:
        DatabaseError: not a PostgreSQL URL with a database name. The text is not repeated: it may hold a password.
    """
    found = _URL.fullmatch(text)
    if found is None or not (found["port"] or "0").isdecimal():
        raise DatabaseError(f"AZAK_DATABASE_URL cannot be read as a URL: {ADVICE}.")
    driver = found["driver"]
    if driver not in ("postgresql", "postgres", f"postgresql+{DRIVER}"):
        raise DatabaseError(f"AZAK_DATABASE_URL names `{driver}`, Azak speaks to PostgreSQL through psycopg: {ADVICE}.")
    if not found["database"]:
        raise DatabaseError(f"AZAK_DATABASE_URL names no database: {ADVICE}.")
    return Address(
        drivername=f"postgresql+{DRIVER}",
        database=unquote(found["database"]),
        username=None if found["user"] is None else unquote(found["user"]),
        password=None if found["password"] is None else unquote(found["password"]),
        host=found["ipv6"] or found["host"],
        port=int(found["port"]) if found["port"] else None,
        query=dict(parse_qsl(found["query"] or "")),
    )
