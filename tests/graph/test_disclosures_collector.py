"""The collector of filings over real HTTP with a moved clock: every five minutes to the end of the half hour."""

import dataclasses
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
import sqlalchemy as sa
from rich.console import Console

from azak_assets.cli.replay_payloads import rerun_all
from azak_assets.defs.collectors import LOOP_TAG
from azak_assets.ports import ATTEMPTS
from azak_assets.sandbox import SeededWorld
from azak_assets.warehouse.calls import recordings
from tests.databases import fresh_database
from tests.graph.intraday_world import Clock, Exchange, exchange
from tests.harness import Made, at, materialize

FRIDAY = "2026-11-20"
Open = Callable[..., Exchange]


@pytest.fixture
def open_at(
    definitions: dg.Definitions, engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Open]:
    """`open_at("2026-11-20 09:00")`: DART at that instant, its answers kept."""
    about = {"job": "disclosures", "assets": None, "tags": {"dagster/partition": FRIDAY, **LOOP_TAG}, "feeds": None}

    def writer(clock: Clock) -> recordings.PayloadWriter:
        folder = recordings.folder_of(tmp_path, "live")
        return recordings.PayloadWriter(folder, run_id="collector", about=about, keep_days=30, now=clock)

    with ExitStack() as stack:

        def start(now: str, *, attempts: int = ATTEMPTS) -> Exchange:
            return stack.enter_context(exchange(engine, now, [], SeededWorld(1), kept=writer, attempts=attempts))

        yield start


def collect(found: Exchange, partition: str = FRIDAY, *, loops: bool = True) -> Made:
    """Materialize the filings of a session."""
    from azak_assets.defs.disclosures.assets import disclosures  # noqa: PLC0415 - the definitions come first

    resources = {"warehouse": found.warehouse, "upstreams": found.upstreams}
    return materialize(disclosures, resources, partition=partition, tags=LOOP_TAG if loops else {})


def received(found: Exchange, until: str) -> list[str]:
    """The numbers of what DART has received on the Friday up to an instant."""
    day = date.fromisoformat(FRIDAY)
    return sorted(one.rcept_no for one in found.world.filings(day, day, at(until)))


def stored(found: Exchange) -> list[str]:
    query = f"select rcept_no from raw.disclosures where rcept_dt = '{FRIDAY}' order by 1"
    return [number for (number,) in found.query(query)]


def test_what_arrives_within_the_half_hour_is_there_when_the_next_one_begins(open_at: Open) -> None:
    found = open_at(f"{FRIDAY} 16:31:40")
    assert received(found, f"{FRIDAY} 16:31:40") != received(found, f"{FRIDAY} 17:00"), "something arrives"
    done = collect(found)
    assert done.success, done.said
    assert stored(found) == received(found, f"{FRIDAY} 17:00")
    told = done.by_asset["disclosures"]
    assert told["rounds"] == 7, "at once, at 16:35, 16:40, … and 17:00"
    assert told["inserted"] >= len(stored(found))
    assert [round(pause) for pause in found.clock.slept] == [200, *[300] * 5]
    assert found.clock.now == at(f"{FRIDAY} 17:00"), "the next one asks from here on"


def test_the_half_hour_before_midnight_ends_with_the_day(open_at: Open) -> None:
    found = open_at(f"{FRIDAY} 23:52:00")
    done = collect(found)
    assert done.success, done.said
    assert found.clock.now == at("2026-11-21 00:00")
    assert stored(found) == received(found, "2026-11-21 00:00")


@pytest.mark.parametrize(("partition", "loops"), [("2026-11-18", True), (FRIDAY, False)])
def test_a_session_that_is_over_and_a_run_that_is_no_collectors_are_asked_about_once(
    open_at: Open, partition: str, loops: bool
) -> None:
    found = open_at(f"{FRIDAY} 16:31:40")
    done = collect(found, partition, loops=loops)
    assert done.success, done.said
    assert done.by_asset["disclosures"]["rounds"] == 1
    assert found.clock.slept == []


def test_dart_that_is_down_for_a_while_costs_nothing_that_the_next_round_does_not_bring(
    open_at: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = open_at(f"{FRIDAY} 16:31:40", attempts=1)
    honest = httpx.HTTPTransport.handle_request

    def down(self: Any, request: httpx.Request) -> httpx.Response:
        if at(f"{FRIDAY} 16:44") < found.clock.now < at(f"{FRIDAY} 16:52"):
            return httpx.Response(503)
        return honest(self, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", down)
    done = collect(found)
    assert done.success, done.said
    assert done.by_asset["disclosures"]["rounds"] == 5
    assert stored(found) == received(found, f"{FRIDAY} 17:00")


def test_a_key_that_dart_refuses_ends_it_with_what_to_do(open_at: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    found = open_at(f"{FRIDAY} 16:31:40")
    monkeypatch.setitem(found.upstreams.opendart._key, "crtfc_key", "invalid")
    done = collect(found)
    assert not done.success
    assert "OPENDART_API_KEY" in done.said
    assert found.clock.slept == []


def test_a_collectors_half_hour_is_rebuilt_from_what_was_kept(
    open_at: Open, tmp_path: Path, server_url: str, migrated_template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = open_at(f"{FRIDAY} 16:31:40")
    assert collect(found).success
    known = "select rcept_no, report_nm, amends_rcept_no, trading_day from raw.disclosures order by 1"
    before = found.query(known)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a replay asked an upstream")

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", refuse)
    day = date.fromisoformat(FRIDAY)
    with fresh_database(server_url, migrated_template) as url:
        other = sa.create_engine(url)
        try:
            kept = recordings.runs(recordings.folder_of(tmp_path, "live"), day, day)
            told = rerun_all(Console(file=io.StringIO()), found.upstreams.settings, other, "live", kept)
            assert told.outcome.failures == []
            assert told.missing == {}
            assert dataclasses.replace(found, engine=other).query(known) == before
        finally:
            other.dispose()
