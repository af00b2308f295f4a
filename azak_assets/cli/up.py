"""`azak up`: everything runs, the UI opens, the newest sessions load, Ctrl-C stops what was started and nothing else.

Belongs here: the order of starting and stopping, and asking Dagster (over its GraphQL API) to load the first sessions.
"""

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console
from rich.markup import escape
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
from azak_assets.cli.processes import (
    UP_LOCK,
    Child,
    Stopped,
    end_all,
    family,
    free_port,
    ignore_signals,
    is_port_free,
    program,
    stop,
    stop_on_signals,
    tell,
)
from azak_assets.runtime import World
from azak_assets.settings import REPOSITORY, Settings
from azak_assets.warehouse.postgres import server

UI_START_S = 120
POLL_PATIENCE_S = 300
"""How long the load is followed while Dagster answers no question: a machine that loads prices is a busy one."""
POLL_S = 1.0
CODE_LOCATION = "azak"
REPOSITORY_NAME = "__repository__"
NOTES = "up.json"
"""File under AZAK_HOME with what runs, so that the next start can end what a killed one left behind."""
CLOCK_DRIFT_S = 60
"""The time of the start of the machine is computed from the clock, which is corrected now and then."""


def up(console: Console, *, port: int, sessions: int, replay: Path | None, seed: int) -> None:
    """Start everything, load the newest sessions that are missing, and wait until told to stop.

    Raises:
        CannotStart: with one sentence on what to do.
    """
    stop_on_signals()
    settings = Settings()
    settings.azak_home.mkdir(parents=True, exist_ok=True)
    try:
        with ExitStack() as stack:
            try:
                _work(console, stack, settings, port=port, sessions=sessions, replay=replay, seed=seed)
            except BaseException as error:
                # First of all: the way out takes seconds, and a Ctrl-C on it would leave things running.
                ignore_signals()
                if isinstance(error, Stopped):
                    console.print("\nstopping …")
                raise
    except Stopped:
        console.print(f"[green]✓[/] stopped; data stays in {settings.azak_home}")


def _work(
    console: Console,
    stack: ExitStack,
    settings: Settings,
    *,
    port: int,
    sessions: int,
    replay: Path | None,
    seed: int,
) -> None:
    """Start, load and wait; ends with an exception only, and ``stack`` ends what was started."""
    home = settings.azak_home
    stack.enter_context(_only_one(home))
    had_server = _end_leftovers(home)
    owns_server = settings.azak_database_url is None and (had_server or server.status(home) is None)
    stack.callback(_forget, home)
    if owns_server:
        stack.callback(server.stop, home)
    if not is_port_free(port):
        raise CannotStart(
            f"Port {port} is in use by another program: choose one with `azak up --port {_next_free(port)}`."
        )
    _remember(home, [], owns_server=owns_server)
    ready = stack.enter_context(prepared(console, replay=replay, seed=seed))
    dagster: list[Child] = []
    stack.callback(stop, dagster)

    def remember() -> None:
        _remember(home, [*ready.children, *dagster], owns_server=owns_server)

    remember()
    url = f"http://127.0.0.1:{port}"
    read_only_port = _next_free(port)
    _start_dagster(ready, url, console, port=port, read_only_port=read_only_port, started=dagster, remember=remember)
    children = [*ready.children, *dagster]
    _tell(console, ready, url, read_only_port)
    try:
        _load_missing(console, url, ready.world, _newest_sessions(ready.world, sessions), children)
    except CannotStart as error:
        # The platform is up, and the UI is where to see and mend what went wrong.
        console.print(f"[red]✗[/] the first load: {escape(str(error))}", soft_wrap=True)
    console.print("Ctrl-C stops everything that was started here.")
    while not (ended := [child for child in children if child.has_ended]):
        time.sleep(0.5)
    raise CannotStart(f"{ended[0].name} ended by itself; its log {ended[0].log} ends with:\n{ended[0].last_lines()}")


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
    running = [{"pid": child.process.pid, "created": child.created} for child in children]
    notes = {"booted": psutil.boot_time(), "owns_server": owns_server, "children": running}
    written = home / f"{NOTES}.new"
    written.write_text(json.dumps(notes))
    written.replace(home / NOTES)


