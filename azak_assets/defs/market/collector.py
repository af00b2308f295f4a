"""The collector of a running session: quotes and books at every five-minute mark, the minutes as they end.

Belongs here: what is due when, and loading as it goes; the clock is handed in. Does not belong here: the loop
(`defs.collectors`), Dagster (`intraday`), what an answer means and what proves a hole (`sources.kis`).

One thread of feeds: whichever is most overdue goes next. Within a round many stocks are asked at once, inside the
budget that all processes share, the most wanted stocks first; every few answers are loaded, so that a collector that is
killed loses none of them. One that starts in its place reads from the tables what is there: a mark is asked for the
stocks that lack it, and the minutes are asked back to the newest stored one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from azak_assets import krx
from azak_assets.defs.collectors import HALF_HOUR
from azak_assets.defs.market.assets import Collected, frame_of
from azak_assets.sources.collect import collect
from azak_assets.sources.failures import Empty, SourceFailure
from azak_assets.sources.kis.minutes import SessionMinutes
from azak_assets.sources.records import Batch, MinuteBar, Reject
from azak_assets.warehouse.scope import LoadResult, Scope
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:  # the clients bring httpx, which loading the definitions can do without
    from azak_assets.sources.kis.client import KisClient

EVERY = timedelta(minutes=5)
MINUTE = timedelta(minutes=1)
SETTLE = timedelta(seconds=5)
"""So long after its end a minute is asked for: its last trades are booked by then, and no second version follows."""
LAST_STRETCH = timedelta(minutes=5)
"""A half hour that would end so shortly before the session's last minute goes on to it."""
LOADED_AT_ONCE = 50
"""Answers that a killed collector can lose at most: some 3 s of asking, and the next one asks for them again."""


def mark_of(session: krx.Session, now: datetime) -> datetime:
    """The newest five-minute mark of an open session: its open, every five minutes, and its close."""
    return session.open_at + (min(now, session.close_at) - session.open_at) // EVERY * EVERY


def marks_until(session: krx.Session, now: datetime) -> int:
    """How many marks a session has had."""
    return (min(now, session.close_at) - session.open_at) // EVERY + 1 if now >= session.open_at else 0


def ends_at(session: krx.Session) -> datetime:
    """When there is nothing more to collect: the minute of the closing auction has ended and was asked for."""
    return session.close_at + 2 * MINUTE


class Loads:
    """What a feed's rounds asked and loaded."""

    def __init__(self) -> None:
        self.results: list[LoadResult] = []
        self.gathered = Collected()
        self.newest = pd.DataFrame()
        self.rows = self.rounds = 0
        self._failure: SourceFailure | None = None
        self._is_answered = False
        self.earliest: datetime | None = None
        self.latest: datetime | None = None

    def heard(self, key: str, answer: Batch[Any] | SourceFailure) -> None:
        """Count one answer, without keeping its rows."""
        if isinstance(answer, SourceFailure):
            self.gathered.failures[key] = self._failure = answer
        else:
            self.gathered.whole_keys.append(key)
            self.gathered.rejects += answer.rejects
            self._is_answered = True

    def end_round(self) -> None:
        """Count a round. Raises the last failure of one in which nobody answered, unless there is just nothing."""
        failure, is_answered = self._failure, self._is_answered
        self._failure, self._is_answered = None, False
        if failure is not None and not is_answered and not isinstance(failure, Empty):
            raise failure
        self.rounds += 1

    def loaded(self, result: LoadResult, frame: pd.DataFrame, instant: str) -> None:
        """Take note of one load, whose span is that of the column `instant`."""
        self.results.append(result)
        self.rows += len(frame)
        self.newest = frame
        first, last = frame[instant].min(), frame[instant].max()
        self.earliest = first if self.earliest is None else min(self.earliest, first)
        self.latest = last if self.latest is None else max(self.latest, last)

    @property
    def rejects(self) -> list[Reject]:
        """Every reject once: a bad minute comes again with each page that holds it."""
        return list(dict.fromkeys(self.gathered.rejects))


class Marks:
    """One table of five-minute marks: quotes or books.

    A stock that is asked late is still a row of the mark its round belongs to; `known_at` has the instant. When the
    next mark comes before the round is through, the rest is left out: a row says what it was at its own mark.
    """

    def __init__(
        self,
        table: str,
        record: type,
        ask: Callable[[str], Batch[Any]],
        *,
        source: str,
        session: krx.Session,
        codes: Sequence[str],
        warehouse: Warehouse,
        now: Callable[[], datetime],
    ) -> None:
        self.loads = Loads()
        self.left_out = 0
        self._table, self._record, self._ask, self._source = table, record, ask, source
        self._session, self._codes, self._warehouse, self._now = session, codes, warehouse, now
        self._asked: datetime | None = None

    def due_at(self, now: datetime) -> datetime | None:
        """The newest mark until it was asked for, then the next one."""
        mark = mark_of(self._session, now)
        if self._asked is None or mark > self._asked:
            return mark
        return mark + EVERY if mark + EVERY <= self._session.close_at else None

    def round(self, now: datetime) -> None:
        """Ask for the newest mark of every stock that has no row of it yet."""
        mark = mark_of(self._session, now)
        first, self._asked = self._asked is None, mark
        there = self._stored(mark) if first else frozenset()
        wanted = [code for code in self._codes if code not in there]
        pending: dict[str, list[Any]] = {}
        try:
            for asked, (code, answer) in enumerate(collect(self._ask, wanted), start=1):
                self.loads.heard(f"{mark:%H:%M} {code}", answer)
                if not isinstance(answer, SourceFailure):
                    pending[code] = answer.records
                    self._warehouse.quarantine(answer.rejects, source=self._source)
                if len(pending) >= LOADED_AT_ONCE:
                    self._load(mark, pending)
                    pending = {}
                if mark < self._session.close_at and self._now() >= mark + EVERY:
                    self.left_out += len(wanted) - asked
                    break
        finally:
            self._load(mark, pending)
        self.loads.end_round()

    def _stored(self, mark: datetime) -> frozenset[str]:
        stored = self._warehouse.read(self._table, columns=["stock_code"], where={"snapshot_at": mark})
        return frozenset(stored["stock_code"])

    def _load(self, mark: datetime, pending: Mapping[str, Sequence[Any]]) -> None:
        records = [record for answered in pending.values() for record in answered]
        if not records:
            return
        frame = frame_of(records, self._record)
        frame["snapshot_at"] = pd.Series([mark] * len(frame), dtype=object)
        scope = Scope((self._session.day,), tuple(pending))
        result = self._warehouse.load(self._table, frame, scope, complete=False, source=self._source)
        self.loads.loaded(result, frame, "known_at")


