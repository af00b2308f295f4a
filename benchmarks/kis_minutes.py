"""What a minute's round of today's minute bars costs: 200 stocks inside the quota that a backfill leaves to live work.

`python -m benchmarks.kis_minutes`. The server is the sandbox in a process of its own, whose clock stands in a session
and which refuses the nineteenth call within any second; the budget is the one in PostgreSQL that all processes share,
at the 60 % that are kept for live work. The first round, which walks back to the open, is not measured: a collector
makes it once. The bar (issue of the feeds): 200 stocks within the minute.
"""

import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import httpx
import uvicorn

from azak_assets import krx
from azak_assets.cli.processes import Child, stop
from azak_assets.loopback import free_port
from azak_assets.ports import Channel, Token
from azak_assets.sandbox import SeededWorld, create_app
from azak_assets.settings import REPOSITORY, Settings
from azak_assets.sources.collect import collect
from azak_assets.sources.kis.client import KisClient
from azak_assets.sources.kis.minutes import SessionMinutes
from azak_assets.sources.transport import direct
from azak_assets.warehouse.calls.playback import Unlogged
from azak_assets.warehouse.calls.rate_limit import BACKFILL_SHARE, PostgresRateLimiter
from azak_assets.warehouse.postgres import database
from benchmarks.bars import Row, finish
from benchmarks.kis_client import BUDGET, LIMIT, Counted
from benchmarks.load_partition import own_database

SESSION, STARTS_AT = date(2026, 11, 5), timedelta(minutes=12, seconds=5)
STOCKS, ROUNDS, START_S = 200, 3, 60


class OneToken:
    """A token for as long as the benchmark runs: the one kept in PostgreSQL goes by the clock on the wall."""

    def __init__(self) -> None:
        self._token: Token | None = None
        self._lock = threading.Lock()

    def get_or_issue(self, name: str, issue: Callable[[], Token], *, discard: str | None = None) -> Token:  # noqa: ARG002
        with self._lock:
            if self._token is None or self._token.access_token == discard:
                self._token = issue()
            return self._token


def moved_clock(began: float) -> datetime:
    """Runs as fast as the wall's, from `STARTS_AT` into the session on."""
    return krx.session(SESSION).open_at + STARTS_AT + timedelta(seconds=time.time() - began)


def serve(port: int, began: float) -> None:
    """The sandbox at the moved clock, until it is ended or whoever started it is gone."""
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    app = create_app(SeededWorld(1), clock=lambda: moved_clock(began))
    config = uvicorn.Config(app, log_config=None, log_level="critical", access_log=False, lifespan="off")
    with socket.create_server(("127.0.0.1", port)) as listener:
        uvicorn.Server(config).run(sockets=[listener])


def wait_for(url: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            httpx.get(f"{url}/sandbox/world", timeout=2).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    sys.exit(f"the sandbox did not answer at {url} within {START_S} s")


def main() -> None:
    """Print and keep the calls and the seconds of a round."""
    children: list[Child] = []
    began, port = time.time(), free_port()
    with tempfile.TemporaryDirectory(prefix="azak-bench-") as home, own_database(None) as url:
        os.environ |= {"AZAK_HOME": home, "AZAK_MODE": "sandbox"}
        engine = database.create_engine(url)
        try:
            command = [sys.executable, "-m", "benchmarks.kis_minutes", str(port), str(began)]
            log = Path(home) / "sandbox.log"
            Child.start("sandbox", command, environment={}, log=log, cwd=REPOSITORY, among=children)
            wait_for(f"http://127.0.0.1:{port}")
            settings = Settings().in_sandbox(f"http://127.0.0.1:{port}")
            counted = Counted(PostgresRateLimiter(engine))
            kis = KisClient(
                base_url=settings.kis_base_url, master_base_url=settings.kis_master_base_url, app_key="sandbox",
                app_secret="sandbox", tokens=OneToken(), channel=Channel(counted, Unlogged(), direct),
                per_second=BUDGET * (1 - BACKFILL_SHARE), now=lambda: moved_clock(began),
            )  # fmt: skip
            codes = [one.stock_code for one in kis.listed_stocks().records][:STOCKS]
            known: dict[str, SessionMinutes] = {}
            calls, seconds, fresh = [], [], []
            for measured in range(ROUNDS + 1):
                counted.asked, since, read = 0, time.monotonic(), 0
                for code, answer in collect(lambda code: kis.minute_bars_today(code, known.get(code)), codes):
                    assert isinstance(answer, SessionMinutes), answer
                    assert not answer.missing, f"{code} misses {answer.missing} minutes"
                    known[code], read = answer, read + len(answer.records)
                if measured:
                    calls.append(counted.asked)
                    seconds.append(time.monotonic() - since)
                    fresh.append(read)
            kis.close()
        finally:
            stop(children)
            engine.dispose()
    share = f"{BUDGET * (1 - BACKFILL_SHARE):g} calls a second, of {BUDGET} where {LIMIT} are allowed"
    finish(
        "kis_minutes",
        [
            Row(f"calls for one minute's round of {len(codes)} stocks", statistics.median(calls), "", STOCKS,
                details=calls),
            Row(f"seconds of it, at {share}", statistics.median(seconds), "s", 60, details=seconds),
            Row("stocks in a round", len(codes), "", STOCKS, at_least=True, details={"new bars": fresh}),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:]:
        serve(int(sys.argv[1]), float(sys.argv[2]))
    else:
        main()
