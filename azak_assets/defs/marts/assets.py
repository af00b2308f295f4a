"""dbt as assets: two slices of one project, one wholly before the forecasts and one wholly after them.

Belongs here: selecting models and handing dbt its window. Does not belong here: SQL; it is in `azak_dbt`.
"""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtCliResource, DbtProject, dbt_assets
from packaging.version import Version

from azak_assets.defs.markdown import TABLE_ROWS, table
from azak_assets.defs.reporting import metadata_of
from azak_assets.defs.windows import Window, window_of
from azak_assets.ingest.report import StepReport
from azak_assets.partitions import TRADING_DAYS
from azak_assets.warehouse.warehouse import Warehouse

FOLDER = str(Path(__file__).resolve().parents[3] / "azak_dbt")
PROJECT = DbtProject(
    project_dir=FOLDER,
    profiles_dir=FOLDER,
    # A home's own folder where the `azak` command started us: a manifest is of one database.
    target_path=os.environ.get("DBT_TARGET_PATH", "target"),
)
# `dagster dev` parses when files have changed; `azak up` and `azak run` have parsed before they start Dagster.
PROJECT.prepare_if_dev()


class Translator(DagsterDbtTranslator):
    """A model's asset key is its relation, `[schema, name]`, like that of every other asset."""

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """dbt's spec with our key, group and kinds; sources carry their key in the project already."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        node = manifest["nodes"].get(unique_id)
        if node is None or node["resource_type"] != "model":
            return spec
        return spec.replace_attributes(
            key=dg.AssetKey([node["schema"], node["name"]]), group_name="marts"
        ).merge_attributes(metadata={"dagster/table_name": f"{node['schema']}.{node['name']}"})


TRANSLATOR = Translator(DagsterDbtTranslatorSettings(enable_code_references=True, enable_source_tests_as_checks=True))
NOT_IN_RUNS = "resource_type:unit_test"
"""dbt's unit tests prove the SQL, not the data: `make test` runs them, a day's run does not."""


class _Dbt(DbtCliResource):
    """dbt without two things that no asset of ours reads and that cost each call of dbt two seconds of CPU and more."""

    @cached_property
    def _cli_version(self) -> Version:
        """Without starting `dbt --version`: the program belongs to this environment."""
        return Version(importlib.metadata.version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> None:  # type: ignore[override]
        """No connection of dbt's in this process: it would serve `fetch_row_counts` and `fetch_column_metadata`."""


class DbtResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Hands out dbt of this virtual environment, whether or not the environment is activated.

    `DbtCliResource` itself takes the program, its flags and its folders from run config, so that whoever may start a
    run could start any program; this resource has no field.
    """

    def create_resource(self, context: dg.InitResourceContext) -> DbtCliResource:  # noqa: ARG002 - Dagster's signature
        """Runs nothing."""
        return _Dbt(project_dir=FOLDER, profiles_dir=FOLDER, dbt_executable=str(Path(sys.executable).parent / "dbt"))


def dbt_slices() -> list[dg.AssetsDefinition]:
    """The two slices."""
    common: dict[str, Any] = {
        "manifest": PROJECT.manifest_path,
        "project": PROJECT,
        "dagster_dbt_translator": TRANSLATOR,
        "exclude": NOT_IN_RUNS,
        "partitions_def": TRADING_DAYS,
        "backfill_policy": dg.BackfillPolicy.single_run(),
    }

    @dbt_assets(name="dbt_before_forecasts", select="tag:before_forecasts", **common)
    def before_forecasts(
        context: dg.AssetExecutionContext, dbt: dg.ResourceParam[DbtCliResource], warehouse: dg.ResourceParam[Warehouse]
    ) -> Iterator[Any]:
        yield from _windowed(context, dbt, warehouse)

    @dbt_assets(name="dbt_after_forecasts", select="tag:after_forecasts", **common)
    def after_forecasts(
        context: dg.AssetExecutionContext, dbt: dg.ResourceParam[DbtCliResource], warehouse: dg.ResourceParam[Warehouse]
    ) -> Iterator[Any]:
        yield from _windowed(context, dbt, warehouse)

    return [before_forecasts, after_forecasts]


def _windowed(context: dg.AssetExecutionContext, dbt: DbtCliResource, warehouse: Warehouse) -> Iterator[Any]:
    """One dbt call for all sessions of the run; the window travels by environment, since changed --vars force a full
    parse.
    """
    window = window_of(context)
    # A run is one process and its steps follow each other, so no other step reads these two.
    os.environ["AZAK_WINDOW_START"] = window.first.day.isoformat()
    os.environ["AZAK_WINDOW_END"] = window.last.day.isoformat()
    call = dbt.cli(["build"], context=context)
    nodes = call.manifest["nodes"]
    # Not fetch_row_counts(): it reads dbt's output in threads of its own, and a run that is stopped then hangs.
    for event in call.stream():
        if isinstance(event, dg.Output):
            described = _metadata(warehouse, nodes[event.metadata["unique_id"].value], event.metadata, window)
            yield event.with_metadata({**event.metadata, **described})
        else:
            yield event
    # Each call leaves some 20 MB of artefacts. A failed call keeps them: its error names the folder.
    shutil.rmtree(call.target_path, ignore_errors=True)


def _metadata(
    warehouse: Warehouse, node: Mapping[str, Any], metadata: Mapping[str, Any], window: Window
) -> dict[str, Any]:
    """What an operator reads of one model: its rows in the window, what the call changed, a few of them."""
    relation = f"{node['schema']}.{node['name']}"
    if node["config"]["materialized"] == "view":
        return {"sample": table(warehouse.look(relation, rows=TABLE_ROWS))}
    day = next(iter(node["config"]["meta"].get("window_days", ())), None)
    mart = warehouse.mart_report(
        relation,
        metadata["invocation_id"].value,
        day=day,
        days=(window.first.day, window.last.day),
        sample_rows=TABLE_ROWS,
    )
    report = StepReport(
        rows=mart.rows,
        inserted=mart.inserted,
        changed=mart.changed,
        unchanged=mart.unchanged,
        retired=mart.retired,
        earliest=mart.earliest,
        latest=mart.latest,
        samples=[mart.sample],
    )
    return {**metadata_of(report), "dagster/partition_row_count": mart.rows}
