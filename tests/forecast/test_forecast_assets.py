"""What the operator reads of a run that forecasts and scores: new rows beside all rows, what failed, and why."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import openai
import pytest
from chat_server import ChatServer, failure
from market_world import DAY, EMBEDDER, at, build_index, load_bars, past

from azak_assets.defs.forecasts.assets import predictions
from azak_assets.defs.scores.assets import model_evaluations
from azak_assets.ingest import vectors
from azak_assets.runtime import Retrieval
from azak_assets.warehouse.warehouse import Warehouse
from tests.harness import materialize


def test_forecasts_and_scores_report_like_every_other_table(
    warehouse: Warehouse,
    chat_server: ChatServer,
    client: Callable[..., openai.OpenAI],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    past(warehouse)
    index = build_index(warehouse)
    monkeypatch.setattr(vectors, "open_index", lambda *_: index)
    chat_server.script = [failure(400, "invalid_request")]
    resources = {
        "warehouse": warehouse,
        "retrieval": Retrieval(EMBEDDER, tmp_path),
        "chat_models": SimpleNamespace(clients={"openai": client(chat_server.base_url)}, budget_usd=None),
    }
    made = materialize(predictions, resources, partition=DAY.isoformat())
    assert made.success, made.said
    shown, horizons = made.by_asset["predictions"], made.by_asset["prediction_horizons"]
    # Two baselines answered about two stocks; gpt-4o answered about none, and the other provider has no key.
    expected = {"rows": 4, "inserted": 4, "changed": 0, "unchanged": 0, "retired": 0, "rejected": 2}
    assert {name: shown[name] for name in expected} == expected
    assert "base_rate" in shown["by model"]
    assert "replayed" in shown["by model"]
    assert "invalid_request" in shown["failed gpt-4o (replayed)"]
    assert "deepseek-v3.2" in shown["not configured"]
    assert (shown["cost_usd"], shown["tokens_in"], shown["answers from the ledger"]) == (0, 0, 0)
    assert shown["earliest"].startswith("2022-01-19 22:30:00")
    assert {name: horizons[name] for name in expected} == {**expected, "rows": 12, "inserted": 12, "rejected": 0}
    assert (horizons["earliest"], horizons["latest"]) == (str(DAY), str(DAY))

    again = materialize(predictions, resources, partition=DAY.isoformat()).by_asset["predictions"]
    assert (again["rows"], again["inserted"], again["unchanged"]) == (4, 0, 4)

    load_bars(warehouse, DAY, at("2022-01-28 00:00").date())
    scored = materialize(model_evaluations, {"warehouse": warehouse}, partition=DAY.isoformat())
    assert scored.success, scored.said
    told = scored.metadata
    assert (told["rows"], told["inserted"], told["rejected"]) == (12, 12, 0)
    assert told["earliest"] < told["latest"]
    assert "| persistence | 1 | matured | 2 |" in told["by model"]
    assert "| persistence | 20 | pending | 2 |" in told["by model"]
