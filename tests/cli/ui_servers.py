"""Servers on loopback for the tests of the UI: an application behind the guard, or in the open for comparison."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from azak_assets.cli.ui import guarded_server, listen


@contextmanager
def guarded(*apps: ASGIApp, origins: tuple[str, ...] = ()) -> Iterator[list[int]]:
    """The ports of these applications, served as `azak ui` serves them."""
    sockets = [listen("127.0.0.1", 0) for _ in apps]
    with _running(guarded_server(apps, sockets, origins), sockets) as ports:
        yield ports


@contextmanager
def unguarded(app: ASGIApp) -> Iterator[int]:
    """The port of an application without the guard: what an attack does there shows that the attack is one."""
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning"))
    with _running(server, [listen("127.0.0.1", 0)]) as (port,):
        yield port


@contextmanager
def _running(server: uvicorn.Server, sockets: list[socket.socket]) -> Iterator[list[int]]:
    thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.005)
        yield [one.getsockname()[1] for one in sockets]
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        for one in sockets:
            one.close()
