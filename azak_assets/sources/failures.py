"""The failures of an upstream, by name, so that a caller can act on the cause instead of reading a message.

Put here what can go wrong between us and an upstream as a whole. A single malformed record is no failure: it is a
`Reject` in the batch (`records.py`) and the good records beside it land. Nothing here may carry a key or a token; URLs
pass through `without_secrets` before they reach a message.
"""

import json
import re
from datetime import datetime, timedelta
from datetime import time as time_of_day
from typing import ClassVar, Literal
from urllib.parse import parse_qsl, quote, quote_plus, urlencode, urlsplit, urlunsplit

from azak_assets import krx

Action = Literal["retry", "wait", "stop", "alert"]

POLICIES: dict[Action, str] = {
    "retry": "asked again with growing pauses, by the client and then by the step; a later run may succeed",
    "wait": "waited for as long as the upstream says, then asked again; a later run may succeed",
    "stop": "not asked again before somebody, or a new day, has changed the cause",
    "alert": "not asked again by this run: a person has to look",
}
"""What is done about a failure, by its action, in words for the operator."""

SECRET_PARAMETERS = frozenset({"crtfc_key", "appkey", "appsecret", "secretkey", "token", "key", "api_key"})
"""Query parameters that hold a credential at one of our upstreams, lower case."""


SHORTEST_SECRET = 6
"""Characters. No upstream's key is shorter, and taking a shorter one out would mangle every address it occurs in."""


_BOT = re.compile(r"/bot[^/]+(?=/[a-z]+[A-Z]\w*$)")
"""Telegram's token stands in the path, before the name of a method: /bot123456:ABC/sendMessage."""


def without_secrets(url: str) -> str:
    """Return `url` with credentials in its query, its user part and its path replaced by `***`."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = [
        (name, "***" if name.lower() in SECRET_PARAMETERS else value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    ]
    path = _BOT.sub("/bot***", parts.path)
    return urlunsplit((parts.scheme, host, path, urlencode(query, safe="*"), ""))


class SourceFailure(Exception):  # noqa: N818 - the field's word; the subclasses say what happened
    """An upstream did not give what was asked. `action` says what the caller should do about it.

    `retry`: ask again soon, nothing is wrong with the request. `wait`: ask again, but slower or later. `stop`: do not
    ask again before someone or something outside this run has changed. `alert`: a person has to look.
    """

    default_action: ClassVar[Action] = "alert"
    default_advice: ClassVar[str] = ""
    is_of_the_upstream: ClassVar[bool] = True
    """Whether the upstream is the worse for it; else it answered as it should."""
    pause: ClassVar[timedelta | None] = None
    """For how long the upstream is closed to the same credentials, for every process."""

    def __init__(
        self,
        upstream: str,
        what: str,
        *,
        url: str | None = None,
        advice: str | None = None,
        action: Action | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.upstream = upstream
        self.what = what
        self.url = without_secrets(url) if url else None
        self.advice = advice or self.default_advice
        self.action: Action = action or self.default_action
        self.retry_after = retry_after
        """Seconds after which the upstream announced, or is known, to answer again; None where that is unknown."""
        self.usage: str | None = None
        """How much of its quota the upstream was asked today, where that is known."""
        super().__init__()

    @property
    def cause(self) -> str:
        """The failure's name."""
        return type(self).__name__

    @property
    def policy(self) -> str:
        """What is done about it, in words."""
        return POLICIES[self.action]

    def close_for(self, now: datetime) -> timedelta | None:  # noqa: ARG002 - RateLimited needs it
        """For how long no request should be made, from `now` (aware) on; None where asking again is right."""
        return self.pause

    def __str__(self) -> str:
        place = f" [{self.url}]" if self.url else ""
        return f"{self.upstream}: {self.what}{place}. {self.advice}"

    def remove(self, *secrets: str) -> None:
        """Replace these texts wherever the failure quotes them: some servers echo what they were sent.

        As they are, and as Python, JSON and URLs write them: an error of the HTTP library quotes a header's `repr`.
        """
        for secret in secrets:
            if len(secret) < SHORTEST_SECRET:
                continue
            written = (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe=""), quote_plus(secret))
            for form in sorted(set(written), key=len, reverse=True):
                self.what = self.what.replace(form, "***")
                self.url = self.url and self.url.replace(form, "***")


class Blocked(SourceFailure):
    """The upstream refuses us as a client (403 to a reader of a feed). Never evaded: honest user agent, then stop."""

    default_action = "alert"
    default_advice = "The publisher refuses automated readers: do not retry, ask them or switch the feed off"
    pause = timedelta(hours=6)


class RateLimited(SourceFailure):
    """Too many calls. `wait` for a limit a second, `stop` for a daily quota."""

    default_action = "wait"
    default_advice = "Another process may use the same key: lower the rate or try again in a minute"

    def close_for(self, now: datetime) -> timedelta | None:
        """Until midnight KST, when a used-up quota is filled up again; a limit a second is waited for instead."""
        if self.action != "stop":
            return None
        tomorrow = now.astimezone(krx.KST).date() + timedelta(days=1)
        return datetime.combine(tomorrow, time_of_day(), krx.KST) - now


class Unauthorized(SourceFailure):
    """The upstream does not accept our credentials. Asking again cannot help."""

    default_action = "stop"
    default_advice = "Check the credentials of this upstream in the environment, `azak doctor` lists them"
    pause: ClassVar[timedelta | None] = timedelta(hours=1)


class NotForThisAccount(Unauthorized):
    """The credentials are good, and do not open this one thing: a service their kind of account lacks, a subreddit, a
    chat. No failure of the day, and nothing else is left alone for it."""

    is_of_the_upstream = False
    pause = None


class Unavailable(SourceFailure):
    """The upstream is down, times out or answers a server error."""

    default_action = "retry"
    default_advice = "The upstream has trouble: the run may be repeated later, nothing was lost"


class Unconfirmed(SourceFailure):
    """What was sent may have been carried out: the answer was lost, and asking again could do it twice."""

    default_action = "alert"
    default_advice = "Look at the receiving end before it is sent again by hand; nothing sends it twice by itself"


class ContractChanged(SourceFailure):
    """The answer is not what the contract says: HTML instead of JSON, a missing key, an unknown error code."""

    default_action = "alert"
    default_advice = (
        "This is not the wire format the client was written for: compare it with the upstream's documentation"
    )


class Empty(SourceFailure):
    """A success that lacks the records the asked sessions must have."""

    default_action = "alert"
    default_advice = "The upstream answered normally without it: check the question, or run again later"


class NotConfigured(SourceFailure):
    """There are no credentials for this upstream. Raised by whoever builds the clients, never by a client."""

    default_action = "stop"
    default_advice = "Set its credentials in the environment, or use the sandbox"


class NotKept(SourceFailure):
    """A re-run asked a question without a recorded answer on the days that are repeated; others may have one."""

    default_action = "retry"
    default_advice = "Replay the day on which it was asked, or ask the upstream: materialize the partition again"


BY_CAUSE: dict[str, type[SourceFailure]] = {
    one.__name__: one for one in (Blocked, RateLimited, Unauthorized, Unavailable, ContractChanged, Empty)
}
"""The failures an upstream can be closed for, by name."""
