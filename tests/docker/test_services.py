"""The services' own commands, run as processes against a real PostgreSQL, from the files that the image would hold.

What differs from a container: the addresses (127.0.0.1 and free ports instead of the network of compose), the database
and the folder of AZAK_HOME. Everything else is taken from compose.yaml and the Dockerfile as it stands there.
"""

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import yaml
from docker_files import IMAGE_ROOT, Instruction
from psycopg import sql

from azak_assets.cli.environment import environment
from azak_assets.cli.processes import Child, stop
from azak_assets.loopback import free_port
from azak_assets.settings import Settings
from azak_assets.warehouse.postgres import database

COMMAND_S = 90
"""Longest a command that ends by itself may take; on an idle machine the slowest takes a tenth of it."""
START_S = 90

Services = dict[str, dict[str, Any]]

pytestmark = pytest.mark.timeout(300)


@dataclass
class Stack:
    """The services as processes: their commands with the addresses of this machine, and where each answers."""

    services: Services
    tree: Path
    variables: dict[str, str]
    ports: dict[str, int]
    logs: Path

    def here(self, command: list[str]) -> list[str]:
        """A command of the compose file with this machine's addresses for those of the containers."""
        texts = [part.replace("0.0.0.0", "127.0.0.1") for part in command]
        for inside, outside in self.ports.items():
            texts = [part.replace(inside, str(outside)) for part in texts]
        return texts

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command that ends by itself."""
        return subprocess.run(
            self.here(command),
            cwd=self.tree,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )

    def start(self, name: str) -> Child:
        """Start a service as compose would."""
        command = self.here(self.services[name]["command"])
        log = self.logs / f"{name}.log"
        return Child.start(name, command, environment=self.variables, log=log, cwd=self.tree)

    def health(self, name: str) -> subprocess.CompletedProcess[str]:
        """Run a service's health check once."""
        kind, *command = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        return self.run(command)


@pytest.fixture(scope="module")
def stack(
    services: Services,
    dockerfile: list[Instruction],
    image_environment: dict[str, str],
    image_tree: Path,
    server_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """The tree built as the Dockerfile says, two empty databases, the environment of a container."""
    home = tmp_path_factory.mktemp("home")
    ports = {inside: free_port() for inside in ("4000", "3000", "3001", "8900")}
    name = f"azak_test_docker_{os.getpid()}"
    url = sa.make_url(server_url).set(database=name)
    dagster = url.set(drivername="postgresql+psycopg2", database=f"{name}_dagster")
    databases = database.Databases(*(one.render_as_string(hide_password=False) for one in (url, dagster)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZAK_HOME", str(home))
        patch.setenv("AZAK_MODE", "sandbox")
        patch.setenv("AZAK_SANDBOX_URL", f"http://127.0.0.1:{ports['8900']}")
        variables = environment(Settings(), databases) | {"AZAK_DATABASE_URL": databases.azak}
    places = {
        "AZAK_HOME": str(home),
        "DAGSTER_HOME": str(image_tree / "dagster_home"),
        "DBT_TARGET_PATH": image_environment["DBT_TARGET_PATH"].replace(IMAGE_ROOT, str(image_tree)),
    }
    in_image = {k: v for k, v in image_environment.items() if k not in ("PATH", "VIRTUAL_ENV")}
    # PYTHONPATH puts the copied code before the repository's; everything else as in the container.
    variables = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("AZAK_", "DAGSTER_", "DBT_", "KIS_"))},
        **in_image,
        **variables,
        **places,
        "PYTHONPATH": str(image_tree),
    }
    workspace = image_tree / "docker" / "workspace.yaml"
    text = workspace.read_text()
    workspace.write_text(text.replace("host: code", "host: 127.0.0.1").replace("4000", str(ports["4000"])))
    assert workspace.read_text() != text
    made = Stack(services, image_tree, variables, ports, tmp_path_factory.mktemp("logs"))
    for step in (one.text for one in dockerfile if one.name == "RUN" and one.text.startswith("dbt ")):
        built = made.run(shlex.split(step))
        assert built.returncode == 0, built.stdout + built.stderr
    with database.connect(server_url) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        try:
            yield made
        finally:
            for one in (name, f"{name}_dagster"):
                connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(one)))


