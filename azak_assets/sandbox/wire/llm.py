"""Language models behind the OpenAI wire format: chat completions, embeddings and model lists of two providers.

The models are arithmetic: `answer` counts words of good and bad news in the prompt, adds a jitter of its own to each
model, and fills in whatever JSON schema the request asks for. What belongs here is the wire: keys, errors, usage, cost.
"""

import base64
import hashlib
import json
import math
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azak_assets.sandbox.wire.answer import SchemaError, answer_to, check_strict

EMBEDDING_DIMENSIONS = 1536
EMBEDDING_INPUTS = 2048
EMBEDDING_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class _Model:
    """A served model: the dated name it answers under and its price in USD per million tokens."""

    answers_as: str
    usd_in: float
    usd_out: float


OPENAI_MODELS = {
    "gpt-4o": _Model("gpt-4o-2024-08-06", 2.5, 10.0),
    "gpt-4o-2024-08-06": _Model("gpt-4o-2024-08-06", 2.5, 10.0),
    "gpt-4o-mini": _Model("gpt-4o-mini-2024-07-18", 0.15, 0.6),
}
OPENROUTER_MODELS = {
    "deepseek/deepseek-v3.2": _Model("deepseek/deepseek-v3.2", 0.27, 0.40),
    "deepseek/deepseek-v3.2-exp": _Model("deepseek/deepseek-v3.2-exp", 0.27, 0.41),
    "openai/gpt-4o": _Model("openai/gpt-4o", 2.5, 10.0),
}
EMBEDDING_MODELS = ("text-embedding-3-small",)