def _left(home: Path) -> tuple[list[psutil.Process], bool]:
    """What still runs of those written down, and whether the PostgreSQL of this home was started by them.

    A pid counts only with the start time we wrote down, and none of before the machine started anew.
    """
    try:
        notes = json.loads((home / NOTES).read_text())
        children = [(int(child["pid"]), float(child["created"])) for child in notes["children"]]
        owns_server, booted = bool(notes["owns_server"]), float(notes["booted"])
    except (OSError, ValueError, KeyError, TypeError):
        return [], False
    if abs(booted - psutil.boot_time()) > CLOCK_DRIFT_S:
        return [], owns_server
    return [member for child in children for member in family(*child)], owns_server


def _forget(home: Path) -> None:
    """Drop the notes, but for a process that nothing could end: the next start tries again."""
    if not _left(home)[0]:
        (home / NOTES).unlink(missing_ok=True)


def _end_leftovers(home: Path) -> bool:
    """End processes of an earlier `azak up` that was killed; whether the PostgreSQL of this home was its own too.

    Raises:
        CannotStart: one of them cannot be ended.
    """
    leftovers, owns_server = _left(home)
    tell(leftovers, signal.SIGTERM)
    end_all(lambda: _left(home)[0], known=leftovers)
    if stubborn := _left(home)[0]:
        pids = ", ".join(str(one.pid) for one in stubborn)
        raise CannotStart(f"Process {pids} of an earlier `azak up` on {home} does not end: end it and start again.")
    return owns_server


def _next_free(port: int) -> int:
    """The first free port above this one; any free one where there is none."""
    return next((other for other in range(port + 1, 65536) if is_port_free(other)), None) or free_port()


def _start_dagster(
    ready: Prepared,
    url: str,
    console: Console,
    *,
    port: int,
    read_only_port: int,
    started: list[Child],
    remember: Callable[[], None],
) -> None:
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

    def start(name: str, *command: str) -> None:
        log = logs / f"{name.replace(' ', '-')}.log"
        log.unlink(missing_ok=True)
        Child.start(name, command, environment=ready.environment, log=log, cwd=REPOSITORY, among=started)
        remember()

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
    start("code server", program("dagster"), "code-server", "start", *server_flags)
    ports = ("--port", str(port), "--read-only-port", str(read_only_port))
    start("webserver", program("azak"), "ui", "--workspace", str(workspace), *ports)
    _end_dead_runs(ready, console)
    _wait_for_ui(url, started, console)
    start("daemon", program("dagster-daemon"), "run", "-w", str(workspace))


def _end_dead_runs(ready: Prepared, console: Console) -> None:
    """We hold the lock and have no daemon yet: whatever is in progress, but for a living `azak run`, is nobody's."""
    os.environ.update(ready.environment)
    import dagster as dg  # noqa: PLC0415 - three seconds, while the code server needs more

    from azak_assets.cli.dead_runs import cancel_first_loads, end_dead_runs  # noqa: PLC0415
    from azak_assets.cli.renames import move_instigator_states  # noqa: PLC0415

    with dg.DagsterInstance.get() as instance:
        move_instigator_states(instance)
        # First the backfills: a dead run of theirs is nothing that the daemon should make again.
        cancel_first_loads(instance)
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


def _tell(console: Console, ready: Prepared, url: str, read_only_port: int) -> None:
    """The addresses: UI, psql, BI tools."""
    console.print(f"[green]✓[/] Dagster UI      [bold]{url.replace('127.0.0.1', 'localhost')}[/]")
    console.print(f"  read-only      http://localhost:{read_only_port}")
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
query($id: ID!) { runOrError(runId: $id) { __typename ... on Run { status stepStats { stepKey status }
    executionPlan { steps { key } } } } }
