"""Days as text for people: all of them where each matters, a few or the span where not.

Belongs here: sentences of states, failures, checks and commands. Does not belong here: wire formats (`sources`).
"""

from collections.abc import Sequence
from datetime import date

FEW = 3


def each_of(days: Sequence[date]) -> str:
    """Every day, as `2026-09-24, 2026-09-25`; without days `none`."""
    return ", ".join(map(str, days)) or "none"


def span_of(days: Sequence[date]) -> str:
    """Each of up to three sessions, else the first, the last and their number; oldest first, at least one."""
    return each_of(days) if len(days) <= FEW else f"{days[0]} … {days[-1]} ({len(days)} sessions)"
