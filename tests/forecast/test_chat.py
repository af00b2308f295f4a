"""Chat models that answer rubbish, refuse, hang or are out of credit, over real HTTP."""

from collections.abc import Callable
from typing import Any

import openai
import pytest
import sqlalchemy as sa
from chat_server import ChatServer, Reply, answer, completion, failure

from azak_assets.forecast.ledger import Ledger, request_hash
from azak_assets.forecast.llm import (
    MAX_ANSWER_TOKENS,
    BrokeSchema,
    BudgetSpent,
    CallFailed,
    Chat,
    Spending,
    build_request,
)
from azak_assets.forecast.models import Model, load_prompt
from azak_assets.warehouse.warehouse import Warehouse

CONTEXT = '{"article":{"title":"가나전자, 대규모 수주"}}'

Make = Callable[..., openai.OpenAI]
MakeModel = Callable[..., Model]


@pytest.fixture
def chat(warehouse: Warehouse, chat_server: ChatServer, client: Make, model: MakeModel) -> Chat:
    return Chat(client(chat_server.base_url), model(), load_prompt(), Ledger(warehouse), Spending(None))


def calls(warehouse: Warehouse) -> list[dict[str, Any]]:
    return warehouse.read("ml.llm_calls", order_by=["request_hash", "attempt"]).to_dict("records")


def test_an_answer_is_checked_recorded_and_asked_once(
    chat: Chat, chat_server: ChatServer, warehouse: Warehouse
) -> None:
    first = chat.ask(CONTEXT)
    assert first.answer.horizons[5].p_up == 0.5
    assert (first.tokens_in, first.tokens_out, first.is_from_ledger) == (2000, 400, False)
    assert first.cost_usd == pytest.approx((2000 * 2.5 + 400 * 10) / 1e6)
    again = chat.ask(CONTEXT)
    assert again.is_from_ledger
    assert (again.answer, again.cost_usd, again.request_hash) == (first.answer, first.cost_usd, first.request_hash)
    assert len(chat_server.requests) == 1
    (row,) = calls(warehouse)
    assert (row["status"], row["attempt"], row["provider"], row["model"]) == ("ok", 1, "openai", "gpt-chat")
    assert row["request_hash"] == first.request_hash
    assert chat.spending.spent_usd == pytest.approx(first.cost_usd)


def test_the_request_is_the_contract(chat: Chat, chat_server: ChatServer) -> None:
    chat.ask(CONTEXT)
    (sent,) = chat_server.requests
    assert sent["model"] == "gpt-chat"
    assert sent["temperature"] == 0.3
    assert sent["max_completion_tokens"] == MAX_ANSWER_TOKENS
    assert sent["messages"][0] == {"role": "system", "content": load_prompt().body}
    assert sent["messages"][1] == {"role": "user", "content": CONTEXT}
    assert sent["response_format"]["json_schema"]["strict"] is True
    assert "provider" not in sent


def test_openrouter_is_told_to_keep_the_schema_and_its_cost_is_taken(
    warehouse: Warehouse, chat_server: ChatServer, client: Make, model: MakeModel
) -> None:
    usage = {"prompt_tokens": 2000, "completion_tokens": 400, "cost": 0.00123}
    chat_server.script = [completion(answer(), usage=usage)]
    router = model(provider="openrouter", model="deepseek/deepseek-v3.2")
    chat = Chat(client(chat_server.base_url), router, load_prompt(), Ledger(warehouse), Spending(None))
    assert chat.ask(CONTEXT).cost_usd == 0.00123
    (sent,) = chat_server.requests
    assert sent["provider"] == {"require_parameters": True}
    assert sent["max_tokens"] == MAX_ANSWER_TOKENS
    assert "max_completion_tokens" not in sent


