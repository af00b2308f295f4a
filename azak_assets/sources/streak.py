"""Failures in a row: when a round of requests ends before every key was asked.

Belongs here: counting them. Does not belong here: what a failure means (`failures`), and what the caller leaves undone.
"""

from dataclasses import dataclass

from azak_assets.sources.failures import Empty, NotForThisAccount, NotKept

ANSWERS = (Empty, NotForThisAccount, NotKept)
"""Failures of one key by an upstream that works: the next key may fare better."""


@dataclass
class FailureStreak:
    """Counts the failures of one upstream since its last answer, up to ``limit``.

    Each further request to an upstream that is down waits out its own retries; after ``limit`` failures in a row the
    rest of a round is left undone. One of `ANSWERS` ends the streak, as a good answer does.
    """

    limit: int
    length: int = 0

    def add(self, failure: Exception | None) -> None:
        """Count one request; ``failure`` is None where it was answered."""
        is_trouble = failure is not None and not isinstance(failure, ANSWERS)
        self.length = self.length + 1 if is_trouble else 0

    @property
    def is_at_limit(self) -> bool:
        """Whether the round should end."""
        return self.length >= self.limit
