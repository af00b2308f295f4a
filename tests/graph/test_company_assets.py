"""Product information and ratios as an operator gets them: versions, known-from times, a paper account, once a week."""

import dataclasses
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import httpx
import pandas as pd
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from azak_assets import krx
from azak_assets.defs.reference import company
from azak_assets.runtime import Stores, Upstreams, World
from azak_assets.sandbox import Limits
from azak_assets.sandbox.server import create_app, start_in_thread
from azak_assets.sandbox.worlds.seeded import SeededWorld
from azak_assets.sandbox.worlds.world import Product, Ratios
from azak_assets.settings import Settings
from azak_assets.warehouse.load import Scope
from azak_assets.warehouse.warehouse import Warehouse

UNLIMITED = Limits(kis_a_second=10**9)
LOAD = {"azak/why": "azak run"}


class Restating(SeededWorld):
    """A seeded world that counts what is asked of it, and whose companies can restate their earnings."""

    asked = 0
    restated: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()

    def ratios(self, code: str, now: datetime, *, annual: bool) -> Sequence[Ratios]:
        self.asked += 1
        found = [] if code in self.silent else super().ratios(code, now, annual=annual)
        if code not in self.restated:
            return found
        return [dataclasses.replace(one, eps=one.eps + 100) if one.month == "202412" else one for one in found]

    def product(self, code: str, now: datetime) -> Product | None:
        self.asked += 1
        return None if code in self.silent else super().product(code, now)


@pytest.fixture(scope="module")
def played() -> Restating:
    return Restating(1)


@pytest.fixture
def world(played: Restating) -> Restating:
    played.asked, played.restated, played.silent = 0, frozenset(), frozenset()
    return played


@pytest.fixture(scope="module")
def sandbox(played: Restating) -> Iterator[str]:
    with start_in_thread(create_app(played, limits=UNLIMITED)) as url:
        yield url


@pytest.fixture
def warehouse(engine: sa.Engine) -> Warehouse:
    return Warehouse(engine, run_id="a-run")


def paper_key() -> SecretStr:
    return SecretStr(f"paper-{uuid.uuid4()}")


KINDS = {"ST": "stock", "RT": "reit", "KN": "stock"}


@pytest.fixture
def codes(world: Restating, warehouse: Warehouse) -> list[str]:
    """Six stocks of which `raw.stocks` knows: two large ones, a trust, a shell, one of KONEX and a preferred share."""
    issues = world.issues(datetime.now(krx.KST))
    chosen = [
        *issues[:2],
        next(one for one in issues if one.group == "RT"),
        next(one for one in issues if one.is_spac),
        next(one for one in issues if one.market == "KONEX"),
        next(one for one in issues if one.is_preferred),
    ]
    frame = pd.DataFrame(
        {
            "stock_code": one.code, "isin": one.isin, "name": one.name, "market": one.market,
            "security_kind": "spac" if one.is_spac else "preferred" if one.is_preferred else KINDS[one.group],
            "sector": None, "tier": 3, "aliases": [], "is_active": True, "listed_on": None, "delisted_on": None,
            "listed_shares": None, "market_cap_krw": None,
        }
        for one in chosen
    )  # fmt: skip
    warehouse.load("raw.stocks", frame, Scope(days=None), complete=True, source="a test")
    return [one.code for one in chosen]


Make = Callable[..., tuple[dict[str, Any], dg.AssetCheckEvaluation]]


@pytest.fixture
def make(sandbox: str, warehouse: Warehouse, codes: list[str]) -> Iterator[Make]:
    """Materialize an asset; returns its metadata and its check. Keyword arguments change the settings."""
    told = httpx.get(f"{sandbox}/sandbox/world").json()
    # A key of its own: the broker issues one token a minute, and each test's database has none yet.
    own_key = SecretStr(f"key-{uuid.uuid4()}")
    opened = []
    with dg.DagsterInstance.ephemeral() as instance:

        def materialize(
            asset: dg.AssetsDefinition, tags: dict[str, str] | None = None, *, feeds: Any = None, **changes: Any
        ) -> tuple[dict[str, Any], dg.AssetCheckEvaluation]:
            given = {"kis_calls_per_second": 10_000, "kis_app_key": own_key, **changes}
            settings = Settings().in_sandbox(sandbox).model_copy(update=given)
            recorded = frozenset(told["feeds"] if feeds is None else feeds)
            upstreams = Upstreams(settings, World(told["world"], recorded), Stores.in_postgres(warehouse.engine))
            opened.append(upstreams)
            result = dg.materialize(
                [asset], instance=instance, resources={"warehouse": warehouse, "upstreams": upstreams}, tags=tags
            )
            (made,) = result.get_asset_materialization_events()
            metadata = made.step_materialization_data.materialization.metadata
            (check,) = result.get_asset_check_evaluations()
            return {name: value.value for name, value in metadata.items()}, check

        yield materialize
    for one in opened:
        one.close()


