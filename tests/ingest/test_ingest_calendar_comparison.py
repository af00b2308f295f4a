"""The committed calendar beside observed trading and beside the broker's calendar, without Dagster."""

import dataclasses
import importlib
import io
from collections.abc import Callable
from datetime import date

import pandas as pd
import pytest
import sqlalchemy as sa
from rich.console import Console

from azak_assets import krx
from azak_assets.cli.doctor import _calendar
from azak_assets.ingest.calendar_comparison import broker_calendar, observed_trading
from azak_assets.sources.fields import parse_rows
from azak_assets.sources.kis import bars
from azak_assets.sources.records import Reject, RejectCode
from azak_assets.warehouse.load import Scope
from azak_assets.warehouse.warehouse import Warehouse
from tests.harness import at

CHUSEOK = [date(2026, 9, 24), date(2026, 9, 25)]
"""A Thursday and a Friday."""

Load = Callable[[dict[date, int]], None]


def days(*of_september: int) -> set[date]:
    return {date(2026, 9, day) for day in of_september}


def bars_on(*of_september: int) -> dict[date, int]:
    """For `load_bars`: one stock's bar on each of the days."""
    return dict.fromkeys(sorted(days(*of_september)), 1)


@pytest.fixture
def without_chuseok(monkeypatch: pytest.MonkeyPatch) -> None:
    """A calendar that takes the two days of Chuseok for sessions, as a list of the wrong year would."""
    rules = importlib.import_module("azak_assets.krx.sessions")
    right = rules._calendar()
    wrong_days = sorted([*right.days, *CHUSEOK])
    closures = {day: closure for day, closure in right.closures.items() if day not in CHUSEOK}
    wrong = dataclasses.replace(right, closures=closures, days=wrong_days, members=frozenset(wrong_days))
    monkeypatch.setattr(rules, "_calendar", lambda: wrong)


def test_an_empty_table_has_no_days(warehouse: Warehouse) -> None:
    for observed in (observed_trading(warehouse), observed_trading(warehouse, days(23))):
        assert not observed.open
        assert observed.agrees


def test_trading_over_chuseok_as_the_calendar_says(warehouse: Warehouse, load_bars: Load) -> None:
    load_bars(bars_on(22, 23, 28, 29))
    for observed in (observed_trading(warehouse), observed_trading(warehouse, days(22, 23, 28, 29))):
        assert observed.agrees
        assert observed.open == days(22, 23, 28, 29)


def test_two_days_without_bars_that_the_calendar_calls_sessions_are_a_disagreement(
    without_chuseok: None, warehouse: Warehouse, load_bars: Load
) -> None:
    """The hole of Chuseok: a range was loaded over it, and the market was closed."""
    load_bars(bars_on(22, 23, 28))
    assert observed_trading(warehouse, days(22, 23, 24, 25, 28)).missing == CHUSEOK


@pytest.mark.parametrize("hole", [days(23), days(22, 23)])
def test_loaded_sessions_without_bars_between_sessions_with_bars_are_a_disagreement(
    warehouse: Warehouse, load_bars: Load, hole: set[date]
) -> None:
    load_bars(bars_on(21, 28))  # the market was open in between, says the calendar
    observed = observed_trading(warehouse, days(21, 28) | hole)
    assert (observed.missing, observed.surplus) == (sorted(hole), [])


def test_a_gap_of_the_backfill_is_no_disagreement(warehouse: Warehouse, load_bars: Load) -> None:
    load_bars(bars_on(1, 22, 28))
    assert observed_trading(warehouse, days(1, 22, 28)).agrees, "no run has asked for the 23rd yet"


def test_without_a_record_of_what_was_loaded_one_session_between_two_with_bars_counts(
    warehouse: Warehouse, load_bars: Load
) -> None:
    load_bars(bars_on(1, 21, 23, 28))
    assert observed_trading(warehouse).missing == [date(2026, 9, 22)], "a wider hole proves nothing"


def test_a_session_after_the_last_bar_is_no_hole(warehouse: Warehouse, load_bars: Load) -> None:
    load_bars(bars_on(22))
    assert observed_trading(warehouse, days(22, 23)).agrees


def test_bars_on_a_closed_day_are_a_disagreement(warehouse: Warehouse, load_bars: Load) -> None:
    load_bars(bars_on(23, 25, 28))
    assert observed_trading(warehouse, days(23, 28)).surplus == [date(2026, 9, 25)]


def test_a_refused_bar_of_a_closed_day_is_a_disagreement_until_the_calendar_is_corrected(
    warehouse: Warehouse, load_bars: Load
) -> None:
    """As the client refuses it: such a bar never reaches the table."""
    load_bars(bars_on(23, 28))
    asked = bars.Asked.between(date(2026, 9, 24), date(2026, 9, 28), at("2026-09-28 16:00"))
    row = {"stck_bsop_date": "20260925", "stck_clpr": "100"}
    _, rejects = parse_rows([row], lambda row: bars.daily_bar(row, "A00001", asked))
    warehouse.quarantine(rejects, source="KIS FHKST03010100")
    assert observed_trading(warehouse, days(23, 28)).surplus == [date(2026, 9, 25)]
    assert observed_trading(warehouse).surplus == [date(2026, 9, 25)]


def test_a_refusal_that_a_corrected_calendar_has_overtaken_no_longer_counts(
    warehouse: Warehouse, load_bars: Load
) -> None:
    load_bars(bars_on(22, 23, 28))
    old = Reject("{}", "stck_bsop_date", "2026-09-23", "the market was closed", RejectCode.CLOSED_DAY)
    warehouse.quarantine([old], source="KIS FHKST03010100")
    assert observed_trading(warehouse, days(22, 23, 28)).agrees


def load_broker(warehouse: Warehouse, answers: dict[int, bool]) -> None:
    rows = pd.DataFrame({"day": date(2026, 9, day), "is_open": is_open} for day, is_open in answers.items())
    warehouse.load("raw.broker_calendar", rows, Scope(days=None), complete=False, source="a test")


def test_the_broker_disagrees_on_days_in_both_directions(warehouse: Warehouse) -> None:
    assert broker_calendar(warehouse).agrees, "not asked yet"
    load_broker(warehouse, {23: True, 24: False, 25: True, 28: False})
    broker = broker_calendar(warehouse)
    assert (broker.surplus, broker.missing) == ([date(2026, 9, 25)], [date(2026, 9, 28)])
    assert (broker.open, broker.closed) == (days(23, 25), days(24, 28))


def test_doctor_says_the_same_of_both(engine: sa.Engine, warehouse: Warehouse, load_bars: Load) -> None:
    def said() -> str:
        console = Console(file=io.StringIO(), width=200)
        _calendar(console, engine)
        return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]

    assert "observed trading: no days yet" in said()
    load_bars(bars_on(21, 23, 28))
    load_broker(warehouse, {23: True, 25: True})
    assert "observed trading disagrees: closed on days that the calendar has open: 2026-09-22." in said()
    assert "broker disagrees: open on days that the calendar has closed: 2026-09-25." in said()
    load_bars(bars_on(22))
    load_broker(warehouse, {25: False})
    assert f"observed trading agrees: 4 sessions 2026-09-21 … {krx.next_session(CHUSEOK[-1]).day}" in said()
    assert "broker agrees: 1 sessions 2026-09-23 … 2026-09-23" in said()
