"""A session of daily bars of the whole market: 2,700 stocks, one call each, at an enforced rate, into PostgreSQL.

`python -m benchmarks.daily_session` (three minutes). The asset itself, with its resources: shared budget, ledger, kept
answers, load, checks. The server is the sandbox in a process of its own that refuses the nineteenth call within any
second; its world has 2,700 stocks, which are the seeded ones under invented codes. The bars (issue of the feeds):
within 5 % of what 2,700 calls take at 15 a second, no call refused, memory flat. Flat is: from a tenth of the time to
nineteen twentieths of it the process grows by no more than `GROWTH_MB`: 2,700 bars as records take about one, the rest
is the allocator's. The load at the end, which needs its libraries, a frame and a COPY, may take `LOAD_MB` more.
"""

import contextlib
import io
import os
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import pandas as pd
import psutil
import sqlalchemy as sa
import uvicorn

from azak_assets import krx
from azak_assets.cli.environment import ready_manifest
from azak_assets.cli.processes import Child, stop
from azak_assets.loopback import free_port
from azak_assets.sandbox import SeededWorld, create_app
from azak_assets.sandbox.worlds.world import DailyBar, Issue
from azak_assets.settings import REPOSITORY
from azak_assets.warehouse.postgres import database
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse
from benchmarks.bars import Row, finish
from benchmarks.kis_client import BUDGET, LIMIT
from benchmarks.kis_minutes import wait_for

STOCKS = 2_700
SLACK, GROWTH_MB, LOAD_MB = 1.05, 10.0, 64.0
CODES = [f"{number:06}" for number in range(100_000, 100_000 + STOCKS)]


class WholeMarket(SeededWorld):
    """As many stocks as are listed: the seeded ones, again and again, under codes of their own."""

    def daily_bars(self, code: str, start: date, end: date, now: datetime, *, adjusted: bool) -> Sequence[DailyBar]:
        """Those of the stock that the code stands for."""
        return super().daily_bars(self._meant(code, now), start, end, now, adjusted=adjusted)

    def issue(self, code: str, now: datetime) -> Issue | None:
        """The stock that the code stands for."""
        return super().issue(self._meant(code, now), now)

    def _meant(self, code: str, now: datetime) -> str:
        known = [one.code for one in self.issues(now) if one.listed_on is not None and one.listed_on.year < 2026]
        return known[CODES.index(code) % len(known)] if code in CODES else code


def serve(port: int) -> None:
    """The sandbox, until it is ended or whoever started it is gone."""
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    config = uvicorn.Config(
        create_app(WholeMarket(1)), log_config=None, log_level="critical", access_log=False, lifespan="off"
    )
    with socket.create_server(("127.0.0.1", port)) as listener:
        uvicorn.Server(config).run(sockets=[listener])


class Memory(threading.Thread):
    """The size of this process, every second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.sizes: list[tuple[float, float]] = []
        self.over = threading.Event()

    def run(self) -> None:
        """Look until told to stop."""
        process = psutil.Process()
        while not self.over.wait(1):
            self.sizes.append((time.monotonic(), process.memory_info().rss / 2**20))


def fill_stocks(engine: sa.Engine, codes: Sequence[str], names: Sequence[str], tier: int) -> None:
    """Give `raw.stocks` these codes."""
    frame = pd.DataFrame(
        {
            "stock_code": code, "isin": f"KR7{code}003", "name": name, "market": "KOSPI", "security_kind": "stock",
            "sector": "0013", "tier": tier, "aliases": [], "is_active": True, "listed_on": date(2015, 1, 2),
            "delisted_on": None, "listed_shares": 1_000_000, "market_cap_krw": 10**12,
        }
        for code, name in zip(codes, names, strict=True)
    )  # fmt: skip
    Warehouse(engine, run_id="benchmark").load("raw.stocks", frame, Scope(days=None), complete=True, source="benchmark")


def main() -> None:
    """Print and keep the seconds, the refusals and the growth."""
    from benchmarks.load_partition import own_database  # noqa: PLC0415 - with the engine

    warnings.simplefilter("ignore")
    ready_manifest()
    children: list[Child] = []
    port, day = free_port(), krx.newest_final_session(datetime.now(krx.KST)).day
    with tempfile.TemporaryDirectory(prefix="azak-bench-") as home, own_database(None) as url:
        engine = database.create_engine(url)
        try:
            log = Path(home) / "sandbox.log"
            command = [sys.executable, "-m", "benchmarks.daily_session", str(port)]
            Child.start("sandbox", command, environment={}, log=log, cwd=REPOSITORY, among=children)
            wait_for(f"http://127.0.0.1:{port}")
            os.environ |= {
                "AZAK_HOME": home, "AZAK_MODE": "sandbox", "AZAK_DATABASE_URL": url,
                "AZAK_SANDBOX_URL": f"http://127.0.0.1:{port}",
            }  # fmt: skip
            fill_stocks(engine, CODES, [f"종목{code}" for code in CODES], tier=3)
            seconds, memory = _materialize(day)
            with engine.connect() as connection:
                rows = connection.execute(sa.text("select count(*) from raw.daily_bars")).scalar_one()
                calls = connection.execute(
                    sa.text("select calls_today, streak from ops.source_health where upstream = 'kis'")
                ).one()
        finally:
            stop(children)
            engine.dispose()
    began = memory.sizes[0][0]
    asking = [size for at, size in memory.sizes if 0.1 * seconds <= at - began <= 0.95 * seconds]
    growth, peak = max(asking) - asking[0], max(size for _, size in memory.sizes) - asking[-1]
    least = STOCKS / BUDGET
    finish(
        "daily_session",
        [
            Row(f"{STOCKS:,} stocks, against {BUDGET} calls a second where {LIMIT} are allowed", seconds / least, "×",
                SLACK, details={"seconds": seconds, "least": least, "calls": calls[0]}),
            Row("calls beyond one a stock and the token", calls[0] - STOCKS - 1, "", 8),
            Row("stocks without a bar", STOCKS - rows, "", 0),
            Row("growth of the process while it asks, after the first tenth", growth, "MB", GROWTH_MB,
                details=[round(size, 1) for _, size in memory.sizes[::10]]),
            Row("growth of the process while it loads", peak, "MB", LOAD_MB),
        ],
    )  # fmt: skip


def _materialize(day: date) -> tuple[float, Memory]:
    import dagster as dg  # noqa: PLC0415 - the environment and the manifest come first

    from azak_assets.defs.market.assets import daily_bars  # noqa: PLC0415
    from azak_assets.resources import UpstreamsResource, WarehouseResource  # noqa: PLC0415

    warehouse = WarehouseResource()
    memory = Memory()
    with dg.DagsterInstance.ephemeral() as instance, contextlib.redirect_stderr(io.StringIO()):
        memory.start()
        began = time.monotonic()
        result = dg.materialize(
            [daily_bars],
            instance=instance,
            partition_key=day.isoformat(),
            resources={"warehouse": warehouse, "upstreams": UpstreamsResource(warehouse=warehouse)},
        )
        seconds = time.monotonic() - began
        memory.over.set()
    assert result.success
    return seconds, memory


if __name__ == "__main__":
    if sys.argv[1:]:
        serve(int(sys.argv[1]))
    else:
        main()
