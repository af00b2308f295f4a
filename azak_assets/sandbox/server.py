"""One address for every stand-in: routes, faults, the foreground server and the one tests start in a thread.

Wiring only. What an upstream says belongs to its module, what it knows to a world.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azak_assets import krx
from azak_assets.sandbox.faults import Fault, FaultMiddleware, Faults
from azak_assets.sandbox.wire import (
    kis,
    kis_company,
    krx_openapi,
    llm,
    master,
    naver,
    opendart,
    pages,
    reddit,
    rss,
    telegram,
)
from azak_assets.sandbox.wire.limits import Limits, PerDay, PerPeriod, PerSecond
from azak_assets.sandbox.worlds.recorded import RecordedWorld
from azak_assets.sandbox.worlds.seeded import SeededWorld
from azak_assets.sandbox.worlds.world import UpstreamData

LIMITS = Limits()


def _wall_clock() -> datetime:
    return datetime.now(krx.KST)


def open_world(replay: Path | None, seed: int) -> UpstreamData:
    """The recorded world of a folder (RecordedDataError where it cannot be served), or the seeded one."""
    return SeededWorld(seed) if replay is None else RecordedWorld(replay)


def create_app(
    world: UpstreamData,
    *,
    clock: Callable[[], datetime] = _wall_clock,
    limits: Limits = LIMITS,
    tick: Callable[[], float] = time.monotonic,
    plan: Sequence[Fault] = (),
) -> Starlette:
    """Every stand-in over one world.

    `clock` gives aware KST instants and `tick` the seconds of the limits a second; tests hand in ones they can move.
    `plan`: faults to meet from now on.
    """
    faults = Faults(plan, tick)
    gateway = kis.Gateway(world.name, clock, PerSecond(limits.kis_a_second, tick))
    bots = telegram.Bots(
        clock,
        group=PerPeriod(limits.telegram_group_a_minute, 60, tick),
        chat=PerPeriod(limits.telegram_chat_in_three_seconds, 3, tick),
    )
    naver_a_second, naver_a_day = PerSecond(limits.naver_a_second, tick), PerDay(limits.naver_a_day, clock)

    def describe(_: Request) -> Response:
        now = clock()
        return JSONResponse(
            {
                "world": world.name,
                "feeds": list(world.feeds),
                "first_day": world.first_day.isoformat(),
                "last_day": world.last_day(now).isoformat(),
            }
        )

    return Starlette(
        routes=[
            Route("/sandbox/world", describe, methods=["GET"]),
            Route("/sandbox/faults", faults.order, methods=["POST"]),
            Route("/sandbox/faults", faults.tell, methods=["GET"]),
            *kis.routes(world, gateway, clock, kis_company.services(world, clock)),
            *master.routes(world, clock),
            *opendart.routes(world, clock, PerDay(limits.opendart_a_day, clock)),
            *krx_openapi.routes(world, clock, PerDay(limits.krx_a_day, clock)),
            *naver.routes(world, clock, naver_a_second, naver_a_day),
            *rss.routes(world, clock),
            *pages.routes(world, clock),
            *reddit.routes(world, clock, PerPeriod(limits.reddit_in_ten_minutes, 600, tick)),
            *telegram.routes(bots),
            *llm.routes(clock),
        ],
        middleware=[Middleware(FaultMiddleware, faults=faults)],
    )


def _config(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app, log_config=None, log_level="critical", access_log=False, lifespan="off", timeout_graceful_shutdown=3
    )


def serve(host: str, port: int, replay: Path | None, seed: int, plan: Sequence[Fault] = ()) -> None:
    """Serve in the foreground until SIGINT or SIGTERM; silent.

    Raises RecordedDataError for a folder that cannot be served and OSError for a port that is taken, before it answers.
    """
    with socket.create_server((host, port)) as listener, suppress(KeyboardInterrupt):
        app = create_app(open_world(replay, seed), plan=plan)
        uvicorn.Server(_config(app)).run(sockets=[listener])


@contextmanager
def start_in_thread(app: Starlette) -> Iterator[str]:
    """Serve `app` on a free loopback port from a thread; yields the base URL without a trailing slash."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(_config(app))
        thread = threading.Thread(target=server.run, args=([listener],), name="sandbox", daemon=True)
        thread.start()
        try:
            while not server.started:
                if not thread.is_alive():
                    raise RuntimeError("the sandbox server did not start")
                time.sleep(0.005)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)
