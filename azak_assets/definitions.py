"""The code location: which modules make up which group, put together into one ``Definitions``.

Add a folder of `defs`, a job or a resource; declare nothing here. Loading reads files only: no network, no database.
"""

from typing import Any

import dagster as dg

from azak_assets.defs import (
    disclosures,
    forecasts,
    health,
    jobs,
    market,
    news,
    reference,
    retrieval,
    schedules,
    scores,
)
from azak_assets.defs.marts import assets as marts
from azak_assets.resources import (
    ChatModelsResource,
    RetrievalResource,
    TablesOnly,
    UpstreamsResource,
    WarehouseResource,
)
from azak_assets.runtime import is_live

GROUPS = (reference, market, news, disclosures, retrieval, forecasts, scores, health)
"""Every module of such a folder is loaded, and the folder's name is the group of its assets."""
SANDBOX_TAG = {"azak/data": "sandbox"}
"""On every asset outside the live world, so that the page of an asset does not pass for the market."""


def build_definitions(**overrides: Any) -> dg.Definitions:
    """A fresh ``Definitions``; ``resources=…`` and the like replace the default of that name, for tests."""
    warehouse = WarehouseResource()
    collections: dict[str, Any] = {
        "assets": [
            *(
                asset
                for folder in GROUPS
                for asset in dg.load_assets_from_package_module(folder, group_name=folder.__name__.rpartition(".")[2])
            ),
            *marts.dbt_slices(),
        ],
        "asset_checks": [check for folder in GROUPS for check in dg.load_asset_checks_from_package_module(folder)],
        "jobs": jobs.JOBS,
        "schedules": schedules.SCHEDULES,
        "sensors": schedules.SENSORS,
        "resources": {
            "warehouse": warehouse,
            "upstreams": UpstreamsResource(warehouse=warehouse),
            "retrieval": RetrievalResource(),
            "chat_models": ChatModelsResource(),
            "dbt": marts.DbtResource(),
            "io_manager": TablesOnly(),
        },
        # Steps wait on HTTP and SQL; a second interpreter would cost more than most steps.
        "executor": dg.in_process_executor,
    }
    definitions = dg.Definitions(**{**collections, **overrides})
    if is_live():
        return definitions
    return definitions.permissive_map_resolved_asset_specs(
        func=lambda spec: spec.merge_attributes(tags=SANDBOX_TAG), selection=None
    )


defs = build_definitions()
