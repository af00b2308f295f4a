"""ETags and robots.txt, cached.

Belongs here: the PostgreSQL implementations of the ports `ValidatorStore` and `HostStore`. They lie in the database of
the articles: with a new database every feed is read in full. Rate limits and tokens are in `rate_limit`.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from azak_assets.ports import HostRules
from azak_assets.warehouse.tables import crawled_hosts, feed_validators

HEADERS = {"etag": "if-none-match", "last_modified": "if-modified-since"}


class PostgresValidators:
    """ETag and Last-Modified of each feed in `ops.feed_validators`; a `ports.ValidatorStore`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def read(self, feed: str) -> Mapping[str, str]:
        """Return the request headers of a conditional GET of `feed`; empty where none are stored."""
        row = _row(self._engine, feed_validators, feed) or {}
        return {header: row[name] for name, header in HEADERS.items() if row.get(name) is not None}

    def keep(self, feed: str, headers: Mapping[str, str]) -> None:
        """Replace them."""
        validators = {name: headers.get(header) for name, header in HEADERS.items()}
        _replace(self._engine, feed_validators, feed, {**validators, "confirmed_at": sa.func.clock_timestamp()})


class PostgresHosts:
    """robots.txt and refusals of each host in `ops.crawled_hosts`; a `ports.HostStore`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def read(self, host: str) -> HostRules | None:
        """Return the stored rules of `host`, None where there are none."""
        row = _row(self._engine, crawled_hosts, host)
        return None if row is None else HostRules(row["robots"], row["refusal"], row["read_at"])

    def keep(self, host: str, rules: HostRules) -> None:
        """Replace them."""
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
