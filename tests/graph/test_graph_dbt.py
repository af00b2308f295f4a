"""Pitfall 7: the two dbt slices in the graph. How dbt runs them, cold and by window, is told in tests/dbt."""

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
import yaml

from azak_assets.settings import REPOSITORY

FORECASTS = {"ml.predictions", "ml.prediction_horizons"}
MADE_OF_FORECASTS = FORECASTS | {"ml.model_evaluations"}


@pytest.fixture(scope="session")
def slices(nodes: dict[str, Any]) -> dict[str, dg.AssetsDefinition]:
    """The dbt ops by name."""
    found = {id(node.assets_def): node.assets_def for node in nodes.values() if "dbt" in node.kinds}
    return {assets.op.name: assets for assets in found.values()}


def _names(assets: dg.AssetsDefinition) -> set[str]:
    return {".".join(key.path) for key in assets.keys}


def test_a_test_runs_in_the_slice_that_can_build_what_it_reads() -> None:
    project = yaml.safe_load((REPOSITORY / "azak_dbt" / "dbt_project.yml").read_text())
    assert project["flags"]["indirect_selection"] == "buildable"


def test_every_model_and_every_test_is_in_exactly_one_slice(
    dbt_manifest: dict[str, Any], slices: dict[str, dg.AssetsDefinition]
) -> None:
    assert set(slices) == {"dbt_before_forecasts", "dbt_after_forecasts"}
    made = [key for assets in slices.values() for key in _names(assets)]
    built = [
        f"{node['schema']}.{node['alias']}"
        for node in dbt_manifest["nodes"].values()
        if node["resource_type"] in ("model", "seed", "snapshot")
    ]
    assert sorted(made) == sorted(built)
    checked = [spec.name for assets in slices.values() for spec in assets.check_specs]
    tests = [node["name"] for node in dbt_manifest["nodes"].values() if node["resource_type"] == "test"]
    assert sorted(checked) == sorted(tests)


def test_a_failed_dbt_test_holds_back_what_follows_in_the_run(
    dbt_manifest: dict[str, Any], slices: dict[str, dg.AssetsDefinition]
) -> None:
    """All but those that only warn."""
    severity = {
        node["name"]: node["config"]["severity"].lower()
        for node in dbt_manifest["nodes"].values()
        if node["resource_type"] == "test"
    }
    for assets in slices.values():
        for spec in assets.check_specs:
            assert spec.blocking == (severity[spec.name] == "error"), spec.name


def test_one_slice_lies_wholly_before_the_forecasts(
    slices: dict[str, dg.AssetsDefinition], upstream: Callable[[str], set[str]]
) -> None:
    for name in _names(slices["dbt_before_forecasts"]):
        assert not upstream(name) & MADE_OF_FORECASTS, name
        assert not upstream(name) & _names(slices["dbt_after_forecasts"]), name


def test_one_slice_lies_wholly_after_them(
    slices: dict[str, dg.AssetsDefinition], upstream: Callable[[str], set[str]]
) -> None:
    for name in _names(slices["dbt_after_forecasts"]):
        assert upstream(name) & FORECASTS, f"{name} belongs before the forecasts"
    for name in MADE_OF_FORECASTS:
        assert not upstream(name) & _names(slices["dbt_after_forecasts"]), name


def test_keys_are_relations(dbt_manifest: dict[str, Any], nodes: dict[str, Any]) -> None:
    for node in dbt_manifest["nodes"].values():
        if node["resource_type"] == "model":
            _, *relation = node["relation_name"].replace('"', "").split(".")
            assert ".".join(relation) in nodes, node["unique_id"]
    for source in dbt_manifest["sources"].values():
        relation = [source["schema"], source["identifier"]]
        assert source["config"]["meta"]["dagster"]["asset_key"] == relation
        # A source that nothing writes would be a box without an origin.
        assert nodes[".".join(relation)].is_executable, relation