"""
BACKFILL_STATUS = """
query($id: String!) { partitionBackfillOrError(backfillId: $id) { __typename ... on PartitionBackfill {
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
    behind them that forecasts and scores look back on, in one backfill, and everything else in another.

    Raises:
        CannotStart: the load did not come to its end; the message says where to look.
    """
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
        _follow(url, _launch_reference(url, reference), bar, "reference data", children)
        for what, some, days in (("prices", prices, price_days), ("everything else", others, missing)):
            if days:
                backfill_id = _launch_backfill(url, [node["assetKey"] for node in some], days)
                run_id = _run_of_backfill(url, backfill_id, children)
                _follow(url, run_id, bar, f"{what}, {len(days)} sessions {days[0]} … {days[-1]}", children)
    console.print("[green]✓[/] loaded: look at the assets in the UI")


def _is_loaded(node: dict[str, Any], day: date) -> bool:
    ranges = (node["assetPartitionStatuses"] or {}).get("ranges") or []
    key = day.isoformat()
    return any(one["status"] == "MATERIALIZED" and one["startKey"] <= key <= one["endKey"] for one in ranges)


def _tags() -> list[dict[str, str]]:
    from azak_assets.cli.dead_runs import FIRST_LOAD  # noqa: PLC0415 - loads Dagster, which by now is loaded

    return [{"key": key, "value": value} for key, value in FIRST_LOAD.items()]


def _launch_reference(url: str, assets: list[dict[str, Any]]) -> str:
    selector = {
        "repositoryName": REPOSITORY_NAME,
        "repositoryLocationName": CODE_LOCATION,
        "pipelineName": "__ASSET_JOB",
        "assetSelection": assets,
    }
    params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": _tags()}}
    answer = ask(url, LAUNCH_JOB, params=params)["launchRun"]
    if answer["__typename"] != "LaunchRunSuccess":
        raise CannotStart(f"Dagster did not start the reference run: {answer}")
    return str(answer["run"]["runId"])


def _launch_backfill(url: str, assets: list[dict[str, Any]], days: list[date]) -> str:
    params = {
        "assetSelection": assets,
        "partitionNames": [day.isoformat() for day in days],
        "tags": _tags(),
        "title": "first load",
        "description": "The newest sessions that were missing when `azak up` started.",
    }
    answer = ask(url, LAUNCH_BACKFILL, params=params)["launchPartitionBackfill"]
    if answer["__typename"] != "LaunchBackfillSuccess":
        raise CannotStart(f"Dagster did not start the backfill: {answer}")
    return str(answer["backfillId"])


def _ask_patiently(url: str, query: str, children: list[Child], **variables: Any) -> dict[str, Any]:
    """One question to a Dagster that is busy: one without an answer is asked again as long as its processes live.

    Raises:
        CannotStart: a process has ended, or there was no answer within `POLL_PATIENCE_S`.
    """
    deadline = time.monotonic() + POLL_PATIENCE_S
    while True:
        try:
            return ask(url, query, **variables)
        except CannotStart:
            if time.monotonic() > deadline or any(child.has_ended for child in children):
                raise
            time.sleep(POLL_S)


def _run_of_backfill(url: str, backfill_id: str, children: list[Child]) -> str:
    """The run that the daemon makes of the backfill; it looks every few seconds.

    Raises:
        CannotStart: there will be none.
    """
    while not any(child.has_ended for child in children):
        backfill = _ask_patiently(url, BACKFILL_STATUS, children, id=backfill_id)["partitionBackfillOrError"]
        if backfill["__typename"] != "PartitionBackfill":
            raise CannotStart(f"its backfill {backfill_id} is gone; `azak up` asks for what is missing anew.")
        if backfill["runs"]:
            return str(backfill["runs"][0]["id"])
        if backfill["error"]:
            raise CannotStart(f"the backfill failed: {backfill['error']['message']}")
        if backfill["status"] != "REQUESTED":
            raise CannotStart(
                f"the backfill {backfill_id} is {backfill['status'].lower()} and made no run; `azak up` asks for what "
                "is missing anew."
            )
        time.sleep(POLL_S)
    raise CannotStart("a process of Dagster ended while the backfill waited.")


def _follow(url: str, run_id: str, bar: Progress, what: str, children: list[Child]) -> None:
    """Show a run's steps until it succeeds.

    Raises:
        CannotStart: it did not.
    """
    task = bar.add_task(what, total=None)
    while not any(child.has_ended for child in children):
        run = _ask_patiently(url, RUN_STATUS, children, id=run_id)["runOrError"]
        if run["__typename"] != "Run":
            raise CannotStart(f"its run {run_id} is gone; `azak up` asks for what is missing anew.")
        ended = [step for step in run["stepStats"] if step["status"] in ("SUCCESS", "FAILURE", "SKIPPED")]
        running = [step["stepKey"] for step in run["stepStats"] if step["status"] == "IN_PROGRESS"]
        total = len(run["executionPlan"]["steps"]) if run["executionPlan"] else None
        bar.update(task, completed=len(ended), total=total, description=f"{what}: {', '.join(running) or 'waiting'}")
        if run["status"] in ("SUCCESS", "FAILURE", "CANCELED"):
            bar.update(task, description=f"{what}: {run['status'].lower()}")
            if run["status"] == "SUCCESS":
                return
            ended_as = "failed" if run["status"] == "FAILURE" else "was canceled"
            raise CannotStart(f"{what} {ended_as}: {url}/runs/{run_id} shows the step, its cause and what to do.")
        time.sleep(POLL_S)
    raise CannotStart(f"a process of Dagster ended while it loaded {what}.")
