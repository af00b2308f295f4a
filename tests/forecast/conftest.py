"""A warehouse, a chat server, and a small market with matched articles."""

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
import sqlalchemy as sa
from chat_server import ChatServer, serving

from azak_assets.forecast.models import Model
from azak_assets.warehouse.warehouse import Warehouse


@pytest.fixture
def warehouse(engine: sa.Engine) -> Warehouse:
    return Warehouse(engine, "test")


@pytest.fixture
def chat_server() -> Iterator[ChatServer]:
    with serving() as server:
        yield server


@pytest.fixture
def client() -> Iterator[Callable[..., openai.OpenAI]]:
    """Make clients for a server; closed at the end, for an open socket is a warning and a warning is an error."""
    made: list[openai.OpenAI] = []

    def make(base_url: str, **options: Any) -> openai.OpenAI:
        made.append(openai.OpenAI(api_key="k", base_url=base_url, **({"max_retries": 0, "timeout": 10} | options)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def _model(**changes: Any) -> Model:
    return Model(
        **{
            "model_id": "gpt",
            "version": "1",
            "provider": "openai",
            "model": "gpt-chat",
            "temperature": 0.3,
            "training_cutoff": None,
            "usd_per_1m_input": 2.5,
            "usd_per_1m_output": 10.0,
            "is_active": True,
        }
        | changes
    )


@pytest.fixture
def model() -> Callable[..., Model]:
    return _model
