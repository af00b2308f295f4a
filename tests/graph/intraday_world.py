"""A session to collect: a sandbox and a client over real HTTP whose clocks are one, and the step as Dagster runs it.

As a program (`python -m tests.graph.intraday_world DATABASE START UNTIL_REQUEST`) it collects half an hour and kills
itself in the middle of a request.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa
from pydantic import SecretStr

from azak_assets.defs import collectors
from azak_assets.defs.market import intraday
from azak_assets.ingest import intraday as feeds
from azak_assets.ports import ATTEMPTS
from azak_assets.runtime import Upstreams, World
from azak_assets.sandbox import Limits, SeededWorld, create_app, start_in_thread
from azak_assets.settings import Mode, Settings
from azak_assets.warehouse.calls.recordings import PayloadWriter
from azak_assets.warehouse.postgres import database
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse
from tests.harness import Made, TokensOfOneProcess, Unbounded, at, materialize, stores_of, tags_of_range

UNLIMITED = Limits(kis_a_second=10**9)
ASSETS = {"quotes": intraday.QUOTES, "books": intraday.BOOKS, "minutes": intraday.MINUTES}


class Clock:
    """Stands still while anybody asks, and moves with every sleep."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.slept: list[float] = []
        self.requests = 0
        self.dies_at: int | None = None
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        return self.now

    def of_a_request(self) -> datetime:
        with self._lock:
            self.requests += 1
            if self.requests == self.dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)


class Ticking:
    """The clock as the clients read it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)


@dataclass
class Exchange:
    """The sandbox, the client and the database of one session."""

    clock: Clock
    engine: sa.Engine
    upstreams: Upstreams
    codes: Sequence[str]
    world: SeededWorld
    limiter: Unbounded
    warehouse: Warehouse = field(init=False)

    def __post_init__(self) -> None:
        self.warehouse = Warehouse(self.engine, run_id="a-run")

    def run(self, *assets: str, day: str | None = None, loops: bool = False, last: str | None = None) -> Made:
        """Materialize the step for a day, or for a range to ``last``."""
        first = day or self.clock.now.date().isoformat()
        return materialize(
            intraday.collect_intraday,
            {"warehouse": self.warehouse, "upstreams": self.upstreams},
            selection=[ASSETS[name] for name in assets or ASSETS],
            partition=None if last else first,
            tags={**(collectors.LOOP_TAG if loops else {}), **(tags_of_range(first, last) if last else {})},
        )

    def rows(self, table: str) -> list[tuple]:
        """Rows of a table and of its history without what belongs to the run."""
        skipped = ("observed_at", "run_id", "superseded_at")
        found = []
        for name in (table, f"{table}_history"):
            columns = [c["name"] for c in sa.inspect(self.engine).get_columns(name, "raw") if c["name"] not in skipped]
            with self.engine.connect() as connection:
                found += connection.execute(sa.text(f"select {', '.join(columns)} from raw.{name} order by 1, 2")).all()
        return [tuple(row) for row in found]

    def query(self, statement: str) -> list[tuple]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(statement))]


def stocks_of(warehouse: Warehouse, world: SeededWorld, codes: Sequence[str], now: datetime) -> None:
    """Give `raw.stocks` these codes, the first in tier 1 and the others in tier 2."""
    issues = [world.issue(code, now) for code in codes]
    frame = pd.DataFrame(
        {
            "stock_code": one.code, "isin": one.isin, "name": one.name, "market": one.market, "security_kind": "stock",
            "sector": one.sector, "tier": 1 if not place else 2, "aliases": [], "is_active": True,
            "listed_on": one.listed_on, "delisted_on": None, "listed_shares": one.listed_shares,
            "market_cap_krw": one.market_cap_krw,
        }
        for place, one in enumerate(issues)
        if one is not None
    )  # fmt: skip
    warehouse.load("raw.stocks", frame, Scope(days=None), complete=True, source="test")


@contextmanager
def exchange(
    engine: sa.Engine,
    now: str,
    codes: Sequence[str],
    world: SeededWorld | None = None,
    *,
    kept: Callable[[Clock], PayloadWriter] | None = None,
    attempts: int = ATTEMPTS,
    **answers: Any,
) -> Iterator[Exchange]:
    """Open an exchange at an instant.

    ``kept``: makes what keeps the answers. ``answers``: what the app is made of besides, for a server that behaves
    oddly.
    """
    clock, limiter = Clock(at(now)), Unbounded()
    world = world or SeededWorld(1)
    with ExitStack() as stack:
        app = create_app(world, clock=clock.of_a_request, limits=UNLIMITED, **answers)
        url = stack.enter_context(start_in_thread(app))
        settings = Settings(
            azak_mode=Mode.LIVE, kis_app_key=SecretStr("a-key"), kis_app_secret=SecretStr("a-secret"),
            kis_base_url=f"{url}/kis", kis_master_base_url=url, opendart_base_url=f"{url}/opendart/api",
            opendart_api_key=SecretStr("a-key-of-forty-characters"),
        )  # fmt: skip
        recorder = kept(clock) if kept else None
        stores = stores_of(engine, limiter=limiter, recorder=recorder, tokens=TokensOfOneProcess(), attempts=attempts)
        upstreams = Upstreams(settings, World("live", frozenset(world.feeds)), stores, Ticking(clock))
        stack.callback(upstreams.close)
        opened = Exchange(clock, engine, upstreams, codes, world, limiter)
        if codes:
            stocks_of(opened.warehouse, world, codes, clock.now)
        yield opened


def main() -> None:
    """Collect for half an hour from an instant, and die in the middle of the request of that number."""
    url, start, dies_at, *codes = sys.argv[1:]
    engine = database.create_engine(url)
    feeds.LOADED_AT_ONCE = 2
    with exchange(engine, start, codes) as opened:
        opened.clock.dies_at = int(dies_at)
        opened.run(loops=True)


if __name__ == "__main__":
    main()
