"""Calls to chat models through the openai SDK: one question, one checked answer, or a named failure.

Belongs here: the request, the reading of whatever comes back, what it cost, one repair of an answer that broke the
schema, and the budget that stops spending. Does not belong here: what is asked (`context`, `prompts/`), which questions
there are (`predict`) and where the calls are kept (`ledger`). OpenAI and OpenRouter speak the same protocol, with one
difference: OpenRouter picks a host, and the request asks for a host that honours the schema.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import openai
from pydantic import ValidationError

from azak_assets.forecast.ledger import Call, Ledger, request_hash
from azak_assets.forecast.models import Model, Prompt
from azak_assets.forecast.schema import ModelAnswer, response_format

logger = logging.getLogger(__name__)

MAX_ANSWER_TOKENS = 1500
"""An answer takes about 400 tokens; the ceiling bounds what one call can cost."""

TIMEOUT_SECONDS = 60.0
MAX_RETRIES = 2

_FATAL_STATUS = {
    401: "the key was refused",
    402: "the account has no credit",
    404: "the model or address does not exist",
}


class CallFailed(Exception):  # noqa: N818 - the name is the statement
    """A question got no usable answer. `is_fatal`: asking this model again in this run cannot help either."""

    def __init__(self, reason: str, *, is_fatal: bool = False, call: Call | None = None) -> None:
        super().__init__(reason)
        self.is_fatal = is_fatal
        self.call = call or Call(is_ok=False, error=reason)


class BrokeSchema(CallFailed):
    """The model answered, but not by the schema; `content` is what it wrote."""

    def __init__(self, reason: str, content: str, call: Call) -> None:
        super().__init__(reason, call=call)
        self.content = content


class BudgetSpent(CallFailed):
    """The budget does not allow the call; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A checked answer, its address in the ledger, and what it took when it was given."""

    answer: ModelAnswer
    request_hash: str
    tokens_in: int | None
    tokens_out: int | None
    cost_usd: float | None
    is_from_ledger: bool


class Spending:
    """A budget in USD that threads share. `limit_usd` None allows everything.

    Before a call its largest possible cost is reserved, so that calls in flight cannot overrun the limit together;
    after it the true cost replaces the reservation.
    """

    def __init__(self, limit_usd: float | None, already_spent_usd: float = 0.0) -> None:
        self._limit = limit_usd
        self._spent = already_spent_usd
        self._reserved = 0.0
        self._lock = threading.Lock()

    @property
    def spent_usd(self) -> float:
        """USD spent so far, what was spent before this object included."""
        return self._spent

    def reserve(self, largest_usd: float) -> None:
        """Set aside the largest cost of a call; raises `BudgetSpent` when the limit would not hold."""
        with self._lock:
            if self._limit is not None and self._spent + self._reserved + largest_usd > self._limit:
                raise BudgetSpent(
                    f"the budget of {self._limit:.2f} USD stops spending: {self._spent:.4f} USD are spent and one more "
                    f"call may cost {largest_usd:.4f} USD; raise the budget or wait for the next day"
                )
            self._reserved += largest_usd

    def charge(self, largest_usd: float, actual_usd: float) -> None:
        """Replace a reservation by what the call cost."""
        with self._lock:
            self._reserved -= largest_usd
            self._spent += actual_usd


def chat_client(api_key: str, base_url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> openai.OpenAI:
    """A client for one provider. It repeats a call twice on timeouts, 408, 409, 429 and 5xx and honours
    `retry-after`."""
    return openai.OpenAI(api_key=api_key, base_url=base_url, timeout=timeout_seconds, max_retries=MAX_RETRIES)


def build_request(model: Model, prompt: Prompt, context_json: str) -> dict[str, Any]:
    """The body of the chat completion that asks one model for one assessment; equal inputs give equal bodies."""
    request: dict[str, Any] = {
        "model": model.model,
        "messages": [{"role": "system", "content": prompt.body}, {"role": "user", "content": context_json}],
        "response_format": response_format(),
    }
    if model.temperature is not None:
        request["temperature"] = model.temperature
    if model.provider == "openrouter":
        # Without this OpenRouter may route to a host that ignores response_format.
        request["extra_body"] = {"provider": {"require_parameters": True}}
        request["max_tokens"] = MAX_ANSWER_TOKENS
    else:
        request["max_completion_tokens"] = MAX_ANSWER_TOKENS
    return request


@dataclass(frozen=True, slots=True)
class Chat:
    """One chat model ready to be asked: its client, its prompt, and the ledger and budget that all models share."""

    client: openai.OpenAI
    model: Model
    prompt: Prompt
    ledger: Ledger
    spending: Spending

    def ask(self, context_json: str) -> Reply:
        """Ask one question, answered from the ledger when it has been answered before.

        An answer that breaks the schema is sent back once with what was wrong. Every attempt is recorded. Raises
        `CallFailed`.
        """
        request = build_request(self.model, self.prompt, context_json)
        address = request_hash(self.model.provider, request)
        attempts, known = self.ledger.attempts(address)
        if known is not None and known.response is not None and (answer := _stored(known.response)) is not None:
            return Reply(answer, address, known.tokens_in, known.tokens_out, known.cost_usd, is_from_ledger=True)
        try:
            call, answer = self._send_and_record(request, address, attempts + 1)
        except BrokeSchema as broken:
            logger.warning("%s: %s; asking it once to repair that", self.model.model_id, broken)
            repair = {**request, "messages": [*request["messages"], *_repair_messages(broken)]}
            call, answer = self._send_and_record(repair, address, attempts + 2)
        return Reply(answer, address, call.tokens_in, call.tokens_out, call.cost_usd, is_from_ledger=False)

    def _send_and_record(self, request: Mapping[str, Any], address: str, attempt: int) -> tuple[Call, ModelAnswer]:
        largest = _largest_cost(self.model, request)
        self.spending.reserve(largest)
        call = Call(is_ok=False, error="interrupted")
        try:
            call, answer = _send(self.client, self.model, request)
        except CallFailed as failure:
            call = failure.call
            raise
        finally:
            self.spending.charge(largest, call.cost_usd or 0.0)
            self.ledger.record(address, attempt, self.model.provider, self.model.model, call)
        return call, answer


def _stored(response: Mapping[str, Any]) -> ModelAnswer | None:
    """The answer in a stored response; None where today's schema no longer takes it, so that it is asked again."""
    try:
        return ModelAnswer.model_validate_json(response["choices"][0]["message"]["content"])
    except ValidationError:
        return None


