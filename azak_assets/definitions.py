"""The code location: which modules make up which group, put together into one ``Definitions``.

Add a module to the registry, or a resource; declare nothing here. Loading reads files only: no network, no database.
"""

from types import ModuleType
from typing import Any

import dagster as dg

from azak_assets.defs import schedules
from azak_assets.defs.disclosures import assets as disclosures
from azak_assets.defs.forecasts import assets as forecasts
from azak_assets.defs.market import assets as market
from azak_assets.defs.market import checks as market_checks
from azak_assets.defs.market import intraday
from azak_assets.defs.marts import assets as marts
from azak_assets.defs.news import assets as news
from azak_assets.defs.news import checks as news_checks
from azak_assets.defs.reference import assets as reference
from azak_assets.defs.reference import checks as reference_checks
from azak_assets.defs.retrieval import assets as retrieval
from azak_assets.defs.retrieval import checks as retrieval_checks
from azak_assets.defs.scores import assets as scores
from azak_assets.resources import ChatModelsResource, RetrievalResource, UpstreamsResource, WarehouseResource, is_live

GROUPS: dict[str, list[ModuleType]] = {
    "reference": [reference],
    "market": [market, intraday],
    "news": [news],
    "disclosures": [disclosures],
    "retrieval": [retrieval],
    "forecasts": [forecasts],
    "scores": [scores],
}
SANDBOX_TAG = {"azak/data": "sandbox"}
"""On every asset outside the live world: nobody may take what the page of an asset shows for the market."""
CHECKS: list[ModuleType] = [reference_checks, market_checks, news_checks, retrieval_checks]


def build_definitions(**overrides: Any) -> dg.Definitions:
    """A fresh ``Definitions``; ``resources=…`` and the like replace the default of that name, for tests."""
    warehouse = WarehouseResource()
    collections: dict[str, Any] = {
        "assets": [
            *(
                asset
                for group, modules in GROUPS.items()
                for asset in dg.load_assets_from_modules(modules, group_name=group)
            ),
            *marts.dbt_slices(),
        ],
        "asset_checks": dg.load_asset_checks_from_modules(CHECKS),
        "jobs": schedules.JOBS,
        "schedules": schedules.SCHEDULES,
        "sensors": schedules.SENSORS,
        "resources": {
            "warehouse": warehouse,
            "upstreams": UpstreamsResource(warehouse=warehouse),
            "retrieval": RetrievalResource(),
            "chat_models": ChatModelsResource(),
            "dbt": marts.dbt_resource(),
        },
        # Steps wait on HTTP and SQL; a second interpreter would cost more than most steps (DESIGN, decision 13).
        "executor": dg.in_process_executor,
    }
    definitions = dg.Definitions(**{**collections, **overrides})
    if is_live():
        return definitions
    return definitions.permissive_map_resolved_asset_specs(
        func=lambda spec: spec.merge_attributes(tags=SANDBOX_TAG), selection=None
    )


defs = build_definitions()
