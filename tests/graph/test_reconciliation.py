"""Reconciliation with the exchange: when it is asked, what a difference says, and that nothing is replaced."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg
import httpx
import pandas as pd
import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from tenacity import wait_none

from azak_assets import krx
from azak_assets.defs import failures
from azak_assets.defs.market import reconciliation
from azak_assets.runtime import Upstreams, World
from azak_assets.sandbox.server import create_app, start_in_thread
from azak_assets.sandbox.worlds.seeded import SeededWorld
from azak_assets.sandbox.worlds.world import DailyBar, Issue, Market
from azak_assets.settings import Mode, Settings
from azak_assets.sources import transport
from azak_assets.warehouse.load import Scope
from azak_assets.warehouse.warehouse import Warehouse
from tests.harness import Made, StoppedClock, materialize, stores_of, tags_of_range

NOW = datetime(2026, 11, 20, 20, tzinfo=krx.KST)
"""Of the sandbox and of those who ask it: the market of another day would have other halts and other closes."""
LAST = krx.shift(krx.last_closed_session(NOW).day, -3).day
FIRST = krx.shift(LAST, -19).day
MARKETS: tuple[Market, ...] = ("KOSPI", "KOSDAQ", "KONEX")


class Exchange(SeededWorld):
    """A seeded world whose exchange can tell something else than its broker."""

    instead: dict[str, dict[str, int]]
    without: frozenset[str]
    asked: int

    def exchange_day(self, market: Market, day: date, now: datetime) -> Sequence[tuple[Issue, DailyBar]]:
        self.asked += 1
        return [
            (issue, dataclasses.replace(bar, **self.instead.get(issue.code, {})))
            for issue, bar in super().exchange_day(market, day, now)
            if issue.code not in self.without
        ]

    def truth(self, day: date) -> dict[str, DailyBar]:
        return {i.code: bar for market in MARKETS for i, bar in super(Exchange, self).exchange_day(market, day, NOW)}


@pytest.fixture(scope="module")
def played() -> Exchange:
    return Exchange(1)


@pytest.fixture
def world(played: Exchange) -> Exchange:
    played.instead, played.without, played.asked = {}, frozenset(), 0
    return played


@pytest.fixture(scope="module")
def sandbox(played: Exchange) -> Iterator[str]:
    with start_in_thread(create_app(played, clock=lambda: NOW)) as url:
        yield url


@pytest.fixture
def warehouse(engine: sa.Engine) -> Warehouse:
    return Warehouse(engine, run_id="a-run")


@pytest.fixture
def day(world: Exchange) -> date:
    """A session in which something was halted."""
    return next(
        one.day for one in krx.sessions(FIRST, LAST) if any(b.volume == 0 for b in world.truth(one.day).values())
    )


@pytest.fixture
def load_bars(world: Exchange, warehouse: Warehouse) -> Callable[..., dict[str, DailyBar]]:
    """Load what the broker would have told of a session, and the stocks; returns the bars."""

    def load(day: date, *, but: Sequence[str] = ()) -> dict[str, DailyBar]:
        bars = world.truth(day)
        halted = {code: bar.volume == 0 for code, bar in bars.items()}
        frame = pd.DataFrame(
            {
                "stock_code": code, "trade_date": day, "open": None if halted[code] else bar.open,
                "high": None if halted[code] else bar.high, "low": None if halted[code] else bar.low,
                "close": bar.close, "volume": bar.volume, "turnover_krw": bar.turnover_krw,
                "is_halted": halted[code], "base_price": None, "base_ratio": None, "base_reason": None,
                "known_at": krx.final_at(krx.session(day)),
            }
            for code, bar in bars.items()
            if code not in but
        )  # fmt: skip
        warehouse.load("raw.daily_bars", frame, Scope((day,)), complete=True, source="a test")
        stocks = pd.DataFrame(
            {
                "stock_code": code, "isin": None, "name": code, "market": "KOSPI", "security_kind": "stock",
                "sector": None, "tier": 3, "aliases": [], "is_active": True, "listed_on": None,
                "delisted_on": None, "listed_shares": None, "market_cap_krw": None,
            }
            for code in bars
        )  # fmt: skip
        warehouse.load("raw.stocks", stocks, Scope(days=None), complete=True, source="a test")
        return bars

    return load


Ask = Callable[..., Made]


@pytest.fixture
def ask(sandbox: str, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Materialize the asset for sessions; keyword arguments change the settings."""
    monkeypatch.setattr(transport, "_backoff", wait_none())
    monkeypatch.setattr(failures, "RETRIES", 0)
    told = httpx.get(f"{sandbox}/sandbox/world").json()
    of_world = World(told["world"], frozenset(told["feeds"]))
    opened = []

    def run(
        first: date, last: date | None = None, *, world: World = of_world, now: datetime = NOW, **changes: Any
    ) -> Made:
        settings = Settings().in_sandbox(sandbox).model_copy(update=changes)
        upstreams = Upstreams(settings, world, stores_of(warehouse.engine, attempts=2), StoppedClock(now))
        opened.append(upstreams)
        resources = {"warehouse": warehouse, "upstreams": upstreams}
        return materialize(reconciliation.krx_daily_bars, resources, tags=tags_of_range(first, last))

    yield run
    for one in opened:
        one.close()


