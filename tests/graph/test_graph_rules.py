"""Rules over every asset, pitfalls 6, 8 and 9 among them.

What an operator can read in the UI, which step holds which pool, how large a snapshot is and what loading may do.
"""

import ast
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster_shared.serdes import serialize_value

import azak_assets
from azak_assets.defs.availability import TAG, Availability
from azak_assets.partitions import TRADING_DAYS
from azak_assets.runtime import Upstreams
from azak_assets.settings import REPOSITORY
from azak_assets.warehouse.tables import SPECS

PACKAGE = Path(azak_assets.__file__).parent

BOOKKEEPING = {"ops.source_health"}
"""Tables that no load writes and an asset shows: every call of an upstream notes itself there."""

WITHOUT_ASSET = {
    "ml.llm_calls": "the ledger of questions already paid for: written inside a forecast, read by the next one",
}

UNPARTITIONED = {
    "raw.trading_sessions",
    "raw.broker_calendar",
    "raw.stocks",
    "raw.product_info",
    "raw.financial_ratios",
    "raw.corp_codes",
    "ml.models",
    "ml.prompt_versions",
    "ops.source_health",
}
"""What is not of a day: reference data and what stands in committed files."""

POOLS = {
    "raw__broker_calendar": "kis",
    "raw__stocks": "kis",
    "raw__product_info": "kis",
    "raw__financial_ratios": "kis",
    "raw__krx_daily_bars": "krx",
    "raw__daily_bars": "kis",
    "raw__index_bars": "kis",
    "raw__index_breadth": "kis",
    "raw__investor_flows": "kis",
    "raw__overtime_bars": "kis",
    "collect_intraday": "kis_session",  # of its own: no backfill may keep the running session waiting
    "raw__corp_codes": "opendart",
    "raw__disclosures": "opendart",
    "collect_news": "naver",  # the publishers' feeds too: a step has one pool, and Naver is the one with a quota
    "raw__reddit_posts": "reddit",
    "raw__article_bodies": "publishers",
    "forecast_articles": "llm",
    "ml__faiss_index": "index",  # no upstream: two runs would each write the whole file
}
"""Each step that asks an upstream or writes a shared file, with its pool."""

CLIENT_POOLS = {
    "kis": {"kis", "kis_session"},
    "krx_openapi": {"krx"},
    "opendart": {"opendart"},
    "naver": {"naver"},
    "rss": {"naver"},
    "reddit": {"reddit"},
    "pages": {"publishers"},
}
"""Each client that `Upstreams` hands out, and the pools of the steps that use it."""

SNAPSHOT_LIMIT = 50_000
"""Bytes an asset adds to what the webserver and the daemon hold in memory for every code location they have loaded."""

HEAVY = [
    "openai", "faiss", "sentence_transformers", "torch", "matplotlib", "praw", "protego", "selectolax",
    "azak_assets.sandbox",
]  # fmt: skip


@pytest.fixture(scope="session")
def steps(nodes: dict[str, Any]) -> dict[str, dg.AssetsDefinition]:
    """Every step of the graph by op name."""
    return {node.assets_def.op.name: node.assets_def for node in nodes.values()}


def test_definitions_are_loadable(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)


def test_nothing_in_the_graph_comes_from_nowhere(nodes: dict[str, Any]) -> None:
    assert [name for name, node in nodes.items() if not node.is_executable] == []


def test_keys_are_tables_and_tables_are_keys(nodes: dict[str, Any]) -> None:
    ours = {name for name, node in nodes.items() if "dbt" not in node.kinds}
    assert all(len(node.key.path) == 2 for node in nodes.values())
    assert ours <= set(SPECS) | BOOKKEEPING
    needed = {name for name in SPECS if name.split(".")[0] in ("raw", "text", "ml")} - set(WITHOUT_ASSET)
    assert ours == needed | BOOKKEEPING
    assert {name.split(".")[0] for name, node in nodes.items() if "dbt" in node.kinds} == {"staging", "marts"}


def test_every_asset_speaks_to_its_operator(nodes: dict[str, Any]) -> None:
    for name, node in nodes.items():
        said = set(re.findall(r"\w+", (node.description or "").lower())) - set(re.findall(r"[a-z]+", name))
        assert len(said) >= 8, f"{name} says no more than its name"
        assert node.owners, name
        assert node.kinds, name
        assert node.code_version, name
        assert node.metadata["dagster/table_name"] == name


