"""What a client needs from the house and cannot keep itself: a shared token, a shared request budget, what feeds and
hosts said before.

Put here only the protocols that `sources` asks for. Their implementations live in `warehouse` (PostgreSQL, shared by
all processes) and in the tests (memory, one process); `resources` joins the two, so neither side imports the other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


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


class Budget(Protocol):
    """The request budget of an upstream, shared by every process that calls it."""

    def acquire(self, name: str, per_second: float) -> None:
        """Block until one call to `name` may start at `per_second` calls a second."""
        ...
