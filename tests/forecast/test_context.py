"""Contexts hold what was known and nothing else: built with and without a poisoned future, byte for byte."""

import json
from datetime import date

import pytest
import sqlalchemy as sa
from market_world import DARA, DAY, EMBEDDER, GANA, at, build_index, future, load_articles, load_bars, load_factor, past

from azak_assets.forecast.context import Context, ContextReader
from azak_assets.warehouse.asof import AsOfClock
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

CUTOFF = at("2022-01-20 07:30")


def build(warehouse: Warehouse, stock: str = GANA, clock: AsOfClock = "known") -> Context:
    return ContextReader(warehouse, clock, build_index(warehouse), EMBEDDER).build("asked", stock, CUTOFF)


def test_a_context_holds_what_was_known(warehouse: Warehouse) -> None:
    past(warehouse)
    context = build(warehouse)
    facts = json.loads(context.json)
    assert facts["cutoff_at"] == "2022-01-20T07:30:00+09:00"
    assert facts["article"]["title"] == "가나전자 반도체 대규모 공급 수주"
    assert facts["stock"] == {"stock_code": GANA, "name": None, "market": None, "sector": None}
    assert len(facts["bars"]) == 60
    assert facts["bars"][-1][0] == "2022-01-19"
    assert facts["base_price"] == facts["bars"][-1][4] == context.base_price
    assert sorted(facts["indices"]) == ["0001", "1001"]
    assert [len(levels) for levels in facts["indices"].values()] == [20, 20]
    assert [one["title"] for one in facts["recent_articles"]] == ["가나전자 반도체 수주 소식"]
    assert [one["rcept_no"] for one in facts["recent_filings"]] == ["20220110000001"]
    assert [one["title"] for one in facts["similar_articles"]] == [
        "가나전자 반도체 대규모 수주",
        "가나전자 반도체 수주 소식",
    ]
    assert context.articles_seen == ("asked", "fresh", "old")


def test_bars_before_a_split_are_in_terms_of_the_last_one(warehouse: Warehouse) -> None:
    past(warehouse)
    plain = json.loads(build(warehouse).json)["bars"]
    load_factor(warehouse, GANA, date(2022, 1, 19), 0.2, at("2022-01-19 15:40"))
    adjusted = json.loads(build(warehouse).json)["bars"]
    assert adjusted[-1] == plain[-1]
    day, *prices, volume = plain[-2]
    assert adjusted[-2] == [day, *(round(price / 5) for price in prices), volume * 5]


def test_a_halt_shows_its_carried_close_alone(warehouse: Warehouse, engine: sa.Engine) -> None:
    past(warehouse)
    day = date(2022, 1, 18)
    frame = warehouse.read("raw.daily_bars", where={"stock_code": GANA, "trade_date": day})
    frame = frame.drop(columns=["source", "observed_at", "run_id"])
    with engine.begin() as connection:  # a correction would be known when it was made, long after the cut-off
        connection.execute(sa.text("delete from raw.daily_bars where trade_date = '2022-01-18'"))
    frame = frame.assign(open=None, high=None, low=None, volume=0, turnover_krw=0, is_halted=True)
    warehouse.load("raw.daily_bars", frame, Scope(days=(day,)), complete=False, source="test")
    bars = json.loads(build(warehouse).json)["bars"]
    assert bars[-2] == ["2022-01-18", None, None, None, int(frame["close"].iloc[0]), 0]


def test_similar_articles_show_realised_returns_only(warehouse: Warehouse) -> None:
    past(warehouse)
    old, fresh = json.loads(build(warehouse).json)["similar_articles"]
    assert all(value is not None for value in old["returns"].values())  # seven weeks back: everything is known
    assert fresh["returns"]["1"] is not None  # its first session closed the evening before
    assert (fresh["returns"]["5"], fresh["returns"]["20"]) == (None, None)
    bars = {day: close for day, *_, close, _ in json.loads(build(warehouse).json)["bars"]}
    with_open = warehouse.read("raw.daily_bars", where={"stock_code": GANA, "trade_date": date(2022, 1, 19)}).iloc[0]
    assert fresh["returns"]["1"] == pytest.approx(bars["2022-01-19"] / with_open["open"] - 1, abs=2e-5)


