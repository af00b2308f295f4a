"""Rules over the project as dbt parses it; no database."""

from datetime import date
from typing import Any

import pytest

from tests.dbt.conftest import SLICES, RunDbt


def _models(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]


def test_relations_are_schema_and_name(manifest: dict[str, Any]) -> None:
    assert {node["schema"] for node in _models(manifest)} == {"staging", "marts"}
    for node in _models(manifest):
        assert node["fqn"][1] == node["schema"]
        assert node["alias"] == node["name"]


def test_every_model_is_in_one_slice(manifest: dict[str, Any]) -> None:
    for node in _models(manifest):
        assert node["tags"] in (["before_forecasts"], ["after_forecasts"]), node["name"]


def test_a_slice_before_the_forecasts_reads_nothing_made_after_them(manifest: dict[str, Any]) -> None:
    for node in _models(manifest):
        if "before_forecasts" in node["tags"]:
            for parent in node["depends_on"]["nodes"]:
                assert not parent.startswith("source.azak.ml."), node["name"]
                assert "after_forecasts" not in manifest["nodes"].get(parent, {"tags": []})["tags"], node["name"]


def test_staging_views_stand_on_sources_alone(manifest: dict[str, Any]) -> None:
    """A rebuilt view drops the views on it; one of another slice would be missing until that slice ran again."""
    for node in _models(manifest):
        if node["schema"] == "staging":
            assert all(parent.startswith("source.") for parent in node["depends_on"]["nodes"]), node["name"]


def test_every_mart_has_a_contract_and_says_what_it_holds(manifest: dict[str, Any]) -> None:
    for node in _models(manifest):
        assert node["description"], node["name"]
        assert node["columns"], node["name"]
        for column in node["columns"].values():
            assert column["description"], f"{node['name']}.{column['name']}"
        if node["schema"] == "marts":
            assert node["contract"]["enforced"], node["name"]
            assert any(one["type"] == "primary_key" for one in node["constraints"]), node["name"]


def test_sources_carry_the_asset_key_of_their_relation(manifest: dict[str, Any]) -> None:
    for source in manifest["sources"].values():
        assert source["config"]["meta"]["dagster"]["asset_key"] == [source["schema"], source["identifier"]]


def test_every_test_runs_in_exactly_one_slice(manifest: dict[str, Any], run_dbt: RunDbt) -> None:
    """With indirect_selection: buildable a test that no slice can build alone would silently never run."""
    tests = sorted(node["name"] for node in manifest["nodes"].values() if node["resource_type"] == "test")
    selected: list[str] = []
    for one in SLICES:
        selected += run_dbt("ls", "--resource-type", "test", "--select", one, "--output", "name").result
    assert sorted(selected) == tests


def test_another_window_parses_nothing_anew(manifest: dict[str, Any], run_dbt: RunDbt) -> None:
    for day in (date(2026, 11, 13), date(2026, 11, 16)):
        assert "PartialParsingSkipParsing" in run_dbt("parse", window=(day, day)).events


@pytest.mark.parametrize(
    ("window", "said"),
    [
        (("2026-11-16", "2026-11-13"), "is after"),
        (("2026-11-16", ""), "AZAK_WINDOW_END is ''"),
        (("16.11.2026", "2026-11-16"), "AZAK_WINDOW_START is '16.11.2026'"),
    ],
)
def test_a_malformed_window_is_refused(window: tuple[str, str], said: str, server_url: str, run_dbt: RunDbt) -> None:
    done = run_dbt("compile", "--inline", "select {{ in_window('day') }}", url=server_url, window=window, check=False)
    assert not done.success
    assert said in done.said
