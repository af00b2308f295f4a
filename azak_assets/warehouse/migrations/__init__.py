"""Alembic migrations of the schemas raw, text, ml and ops, and the configuration to run them from a program.

Belongs here: the environment, the versions, and the DDL they share (`ddl`). Does not belong here: when to run them
(`database`). dbt owns what stands inside `staging` and `marts`; the migrations only create these two schemas.
"""

from pathlib import Path

from alembic.config import Config

OWNED_SCHEMAS = ("raw", "text", "ml", "ops")
"""Schemas whose tables the migrations own; `ops` also holds Alembic's own version table."""


def config(url: str) -> Config:
    """Configuration for `alembic.command.upgrade(config(url), "head")` and its sisters; needs no alembic.ini.

    `url` is a SQLAlchemy URL (`postgresql+psycopg://…`) with its password. Two processes may migrate at once: the
    second waits and then finds nothing to do.
    """
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent))
    made.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return made
