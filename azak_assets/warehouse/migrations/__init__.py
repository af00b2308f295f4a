"""Alembic migrations of the schemas raw, text, ml and ops, and the configuration to run them from a program.

Belongs here: the environment, the versions, and the DDL they share (`ddl`). Does not belong here: when to run them
(`database`). dbt owns what stands inside `staging` and `marts`; the migrations only create these two schemas.
"""

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from alembic.config import Config

OWNED_SCHEMAS = ("raw", "text", "ml", "ops")
"""Schemas whose tables the migrations own; `ops` also holds Alembic's own version table."""

FOLDER = Path(__file__).parent
_HEADER = re.compile(
    r'"""(?P<title>[^\n]+?)(?:"""|\n).*?^revision = "(?P<name>\w+)"$.*?^down_revision = (?:None|"(?P<below>\w+)")$',
    re.DOTALL | re.MULTILINE,
)


class Revision(NamedTuple):
    """One migration: its name and the first line of its docstring."""

    name: str
    title: str


@cache
def revisions() -> tuple[Revision, ...]:
    """All migrations in the order in which an upgrade runs them.

    Read from the heads of the files, without Alembic and SQLAlchemy: importing both costs a second, and a database that
    is up to date needs neither. A test compares the result with Alembic's own reading.

    Raises:
        ValueError: a file without the usual head, or a line of migrations that forks.
    """
    above: dict[str | None, Revision] = {}
    files = sorted((FOLDER / "versions").glob("*.py"))
    for file in files:
        head = _HEADER.match(file.read_text(encoding="utf-8"))
        if head is None:
            raise ValueError(f"{file.name} does not begin with a docstring, `revision` and `down_revision`")
        above[head["below"]] = Revision(head["name"], head["title"])
    line: list[Revision] = []
    while (found := above.get(line[-1].name if line else None)) is not None:
        line.append(found)
    if len(line) != len(files):
        raise ValueError(f"the migrations are not one line: {len(line)} of {len(files)} files follow each other")
    return tuple(line)


def config(url: str) -> "Config":
    """Configuration for `alembic.command.upgrade(config(url), "head")` and its sisters; needs no alembic.ini.

    `url` is a SQLAlchemy URL (`postgresql+psycopg://…`) with its password. Two processes may migrate at once: the
    second waits and then finds nothing to do.
    """
    from alembic.config import Config  # noqa: PLC0415 - loads Mako and SQLAlchemy

    made = Config()
    made.set_main_option("script_location", str(FOLDER))
    made.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return made