def test_every_listed_issue_gets_its_description(make: Make, warehouse: Warehouse, codes: list[str]) -> None:
    metadata, check = make(company.product_info)
    assert (metadata["rows"], metadata["inserted"], metadata["rejected"], metadata["answered"]) == (6, 6, 0, 6)
    assert check.passed
    told = warehouse.read("raw.product_info").set_index("stock_code")
    assert sorted(told.index) == sorted(codes)
    first, trust, shell = told.loc[codes[0]], told.loc[codes[2]], told.loc[codes[3]]
    assert first["industry"]
    assert pd.isna(first["product_class"])
    assert first["kospi_listed_on"] is not None
    assert trust["product_class"] == "리츠"
    assert shell["product_class"] == "스팩"
    assert (told["par_value"] > 0).all()
    assert (told["known_at"] == told["observed_at"]).all()
    again, _ = make(company.product_info)
    assert (again["inserted"], again["changed"], again["unchanged"]) == (0, 0, 6)


def test_ratios_are_those_of_companies_and_known_from_when_they_were_seen(
    make: Make, warehouse: Warehouse, codes: list[str]
) -> None:
    metadata, check = make(company.financial_ratios)
    assert check.passed
    told = warehouse.read("raw.financial_ratios")
    assert set(told["stock_code"]) == {codes[0], codes[1], codes[2], codes[4]}, "no shell, no preferred share"
    assert set(told["period"]) == {"annual", "quarterly"}
    assert (told["known_at"] == told["observed_at"]).all(), "the past before our first look is not ours to know"
    assert metadata["rows"] == len(told)
    seen = told["observed_at"].min()
    assert warehouse.as_of("raw.financial_ratios", seen - timedelta(seconds=1), "known").empty


def test_a_restated_ratio_is_a_new_version_and_the_old_one_stays_readable(
    make: Make, warehouse: Warehouse, world: Restating, codes: list[str]
) -> None:
    make(company.financial_ratios)
    this = {"stock_code": codes[0], "period": "annual", "period_end": datetime(2024, 12, 31).date()}  # noqa: DTZ001
    before = warehouse.read("raw.financial_ratios", where=this).iloc[0]
    world.restated = frozenset([codes[0]])
    metadata, _ = make(company.financial_ratios)
    assert (metadata["inserted"], metadata["changed"], metadata["retired"]) == (0, 2, 0), "the year and its quarter"
    after = warehouse.read("raw.financial_ratios", where=this).iloc[0]
    assert after["eps_krw"] == pytest.approx(before["eps_krw"] + 100, abs=0.01)
    assert after["known_at"] == after["observed_at"] > before["known_at"]
    for clock in ("known", "observed"):
        then = warehouse.as_of("raw.financial_ratios", before["known_at"], clock, where=this)  # type: ignore[arg-type]
        assert then["eps_krw"].tolist() == [before["eps_krw"]]


def test_a_period_that_drops_out_of_the_answer_is_kept(
    make: Make, warehouse: Warehouse, world: Restating, codes: list[str]
) -> None:
    make(company.financial_ratios)
    rows = len(warehouse.read("raw.financial_ratios"))
    world.silent = frozenset([codes[1]])
    metadata, check = make(company.financial_ratios)
    assert (metadata["without any"], metadata["failed"], metadata["retired"]) == (1, 0, 0)
    assert check.passed, "a company that has reported nothing is no failure"
    assert len(warehouse.read("raw.financial_ratios")) == rows


@pytest.mark.parametrize("asset", [company.product_info, company.financial_ratios], ids=["products", "ratios"])
def test_a_paper_account_is_green_with_a_warning(make: Make, warehouse: Warehouse, asset: dg.AssetsDefinition) -> None:
    metadata, check = make(asset, kis_app_key=paper_key())
    assert metadata["reason"] == "paper_account"
    assert metadata["rows"] == 0
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert "keys of a live account" in (check.description or "")


@pytest.mark.parametrize("asset", [company.product_info, company.financial_ratios], ids=["products", "ratios"])
def test_a_load_of_everything_asks_once_a_week_and_a_click_always(
    make: Make, world: Restating, asset: dg.AssetsDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = make(asset, LOAD)
    assert first["answered"]
    world.asked = 0
    for _ in range(2):
        again, check = make(asset, LOAD)
        assert again["reason"] == "asked_recently"
        assert check.passed
    assert world.asked == 0
    make(asset)
    assert world.asked > 0
    world.asked = 0
    monkeypatch.setattr(company, "FRESH_FOR", timedelta(0))
    make(asset, LOAD)
    assert world.asked > 0


@pytest.mark.parametrize("asset", [company.product_info, company.financial_ratios], ids=["products", "ratios"])
def test_an_upstream_that_has_nothing_of_anybody_is_a_warning_and_asked_again_by_the_next_load(
    make: Make, world: Restating, codes: list[str], asset: dg.AssetsDefinition
) -> None:
    world.silent = frozenset(codes)
    metadata, check = make(asset, LOAD)
    assert (metadata["rows"], metadata["reason"]) == (0, "empty")
    assert not check.passed
    world.silent = frozenset()
    metadata, check = make(asset, LOAD)
    assert metadata["answered"] > 0
    assert check.passed


def test_a_paper_account_s_answer_is_none_that_keeps_fresh(make: Make) -> None:
    make(company.product_info, LOAD, kis_app_key=paper_key())
    metadata, _ = make(company.product_info, LOAD)
    assert metadata["answered"] == 6


@pytest.mark.parametrize("asset", [company.product_info, company.financial_ratios], ids=["products", "ratios"])
def test_a_world_that_records_neither_is_not_asked(make: Make, world: Restating, asset: dg.AssetsDefinition) -> None:
    metadata, check = make(asset, feeds=["master", "daily_bars"])
    assert metadata["reason"] == "not_recorded"
    assert check.passed
    assert world.asked == 0
