"""`azak up` as a user runs it: what it opens, loads and refuses; it ends all it started and nothing else.

A start costs some 20 seconds, so there are four of them on one home, in the order of the tests: the first loads, is
looked at and ends with Ctrl-C; the second fails to load and is killed; the third finds what the second left behind, has
nothing to load and loses a service; the fourth is stopped by a service manager on its way.
"""

import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from azak_assets import krx
from azak_assets.cli.processes import family
from azak_assets.loopback import free_port
from azak_assets.warehouse.postgres import database, server
from tests.homes import AZAK, Home
from tests.homes import family as family_of
from tests.integration import replay_folder

START_S, STOP_S, LOAD_S = 240, 60, 600
STARTED = "Ctrl-C stops everything"


class Launched:
    """One `azak up` in its own session, its output in a file."""

    def __init__(self, home: Path, *options: str, sessions: int = 0) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output = home / "output.txt"
        self.began = time.monotonic()
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [AZAK, "up", "--sessions", str(sessions), "--port", str(self.port), *options],
                env=Home(home, home).environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """Everything it printed."""
        return self.output.read_text()

    def wait_for(self, text: str, seconds: float = START_S) -> "Launched":
        """Return once it has printed ``text``."""
        while text not in self.said:
            assert self.process.poll() is None, f"it ended early:\n{self.said}"
            assert time.monotonic() - self.began < seconds, f"it never said {text!r}:\n{self.said}"
            time.sleep(0.1)
        return self

    def kill(self) -> None:
        """End what a failed test left running."""
        for member in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        self.process.wait()

    def family(self) -> list[psutil.Process]:
        """The command and everything below it; psutil tells a process by its pid and start time."""
        return family_of(self.process)

    def tell(self, number: signal.Signals) -> None:
        """Signal the command alone, as a terminal or a service manager does, and wait for its end."""
        self.process.send_signal(number)
        self.process.wait(timeout=STOP_S)


def end(home: Path) -> None:
    """Whatever a failed test left in a home."""
    noted = home / "up.json"
    if noted.exists():
        for child in json.loads(noted.read_text())["children"]:
            for member in family(child["pid"], child["created"]):
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
    server.stop(home)
    shutil.rmtree(home, ignore_errors=True)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; a zombie has ended and waits for a parent only, which a container may not have."""
    _, left = psutil.wait_procs(processes, timeout=2)
    return [process for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def the_code_server(launched: Launched) -> psutil.Process:
    (found,) = [one for one in psutil.Process(launched.process.pid).children() if "code-server" in one.cmdline()]
    return found


def database_server(home: Path) -> psutil.Process:
    info = server.status(home)
    assert info is not None, "no PostgreSQL runs"
    return psutil.Process(info.pid)


def ask(url: str, query: str) -> dict:
    answer = httpx.post(f"{url}/graphql", json={"query": query}, timeout=30).json()
    assert "errors" not in answer, answer
    return answer["data"]


LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus
    locationOrLoadError { __typename ... on RepositoryLocation { repositories { assetNodes { id } } } } } } } }"""


def assert_usable(launched: Launched) -> None:
    (entry,) = ask(launched.url, LOCATIONS)["workspaceOrError"]["locationEntries"]
    assert entry["loadStatus"] == "LOADED"
    assert entry["locationOrLoadError"]["__typename"] == "RepositoryLocation", entry
    (repository,) = entry["locationOrLoadError"]["repositories"]
    assert len(repository["assetNodes"]) > 20


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    # Not pytest's folder: it is closed to the account that the server runs as when we are root.
    path = Path(tempfile.mkdtemp(prefix="azak-home-"))
    try:
        yield path
    finally:
        end(path)


@pytest.fixture(scope="module")
def replay(recorded_folder: Path) -> tuple[str, str]:
    """The options for a recorded market of a few companies: its load takes as long as Dagster needs for three runs."""
    return "--replay", str(recorded_folder)


