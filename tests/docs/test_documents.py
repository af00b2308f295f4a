"""The runbook and the cookbook say what the code does: every query runs, every message, schedule and command exists."""

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
import typer.main
from psycopg import sql

from azak_assets.cli import app
from azak_assets.cli.documents import FILES, build_marts
from azak_assets.defs.schedules import SCHEDULES, SENSORS
from azak_assets.settings import REPOSITORY
from azak_assets.sources import failures
from azak_assets.warehouse import catalogue
from azak_assets.warehouse.catalogue import SCHEMAS
from azak_assets.warehouse.postgres import database, server
from azak_assets.warehouse.tables import metadata

ANALYSIS = REPOSITORY / "docs" / "analysis.md"
DICTIONARY = REPOSITORY / "docs" / "dictionary.md"
OPERATIONS = REPOSITORY / "docs" / "operations.md"
HOUSE = REPOSITORY / "docs" / "house.md"
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
    target = tmp_path_factory.mktemp("dbt_target")
    variables = {
        "AZAK_DBT_HOST": str(url.query.get("host") or url.host),
        "AZAK_DBT_PORT": str(url.query.get("port") or url.port or 5432),
        "AZAK_DBT_USER": url.username or "",
        "AZAK_DBT_PASSWORD": str(url.password or ""),
        "AZAK_DBT_DATABASE": name,
        "DBT_TARGET_PATH": str(target),
    }
    with database.connect(server_url) as connection:
        make = sql.SQL("create database {} template {}")
        connection.execute(make.format(sql.Identifier(name), sql.Identifier(migrated_template)))
        try:
            build_marts(variables)
            yield url.render_as_string(hide_password=False)
        finally:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def found(marts: str) -> catalogue.Catalogue:
    """The catalogue of that database, read as `make docs` reads it."""
    with database.connect(marts) as connection:
        return catalogue.read(connection)


@pytest.mark.parametrize("file", FILES)
def test_the_generated_documents_are_those_of_the_live_catalogue(found: catalogue.Catalogue, file: str) -> None:
    kept = (REPOSITORY / "docs" / file).read_text(encoding="utf-8")
    assert kept == FILES[file](found), "the tables have changed: `make docs` writes it anew"


def test_the_catalogue_has_every_table_and_column_of_the_tables_we_own(found: catalogue.Catalogue) -> None:
    for owned in metadata.sorted_tables:
        relation = found.relations[f"{owned.schema}.{owned.name}"]
        assert [column.name for column in relation.columns] == [column.name for column in owned.columns]
        assert list(relation.key) == [column.name for column in owned.primary_key.columns]
    written = dictionary_rows()
    for relation in found.relations.values():
        if not found.is_plain_history(relation):
            assert written[relation.full_name] == [column.name for column in relation.columns]
        else:
            assert f"`{relation.full_name}`" in DICTIONARY.read_text(encoding="utf-8")


def dictionary_rows() -> dict[str, list[str]]:
    """Relation → columns, as the committed dictionary tells them."""
    sections = re.split(r"^### `([\w.]+)`$", DICTIONARY.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {
        name: re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)
        for name, text in zip(sections[::2], sections[1::2], strict=True)
    }


def test_who_holds_whose_key_is_found_by_its_name(found: catalogue.Catalogue) -> None:
    links = {(link.owner, link.holder): link.columns for link in catalogue.references(found)}
    assert links["raw.stocks", "raw.daily_bars"] == ("stock_code",)
    assert links["ml.predictions", "ml.prediction_horizons"] == ("prediction_id",)
    assert links["ml.prediction_horizons", "ml.model_evaluations"] == ("prediction_id", "horizon_sessions")
    assert ("ml.predictions", "ml.model_evaluations") not in links, "a score hangs on a horizon, that on its forecast"
    assert links["marts.matches", "marts.news_price_reactions"] == ("article_id", "stock_code")
    assert not [owner for owner, _ in links if owner.startswith(("ops.", "staging."))]
    assert all(SCHEMAS.index(o.split(".")[0]) <= SCHEMAS.index(h.split(".")[0]) for o, h in links)


def test_the_diagram_is_mermaid_with_every_table_once_and_no_line_into_nothing(found: catalogue.Catalogue) -> None:
    diagrams = re.findall(r"^```mermaid\nerDiagram\n(.*?)^```", catalogue.erd(found), flags=re.DOTALL | re.MULTILINE)
    drawn = set()
    for diagram in diagrams:
        entities = re.findall(r'^    (\w+)\["([\w.]+)"\] \{$', diagram, flags=re.MULTILINE)
        assert len(entities) == len(set(entities))
        ids = {identifier for identifier, _ in entities}
        drawn |= {name for _, name in entities}
        lines = re.findall(r'^    (\w+) \|[|o]--o[|{] (\w+) : "[\w, ]+"$', diagram, flags=re.MULTILINE)
        assert lines
        assert {end for line in lines for end in line} <= ids
        attributes = re.findall(r"^        \S+ \w+ (?:PK|FK|PK, FK)$", diagram, flags=re.MULTILINE)
        # Nothing else stands in it: Mermaid shows an error instead of a picture for one line it cannot read.
        braces = 2 * len(entities)
        assert len(diagram.splitlines()) == braces + len(attributes) + len(lines)
    tables = {one.full_name for schema in ("raw", "text", "ml", "marts") for one in found.of(schema)}
    assert drawn == tables


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


def test_the_runbook_tells_every_sensor() -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    for sensor in SENSORS:
        assert f"`{sensor.name}`" in text, sensor.name


def test_the_runbook_tells_every_failure_with_its_action() -> None:
    section = OPERATIONS.read_text(encoding="utf-8").split("## Failures by name")[1].split("\n## ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| (\w+)", section, flags=re.MULTILINE))
    # Those of the room; a client may have private ones that never leave it.
    kinds = [kind for kind in failures.SourceFailure.__subclasses__() if kind.__module__ == failures.__name__]
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


def test_every_name_that_a_document_imports_exists() -> None:
    imports = [
        (document.name, module, name.strip())
        for document in DOCUMENTS
        for module, names in re.findall(r"from (azak_assets[\w.]*) import ([\w, ]+)", document.read_text("utf-8"))
        for name in names.split(",")
    ]
    assert imports, "the backup's recipe imports the folder of PostgreSQL's programs"
    for document, module, name in imports:
        assert hasattr(importlib.import_module(module), name), f"{document}: from {module} import {name}"


def test_the_tour_of_the_house_opens_files_that_exist_and_misses_no_room() -> None:
    text = HOUSE.read_text(encoding="utf-8")
    named = set(re.findall(r"`(azak_(?:assets|dbt)/[\w/.]*)`", text))
    assert len(named) > 30
    assert not [path for path in named if not (REPOSITORY / path).exists()]
    rooms = text[text.index("## The rooms") : text.index("## Follow one daily bar")]
    package = REPOSITORY / "azak_assets"
    folders = {f"{one.name}/" for one in package.iterdir() if one.is_dir() and any(one.glob("*.py"))}
    assert folders <= set(re.findall(r"`(\w+/)`", rooms))
