"""How fast `load_partition` is, as ratios to raw binary COPY of the same rows into an identical empty table.

`python -m benchmarks.load_partition` runs on an embedded server of its own; `--url` names a server to use instead (a
database is made there and dropped). `--scale` shrinks everything for a quick look; ratios of small runs say little.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from azak_assets import krx
from azak_assets.ingest.round import Collected, store
from azak_assets.sources.records import Batch, DailyBar
from azak_assets.warehouse import copy_format, encode
from azak_assets.warehouse.load import Scope, load_partition
from azak_assets.warehouse.postgres import database, server
from azak_assets.warehouse.tables import spec
from azak_assets.warehouse.warehouse import Warehouse
from benchmarks.bars import Row, finish

STOCKS = 2_700
MINUTES = 390
FILLED_DAYS = 20
SESSIONS = 370
REPEATS = 3
TO_SQL_ROWS = 20_000
FIRST = date(2025, 1, 2)


def stock_codes(count: int) -> list[str]:
    return [f"{10 * number:06d}" for number in range(1, count + 1)]


def minute_frame(day: date, stocks: int) -> pd.DataFrame:
    """One session of minute bars, `stocks` × 390 rows, sorted by minute."""
    random = np.random.default_rng(day.toordinal())
    rows = stocks * MINUTES
    opens = pd.Timestamp(krx.session(day).open_at).tz_convert("UTC")
    ts = pd.Series(pd.date_range(opens, periods=MINUTES, freq="1min", unit="us")).repeat(stocks).reset_index(drop=True)
    price = random.integers(1_000, 900_000, rows)
    return pd.DataFrame(
        {
            "ts": ts,
            "stock_code": pd.Series(stock_codes(stocks) * MINUTES, dtype="str"),
            "trade_date": pd.Series([day] * rows, dtype=object),
            "open": price,
            "high": price + 50,
            "low": price - 50,
            "close": price + 10,
            "volume": random.integers(0, 100_000, rows),
            "turnover_krw": random.integers(0, 10**11, rows),
            "known_at": ts + pd.Timedelta(minutes=1),
        }
    )


def daily_answers(days: list[date], stocks: int) -> dict[str, Batch[DailyBar]]:
    """What the broker's client returns for a window: an answer a stock with its sessions, one in a hundred halted."""
    random = np.random.default_rng(1)
    known_at = [krx.session(day).close_at + timedelta(minutes=10) for day in days]
    answers = {}
    for code in stock_codes(stocks):
        prices = random.integers(1_000, 900_000, len(days)).tolist()
        volumes = random.integers(1, 10_000_000, len(days)).tolist()
        halts = (random.random(len(days)) < 0.01).tolist()
        bars = [
            DailyBar(code, day, None, None, None, price, 0, 0, True, known)
            if halted
            else DailyBar(code, day, price, price + 50, price - 50, price, volume, price * volume, False, known)
            for day, price, volume, halted, known in zip(days, prices, volumes, halts, known_at, strict=True)
        ]
        answers[code] = Batch(bars, [], 1, "0" * 64)
    return answers


def daily_frame(answers: dict[str, Batch[DailyBar]]) -> pd.DataFrame:
    """The same rows as one ready frame with the types of the table's columns."""
    fields = list(DailyBar.__dataclass_fields__)
    rows = [[getattr(bar, name) for name in fields] for answer in answers.values() for bar in answer.records]
    frame = pd.DataFrame(rows, columns=fields)
    prices = dict.fromkeys(("open", "high", "low", "base_price"), "Int64")
    return frame.astype({**prices, "stock_code": "str", "known_at": "datetime64[us, UTC]", "trade_date": object})


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def copy_stream(table: str, frame: pd.DataFrame) -> tuple[list[str], list[bytes]]:
    """All columns of `table` in the frame's order as finished COPY blocks: the raw limit pays for no encoding."""
    columns: dict[str, copy_format.Encoded] = {
        name: encode.encode(frame[name], spec(table).table.columns[name].type, name) for name in frame.columns
    }
    columns["source"] = encode.constant("benchmark", len(frame))
    columns["observed_at"] = columns["known_at"]
    columns["run_id"] = encode.constant(str(uuid.uuid4()), len(frame))
    return list(columns), list(copy_format.copy_blocks(list(columns.values()), None))


