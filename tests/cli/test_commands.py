"""Every `azak` command but `up` and `run` as a user types it: help, doctor, env, db, predict; no secret comes out.

Every command here runs with keys in its environment, and what it prints is searched for them.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from threading import Thread

import pandas as pd
import psycopg
import pytest
import sqlalchemy as sa
import typer
from typer.testing import CliRunner

from azak_assets.cli import app, main
from azak_assets.cli.doctor import UPSTREAMS, stocks_that_fit
from azak_assets.loopback import free_port
from azak_assets.sandbox.server import create_app, start_in_thread
from azak_assets.sandbox.worlds.seeded import SeededWorld
from azak_assets.settings import SANDBOX_PREFIXES, Settings, described
from azak_assets.warehouse.postgres import database, server
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse
from tests.homes import AZAK, Home, new_home

MARKER = "do-not-show-me"
SECRETS = {
    name: f"{MARKER}-{name.lower()}"
    for name in (
        "KIS_APP_KEY", "KIS_APP_SECRET", "KRX_OPENAPI_KEY", "OPENDART_API_KEY", "NAVER_CLIENT_ID",
        "NAVER_CLIENT_SECRET", "REDDIT_CLIENT_ID", "REDDIT_CLIENT_SECRET", "OPENAI_API_KEY", "OPENROUTER_API_KEY",
        "TELEGRAM_BOT_TOKEN",
    )
}  # fmt: skip
CLOSED_PORT = "postgresql://azak:" + MARKER + "@127.0.0.1:1/azak"


def azak(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, with secrets in its environment; none of them may come out."""
    environment = {**Home(home, home).environment, "AZAK_MODE": "sandbox", **SECRETS, **variables}
    code: object = 0
    output, errors = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(errors):
        for name in set(os.environ) - set(environment):
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["azak", *arguments])
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    assert code is None or isinstance(code, int)
    finished = subprocess.CompletedProcess(arguments, code or 0, output.getvalue(), errors.getvalue())
    assert MARKER not in finished.stdout + finished.stderr, finished.stdout + finished.stderr
    return finished


def done(home: Path, *arguments: str, **variables: str) -> str:
    """The standard output of a command that succeeds."""
    finished = azak(home, *arguments, **variables)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def refused(home: Path, *arguments: str, **variables: str) -> str:
    """The one sentence of a command that does not."""
    finished = azak(home, *arguments, **variables)
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert "Traceback" not in finished.stderr
    (line,) = [line for line in finished.stderr.splitlines() if not line.startswith("Opened ")]
    assert line.startswith("✗ ")
    return line


@pytest.fixture(scope="module")
def home(prepared_home: Path, recorded_folder: Path) -> Iterator[Path]:
    """A migrated home whose server runs."""
    with new_home(recorded_folder, like=prepared_home) as home:
        server.ensure_running(home.path)
        yield home.path


def commands(group: typer.core.TyperGroup, *above: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, *above, name)
        else:
            yield (*above, name)


