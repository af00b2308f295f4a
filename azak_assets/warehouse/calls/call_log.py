"""The call log: successes, failures and closures of every upstream (`ops.source_health`), empty feeds (`ops.feeds`).

Belongs here: writing and reading both; the PostgreSQL implementation of the port `CallLog`. Does not belong here: what
a failure is and for how long it closes an upstream (`sources.failures`), alerts (`ingest.health`), recorded answers
(`recordings`).

Calls that succeed are counted in memory and written every few seconds: KIS is asked 15 times a second, and a statement
a call would wait on one row with every other process. A failure is written at once, because operators watch for it, and
so is the first success after one. Statements add to the row's counts, so several processes may write one row.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from threading import Lock
from typing import Any

import sqlalchemy as sa

from azak_assets.ports import Usage
from azak_assets.warehouse.encode import storable

logger = logging.getLogger(__name__)

WRITTEN_EVERY_S = 5.0
"""Successes are counted in memory for so long; a killed process loses no more of its count."""
TODAY = "(clock_timestamp() at time zone 'Asia/Seoul')::date"


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """A row of `ops.source_health`, with the database's clock beside its instants."""

    upstream: str
    last_success_at: datetime | None
    last_failure_at: datetime | None
    cause: str | None
    action: str | None
    what: str | None
    advice: str | None
    streak: int
    failing_since: datetime | None
    calls_today: int
    calls_a_day: int | None
    closed_until: datetime | None
    now: datetime

    @property
    def is_closed(self) -> bool:
        """Whether calls with the refused credentials are not made for now."""
        return self.closed_until is not None and self.closed_until > self.now

    @property
    def failing_from(self) -> datetime | None:
        """Since when calls fail; None: none has failed yet."""
        return self.failing_since or self.last_failure_at


@dataclass(frozen=True, slots=True)
class FeedHealth:
    """What a source last brought, over all its tables: one that brings rows into any of them is not empty."""

    source: str
    last_loaded_at: datetime
    last_rows_at: datetime | None
    empty_sessions: int


@dataclass(slots=True)
class _Count:
    """Successes of one upstream that are not written yet."""

    calls: int = 0
    total: int = 0
    last_at: float = 0.0
    written_at: float | None = None
    has_failed: bool = False
    per_day: int | None = None