class Bench:
    def __init__(self, engine: sa.Engine, scale: float) -> None:
        self.engine = engine
        self.stocks = max(int(STOCKS * scale), 10)
        self.sessions = max(int(SESSIONS * scale), 10)
        self.rows: list[Row] = []

    def sql(self, statement: str) -> None:
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text(statement))

    def calm(self) -> None:
        """Let the server finish its writing, so that no measurement pays for the one before."""
        self.sql("checkpoint")

    def load(self, table: str, frame: pd.DataFrame, days: list[date]) -> float:
        self.calm()
        return timed(
            lambda: load_partition(
                self.engine,
                table,
                frame,
                Scope(tuple(days)),
                complete=True,
                source="benchmark",
                run_id=str(uuid.uuid4()),
            )
        )

    def raw(self, table: str, frame: pd.DataFrame) -> float:
        """Seconds for raw binary COPY into an identical empty table, commit included."""
        names, blocks = copy_stream(table, frame)
        self.sql("drop table if exists raw_limit")
        self.sql(f"create table raw_limit (like {table} including all)")
        self.calm()

        def work() -> None:
            with self.engine.begin() as connection:
                driver: Any = connection.connection.driver_connection
                with driver.cursor().copy(f"copy raw_limit ({', '.join(names)}) from stdin (format binary)") as stream:
                    for block in blocks:
                        stream.write(block)

        seconds = timed(work)
        self.sql("drop table raw_limit")
        return seconds

    def report(self, what: str, seconds: list[float], limit: float, bar: float | None = None) -> None:
        middle = statistics.median(seconds)
        self.rows.append(Row(f"{what} ({middle:.2f} s)", middle / limit, bar=bar, details=seconds))
        print(f"  {what}: {middle:.2f} s", flush=True)

    def minutes(self) -> None:
        table, stocks = "raw.minute_bars", self.stocks
        days = [session.day for session in krx.sessions(FIRST, FIRST + timedelta(days=60))]
        frame = minute_frame(days[0], stocks)
        raw, first, unchanged, changed = [], [], [], []
        for repeat in range(REPEATS):
            raw.append(self.raw(table, frame))
            self.sql(f"truncate {table}, {table}_history")
            first.append(self.load(table, frame, days[:1]))
            unchanged.append(self.load(table, frame, days[:1]))
            corrected = frame.copy()
            corrected.loc[corrected.index % 100 == repeat, "close"] += 1
            changed.append(self.load(table, corrected, days[:1]))
        limit = statistics.median(raw)
        minute_rows = f"{len(frame):,} minute bars"
        self.report(f"{minute_rows}: raw binary COPY, empty table", raw, limit)
        self.report(f"{minute_rows}: first load, empty month", first, limit, 1.3)
        self.report(f"{minute_rows}: unchanged re-load", unchanged, limit, 0.1)
        self.report(f"{minute_rows}: 1 % changed, empty month", changed, limit, 1.3)
        sample = frame.head(min(TO_SQL_ROWS, len(frame)))
        seconds = timed(
            lambda: sample.to_sql(
                "to_sql", self.engine, index=False, method="multi", chunksize=1000, if_exists="replace"
            )
        )
        scaled = seconds * len(frame) / len(sample)
        self.report(f"{minute_rows}: DataFrame.to_sql(multi), no key, from {len(sample):,} rows", [scaled], limit)
        self.sql(f"truncate {table}, {table}_history")
        for day in days[:FILLED_DAYS]:
            self.load(table, minute_frame(day, stocks), [day])
        late, late_changed = [], []
        for day in days[FILLED_DAYS : FILLED_DAYS + REPEATS]:
            frame = minute_frame(day, stocks)
            late.append(self.load(table, frame, [day]))
            frame.loc[frame.index % 100 == 0, "close"] += 1
            late_changed.append(self.load(table, frame, [day]))
        self.report(f"{minute_rows}: first load, month with {FILLED_DAYS} days", late, limit, 1.6)
        self.report(f"{minute_rows}: 1 % changed, month with {FILLED_DAYS} days", late_changed, limit)
        self.sql(f"truncate {table}, {table}_history")

    def daily(self) -> None:
        """A backfill as its run loads it: an answer a stock for the whole window, made one frame and loaded at once.

        Its bar is one load of the same rows, ready as a frame; a load a session stands beside it for comparison.
        """
        table, stocks = "raw.daily_bars", self.stocks
        days = [session.day for session in krx.sessions(date(2024, 1, 2), date(2026, 6, 30))][: self.sessions]
        tenth = days[: len(days) // 10]
        answers = {len(window): daily_answers(window, stocks) for window in (tenth, days)}
        frame = daily_frame(answers[len(days)])
        by_day = [rows.reset_index(drop=True) for _, rows in frame.groupby("trade_date")]
        raw, ready, small, whole, singly = [], [], [], [], []
        for _ in range(REPEATS):
            raw.append(self.raw(table, frame))
            self.sql(f"truncate {table}, {table}_history")
            ready.append(self.load(table, frame, days))
            for window, seconds in ((tenth, small), (days, whole)):
                self.sql(f"truncate {table}, {table}_history")
                seconds.append(self.backfill(table, window, answers[len(window)]))
            self.sql(f"truncate {table}, {table}_history")
            self.calm()
            start = time.perf_counter()
            for day, one in zip(days, by_day, strict=True):
                load_partition(
                    self.engine, table, one, Scope((day,)), complete=True, source="benchmark", run_id=str(uuid.uuid4())
                )
            singly.append(time.perf_counter() - start)
        one_load, copied = statistics.median(ready), statistics.median(raw)
        rows = f"{len(frame):,} daily bars of {len(days)} sessions"
        share = len(days) / len(tenth)
        self.report(f"{rows}: one load of all rows ÷ raw COPY", ready, copied)
        self.report(f"{rows}: one run's backfill ÷ one load", whole, one_load, 1.5)
        self.report(f"{rows}: per row ÷ {len(tenth)} sessions", whole, share * statistics.median(small), 1.3)
        self.report(f"{rows}: a load and commit a session ÷ one load", singly, one_load)

    def backfill(self, table: str, days: list[date], answers: dict[str, Batch[DailyBar]]) -> float:
        """Seconds of what the asset does with the answers, from the first of them to the commit."""
        self.calm()

        def work() -> None:
            gathered = Collected()
            for code, answer in answers.items():
                gathered.add(code, answer)
            warehouse = Warehouse(self.engine, run_id=str(uuid.uuid4()))
            store(warehouse, table, days, gathered, DailyBar, source="benchmark")

        return timed(work)


@contextmanager
def own_database(url: str | None) -> Iterator[str]:
    """A migrated database on the server at `url`, or on an embedded server that ends with the block."""
    with tempfile.TemporaryDirectory(prefix="azak-bench-") as folder:
        started = None if url else server.ensure_running(Path(folder))
        base = sa.make_url(url or started.url("postgres"))  # type: ignore[union-attr]
        name = f"azak_bench_{uuid.uuid4().hex[:8]}"
        admin = sa.create_engine(base, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        try:
            with admin.connect() as connection:
                connection.execute(sa.text(f"create database {name}"))
            own = base.set(database=name).render_as_string(hide_password=False)
            database.upgrade(own)
            yield own
        finally:
            with admin.connect() as connection:
                connection.execute(sa.text(f"drop database if exists {name} with (force)"))
            if started:
                server.stop(Path(folder))


def run(url: str | None = None, scale: float = 1.0) -> None:
    """Measure, print and keep everything."""
    with own_database(url) as own:
        engine = database.create_engine(own)
        try:
            with engine.connect() as connection:
                version = connection.execute(sa.text("show server_version")).scalar_one()
            bench = Bench(engine, scale)
            bench.minutes()
            bench.daily()
        finally:
            engine.dispose()
    finish("load_partition", bench.rows, postgresql=version, scale=scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="server to use (postgresql+psycopg://…); default: an embedded one")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full size, for a quick look")
    given = parser.parse_args()
    run(given.url, given.scale)


if __name__ == "__main__":
    main()
