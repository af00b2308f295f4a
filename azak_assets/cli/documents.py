"""`azak db docs`: the ER diagram and the data dictionary, from a database made for it and thrown away.

Belongs here: making that database as every other is made. Does not belong here: reading it and writing about it
(`warehouse.catalogue`).
"""

import os
import subprocess
import tempfile
from pathlib import Path

from rich.console import Console

from azak_assets.cli.environment import DBT_PROJECT, CannotStart, environment
from azak_assets.cli.processes import program
from azak_assets.settings import REPOSITORY, Settings
from azak_assets.warehouse import catalogue
from azak_assets.warehouse.postgres import database, server

FILES = {"erd.md": catalogue.erd, "dictionary.md": catalogue.dictionary}


def write(console: Console, folder: Path = REPOSITORY / "docs") -> None:
    """Write both documents into ``folder``.

    Raises:
        CannotStart: dbt cannot build the marts; the message is dbt's. server.ServerError: PostgreSQL does not start.
    """
    with tempfile.TemporaryDirectory(prefix="azak-docs-") as name:
        home = Path(name)
        try:
            databases = database.ensure_databases(home, None)
            database.upgrade(databases.azak)
            console.print("[green]✓[/] migrated an empty database")
            build_marts(environment(Settings().model_copy(update={"azak_home": home}), databases))
            console.print("[green]✓[/] dbt has made the marts")
            with database.connect(databases.azak) as connection:
                found = catalogue.read(connection)
        finally:
            server.stop(home)
    for file, text in FILES.items():
        (folder / file).write_text(text(found), encoding="utf-8")
        console.print(f"[green]✓[/] {folder / file}")


def build_marts(variables: dict[str, str]) -> None:
    """Make every mart and view, empty.

    Raises:
        CannotStart: with dbt's own words.
    """
    place = ["--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)]
    built = subprocess.run(
        [program("dbt"), "run", "--quiet", "--log-path", variables["DBT_TARGET_PATH"], *place],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0:
        raise CannotStart(f"dbt cannot build the marts:\n{built.stdout}{built.stderr}")
