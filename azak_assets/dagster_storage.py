"""Dagster's own storage in PostgreSQL, over connections that are kept: `dagster.yaml` names this class.

Belongs here: how Dagster's processes connect to Dagster's database. Does not belong here: that database's making and
address (`warehouse.postgres`), and the connections of our own tables.
"""

from collections.abc import Mapping
from typing import Any, cast

import sqlalchemy as sa
from dagster._core.storage.config import PostgresStorageConfig
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import pg_url_from_config

KEPT = 2
"""Idle connections a process: a run's steps and the thread that follows them."""


class PooledPostgresStorage(DagsterPostgresStorage):
    """`DagsterPostgresStorage` with one pool for runs, events and schedules.

    The original opens a connection for every statement: 3,000 connections for an `azak run` of 40 assets over ten
    sessions, each 5 ms long and 3 ms of the server's CPU. A kept connection is tried before it is used: where the
    server was restarted in between, a new one takes its place.
    """

    def __init__(
        self, postgres_url: str, should_autocreate_tables: bool = True, inst_data: ConfigurableClassData | None = None
    ) -> None:
        super().__init__(postgres_url, should_autocreate_tables, inst_data)
        engine = sa.create_engine(
            postgres_url, isolation_level="AUTOCOMMIT", pool_size=KEPT, max_overflow=-1, pool_pre_ping=True
        )
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            # Dagster's own way to a pool, `optimize_for_webserver`, sets a statement timeout and tries no connection.
            storage._engine = engine

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PooledPostgresStorage":
        """The storage that `dagster.yaml` describes, in the words of `storage: postgres`."""
        return cls(
            pg_url_from_config(cast("PostgresStorageConfig", config_value)),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            inst_data=inst_data,
        )
