"""One step run in this process as Dagster runs it, and what stands in for the clock on the wall and a broker's pace.

What belongs here: materializing assets and reading what came of it, clocks, rate limiters, stores that tests of
several rooms need. What does not: homes and processes (`homes`), worlds and data (each room has its own).
"""

import dataclasses
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import dagster as dg
import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from azak_assets import krx
from azak_assets.cli.run import _cause
from azak_assets.partition_tags import RANGE_END, RANGE_START
from azak_assets.ports import ATTEMPTS, RateLimiter, Recorder, Token, TokenStore
from azak_assets.runtime import Stores
from azak_assets.sandbox import start_in_thread


def at(text: str) -> datetime:
    """An instant of KST from `2026-11-20 18:30`."""
    return datetime.fromisoformat(text).replace(tzinfo=krx.KST)


def tags_of_range(first: date | str, last: date | str | None = None) -> dict[str, str]:
    """The tags of a run over the sessions from ``first`` to ``last``, by default the first alone."""
    return {
        RANGE_START: str(first),
        RANGE_END: str(last or first),
    }


@dataclass(frozen=True)
class Made:
    """What came of one run."""

    result: dg.ExecuteInProcessResult

    @property
    def success(self) -> bool:
        return self.result.success

    @property
    def said(self) -> str:
        """What a user reads of the steps that failed."""
        return " ".join(_cause(event) for event in self.result.all_events if event.is_step_failure)

    @property
    def materializations(self) -> list[dg.AssetMaterialization]:
        events = self.result.get_asset_materialization_events()
        return [event.step_materialization_data.materialization for event in events]

    @property
    def metadata(self) -> dict[str, Any]:
        """Of the first materialization; empty where there is none."""
        return _values(self.materializations[0]) if self.materializations else {}

    @property
    def by_partition(self) -> dict[str, dict[str, Any]]:
        """The metadata of each partition, of a step with one table."""
        return {str(one.partition): _values(one) for one in self.materializations}

    @property
    def by_asset(self) -> dict[str, dict[str, Any]]:
        """The metadata of each table, by its name without the schema."""
        return {one.asset_key.path[-1]: _values(one) for one in self.materializations}

    @property
    def check(self) -> Any:
        """The first check that was evaluated, if any."""
        return next(iter(self.result.get_asset_check_evaluations()), None)

    @property
    def checks(self) -> dict[tuple[str, str], Any]:
        """Every check by table and name."""
        return {(one.asset_key.path[-1], one.check_name): one for one in self.result.get_asset_check_evaluations()}


def _values(made: dg.AssetMaterialization) -> dict[str, Any]:
    return {name: value.value for name, value in made.metadata.items()}


def materialize(
    asset: dg.AssetsDefinition,
    resources: Mapping[str, object],
    *,
    partition: str | None = None,
    tags: Mapping[str, str] | None = None,
    selection: Sequence[dg.AssetKey] | None = None,
) -> Made:
    """Run one step in this process, on a Dagster instance of its own; a failure is told and not raised."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [asset],
            instance=instance,
            selection=selection,
            resources=dict(resources),
            partition_key=partition,
            tags=dict(tags or {}),
            raise_on_error=False,
        )
    return Made(result)


class _Switch:
    """An application that answers with another."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None, "a request after its test"
        await self.app(scope, receive, send)


class SandboxServers:
    """Real servers that serve one application after another: to start and end one costs a test a fifth of a second."""

    def __init__(self) -> None:
        self._idle: list[tuple[str, _Switch]] = []
        self._running = ExitStack()

    @contextmanager
    def serve(self, app: Starlette) -> Iterator[str]:
        """Serve ``app`` alone at an address that no other test uses meanwhile; yields it without a trailing slash."""
        if not self._idle:
            switch = _Switch()
            # uvicorn wants no more of an application than that it can be called.
            self._idle.append((self._running.enter_context(start_in_thread(switch)), switch))  # type: ignore[arg-type]
        url, switch = self._idle.pop()
        switch.app = app
        try:
            yield url
        finally:
            switch.app = None
            self._idle.append((url, switch))

    def close(self) -> None:
        self._running.close()


class StoppedClock:
    """Stands at `instant` until a test moves it; sleeps cost nothing."""

    def __init__(self, instant: datetime) -> None:
        self.instant = instant

    def now(self) -> datetime:
        return self.instant

    def sleep(self, seconds: float) -> None:
        pass


class Unbounded:
    """A rate limiter that counts the calls it admits, at any pace: the real pace has its own tests."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    def acquire(self, name: str, _per_second: float) -> None:
        with self._lock:
            self.calls[name] += 1


class TokensOfOneProcess:
    """A token store that goes by no clock: the one in PostgreSQL goes by the clock on the wall."""

    def __init__(self) -> None:
        self.issued = 0
        self._tokens: dict[str, Token] = {}
        self._lock = threading.Lock()

    def get_or_issue(self, name: str, issue: Callable[[], Token], *, discard: str | None = None) -> Token:
        with self._lock:
            token = self._tokens.get(name)
            if token is None or token.access_token == discard:
                token = self._tokens[name] = issue()
                self.issued += 1
            return token

    def forget(self) -> None:
        self._tokens.clear()


def stores_of(
    engine: sa.Engine,
    *,
    limiter: RateLimiter | None = None,
    recorder: Recorder | None = None,
    tokens: TokenStore | None = None,
    attempts: int = ATTEMPTS,
) -> Stores:
    """The stores in PostgreSQL, except for what is given."""
    stores = Stores.in_postgres(engine, limiter=limiter, recorder=recorder)
    channel = dataclasses.replace(stores.channel, attempts=attempts)
    return dataclasses.replace(stores, channel=channel, tokens=tokens or stores.tokens)