class WireError(Exception):
    """A refused request: HTTP status, the provider's code and what it says."""

    def __init__(self, status: int, code: str | None, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param


def tokens_of(text: str) -> int:
    """About what the providers count: four Latin characters or one and a half Hangul syllables a token."""
    plain = sum(1 for character in text if character.isascii())
    return max(1, math.ceil(plain / 4 + (len(text) - plain) * 0.66))


def _text_of(messages: Any) -> tuple[str, str]:
    """All text of the conversation, and that of the last message of the user."""
    if not isinstance(messages, list) or not messages:
        raise WireError(400, None, "Missing required parameter: 'messages'.", "messages")
    texts, last = [], ""
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in {"system", "developer", "user", "assistant"}:
            raise WireError(400, "invalid_value", "Invalid value for 'messages[].role'.", "messages")
        content = message.get("content")
        if isinstance(content, list):
            content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
        if not isinstance(content, str):
            raise WireError(400, "invalid_type", "Invalid type for 'messages[].content'.", "messages")
        texts.append(content)
        last = content if message["role"] == "user" else last
    return "\n".join(texts), last or texts[-1]


def _content(body: dict[str, Any], model: str) -> tuple[str, str]:
    """The whole prompt and the model's answer in the form asked for."""
    prompt, question = _text_of(body.get("messages"))
    form = body.get("response_format") or {"type": "text"}
    kind = form.get("type") if isinstance(form, dict) else None
    if kind == "json_schema":
        asked = form.get("json_schema")
        named: dict[str, Any] = asked if isinstance(asked, dict) else {}
        schema = named.get("schema")
        if not isinstance(schema, dict) or not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", str(named.get("name", ""))):
            raise WireError(400, None, "Missing required parameter: 'response_format.json_schema'.", "response_format")
        try:
            if named.get("strict"):
                check_strict(schema)
            return prompt, json.dumps(answer_to(schema, question, model), ensure_ascii=False)
        except SchemaError as error:
            words = f"Invalid schema for response_format '{named['name']}': {error}"
            raise WireError(400, None, words, "response_format") from error
    if kind == "json_object":
        if "json" not in prompt.lower():
            words = (
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
            )
            raise WireError(400, None, words, "messages")
        free = {
            name: {"type": "number"} if name != "reasoning" else {"type": "string"}
            for name in ("sentiment_score", "confidence", "p_up", "p_flat", "p_down", "reasoning")
        }
        answer = answer_to({"type": "object", "properties": free}, question, model)
        return prompt, json.dumps(answer, ensure_ascii=False)
    if kind != "text":
        raise WireError(400, "invalid_value", f"Invalid value: {kind!r}.", "response_format.type")
    return prompt, str(answer_to({"type": "string"}, question, model))


def complete(body: dict[str, Any], models: dict[str, _Model], now: datetime) -> dict[str, Any]:
    """A chat completion; the same request gives the same answer (but for `created`). Raises WireError."""
    name = body.get("model")
    if not isinstance(name, str) or name not in models:
        raise WireError(404, "model_not_found", f"The model `{name}` does not exist or you do not have access to it.")
    if body.get("stream"):
        raise WireError(400, "unsupported_value", "Streaming is not available here; send stream=false.", "stream")
    prompt, content = _content(body, name)
    tokens_in, tokens_out = tokens_of(prompt), tokens_of(content)
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    finish = "stop"
    if isinstance(most, int) and tokens_out > most:
        content, finish = content[: max(1, len(content) * most // tokens_out)], "length"
        tokens_out = most
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return {
        "id": f"chatcmpl-{digest[:29]}",
        "object": "chat.completion",
        "created": int(now.timestamp()),
        "model": models[name].answers_as,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": finish,
            }
        ],
        "usage": {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": f"fp_{digest[:10]}",
    }


def _with_cost(answer: dict[str, Any], model: _Model) -> dict[str, Any]:
    """The completion as OpenRouter gives it: who served it and what it cost, in USD."""
    usage = answer["usage"]
    cost = (usage["prompt_tokens"] * model.usd_in + usage["completion_tokens"] * model.usd_out) / 1_000_000
    costs = {"cost": round(cost, 10), "is_byok": False, "cost_details": {"upstream_inference_cost": None}}
    answer = {key: value for key, value in answer.items() if key != "service_tier"}
    return answer | {"id": answer["id"].replace("chatcmpl", "gen"), "provider": "Sandbox", "usage": usage | costs}


def embed(texts: Sequence[str], dimensions: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Unit vectors of hashed character 1- to 3-grams: texts that share words lie close."""
    vectors = np.zeros((len(texts), EMBEDDING_DIMENSIONS), np.float64)
    for row, text in enumerate(texts):
        for size in (1, 2, 3):
            for start in range(len(text) - size + 1):
                code = zlib.crc32(text[start : start + size].encode())
                vectors[row, code % EMBEDDING_DIMENSIONS] += size if code & 0x8000_0000 else -size
    vectors = vectors[:, :dimensions]
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[:, 0] += np.where(lengths[:, 0] == 0, 1.0, 0.0)
    return (vectors / np.where(lengths == 0, 1.0, lengths)).astype(np.float32)


def embeddings(body: dict[str, Any]) -> dict[str, Any]:
    """Vectors of one text or many, as numbers or as base64 of little-endian float32. Raises WireError."""
    if body.get("model") not in EMBEDDING_MODELS:
        raise WireError(404, "model_not_found", f"The model `{body.get('model')}` does not exist.")
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise WireError(400, None, "'$.input' is invalid: expected a non-empty string or a list of them.", "input")
    counts = [tokens_of(text) for text in texts]
    if len(texts) > EMBEDDING_INPUTS or max(counts) > EMBEDDING_TOKENS:
        raise WireError(400, None, "'input' exceeds 2,048 texts or 8,192 tokens a text.", "input")
    dimensions = body.get("dimensions", EMBEDDING_DIMENSIONS)
    if not isinstance(dimensions, int) or not 1 <= dimensions <= EMBEDDING_DIMENSIONS:
        raise WireError(400, None, f"'dimensions' must be between 1 and {EMBEDDING_DIMENSIONS}.", "dimensions")
    form = body.get("encoding_format", "float")
    if form not in {"float", "base64"}:
        raise WireError(400, None, "'encoding_format' must be 'float' or 'base64'.", "encoding_format")
    vectors = embed(texts, dimensions)
    values = [
        base64.b64encode(vector.astype("<f4").tobytes()).decode() if form == "base64" else vector.tolist()
        for vector in vectors
    ]
    data = [{"object": "embedding", "index": index, "embedding": value} for index, value in enumerate(values)]
    usage = {"prompt_tokens": sum(counts), "total_tokens": sum(counts)}
    return {"object": "list", "data": data, "model": body["model"], "usage": usage}


class Provider:
    """One provider's endpoints under a prefix; the two differ in models, cost and the shape of an error."""

    def __init__(
        self, prefix: str, models: dict[str, _Model], clock: Callable[[], datetime], *, is_router: bool
    ) -> None:
        self._prefix = prefix
        self._models = models
        self._clock = clock
        self._is_router = is_router

    def _refuse(self, error: WireError) -> Response:
        if self._is_router:
            # The router takes an unknown model for a bad request.
            status = 400 if error.status == 404 else error.status
            return JSONResponse({"error": {"code": status, "message": error.message}}, status)
        kind = "invalid_request_error"
        body = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
        return JSONResponse({"error": body}, error.status)

    async def _body(self, request: Request) -> dict[str, Any]:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key or key.startswith("invalid"):
            raise WireError(401, "invalid_api_key", "Incorrect API key provided.")
        if request.method == "GET":
            return {}
        try:
            body = await request.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise WireError(400, None, "We could not parse the JSON body of your request.")
        return body

    async def chat(self, request: Request) -> Response:
        """`POST /chat/completions`."""
        try:
            body = await self._body(request)
            answer = await run_in_threadpool(complete, body, self._models, self._clock())
        except WireError as error:
            return self._refuse(error)
        if self._is_router:
            answer = _with_cost(answer, self._models[body["model"]])
        headers = {
            "x-request-id": f"req_{answer['system_fingerprint'][3:]}",
            "x-ratelimit-limit-requests": "10000",
            "x-ratelimit-remaining-requests": "9999",
            "x-ratelimit-reset-requests": "6ms",
        }
        return JSONResponse(answer, headers=headers)

    async def embed(self, request: Request) -> Response:
        """`POST /embeddings`."""
        try:
            return JSONResponse(await run_in_threadpool(embeddings, await self._body(request)))
        except WireError as error:
            return self._refuse(error)

    async def list_models(self, request: Request) -> Response:
        """`GET /models`."""
        try:
            await self._body(request)
        except WireError as error:
            return self._refuse(error)
        if self._is_router:
            rows: list[dict[str, Any]] = [
                {
                    "id": name,
                    "name": name,
                    "context_length": 163_840,
                    "pricing": {"prompt": f"{model.usd_in / 1e6:.9f}", "completion": f"{model.usd_out / 1e6:.9f}"},
                    "supported_parameters": ["max_tokens", "response_format", "seed", "temperature"],
                }
                for name, model in self._models.items()
            ]
            return JSONResponse({"data": rows})
        names = (*self._models, *EMBEDDING_MODELS)
        rows = [{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "openai"} for name in names]
        return JSONResponse({"object": "list", "data": rows})

    def routes(self) -> list[Route]:
        """The provider's routes."""
        found = [
            Route(f"{self._prefix}/chat/completions", self.chat, methods=["POST"]),
            Route(f"{self._prefix}/models", self.list_models, methods=["GET"]),
        ]
        if not self._is_router:
            found.append(Route(f"{self._prefix}/embeddings", self.embed, methods=["POST"]))
        return found


def routes(clock: Callable[[], datetime]) -> list[Route]:
    """Both providers."""
    openai = Provider("/openai/v1", OPENAI_MODELS, clock, is_router=False)
    openrouter = Provider("/openrouter/api/v1", OPENROUTER_MODELS, clock, is_router=True)
    return [*openai.routes(), *openrouter.routes()]
