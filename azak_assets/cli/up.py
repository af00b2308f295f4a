"""`azak up`: everything runs, the UI opens, the newest sessions load, Ctrl-C stops what was started and nothing else.

Belongs here: the order of starting and stopping, and asking Dagster (over its GraphQL API) to load the first sessions.
"""

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import httpx
import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from azak_assets import krx
from azak_assets.cli.environment import (
    PRICE_HISTORY,
    CannotStart,
    Prepared,
    history_of,
    newest_settled,
    prepared,
)
from azak_assets.cli.processes import UP_LOCK, Child, end_all, free_port, is_port_free, program, stop
from azak_assets.resources import World
from azak_assets.settings import REPOSITORY, Settings
from azak_assets.warehouse import server

UI_START_S = 120
CODE_LOCATION = "azak"
REPOSITORY_NAME = "__repository__"


class Stopped(Exception):  # noqa: N818 - no error: somebody asked for it
    """Ctrl-C, SIGTERM or a closed terminal."""


def up(console: Console, *, port: int, sessions: int, replay: Path | None, seed: int) -> None:
    """Start everything, load the newest sessions that are missing, and wait until told to stop.

    Raises:
        CannotStart: with one sentence on what to do.
    """
    _stop_on_signals()
    settings = Settings()
    home = settings.azak_home
    home.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(_only_one(home))
            had_server = _end_leftovers(home)
            owns_server = settings.azak_database_url is None and (had_server or server.status(home) is None)
            stack.callback(_forget, home)
            if owns_server:
                stack.callback(server.stop, home)
            if not is_port_free(port):
                other = next((p for p in range(port + 1, 65536) if is_port_free(p)), None) or free_port()
                raise CannotStart(
                    f"Port {port} is in use by another program: choose one with `azak up --port {other}`."
                )
            _remember(home, [], owns_server=owns_server)
            ready = stack.enter_context(prepared(console, replay=replay, seed=seed))
            children = [*ready.children]
            _remember(home, children, owns_server=owns_server)
            url = f"http://127.0.0.1:{port}"
            dagster: list[Child] = []
            stack.callback(stop, dagster)
            for child in _start_dagster(ready, url, port, console):
                dagster.append(child)
                children.append(child)
                _remember(home, children, owns_server=owns_server)
            _tell(console, ready, url)
            _load_missing(console, url, ready.world, _newest_sessions(ready.world, sessions), children)
            console.print("Ctrl-C stops everything that was started here.")
            while not (ended := [child for child in children if child.has_ended]):
                time.sleep(0.5)
            raise CannotStart(
                f"{ended[0].name} ended by itself; its log {ended[0].log} ends with:\n{ended[0].last_lines()}"
            )
        except Stopped:
            console.print("\nstopping …")
    console.print(f"[green]✓[/] stopped; data stays in {home}")


def _stop_on_signals() -> None:
    def raise_stopped(_number: int, _frame: FrameType | None) -> NoReturn:
        # A second signal while stopping must not interrupt the stopping.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        raise Stopped

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, raise_stopped)


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Hold the lock of this home; the kernel lets go of it when its holder dies, so it is never stale."""
    with (home / UP_LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(
                f"Azak already runs with AZAK_HOME={home}: use that one, stop it with Ctrl-C in its terminal, or set "
                f"another AZAK_HOME."
            ) from None
        yield


def _remember(home: Path, children: list[Child], *, owns_server: bool) -> None:
    """Write down what runs, so that the next start can end what a killed one left behind."""
    running = [{"pid": m.pid, "created": m.create_time()} for child in children for m in child.family()]
    (home / "up.json").write_text(json.dumps({"owns_server": owns_server, "children": running}))


def _forget(home: Path) -> None:
    (home / "up.json").unlink(missing_ok=True)


def _end_leftovers(home: Path) -> bool:
    """End processes of an earlier `azak up` that was killed; whether the PostgreSQL of this home was its own too.

    A pid counts only with the start time we wrote down.
    """
    try:
        noted = json.loads((home / "up.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    leftovers = []
    for entry in noted["children"]:
        try:
            process = psutil.Process(entry["pid"])
            if abs(process.create_time() - entry["created"]) < 1:
                leftovers += [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    for process in leftovers:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    end_all(leftovers, first=signal.SIGKILL, patience_s=10)
    return bool(noted["owns_server"])


def _start_dagster(ready: Prepared, url: str, port: int, console: Console) -> Iterator[Child]:
    """Code server, webserver and, once the two have met, the daemon. The code server alone imports the definitions.

    A daemon that finds no code server looks again only after a minute, so it comes last.
    """
    logs = ready.settings.azak_home / "logs"
    grpc_port = free_port()
    workspace = ready.settings.azak_home / "dagster" / "workspace.yaml"
    workspace.write_text(
        f"load_from:\n  - grpc_server:\n      host: 127.0.0.1\n      port: {grpc_port}\n      location_name: "
        f"{CODE_LOCATION}\n"
    )

    def start(name: str, *command: str) -> Child:
        log = logs / f"{name.replace(' ', '-')}.log"
        log.unlink(missing_ok=True)
        return Child.start(name, command, environment=ready.environment, log=log, cwd=REPOSITORY)

    server_flags = (
        "-h",
        "127.0.0.1",
        "-p",
        str(grpc_port),
        "-m",
        "azak_assets.definitions",
        "--location-name",
        CODE_LOCATION,
    )
    code_server = start("code server", program("dagster"), "code-server", "start", *server_flags)
    yield code_server
    webserver = start(
        "webserver", program("dagster-webserver"), "-w", str(workspace), "-h", "127.0.0.1", "-p", str(port)
    )
    yield webserver
    _end_dead_runs(ready, console)
    _wait_for_ui(url, [code_server, webserver], console)
    yield start("daemon", program("dagster-daemon"), "run", "-w", str(workspace))


def _end_dead_runs(ready: Prepared, console: Console) -> None:
    """We hold the lock and have no daemon yet: whatever is in progress, but for a living `azak run`, is nobody's."""
    os.environ.update(ready.environment)
    import dagster as dg  # noqa: PLC0415 - three seconds, while the code server needs more

    from azak_assets.cli.dead_runs import end_dead_runs  # noqa: PLC0415

    with dg.DagsterInstance.get() as instance:
        if dead := end_dead_runs(instance, no_daemon=True):
            console.print(f"[green]✓[/] {dead} runs of killed processes ended")