def _repair_messages(broken: BrokeSchema) -> list[dict[str, str]]:
    return [
        {"role": "assistant", "content": broken.content},
        {
            "role": "user",
            "content": f"이 답은 스키마에 맞지 않습니다: {broken}\n"
            "같은 판단을 스키마에 맞는 JSON 객체 하나로만 다시 답하십시오.",
        },
    ]


def _largest_cost(model: Model, request: Mapping[str, Any]) -> float:
    """An upper bound in USD: a token covers two UTF-8 bytes at least, in digits and in Korean alike."""
    bytes_in = len(json.dumps(request["messages"], ensure_ascii=False).encode()) + len(
        json.dumps(request["response_format"])
    )
    return _price(model, bytes_in // 2, MAX_ANSWER_TOKENS)


def _price(model: Model, tokens_in: int, tokens_out: int) -> float:
    return (tokens_in * (model.usd_per_1m_input or 0.0) + tokens_out * (model.usd_per_1m_output or 0.0)) / 1e6


def _send(client: openai.OpenAI, model: Model, request: Mapping[str, Any]) -> tuple[Call, ModelAnswer]:
    started = time.monotonic()
    try:
        raw = client.chat.completions.with_raw_response.create(**request)
    except openai.APITimeoutError as error:
        raise CallFailed(f"no answer from {model.provider} within {client.timeout} s") from error
    except openai.APIConnectionError as error:
        raise CallFailed(f"cannot reach {model.provider} at {client.base_url}: {error.__cause__ or error}") from error
    except openai.APIStatusError as error:
        raise _refused(model, error) from error
    latency_ms = round((time.monotonic() - started) * 1000)
    try:
        body = json.loads(raw.text)
    except ValueError as error:
        raise CallFailed(f"{model.provider} answered 200 without JSON: {raw.text[:200]!r}") from error
    if not isinstance(body, dict):
        raise CallFailed(f"{model.provider} answered 200 with JSON that is no object: {raw.text[:200]!r}")
    try:
        return _read(model, body, latency_ms)
    except (TypeError, AttributeError, LookupError) as error:
        reason = f"{model.provider} answered 200 in another shape than a chat completion: {raw.text[:300]!r}"
        raise CallFailed(reason, call=Call(is_ok=False, response=body, error=reason, latency_ms=latency_ms)) from error


def _refused(model: Model, error: openai.APIStatusError) -> CallFailed:
    code = error.code or ""
    detail = f"{model.provider} answered {error.status_code} {code}".rstrip() + f": {str(error.message)[:300]}"
    if code == "insufficient_quota":
        return CallFailed(f"{detail} (the quota is used up: add credit or deactivate the model)", is_fatal=True)
    if meaning := _FATAL_STATUS.get(error.status_code):
        return CallFailed(f"{detail} ({meaning})", is_fatal=True)
    return CallFailed(detail)


def _read(model: Model, body: dict[str, Any], latency_ms: int) -> tuple[Call, ModelAnswer]:
    """Take a 200 apart: an error inside, no choice, a cut, a filter, a refusal, or at last content."""
    usage = body.get("usage") or {}
    tokens_in, tokens_out = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    cost = _cost(model, usage.get("cost"), tokens_in, tokens_out)

    def call(error: str | None = None) -> Call:
        return Call(error is None, body, error, tokens_in, tokens_out, cost, latency_ms)

    def failed(reason: str) -> CallFailed:
        return CallFailed(reason, call=call(reason))

    choice = (body.get("choices") or [{}])[0]
    # An upstream host that dies after generation began is reported inside a 200, at the top or in the choice.
    if error := body.get("error") or choice.get("error"):
        raise failed(
            f"{model.provider} answered 200 with an error inside: {json.dumps(error, ensure_ascii=False)[:300]}"
        )
    message = choice.get("message") or {}
    finish: Literal["stop", "length", "content_filter"] | str | None = choice.get("finish_reason")
    if finish == "length":
        raise failed(f"the answer was cut at {MAX_ANSWER_TOKENS} tokens")
    if finish == "content_filter":
        raise failed("the provider's content filter stopped the answer")
    if message.get("refusal"):
        raise failed(f"the model refused: {str(message['refusal'])[:200]}")
    content = message.get("content")
    if not content or not isinstance(content, str):
        raise failed(f"the answer has no content (finish_reason {finish!r})")
    try:
        return call(), ModelAnswer.model_validate_json(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, f['loc'])) or 'answer'}: {f['msg']}" for f in error.errors()[:5])
        reason = f"the answer broke the schema: {faults}"
        raise BrokeSchema(reason, content, call(reason)) from error


def _cost(model: Model, stated: Any, tokens_in: int | None, tokens_out: int | None) -> float | None:
    """USD as the provider stated it (OpenRouter does), else by the price list; None where neither can be had."""
    if isinstance(stated, int | float) and 0 <= stated < math.inf:
        return float(stated)
    return None if tokens_in is None or tokens_out is None else _price(model, tokens_in, tokens_out)


def _count(value: Any) -> int | None:
    """A number of tokens as the provider stated it; None for anything that is no such number."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None
