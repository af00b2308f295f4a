"""Language models over the OpenAI wire format, asked by the openai SDK and by hand."""

import base64
import json
import struct
from typing import Literal

import httpx
import numpy as np
import openai
import pytest
from pydantic import BaseModel, Field

GOOD = "가람물산, 신제품 흥행에 수출 최대 실적 경신"
BAD = "가람물산, 유상증자 결정에 주주 반발…급락 우려"


class Horizon(BaseModel):
    horizon_sessions: Literal[1, 5, 20]
    p_up: float = Field(ge=0, le=1)
    p_flat: float = Field(ge=0, le=1)
    p_down: float = Field(ge=0, le=1)
    band_low: float | None
    band_high: float | None


class Assessment(BaseModel):
    sentiment_direction: Literal["positive", "negative", "neutral"]
    sentiment_score: float = Field(ge=-1, le=1)
    impact_level: Literal["low", "medium", "high", "critical"]
    confidence: float = Field(ge=0, le=1)
    direction: Literal["up", "flat", "down"]
    target_price: int | None
    support_price: int | None
    horizons: list[Horizon] = Field(min_length=3, max_length=3)
    reasoning: str = Field(max_length=400)


def _ask(client, headline, model="gpt-4o", **more):
    messages = [
        {"role": "system", "content": "Assess the impact of one headline on one share. Answer in JSON."},
        {"role": "user", "content": f"제목: {headline}\n현재가: 52,300원"},
    ]
    return client.chat.completions.parse(model=model, messages=messages, response_format=Assessment, **more)


@pytest.fixture
def client(http):
    return openai.OpenAI(api_key="a-key", base_url=f"{http.base_url}/openai/v1", max_retries=0)


@pytest.fixture
def router(http):
    return openai.OpenAI(api_key="a-key", base_url=f"{http.base_url}/openrouter/api/v1", max_retries=0)


@pytest.mark.parametrize(("headline", "direction", "sign"), [(GOOD, "up", 1), (BAD, "down", -1)])
def test_answer_fits_the_schema_and_follows_the_prompt(client, headline, direction, sign):
    parsed = _ask(client, headline).choices[0].message.parsed
    assert parsed.direction == direction
    assert parsed.sentiment_score * sign > 0.2
    assert [horizon.horizon_sessions for horizon in parsed.horizons] == [1, 5, 20]
    for horizon in parsed.horizons:
        assert horizon.p_up + horizon.p_flat + horizon.p_down == pytest.approx(1, abs=1e-9)
        assert (horizon.p_up - horizon.p_down) * sign > 0
        assert horizon.band_low < horizon.band_high
    # The price in the prompt is what targets are made from, on the side the forecast is.
    assert (parsed.target_price - 52_300) * sign > 0
    assert (parsed.support_price - 52_300) * sign < 0


def test_same_question_same_answer_and_models_differ(client, router):
    first, again = _ask(client, GOOD), _ask(client, GOOD)
    assert first.choices[0].message.content == again.choices[0].message.content
    assert (first.id, first.usage) == (again.id, again.usage)
    other = _ask(router, GOOD, model="deepseek/deepseek-v3.2").choices[0].message
    assert other.parsed != first.choices[0].message.parsed
    assert other.parsed.direction == first.choices[0].message.parsed.direction


def test_price_is_null_where_the_prompt_tells_none(client):
    messages = [{"role": "user", "content": f"제목: {GOOD}"}]
    answer = client.chat.completions.parse(model="gpt-4o", messages=messages, response_format=Assessment)
    assert answer.choices[0].message.parsed.target_price is None


class Bands(BaseModel):
    class Band(BaseModel):
        p_up: float
        p_flat: float
        p_down: float
        band_low: float
        band_high: float

    horizon_1: Band
    horizon_20: Band
    base_price: int


def test_a_json_prompt_is_judged_by_its_article_and_priced_by_its_base_price(client):
    prompt = {
        "article": {"title": f"{GOOD}, 주당 1,500원", "excerpt": None},
        "base_price": 52300,
        "recent_articles": [{"title": BAD}] * 5,
    }
    messages = [{"role": "user", "content": json.dumps(prompt, ensure_ascii=False)}]
    answer = client.chat.completions.parse(model="gpt-4o", messages=messages, response_format=Bands)
    parsed = answer.choices[0].message.parsed
    assert parsed.base_price == 52300
    near, far = parsed.horizon_1, parsed.horizon_20
    assert near.p_up > near.p_down
    # The far horizon knows less: its band is wider and its probabilities are flatter.
    assert far.band_high - far.band_low > 3 * (near.band_high - near.band_low)
    assert abs(far.p_up - far.p_down) < abs(near.p_up - near.p_down)


def test_usage_is_counted_from_the_text_and_the_router_tells_the_cost(client, router):
    answer = _ask(client, GOOD)
    assert answer.model == "gpt-4o-2024-08-06"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens > 20
    longer = _ask(client, f"{GOOD}. " * 20)
    assert longer.usage.prompt_tokens > 5 * answer.usage.prompt_tokens
    routed = _ask(router, GOOD, model="deepseek/deepseek-v3.2")
    usage = routed.usage.model_dump()
    expected = (usage["prompt_tokens"] * 0.27 + usage["completion_tokens"] * 0.40) / 1e6
    assert usage["cost"] == pytest.approx(expected)
    assert routed.provider == "Sandbox"
    assert "cost" not in answer.usage.model_dump()


