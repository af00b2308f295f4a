"""A home of its own, the recorded folder, and the `azak` command as a user runs it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from azak_assets.warehouse.postgres import database, server
from tests.integration import replay_folder

AZAK = str(Path(sys.executable).parent / "azak")
RUN_TIMEOUT_S = 280


class Home:
    """One AZAK_HOME and what a user does with it."""

    def __init__(self, path: Path, replay: Path) -> None:
        self.path = path
        self.replay = replay

    @property
    def environment(self) -> dict[str, str]:
        """The caller's environment without any Azak variable but the home."""
        foreign = ("AZAK_", "KIS_", "OPENDART_", "NAVER_", "OPENAI_", "OPENROUTER_", "DAGSTER_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return {**kept, "AZAK_HOME": str(self.path)}

    def command(self, *arguments: str) -> list[str]:
        """The command line of `azak run` over the whole folder, or of the given arguments."""
        first, last = replay_folder.FIRST.isoformat(), replay_folder.LAST.isoformat()
        return [AZAK, *(arguments or ("run", "--from", first, "--to", last, "--replay", str(self.replay)))]

    def azak(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=False,
        )

    def query(self, statement: str) -> list[tuple]:
        """Rows of a statement on the home's database."""
        engine = database.create_engine(server.ensure_running(self.path).url("azak"))
        try:
            with engine.connect() as connection:
                return [tuple(row) for row in connection.execute(sa.text(statement))]
        finally:
            engine.dispose()

    def state(self) -> dict[str, str]:
        """A digest of every table's rows, without what belongs to the run: observed_at, run_id, what follows them."""
        tables = self.query(
            "select table_schema, table_name from information_schema.tables"
            " where table_schema in ('raw', 'text', 'ml', 'marts') and table_type = 'BASE TABLE'"
        )
        digests = {}
        for schema, table in tables:
            columns = [
                name
                for (name,) in self.query(
                    f"select column_name from information_schema.columns where table_schema = '{schema}'"
                    f" and table_name = '{table}'"
                )
                if name not in OF_THE_RUN.get(f"{schema}.{table.removesuffix('_history')}", frozenset()) | RUN_COLUMNS
            ]
            row = " || '|' || ".join(f"coalesce(t.{name}::text, '')" for name in sorted(columns))
            digests[f"{schema}.{table}"] = self.query(
                f"select count(*) || ' ' || coalesce(md5(string_agg(md5({row}), '' order by md5({row}))), '')"
                f' from {schema}."{table}" as t'
            )[0][0]
        return digests


RUN_COLUMNS = frozenset({"observed_at", "run_id", "superseded_at"})
OF_THE_RUN = {
    # Reference data is known from when it was observed; a filing keeps the instant it was first seen.
    "raw.stocks": frozenset({"known_at"}),
    "raw.product_info": frozenset({"known_at"}),
    "raw.financial_ratios": frozenset({"known_at"}),
    "raw.broker_calendar": frozenset({"known_at"}),
    "raw.corp_codes": frozenset({"known_at"}),
    "raw.disclosures": frozenset({"first_seen_at"}),
    "raw.article_bodies": frozenset({"known_at"}),
    # A measured duration, and the provider's own id and clock inside the stored answer.
    "ml.llm_calls": frozenset({"latency_ms", "response"}),
}


@pytest.fixture(scope="module")
def recorded_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return replay_folder.write(tmp_path_factory.mktemp("recorded") / "2022-01")


@pytest.fixture(scope="module")
def home(recorded_folder: Path) -> Iterator[Home]:
    # Not pytest's folder: it is closed to the account that the server runs as when we are root.
    path = Path(tempfile.mkdtemp(prefix="azak-home-"))
    try:
        yield Home(path, recorded_folder)
    finally:
        server.stop(path)
        shutil.rmtree(path, ignore_errors=True)
