"""The resources of Dagster: each hands out an object of `runtime`, and has no field that run config could set.

Belongs here: what Dagster's run tells `runtime` (its id, its tags), and closing what was opened. Does not belong here:
how an object is made.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from azak_assets import partition_tags
from azak_assets.runtime import (
    ChatModels,
    Retrieval,
    Stores,
    Upstreams,
    current_settings,
    current_world,
    open_warehouse,
    payload_writer,
    rate_limiter,
    retrieval,
)
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from azak_assets.warehouse.postgres.database import Engine


class WarehouseResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Hands out the ``Warehouse`` of this process's world; a database stamped with another world is refused."""

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Warehouse]:
        """One engine a run, closed with it."""
        settings = current_settings()
        with open_warehouse(
            settings, current_world(settings), run_id=context.run.run_id if context.run else ""
        ) as warehouse:
            yield warehouse


BACKFILL_TAGS = frozenset({partition_tags.BACKFILL, partition_tags.RANGE_START})
"""Tags of runs that work through the past: started as a backfill, or over a range of partitions."""


class UpstreamsResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Hands out the ``Upstreams`` of this process's world."""

    warehouse: dg.ResourceDependency[Warehouse]

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Upstreams]:
        """Clients are made when an asset first asks for one, and closed with the run."""
        settings = current_settings()
        of_world = current_world(settings)
        tags = context.run.tags if context.run else {}
        recorder = payload_writer(
            settings,
            of_world,
            run_id=context.run.run_id if context.run else "",
            about=_about(context.run),
        )
        engine = cast("Engine", self.warehouse.engine)
        limiter = rate_limiter(engine, of_world, is_backfill=not BACKFILL_TAGS.isdisjoint(tags))
        upstreams = Upstreams(settings, of_world, Stores.in_postgres(engine, limiter=limiter, recorder=recorder))
        try:
            yield upstreams
        finally:
            upstreams.close()


def _about(run: dg.DagsterRun | None) -> dict[str, Any]:
    """What makes the same run again: job, selection and tags."""
    selection = run.asset_selection if run else None
    return {
        "job": run.job_name if run else None,
        "assets": sorted(key.to_user_string() for key in selection) if selection else None,
        "tags": dict(run.tags) if run else {},
    }


class RetrievalResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Hands out the ``Retrieval`` that the settings name."""

    def create_resource(self, context: dg.InitResourceContext) -> Retrieval:  # noqa: ARG002 - Dagster's signature
        """Loads no model: embedders do so when first used."""
        return retrieval(current_settings())


class ChatModelsResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Hands out the ``ChatModels`` that have keys."""

    def create_resource(self, context: dg.InitResourceContext) -> ChatModels:  # noqa: ARG002 - Dagster's signature
        """Makes no request."""
        return ChatModels(current_settings())


class TablesOnly(dg.ConfigurableIOManager):
    """Refuses values handed from asset to asset: every asset writes its own table and reads those of others.

    Stands in place of Dagster's default, which takes the folder it writes to from run config.
    """

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Refuse a value."""
        msg = f"{context.get_identifier()} returned a {type(obj).__name__}: write a table and return MaterializeResult"
        raise TypeError(msg)

    def load_input(self, context: dg.InputContext) -> object:
        """Refuse a value."""
        msg = f"{context.get_identifier()} is asked for as a value: read its table"
        raise TypeError(msg)