def check(warehouse: Warehouse) -> dg.AssetCheckResult:
    return reconciliation.bars_agree_with_exchange(warehouse)


def test_both_agree_on_every_bar_the_halted_ones_too(
    ask: Ask, load_bars: Callable[..., dict[str, DailyBar]], warehouse: Warehouse, day: date
) -> None:
    bars = load_bars(day)
    told = ask(day)
    assert told.success
    assert (told.metadata["rows"], told.metadata["rejected"]) == (len(bars), 0)
    assert told.metadata["earliest"] == told.metadata["latest"] == str(day)
    rows = warehouse.read("raw.krx_daily_bars")
    assert rows["open"].isna().sum() == sum(bar.volume == 0 for bar in bars.values()) > 0
    assert (rows["known_at"].dt.tz_convert(krx.KST) == f"{krx.next_session(day).day} 08:00+09:00").all()
    result = check(warehouse)
    assert result.passed
    assert (result.metadata["bars compared"].value, result.metadata["sessions"].value) == (len(bars), 1)
    again = ask(day)
    assert (again.metadata["inserted"], again.metadata["unchanged"]) == (0, len(bars))


@pytest.mark.parametrize("field", ["low", "close"])
def test_another_price_is_an_error_that_shows_both_and_replaces_nothing(
    ask: Ask, load_bars: Callable[..., dict[str, DailyBar]], warehouse: Warehouse, world: Exchange, day: date,
    field: str,
) -> None:  # fmt: skip
    bars = load_bars(day)
    code, bar = next((c, b) for c, b in bars.items() if b.volume and b.low < min(b.open, b.close) - 1 < b.high - 2)
    other = getattr(bar, field) + (1 if field in ("high", "open", "close") else -1)
    world.instead = {code: {field: other}}
    before = warehouse.read("raw.daily_bars")
    assert ask(day).success
    result = check(warehouse)
    assert not result.passed
    assert result.severity is dg.AssetCheckSeverity.ERROR
    assert result.metadata["different: price"].value == 1
    shown = str(result.metadata["differences"].value)
    assert f"| {day} | {code} |" in shown
    assert f"| {getattr(bar, field)} | {other} |" in shown
    assert "nothing was replaced" in (result.description or "")
    pd.testing.assert_frame_equal(warehouse.read("raw.daily_bars"), before)


@pytest.mark.parametrize(("factor", "passes"), [(1.19, True), (0.6, False)])
def test_volume_may_lie_a_fifth_apart(
    ask: Ask, load_bars: Callable[..., dict[str, DailyBar]], warehouse: Warehouse, world: Exchange, day: date,
    factor: float, passes: bool,
) -> None:  # fmt: skip
    bars = load_bars(day)
    code, bar = max(bars.items(), key=lambda item: item[1].turnover_krw)
    world.instead = {
        code: {"volume": int(bar.volume * factor), "turnover_krw": int(bar.turnover_krw * factor)},
        # Whatever a hardly traded share does after hours misleads nobody.
        **{
            other: {"volume": 3 * b.volume, "turnover_krw": 3 * b.turnover_krw}
            for other, b in bars.items()
            if 0 < b.turnover_krw < 40_000_000
        },
    }
    assert len(world.instead) > 1
    assert ask(day).success
    result = check(warehouse)
    assert result.passed == passes
    if not passes:
        assert result.severity is dg.AssetCheckSeverity.WARN
        assert result.metadata["different: volume"].value == 1
        assert code in str(result.metadata["differences"].value)


def test_a_bar_that_we_lack_is_an_error_where_it_was_asked_for(
    ask: Ask, load_bars: Callable[..., dict[str, DailyBar]], warehouse: Warehouse, world: Exchange, day: date
) -> None:
    code = sorted(world.truth(day))[5]
    load_bars(day, but=[code])
    # The session before was never loaded: a gap of the backfill is no disagreement.
    assert ask(krx.previous_session(day).day, day).success
    result = check(warehouse)
    assert not result.passed
    assert result.metadata["different: no bar here"].value == 1
    assert result.metadata["different: price"].value == 0
    assert code in str(result.metadata["differences"].value)
    with warehouse.engine.begin() as connection:  # type: ignore[union-attr]
        connection.execute(sa.text("delete from raw.stocks where stock_code = :code"), {"code": code})
    assert check(warehouse).passed, "nobody asked the broker for a stock that is not ours"


