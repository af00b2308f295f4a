"""Pitfalls 5 and 10 where they meet the market: sessions that have no final bars, and a calendar against trading."""

from collections.abc import Callable, Iterator
from datetime import date
from types import ModuleType
from typing import Any

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from azak_assets import krx
from azak_assets.defs.windows import Window, require_final_bars
from azak_assets.runtime import Stores, Upstreams, World
from azak_assets.settings import Mode, Settings
from azak_assets.warehouse.load import Scope
from azak_assets.warehouse.warehouse import Warehouse
from tests.harness import StoppedClock, at

MARKET = [
    "raw.daily_bars",
    "raw.index_bars",
    "raw.index_breadth",
    "raw.investor_flows",
    "raw.overtime_bars",
]
EXCHANGE = "raw.krx_daily_bars"
"""Published on the next day: before that `state` says so instead of a refusal, since nothing else needs it."""
INTRADAY = ["raw.minute_bars", "raw.order_books", "raw.quote_snapshots"]
"""They can be had from the open on; `test_intraday_collector` has their refusals."""


def window(*days: str) -> Window:
    return Window([krx.session(date.fromisoformat(day)) for day in days])


@pytest.fixture
def warehouse(engine: sa.Engine) -> Warehouse:
    return Warehouse(engine, run_id="a-run")


@pytest.mark.parametrize(
    ("day", "not_yet", "from_then"),
    [
        ("2026-11-20", "2026-11-20 15:39", "2026-11-20 15:40"),
        ("2026-11-19", "2026-11-19 16:39", "2026-11-19 16:40"),  # the exam day
        ("2016-07-29", "2016-07-29 15:09", "2016-07-29 15:10"),  # the last close at 15:00
        ("2026-09-28", "2026-09-26 12:00", "2026-09-28 15:40"),  # offered through all of Chuseok
    ],
)
def test_a_session_is_final_ten_minutes_after_its_close(day: str, not_yet: str, from_then: str) -> None:
    with pytest.raises(dg.Failure):
        require_final_bars(window(day), at(not_yet))
    assert require_final_bars(window(day), at(from_then)).days == (date.fromisoformat(day),)


def test_the_refusal_says_from_when_and_what_instead() -> None:
    with pytest.raises(dg.Failure) as refused:
        require_final_bars(window("2026-09-28"), at("2026-09-26 12:00"))
    said = str(refused.value.description)
    for word in ("2026-09-28", "09:00", "15:40", "2026-09-23"):
        assert word in said
    assert not refused.value.allow_retries, "waiting inside the run helps nobody"


def test_a_range_that_ends_in_a_session_without_final_bars_is_refused_whole() -> None:
    with pytest.raises(dg.Failure, match="2026-09-28 has no final bars yet"):
        require_final_bars(window("2026-09-22", "2026-09-23", "2026-09-28"), at("2026-09-26 12:00"))
    closed = require_final_bars(window("2026-09-22", "2026-09-23"), at("2026-09-26 12:00"))
    assert closed.days == (date(2026, 9, 22), date(2026, 9, 23))


def test_the_refusing_assets_are_all_that_hold_prices(nodes: dict[str, Any]) -> None:
    market = sorted(name for name, node in nodes.items() if node.group_name == "market")
    assert market == sorted(["raw.adjustment_factors", EXCHANGE, *MARKET, *INTRADAY])


def test_factors_are_refused_where_their_bars_are(nodes: dict[str, Any], warehouse: Warehouse) -> None:
    """The last session of the calendar lies in the future for as long as this calendar serves."""
    day = krx.session_on_or_before(krx.LAST_DAY).day
    with pytest.raises(dg.Failure, match="no final bars yet"):
        nodes["raw.adjustment_factors"].assets_def(
            dg.build_asset_context(partition_key=day.isoformat()), warehouse=warehouse
        )


@pytest.mark.parametrize("now", ["2026-09-26 12:00", "2026-09-28 15:39"])
@pytest.mark.parametrize("name", MARKET)
def test_market_assets_refuse_before_they_ask_anybody(
    name: str, now: str, nodes: dict[str, Any], engine: sa.Engine
) -> None:
    """The partition exists on a closed day; a request would answer with the session before, or with nothing."""
    # Port 9 is nobody's: a request would fail with a name of its own, not with this refusal.
    settings = Settings(
        azak_mode=Mode.LIVE,
        kis_app_key=SecretStr("a-key"),
        kis_app_secret=SecretStr("a-secret"),
        kis_base_url="http://127.0.0.1:9",
    )
    upstreams = Upstreams(settings, World("live"), Stores.in_postgres(engine), StoppedClock(at(now)))
    context = dg.build_asset_context(partition_key="2026-09-28")
    with pytest.raises(dg.Failure, match="no final bars yet"):
        nodes[name].assets_def(context, warehouse=Warehouse(engine, run_id="a-run"), upstreams=upstreams)