def test_a_poisoned_future_changes_no_byte(warehouse: Warehouse, engine: sa.Engine) -> None:
    """The database that ends at the cut-off and the one that goes on give the same context, hash and list."""
    past(warehouse)
    with engine.begin() as connection:  # the copy of 07:40 is future too
        for table in ("raw.news_articles", "text.article_clusters", "text.mentions", "ml.news_embeddings"):
            connection.execute(sa.text(f"delete from {table} where article_id = 'copy'"))
    truncated = {stock: build(warehouse, stock) for stock in (GANA, DARA)}
    copied = at("2022-01-20 07:40")
    load_articles(
        warehouse,
        [
            {
                "article_id": "copy",
                "cluster_id": "asked",
                "title": "가나전자 공급 수주",
                "known_at": copied,
                "stocks": [GANA],
            }
        ],
    )
    future(warehouse)
    poisoned = {stock: build(warehouse, stock) for stock in (GANA, DARA)}
    assert poisoned == truncated
    # and the poison is there to be seen, had it been looked at
    later = ContextReader(warehouse, "known", build_index(warehouse), EMBEDDER).build(
        "asked", GANA, at("2022-01-26 07:30")
    )
    assert {"later", "much-later"} <= set(later.articles_seen)
    current = warehouse.read("raw.news_articles", where={"article_id": "old"})
    assert current["title"].tolist() == ["정정: 수주 취소"]
    assert warehouse.read("raw.daily_bars", where={"trade_date": date(2022, 1, 19)})["close"].min() > 79_000


def test_the_observed_clock_sees_what_the_database_held(warehouse: Warehouse) -> None:
    past(warehouse)
    cutoff = warehouse.cutoff()
    before = ContextReader(warehouse, "observed", build_index(warehouse), EMBEDDER).build("asked", GANA, cutoff)
    load_bars(warehouse, DAY, DAY)
    future(warehouse)
    after = ContextReader(warehouse, "observed", build_index(warehouse), EMBEDDER).build("asked", GANA, cutoff)
    assert after == before


def test_an_article_not_yet_known_has_no_context(warehouse: Warehouse) -> None:
    past(warehouse)
    reader = ContextReader(warehouse, "known", None, None)
    with pytest.raises(LookupError, match="asked was not known at 2022-01-20T07:29"):
        reader.build("asked", GANA, at("2022-01-20 07:29"))


def test_without_an_index_there_are_no_similar_articles(warehouse: Warehouse) -> None:
    past(warehouse)
    context = ContextReader(warehouse, "known", None, None).build("asked", GANA, CUTOFF)
    assert json.loads(context.json)["similar_articles"] == []


def test_an_article_without_a_vector_is_embedded_on_the_spot(warehouse: Warehouse, engine: sa.Engine) -> None:
    past(warehouse)
    index = build_index(warehouse)
    stored = ContextReader(warehouse, "known", index, EMBEDDER).build("asked", GANA, CUTOFF)
    with engine.begin() as connection:
        connection.execute(sa.text("delete from ml.news_embeddings where article_id = 'asked'"))
    assert ContextReader(warehouse, "known", index, EMBEDDER).build("asked", GANA, CUTOFF) == stored
    with pytest.raises(LookupError, match="materialize ml/news_embeddings first"):
        ContextReader(warehouse, "known", index, None).build("asked", GANA, CUTOFF)


def test_the_json_is_canonical(warehouse: Warehouse) -> None:
    past(warehouse)
    text = build(warehouse).json
    assert text == json.dumps(json.loads(text), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def test_a_context_does_not_depend_on_what_was_asked_before_it(warehouse: Warehouse) -> None:
    """One of two earlier articles of a day entered at the open, the other at the close: their exits differ by a day."""
    past(warehouse)
    load_articles(
        warehouse,
        [
            {
                "article_id": "morning",
                "title": "가나전자 오전 소식",
                "known_at": at("2021-12-21 08:00"),
                "stocks": [GANA],
            },
            {"article_id": "noon", "title": "가나전자 정오 소식", "known_at": at("2021-12-21 11:00"), "stocks": [GANA]},
        ],
    )
    instants = [at("2021-12-21 08:00"), at("2021-12-21 11:00")]

    def returns(order: list[int]) -> list[dict[str, float | None]]:
        reader = ContextReader(warehouse, "known", build_index(warehouse), EMBEDDER)
        found = {n: reader._realised(GANA, instants[n], CUTOFF) for n in order}
        return [found[0], found[1]]

    assert returns([0, 1]) == returns([1, 0])
    assert returns([0, 1])[1]["20"] is not None