@pytest.mark.parametrize(
    "rubbish",
    [
        "상승할 것으로 보입니다.",
        "```json\n{}\n```",
        '{"direction": "up"',
        answer(horizon_5={"p_up": 0.9, "p_flat": 0.9, "p_down": 0.9, "band_low": None, "band_high": None}),
        answer(reasoning="PostgreSQL keeps no \x00"),
        answer(target_price=10**30),
    ],
)
def test_rubbish_is_repaired_once(chat: Chat, chat_server: ChatServer, warehouse: Warehouse, rubbish: Any) -> None:
    chat_server.script = [completion(rubbish), completion(answer())]
    assert chat.ask(CONTEXT).answer.direction == "up"
    first, second = chat_server.requests
    assert second["messages"][:2] == first["messages"]
    assert second["messages"][2]["role"] == "assistant"
    assert "스키마" in second["messages"][3]["content"]
    assert [(row["attempt"], row["status"]) for row in calls(warehouse)] == [(1, "error"), (2, "ok")]
    # Both calls were paid for, and the question has its answer now.
    assert chat.spending.spent_usd == pytest.approx(2 * (2000 * 2.5 + 400 * 10) / 1e6)
    assert chat.ask(CONTEXT).is_from_ledger
    assert len(chat_server.requests) == 2


def test_rubbish_twice_is_a_failure_and_is_asked_again_another_time(
    chat: Chat, chat_server: ChatServer, warehouse: Warehouse
) -> None:
    chat_server.script = [completion("몰라요")]
    with pytest.raises(BrokeSchema, match="broke the schema"):
        chat.ask(CONTEXT)
    assert len(chat_server.requests) == 2
    chat_server.script = [completion(answer())]
    assert not chat.ask(CONTEXT).is_from_ledger
    assert [(row["attempt"], row["status"]) for row in calls(warehouse)] == [(1, "error"), (2, "error"), (3, "ok")]


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (completion(None, refusal="도와드릴 수 없습니다"), "refused: 도와드릴"),
        (completion('{"direction":', finish="length"), f"cut at {MAX_ANSWER_TOKENS} tokens"),
        (completion(None, finish="content_filter"), "content filter"),
        (completion(None), "no content"),
        (completion(""), "no content"),
        (Reply({"error": {"code": 502, "message": "Provider returned error"}}), "200 with an error inside.*Provider"),
        (Reply({"choices": [{"error": {"code": 502}, "finish_reason": "error", "message": {}}]}), "error inside"),
        (Reply({"choices": []}), "no content"),
        (Reply("<html>점검 중</html>", headers={"content-type": "text/html"}), "without JSON: '<html>"),
        (Reply('{"choices": [{"mess'), "without JSON"),
        (Reply(""), "without JSON"),
        (Reply("[1, 2]"), "no object"),
        (Reply({"choices": "x"}), "another shape"),
        (Reply({"choices": ["x"]}), "another shape"),
        (Reply({"choices": {"a": 1}}), "another shape"),
        (Reply({"choices": [{"message": "hello"}]}), "another shape"),
        (Reply({"choices": [], "usage": [1]}), "another shape"),
        (Reply({"choices": [{"message": {"content": ["text"]}}]}), "no content"),
        (Reply('{"error": {"message": "NUL \\u0000, half \\ud800 a character"}}'), "200 with an error inside"),
        (failure(400, "invalid_request"), "answered 400 invalid_request"),
        (failure(403, None, "flagged"), "answered 403: .*flagged"),
        (failure(429, "rate_limit_exceeded"), "answered 429 rate_limit_exceeded"),
        (failure(503, None), "answered 503"),
        (Reply("<html>Bad gateway</html>", 502, {"content-type": "text/html"}), "answered 502"),
    ],
)
def test_a_failed_call_is_named_recorded_and_not_repaired(
    chat: Chat, chat_server: ChatServer, warehouse: Warehouse, reply: Reply, told: str
) -> None:
    chat_server.script = [reply]
    with pytest.raises(CallFailed, match=told) as failed:
        chat.ask(CONTEXT)
    assert not failed.value.is_fatal
    assert not isinstance(failed.value, BrokeSchema)
    assert len(chat_server.requests) == 1
    (row,) = calls(warehouse)
    assert row["status"] == "error"
    assert row["error"] == str(failed.value).replace("\x00", "\ufffd").encode(errors="replace").decode()


def test_counts_that_are_no_numbers_are_unknown(chat: Chat, chat_server: ChatServer) -> None:
    usage = {"prompt_tokens": "2000", "completion_tokens": -1, "cost": "free"}
    chat_server.script = [completion(answer(), usage=usage)]
    reply = chat.ask(CONTEXT)
    assert (reply.tokens_in, reply.tokens_out, reply.cost_usd) == (None, None, None)


