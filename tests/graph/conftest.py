"""The definitions as Dagster loads them, for rules over the whole graph.

Belongs here: loading them once a test session. Does not belong here: stand-ins; the rules look at the real definitions.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from azak_assets.cli.environment import DBT_PROJECT, ready_manifest


@pytest.fixture(scope="session")
def dbt_manifest() -> dict[str, Any]:
    """The manifest that the definitions load from, parsed now where the project has changed."""
    ready_manifest()
    manifest: dict[str, Any] = json.loads((DBT_PROJECT / "target" / "manifest.json").read_text())
    return manifest


@pytest.fixture(scope="session")
def definitions(dbt_manifest: dict[str, Any]) -> dg.Definitions:
    """`azak_assets.definitions.defs`, imported only once the manifest is there."""
    from azak_assets.definitions import defs  # noqa: PLC0415 - it reads the manifest

    return defs


@pytest.fixture(scope="session")
def repository(definitions: dg.Definitions) -> dg.RepositoryDefinition:
    """The definitions resolved, as the webserver and the daemon see them."""
    return definitions.get_repository_def()


@pytest.fixture(scope="session")
def nodes(repository: dg.RepositoryDefinition) -> dict[str, Any]:
    """Every asset of the graph by `schema.table`."""
    return {".".join(node.key.path): node for node in repository.asset_graph.asset_nodes}


@pytest.fixture(scope="session")
def upstream(repository: dg.RepositoryDefinition) -> Callable[[str], set[str]]:
    """`upstream("ml.predictions")`: every asset it descends from."""

    def ancestors(name: str) -> set[str]:
        found = repository.asset_graph.get_ancestor_asset_keys(dg.AssetKey(name.split(".")))
        return {".".join(key.path) for key in found} - {name}

    return ancestors


@pytest.fixture(scope="session")
def folder_of() -> Callable[[dg.AssetsDefinition], str]:
    """The folder of `azak_assets/defs` that an assets definition is declared in."""

    def folder(assets: dg.AssetsDefinition) -> str:
        function: Any = assets.op.compute_fn
        return Path(function.decorated_fn.__code__.co_filename).parent.name

    return folder
