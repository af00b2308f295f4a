"""What a client needs from the house and cannot keep itself: a shared token, a shared request budget, what feeds and
hosts said before, and somebody who notes what became of every call.

Put here only the protocols that `sources` asks for. Their implementations live in `warehouse` (PostgreSQL, shared by
all processes) and in the tests (memory, one process); `resources` joins the two, so neither side imports the other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and the instant (aware) from which the upstream refuses it. Its text stays out of `repr`."""

    access_token: str = field(repr=False)
    expires_at: datetime


class TokenStore(Protocol):
    """The one place where tokens of an upstream are kept, because it issues at most one a minute to all of us."""

    def get_or_issue(self, name: str, issue: Callable[[], Token], *, discard: str | None = None) -> Token:
        """Return the token kept under `name`, calling `issue` when there is none or it has expired.

        One caller issues at a time, across processes; the others wait and get the new token. `discard` is a token text
        that the server refused: if it is still the kept one it is replaced, if another caller already replaced it the
        replacement is returned. Whatever `issue` raises passes through and nothing is stored.
        """
        ...


class ValidatorStore(Protocol):
    """What each feed said last of its version (ETag, Last-Modified), kept for the process that asks next."""

    def read(self, feed: str) -> Mapping[str, str]:
        """The request headers that ask whether `feed` has changed since; empty where nothing is known of it."""
        ...

    def keep(self, feed: str, headers: Mapping[str, str]) -> None:
        """Replace them."""
        ...


@dataclass(frozen=True, slots=True)
class HostRules:
    """What a host said of readers like us at `read_at` (aware): its robots.txt, "" for none, or how it refused us."""

    robots: str
    refusal: str | None
    read_at: datetime


class HostStore(Protocol):
    """What hosts said, kept for the process that asks next."""

    def read(self, host: str) -> HostRules | None:
        """What `host` said last, None where it was never asked."""
        ...

    def keep(self, host: str, rules: HostRules) -> None:
        """Replace it."""
        ...


class Closed(Protocol):
    """Why an upstream is not asked for now: what it said last, until when, and whom it said it to."""

    @property
    def cause(self) -> str:
        """Name of the failure."""
        ...

    @property
    def what(self) -> str:
        """What the upstream said, without secrets."""
        ...

    @property
    def advice(self) -> str:
        """What to do about it."""
        ...

    @property
    def until(self) -> datetime:
        """From then on (aware) it may be asked again."""
        ...

    @property
    def credentials(self) -> str:
        """Hash of the address and the credentials that were refused; others may ask."""
        ...


class Budget(Protocol):
    """The request budget of an upstream, shared by every process that calls it."""

    def acquire(self, name: str, per_second: float) -> Closed | None:
        """Block until one call to `name` may start at `per_second` calls a second; or say why it must not be made."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of an upstream, without secrets and without its address: the same question has the same answer."""

    upstream: str
    path: str
    """Path and query."""
    headers: tuple[tuple[str, str], ...] = ()
    """The request's headers that change the answer, sorted by name."""
    timeless: str = ""
    """`path` without what only tells when it was asked, where that is another text."""


class Stored(Protocol):
    """An answer that was kept."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers that matter, lower case."""
        ...

    @property
    def body(self) -> bytes:
        """The body as it came."""
        ...


@runtime_checkable
class Ledger(Budget, Protocol):
    """A budget that also notes what became of every call, and keeps the answers.

    The clients are handed one object as their `budget`; where that is a ledger too, every call is in its books, those
    of a client written tomorrow as well.
    """

    @property
    def is_replay(self) -> bool:
        """Whether nobody is asked and every answer comes out of `stored`."""
        ...

    def succeeded(self, upstream: str, *, per_day: int | None) -> None:
        """Note a call that was answered. `per_day`: the upstream's quota, where it has one."""
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
        """Note a call that failed; with `close_for` nobody may ask with these credentials for so long.

        Returns how many calls the upstream had today (KST), None where that is not known.
        """
        ...

    def keep(self, question: Question, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Keep an answer. Never raises: an answer that cannot be kept is still an answer."""
        ...

    def stored(self, question: Question) -> Stored | None:
        """The answer that was kept, None where none was."""
        ...