def test_an_asset_outside_the_live_world_says_sandbox(monkeypatch: pytest.MonkeyPatch, dbt_manifest: Any) -> None:
    from azak_assets import definitions  # noqa: PLC0415 - it reads the manifest

    for mode, tags in (("sandbox", {"azak/data": "sandbox"}), ("live", {})):
        monkeypatch.setenv("AZAK_MODE", mode)
        for node in definitions.build_definitions().get_repository_def().asset_graph.asset_nodes:
            assert {name: value for name, value in node.tags.items() if name == "azak/data"} == tags, node.key


def test_an_asset_that_asks_the_market_says_when_its_rows_are_there(nodes: dict[str, Any]) -> None:
    """The jobs of a session select by this tag: an asset of the market without one would be in none of them."""
    tagged = {name: node.tags[TAG] for name, node in nodes.items() if TAG in node.tags}
    assert tagged.keys() == {name for name, node in nodes.items() if node.group_name == "market"} | {
        "raw.product_info",
        "raw.financial_ratios",
    }
    assert set(tagged.values()) == set(get_args(Availability))


def test_python_assets_name_their_language_and_store(nodes: dict[str, Any]) -> None:
    for name, node in nodes.items():
        assert node.kinds & {"python", "dbt"}, name
        assert node.kinds & {"postgres", "faiss"}, name


def test_a_group_is_a_folder(nodes: dict[str, Any], folder_of: Callable[[dg.AssetsDefinition], str]) -> None:
    for name, node in nodes.items():
        assert node.group_name == folder_of(node.assets_def), name
    folders = {path.parent.name for path in (PACKAGE / "defs").glob("*/assets.py")}
    assert {node.group_name for node in nodes.values()} == folders


def test_partitions_are_trading_days_in_single_runs(nodes: dict[str, Any]) -> None:
    for name, node in nodes.items():
        if node.partitions_def is None:
            continue
        assert node.partitions_def == TRADING_DAYS, name
        assert node.backfill_policy == dg.BackfillPolicy.single_run(), name
    assert {name for name, node in nodes.items() if node.partitions_def is None} == UNPARTITIONED


def test_steps_write_their_own_tables(steps: dict[str, dg.AssetsDefinition]) -> None:
    """An output of another type would go to the default IO manager, which dies in a backfill of several partitions."""
    for name, assets in steps.items():
        annotation = str(inspect.signature(assets.op.compute_fn.decorated_fn).return_annotation)
        assert "MaterializeResult" in annotation or name.startswith("dbt_"), f"{name} returns {annotation}"


def test_every_check_of_ours_says_what_it_promises(repository: dg.RepositoryDefinition, nodes: dict[str, Any]) -> None:
    for node in repository.asset_graph.asset_check_nodes:
        if "dbt" not in nodes[".".join(node.key.asset_key.path)].kinds:
            assert len((node.description or "").split()) >= 6, node.key


def test_the_runbook_tells_every_check_of_ours_and_no_other(
    repository: dg.RepositoryDefinition, steps: dict[str, dg.AssetsDefinition]
) -> None:
    of_dbt = {spec.key for name, assets in steps.items() if name.startswith("dbt_") for spec in assets.check_specs}
    ours = {node.key.name for node in repository.asset_graph.asset_check_nodes if node.key not in of_dbt}
    runbook = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    section = runbook.split("| check | if it fails |")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)) == ours


def test_lineage_names_every_table_that_is_read(
    steps: dict[str, dg.AssetsDefinition],
    upstream: Callable[[str], set[str]],
    folder_of: Callable[[dg.AssetsDefinition], str],
) -> None:
    """What a step reads comes before it in the graph, or it would read the day before without anybody's knowing."""
    for name, assets in steps.items():
        own = {".".join(key.path) for key in assets.keys}
        above = set().union(*(upstream(one) for one in own))
        rooms = {"forecasts": "forecast", "scores": "scoring"}
        text = inspect.getsource(assets.op.compute_fn.decorated_fn)
        if name in ("forecast_articles", "ml__model_evaluations"):
            text += "".join(file.read_text() for file in (PACKAGE / rooms[folder_of(assets)]).glob("*.py"))
        read = {table for table in SPECS if f'"{table}"' in text}
        assert read - own - above - set(WITHOUT_ASSET) == set(), name


def test_every_step_of_a_pool_and_no_other(steps: dict[str, dg.AssetsDefinition]) -> None:
    assert {name: assets.op.pool for name, assets in steps.items() if assets.op.pool} == POOLS
    for name, assets in steps.items():
        if "upstreams" in assets.op.required_resource_keys:
            assert assets.op.pool in set().union(*CLIENT_POOLS.values()), (
                f"{name} can ask an upstream and holds no pool"
            )