class NoAnswer(CannotStart):
    """The webserver does not answer."""


def ask(url: str, query: str, **variables: Any) -> dict[str, Any]:
    """One question to the webserver's GraphQL API.

    Raises:
        NoAnswer: it does not answer. CannotStart: it answers with an error.
    """
    try:
        response = httpx.post(f"{url}/graphql", json={"query": query, "variables": variables}, timeout=60)
    except httpx.TransportError as error:
        raise NoAnswer(f"Dagster does not answer at {url} ({error}): look at its logs and start again.") from error
    try:
        answer = response.json()
    except ValueError as error:
        raise CannotStart(f"{url} answered HTTP {response.status_code}, which is no GraphQL: is it Dagster?") from error
    if answer.get("errors"):
        raise CannotStart(f"Dagster refused a question: {answer['errors'][0]['message']}")
    return dict(answer["data"])


LOCATIONS = """
{ workspaceOrError { ... on Workspace { locationEntries {
    loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } } }
"""


RELOAD = "mutation($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) { __typename } }"


def _wait_for_ui(url: str, children: list[Child], console: Console) -> None:
    """Return when the UI answers and has loaded the definitions."""
    deadline = time.monotonic() + UI_START_S
    with console.status("Dagster starts …"):
        while time.monotonic() < deadline:
            for child in children:
                if child.has_ended:
                    raise CannotStart(
                        f"{child.name} did not start; its log {child.log} ends with:\n{child.last_lines()}"
                    )
            try:
                entries = ask(url, LOCATIONS)["workspaceOrError"]["locationEntries"]
            except NoAnswer:
                entries = []
            for entry in entries:
                loaded = entry["locationOrLoadError"]
                if loaded and loaded["__typename"] == "PythonError":
                    if "DagsterUserCodeUnreachableError" in loaded["message"]:
                        ask(url, RELOAD, name=CODE_LOCATION)
                        continue
                    raise CannotStart(f"The definitions do not load: {loaded['message']}")
                if entry["loadStatus"] == "LOADED" and loaded:
                    return
            time.sleep(0.3)
    raise CannotStart(
        f"Dagster did not answer at {url} within {UI_START_S} s; its logs lie in {children[-1].log.parent}."
    )


def _tell(console: Console, ready: Prepared, url: str) -> None:
    """The addresses: UI, psql, BI tools."""
    console.print(f"[green]✓[/] Dagster UI      [bold]{url.replace('127.0.0.1', 'localhost')}[/]")
    if ready.settings.azak_database_url is None:
        info = server.ensure_running(ready.settings.azak_home)
        console.print(f"  psql           psql '{info.tcp_url('azak', driver=None)}'", soft_wrap=True)
        console.print(
            f"  BI tools       {info.tcp_url('azak', driver=None, user=server.ANALYST)}   (reads marts)", soft_wrap=True
        )
    else:
        console.print("  psql           your own server, AZAK_DATABASE_URL")


ASSETS = """
{ assetNodes { assetKey { path } isExecutable isPartitioned opNames
    assetPartitionStatuses { ... on TimePartitionStatuses { ranges { status startKey endKey } } } } }
"""
LAUNCH_JOB = """
mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""
LAUNCH_BACKFILL = """
mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }
"""
RUN_STATUS = """
query($id: ID!) { runOrError(runId: $id) { ... on Run { status stepStats { stepKey status } executionPlan { steps { key
} } } } }
"""
BACKFILL_STATUS = """
query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
    status error { message } runs(limit: 1) { id } } } }
