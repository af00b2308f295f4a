"""How much of its request budget the KIS client uses, against a server that counts the last second.

`python -m benchmarks.kis_client`. The server is the sandbox in a process of its own, which refuses the nineteenth call
within any second; the budget is the one in PostgreSQL that all processes share. The bar: at least 95 % of
the budget, and no call refused.
"""

import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from azak_assets import krx
from azak_assets.cli.environment import start_sandbox
from azak_assets.cli.processes import Child, stop
from azak_assets.ports import Closed
from azak_assets.runtime import Stores, Upstreams, current_world
from azak_assets.settings import Settings
from azak_assets.sources.collect import collect
from azak_assets.warehouse.calls.rate_limit import PostgresRateLimiter
from azak_assets.warehouse.calls.recordings import PayloadWriter
from azak_assets.warehouse.postgres import database
from benchmarks.bars import Row, finish
from benchmarks.load_partition import own_database

BUDGET, LIMIT = 15, 18
ROUNDS, ASKED = 5, 100
LAST_DAY = date(2026, 11, 13)


@dataclass
class Counted:
    """The shared limiter, counting its callers: a refused call comes a second time."""

    limiter: PostgresRateLimiter
    asked: int = 0
    per_second: float = 0

    def acquire(self, name: str, per_second: float) -> Closed | None:
        self.asked, self.per_second = self.asked + 1, per_second
        return self.limiter.acquire(name, per_second)


def main() -> None:
    """Print and keep the share of the budget and the refusals."""
    children: list[Child] = []
    with tempfile.TemporaryDirectory(prefix="azak-bench-") as home, own_database(None) as url:
        os.environ |= {"AZAK_HOME": home, "AZAK_MODE": "sandbox"}
        engine = database.create_engine(url)
        try:
            settings = Settings()
            settings = settings.in_sandbox(start_sandbox(settings, children, replay=None, seed=1))
            counted = Counted(PostgresRateLimiter(engine))
            # As a run has it: every call logged, every answer recorded.
            recorder = PayloadWriter(Path(home) / "payloads", run_id="benchmark", about={}, keep_days=30)
            stores = Stores.in_postgres(engine, limiter=counted, recorder=recorder)
            upstreams = Upstreams(settings, current_world(settings), stores)
            days = [session.day for session in krx.sessions(krx.shift(LAST_DAY, -ROUNDS).day, LAST_DAY)]
            codes = [one.stock_code for one in upstreams.kis.listed_stocks().records if one.security_kind == "stock"][
                :100
            ]
            upstreams.kis.daily_bars(codes[0], days[0], days[0])  # the token, outside the measurement
            rates, refusals = [], 0
            for day in days[:ROUNDS]:
                counted.asked, began = 0, time.monotonic()
                answers = dict(collect(lambda code, day=day: upstreams.kis.daily_bars(code, day, day), codes))
                rates.append(len(codes) / (time.monotonic() - began))
                refusals += counted.asked - len(codes)
                failed = [answer for answer in answers.values() if isinstance(answer, Exception)]
                assert not failed, failed[:3]
            assert counted.per_second == BUDGET
            upstreams.close()
        finally:
            stop(children)
            engine.dispose()
    share = statistics.median(rates) / BUDGET * 100
    finish(
        "kis_client",
        [
            Row(f"calls a second, of a budget of {BUDGET} where {LIMIT} are allowed", share, "%", 95, at_least=True,
                details=rates),
            Row(f"calls refused, of {ROUNDS * len(codes)}", refusals, "", 0),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