class PostgresCallLog:
    """What became of each call, a row of `ops.source_health` an upstream; a `ports.CallLog`, safe for threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._counts: dict[str, _Count] = {}
        self._lock = Lock()

    def succeeded(self, upstream: str, *, per_day: int | None) -> None:
        """Count a call that was answered."""
        now = time.monotonic()
        with self._lock:
            count = self._counts.setdefault(upstream, _Count())
            count.calls, count.total, count.last_at, count.per_day = count.calls + 1, count.total + 1, now, per_day
            if count.written_at is not None and not count.has_failed and now - count.written_at < WRITTEN_EVERY_S:
                return
        self._write(upstream)

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
        """Write a call that failed, now; how many calls the upstream had today."""
        self._write(upstream)
        with self._lock:
            count = self._counts.setdefault(upstream, _Count())
            count.total, count.has_failed = count.total + 1, True
        seconds = None if close_for is None else close_for.total_seconds()
        return self._execute(
            _FAILED,
            upstream=upstream,
            cause=cause,
            action=action,
            # PostgreSQL holds neither NUL nor half characters, and an upstream may send either.
            what=storable(what),
            advice=storable(advice),
            per_day=per_day,
            seconds=seconds,
            credentials=credentials,
        )

    def usage(self) -> dict[str, Usage]:
        """The usage of each upstream that was called through this log."""
        for upstream in list(self._counts):
            self._write(upstream)
        today = {row.upstream: row for row in sources(self._engine)}
        return {
            name: Usage(count.total, today[name].calls_today, today[name].calls_a_day)
            for name, count in self._counts.items()
            if name in today
        }

    def close(self) -> None:
        """Write what is in memory."""
        for upstream in list(self._counts):
            self._write(upstream)

    def _write(self, upstream: str) -> None:
        """Write the successes counted so far, if there are any."""
        with self._lock:
            count = self._counts.get(upstream)
            if count is None or not count.calls:
                return
            calls, count.calls = count.calls, 0
            count.written_at, count.has_failed = time.monotonic(), False
            age, per_day = count.written_at - count.last_at, count.per_day
        self._execute(_SUCCEEDED, upstream=upstream, calls=calls, age=age, per_day=per_day)

    def _execute(self, statement: sa.TextClause, **values: Any) -> int | None:
        try:
            with self._engine.connect() as connection:
                calls: int = connection.execute(statement, values).scalar_one()
                return calls
        except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
            # The log must not cost the answer; the next call fails at the rate limiter, which names the lost database.
            logger.warning("ops.source_health was not written: %s", getattr(error, "orig", error))
            return None


_COUNTED = (
    f" calls_today = excluded.calls_today + case when h.calls_day = {TODAY} then h.calls_today else 0 end,"
    f" calls_day = {TODAY}, calls_a_day = excluded.calls_a_day"
)
# A success counts from when it happened: a later failure of another process has begun a new streak.
_IS_OLD = "h.last_failure_at >= excluded.last_success_at"
_SUCCEEDED = sa.text(
    "insert into ops.source_health as h (upstream, last_success_at, streak, calls_day, calls_today, calls_a_day)"  # noqa: S608 (constants)
    f" values (:upstream, clock_timestamp() - make_interval(secs => :age), 0, {TODAY}, :calls, :per_day)"
    " on conflict (upstream) do update set last_success_at = greatest(h.last_success_at, excluded.last_success_at),"
    f" streak = case when {_IS_OLD} then h.streak else 0 end,"
    f" failing_since = case when {_IS_OLD} then h.failing_since end,{_COUNTED} returning calls_today"
)
# With `seconds` NULL the instant is NULL too, and what the upstream was closed for stays as it is.
_CLOSES = "excluded.closed_until is null"
_FAILED = sa.text(
    "insert into ops.source_health as h (upstream, last_failure_at, cause, action, what, advice, streak,"  # noqa: S608 (constants)
    " failing_since, calls_day, calls_today, calls_a_day, closed_until, closed_for, closed_cause, closed_what,"
    " closed_advice)"
    " select :upstream, now, cast(:cause as text), :action, cast(:what as text), cast(:advice as text), 1, now,"
    f" {TODAY}, 1, cast(:per_day as integer), until, case when until is not null then cast(:credentials as text) end,"
    " case when until is not null then cast(:cause as text) end,"
    " case when until is not null then cast(:what as text) end,"
    " case when until is not null then cast(:advice as text) end"
    " from (select clock_timestamp() as now) as clock,"
    " lateral (select now + make_interval(secs => cast(:seconds as float8)) as until) as closing"
    " on conflict (upstream) do update set last_failure_at = excluded.last_failure_at, cause = excluded.cause,"
    " action = excluded.action, what = excluded.what, advice = excluded.advice, streak = h.streak + 1,"
    " failing_since = coalesce(h.failing_since, excluded.failing_since),"
    f" closed_until = case when {_CLOSES} then h.closed_until else excluded.closed_until end,"
    f" closed_for = case when {_CLOSES} then h.closed_for else excluded.closed_for end,"
    f" closed_cause = case when {_CLOSES} then h.closed_cause else excluded.closed_cause end,"
    f" closed_what = case when {_CLOSES} then h.closed_what else excluded.closed_what end,"
    f" closed_advice = case when {_CLOSES} then h.closed_advice else excluded.closed_advice end,"
    f"{_COUNTED} returning calls_today"
)


def sources(engine: sa.Engine) -> list[SourceHealth]:
    """Every upstream that was ever called, by name; `calls_today` is 0 where the last call was on another day."""
    statement = sa.text(
        "select upstream, last_success_at, last_failure_at, cause, action, what, advice, streak, failing_since,"  # noqa: S608 (a constant)
        f" case when calls_day = {TODAY} then calls_today else 0 end as calls_today, calls_a_day, closed_until,"
        " clock_timestamp() as now from ops.source_health order by upstream"
    )
    with engine.connect() as connection:
        return [SourceHealth(**row) for row in connection.execute(statement).mappings()]


def feeds(engine: sa.Engine) -> list[FeedHealth]:
    """Every source that was ever loaded from, by name."""
    statement = sa.text(
        "select source, max(last_loaded_at) as last_loaded_at, max(last_rows_at) as last_rows_at,"
        " min(empty_sessions) as empty_sessions from ops.feeds group by source order by source"
    )
    with engine.connect() as connection:
        return [FeedHealth(**row) for row in connection.execute(statement).mappings()]


FEED_LOADED = """
insert into ops.feeds as f (source, table_name, last_loaded_at, last_rows_at, empty_sessions, last_empty_day)
values (%(source)s, %(table)s, %(at)s, case when %(rows)s > 0 then cast(%(at)s as timestamptz) end,
        case when %(rows)s = 0 and %(session)s::date is not null then 1 else 0 end,
        case when %(rows)s = 0 then %(session)s::date end)
on conflict (source, table_name) do update set
    last_loaded_at = excluded.last_loaded_at,
    last_rows_at = coalesce(excluded.last_rows_at, f.last_rows_at),
    empty_sessions = case when excluded.last_rows_at is not null then 0
        when excluded.last_empty_day > coalesce(
            greatest(f.last_empty_day, (f.last_rows_at at time zone 'Asia/Seoul')::date), '-infinity'
        ) then f.empty_sessions + 1
        else f.empty_sessions end,
    last_empty_day = coalesce(excluded.last_empty_day, f.last_empty_day)
"""
"""Counts a load of a feed; `session` is the day of the load, if that is a session, else NULL: a Sunday without filings
is normal. A session on which the feed also brought rows is not empty."""


def session_of(at: datetime) -> date | None:
    """The KST date of an instant, where the exchange trades on it."""
    from azak_assets import krx  # noqa: PLC0415

    day = at.astimezone(krx.KST).date()
    return day if day <= krx.LAST_DAY and krx.is_session(day) else None
