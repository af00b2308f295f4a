"""What the writer must know of the tables follows from their declaration."""

import pytest

from azak_assets.warehouse.tables import PROVENANCE, SPECS, spec


def test_an_unknown_table_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"raw\.daily_bar.*raw\.daily_bars"):
        spec("raw.daily_bar")


@pytest.mark.parametrize("name", SPECS)
def test_every_table_carries_its_provenance_and_never_compares_it(name: str) -> None:
    known = SPECS[name]
    assert set(PROVENANCE) <= set(known.table.columns.keys())
    assert not set(PROVENANCE) & set(known.compared)


@pytest.mark.parametrize("name", SPECS)
def test_times_set_by_the_writer_are_not_what_makes_a_version(name: str) -> None:
    known = SPECS[name]
    assert not {"known_at", *known.set_once, *known.key} & set(known.compared)
    assert known.day is None or known.day in known.table.columns
    assert known.entity is None or known.entity in known.table.columns


def test_minute_bars_have_the_minute_first_in_their_key() -> None:
    # A day is then one stretch of the index, and a first load costs the same however full the table is.
    assert spec("raw.minute_bars").key == ("ts", "stock_code")


def test_only_tables_whose_key_tells_the_day_are_loaded_without_looking_at_other_days() -> None:
    assert {name for name, one in SPECS.items() if one.is_day_in_key} == {
        "raw.adjustment_factors",
        "raw.daily_bars",
        "raw.krx_daily_bars",
        "raw.index_bars",
        "raw.index_breadth",
        "raw.investor_flows",
        "raw.minute_bars",
        "raw.overtime_bars",
        "raw.quote_snapshots",
        "raw.order_books",
    }
