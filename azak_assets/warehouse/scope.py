"""What a load answers for, and what it did: the two small things that every caller of a load holds.

Belongs here: these two and no import that costs time, since the definitions load them. Does not belong here: loading
(`load`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class Scope:
    """What a load answers for.

    `days`: values of the table's day column; None where the table is unpartitioned, or for a feed that may hold any
    day. `keys`: values of the entity column the source answered for; None means all of them. A stock whose request
    failed is left out of `keys`, and nothing of it is touched.
    """

    days: tuple[date, ...] | None
    keys: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a load did to the table's rows; `observed_at` is the database's clock in its transaction."""

    inserted: int
    changed: int
    unchanged: int
    retired: int
    observed_at: datetime
    skipped_by_fingerprint: bool = False
