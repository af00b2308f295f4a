"""`azak up`: everything runs, the UI opens, the newest sessions load, Ctrl-C stops what was started and nothing else.

Belongs here: the order of starting and stopping. Does not belong here: what a killed one left behind (`leftovers`), the
load (`first_load`).
"""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from azak_assets.cli.environment import CannotStart, Prepared, prepared
from azak_assets.cli.first_load import load_missing, newest_sessions
from azak_assets.cli.graphql import CODE_LOCATION, NoAnswer, ask
from azak_assets.cli.leftovers import end_leftovers, forget_notes, only_one, write_notes
from azak_assets.cli.processes import Child, Stopped, ignore_signals, program, stop, stop_on_signals
from azak_assets.loopback import free_port, is_port_free
from azak_assets.settings import REPOSITORY, Settings
from azak_assets.warehouse.postgres import server
from azak_assets.warehouse.postgres.address_file import ANALYST

UI_START_S = 120


def up(console: Console, *, port: int, sessions: int, replay: Path | None, seed: int) -> None:
    """Start everything, load the newest sessions that are missing, and wait until Ctrl-C, SIGTERM or a closed terminal.

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
    stack.enter_context(only_one(home))
    had_server = end_leftovers(home)
    owns_server = settings.azak_database_url is None and (had_server or server.status(home) is None)
    stack.callback(forget_notes, home)
    if owns_server:
        stack.callback(server.stop, home)
    if not is_port_free(port):
        raise CannotStart(
            f"Port {port} is in use by another program: choose one with `azak up --port {_next_free(port)}`."
        )
    write_notes(home, [], owns_server=owns_server)
    ready = stack.enter_context(prepared(console, replay=replay, seed=seed))
    dagster: list[Child] = []
    stack.callback(stop, dagster)

    def remember() -> None:
        write_notes(home, [*ready.children, *dagster], owns_server=owns_server)

    remember()
    url = f"http://127.0.0.1:{port}"
    read_only_port = _next_free(port)
    _start_dagster(ready, url, console, port=port, read_only_port=read_only_port, started=dagster, remember=remember)
    children = [*ready.children, *dagster]
    _tell(console, ready, url, read_only_port)
    try:
        load_missing(console, url, ready.world, newest_sessions(ready.world, sessions), children)
    except CannotStart as error:
        # The platform is up, and the UI is where to see and mend what went wrong.
        console.print(f"[red]✗[/] the first load: {escape(str(error))}", soft_wrap=True)
    console.print("Ctrl-C stops everything that was started here.")
    while not (ended := [child for child in children if child.has_ended]):
        time.sleep(0.5)
    raise CannotStart(f"{ended[0].name} ended by itself; its log {ended[0].log} ends with:\n{ended[0].last_lines()}")


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
    """We hold the lock and have no daemon yet: every run in progress, but for those of a living `azak run`, is dead."""
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
            f"  BI tools       {info.tcp_url('azak', driver=None, user=ANALYST)}   (reads marts)", soft_wrap=True
        )
    else:
        console.print("  psql           your own server, AZAK_DATABASE_URL")
