"""The definitions as Dagster loads them, for rules over the whole graph.

Belongs here: their graph, resolved once a test session (`definitions` itself is in `tests/conftest.py`). Does not
belong here: stand-ins; the rules look at the real definitions.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest


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