@pytest.fixture(scope="module")
def migrated(stack: Stack) -> subprocess.CompletedProcess[str]:
    """The service `migrate`, run to its end."""
    return stack.run(stack.services["migrate"]["command"])


@pytest.fixture(scope="module")
def running(stack: Stack, migrated: subprocess.CompletedProcess[str]) -> Iterator[dict[str, Child]]:
    """Code server, then the rest, each in the order and after the condition of the compose file; stopped by pid."""
    assert migrated.returncode == 0, migrated.stderr
    with ExitStack() as stack_of_children:
        children: dict[str, Child] = {}
        stack_of_children.callback(lambda: stop(list(children.values())))
        children["code"] = stack.start("code")
        # A check of health starts Dagster's command line, 3 s of CPU: asked only once there is something to ask.
        until(children, partial(listens, stack, "4000"), "code listens")
        until(children, lambda: stack.health("code").returncode == 0, "code is healthy")
        assert stack.health("daemon").returncode != 0, "no daemon runs yet, and its check must say so"
        for name in ("webserver", "viewer", "daemon"):
            children[name] = stack.start(name)
        yield children
    assert all(child.has_ended for child in children.values())


def until(children: dict[str, Child], is_true: Callable[[], bool], what: str) -> None:
    """Wait until it is true, at most START_S; a child that ended shows its last words."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        for child in children.values():
            assert not child.has_ended, f"{child.name} ended: {child.last_lines(30)}"
        if is_true():
            return
        time.sleep(0.3)
    pytest.fail(f"not within {START_S} s: {what}\n" + "\n".join(child.last_lines() for child in children.values()))


def listens(stack: Stack, port: str) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", stack.ports[port]), timeout=1):
        return True
    return False


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/server_info", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def ask(url: str, query: str) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.post(f"{url}/graphql", json={"query": query}, timeout=30).raise_for_status().json()
    return answer


def address(stack: Stack, port: str) -> str:
    return f"http://127.0.0.1:{stack.ports[port]}"


def test_the_code_that_runs_is_the_copied_one(stack: Stack) -> None:
    where = stack.run([sys.executable, "-c", "import azak_assets; print(azak_assets.__file__)"])
    assert Path(where.stdout.strip()).is_relative_to(stack.tree)
    assert not str(stack.tree).startswith(IMAGE_ROOT)


def test_migrate_makes_both_databases(stack: Stack, migrated: subprocess.CompletedProcess[str]) -> None:
    assert migrated.returncode == 0, migrated.stdout + migrated.stderr
    state = database.status(stack.variables["AZAK_DATABASE_URL"])
    assert state.current == state.head
    dagster = stack.variables["AZAK_DAGSTER_DATABASE_URL"].replace("psycopg2", "psycopg")
    with database.connect(dagster) as connection:
        found = connection.execute("select to_regclass('runs') is not null and to_regclass('event_logs') is not null")
        assert found.fetchone() == (True,)
        assert connection.execute("select count(*) from alembic_version").fetchone() == (1,)


def test_migrate_fails_when_the_database_is_not_there(stack: Stack) -> None:
    nowhere = sa.make_url(stack.variables["AZAK_DATABASE_URL"]).set(database="azak_no_such_database")
    elsewhere = stack.variables | {"AZAK_DATABASE_URL": nowhere.render_as_string(hide_password=False)}
    broken = Stack(stack.services, stack.tree, elsewhere, stack.ports, stack.logs)
    done = broken.run(stack.services["migrate"]["command"])
    assert done.returncode != 0  # compose then starts none of the services that wait for it
    assert "azak_no_such_database" in done.stderr


def test_every_service_becomes_healthy_by_its_own_check(stack: Stack, running: dict[str, Child]) -> None:
    for name, port in (("webserver", "3000"), ("viewer", "3001")):
        until(running, partial(answers, address(stack, port)), f"{name} answers")
    with ThreadPoolExecutor() as pool:
        checks = list(pool.map(stack.health, ("code", "webserver", "viewer")))
    assert all(check.returncode == 0 for check in checks), [check.stderr for check in checks]
    until(running, lambda: stack.health("daemon").returncode == 0, "the daemon has heartbeats")


def test_a_service_that_is_down_is_not_healthy(stack: Stack) -> None:
    lost = Stack(stack.services, stack.tree, stack.variables, dict.fromkeys(stack.ports, free_port()), stack.logs)
    with ThreadPoolExecutor() as pool:
        checks = list(pool.map(lost.health, ("code", "webserver", "viewer", "sandbox")))
    assert all(check.returncode != 0 for check in checks)


LOCATIONS = """
{ workspaceOrError { ... on Workspace { locationEntries {
    name loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } }
  assetNodes { assetKey { path } } }
"""


def test_the_ui_has_the_location_loaded_with_its_assets(stack: Stack, running: dict[str, Child]) -> None:
    for port in ("3000", "3001"):
        url = address(stack, port)
        until(running, partial(answers, url), f"{url} answers")
        data = ask(url, LOCATIONS)["data"]
        (entry,) = data["workspaceOrError"]["locationEntries"]
        assert entry["name"] == "azak"
        assert entry["loadStatus"] == "LOADED"
        assert entry["locationOrLoadError"]["__typename"] == "RepositoryLocation", entry
        keys = {".".join(node["assetKey"]["path"]) for node in data["assetNodes"]}
        assert {"raw.daily_bars", "ml.predictions", "marts.daily_performance"} <= keys


RELOAD = 'mutation { reloadRepositoryLocation(repositoryLocationName: "azak") { __typename } }'


def test_the_viewer_may_look_and_change_nothing(stack: Stack, running: dict[str, Child]) -> None:
    until(running, lambda: answers(address(stack, "3000")) and answers(address(stack, "3001")), "both answer")
    refused = ask(address(stack, "3001"), RELOAD)["data"]["reloadRepositoryLocation"]["__typename"]
    allowed = ask(address(stack, "3000"), RELOAD)["data"]["reloadRepositoryLocation"]["__typename"]
    assert (refused, allowed) == ("UnauthorizedError", "WorkspaceLocationEntry")


def test_the_instance_is_the_repositorys_in_postgresql(stack: Stack, running: dict[str, Child]) -> None:
    until(running, lambda: answers(address(stack, "3000")), "the UI answers")
    instance = ask(address(stack, "3000"), "{ instance { info runLauncher { name } } }")["data"]["instance"]
    info = yaml.safe_load(instance["info"])
    assert info["event_log_storage"] == "PostgresEventLogStorage"
    assert (
        info["concurrency"] == yaml.safe_load((stack.tree / "dagster_home" / "dagster.yaml").read_text())["concurrency"]
    )
    assert instance["runLauncher"]["name"] == "DefaultRunLauncher"


LAUNCH = """
mutation { launchRun(executionParams: {
    selector: {repositoryName: "__repository__", repositoryLocationName: "azak", pipelineName: "__ASSET_JOB",
        assetSelection: [{path: ["raw", "trading_sessions"]}]}, mode: "default"}) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""


def test_a_run_started_in_the_ui_writes_through_the_code_service(stack: Stack, running: dict[str, Child]) -> None:
    ui = address(stack, "3000")
    until(running, partial(answers, ui), "the UI answers")
    sandbox = stack.start("sandbox")
    try:
        until({"sandbox": sandbox}, partial(plays, address(stack, "8900")), "the sandbox answers")
        assert stack.health("sandbox").returncode == 0
        launched = ask(ui, LAUNCH)["data"]["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run_id = launched["run"]["runId"]
        status = f'{{ runOrError(runId: "{run_id}") {{ ... on Run {{ status }} }} }}'
        ended = ("SUCCESS", "FAILURE", "CANCELED")
        until(running, lambda: ask(ui, status)["data"]["runOrError"]["status"] in ended, "the run has ended")
        assert ask(ui, status)["data"]["runOrError"]["status"] == "SUCCESS"
    finally:
        stop([sandbox])
    with database.connect(stack.variables["AZAK_DATABASE_URL"]) as connection:
        assert connection.execute("select world from ops.world").fetchone() == ("seed:1",)
        assert connection.execute("select count(*) > 4000 from raw.trading_sessions").fetchone() == (True,)
    # The webserver shows the step's log from the folder that all services share.
    assert list(Path(stack.variables["AZAK_DAGSTER_DIR"]).glob(f"{run_id}/compute_logs/*.err"))


def plays(url: str) -> bool:
    try:
        return httpx.get(f"{url}/sandbox/world", timeout=10).status_code == 200
    except httpx.TransportError:
        return False