def test_answer_is_cut_at_the_token_limit(client):
    messages = [{"role": "user", "content": f"{GOOD} JSON"}]
    answer = client.chat.completions.create(
        model="gpt-4o", messages=messages, max_completion_tokens=5, response_format={"type": "json_object"}
    )
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.choices[0].message.content)


def test_json_object_and_text(client):
    messages = [{"role": "user", "content": f"{GOOD}. Answer in JSON."}]
    answer = client.chat.completions.create(
        model="gpt-4o-mini", messages=messages, response_format={"type": "json_object"}
    )
    body = json.loads(answer.choices[0].message.content)
    assert body["p_up"] + body["p_flat"] + body["p_down"] == pytest.approx(1)
    text = client.chat.completions.create(model="gpt-4o", messages=messages)
    assert "긍정적" in text.choices[0].message.content


SCHEMAS = [
    {"type": "object", "properties": {"a": {"const": 7}, "b": {"type": ["string", "null"]}, "c": {"type": "boolean"}}},
    {"$ref": "#/$defs/Row", "$defs": {"Row": {"type": "object", "properties": {"up": {"type": "number"}}}}},
    {"type": "array", "items": {"type": "integer", "minimum": 3, "maximum": 4}, "minItems": 2},
    {"type": "object", "properties": {"risk_factors": {"type": "array", "items": {"type": "string"}, "maxItems": 3}}},
    {"type": "object", "properties": {"confidence": {"type": "integer", "minimum": 0, "maximum": 100}}},
    {"allOf": [{"type": "object"}, {"properties": {"x": {"anyOf": [{"type": "null"}, {"type": "number"}]}}}]},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_any_schema_is_satisfied(client, schema):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema checks the answers against their schemas")
    form = {"type": "json_schema", "json_schema": {"name": "any", "schema": schema}}
    messages = [{"role": "user", "content": GOOD}]
    answer = client.chat.completions.create(model="gpt-4o", messages=messages, response_format=form)
    jsonschema.validate(json.loads(answer.choices[0].message.content), schema)


def _post(http, base, body, key="a-key"):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return http.post(f"{base}/chat/completions", json=body, headers=headers)


MESSAGES = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "gpt-4o"}, 400),
        ({"model": "gpt-4o", "messages": [{"role": "pirate", "content": "x"}]}, 400),
        ({"model": "gpt-5-imaginary", "messages": MESSAGES}, 404),
        ({"model": "gpt-4o", "messages": MESSAGES, "response_format": {"type": "json_object"}}, 400),
        ({"model": "gpt-4o", "messages": MESSAGES, "response_format": {"type": "json_schema"}}, 400),
        (
            {
                "model": "gpt-4o",
                "messages": MESSAGES,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "strict": True, "schema": {"type": "object", "properties": {}}},
                },
            },
            400,
        ),
    ],
)
def test_bad_requests_are_refused_in_the_providers_form(http, body, status):
    answer = _post(http, "/openai/v1", body)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_keys_are_checked_and_the_router_has_its_own_errors(http):
    body = {"model": "gpt-4o", "messages": MESSAGES}
    for key in ("", "invalid-key"):
        answer = _post(http, "/openai/v1", body, key)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        answer = _post(http, "/openrouter/api/v1", body, key)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, 401)
    answer = _post(http, "/openrouter/api/v1", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 400)


def test_sdk_sees_a_rate_limit_and_retries_a_server_fault(http):
    client = openai.OpenAI(api_key="k", base_url=f"{http.base_url}/openai/v1", max_retries=1)
    http.post("/sandbox/faults", json={"path": "/openai", "kind": "500", "times": 1})
    assert client.chat.completions.create(model="gpt-4o", messages=MESSAGES).choices
    http.post("/sandbox/faults", json={"path": "/openai", "kind": "429", "times": 2})
    with pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert refused.value.code == "rate_limit_exceeded"


def test_embeddings_are_unit_vectors_in_both_encodings(http, client):
    texts = ["가람물산 실적 호조", "가람물산 실적 개선", "장마 북상"]
    vectors = np.array(
        [row.embedding for row in client.embeddings.create(model="text-embedding-3-small", input=texts).data]
    )
    assert vectors.shape == (3, 1536)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    wire = {}
    for form in ("float", "base64"):
        body = {"model": "text-embedding-3-small", "input": texts[0], "encoding_format": form}
        answer: httpx.Response = http.post("/openai/v1/embeddings", json=body, headers={"authorization": "Bearer k"})
        wire[form] = answer.json()["data"][0]["embedding"]
    assert struct.unpack("<1536f", base64.b64decode(wire["base64"])) == pytest.approx(wire["float"])
    short = client.embeddings.create(model="text-embedding-3-small", input=texts[0], dimensions=64).data[0].embedding
    assert len(short) == 64
    assert np.linalg.norm(short) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("given", ["", [], [""], 7, ["x"] * 2049], ids=["empty", "none", "one empty", "number", "many"])
def test_bad_embedding_input_is_refused(http, given):
    body = {"model": "text-embedding-3-small", "input": given}
    answer = http.post("/openai/v1/embeddings", json=body, headers={"authorization": "Bearer k"})
    assert answer.status_code == 400


def test_models_are_listed(client, router, http):
    assert {"gpt-4o", "text-embedding-3-small"} <= {model.id for model in client.models.list().data}
    listed = http.get("/openrouter/api/v1/models", headers={"authorization": "Bearer k"}).json()["data"]
    prices = {row["id"]: row["pricing"] for row in listed}
    assert float(prices["deepseek/deepseek-v3.2"]["prompt"]) == pytest.approx(0.27e-6)
