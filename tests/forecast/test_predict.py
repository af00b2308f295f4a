"""Forecasts end to end: PostgreSQL, a chat server on localhost, a model that fails, a budget, a second run."""

import time
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import openai
import pandas as pd
import pytest
import sqlalchemy as sa
from chat_server import ChatServer, Reply, answer, completion, failure
from market_world import DARA, DAY, EMBEDDER, GANA, at, build_index, load_articles, load_bars, past

from azak_assets import krx
from azak_assets.forecast.by_origin import forecast_by_origin
from azak_assets.forecast.ledger import canonical_json, sha256
from azak_assets.forecast.models import ARTICLE_PROMPT, Model, load_models, register_models
from azak_assets.forecast.predict import STOP_AFTER, ForecastReport, forecast_articles
from azak_assets.scoring.evaluate import evaluate
from azak_assets.warehouse.warehouse import Warehouse

DAYS = [DAY]
BASELINES = [model for model in load_models() if model.is_local]

MakeModel = Callable[..., Model]
Run = Callable[..., ForecastReport]


@pytest.fixture
def run(warehouse: Warehouse, chat_server: ChatServer, client: Callable[..., openai.OpenAI]) -> Run:
    """Forecast the matched articles of 2022-01-20 as a replay; both providers are the chat server."""
    clients = {"openai": client(chat_server.base_url), "openrouter": client(chat_server.base_url)}

    def forecast(models: list[Model], **changes: Any) -> ForecastReport:
        options = {
            "days": DAYS,
            "models": models,
            "index": build_index(warehouse),
            "embedder": EMBEDDER,
            "origin": "replayed",
            "clients": clients,
        } | changes
        return forecast_articles(warehouse, **options)

    return forecast


def predictions(warehouse: Warehouse) -> pd.DataFrame:
    return warehouse.read("ml.predictions", order_by=["model_id", "stock_code", "article_id"])


def test_a_day_whose_news_time_is_over_is_replayed_and_the_next_one_is_live(warehouse: Warehouse) -> None:
    past(warehouse)
    over = krx.news_window(DAY)[1]
    whole, by_origin = forecast_by_origin(
        warehouse,
        days=[DAY, krx.shift(DAY, 1).day],
        now=over,
        models=[*BASELINES, next(model for model in load_models() if model.is_active and not model.is_local)],
        index=build_index(warehouse),
        embedder=EMBEDDER,
        clients={},
        budget_usd=None,
        on_progress=lambda done, total: None,
    )
    assert {origin: report.inserted for origin, report in by_origin.items()} == {"replayed": 4, "live": 0}
    assert (whole.inserted, whole.horizons_inserted, len(whole.not_configured)) == (4, 12, 1)
    assert set(predictions(warehouse)["origin"]) == {"replayed"}


def without_provenance(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=["observed_at", "run_id"])


