"""The answers of a run, given once more instead of asking the upstreams, and the clock that goes with them.

Belongs here: which kept answer a replayed question gets, and what time it is then. Does not belong here: the files
(`payloads`), which rows a replay leaves alone (`replay`), running anything (`cli.replay_payloads`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from azak_assets.warehouse.calls.recordings import Kept, KeptRun, Key, Question, read_body

FAILED = 400
"""HTTP statuses from here on are failures, after which a client may have asked again."""
OF_AN_EARLIER_ROUND = timedelta(seconds=30)
OF_THIS_ROUND = timedelta(seconds=90)
"""A client's patience: an answer that came later was to a later asking."""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer out of the files; as `sources.protocols.Stored` says."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ReplayClock:
    """The clock of a replayed run: it begins when the run did, and moves with every answer and every sleep.

    A thread that was given an answer reads the instant at which that one came, whatever its fellows have heard since,
    so that a replay says of every row what the run said. The thread that made the clock waits for the others and reads
    the newest instant of all.
    """

    def __init__(self, began_at: datetime) -> None:
        self._newest = began_at
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._maker = threading.get_ident()

    def __call__(self) -> datetime:
        """The instant, aware."""
        mine: datetime | None = getattr(self._mine, "at", None)
        return mine or self._newest

    def heard(self, at: datetime) -> None:
        """An answer that came at ``at`` was given to this thread."""
        with self._lock:
            self._newest = max(self._newest, at)
        if threading.get_ident() != self._maker:
            self._mine.at = at

    def sleep(self, seconds: float) -> None:
        """Nobody waits: it is so much later."""
        with self._lock:
            self._newest += timedelta(seconds=seconds)


class StoredAnswers:
    """The answers of a run, instead of the upstreams; implements `sources.Ledger`, and asks nobody.

    The run's newest answer to a question comes first, since an earlier one was a failure that was asked about again;
    then the newest of all the runs that are replayed. Questions that hold the clock get the run's answers in turn. A
    run that ``asks_again``, every minute or every five, gets its own alone, in turn, each at its time. ``missing``
    collects the questions that have no answer.
    """

    is_replay = True

    def __init__(
        self, run: KeptRun, others: Sequence[KeptRun], clock: ReplayClock, *, asks_again: bool = False
    ) -> None:
        self.missing: dict[Key, None] = {}
        self._own = run.answers
        self._in_turn = {key: deque(answers) for key, answers in run.in_turn.items()}
        self._ended_at = max((kept.at for kept in run.answers.values()), default=run.began_at)
        self._others = others
        self._clock = clock
        self._asks_again = asks_again
        self._lock = threading.Lock()

    def acquire(self, name: str, per_second: float) -> None:
        """Nothing to wait for."""

    def stored(self, question: Question) -> StoredAnswer | None:
        """The kept answer to a question."""
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
                    self._clock.heard(kept.at)
                return StoredAnswer(kept.status, kept.headers, body)
        # A collector that was killed has no answers for the rest of its time: nothing is missing there.
        if not self._asks_again or self._clock() <= self._ended_at:
            self.missing[key] = None
        return None

    def _next(self, key: Key) -> Kept | None:
        """The next answer in turn; of a run that asks again and again, of this round, the last one asked about."""
        with self._lock:
            answers = self._in_turn.get(key, deque())
            if self._asks_again:
                now = self._clock()
                while answers and answers[0].at < now - OF_AN_EARLIER_ROUND:
                    answers.popleft()
                while len(answers) > 1 and answers[0].status >= FAILED and answers[1].at <= now + OF_THIS_ROUND:
                    answers.popleft()
                if answers and answers[0].at > now + OF_THIS_ROUND:
                    return None
            return answers.popleft() if answers else None

    def keep(self, question: Question, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """It is kept already."""

    def succeeded(self, upstream: str, *, per_day: int | None) -> None:
        """Nobody was asked."""

    def failed(self, upstream: str, **told: Any) -> None:
        """Nobody was asked."""

    def close(self) -> None:
        """Nothing is open."""
