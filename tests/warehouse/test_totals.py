"""The counts that commands print, over a real database."""

from datetime import date

import sqlalchemy as sa

from azak_assets.warehouse import totals

BAR = sa.text(
    "INSERT INTO raw.daily_bars (stock_code, trade_date, close, volume, turnover_krw, is_halted, known_at, source,"
    " observed_at, run_id) VALUES ('005930', :day, 1, 0, 0, true, now(), 'test', now(), 'test')"
)


def test_a_new_database_has_its_tables_without_rows_and_no_marts(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        rows, headlines = dict(totals.rows_by_table(connection)), dict(totals.headlines(connection))
        assert totals.newest_day_with_bars(connection) is None
    assert {"raw.daily_bars", "ml.predictions"} <= rows.keys()
    assert not [name for name in rows if name.endswith("_history")]
    assert set(rows.values()) == {0}
    assert (headlines["articles"], headlines["articles matched"]) == (0, None), "dbt has not run"


def test_rows_are_counted_by_table_and_the_newest_day_is_found(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for day in (date(2026, 11, 13), date(2026, 11, 16)):
            connection.execute(BAR, {"day": day})
        assert dict(totals.rows_by_table(connection))["raw.daily_bars"] == 2
        assert totals.newest_day_with_bars(connection) == date(2026, 11, 16)