def test_a_corrected_bar_agrees_again(
    ask: Ask, load_bars: Callable[..., dict[str, DailyBar]], warehouse: Warehouse, world: Exchange, day: date
) -> None:
    load_bars(day)
    code = next(code for code, bar in world.truth(day).items() if bar.volume)
    world.instead = {code: {"close": world.truth(day)[code].open}}
    assert ask(day).success
    assert not check(warehouse).passed
    with warehouse.engine.begin() as connection:  # type: ignore[union-attr]
        connection.execute(sa.text("update raw.daily_bars set close = open where stock_code = :code"), {"code": code})
    assert check(warehouse).passed


def test_an_issue_that_the_exchange_no_longer_tells_is_retired(
    ask: Ask, warehouse: Warehouse, world: Exchange, day: date
) -> None:
    assert ask(day).success
    world.without = frozenset(sorted(world.truth(day))[:2])
    assert ask(day).metadata["retired"] == 2


def test_a_session_of_today_is_not_asked_for_and_says_from_when(ask: Ask, world: Exchange, day: date) -> None:
    told = ask(day, now=krx.session(day).close_at + timedelta(hours=15))
    assert told.success
    assert told.metadata["reason"] == "not_out_yet"
    assert f"{krx.next_session(day).day} 08:00 KST" in told.metadata["state"]
    assert (told.metadata["rows"], world.asked) == (0, 0)


def test_the_other_sessions_of_a_range_land(ask: Ask, world: Exchange, day: date) -> None:
    before = krx.shift(day, -2).day
    told = ask(before, day, now=krx.session(day).close_at + timedelta(hours=1))
    assert told.success
    assert (told.metadata["earliest"], told.metadata["latest"]) == (str(before), str(krx.previous_session(day).day))
    assert told.metadata["reason"] == "not_out_yet"
    assert world.asked == 6


def test_a_wrong_key_stops_with_what_to_do(ask: Ask, warehouse: Warehouse, day: date) -> None:
    told = ask(day, krx_openapi_key=SecretStr("invalid-key-not-to-be-shown"))
    assert not told.success
    assert "Unauthorized Key" in told.said
    assert "Check KRX_OPENAPI_KEY" in told.said
    assert "invalid-key" not in told.said
    assert warehouse.read("raw.krx_daily_bars").empty


def test_a_market_that_the_key_was_not_approved_for_leaves_the_others(
    ask: Ask, warehouse: Warehouse, day: date
) -> None:
    told = ask(day, krx_openapi_key=SecretStr("partly-approved"))
    assert told.success
    assert told.metadata["reason"] == "not_approved"
    assert "apply for the service knx_bydd_trd (KONEX)" in told.metadata["not approved"]
    assert set(warehouse.read("raw.krx_daily_bars")["market"]) == {"KOSPI", "KOSDAQ"}
    assert ask(day).success
    assert ask(day, krx_openapi_key=SecretStr("partly-approved")).metadata["retired"] == 0


def test_a_market_that_does_not_answer_is_a_failure_and_the_others_land(
    ask: Ask, warehouse: Warehouse, sandbox: str, day: date
) -> None:
    order = {"path": "/krx/svc/apis/sto/ksq_bydd_trd", "kind": "500", "times": 2}
    httpx.post(f"{sandbox}/sandbox/faults", json=order).raise_for_status()
    assert not ask(day).success, "a green session without a market would never be asked for again"
    assert set(warehouse.read("raw.krx_daily_bars")["market"]) == {"KOSPI", "KONEX"}
    assert ask(day).success
    assert set(warehouse.read("raw.krx_daily_bars")["market"]) == set(MARKETS)


def test_spoilt_rows_are_put_aside_and_nothing_invented(
    ask: Ask, warehouse: Warehouse, sandbox: str, day: date
) -> None:
    order = {"path": "/krx/svc/apis/sto/ksq_bydd_trd", "kind": "words", "times": 1}
    httpx.post(f"{sandbox}/sandbox/faults", json=order).raise_for_status()
    told = ask(day)
    assert not told.success
    assert "none of" in told.said
    assert "KOSDAQ" not in set(warehouse.read("raw.krx_daily_bars")["market"])


def test_without_a_key_the_live_world_is_green_and_says_so(ask: Ask, day: date) -> None:
    told = ask(day, world=World("live"), azak_mode=Mode.LIVE, krx_openapi_key=None)
    assert told.success
    assert told.metadata["reason"] == "not_configured"
    assert "KRX_OPENAPI_KEY" in told.metadata["state"]


def test_a_recorded_world_is_not_asked(ask: Ask, world: Exchange, day: date) -> None:
    told = ask(day, world=World("replay:x", frozenset(["daily_bars"])))
    assert told.metadata["reason"] == "not_recorded"
    assert world.asked == 0


def test_nothing_to_compare_is_no_disagreement(warehouse: Warehouse) -> None:
    result = check(warehouse)
    assert result.passed
    assert result.metadata["bars compared"].value == 0