class TestBaselines:
    def test_every_matched_stock_gets_a_forecast_from_every_baseline(self, warehouse: Warehouse, run: Run) -> None:
        past(warehouse)
        report = run(BASELINES)
        # one first-known article names two stocks; its copy is not asked about
        assert (report.inserted, report.unchanged, report.failed) == (4, 0, {})
        found = predictions(warehouse)
        assert set(zip(found["article_id"], found["stock_code"], found["model_id"], strict=True)) == {
            ("asked", stock, model) for stock in (GANA, DARA) for model in ("base_rate", "persistence")
        }
        assert set(found["cutoff_at"]) == {pd.Timestamp(at("2022-01-20 07:30"))}
        assert set(found["trading_day"]) == set(found["tradable_session"]) == {DAY}
        assert found["is_contaminated"].tolist() == [False] * 4
        assert found["cost_usd"].isna().all()
        close = warehouse.read("raw.daily_bars", where={"stock_code": GANA, "trade_date": date(2022, 1, 19)})["close"]
        assert set(found.loc[found["stock_code"] == GANA, "base_price"]) == set(close)
        horizons = warehouse.read("ml.prediction_horizons")
        assert Counter(horizons["horizon_sessions"]) == {1: 4, 5: 4, 20: 4}
        assert (horizons[["p_up", "p_flat", "p_down"]].sum(axis=1) - 1).abs().max() < 1e-12

    def test_a_second_run_changes_nothing(self, warehouse: Warehouse, run: Run) -> None:
        past(warehouse)
        run(BASELINES)
        before = predictions(warehouse)
        again = run(BASELINES)
        assert (again.inserted, again.unchanged) == (0, 4)
        pd.testing.assert_frame_equal(predictions(warehouse), before)

    def test_the_id_is_the_hash_of_the_question(self, warehouse: Warehouse, run: Run) -> None:
        past(warehouse)
        run(BASELINES)
        expected = {
            sha256(canonical_json(["article", "asked", stock, model, "1", f"{model}_v1", "replayed"]))
            for stock in (GANA, DARA)
            for model in ("base_rate", "persistence")
        }
        assert set(predictions(warehouse)["prediction_id"]) == expected

    def test_the_future_does_not_reach_them(self, warehouse: Warehouse, run: Run, engine: sa.Engine) -> None:
        past(warehouse)
        run(BASELINES)
        before = without_provenance(predictions(warehouse)), warehouse.read("ml.prediction_horizons")
        with engine.begin() as connection:
            connection.execute(sa.text("truncate ml.predictions, ml.prediction_horizons"))
        load_bars(warehouse, DAY, date(2022, 1, 28))
        load_bars(warehouse, date(2021, 12, 1), date(2022, 1, 19), shift=9_999)
        run(BASELINES)
        pd.testing.assert_frame_equal(without_provenance(predictions(warehouse)), before[0])
        after = warehouse.read("ml.prediction_horizons")
        pd.testing.assert_frame_equal(without_provenance(after), without_provenance(before[1]))

    def test_one_article_and_stock_alone(self, warehouse: Warehouse, run: Run) -> None:
        past(warehouse)
        assert run(BASELINES, only=("asked", DARA)).inserted == 2
        assert set(predictions(warehouse)["stock_code"]) == {DARA}

    def test_live_and_replayed_forecasts_are_apart(self, warehouse: Warehouse, run: Run) -> None:
        past(warehouse)
        run(BASELINES)
        assert run(BASELINES, origin="live").inserted == 4
        found = predictions(warehouse)
        assert Counter(found["origin"]) == {"replayed": 4, "live": 4}
        live = found[found["origin"] == "live"]
        assert (live["cutoff_at"] >= live["observed_at"].min() - pd.Timedelta(minutes=1)).all()
        assert set(live["trading_day"]) == {DAY}

    @pytest.mark.soak
    def test_thousands_take_seconds(self, warehouse: Warehouse, run: Run) -> None:
        past(warehouse)
        opening = at("2022-01-20 00:00")
        load_articles(
            warehouse,
            [
                {"article_id": f"n{n}", "title": f"가나전자 {n}", "known_at": opening + timedelta(seconds=n)}
                | {"stocks": [GANA, DARA]}
                for n in range(1000)
            ],
        )
        started = time.monotonic()
        assert run(BASELINES, index=None).inserted == 4004
        assert time.monotonic() - started < 30  # about 3 s alone on two cores


