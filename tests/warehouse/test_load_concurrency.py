"""Two writers of one table, writers that die, and the cut-off of live reads, each with real connections."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import pandas as pd
import psycopg
import pytest
import sqlalchemy as sa

from azak_assets import krx
from azak_assets.warehouse import copy_format
from azak_assets.warehouse.load import Scope
from azak_assets.warehouse.warehouse import Warehouse

DAY = date(2026, 11, 13)
PATIENCE_S = 30


def frame(close: int, stocks: int = 50) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "index_code": [f"{number:04d}" for number in range(stocks)],
            "trade_date": DAY,
            "open": 1.0,
            "high": 2.0,
            "low": 0.5,
            "close": float(close),
            "volume": 1,
            "turnover_krw": 1,
            "known_at": krx.session(DAY).close_at + timedelta(minutes=10),
        }
    )


def load(warehouse: Warehouse, content: pd.DataFrame) -> Any:
    return warehouse.load("raw.index_bars", content, Scope((DAY,)), complete=True, source="test")


def scalar(engine: sa.Engine, statement: str) -> Any:
    with engine.connect() as connection:
        return connection.execute(sa.text(statement)).scalar_one()


def wait_for(engine: sa.Engine, statement: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not scalar(engine, statement):
        assert time.monotonic() < deadline, f"never true: {statement}"
        time.sleep(0.02)


WAITING = "select exists (select from pg_locks where locktype = 'advisory' and not granted)"


def test_loads_of_one_table_by_two_writers_run_one_after_the_other(engine: sa.Engine) -> None:
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda close: load(Warehouse(engine, f"run-{close}"), frame(close)), range(1, 13)))
    # Every load saw the one before it whole: one insert of all rows, then only changes of all rows.
    assert sorted((one.inserted, one.changed) for one in results) == [(0, 50)] * 11 + [(50, 0)]
    assert scalar(engine, "select count(*) from raw.index_bars") == 50
    assert scalar(engine, "select count(*) from raw.index_bars_history") == 11 * 50
    ordered = sorted(results, key=lambda one: one.observed_at)
    newest = results.index(ordered[-1]) + 1
    assert scalar(engine, "select array_agg(distinct close) from raw.index_bars") == [float(newest)]
    overlapping = """
        select count(*) from raw.index_bars_history a join raw.index_bars_history b using (index_code, trade_date)
        where a.observed_at < b.observed_at and a.superseded_at > b.observed_at
    """
    assert scalar(engine, overlapping) == 0


def test_a_second_writer_waits_for_the_commit_of_the_first(engine: sa.Engine) -> None:
    warehouse = Warehouse(engine, "run")
    with ThreadPoolExecutor(1) as thread:
        with warehouse.transaction() as first:
            one = load(first, frame(1))
            other = thread.submit(load, warehouse, frame(2))
            wait_for(engine, WAITING)
            assert not other.done()
        result = other.result(PATIENCE_S)
    assert result.changed == 50
    # Its clock was read after the wait, not when it started.
    assert result.observed_at > one.observed_at


def test_writers_of_different_tables_do_not_wait_for_each_other(engine: sa.Engine) -> None:
    warehouse = Warehouse(engine, "run")
    sightings = pd.DataFrame({"article_id": ["a"], "query": "증시", "trading_day": DAY})
    with warehouse.transaction() as first, ThreadPoolExecutor(1) as thread:
        load(first, frame(1))
        done = thread.submit(warehouse.append, "raw.news_sightings", sightings, source="test")
        assert done.result(PATIENCE_S).inserted == 1


def test_a_cutoff_waits_for_loads_in_progress(engine: sa.Engine) -> None:
    warehouse = Warehouse(engine, "run")
    with ThreadPoolExecutor(1) as thread:
        with warehouse.transaction() as writer:
            result = load(writer, frame(1))
            cutoff = thread.submit(warehouse.cutoff)
            wait_for(engine, WAITING)
            assert not cutoff.done()
        at = cutoff.result(PATIENCE_S)
    assert at > result.observed_at
    assert len(warehouse.as_of("raw.index_bars", at, "observed")) == 50


def test_what_is_loaded_after_a_cutoff_is_observed_after_it(engine: sa.Engine) -> None:
    warehouse = Warehouse(engine, "run")
    at = warehouse.cutoff()
    assert load(warehouse, frame(1)).observed_at > at
    assert warehouse.as_of("raw.index_bars", at, "observed").empty


@pytest.mark.parametrize("rows_before", [0, 50], ids=["direct copy", "staged"])
def test_a_writer_that_is_killed_leaves_nothing_half(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, rows_before: int
) -> None:
    warehouse = Warehouse(engine, "run")
    if rows_before:
        load(warehouse, frame(1))
    started, killed = threading.Event(), threading.Event()
    blocks = copy_format.copy_blocks

    def slow_blocks(*arguments: Any) -> Any:
        for number, block in enumerate(blocks(*arguments)):
            yield block
            if number == 1:
                started.set()
                assert killed.wait(PATIENCE_S)

    monkeypatch.setattr(copy_format, "copy_blocks", slow_blocks)
    with ThreadPoolExecutor(1) as thread:
        dying = thread.submit(load, warehouse, frame(2))
        assert started.wait(PATIENCE_S)
        victim = """
            select pid from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock' and granted
              and database = (select oid from pg_database where datname = current_database())
        """
        assert scalar(engine, f"select pg_terminate_backend(({victim}))")
        killed.set()
        with pytest.raises(psycopg.OperationalError, match=r"terminat|closed|lost"):
            dying.result(PATIENCE_S)
    monkeypatch.undo()
    assert scalar(engine, "select count(*) from raw.index_bars") == rows_before
    assert scalar(engine, "select count(*) from raw.index_bars_history") == 0
    again = load(warehouse, frame(2))
    assert (again.inserted, again.changed) == ((0, 50) if rows_before else (50, 0))


def test_a_writer_that_is_killed_between_its_statements_leaves_nothing_half(engine: sa.Engine) -> None:
    warehouse = Warehouse(engine, "run")
    load(warehouse, frame(1))
    with engine.connect() as connection:
        # The old versions are in the history and the new rows in the table when the connection goes.
        assert load(Warehouse(connection, "run"), frame(2)).changed == 50
        with pytest.raises(sa.exc.DBAPIError):
            connection.execute(sa.text("select pg_terminate_backend(pg_backend_pid())"))
    assert scalar(engine, "select array_agg(distinct close) from raw.index_bars") == [1.0]
    assert scalar(engine, "select count(*) from raw.index_bars_history") == 0
    assert load(warehouse, frame(1)).skipped_by_fingerprint
    assert load(warehouse, frame(2)).changed == 50
