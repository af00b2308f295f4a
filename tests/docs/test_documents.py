"""The runbook and the cookbook say what the code does: every query runs, every message, schedule and command exists."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
import typer.main
from psycopg import sql

from azak_assets.cli import app
from azak_assets.cli.processes import program
from azak_assets.defs.schedules import SCHEDULES
from azak_assets.settings import REPOSITORY
from azak_assets.sources import failures
from azak_assets.warehouse import database, server

ANALYSIS = REPOSITORY / "docs" / "analysis.md"
OPERATIONS = REPOSITORY / "docs" / "operations.md"
DOCUMENTS = (REPOSITORY / "README.md", OPERATIONS, ANALYSIS)
FOR_THE_OWNER = "## Beneath the marts"
"""The cookbook's queries before this heading need the schema marts alone."""


@dataclass(frozen=True)
class Query:
    """One SQL block: where it stands, its text, and whether an analyst may run it."""

    place: str
    text: str
    is_for_analysts: bool


def queries() -> list[Query]:
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        owner_from = text.find(FOR_THE_OWNER)
        for block in re.finditer(r"^```sql\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, block.start()) + 1
            found.append(Query(f"{document.name}:{line}", block.group(1), block.start() < owner_from))
    return found


QUERIES = queries()


@pytest.fixture(scope="module")
def marts(server_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a migrated database whose marts dbt has built, empty."""
    name = f"azak_test_documents_{migrated_template[-8:]}"
    url = sa.make_url(server_url).set(database=name)
    project = REPOSITORY / "azak_dbt"
    target = tmp_path_factory.mktemp("dbt_target")
    variables = {
        "AZAK_DBT_HOST": str(url.query.get("host") or url.host),
        "AZAK_DBT_PORT": str(url.query.get("port") or url.port or 5432),
        "AZAK_DBT_USER": url.username or "",
        "AZAK_DBT_PASSWORD": str(url.password or ""),
        "AZAK_DBT_DATABASE": name,
        "DBT_TARGET_PATH": str(target),
        "DBT_LOG_PATH": str(target),
    }
    with database.connect(server_url) as connection:
        make = sql.SQL("create database {} template {}")
        connection.execute(make.format(sql.Identifier(name), sql.Identifier(migrated_template)))
        try:
            command = [program("dbt"), "run", "--quiet", "--project-dir", str(project), "--profiles-dir", str(project)]
            built = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=240, check=False)
            assert built.returncode == 0, built.stdout + built.stderr
            yield url.render_as_string(hide_password=False)
        finally:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def test_the_documents_hold_the_queries_they_promise() -> None:
    cookbook = [query for query in QUERIES if query.place.startswith("analysis.md")]
    assert len(cookbook) >= 10
    assert any(not query.is_for_analysts for query in cookbook)
    assert any(query.is_for_analysts for query in cookbook)


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.place)
def test_every_query_runs(marts: str, query: Query) -> None:
    with database.connect(marts) as connection:
        cursor = connection.execute(query.text)
        assert cursor.description, "a query of the documents returns rows"
        assert len({column.name for column in cursor.description}) == len(cursor.description), "a column name is double"


@pytest.mark.parametrize("query", [query for query in QUERIES if query.is_for_analysts], ids=lambda query: query.place)
def test_the_analysts_queries_need_the_marts_alone(marts: str, query: Query) -> None:
    assert not re.search(r"\b(raw|text|ml|ops|staging)\.\w", query.text)
    with database.connect(marts) as connection:
        if not connection.execute("select 1 from pg_roles where rolname = %s", [server.ANALYST]).fetchone():
            pytest.skip(
                f"the server of AZAK_TEST_DATABASE_URL has no role {server.ANALYST}: make it to test its grants"
            )
        connection.execute(sql.SQL("set role {}").format(sql.Identifier(server.ANALYST)))
        connection.execute(query.text)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select 1 from raw.stocks")


def test_the_cookbook_tells_every_mart_and_no_other(marts: str) -> None:
    with database.connect(marts) as connection:
        rows = connection.execute(
            "select relname from pg_class where relnamespace = 'marts'::regnamespace and relkind in ('r', 'v', 'm')"
        ).fetchall()
    section = ANALYSIS.read_text(encoding="utf-8").split("## The marts")[1].split("## Coverage")[0]
    told = set(re.findall(r"^\| `marts\.(\w+)`", section, flags=re.MULTILINE))
    assert told == {name for (name,) in rows}


def test_the_runbook_tells_every_schedule_with_its_tick() -> None:
    section = OPERATIONS.read_text(encoding="utf-8").split("## What runs when")[1].split("\n## ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)`", section, flags=re.MULTILINE))
    assert told == {schedule.name: schedule.cron_schedule for schedule in SCHEDULES}


def test_the_runbook_tells_every_failure_with_its_action() -> None:
    section = OPERATIONS.read_text(encoding="utf-8").split("## Failures by name")[1].split("\n## ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| (\w+)", section, flags=re.MULTILINE))
    kinds = failures.SourceFailure.__subclasses__()
    assert told == {kind.__name__: kind.default_action for kind in kinds}


def source_text() -> str:
    """The code of the package with the parts of split string literals joined, as a message is read."""
    files = sorted((REPOSITORY / "azak_assets").rglob("*.py"))
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return re.sub(r"[\"']\s*\n\s*f?[\"']", "", text)


def test_the_runbook_quotes_messages_that_the_code_says() -> None:
    section = OPERATIONS.read_text(encoding="utf-8").split("## Error → fix")[1].split("\n## ")[0]
    quoted = [cell for row in re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE) for cell in row.split("` / `")]
    assert len(quoted) > 20
    said = source_text()
    for message in quoted:
        for part in message.strip("`").split("…"):
            words = part.strip(" :=()`")
            assert not words or words in said, f"no message of Azak says {words!r} (of {message!r})"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_command_of_azak_exists_with_its_options(document: Path) -> None:
    root = typer.main.get_command(app)
    text = document.read_text(encoding="utf-8")
    written = re.findall(r"(?:^|[`(\s/])azak ((?:[a-z]+)(?: [a-z]+)?)((?: [^`\n|)]*)?)", text)
    called = 0
    for words, rest in written:
        group, *more = words.split()
        commands = root.commands  # type: ignore[attr-defined]
        if group not in commands:
            continue
        called += 1
        command = commands[group]
        if hasattr(command, "commands"):
            assert more, f"azak {group} needs a subcommand"
            assert more[0] in command.commands, f"azak {words}"
            command = command.commands[more[0]]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        for option in re.findall(r"(?<!\S)(--[a-z-]+)", rest.split("#")[0].split("&&")[0]):
            assert option in known, f"azak {words} has no {option}"
    assert called, "the document names commands"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_file_it_names_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for name in set(re.findall(r"`((?:docs|docker|azak_assets|azak_dbt|requirements)/[\w./-]+)`", text)):
        written_later = name.startswith("azak_dbt/target") or name == "docker/azak.env"
        assert written_later or (REPOSITORY / name).exists(), name
