"""`models.yml` and the prompts: what ships is valid, and a fault is named."""

import hashlib
from datetime import date
from pathlib import Path

import pytest

from azak_assets.forecast.models import ARTICLE_PROMPT, Model, ModelsFileError, load_models, load_prompt
from azak_assets.forecast.schema import HorizonAnswer, ModelAnswer

GOOD = """
- model_id: one
  version: "1"
  provider: openai
  model: one-chat
  temperature: 0.3
  training_cutoff: 2023-10-01
  usd_per_1m_input: 1.0
  usd_per_1m_output: 2.0
  is_active: true
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "models.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_ships_is_two_baselines_and_two_chat_models() -> None:
    models = {model.model_id: model for model in load_models()}
    assert set(models) == {"base_rate", "persistence", "gpt-4o", "deepseek-v3.2"}
    assert [m.model_id for m in models.values() if m.is_local] == ["base_rate", "persistence"]
    assert models["deepseek-v3.2"].model == "deepseek/deepseek-v3.2"
    assert models["gpt-4o"].training_cutoff == date(2023, 10, 1)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("provider: openai", "provider: openia", r"model one, provider: .*'local', 'openai' or 'openrouter'.*'openia'"),
        ("temperature: 0.3", "temperature: warm", "model one, temperature: .*'warm'"),
        ("training_cutoff: 2023-10-01", "training_cutoff: soon", "model one, training_cutoff"),
        ("usd_per_1m_input: 1.0", "usd_per_1m_input: null", "model one, entry: .*budget cannot be kept without prices"),
        ("provider: openai", "provider: local", "the local models are base_rate, persistence"),
        ("  is_active: true\n", "", "model one, is_active: Field required"),
        ("is_active: true", "is_active: true\n  colour: blue", "model one, colour"),
    ],
)
def test_a_fault_names_file_model_field_and_value(tmp_path: Path, before: str, after: str, told: str) -> None:
    path = written(tmp_path, GOOD.replace(before, after))
    with pytest.raises(ModelsFileError, match=told) as error:
        load_models(path)
    assert str(path) in str(error.value)


def test_a_model_listed_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelsFileError, match="one is listed more than once"):
        load_models(written(tmp_path, GOOD + GOOD))


@pytest.mark.parametrize("text", ["", "- [", "one: two"])
def test_a_file_that_is_no_list_of_models_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelsFileError, match="correct the file"):
        load_models(written(tmp_path, text))


def test_a_prompt_is_its_file() -> None:
    prompt = load_prompt()
    assert prompt.version == ARTICLE_PROMPT
    assert prompt.sha256 == hashlib.sha256(prompt.body.encode()).hexdigest()
    assert "JSON" in prompt.body


def test_the_prompt_names_every_field_of_the_answer() -> None:
    body = load_prompt().body
    assert [f for f in (*ModelAnswer.model_fields, *HorizonAnswer.model_fields) if f not in body] == []


def test_an_unknown_prompt_names_the_ones_there_are() -> None:
    with pytest.raises(FileNotFoundError, match=ARTICLE_PROMPT):
        load_prompt("article_impact_v999")


def test_models_are_compared_by_value() -> None:
    assert load_models() == load_models()
    assert isinstance(load_models()[0], Model)