@pytest.mark.parametrize("command", list(commands(typer.main.get_command(app))), ids=" ".join)
def test_the_help_of_every_command_has_an_example_of_it(command: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"])
    assert shown.exit_code == 0
    example = " ".join(shown.output.split("Example: ")[1].split())
    assert f"azak {' '.join(command)}" in example


def test_help_lists_the_commands_and_loads_nothing_heavy() -> None:
    listed = CliRunner().invoke(app, ["--help"])
    for name in ("up", "run", "sandbox", "db", "predict", "doctor", "env"):
        assert f" {name} " in listed.output
    code = "import sys, azak_assets.cli; sys.exit(int(bool({'dagster', 'sqlalchemy', 'pandas'} & set(sys.modules))))"
    python = str(Path(AZAK).parent / "python")
    assert subprocess.run([python, "-c", code], check=False).returncode == 0


def test_doctor_with_nothing_there_looks_and_changes_nothing(tmp_path: Path) -> None:
    nowhere = tmp_path / "not" / "yet"
    shown = done(nowhere, "doctor")
    assert "mode: sandbox" in shown
    assert "not running" in shown
    assert "GiB free" in shown
    assert "dagster " in shown
    for name, _, _ in described():
        assert name in shown
    assert shown.count(" set ") >= len(SECRETS)
    assert not nowhere.exists()
    assert not nowhere.parent.exists()


def test_doctor_with_a_running_home_and_a_sandbox(home: Path) -> None:
    with start_in_thread(create_app(SeededWorld(1))) as url:
        shown = done(home, "doctor", AZAK_SANDBOX_URL=url)
    assert f"PostgreSQL {server.MAJOR_VERSION}" in shown
    assert "newest daily bars none" in shown
    assert "observed trading: no days yet" in shown
    assert "minute bars of 540 stocks, or of 385 with quotes and books" in shown
    assert "tiers 1 and 2 have 0" in shown
    assert shown.count("yes (HTTP") >= 6


@pytest.mark.parametrize(
    ("per_second", "minutes", "with_snapshots"),
    [(15, 540, 385), (1 / 1.1, 32, 23), (2.5, 90, 64)],
    ids=["live", "paper", "new customer"],
)
def test_the_stocks_that_fit_are_sixty_seconds_of_the_live_share_over_the_calls_of_a_stock(
    per_second: float, minutes: int, with_snapshots: int
) -> None:
    assert stocks_that_fit(per_second) == minutes == int(60 * per_second * 0.6 / 1 + 1e-6)
    assert stocks_that_fit(per_second, 1.4) == with_snapshots


NOBODY = {name: "http://127.0.0.1:1" for name, _, _ in described() if name.endswith("_BASE_URL")}


def answers(shown: str) -> dict[str, str]:
    """The table of upstreams: what stands beside each name."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if line.startswith("│")]
    return {row[0]: row[2] for row in rows if row[0] in {upstream.name for upstream in UPSTREAMS}}


def test_doctor_says_which_upstream_does_not_answer(home: Path) -> None:
    shown = azak(home, "doctor", AZAK_MODE="live", TELEGRAM_CHAT_ID="1", **NOBODY)
    assert shown.returncode == 1
    assert "mode: live" in shown.stdout
    assert set(answers(shown.stdout).values()) == {"no: ConnectError"}
    assert len(answers(shown.stdout)) == len(NOBODY)


def test_doctor_knows_every_upstream_and_key() -> None:
    assert sorted(upstream.address for upstream in UPSTREAMS) == sorted(SANDBOX_PREFIXES)
    known = [key.upper() for upstream in UPSTREAMS for key in upstream.keys]
    assert sorted(known) == sorted([*SECRETS, "TELEGRAM_CHAT_ID"])


@contextmanager
def something_that_answers() -> Iterator[str]:
    """A server that has nothing and says so: any status is an answer."""
    handler = type("Handler", (BaseHTTPRequestHandler,), {"do_GET": lambda self: self.send_error(404)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server_of_nothing:
        Thread(target=server_of_nothing.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server_of_nothing.server_port}"
        server_of_nothing.shutdown()


def test_in_live_mode_only_what_is_configured_or_needed_counts(home: Path) -> None:
    none = dict.fromkeys([*SECRETS, "TELEGRAM_CHAT_ID"], "")
    kis = {"KIS_APP_KEY": f"{MARKER}-a", "KIS_APP_SECRET": f"{MARKER}-b"}
    with something_that_answers() as url:
        here = {**NOBODY, "KIS_BASE_URL": url, "KIS_MASTER_BASE_URL": url}
        shown = azak(home, "doctor", AZAK_MODE="live", **{**none, **kis, **here})
        assert shown.returncode == 0, shown.stdout
        said = answers(shown.stdout)
        assert said["KIS"] == "yes (HTTP 404)"
        assert said["MK RSS"] == "no: ConnectError", "one feed of several, and no key says that it is wanted"
        assert said["OpenDART"] == "not configured: OPENDART_API_KEY not set"
        assert said["Naver"] == "not configured: NAVER_CLIENT_ID and NAVER_CLIENT_SECRET not set"

        configured = {**none, **kis, **here, "OPENDART_API_KEY": f"{MARKER}-c"}
        shown = azak(home, "doctor", AZAK_MODE="live", **configured)
        assert shown.returncode == 1
        assert answers(shown.stdout)["OpenDART"] == "no: ConnectError"

        half = {**none, **kis, **here, "KIS_APP_SECRET": ""}
        shown = azak(home, "doctor", AZAK_MODE="live", **half)
        assert shown.returncode == 1
        assert "KIS_APP_SECRET not set" in answers(shown.stdout)["KIS"]
        assert "KIS_APP_KEY" not in answers(shown.stdout)["KIS"]


@pytest.mark.parametrize("command", [("doctor",), ("db", "url"), ("--help",)], ids=" ".join)
def test_a_reader_who_has_seen_enough_is_no_failure_to_tell(home: Path, command: tuple[str, ...]) -> None:
    # `azak doctor | head`, and `head` is gone before the first line.
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**Home(home, home).environment, "AZAK_MODE": "sandbox"}
    with os.fdopen(writer, "wb") as nobody:
        finished = subprocess.run(
            [AZAK, *command], env=environment, stdout=nobody, stderr=subprocess.PIPE, text=True, check=False
        )
    assert finished.stderr == ""


def bars(home: Path, days: list[date]) -> None:
    """Daily bars of one stock on exactly these days."""
    engine = database.create_engine(server.ensure_running(home).url("azak"))
    with engine.begin() as connection:
        connection.execute(sa.text("delete from raw.daily_bars"))
        for day in days:
            connection.execute(
                sa.text(
                    "insert into raw.daily_bars (stock_code, trade_date, close, volume, turnover_krw, is_halted,"
                    " known_at, source, observed_at, run_id)"
                    " values ('005930', :day, 1, 0, 0, true, now(), 'test', now(), 'test')"
                ),
                {"day": day},
            )
    engine.dispose()


def test_doctor_says_on_which_days_observed_trading_and_the_calendar_disagree(home: Path) -> None:
    # Chuseok 2026 is 24 and 25 September, a Thursday and a Friday.
    before, after = [date(2026, 9, day) for day in (21, 22, 23)], [date(2026, 9, day) for day in (28, 29)]
    try:
        bars(home, [*before, *after])
        assert "observed trading agrees: 5 sessions 2026-09-21 … 2026-09-29" in done(home, "doctor")

        bars(home, [date(2026, 9, 21), date(2026, 9, 23), date(2026, 9, 24), *after])
        shown = done(home, "doctor")
        assert "open on days that the calendar has closed: 2026-09-24" in shown
        assert "closed on days that the calendar has open: 2026-09-22" in shown

        bars(home, [date(2026, 8, 3), *after])
        assert "observed trading agrees: 3 sessions" in done(home, "doctor"), "a day not loaded yet proves nothing"
    finally:
        bars(home, [])


def test_doctor_says_on_which_days_the_broker_and_the_calendar_disagree(home: Path) -> None:
    engine = sa.create_engine(done(home, "db", "url").strip())
    insert = (
        "insert into raw.broker_calendar (day, is_open, known_at, source, observed_at, run_id)"
        " values (:day, :is_open, now(), 'test', now(), 'test')"
    )
    try:
        with engine.begin() as connection:
            truth = [(23, True), (24, False), (25, False)]  # September 2026: Chuseok begins on the 24th
            connection.execute(
                sa.text(insert), [{"day": date(2026, 9, day), "is_open": is_open} for day, is_open in truth]
            )
        assert "broker agrees: 1 sessions 2026-09-23" in done(home, "doctor")
        with engine.begin() as connection:
            connection.execute(sa.text("update raw.broker_calendar set is_open = not is_open where day < '2026-09-25'"))
        shown = done(home, "doctor")
        assert "open on days that the calendar has closed: 2026-09-24" in shown
        assert "closed on days that the calendar has open: 2026-09-23" in shown
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("truncate raw.broker_calendar"))
        engine.dispose()


def test_doctor_survives_a_database_that_is_down(home: Path) -> None:
    shown = azak(home, "doctor", AZAK_DATABASE_URL=CLOSED_PORT)
    assert shown.returncode == 1
    assert "port 1" in shown.stdout
    assert "GiB free" in shown.stdout, "it goes on to the end"


def test_db_url_is_one_line_that_connects(home: Path) -> None:
    shown = done(home, "db", "url")
    assert shown.startswith("postgresql+psycopg://")
    assert shown.count("\n") == 1
    engine = sa.create_engine(shown.strip())
    with engine.connect() as connection:
        assert connection.scalar(sa.text("select current_database()")) == "azak"
    engine.dispose()
    # As its help shows it: for psql.
    with psycopg.connect(shown.strip().replace("+psycopg", "")) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_migrate_status_rollback_and_migrate_again(home: Path) -> None:
    assert "never migrated" not in done(home, "db", "status")
    back = done(home, "db", "rollback", "base", "--yes")
    assert "nothing of Azak is left" in back
    state = done(home, "db", "status")
    assert "never migrated" in state
    assert "pending    0001" in state
    assert "db status" in refused(home, "db", "rollback", "--yes"), "there is nothing more to take back"
    assert "nonsense" in refused(home, "db", "rollback", "nonsense", "--yes")
    assert "applied" in done(home, "db", "migrate")
    assert "up to date" in done(home, "db", "migrate")
    state = done(home, "db", "status")
    assert "pending" not in state
    assert "world      none yet" in state


def test_a_database_that_is_down_is_one_sentence_without_its_password(home: Path) -> None:
    said = refused(home, "db", "status", AZAK_DATABASE_URL=CLOSED_PORT)
    assert "port 1" in said
    assert "AZAK_DATABASE_URL" in said


def test_the_lines_of_env_are_shell(home: Path, tmp_path: Path) -> None:
    awkward = tmp_path / "a folder's $HOME"
    awkward.mkdir()
    shown = done(home, "env", PATH=f"{awkward}{os.pathsep}{os.environ['PATH']}")
    script = f"set -e\n{shown}\nenv -0"
    sourced = subprocess.run(["/bin/sh", "-c", script], env={}, capture_output=True, text=True, check=True).stdout
    variables = dict(entry.split("=", 1) for entry in sourced.split("\0") if entry)
    assert variables["AZAK_HOME"] == str(home)
    assert variables["AZAK_MODE"] == "sandbox"
    assert str(awkward) in variables["PATH"].split(os.pathsep)
    assert shutil.which("dbt", path=variables["PATH"])
    engine = sa.create_engine(variables["AZAK_DAGSTER_DATABASE_URL"].replace("psycopg2", "psycopg"))
    with engine.connect() as connection:
        assert connection.scalar(sa.text("select current_database()")) == "dagster"
    engine.dispose()


def test_a_setting_that_cannot_be_read_is_one_sentence_that_names_it(home: Path) -> None:
    for name, value in {
        "AZAK_MODE": "nonsense",
        "AZAK_LLM_BUDGET_USD": "much",
        "AZAK_EMBEDDER": "word2vec",
        "KIS_BASE_URL": "localhost:8900",
    }.items():
        said = refused(home, "doctor", **{name: value})
        assert said.startswith(f"✗ {name}='{value}'")
        assert "unset it" in said
    assert "sandbox' or 'live" in refused(home, "db", "url", AZAK_MODE="nonsense")


def test_a_home_that_is_no_folder_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert "AZAK_HOME" in refused(file / "home", "env")


def test_a_sandbox_on_a_port_in_use_is_one_sentence(home: Path) -> None:
    with start_in_thread(create_app(SeededWorld(1))) as url:
        port = url.rpartition(":")[2]
        said = refused(home, "sandbox", "--port", port)
    assert port in said
    assert "--port" in said


def test_a_sandbox_address_where_none_answers_is_one_sentence(home: Path) -> None:
    said = refused(home, "predict", "005930", AZAK_SANDBOX_URL=f"http://127.0.0.1:{free_port()}")
    assert "azak sandbox" in said


@pytest.mark.parametrize("code", ["5930", "삼성전자", "005930 ", "$HOME"])
def test_predict_refuses_what_is_no_code(tmp_path: Path, code: str) -> None:
    assert "005930" in refused(tmp_path, "predict", code)


def load_stock(warehouse: Warehouse) -> None:
    stock = {
        "stock_code": "005930", "isin": "KR7005930003", "name": "가온전자", "market": "KOSPI",
        "security_kind": "stock", "sector": None, "tier": 1, "aliases": [], "is_active": True,
        "listed_on": date(1975, 6, 11), "delisted_on": None, "listed_shares": 1, "market_cap_krw": 1,
    }  # fmt: skip
    warehouse.load("raw.stocks", pd.DataFrame([stock]), Scope(days=None), complete=True, source="test")


def load_article(warehouse: Warehouse, title: str) -> None:
    """An article of this minute that names 005930, with its cluster and its mention."""
    now = pd.Timestamp.now(tz="UTC").floor("s")
    article = {
        "article_id": "a", "url": None, "title": title, "excerpt": None, "press": None, "published_at": now,
        "is_date_only": False, "content_hash": "a", "known_at": now,
    }  # fmt: skip
    scope = Scope(days=None)
    warehouse.load("raw.news_articles", pd.DataFrame([article]), scope, complete=False, source="test")
    own = warehouse.read("raw.news_articles", columns=["article_id", "trading_day", "known_at"])
    cluster = own.assign(cluster_id="a", method="single")
    mention = own.assign(field="title", span_start=0, span_end=2, stock_code="005930", surface="가온", method="name")
    for table, rows in (("text.article_clusters", cluster), ("text.mentions", mention)):
        warehouse.load(table, rows, scope, complete=False, source="test")


def test_predict_says_what_is_missing(home: Path) -> None:
    with start_in_thread(create_app(SeededWorld(1))) as url:
        assert "raw.stocks" in refused(home, "predict", "005930", AZAK_SANDBOX_URL=url), "the database is empty"

        engine = database.create_engine(server.ensure_running(home).url("azak"))
        load_stock(Warehouse(engine, run_id="test"))
        engine.dispose()
        assert "No stock 00593K" in refused(home, "predict", "00593K", AZAK_SANDBOX_URL=url)
        assert "names 005930" in refused(home, "predict", "005930", AZAK_SANDBOX_URL=url), "nobody wrote about it"


def test_predict_prints_a_headline_as_it_was_written(home: Path) -> None:
    title = "[속보] 가온전자, 신제품 [/red] 공개 [bold]"
    with start_in_thread(create_app(SeededWorld(1))) as url:
        assert refused(home, "predict", "005930", AZAK_SANDBOX_URL=url)  # migrates and stamps the database
        engine = database.create_engine(server.ensure_running(home).url("azak"))
        try:
            warehouse = Warehouse(engine, run_id="test")
            load_stock(warehouse)
            load_article(warehouse, title)
        finally:
            engine.dispose()
        assert title in done(home, "predict", "005930", AZAK_SANDBOX_URL=url, COLUMNS="200")


def test_doctor_asks_the_sources_that_are_configured(home: Path) -> None:
    assert "azak sandbox" in refused(home, "doctor", "--sources"), "there is no sandbox to ask"
    with start_in_thread(create_app(SeededWorld(1))) as url:
        said = done(home, "doctor", "--sources", AZAK_SANDBOX_URL=url)
    assert "✓ kis        the token is good; KOSPI closed at" in said
    assert "✓ opendart" in said
    assert "naver: " in said


def test_a_replay_without_payloads_is_one_sentence(home: Path) -> None:
    days = ("--from", "2026-11-20", "--to", "2026-11-26")
    assert "No answers are kept under" in azak(home, "replay-payloads", *days).stderr
    assert "swap them" in refused(home, "replay-payloads", "--from", "2026-11-26", "--to", "2026-11-20")


def test_a_stopped_server_is_stopped_and_starts_again(home: Path) -> None:
    assert "stopped" in done(home, "db", "stop")
    assert server.status(home) is None
    assert "no server" in done(home, "db", "stop")
    assert "revision" in done(home, "db", "status")
    assert server.status(home) is not None


def test_stopping_touches_no_server_of_the_users_own(home: Path) -> None:
    info = server.ensure_running(home)
    with tempfile.TemporaryDirectory(prefix="azak-home-") as other:
        assert "no server" in done(Path(other), "db", "stop", AZAK_DATABASE_URL=info.tcp_url("azak", driver=None))
    assert server.status(home) == info


def test_the_settings_named_secret_here_are_all_of_them() -> None:
    secret = {
        name.upper()
        for name, field in Settings.model_fields.items()
        if "SecretStr" in str(field.annotation) and name != "azak_database_url"
    }
    assert secret == set(SECRETS)
