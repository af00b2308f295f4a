"""Shared rate limiter, token store and circuit state.

Belongs here: the PostgreSQL implementations of the ports `TokenStore` and `RateLimiter`. Does not belong here: any
upstream's figures or addresses (the clients name their own rate), what closes an upstream (`call_log`), retries after a
refusal, and Dagster's pools, which limit how much runs at once and not how often.

The clock is the database's: processes on several machines disagree about the time, their database does not.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Lock

import psycopg
import sqlalchemy as sa

from azak_assets import krx
from azak_assets.ports import Closed, Token

RENEWAL_MARGIN = timedelta(minutes=10)
"""A token this near to its end is renewed, so that none expires between being handed out and being used."""
BACKFILL_SHARE = 0.4
"""Part of a rate that backfills may use while a session is open; the other 60 % stay for live work."""
LATEST_START_S = 0.1
"""Seconds. A caller that wakes up later than this gives its slot up and queues again: late starts bunch, and 15 calls
a second spaced evenly but started up to 0.1 s late are at most 17 in any second, where the broker allows 18."""
MOST_SLOTS = 3
"""Slots one caller may give up; a machine so busy that it is late every time must still get through."""
LONGEST_QUEUE = 1000
"""Slots. A next slot further ahead than this many callers could have taken is a clock that was set back: ignored."""


class LimitsError(Exception):
    """The shared limits cannot be read or written; no request is sent without them."""


class PostgresTokenStore:
    """Keeps the tokens of all upstreams in `ops.access_tokens`; a `ports.TokenStore`.

    The table holds secrets: only its owner has privileges on it.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._issuing: defaultdict[str, Lock] = defaultdict(Lock)

    def get_or_issue(self, name: str, issue: Callable[[], Token], *, discard: str | None = None) -> Token:
        """Return the token kept under `name`, calling `issue` where there is none or it ends within ten minutes.

        One caller issues at a time, across threads, processes and machines; the others wait and get the new token.
        `discard` is a token text that the upstream refused: it is replaced once, however many callers were refused with
        it, even where the upstream issues the same text again (KIS does so within six hours of issuing).

        Raises:
            LimitsError: the database does not answer. Whatever `issue` raises passes through and nothing is stored.
        """
        with self._session(name) as connection:
            asked_at, kept, _ = self._look(connection, name)
        if kept is not None and kept.access_token != discard:
            return kept
        # Threads of one process wait here without a connection: the issuer needs some for its rate limit, and a
        # pool drained by waiters would never give it one.
        with self._issuing[name], self._session(name) as connection:
            lock = sa.text("select pg_advisory_xact_lock(hashtextextended('azak.token.' || :name, 0))")
            connection.execute(lock, {"name": name})
            _, kept, issued_at = self._look(connection, name)
            # Issued after we asked, it is not the one we were refused with, whatever its text.
            if kept is not None and (kept.access_token != discard or issued_at > asked_at):
                return kept
            issued = issue()
            connection.execute(
                sa.text(
                    "insert into ops.access_tokens (name, access_token, expires_at, issued_at)"
                    " values (:name, :access_token, :expires_at, clock_timestamp())"
                    " on conflict (name) do update set access_token = excluded.access_token,"
                    " expires_at = excluded.expires_at, issued_at = excluded.issued_at"
                ),
                {"name": name, "access_token": issued.access_token, "expires_at": issued.expires_at},
            )
            return issued

    @staticmethod
    def _look(connection: sa.Connection, name: str) -> tuple[datetime, Token | None, datetime]:
        """The database's time, the kept token if it is valid for long enough, and when that was issued."""
        row = connection.execute(
            sa.text(
                "select clock_timestamp() as now, kept.* from (values (1)) as always"
                " left join ops.access_tokens as kept on kept.name = :name"
            ),
            {"name": name},
        ).one()
        now: datetime = row.now
        if row.access_token is None or row.expires_at <= now + RENEWAL_MARGIN:
            return now, None, now
        return now, Token(row.access_token, row.expires_at), row.issued_at

    @contextmanager
    def _session(self, name: str) -> Iterator[sa.Connection]:
        with _translated(self._engine, f"access token of `{name}`"), self._engine.begin() as connection:
            yield connection


def session_is_open(now: datetime) -> bool:
    """Whether the market is in session at an instant (aware)."""
    return krx.current_or_next_session(now).open_at <= now


