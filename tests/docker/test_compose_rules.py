"""What the compose file and the Dockerfile promise, read from them: no Docker engine is needed."""

import importlib.metadata
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from docker_files import DOCKER, IMAGE_ROOT, REPOSITORY, Instruction, copies

from azak_assets.cli.environment import environment
from azak_assets.cli.processes import program
from azak_assets.settings import Settings, described
from azak_assets.warehouse.postgres import database, server

OURS = ("migrate", "code", "webserver", "viewer", "daemon", "sandbox")
"""The services of our own image."""
LONG_LIVED = ("postgres", "code", "webserver", "viewer", "daemon", "sandbox")
COMPOSE_OWN = {"COMPOSE_PROFILES"}
POSTGRES_OWN = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD", "POSTGRES_INITDB_ARGS"}
"""The environment of the official postgres image."""

Services = dict[str, dict[str, Any]]


def env_example() -> dict[str, str]:
    """Every variable that docker/azak.env.example documents, those in comments too."""
    text = (DOCKER / "azak.env.example").read_text(encoding="utf-8")
    return dict(re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", text, flags=re.MULTILINE))


def programs_of(command: list[str]) -> list[str]:
    """The programs a command starts: its first word, or those of the steps that `sh -c` joins."""
    if command[:2] == ["sh", "-c"]:
        return [shlex.split(step)[0] for step in command[2].split("&&")]
    return [command[0]]


def test_the_services_are_those_of_azak_up_and_those_around_them(services: Services) -> None:
    assert set(services) == {"postgres", *OURS}
    assert services["sandbox"]["profiles"] == ["sandbox"]
    assert [name for name in services if "profiles" in services[name]] == ["sandbox"]


def test_each_waits_for_what_it_needs(services: Services) -> None:
    waits = {
        name: {on: how["condition"] for on, how in one.get("depends_on", {}).items()} for name, one in services.items()
    }
    assert waits == {
        "postgres": {},
        "migrate": {"postgres": "service_healthy"},
        "code": {"migrate": "service_completed_successfully"},
        "webserver": {"code": "service_healthy"},
        "viewer": {"code": "service_healthy"},
        "daemon": {"code": "service_healthy"},
        "sandbox": {"migrate": "service_completed_successfully"},
    }


def test_one_image_is_built_once(services: Services) -> None:
    assert {services[name]["image"] for name in OURS} == {"azak:local"}
    assert [name for name in services if "build" in services[name]] == ["migrate"]
    # Without it compose would look for our image in a public registry.
    assert {services[name]["pull_policy"] for name in OURS} == {"never"}
    build = services["migrate"]["build"]
    assert (DOCKER / build["context"]).resolve() == REPOSITORY
    assert (REPOSITORY / build["dockerfile"]).is_file()


@pytest.mark.parametrize("name", LONG_LIVED)
def test_it_is_limited_watched_and_started_again(services: Services, name: str) -> None:
    one = services[name]
    assert re.fullmatch(r"\d+[mg]", one["mem_limit"])
    assert one["restart"] == "unless-stopped"
    check = one["healthcheck"]
    assert check["test"][0] == "CMD"
    assert set(check) >= {"interval", "timeout", "retries", "start_period"}


def test_migrations_end_and_a_failed_one_is_not_repeated(services: Services) -> None:
    assert services["migrate"]["restart"] == "no"
    assert "mem_limit" in services["migrate"]


@pytest.mark.parametrize("name", OURS)
def test_every_program_is_installed_by_the_lock(services: Services, name: str) -> None:
    one = services[name]
    commands = [one["command"], one.get("healthcheck", {"test": ["CMD", "python"]})["test"][1:]]
    for command in commands:
        for wanted in programs_of(command):
            assert Path(program(wanted)).is_file(), f"{name}: {wanted} is not in the virtual environment"


def test_ports_are_open_to_this_machine_alone(services: Services) -> None:
    published = {name: one["ports"] for name, one in services.items() if "ports" in one}
    assert set(published) == {"postgres", "webserver", "viewer"}
    for ports in published.values():
        for port in ports:
            assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port
    assert not any("network_mode" in one for one in services.values())


def test_each_ui_listens_where_its_port_and_its_health_check_look(services: Services) -> None:
    for name, port in (("webserver", "3000"), ("viewer", "3001")):
        command = services[name]["command"]
        assert command[:2] == ["azak", "ui"], "not Dagster's own server, which obeys any page"
        assert command[command.index("-p") + 1] == port
        assert services[name]["ports"] == [f"127.0.0.1:{port}:{port}"]
        assert f"127.0.0.1:{port}/server_info" in services[name]["healthcheck"]["test"][-1]
    assert "--read-only" in services["viewer"]["command"]
    assert "--read-only" not in services["webserver"]["command"]


def test_data_lives_in_volumes(compose: dict[str, Any], image_environment: dict[str, str]) -> None:
    assert set(compose["volumes"]) == {"postgres", "home"}
    services = compose["services"]
    assert services["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]
    for name in OURS:
        assert services[name]["volumes"] == [f"home:{image_environment['AZAK_HOME']}"]
    assert image_environment["AZAK_DAGSTER_DIR"].startswith(image_environment["AZAK_HOME"])


def test_the_variables_are_exactly_those_that_something_reads(
    services: Services, image_environment: dict[str, str]
) -> None:
    read_by_dagster = set(re.findall(r"env:\s*([A-Z_]+)", (REPOSITORY / "dagster.yaml").read_text()))
    read_by_dbt = set(re.findall(r"env_var\('([A-Z_]+)'", (REPOSITORY / "azak_dbt" / "profiles.yml").read_text()))
    settings = {name for name, _, _ in described()}
    in_compose = set(services["code"]["environment"])
    in_image = {name for name in image_environment if name.startswith(("AZAK_", "DAGSTER_"))}
    in_example = set(env_example())
    assert in_compose | in_image | in_example == (
        settings | read_by_dagster | read_by_dbt | {"DAGSTER_HOME", "POSTGRES_PASSWORD"} | COMPOSE_OWN
    )
    assert not in_compose & in_image
    assert not in_image & in_example
    assert set(services["postgres"]["environment"]) == POSTGRES_OWN


def test_the_containers_get_every_variable_that_azak_up_gives_its_children(
    services: Services, image_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZAK_HOME", str(tmp_path))
    monkeypatch.setenv("AZAK_SANDBOX_URL", "http://sandbox:8900")
    url = "postgresql+psycopg://azak:secret@postgres:5432/azak"
    given = environment(Settings(), database.Databases(url, url.replace("psycopg", "psycopg2") + "_dagster"))
    interpolated = {
        name: value.replace("${POSTGRES_PASSWORD}", "secret").replace("${AZAK_MODE:-sandbox}", "sandbox")
        for name, value in services["code"]["environment"].items()
    }
    in_container = image_environment | interpolated
    assert set(given) <= set(in_container), set(given) - set(in_container)
    for name in (
        "AZAK_DAGSTER_DATABASE_URL",
        "AZAK_MODE",
        "AZAK_SANDBOX_URL",
        *(n for n in given if n.startswith("AZAK_DBT_")),
    ):
        assert in_container[name] == given[name], name
    assert in_container["AZAK_DATABASE_URL"] == url
    # Parsed while the image is built, for the one database that it will have.
    assert in_container["DBT_TARGET_PATH"] == f"{IMAGE_ROOT}/azak_dbt/target"


def test_all_of_our_services_share_one_environment_and_secrets_come_by_file(services: Services) -> None:
    for name in OURS:
        assert services[name]["environment"] == services["code"]["environment"]
        assert services[name]["env_file"] == "azak.env"
    # The database has no business with the brokers' keys.
    assert "env_file" not in services["postgres"]
    assert (DOCKER / ".gitignore").read_text().split() == ["azak.env"]
    assert ":?" in services["postgres"]["environment"]["POSTGRES_PASSWORD"]


SECRET = re.compile(r"(_KEY|_SECRET|_TOKEN|_PASSWORD|_CLIENT_ID|_CHAT_ID)$")


def test_no_secret_stands_in_a_file_that_git_keeps(services: Services, image_environment: dict[str, str]) -> None:
    for name, value in env_example().items():
        if SECRET.search(name):
            assert value == "", f"azak.env.example gives {name} a value"
    for one in services.values():
        for name, value in one.get("environment", {}).items():
            if SECRET.search(name):
                assert value.startswith("${"), f"{name} is written into compose.yaml"
            assert not re.search(r"//\w+:(?!\$\{)[^/]*@", str(value)), f"{name} holds a password"
    assert not [name for name in image_environment if SECRET.search(name)]


def test_the_example_repeats_the_defaults_of_the_settings() -> None:
    defaults = {name: default for name, default, _ in described()}
    for name in ("AZAK_EMBEDDER", "AZAK_LLM_BUDGET_USD", "AZAK_FETCH_BODIES"):
        assert env_example()[name] == defaults[name]


def test_postgres_is_set_like_the_embedded_server(services: Services) -> None:
    command = services["postgres"]["command"]
    given = dict(pair.split("=", 1) for flag, pair in zip(command[1::2], command[2::2], strict=True) if flag == "-c")
    of_a_container = {"listen_addresses", "unix_socket_permissions", "log_line_prefix"}
    assert given == {name: value for name, value in server.SETTINGS.items() if name not in of_a_container}
    assert services["postgres"]["image"].startswith(f"postgres:{server.MAJOR_VERSION}-")


def test_the_containers_workspace_is_the_repositorys_served_by_the_code_service(services: Services) -> None:
    ours = yaml.safe_load((REPOSITORY / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    theirs = yaml.safe_load((DOCKER / "workspace.yaml").read_text())["load_from"][0]["grpc_server"]
    command = services["code"]["command"]
    assert theirs == {"host": "code", "port": 4000, "location_name": ours["location_name"]}
    assert command[command.index("-m") + 1] == ours["module_name"]
    assert command[command.index("-p") + 1] == str(theirs["port"])
    assert command[command.index("--location-name") + 1] == ours["location_name"]
    for name in ("webserver", "viewer", "daemon"):
        assert services[name]["command"][services[name]["command"].index("-w") + 1] == "docker/workspace.yaml"


def test_the_image_is_installed_from_the_hashed_locks(dockerfile: list[Instruction]) -> None:
    installs = [
        step
        for one in dockerfile
        if one.name == "RUN"
        for step in one.text.split("&&")
        if "pip install" in step and "--editable ." not in step
    ]
    assert len(installs) == 2
    # A shell that has run the system's python goes on running it: only the path names the virtual environment's.
    assert not any(re.match(r"\s*(python|pip)\b", step) for step in installs)
    assert all("--require-hashes -r requirements/" in step for step in installs)
    for lock in ("requirements/bootstrap.lock", "requirements/base.lock"):
        assert any(lock in step for step in installs)
        assert not re.search(r"--(extra-)?index-url|--find-links", (REPOSITORY / lock).read_text())


def test_the_image_parses_dbt_while_it_is_built_and_for_the_connection_it_will_have(
    dockerfile: list[Instruction], image_environment: dict[str, str]
) -> None:
    order = [f"{one.name} {one.text}" for one in dockerfile]
    parse = next(place for place, text in enumerate(order) if text.startswith("RUN dbt parse"))
    connection = next(place for place, text in enumerate(order) if "AZAK_DBT_HOST=" in text)
    user = order.index("USER azak")
    assert connection < parse < user
    assert image_environment["AZAK_DBT_HOST"] == "postgres"


def test_the_image_runs_as_nobody_special(dockerfile: list[Instruction]) -> None:
    users = [one.text for one in dockerfile if one.name == "USER"]
    assert users == ["azak"]
    assert any("--uid 10001" in one.text for one in dockerfile if one.name == "RUN")
    # What follows USER must not need root.
    last_run = max(place for place, one in enumerate(dockerfile) if one.name == "RUN")
    assert last_run < next(place for place, one in enumerate(dockerfile) if one.name == "USER")


def test_every_copied_file_exists_and_enters_the_build_context(dockerfile: list[Instruction]) -> None:
    ignore = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    admitted = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert "*" in ignore
    copied = {source for sources, _ in copies(dockerfile) for source in sources}
    for source in copied:
        assert (REPOSITORY / source).exists(), source
    assert copied == admitted


def test_dagster_reads_the_repositorys_own_instance_file(
    dockerfile: list[Instruction], image_environment: dict[str, str]
) -> None:
    assert (["dagster.yaml"], "dagster_home/") in copies(dockerfile)
    assert image_environment["DAGSTER_HOME"] == f"{IMAGE_ROOT}/dagster_home"


def test_the_python_of_the_image_is_one_azak_supports(dockerfile: list[Instruction]) -> None:
    version = next(one.text for one in dockerfile if one.name == "ARG").removeprefix("PYTHON_VERSION=")
    supported = importlib.metadata.metadata("azak")["Requires-Python"]
    assert supported is not None
    low, high = (tuple(map(int, re.findall(r"\d+", bound))) for bound in sorted(supported.split(","), reverse=True))
    assert low <= tuple(map(int, version.split("."))) < high
