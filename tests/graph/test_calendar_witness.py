"""The broker's calendar beside the committed one: asked once a day; it decides nothing, a disagreement is a failure."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import dagster as dg
import httpx
import pandas as pd
import pytest
import sqlalchemy as sa

from azak_assets import krx
from azak_assets.defs.reference.assets import broker_calendar
from azak_assets.defs.reference.checks import broker_agrees_with_calendar
from azak_assets.runtime import Upstreams, World
from azak_assets.sandbox.server import create_app, start_in_thread
from azak_assets.sandbox.worlds.seeded import SeededWorld
from azak_assets.settings import Settings
from azak_assets.sources.failures import NotForThisAccount
from azak_assets.warehouse.load import Scope
from azak_assets.warehouse.warehouse import Warehouse
from tests.harness import StoppedClock, TokensOfOneProcess, at, materialize, stores_of

CHUSEOK = date(2026, 9, 25)
NOW = at("2026-09-11 08:00")


@pytest.fixture
def warehouse(engine: sa.Engine) -> Warehouse:
    return Warehouse(engine, run_id="a-run")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[str]:
    with start_in_thread(create_app(SeededWorld(1), clock=lambda: NOW)) as url:
        yield url


@pytest.fixture
def make(sandbox: str, warehouse: Warehouse) -> Iterator[Callable[[], dict[str, Any]]]:
    """Materialize the asset; returns its metadata."""
    world = httpx.get(f"{sandbox}/sandbox/world").json()
    upstreams = Upstreams(
        Settings().in_sandbox(sandbox),
        World(world["world"], frozenset(world["feeds"])),
        stores_of(warehouse.engine, tokens=TokensOfOneProcess()),
        StoppedClock(NOW),
    )

    def run() -> dict[str, Any]:
        made = materialize(broker_calendar, {"warehouse": warehouse, "upstreams": upstreams})
        assert made.success, made.said
        return made.metadata

    run.upstreams = upstreams  # type: ignore[attr-defined]
    yield run
    upstreams.close()


def told(warehouse: Warehouse, changes: dict[date, bool]) -> None:
    """What the broker says of the weeks around Chuseok: the truth but for ``changes``."""
    days = [CHUSEOK + timedelta(days=n) for n in range(-14, 15)]
    rows = [{"day": day, "is_open": changes.get(day, krx.is_session(day))} for day in days]
    warehouse.load("raw.broker_calendar", pd.DataFrame(rows), Scope(days=None), complete=False, source="test")


def test_it_is_asked_once_a_day(make: Callable[[], dict[str, Any]], warehouse: Warehouse) -> None:
    first = make()
    assert (first["inserted"], first["rejected"]) == (29, 0)
    assert warehouse.read("raw.broker_calendar")["day"].min() == NOW.date()
    again = make()
    assert (again["reason"], again["inserted"]) == ("asked_recently", 0)
    assert broker_agrees_with_calendar(warehouse).passed


def test_a_paper_account_has_no_such_service_and_stays_green(
    make: Any, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*days: date) -> None:
        raise NotForThisAccount("kis", "EGW00213 (HTTP 500): 모의투자 TR 이 아닙니다.")

    monkeypatch.setattr(make.upstreams.kis, "market_days", refuse)
    assert make()["reason"] == "paper_account"
    assert broker_agrees_with_calendar(warehouse).metadata["days compared"].value == 0


def test_agreement_through_chuseok(warehouse: Warehouse) -> None:
    told(warehouse, {})
    assert broker_agrees_with_calendar(warehouse).passed


@pytest.mark.parametrize(("day", "is_open", "named"), [
    (CHUSEOK, True, "open for the broker, closed here"),
    (date(2026, 9, 28), False, "session here, closed for the broker"),
])  # fmt: skip
def test_a_disagreement_is_a_failure_that_names_the_day(
    warehouse: Warehouse, day: date, is_open: bool, named: str
) -> None:
    told(warehouse, {day: is_open})
    result = broker_agrees_with_calendar(warehouse)
    assert not result.passed
    assert result.severity is dg.AssetCheckSeverity.ERROR
    assert result.metadata[named].value == str(day)
    assert "before the open" in (result.description or "")
