"""Interfaces that the clients depend on: token store, rate limiter, crawl state, call log.

Belongs here: these protocols, and the shapes that both sides of one exchange. `sources` calls the protocols,
`warehouse.calls` implements them in PostgreSQL and on disk, `runtime` joins the two. Does not belong here: an
implementation, or an import of any other room of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import httpx


ATTEMPTS = 6
"""How often a call over the network is tried at most."""


class Clock(Protocol):
    """The time by which upstreams are asked: the wall's, a test's, or that of recorded answers."""

    def now(self) -> datetime:
        """The present instant, aware."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return when `now` is so much later."""
        ...


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and the instant (aware) from which the upstream refuses it. Its text stays out of `repr`."""

    access_token: str = field(repr=False)
    expires_at: datetime


class TokenStore(Protocol):
    """Access tokens, shared by every process: an upstream issues at most one a minute to all of them together."""

    def get_or_issue(self, name: str, issue: Callable[[], Token], *, discard: str | None = None) -> Token:
        """Return the token stored under `name`, calling `issue` when there is none or it has expired.

        One caller issues at a time, across processes; the others wait and get the new token. `discard` is a token text
        that the server refused: if it is still the stored one it is replaced, if another caller already replaced it the
        replacement is returned. Whatever `issue` raises passes through and nothing is stored.
        """
        ...


class ValidatorStore(Protocol):
    """ETag and Last-Modified of each feed, cached for the next process."""

    def read(self, feed: str) -> Mapping[str, str]:
        """The request headers of a conditional GET of `feed`; empty where none are stored."""
        ...

    def keep(self, feed: str, headers: Mapping[str, str]) -> None:
        """Replace them."""
        ...


@dataclass(frozen=True, slots=True)
class HostRules:
    """What a host allows robots, as of `read_at` (aware): its robots.txt ("" for none), or how it refused us."""

    robots: str
    refusal: str | None
    read_at: datetime


class HostStore(Protocol):
    """robots.txt and refusals of each host, cached for the next process."""

    def read(self, host: str) -> HostRules | None:
        """The stored rules of `host`, None where there are none."""
        ...

    def keep(self, host: str, rules: HostRules) -> None:
        """Replace them."""
        ...


@dataclass(frozen=True, slots=True)
class Closed:
    """The state of a closed upstream: the refusal that closed it, and until when (aware) no call is made."""

    cause: str
    """Name of the failure."""
    what: str
    """What the upstream answered, without secrets."""
    advice: str
    until: datetime
    credentials: str
    """Hash of the address and the credentials that were refused; a client with others may call."""


class RateLimiter(Protocol):
    """The request rate of each upstream, shared by every process that calls it."""

    def acquire(self, name: str, per_second: float) -> Closed | None:
        """Block until one call to `name` may start at `per_second` calls a second.

        Returns at once, with the refusal, where `name` is closed to any credentials: one read serves both, because a
        second statement a call would cost as much again.
        """
        ...


class Usage(NamedTuple):
    """How often an upstream was called, successes and failures: by this process, by all of them today (KST), and how
    often a day it allows (None: no quota)."""

    calls: int
    calls_today: int
    calls_a_day: int | None


class CallLog(Protocol):
    """What became of every call; a refusal written here closes the upstream to every process (a circuit breaker)."""

    def succeeded(self, upstream: str, *, per_day: int | None) -> None:
        """Log a call that was answered. `per_day`: the upstream's quota, where it has one."""
        ...

    def failed(
        self,
        upstream: str,
        *,
        cause: str,
        action: str,
        what: str,
        advice: str,
        credentials: str,
        close_for: timedelta | None,
        per_day: int | None,
    ) -> int | None:
        """Log a call that failed; with `close_for` the upstream is closed to these credentials for so long.

        Returns how many calls the upstream had today (KST), None where that is not known.
        """
        ...

    def usage(self) -> Mapping[str, Usage]:
        """The usage of each upstream that was called through this log."""
        ...

    def close(self) -> None:
        """Write what is still in memory."""
        ...


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request without secrets and without the upstream's address: equal requests have equal answers."""

    upstream: str
    path: str
    """Path and query."""
    headers: tuple[tuple[str, str], ...] = ()
    """The request headers that change the answer, sorted by name."""
    timeless: str = ""
    """`path` without parameters that hold the time of the request, where that is another text."""


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """An answer as it was recorded: HTTP status, the headers that matter (lower case), the decoded body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Recorder(Protocol):
    """Writes answers down, safe to share between threads."""

    def keep(self, question: RecordedRequest, answer: RecordedAnswer) -> None:
        """Record an answer. Never raises: an answer that cannot be recorded is still an answer."""
        ...

    def close(self) -> None:
        """Close the files."""
        ...


class Recordings(Protocol):
    """Answers recorded earlier."""

    def find(self, question: RecordedRequest) -> RecordedAnswer | None:
        """The recorded answer to a question, None where there is none."""
        ...


class Connect(Protocol):
    """Makes the HTTP transport of one client: to the upstream, with or without recording, or to recordings."""

    def __call__(self, address: str, *, keeps_alive: bool) -> httpx.BaseTransport:
        """The transport for requests to `address`; without `keeps_alive` each request has its own connection."""
        ...


@dataclass(frozen=True, slots=True)
class Channel:
    """How every client of a process reaches its upstream: at which rate, logged where, over which transport."""

    limiter: RateLimiter
    log: CallLog
    connect: Connect
    attempts: int = ATTEMPTS
    """How often one call is tried at most. 1 where failures are final: then no caller needs to wait before its own
    retry either."""