def test_every_client_is_used_under_its_pool(
    steps: dict[str, dg.AssetsDefinition], folder_of: Callable[[dg.AssetsDefinition], str]
) -> None:
    """From the code: which clients a folder of assets touches, and which upstream pools its steps hold."""
    clients = {name for name, member in vars(Upstreams).items() if isinstance(member, cached_property)}
    assert clients == set(CLIENT_POOLS)
    for folder in {file.parent for file in (PACKAGE / "defs").glob("*/assets.py")}:
        touched = {
            node.attr
            for file in folder.glob("*.py")
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "upstreams"
        }
        held = {assets.op.pool for assets in steps.values() if folder_of(assets) == folder.name}
        expected: set[str] = set().union(*(CLIENT_POOLS[client] for client in touched & clients))
        assert held & set().union(*CLIENT_POOLS.values()) <= expected, folder
        assert all(held & CLIENT_POOLS[client] for client in touched & clients), folder


def test_jobs_have_names_of_their_own_and_say_what_for(
    repository: dg.RepositoryDefinition, steps: dict[str, dg.AssetsDefinition]
) -> None:
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    assert not {job.name for job in jobs} & set(steps)
    for job in jobs:
        assert len((job.description or "").split()) >= 4, job.name


def test_snapshots_stay_small(repository: dg.RepositoryDefinition) -> None:
    snapshot = RepositorySnap.from_def(repository)
    sizes = {node.asset_key.to_user_string(): len(serialize_value(node).encode()) for node in snapshot.asset_nodes}
    assert {name: size for name, size in sizes.items() if size > SNAPSHOT_LIMIT} == {}


NO_WAY_OUT = """
import sys

def refuse(event, arguments):
    if event == "subprocess.Popen" and arguments[0] == "file":
        return  # the cron library of Dagster asks how wide the interpreter's words are
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.posix_spawn"):
        raise AssertionError(f"loading the definitions meant to {event} {arguments}")

def connect(*arguments, **keywords):
    raise AssertionError("loading the definitions meant to connect to a database")

import psycopg, psycopg2, sqlalchemy  # libpq opens its sockets in C, where the audit hook does not see them
psycopg.connect = psycopg.Connection.connect = psycopg2.connect = sqlalchemy.Engine.connect = connect
sys.addaudithook(refuse)

from azak_assets.definitions import defs
repository = defs.get_repository_def()
repository.load_all_definitions()
print("assets", len(repository.asset_graph.executable_asset_keys))
print("loaded", *sorted(sys.modules))
"""


def test_loading_needs_no_network_and_no_database(dbt_manifest: dict[str, Any], nodes: Any, tmp_path: Path) -> None:
    """A fresh interpreter without a single variable of ours, in which every way out raises."""
    done = subprocess.run(
        [sys.executable, "-c", NO_WAY_OUT],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert int(told["assets"]) == len(nodes)
    loaded = set(told["loaded"].split())
    assert [module for module in HEAVY if module in loaded] == [], "import it inside the step that needs it"
    assert list(tmp_path.iterdir()) == [], "loading left files behind"


def test_run_config_names_no_program_path_flag_or_address(repository: dg.RepositoryDefinition) -> None:
    """Fault S1: whoever may start a run must not choose what runs; no resource, op or asset takes a value."""
    walked = 0
    for job in repository.get_all_jobs():
        schema = job.run_config_schema.config_type
        for part in {"resources", "ops"} & schema.fields.keys():
            places = list(_values(schema.fields[part].config_type, part))
            # Dagster lets the config of an op that declares none be anything, and hands it to code that asks for it.
            taken = [
                place for place, kind in places if not (kind == "Any" and re.fullmatch(r"ops\.\w+\.config", place))
            ]
            assert not taken, f"{job.name}: run config can set {', '.join(taken)}"
            walked += len(places)
    assert walked
    readers = [file.name for file in PACKAGE.rglob("*.py") if re.search(r"op_config|\.run_config", file.read_text())]
    assert not readers


def _values(config_type: Any, place: str) -> Iterator[tuple[str, str]]:
    """(place, type) of every value that a run config can hold below ``place``."""
    fields = getattr(config_type, "fields", None)
    if fields is None:
        yield place, config_type.given_name
        return
    for name, field in fields.items():
        yield from _values(field.config_type, f"{place}.{name}")