class TestChatModels:
    def test_a_chat_forecast_holds_answer_hashes_tokens_and_cost(
        self, warehouse: Warehouse, run: Run, model: MakeModel, chat_server: ChatServer
    ) -> None:
        past(warehouse)
        report = run([model(training_cutoff=date(2022, 1, 20))])
        assert (report.inserted, report.tokens_in, report.tokens_out, report.ledger_hits) == (2, 4000, 800, 0)
        assert report.cost_usd == pytest.approx(2 * 0.009)
        found = predictions(warehouse)
        one = found[found["stock_code"] == GANA].iloc[0]
        assert (one["direction"], one["target_price"], one["support_price"]) == ("up", 75_000, 68_000)
        assert (one["prompt_version"], one["tokens_in"], one["tokens_out"]) == (ARTICLE_PROMPT, 2000, 400)
        assert one["articles_seen"] == ["asked", "fresh", "old"]
        contexts = {sha256(request["messages"][1]["content"]) for request in chat_server.requests}
        assert set(found["context_hash"]) == contexts
        assert set(found["prompt_hash"]) == set(warehouse.read("ml.llm_calls")["request_hash"])
        horizons = warehouse.read("ml.prediction_horizons", where={"prediction_id": one["prediction_id"]})
        assert horizons["p_up"].tolist() == [0.5] * 3
        assert horizons["band_high"].tolist() == [0.08] * 3

    @pytest.mark.parametrize(
        ("cutoff", "expected"),
        [(date(2022, 1, 20), True), (date(2022, 1, 19), False), (date(2023, 10, 1), True), (None, None)],
    )
    def test_contamination_by_the_training_cutoff(
        self, warehouse: Warehouse, run: Run, model: MakeModel, cutoff: date | None, expected: bool | None
    ) -> None:
        past(warehouse)
        run([model(training_cutoff=cutoff)])
        marks = predictions(warehouse)["is_contaminated"]
        assert marks.isna().all() if expected is None else (marks == expected).all()

    def test_one_model_failing_leaves_the_other_alone(
        self, warehouse: Warehouse, run: Run, model: MakeModel, chat_server: ChatServer
    ) -> None:
        past(warehouse)

        def script(request: dict[str, Any]) -> Reply:
            return completion("몰라요") if request["model"] == "deepseek" else completion(answer())

        chat_server.script = script
        report = run([*BASELINES, model(), model(model_id="deep", provider="openrouter", model="deepseek")])
        assert report.inserted == 6
        assert set(report.failed) == {"deep"}
        ((reason, count),) = report.failed["deep"].items()
        assert "broke the schema" in reason
        assert count == 2
        assert "deep" not in set(predictions(warehouse)["model_id"])
        # what was missing is asked again, what is there is not
        chat_server.script = [completion(answer())]
        asked = len(chat_server.requests)
        again = run([*BASELINES, model(), model(model_id="deep", provider="openrouter", model="deepseek")])
        assert (again.inserted, again.unchanged, again.failed) == (2, 6, {})
        assert len(chat_server.requests) == asked + 2

    def test_a_run_that_lost_its_forecasts_pays_for_none_of_them_again(
        self, warehouse: Warehouse, run: Run, model: MakeModel, chat_server: ChatServer, engine: sa.Engine
    ) -> None:
        """Killed between the answers and the forecasts: the ledger has the answers, and the end is the same."""
        past(warehouse)
        run([model()])
        before = without_provenance(predictions(warehouse))
        with engine.begin() as connection:
            connection.execute(sa.text("truncate ml.predictions, ml.prediction_horizons"))
        asked = len(chat_server.requests)
        report = run([model()])
        assert (report.inserted, report.ledger_hits, report.cost_usd, report.tokens_in) == (2, 2, 0, 0)
        assert len(chat_server.requests) == asked
        pd.testing.assert_frame_equal(without_provenance(predictions(warehouse)), before)

    def test_the_budget_stops_spending(
        self, warehouse: Warehouse, run: Run, model: MakeModel, chat_server: ChatServer
    ) -> None:
        past(warehouse)
        report = run([model()], budget_usd=0.03, max_workers=1)  # one call is reserved at 0.02 and costs 0.009
        assert report.inserted == 1
        assert len(chat_server.requests) == 1
        ((reason, count),) = report.failed["gpt"].items()
        assert "the budget of 0.03 USD stops spending" in reason
        assert count == 1
        # the same day's spending counts in the next run too
        assert run([model()], budget_usd=0.03).inserted == 0
        assert run([model()], budget_usd=1.0).inserted == 1

    def test_a_provider_without_a_client_is_not_configured(
        self, warehouse: Warehouse, run: Run, model: MakeModel
    ) -> None:
        past(warehouse)
        report = run([*BASELINES, model()], clients={})
        assert report.not_configured == ["gpt"]
        assert report.inserted == 4

    def test_an_inactive_model_is_not_asked(self, warehouse: Warehouse, run: Run, model: MakeModel) -> None:
        past(warehouse)
        report = run([model(is_active=False)])
        assert (report.inserted, report.not_configured) == (0, [])

    def test_a_refused_key_is_tried_once_and_not_for_every_article(
        self, warehouse: Warehouse, run: Run, model: MakeModel, chat_server: ChatServer
    ) -> None:
        past(warehouse)
        chat_server.script = [failure(401, "invalid_api_key")]
        report = run([model()], max_workers=1)
        assert len(chat_server.requests) == 1
        assert sum(report.failed["gpt"].values()) == 2
        assert any("was stopped after: openai answered 401" in reason for reason in report.failed["gpt"])

    def test_a_model_that_always_fails_is_stopped(
        self, warehouse: Warehouse, run: Run, model: MakeModel, chat_server: ChatServer
    ) -> None:
        past(warehouse)
        opening = at("2022-01-20 00:00")
        load_articles(
            warehouse,
            [
                {"article_id": f"n{n}", "title": f"가나전자 {n}", "known_at": opening + timedelta(seconds=n)}
                | {"stocks": [GANA]}
                for n in range(30)
            ],
        )
        chat_server.script = [failure(500, None)]
        report = run([model()], max_workers=1)
        assert len(chat_server.requests) == STOP_AFTER
        assert sum(report.failed["gpt"].values()) == 32

    def test_progress_reaches_the_total(self, warehouse: Warehouse, run: Run, model: MakeModel) -> None:
        past(warehouse)
        told: list[tuple[int, int]] = []
        run([*BASELINES, model()], on_progress=lambda done, total: told.append((done, total)))
        assert told[-1] == (6, 6)
        assert told == sorted(told)


