"""What the operator reads of one mart after a dbt call."""

from datetime import date

import dagster as dg
import pytest
import sqlalchemy as sa

from azak_assets import krx
from azak_assets.defs.windows import Window
from azak_assets.warehouse.warehouse import Warehouse

WINDOW = Window(krx.sessions(date(2026, 11, 19), date(2026, 11, 20)))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # A mart that was made from nothing has no row of changes: all of it is new.
        (None, {"inserted": 2, "changed": 0, "unchanged": 0, "retired": 0, "rejected": 0}),
        ((1, 2, 3, 4), {"inserted": 1, "changed": 2, "unchanged": 3, "retired": 4, "rejected": 0}),
    ],
)
def test_a_mart_reports_the_rows_of_its_window_and_what_the_call_changed(
    definitions: dg.Definitions,
    engine: sa.Engine,
    changes: tuple[int, ...] | None,
    expected: dict[str, int],
) -> None:
    from azak_assets.defs.marts.assets import _metadata  # noqa: PLC0415 - the definitions come first

    with engine.begin() as connection:
        connection.execute(sa.text("create schema if not exists marts"))
        connection.execute(sa.text("create table marts.made_here (exit_day date, label text)"))
        connection.execute(
            sa.text("insert into marts.made_here values (:day, :label)"),
            [{"day": date(2026, 11, day), "label": f"![x](/{day})"} for day in (18, 19, 20)],
        )
        if changes:
            connection.execute(
                sa.text("insert into ops.mart_changes values ('a-call', 'marts.made_here', :a, :b, :c, :d, now())"),
                dict(zip("abcd", changes, strict=True)),
            )
    node = {
        "schema": "marts",
        "name": "made_here",
        "config": {"materialized": "incremental", "meta": {"window_days": ["exit_day"]}},
    }
    called = {"invocation_id": dg.MetadataValue.text("a-call")}
    shown = _metadata(Warehouse(engine, run_id="a-run"), node, called, WINDOW)
    assert {name: shown[name] for name in expected} == expected
    assert (shown["rows"], shown["dagster/partition_row_count"]) == (2, 2)
    assert (shown["earliest"], shown["latest"]) == ("2026-11-19", "2026-11-20")
    assert "`![x](/20)`" in shown["sample"].md_str, "text from outside stays text"
