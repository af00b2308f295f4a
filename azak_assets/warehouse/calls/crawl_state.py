"""What feeds and hosts said to us, kept in PostgreSQL so that the next run need not ask again.

Belongs here: the two stores that `sources` asks for through its protocols `ValidatorStore` and `HostStore`; they are
joined in `resources`, neither room imports the other. They lie in the database of the articles: a new one asks for
everything. Request budgets and tokens are in `limits`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from azak_assets.warehouse.tables import crawled_hosts, feed_validators

HEADERS = {"etag": "if-none-match", "last_modified": "if-modified-since"}


class PostgresValidators:
    """Keeps validators in `ops.feed_validators`; implements `sources.ValidatorStore`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def read(self, feed: str) -> Mapping[str, str]:
        """Return the request headers that ask whether `feed` has changed since; empty where nothing is known of it."""
        row = _row(self._engine, feed_validators, feed) or {}
        return {header: row[name] for name, header in HEADERS.items() if row.get(name) is not None}

    def keep(self, feed: str, headers: Mapping[str, str]) -> None:
        """Replace them."""
        told = {name: headers.get(header) for name, header in HEADERS.items()}
        _replace(self._engine, feed_validators, feed, {**told, "confirmed_at": sa.func.clock_timestamp()})


class Rules(Protocol):
    """What a host said: its robots.txt, how it refused us, and when."""

    @property
    def robots(self) -> str: ...  # noqa: D102

    @property
    def refusal(self) -> str | None: ...  # noqa: D102

    @property
    def read_at(self) -> datetime: ...  # noqa: D102


class PostgresHosts:
    """Keeps what hosts said in `ops.crawled_hosts`; implements `sources.HostStore` with what `rules` makes."""

    def __init__(self, engine: sa.Engine, rules: Callable[[str, str | None, datetime], Any]) -> None:
        self._engine = engine
        self._rules = rules

    def read(self, host: str) -> Any:
        """Return what `host` said last, None where it was never asked. (`Any`: the class is named in `sources`.)"""
        row = _row(self._engine, crawled_hosts, host)
        return None if row is None else self._rules(row["robots"], row["refusal"], row["read_at"])

    def keep(self, host: str, rules: Rules) -> None:
        """Replace it."""
        robots, refusal = (text and text.replace("\x00", "\ufffd") for text in (rules.robots, rules.refusal))
        _replace(self._engine, crawled_hosts, host, {"robots": robots, "refusal": refusal, "read_at": rules.read_at})


def _row(engine: sa.Engine, table: sa.Table, key: str) -> dict[str, Any] | None:
    (name,) = table.primary_key.columns
    with engine.connect() as connection:
        row = connection.execute(sa.select(table).where(name == key)).one_or_none()
    return None if row is None else row._asdict()


def _replace(engine: sa.Engine, table: sa.Table, key: str, values: Mapping[str, Any]) -> None:
    (name,) = table.primary_key.columns
    statement = postgresql.insert(table).values({name.name: key, **values})
    with engine.begin() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=[name], set_=dict(values)))
