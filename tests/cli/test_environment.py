"""What `azak up` and `azak run` prepare: dbt's parse is made for the database that the runs will use, once a home."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from azak_assets.cli.environment import CONNECTION, environment, ready_manifest
from azak_assets.settings import REPOSITORY, Settings
from azak_assets.warehouse.postgres.database import Databases

DBT_CALL = """
from azak_assets.defs.marts.assets import PROJECT, DbtResource
assert PROJECT.manifest_path.is_file()
call = DbtResource().create_resource(None).cli(["--log-level-file", "debug", "ls"])
assert call.is_successful()
print("called in", call.target_path)
"""
"""A call as the steps make it: dagster-dbt copies the parse cache into the call's own folder and runs dbt there."""


def of_home(home: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the runs of a home get whose database is this one; dbt only lists its nodes and connects to nothing."""
    monkeypatch.setenv("AZAK_HOME", str(home))
    return environment(Settings(), Databases(f"postgresql+psycopg://azak:secret@127.0.0.1:1/{database}", "unused"))


def log_of_a_call(variables: dict[str, str]) -> str:
    """Dbt's own log of a call made as a run makes it."""
    window = {"AZAK_WINDOW_START": "2026-11-02", "AZAK_WINDOW_END": "2026-11-06"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DBT_CALL],
        env={**os.environ, **variables, **window},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = re.findall(r"^called in (.+)$", done.stdout, flags=re.MULTILINE)
    assert Path(folder).is_relative_to(variables["DBT_TARGET_PATH"]), "its artefacts stay in the home"
    return (Path(folder) / "dbt.log").read_text()


def test_no_call_of_a_run_parses_again_and_no_home_touches_what_others_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = of_home(tmp_path, "azak_one", monkeypatch)
    ready_manifest()
    shared = {file: file.stat().st_mtime_ns for file in (REPOSITORY / "azak_dbt" / "target").iterdir()}
    assert ready_manifest(variables) == "parsed"
    log = log_of_a_call(variables)
    assert "Partial parsing enabled, no changes found, skipping parsing" in log
    assert "Unable to do partial parsing" not in log
    assert ready_manifest(variables) == "up to date"
    assert {file: file.stat().st_mtime_ns for file in (REPOSITORY / "azak_dbt" / "target").iterdir()} == shared


@pytest.mark.parametrize("name", CONNECTION)
def test_another_database_is_parsed_for_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    variables = of_home(tmp_path, "azak", monkeypatch)
    calls = []

    def parse(command: list[str], *, env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(env[name])
        fresh = Path(command[command.index("--target-path") + 1])
        for file in ("manifest.json", "partial_parse.msgpack"):
            (fresh / file).write_text("parsed")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("azak_assets.cli.environment.subprocess.run", parse)
    assert [ready_manifest(variables), ready_manifest(variables)] == ["parsed", "up to date"]
    assert ready_manifest({**variables, name: "4711"}) == "parsed"
    assert calls == [variables[name], "4711"]
    shutil.rmtree(variables["DBT_TARGET_PATH"])
    assert ready_manifest(variables) == "parsed"


def test_without_a_database_the_manifest_lies_where_tools_look_for_it() -> None:
    ready_manifest()
    assert ready_manifest() == "up to date"
    assert (REPOSITORY / "azak_dbt" / "target" / "manifest.json").is_file()
