"""Which recorded answer a question of a re-run gets, and the clock that goes with the answers.

Belongs here: that choice, and the stand-ins for what a run without upstreams needs no server for. Does not belong here:
the files (`recordings`), the HTTP transport (`sources.recording`), which rows a re-run leaves alone (`rerun`), running
anything (`cli.replay_payloads`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from azak_assets import krx
from azak_assets.ports import RecordedAnswer, RecordedRequest, Token, Usage
from azak_assets.warehouse.calls.recordings import Kept, KeptRun, Key, read_body

FAILED = 400
"""HTTP statuses from here on are failures, after which a client may have asked again."""
OF_AN_EARLIER_ROUND = timedelta(seconds=30)
OF_THIS_ROUND = timedelta(seconds=90)
"""A client's patience: an answer that came later was to a later asking."""


class PlaybackClock:
    """The clock of a run that is repeated: it begins when the run did, and moves with every answer and every sleep.

    A thread reads the instant at which its own last answer came, whatever other threads received since, so that a
    re-run gives every row the instant that the run gave it. The thread that made the clock waits for the others and
    reads the newest instant of all.
    """

    def __init__(self, began_at: datetime) -> None:
        self._newest = began_at
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._maker = threading.get_ident()

    def now(self) -> datetime:
        """The instant (KST)."""
        mine: datetime | None = getattr(self._mine, "at", None)
        return (mine or self._newest).astimezone(krx.KST)

    def advance_to(self, at: datetime) -> None:
        """This thread received an answer that came at ``at``."""
        with self._lock:
            self._newest = max(self._newest, at)
        if threading.get_ident() != self._maker:
            self._mine.at = at

    def sleep(self, seconds: float) -> None:
        """Advance without waiting."""
        with self._lock:
            self._newest += timedelta(seconds=seconds)


class RunRecordings:
    """The recorded answers of one run; a `ports.Recordings`.

    The run's newest answer to a question comes first, since an earlier one was a failure that was asked about again;
    then the newest of all the runs that are repeated. Questions that hold the clock get the run's answers in turn. A
    run that ``asks_again``, every minute or every five, gets its own alone, in turn, each at its time. ``missing``
    collects the questions that have no answer.
    """

    def __init__(
        self, run: KeptRun, others: Sequence[KeptRun], clock: PlaybackClock, *, asks_again: bool = False
    ) -> None:
        self.missing: dict[Key, None] = {}
        self._own = run.answers
        self._in_turn = {key: deque(answers) for key, answers in run.in_turn.items()}
        self._ended_at = max((kept.at for kept in run.answers.values()), default=run.began_at)
        self._others = others
        self._clock = clock
        self._asks_again = asks_again
        self._lock = threading.Lock()

    def find(self, question: RecordedRequest) -> RecordedAnswer | None:
        """The recorded answer to a question."""
        key = (question.upstream, question.path, question.headers)
        own = None if self._asks_again else self._own.get(key)
        if own is None and (self._asks_again or question.timeless):
            own = self._next((question.upstream, question.timeless or question.path, question.headers))
        candidates = [] if own is None else [own]
        if not self._asks_again:
            others = [run.answers[key] for run in self._others if key in run.answers]
            candidates += sorted(others, key=lambda kept: kept.at, reverse=True)
        for kept in candidates:
            body = read_body(kept)
            if body is not None:
                if kept is own:
                    self._clock.advance_to(kept.at)
                return RecordedAnswer(kept.status, kept.headers, body)
        # A collector that was killed has no answers for the rest of its time: nothing is missing there.
        if not self._asks_again or self._clock.now() <= self._ended_at:
            self.missing[key] = None
        return None

    def _next(self, key: Key) -> Kept | None:
        """The next answer in turn; of a run that asks again and again, of this round, the last one asked about."""
        with self._lock:
            answers = self._in_turn.get(key, deque())
            if self._asks_again:
                now = self._clock.now()
                while answers and answers[0].at < now - OF_AN_EARLIER_ROUND:
                    answers.popleft()
                while len(answers) > 1 and answers[0].status >= FAILED and answers[1].at <= now + OF_THIS_ROUND:
                    answers.popleft()
                if answers and answers[0].at > now + OF_THIS_ROUND:
                    return None
            return answers.popleft() if answers else None


class Unlimited:
    """A `ports.RateLimiter` for calls that reach no upstream."""

    def acquire(self, name: str, per_second: float) -> None:
        """Return at once."""


class Unlogged:
    """A `ports.CallLog` for calls that reach no upstream."""

    def succeeded(self, upstream: str, *, per_day: int | None) -> None:
        """Log nothing."""

    def failed(self, upstream: str, **failure: object) -> None:
        """Log nothing."""

    def usage(self) -> dict[str, Usage]:
        """No upstream was called."""
        return {}

    def close(self) -> None:
        """Nothing is in memory."""


class PlaybackTokens:
    """A `ports.TokenStore` with a token that no upstream receives."""

    def get_or_issue(self, name: str, issue: Callable[[], Token], *, discard: str | None = None) -> Token:  # noqa: ARG002
        """The same token always."""
        return Token("playback", datetime.max.replace(tzinfo=krx.KST))


class NoValidators:
    """A `ports.ValidatorStore` without validators: recorded answers are read, and the stored ones of feeds stay."""

    def read(self, feed: str) -> dict[str, str]:  # noqa: ARG002
        """No header: an unconditional GET."""
        return {}

    def keep(self, feed: str, headers: Mapping[str, str]) -> None:
        """Store nothing."""