class Minutes:
    """The one-minute bars of today: one call a stock and round where nothing is missing."""

    def __init__(
        self,
        kis: "KisClient",
        *,
        source: str,
        session: krx.Session,
        codes: Sequence[str],
        warehouse: Warehouse,
        now: datetime,
    ) -> None:
        self.loads = Loads()
        self.known = self._stored(warehouse, session, codes)
        """What is there of each stock, and what is proven of it; stored bars are proven by the next answer."""
        self.proven: set[str] = set()
        self._kis, self._source, self._session, self._codes = kis, source, session, codes
        self._warehouse = warehouse
        self._next: datetime | None = now

    def due_at(self, now: datetime) -> datetime | None:  # noqa: ARG002 - the signature of a feed
        """Shortly after each minute, the last time after the minute of the closing auction."""
        return self._next

    def round(self, now: datetime) -> None:
        """Ask for what is new of every stock."""
        last = self._session.close_at + MINUTE + SETTLE
        following = now.replace(second=0, microsecond=0) + MINUTE + SETTLE
        self._next = None if now >= last else min(following, last)
        pending: dict[str, list[MinuteBar]] = {}

        def fetch(code: str) -> SessionMinutes:
            return self._kis.minute_bars_today(code, self.known.get(code))

        try:
            for code, answer in collect(fetch, self._codes):
                self.loads.heard(f"{now:%H:%M} {code}", answer)
                if isinstance(answer, SourceFailure):
                    continue
                self._warehouse.quarantine(answer.rejects, source=self._source)
                pending[code] = answer.records
                self._heard(code, answer)
                if sum(map(bool, pending.values())) >= LOADED_AT_ONCE:
                    self._load(pending)
                    pending = {}
        finally:
            self._load(pending)
        self.loads.end_round()

    def completeness(self) -> pd.DataFrame:
        """Per stock that answered: minutes present, minutes expected (present and missing), shares off the book."""
        rows = [
            {
                "stock_code": code,
                "expected": len(known.bars) + known.missing,
                "present": len(known.bars),
                "missing": known.missing,
                "off the book": known.off_book,
            }
            for code in self._codes
            if code in self.proven
            for known in [self.known[code]]
        ]
        return pd.DataFrame(rows, columns=["stock_code", "expected", "present", "missing", "off the book"])

    def _heard(self, code: str, answer: Batch[MinuteBar]) -> None:
        if isinstance(answer, SessionMinutes):
            self.known[code] = answer
            self.proven.add(code)

    def _load(self, pending: Mapping[str, Sequence[MinuteBar]]) -> None:
        bars = [bar for fresh in pending.values() for bar in fresh]
        if not bars:
            return
        frame = frame_of(bars, MinuteBar)
        scope = Scope((self._session.day,), tuple(pending))
        result = self._warehouse.load("raw.minute_bars", frame, scope, complete=False, source=self._source)
        self.loads.loaded(result, frame, "ts")

    @staticmethod
    def _stored(warehouse: Warehouse, session: krx.Session, codes: Sequence[str]) -> dict[str, SessionMinutes]:
        names = [field.name for field in fields(MinuteBar)]
        stored = warehouse.read(
            "raw.minute_bars",
            columns=names,
            days=(session.day, session.day),
            where={"stock_code": list(codes)},
            order_by=["ts"],
        )
        bars: dict[str, list[MinuteBar]] = {}
        for row in stored[names].itertuples(index=False):
            values = dict(zip(names, row, strict=True))
            for name in ("ts", "known_at"):
                values[name] = values[name].to_pydatetime().astimezone(krx.KST)
            values |= {name: int(values[name]) for name in ("open", "high", "low", "close", "volume")}
            turnover = values["turnover_krw"]
            values["turnover_krw"] = None if pd.isna(turnover) else int(turnover)
            bars.setdefault(values["stock_code"], []).append(MinuteBar(**values))
        return {code: SessionMinutes([], [], 0, "", bars=known) for code, known in bars.items()}


def half_hour(session: krx.Session, began: datetime) -> datetime:
    """When a collector that began then makes room for the next one."""
    end = ends_at(session)
    return end if began + HALF_HOUR + LAST_STRETCH >= end else began + HALF_HOUR