@pytest.fixture(scope="module")
def running(home: Path, replay: tuple[str, str]) -> Iterator[Launched]:
    """The first start on a new home, with the newest four sessions loaded."""
    launched = Launched(home, *replay, sessions=4).wait_for(STARTED, LOAD_S)
    print(f"\nfirst start and load: {time.monotonic() - launched.began:.1f} s")  # noqa: T201 - a speed to read
    try:
        yield launched
    finally:
        launched.kill()


@pytest.fixture
def bystander(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours that works in the same folder and has nothing to do with Azak."""
    process = subprocess.Popen(["sleep", "600"], cwd=home)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def refused(home: Path, *arguments: str) -> str:
    """The one sentence with which `azak up` does not start."""
    finished = subprocess.run(
        [AZAK, "up", "--sessions", "0", *arguments],
        env=Home(home, home).environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert "Traceback" not in finished.stderr
    (line,) = finished.stderr.strip().splitlines()
    return line


RUNS = """{ runsOrError { ... on Runs { results { status tags { key value } } } }
    partitionBackfillsOrError { ... on PartitionBackfills { results { status title } } } }"""


def runs(launched: Launched) -> list[tuple[str, bool]]:
    """(status, whether it belongs to a backfill) of every run."""
    found = ask(launched.url, RUNS)["runsOrError"]["results"]
    return [(one["status"], any(tag["key"] == "dagster/backfill" for tag in one["tags"])) for one in found]


def backfills(launched: Launched) -> list[tuple[str, str]]:
    found = ask(launched.url, RUNS)["partitionBackfillsOrError"]["results"]
    return [(one["title"], one["status"]) for one in found]


LOADED = [("SUCCESS", False), ("SUCCESS", True), ("SUCCESS", True)]
"""Reference data, then the backfill of prices and that of everything else."""


def until(is_true, launched: Launched, seconds: float = LOAD_S) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert launched.process.poll() is None, launched.said
        assert time.monotonic() < deadline, launched.said
        time.sleep(0.5)


@pytest.mark.timeout(LOAD_S + START_S)
def test_the_ui_answers_with_the_definitions_loaded(running: Launched) -> None:
    assert_usable(running)
    health = ask(running.url, "{ instance { daemonHealth { allDaemonStatuses { daemonType } } } }")
    assert health["instance"]["daemonHealth"]["allDaemonStatuses"]


DELETE = 'mutation { deletePipelineRun(runId: "none") { __typename } }'


def test_the_ui_obeys_its_own_pages_alone_and_the_read_only_one_nobody(running: Launched) -> None:
    (read_only,) = re.findall(r"read-only\s+(http://localhost:\d+)", running.said)
    assert ask(running.url, DELETE)["deletePipelineRun"]["__typename"] == "RunNotFoundError"
    assert ask(read_only, DELETE)["deletePipelineRun"]["__typename"] == "UnauthorizedError"
    assert ask(read_only, LOCATIONS) == ask(running.url, LOCATIONS)
    for url in (running.url, read_only):
        assert httpx.get(f"{url}/graphql", params={"query": DELETE}).status_code == 405
        assert httpx.post(f"{url}/graphql", params={"query": DELETE}, content="a").status_code == 415
        assert httpx.get(url, headers={"Host": "evil.example"}).status_code == 403


@pytest.mark.timeout(LOAD_S + START_S)
def test_the_newest_sessions_load_through_dagsters_own_backfill(running: Launched, home: Path) -> None:
    assert "loaded: look at the assets in the UI" in running.said
    until(lambda: {status for _, status in backfills(running)} == {"COMPLETED_SUCCESS"}, running, 60)
    assert [title for title, _ in backfills(running)] == ["first load"] * 2, "the prices, then everything else"
    assert sorted(runs(running)) == LOADED
    with database.connect(server.ensure_running(home).url("azak")) as connection:
        days = [day for (day,) in connection.execute("select distinct trade_date from raw.daily_bars order by 1")]
        assert days == [session.day for session in krx.sessions(days[0], days[-1])]
        assert (days[0], days[-1]) == (replay_folder.FIRST, replay_folder.LAST), "what forecasts look back on too"
        forecast = connection.execute("select distinct trading_day from ml.predictions order by 1").fetchall()
        assert {day for (day,) in forecast} <= set(days[-4:])
        assert connection.execute("select count(*) from marts.matches").fetchone() != (0,)


def test_the_psql_line_connects(running: Launched) -> None:
    (address,) = re.findall(r"psql '(postgresql://\S+)'", running.said)
    with psycopg.connect(address) as connection:
        assert connection.execute("select world from ops.world").fetchone()[0].startswith("replay:")


def test_the_address_for_bi_tools_reads_marts_and_nothing_else(running: Launched) -> None:
    (address,) = re.findall(r"BI tools\s+(postgresql://\S+)", running.said)
    assert "@127.0.0.1:" in address
    with psycopg.connect(address, autocommit=True) as connection:
        assert connection.execute("select has_schema_privilege('marts', 'usage')").fetchone() == (True,)
        for statement in (
            "select * from raw.stocks",
            "select * from ops.access_tokens",
            "select * from ml.predictions",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
        with pytest.raises(psycopg.Error):
            connection.execute("create table marts.mine (a int)")
    without_password = re.sub(r":[^:@/]+@", "@", address)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(without_password, passfile="/nonexistent").close()


def test_a_second_one_on_the_same_home_is_refused(running: Launched, home: Path) -> None:
    said = refused(home, "--port", str(free_port()))
    assert "already runs" in said
    assert str(home) in said
    assert "Ctrl-C" in said
    assert_usable(running)


def test_a_port_in_use_is_refused_with_one_that_is_free(running: Launched) -> None:
    with tempfile.TemporaryDirectory(prefix="azak-home-") as folder:
        said = refused(Path(folder), "--port", str(running.port))
        assert f"Port {running.port} is in use" in said
        (other,) = re.findall(r"--port (\d+)", said)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", int(other)))
        assert server.status(Path(folder)) is None, "nothing was started"


def test_ctrl_c_ends_all_it_started_and_nothing_else(
    running: Launched, home: Path, bystander: subprocess.Popen[bytes]
) -> None:
    postgres = database_server(home)
    started = [*running.family(), postgres, *postgres.children(recursive=True)]
    assert len(started) > 8, "code server, webserver, daemon, sandbox and PostgreSQL run"
    running.tell(signal.SIGINT)
    assert running.process.returncode == 0
    assert "stopped" in running.said
    assert "Traceback" not in running.said
    assert alive(started) == []
    assert server.status(home) is None
    assert bystander.poll() is None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", running.port))


CANCEL = """mutation { terminateRun(runId: "%s", terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) { __typename } }"""
IN_PROGRESS = """{ runsOrError(filter: {statuses: [QUEUED, NOT_STARTED, STARTING, STARTED]}) {
    ... on Runs { results { runId } } } }"""


@pytest.fixture(scope="module")
def without_its_load(home: Path, replay: tuple[str, str]) -> Iterator[Launched]:
    """A start of which the first load, a fifth session, was canceled."""
    launched = Launched(home, *replay, sessions=5).wait_for("BI tools")
    try:
        until(lambda: ask(launched.url, IN_PROGRESS)["runsOrError"]["results"], launched)
        (run,) = ask(launched.url, IN_PROGRESS)["runsOrError"]["results"]
        ask(launched.url, CANCEL % run["runId"])
        yield launched.wait_for(STARTED)
    finally:
        launched.kill()


@pytest.mark.timeout(START_S + STOP_S)
def test_a_load_that_fails_leaves_the_platform_up(without_its_load: Launched) -> None:
    assert "the first load: reference data was canceled" in without_its_load.said
    assert_usable(without_its_load)


@pytest.mark.timeout(2 * START_S + STOP_S)
def test_after_a_killed_launcher_the_next_start_ends_the_leftovers_loads_nothing_again_and_ends_with_a_dead_service(
    without_its_load: Launched, home: Path, replay: tuple[str, str], bystander: subprocess.Popen[bytes]
) -> None:
    before, started = sorted(runs(without_its_load)), without_its_load.family()
    code_server = the_code_server(without_its_load)
    assert code_server.children(), "it works through a process of its own"
    without_its_load.tell(signal.SIGKILL)
    code_server.kill()  # nobody is left who could say what it had started
    assert len(alive(started)) >= 3, "webserver, daemon and what the code server had started were left behind"

    # The system may have given a pid that we wrote down to somebody else since.
    noted = json.loads((home / "up.json").read_text())
    noted["children"].append({"pid": bystander.pid, "created": psutil.Process(bystander.pid).create_time() - 60})
    (home / "up.json").write_text(json.dumps(noted))

    next_one = Launched(home, *replay, sessions=4).wait_for(STARTED)
    try:
        print(f"start after a kill: {time.monotonic() - next_one.began:.1f} s")  # noqa: T201 - a speed to read
        assert alive(started) == []
        assert_usable(next_one)
        assert "the last 4 sessions are loaded" in next_one.said
        assert sorted(runs(next_one)) == before, "nothing was run again"
        started, code_server = [*next_one.family(), database_server(home)], the_code_server(next_one)
        orphans = code_server.children(recursive=True)
        assert orphans, "the code server works through a process of its own"
        code_server.kill()
        next_one.process.wait(timeout=STOP_S)
        assert next_one.process.returncode == 1
        assert "code server ended by itself" in next_one.said
        assert alive(started) == [], "PostgreSQL too: the killed one had started it"
        assert alive(orphans) == [], "what the dead one had started too"
        assert not (home / "up.json").exists()
        assert bystander.poll() is None
    finally:
        next_one.kill()


@pytest.mark.timeout(START_S + STOP_S)
def test_a_service_manager_ends_a_start_on_its_way_and_a_server_that_ran_before_stays(
    home: Path, replay: tuple[str, str]
) -> None:
    before = database_server(home) if server.status(home) else psutil.Process(server.ensure_running(home).pid)
    launched = Launched(home, *replay).wait_for("dbt manifest")
    while len(launched.family()) < 4:  # itself, sandbox, code server, webserver
        assert launched.process.poll() is None, launched.said
        time.sleep(0.05)
    started = launched.family()
    launched.tell(signal.SIGTERM)
    assert launched.process.returncode == 0, launched.said
    assert STARTED not in launched.said, "the signal came too late to meet the start"
    assert alive(started) == []
    assert before.is_running()
    assert database_server(home) == before
    assert server.stop(home)


@pytest.fixture
def another_home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="azak-home-"))
    try:
        yield path
    finally:
        end(path)


@pytest.mark.soak
@pytest.mark.timeout(2 * LOAD_S + 2 * START_S + 2 * STOP_S)
def test_a_load_stopped_half_way_goes_on_at_the_next_start_and_is_made_once(
    another_home: Path, replay: tuple[str, str]
) -> None:
    stopped = Launched(another_home, *replay, sessions=4).wait_for("BI tools")
    try:
        until(lambda: ("STARTED", True) in runs(stopped), stopped)
        stopped.tell(signal.SIGINT)
    finally:
        stopped.kill()
    again = Launched(another_home, *replay, sessions=4)
    try:
        again.wait_for(STARTED, LOAD_S)
        assert "loaded: look at the assets in the UI" in again.said
        # One more round of the daemon: what it would make again, it makes now.
        time.sleep(60)
        assert sorted(status for _, status in backfills(again)) == ["CANCELED", *["COMPLETED_SUCCESS"] * 2]
        assert [status for status, of_backfill in runs(again) if of_backfill].count("SUCCESS") == 2
        assert len(runs(again)) == 5, "reference data twice, one run that was stopped, two that were not"
        again.tell(signal.SIGINT)
    finally:
        again.kill()
