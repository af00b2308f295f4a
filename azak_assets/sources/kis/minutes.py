"""Whether the minutes of a running session are all there: what proves it, and what proves a hole.

Put here that rule, no network. A minute without a trade has no row, so counting rows proves nothing. Every answer of
FHKST03010200 says beside its rows what the day has traded so far, and every row what had been turned over by its end:

1. *Proven complete*: the volumes of the minutes add up to the day's (`acml_vol`). The rows of minutes that are not over
   at our clock may be in the difference; the newest of them may repeat the minute before it and not be.
2. Otherwise something is missing, and the session is asked for once more from now back to its open. If the volumes
   then add up, a page had been lost.
3. If they still do not, the running turnover tells where. Between two neighbouring rows it grows by what the later one
   turned over: its volume at a price inside its range. Where it grew by more, and minutes without a row lie between the
   two, each of these is *missing*: one of them at least traded. Where it grew by more between adjacent minutes, and for
   the rest of the difference, the trades were made off the book (blocks, the trading at the closing price before the
   open): they are in the totals and in no minute. Missing is therefore an upper bound, and zero is a proof.

The ten minutes of the closing auction's call have no trades and are never missing; the auction is the minute of the
close itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from azak_assets import krx
from azak_assets.sources.fields import Refused, whole
from azak_assets.sources.kis.bars import TURNOVER_SLACK, MinuteRow
from azak_assets.sources.records import MINUTE, Batch, MinuteBar

CLOSING_CALL = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class SessionMinutes(Batch[MinuteBar]):
    """The minutes of one stock's running session: `records` are the new and the changed ones of this asking.

    `bars`: all of them, oldest first. `missing`: minutes without a bar in which it may have traded (rule 3); 0 is a
    proof of completeness at the time of asking. `off_book`: shares of the day's total that no minute explains.
    """

    bars: Sequence[MinuteBar] = ()
    missing: int = 0
    off_book: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """What the day has traded by an answer's own head, and the volumes of its unfinished rows, oldest first."""

    volume: int | None
    turnover_krw: int | None
    unfinished: Sequence[int] = ()

    def explains(self, difference: int) -> bool:
        """Whether the unfinished rows, or all but the newest ones of them, are a difference of the volumes."""
        sums, so_far = [0], 0
        for volume in self.unfinished:
            so_far += volume
            sums.append(so_far)
        return difference in sums


def is_complete(bars: Iterable[MinuteBar], totals: Totals, off_book: int) -> bool:
    """Rule 1, with the off-book shares that an earlier asking found; more in the bars than in the head is no hole."""
    if totals.volume is None:
        return False
    difference = totals.volume - off_book - sum(bar.volume for bar in bars)
    return difference <= 0 or totals.explains(difference)


def left_over(bars: Iterable[MinuteBar], totals: Totals) -> int:
    """Shares of the day's total that neither the bars nor the unfinished minutes explain."""
    if totals.volume is None:
        return 0
    return max(0, totals.volume - sum(bar.volume for bar in bars) - sum(totals.unfinished))


def missing_minutes(
    rows: Iterable[MinuteRow], quiet: Iterable[datetime], session: krx.Session, totals: Totals, now: datetime
) -> int:
    """Rule 3, for rows of a walk back to the open. `quiet`: minutes whose row says that nothing traded."""
    silent = set(quiet)
    missing = 0
    before_at, before = session.open_at - MINUTE, 0
    for row in sorted(rows, key=lambda row: row.bar.ts):
        bar, so_far = row.bar, row.turnover_so_far
        most = bar.high * bar.volume * (1 + TURNOVER_SLACK)
        if so_far is None or so_far - before > most:
            missing += _between(before_at, bar.ts, session, silent)
        before_at, before = bar.ts, before if so_far is None else so_far
    if not sum(totals.unfinished) and totals.turnover_krw is not None and totals.turnover_krw > before:
        running = now.replace(second=0, microsecond=0)
        missing += _between(before_at, min(running, session.close_at + MINUTE), session, silent)
    return missing


def _between(first: datetime, last: datetime, session: krx.Session, quiet: set[datetime]) -> int:
    """How many minutes strictly between two could have traded."""
    at, count = first + MINUTE, 0
    while at < last:
        count += at not in quiet and not session.close_at - CLOSING_CALL <= at < session.close_at
        at += MINUTE
    return count


def merged(known: Sequence[MinuteBar], read: Iterable[MinuteBar]) -> tuple[list[MinuteBar], list[MinuteBar]]:
    """All minutes in order, and those of `read` that are new or changed.

    The oldest row of a page cannot tell its own turnover, which is a difference to the row before it: a turnover that
    was known before is kept while the rest of the bar is the same.
    """
    by_start: dict[datetime, MinuteBar] = {bar.ts: bar for bar in known}
    fresh: list[MinuteBar] = []
    for bar in read:
        old = by_start.get(bar.ts)
        if old is not None and bar.turnover_krw is None:
            kept = replace(bar, turnover_krw=old.turnover_krw)
            bar = kept if kept == old else bar  # noqa: PLW2901 - the same bar, with what was known of it
        if bar != old:
            fresh.append(bar)
            by_start[bar.ts] = bar
    return [by_start[ts] for ts in sorted(by_start)], fresh


def total(head: object, name: str) -> int | None:
    """A total of an answer's head; None where it cannot be read, which proves nothing."""
    try:
        return whole(head, name) if isinstance(head, Mapping) else None
    except Refused:
        return None
