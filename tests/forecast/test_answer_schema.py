"""What counts as an answer, and the schema that asks for it."""

import json
from typing import Any

import pytest
from chat_server import answer
from pydantic import ValidationError

from azak_assets.forecast.schema import ModelAnswer, response_format


def horizon(**changes: Any) -> dict[str, Any]:
    return answer()["horizon_1"] | changes


def test_a_good_answer_passes() -> None:
    good = ModelAnswer.model_validate_json(json.dumps(answer()))
    assert good.horizons[5].p_up == 0.5
    assert set(good.horizons) == {1, 5, 20}


@pytest.mark.parametrize("p", [(0.5, 0.3, 0.21), (0.33, 0.33, 0.33)])
def test_a_rounding_error_is_renormalised(p: tuple[float, float, float]) -> None:
    up, flat, down = p
    one = ModelAnswer.model_validate(answer(horizon_1=horizon(p_up=up, p_flat=flat, p_down=down))).horizon_1
    assert one.p_up + one.p_flat + one.p_down == pytest.approx(1, abs=1e-15)
    assert one.p_up / one.p_down == pytest.approx(up / down)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"horizon_5": horizon(p_up=0.52)}, "must sum to 1"),
        ({"horizon_5": horizon(p_up=0.0, p_flat=0.0, p_down=0.0)}, "must sum to 1"),
        ({"horizon_5": horizon(p_up=1.2, p_flat=-0.2, p_down=0.0)}, "horizon_5.p_up"),
        ({"horizon_5": horizon(band_low=None)}, "together or not at all"),
        ({"horizon_5": horizon(band_low=0.1, band_high=-0.1)}, "is above band_high"),
        ({"sentiment_score": 1.5}, "sentiment_score"),
        ({"impact_level": "huge"}, "impact_level"),
        ({"relevance": "매우 높음"}, "relevance"),
        ({"target_price": 0}, "target_price"),
        ({"target_price": -75_000}, "target_price"),
        ({"reasoning": ""}, "reasoning"),
        ({"mood": "bullish"}, "mood"),
    ],
)
def test_rubbish_is_rejected_and_named(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ModelAnswer.model_validate(answer(**change))


@pytest.mark.parametrize("field", sorted(answer()))
def test_no_field_may_be_left_out(field: str) -> None:
    incomplete = answer()
    del incomplete[field]
    with pytest.raises(ValidationError, match=field):
        ModelAnswer.model_validate(incomplete)


def test_not_a_number_is_no_probability() -> None:
    with pytest.raises(ValidationError):
        ModelAnswer.model_validate_json(json.dumps(answer(confidence=float("nan"))))


def test_the_wire_schema_keeps_the_rules_of_strict_mode() -> None:
    """Every object closed, every property required, no keyword outside the subset that all hosts take."""
    sent = response_format()
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["strict"] is True

    def check(node: Any) -> int:
        objects = 0
        if isinstance(node, dict):
            if node.get("type") == "object":
                assert node["additionalProperties"] is False
                assert sorted(node["required"]) == sorted(node["properties"])
                objects = 1
            assert not node.keys() & {"minimum", "maximum", "exclusiveMinimum", "minLength", "maxLength", "default"}
            return objects + sum(check(value) for value in node.values())
        return sum(check(value) for value in node) if isinstance(node, list) else 0

    assert check(sent["json_schema"]["schema"]) == 2