"""


def _newest_sessions(world: World, count: int) -> list[date]:
    """The last ``count`` sessions with final bars, as far as the world has any."""
    newest = newest_settled(datetime.now(krx.KST)).day
    if world.last_day is not None:
        newest = min(newest, krx.session_on_or_before(world.last_day).day)
    days = [session.day for session in krx.sessions(krx.shift(newest, 1 - count).day, newest)] if count else []
    return [day for day in days if world.first_day is None or day >= world.first_day]


def _load_missing(console: Console, url: str, world: World, wanted: list[date], children: list[Child]) -> None:
    """Have Dagster load the reference assets and what is missing of the wanted sessions: prices, with the sessions
    behind them that forecasts and scores look back on, in one backfill, and everything else in another."""
    if not wanted:
        return
    nodes = [node for node in ask(url, ASSETS)["assetNodes"] if node["isExecutable"]]
    partitioned = [node for node in nodes if node["isPartitioned"]]
    prices = [node for node in partitioned if tuple(node["assetKey"]["path"]) in PRICE_HISTORY]
    others = [node for node in partitioned if node not in prices]
    missing = [day for day in wanted if not all(_is_loaded(node, day) for node in partitioned)]
    if not missing:
        console.print(f"[green]✓[/] the last {len(wanted)} sessions are loaded")
        return
    price_days = [
        day for day in [*history_of(missing[0], world), *missing] if not all(_is_loaded(node, day) for node in prices)
    ]
    reference = [node["assetKey"] for node in nodes if not node["isPartitioned"]]
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    ) as bar:
        run_id = _launch_reference(url, reference)
        ok = _follow(url, run_id, bar, "reference data", children)
        for what, some, days in (("prices", prices, price_days), ("everything else", others, missing)):
            if not ok or not days:
                continue
            backfill_id = _launch_backfill(url, [node["assetKey"] for node in some], days)
            run_id = _run_of_backfill(url, backfill_id, children)
            ok = _follow(url, run_id, bar, f"{what}, {len(days)} sessions {days[0]} … {days[-1]}", children)
    if ok:
        console.print("[green]✓[/] loaded: look at the assets in the UI")
    else:
        console.print(f"[red]✗[/] the load failed: {url}/runs/{run_id} shows the step, its cause and what to do")


def _is_loaded(node: dict[str, Any], day: date) -> bool:
    ranges = (node["assetPartitionStatuses"] or {}).get("ranges") or []
    key = day.isoformat()
    return any(one["status"] == "MATERIALIZED" and one["startKey"] <= key <= one["endKey"] for one in ranges)


def _launch_reference(url: str, assets: list[dict[str, Any]]) -> str:
    selector = {
        "repositoryName": REPOSITORY_NAME,
        "repositoryLocationName": CODE_LOCATION,
        "pipelineName": "__ASSET_JOB",
        "assetSelection": assets,
    }
    tags = [{"key": "azak/why", "value": "first load"}]
    params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}
    answer = ask(url, LAUNCH_JOB, params=params)["launchRun"]
    if answer["__typename"] != "LaunchRunSuccess":
        raise CannotStart(f"Dagster did not start the reference run: {answer}")
    return str(answer["run"]["runId"])


def _launch_backfill(url: str, assets: list[dict[str, Any]], days: list[date]) -> str:
    params = {
        "assetSelection": assets,
        "partitionNames": [day.isoformat() for day in days],
        "title": "first load",
        "description": "The newest sessions that were missing when `azak up` started.",
    }
    answer = ask(url, LAUNCH_BACKFILL, params=params)["launchPartitionBackfill"]
    if answer["__typename"] != "LaunchBackfillSuccess":
        raise CannotStart(f"Dagster did not start the backfill: {answer}")
    return str(answer["backfillId"])


def _run_of_backfill(url: str, backfill_id: str, children: list[Child]) -> str:
    """The run that the daemon makes of the backfill; it looks every few seconds."""
    while not any(child.has_ended for child in children):
        backfill = ask(url, BACKFILL_STATUS, id=backfill_id)["partitionBackfillOrError"]
        if backfill["runs"]:
            return str(backfill["runs"][0]["id"])
        if backfill["error"]:
            raise CannotStart(f"The backfill failed: {backfill['error']['message']}")
        time.sleep(1)
    raise CannotStart("A process of Dagster ended while the backfill waited; the logs folder says why.")


def _follow(url: str, run_id: str, bar: Progress, what: str, children: list[Child]) -> bool:
    """Show a run's steps until it ends; whether it succeeded."""
    task = bar.add_task(what, total=None)
    while not any(child.has_ended for child in children):
        run = ask(url, RUN_STATUS, id=run_id)["runOrError"]
        ended = [step for step in run["stepStats"] if step["status"] in ("SUCCESS", "FAILURE", "SKIPPED")]
        running = [step["stepKey"] for step in run["stepStats"] if step["status"] == "IN_PROGRESS"]
        total = len(run["executionPlan"]["steps"]) if run["executionPlan"] else None
        bar.update(task, completed=len(ended), total=total, description=f"{what}: {', '.join(running) or 'waiting'}")
        if run["status"] in ("SUCCESS", "FAILURE", "CANCELED"):
            bar.update(task, description=f"{what}: {run['status'].lower()}")
            return bool(run["status"] == "SUCCESS")
        time.sleep(1)
    return False