def test_an_answer_that_the_schema_no_longer_takes_is_asked_again(
    chat: Chat, chat_server: ChatServer, warehouse: Warehouse
) -> None:
    """A stored answer from before a rule was added must not stop every later run."""
    first = chat.ask(CONTEXT)
    with warehouse.engine.begin() as connection:
        connection.execute(
            sa.text(
                "update ml.llm_calls"
                " set response = jsonb_set(response, '{choices,0,message,content}', to_jsonb('{}'::text))"
            )
        )
    again = chat.ask(CONTEXT)
    assert (again.is_from_ledger, again.answer) == (False, first.answer)
    assert [row["attempt"] for row in calls(warehouse)] == [1, 2]


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (failure(429, "insufficient_quota"), "quota is used up: add credit"),
        (failure(401, "invalid_api_key"), "key was refused"),
        (failure(402, None), "no credit"),
        (failure(404, "model_not_found"), "does not exist"),
    ],
)
def test_what_no_other_question_can_help_is_fatal(chat: Chat, chat_server: ChatServer, reply: Reply, told: str) -> None:
    chat_server.script = [reply]
    with pytest.raises(CallFailed, match=told) as failed:
        chat.ask(CONTEXT)
    assert failed.value.is_fatal


def test_a_rate_limit_is_waited_out(
    warehouse: Warehouse, chat_server: ChatServer, client: Make, model: MakeModel
) -> None:
    chat_server.script = [failure(429, "rate_limit_exceeded", retry_after_ms="20"), completion(answer())]
    patient = client(chat_server.base_url, max_retries=2)
    Chat(patient, model(), load_prompt(), Ledger(warehouse), Spending(None)).ask(CONTEXT)
    assert len(chat_server.requests) == 2
    assert [row["status"] for row in calls(warehouse)] == ["ok"]


def test_silence_is_a_timeout(warehouse: Warehouse, chat_server: ChatServer, client: Make, model: MakeModel) -> None:
    chat_server.script = [Reply("{}", delay=0.6)]
    hasty = client(chat_server.base_url, timeout=0.2)
    with pytest.raises(CallFailed, match=r"no answer from openai within 0\.2 s"):
        Chat(hasty, model(), load_prompt(), Ledger(warehouse), Spending(None)).ask(CONTEXT)


def test_nobody_there(warehouse: Warehouse, client: Make, model: MakeModel) -> None:
    nowhere = client("http://127.0.0.1:9/v1")
    with pytest.raises(CallFailed, match=r"cannot reach openai at http://127\.0\.0\.1:9/v1"):
        Chat(nowhere, model(), load_prompt(), Ledger(warehouse), Spending(None)).ask(CONTEXT)


def test_the_address_of_a_request_is_what_decides_its_answer(model: MakeModel) -> None:
    def address(**changes: Any) -> str:
        one = model(**changes)
        return request_hash(one.provider, build_request(one, load_prompt(), CONTEXT))

    assert address() == address(model_id="another name", is_active=False, usd_per_1m_input=1.0)
    assert len({address(), address(temperature=0.4), address(model="other"), address(provider="openrouter")}) == 4


class TestBudget:
    def test_what_would_not_fit_is_not_sent(
        self, chat_server: ChatServer, warehouse: Warehouse, client: Make, model: MakeModel
    ) -> None:
        poor = Chat(client(chat_server.base_url), model(), load_prompt(), Ledger(warehouse), Spending(0.01, 0.005))
        with pytest.raises(
            BudgetSpent, match=r"budget of 0\.01 USD stops spending: 0\.0050 USD are spent.*raise the budget"
        ):
            poor.ask(CONTEXT)
        assert chat_server.requests == []
        assert calls(warehouse) == []

    def test_reservations_of_calls_in_flight_count(self) -> None:
        spending = Spending(1.0)
        spending.reserve(0.6)
        with pytest.raises(BudgetSpent):
            spending.reserve(0.6)
        spending.charge(0.6, 0.1)
        spending.reserve(0.6)
        assert spending.spent_usd == pytest.approx(0.1)

    def test_an_answer_in_the_ledger_needs_no_budget(
        self, chat: Chat, chat_server: ChatServer, warehouse: Warehouse, client: Make, model: MakeModel
    ) -> None:
        chat.ask(CONTEXT)
        broke = Chat(client(chat_server.base_url), model(), load_prompt(), Ledger(warehouse), Spending(0.0))
        assert broke.ask(CONTEXT).is_from_ledger
