"""`azak ui`: Dagster's web server behind our guard, on one port, and read-only on a second one where that is asked for.

Belongs here: the listening sockets and the HTTP server. Does not belong here: which requests pass (`guard`), how
Dagster's application is made (`dagster_ui`), and what else a platform needs (`up`).
"""

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import uvicorn
from rich.console import Console
from starlette.types import ASGIApp, Receive, Scope, Send

from azak_assets.cli.environment import CannotStart, environment, ready_databases, ready_manifest
from azak_assets.cli.guard import Guard
from azak_assets.cli.processes import Stopped, stop_on_signals
from azak_assets.settings import REPOSITORY, Settings

SHUTDOWN_S = 3
"""How long open requests may go on after the signal: a browser keeps its WebSocket open for ever."""


class _ByPort:
    """Hands a request to the application of the port at which it came in."""

    def __init__(self, apps: Mapping[int, ASGIApp]) -> None:
        self.apps = apps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.apps[scope["server"][1]](scope, receive, send)


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket.

    Raises:
        CannotStart: the port is taken, or the address is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise CannotStart(f"Cannot listen on {host}:{port} ({error.strerror}): choose another --port.") from error


def guarded_server(
    apps: Sequence[ASGIApp], sockets: Sequence[socket.socket], origins: tuple[str, ...]
) -> uvicorn.Server:
    """The HTTP server that shows each application on its socket, all of them behind the guard."""
    by_port = {one.getsockname()[1]: app for one, app in zip(sockets, apps, strict=True)}
    config = uvicorn.Config(
        Guard(_ByPort(by_port), origins),
        lifespan="off",
        log_level="warning",
        # Headers in which a proxy names its client change nothing here, so that inventing them gains nothing.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    return uvicorn.Server(config)


def serve(
    console: Console, *, workspace: Path | None, host: str, port: int, read_only: bool, read_only_port: int | None
) -> None:
    """Serve in the foreground until SIGINT or SIGTERM.

    Args:
        console: prints the preparation of the databases where the environment names none.
        workspace: the workspace file with the code locations; None for the repository's own.
        host: the address to listen on.
        port: the port of the UI.
        read_only: whether that UI is read-only.
        read_only_port: the port of a second, read-only UI; None for none.

    Raises:
        CannotStart: a port is taken.
    """
    stop_on_signals()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    settings = Settings()
    modes = {port: read_only} | ({} if read_only_port is None else {read_only_port: True})
    with ExitStack() as stack, suppress(Stopped):
        # First of all, since the imports below take seconds: nothing else gets the ports, and early requests wait.
        sockets = [stack.enter_context(listen(host, one)) for one in modes]
        if "AZAK_DAGSTER_DATABASE_URL" not in os.environ:
            settings.azak_home.mkdir(parents=True, exist_ok=True)
            os.environ.update(variables := environment(settings, ready_databases(settings, console)))
            ready_manifest(variables)
        import dagster as dg  # noqa: PLC0415

        from azak_assets.cli.dagster_ui import dagster_apps  # noqa: PLC0415

        instance = stack.enter_context(dg.DagsterInstance.get())
        apps = stack.enter_context(dagster_apps(instance, workspace or REPOSITORY / "workspace.yaml", modes.values()))
        guarded_server(apps, sockets, settings.ui_origins).run(sockets=sockets)