class PostgresRateLimiter:
    """Hands out evenly spaced slots, one row of `ops.rate_budgets` an upstream; a `ports.RateLimiter`.

    Evenly spaced means no saved-up bursts: an upstream that counts the last second never sees more than the rate.
    Callers stand in one queue, in the order in which they asked, whatever their process.

    Args:
        engine: of a migrated database.
        live: whether this is live work. A backfill (`False`) takes at most `BACKFILL_SHARE` of the rate while a
            session is open. In a sandbox nothing is live and nothing has to be kept for it: leave it `True`.
        in_session: whether a session is open at an instant; the market's calendar by default.
    """

    def __init__(
        self, engine: sa.Engine, *, live: bool = True, in_session: Callable[[datetime], bool] = session_is_open
    ) -> None:
        # Each statement is its own transaction: the row is locked for a fraction of a millisecond.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._live = live
        self._in_session = in_session

    def acquire(self, name: str, per_second: float) -> Closed | None:
        """Block until one call to `name` may start at `per_second` calls a second, over all processes.

        Returns the refusal, at once, where the upstream has refused a caller, of whatever process. The caller
        compares the credentials: only the refused ones must not call.

        Raises:
            LimitsError: the database does not answer; the call must not be made.
        """
        if not self._live and self._in_session(self._now(name)):
            self._wait_for_slot(name, f"{name}/backfill", per_second * BACKFILL_SHARE)
        return self._wait_for_slot(name, name, per_second)

    def _wait_for_slot(self, upstream: str, queue: str, per_second: float) -> Closed | None:
        closed: Closed | None = None
        for _ in range(MOST_SLOTS):
            asked_at = time.monotonic()
            seconds, closed = self._next_slot(upstream, queue, per_second)
            wait = 0.0 if closed else max(0.0, seconds)
            time.sleep(wait)
            if time.monotonic() - asked_at - wait <= LATEST_START_S:
                break
        return closed

    def _next_slot(self, upstream: str, queue: str, per_second: float) -> tuple[float, Closed | None]:
        """Take the next slot of a queue; seconds until it begins, and whether the upstream is closed."""
        with _translated(self._engine, f"rate limit of `{upstream}`"), self._engine.connect() as connection:
            # Losing the last slots in a crash costs nothing, waiting for the disk at every call would: hence
            # synchronous_commit, for this statement only. Whether the upstream is closed is read with it: a second
            # statement a call would cost as much again.
            row = connection.execute(
                sa.text(
                    "with hurried as (select set_config('synchronous_commit', 'off', true))"
                    " insert into ops.rate_budgets as budget (name, next_at)"
                    " select :queue, clock_timestamp() + make_interval(secs => :step) from hurried"
                    " on conflict (name) do update set next_at = make_interval(secs => :step) + greatest("
                    "clock_timestamp(), least(budget.next_at, clock_timestamp() + make_interval(secs => :longest)))"
                    " returning extract(epoch from budget.next_at - clock_timestamp())::float8 - :step,"
                    " (select json_build_array(closed_cause, closed_what, closed_advice, closed_until, closed_for)"
                    " from ops.source_health where upstream = :upstream and closed_until > clock_timestamp())"
                ),
                {"queue": queue, "upstream": upstream, "step": 1 / per_second, "longest": LONGEST_QUEUE / per_second},
            ).one()
        seconds: float = row[0]
        refusal: list[str] | None = row[1]
        if refusal is None:
            return seconds, None
        cause, what, advice, until, credentials = refusal
        return seconds, Closed(cause, what, advice, datetime.fromisoformat(until), credentials)

    def _now(self, name: str) -> datetime:
        with _translated(self._engine, f"rate limit of `{name}`"), self._engine.connect() as connection:
            now: datetime = connection.execute(sa.text("select clock_timestamp()")).scalar_one()
            return now


@contextmanager
def _translated(engine: sa.Engine, what: str) -> Iterator[None]:
    """Turn the driver's errors into one sentence, without details that quote the row or the parameters: a token."""
    try:
        yield
    except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
        origin = getattr(error, "orig", None) or error
        primary = origin.diag.message_primary if isinstance(origin, psycopg.Error) else None
        reason = " ".join((primary or str(origin)).split())
        msg = (
            f"The shared {what} in database {engine.url.database!r} cannot be used ({reason}), and nothing is asked of "
            "an upstream without it: see that PostgreSQL runs (`azak db status`) and run this again."
        )
        raise LimitsError(msg) from None
