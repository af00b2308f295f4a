"""Fixtures of the tests of `sources`: each test gets servers, limiters and clients of its own, closed at its end."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from local_servers import (
    APP_KEY,
    APP_SECRET,
    Clock,
    EvenLimiter,
    KisServer,
    LocalServer,
    MemoryTokens,
    Reply,
    Request,
    channel_of,
)

from azak_assets.ports import Channel
from azak_assets.sources.kis.client import KisClient


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[Request], Reply]], LocalServer]]:
    """Start servers from answering functions; all are closed at the end of the test."""
    servers: list[LocalServer] = []

    def start(answer: Callable[[Request], Reply]) -> LocalServer:
        servers.append(LocalServer(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens() -> MemoryTokens:
    return MemoryTokens()


@pytest.fixture
def limiter() -> EvenLimiter:
    return EvenLimiter()


@pytest.fixture
def channel(limiter: EvenLimiter) -> Channel:
    return channel_of(limiter)


@pytest.fixture
def kis() -> Iterator[KisServer]:
    server = KisServer()
    yield server
    server.server.close()


@pytest.fixture
def kis_client(
    kis: KisServer, tokens: MemoryTokens, channel: Channel, clock: Clock
) -> Iterator[Callable[..., KisClient]]:
    """Make clients of the KIS server; 1,000 calls a second, no real sleep before a retry, unless told otherwise."""
    clients: list[KisClient] = []

    def make(**changes: Any) -> KisClient:
        settings: dict[str, Any] = {
            "base_url": kis.server.url, "master_base_url": kis.server.url, "app_key": APP_KEY, "app_secret": APP_SECRET,
            "tokens": tokens, "channel": channel, "per_second": 1000, "sleep": clock.sleep,
        }  # fmt: skip
        clients.append(KisClient(**{**settings, **changes}))
        return clients[-1]

    kis.per_second = 1000
    yield make
    for client in clients:
        client.close()