def test_what_was_asked_live_is_not_replayed(
    warehouse: Warehouse, run: Run, model: MakeModel, chat_server: ChatServer
) -> None:
    """The tick that crosses midnight would pay for the whole day anew, and show news forecasts as replayed ones."""
    past(warehouse)
    first = run([*BASELINES, model()], origin="live")
    assert first.inserted == 6
    asked = len(chat_server.requests)
    again = run([*BASELINES, model()], origin="replayed")
    assert (again.inserted, again.unchanged) == (0, 6)
    assert len(chat_server.requests) == asked
    assert set(predictions(warehouse)["origin"]) == {"live"}


def test_no_articles_no_forecasts(warehouse: Warehouse, run: Run) -> None:
    report = run(BASELINES)
    assert (report.inserted, report.unchanged) == (0, 0)


def test_forecasts_are_scored(warehouse: Warehouse, run: Run, model: MakeModel) -> None:
    """From article to score: the forecasts of this room are what `scoring` reads."""
    past(warehouse)
    run([*BASELINES, model()])
    load_bars(warehouse, DAY, date(2022, 1, 28))
    result = evaluate(warehouse, (DAY, date(2022, 1, 28)))
    assert result.inserted == 18
    scores = warehouse.read("ml.model_evaluations")
    assert Counter(zip(scores["horizon_sessions"], scores["status"], strict=True)) == {
        (1, "matured"): 6,
        (5, "matured"): 6,
        (20, "pending"): 6,
    }
    chat = scores[(scores["model_id"] == "gpt") & (scores["horizon_sessions"] == 5) & (scores["stock_code"] == GANA)]
    assert chat["classic_score"].notna().all()


def test_models_and_prompts_are_registered_once(warehouse: Warehouse) -> None:
    (models, prompts), again = register_models(warehouse, load_models()), register_models(warehouse, load_models())
    assert (models.inserted, prompts.inserted) == (4, 1)
    assert [(result.inserted, result.changed) for result in again] == [(0, 0), (0, 0)]
    assert set(warehouse.read("ml.prompt_versions")["prompt_version"]) == {
        path.stem for path in (Path(krx.__file__).parents[1] / "forecast" / "prompts").glob("*.md")
    }