@pytest.fixture
def load_bars(warehouse: Warehouse) -> Callable[..., None]:
    """`load_bars("2026-09-23", …)`: two stocks' bars of each of these days."""

    def load(*days: str) -> None:
        frame = pd.DataFrame(
            {
                "stock_code": code,
                "trade_date": date.fromisoformat(day),
                "open": 100,
                "high": 110,
                "low": 90,
                "close": 105,
                "volume": 10,
                "turnover_krw": 1050,
                "is_halted": False,
                "base_price": None,
                "base_ratio": None,
                "base_reason": None,
                "known_at": at(f"{day} 15:40"),
            }
            for day in days
            for code in ("A00001", "A00002")
        )
        scope = Scope(tuple(date.fromisoformat(day) for day in days))
        warehouse.load("raw.daily_bars", frame, scope, complete=True, source="a test")

    return load


@pytest.fixture
def checks(definitions: dg.Definitions) -> ModuleType:
    import azak_assets.defs.market.checks as checks  # noqa: PLC0415 - the definitions come first

    return checks


@pytest.fixture
def calendar_check(checks: Any, warehouse: Warehouse) -> Iterator[Callable[..., dg.AssetCheckResult]]:
    """`calendar_check("2026-09-23", …)`: its verdict when the partitions of these days were materialized."""
    with dg.DagsterInstance.ephemeral() as instance:

        def evaluate(*asked: str) -> dg.AssetCheckResult:
            for day in asked:
                instance.report_runless_asset_event(dg.AssetMaterialization(["raw", "daily_bars"], partition=day))
            context = dg.build_asset_check_context(instance=instance)
            return checks.calendar_agrees_with_trading(context, warehouse=warehouse)

        yield evaluate


Verdict = Callable[..., dg.AssetCheckResult]


def test_an_empty_table_speaks_against_no_calendar(calendar_check: Verdict) -> None:
    assert calendar_check("2026-09-23").passed


def test_a_materialized_session_without_bars_is_a_failure_that_names_it(
    calendar_check: Verdict, load_bars: Callable[..., None]
) -> None:
    load_bars("2026-09-21", "2026-09-28")  # the market was open in between, says the calendar
    assert calendar_check("2026-09-21", "2026-09-28").passed, "no run has asked for the others yet"
    result = calendar_check("2026-09-22", "2026-09-23")
    assert not result.passed
    assert result.metadata["sessions without bars"].value == "2026-09-22, 2026-09-23"
    assert result.metadata["bars on closed days"].value == "none"
    assert result.metadata["sessions"].value == 2
    assert "azak_assets/krx/data" in result.description


def test_bars_on_a_closed_day_are_a_failure_that_names_it(
    calendar_check: Verdict, load_bars: Callable[..., None]
) -> None:
    load_bars("2026-09-23", "2026-09-25", "2026-09-28")
    result = calendar_check("2026-09-23", "2026-09-28")
    assert not result.passed
    assert result.metadata["bars on closed days"].value == "2026-09-25"
    assert result.metadata["sessions without bars"].value == "none"


def test_the_check_runs_in_the_code_location(
    definitions: dg.Definitions, warehouse: Warehouse, load_bars: Callable[..., None]
) -> None:
    """Dagster finds the check, gives it the warehouse and keeps its verdict."""
    from azak_assets.definitions import build_definitions  # noqa: PLC0415 - the definitions come first

    load_bars("2026-09-22", "2026-09-25", "2026-09-28")
    key = dg.AssetCheckKey(dg.AssetKey(["raw", "daily_bars"]), "calendar_agrees_with_trading")
    job = dg.define_asset_job("only_the_check", dg.AssetSelection.checks(key))
    one = build_definitions(
        assets=[], schedules=[], jobs=[job], asset_checks=_market_checks(), resources={"warehouse": warehouse}
    )
    with dg.DagsterInstance.ephemeral() as instance:
        done = one.resolve_job_def("only_the_check").execute_in_process(instance=instance)
    (evaluation,) = done.get_asset_check_evaluations()
    assert evaluation.asset_check_key == key
    assert not evaluation.passed


def _market_checks() -> Any:
    import azak_assets.defs.market.checks as checks  # noqa: PLC0415 - the definitions come first

    return dg.load_asset_checks_from_modules([checks])


@pytest.mark.parametrize(
    ("now", "asked_from"),
    [
        # Just after midnight the day before is asked again: its last ten minutes were seen by nobody.
        ("2026-11-20 00:10", "2026-11-19 00:10"),
        ("2026-11-20 22:00", "2026-11-19 22:00"),
        # A window that has passed is asked for its own time alone.
        ("2026-11-23 10:00", "2026-11-20 00:00"),
    ],
)
def test_a_feed_looks_back_a_day_while_its_window_is_open(now: str, asked_from: str) -> None:
    assert window("2026-11-20").asked_from(at(now)) == at(asked_from)


def test_a_range_that_is_still_open_is_asked_from_its_start() -> None:
    assert window("2026-11-16", "2026-11-20").asked_from(at("2026-11-20 22:00")) == at("2026-11-14 00:00")
