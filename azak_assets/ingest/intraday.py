"""The feeds of a running session: quotes and books at every five-minute snapshot, the minutes as they end.

Belongs here: what each feed asks next, and loading as it goes; the clock is handed in. Does not belong here: the loop
(`loop`), which feeds run together (`session`), what an answer means and what proves a hole (`sources.kis`).

One thread of feeds: whichever is most overdue goes next. Within a round many stocks are asked at once, inside the
budget that all processes share, the most wanted stocks first; every few answers are loaded, so that a collector that is
killed loses none of them. A collector that starts in its place reads from the tables what is there: a snapshot is asked
for the stocks that lack it, and the minutes are asked back to the newest stored one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from azak_assets import krx
from azak_assets.ingest.frames import frame_of
from azak_assets.ingest.hours import BOOKED_WITHIN, SNAPSHOT_EVERY, snapshot_time
from azak_assets.ingest.report import Finding, StepReport
from azak_assets.sources.collect import collect
from azak_assets.sources.failures import Empty, SourceFailure
from azak_assets.sources.kis.minutes import SessionMinutes
from azak_assets.sources.records import MINUTE, Batch, MinuteBar, Reject
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from azak_assets.sources.kis.client import KisClient

LOADED_AT_ONCE = 50
"""Answers that a killed collector can lose at most: some 3 s of asking, and the next one asks for them again."""


class Rounds:
    """The report of a feed's rounds, and whether the upstream answered in the present round."""

    def __init__(self) -> None:
        self.report = StepReport(answered=0, notes={"rounds": 0})
        self._rounds = 0
        self._failure: SourceFailure | None = None
        self._is_answered = False
        self._rejects: set[Reject] = set()

    def record(self, key: str, answer: Batch[Any] | SourceFailure) -> None:
        """Count one answer, without keeping its rows; a bad record that comes again counts once."""
        if isinstance(answer, SourceFailure):
            self._failure = answer
            self.report.add_failures({key: answer})
            return
        self.report.answered = (self.report.answered or 0) + 1
        new = [reject for reject in dict.fromkeys(answer.rejects) if reject not in self._rejects]
        self._rejects.update(new)
        self.report.add_rejects(new)
        self._is_answered = True

    def end_round(self) -> None:
        """Count a round. Raises its last failure if every request of it failed for another reason than `Empty`."""
        failure, is_answered = self._failure, self._is_answered
        self._failure, self._is_answered = None, False
        if failure is not None and not is_answered and not isinstance(failure, Empty):
            raise failure
        self._rounds += 1
        self.report.notes["rounds"] = self._rounds


class Snapshots:
    """One table of five-minute snapshots: quotes or books.

    A stock that is asked late is still a row of the snapshot its round belongs to; `known_at` has the instant. When the
    next snapshot comes before the round is through, the rest is left out: a row holds what was so at its own instant.
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
        self.rounds = Rounds()
        self._left_out = 0
        self._table, self._record, self._ask, self._source = table, record, ask, source
        self._session, self._codes, self._warehouse, self._now = session, codes, warehouse, now
        self._asked: datetime | None = None

    def due_at(self, now: datetime) -> datetime | None:
        """The newest snapshot until it was asked for, then the next one."""
        at = snapshot_time(self._session, now)
        if self._asked is None or at > self._asked:
            return at
        return at + SNAPSHOT_EVERY if at + SNAPSHOT_EVERY <= self._session.close_at else None

    def round(self, now: datetime) -> None:
        """Ask for the newest snapshot of every stock that has no row of it yet."""
        at = snapshot_time(self._session, now)
        first, self._asked = self._asked is None, at
        there = self._stored(at) if first else frozenset()
        wanted = [code for code in self._codes if code not in there]
        pending: dict[str, list[Any]] = {}
        try:
            for asked, (code, answer) in enumerate(collect(self._ask, wanted), start=1):
                self.rounds.record(f"{at:%H:%M} {code}", answer)
                if not isinstance(answer, SourceFailure):
                    pending[code] = answer.records
                    self._warehouse.quarantine(answer.rejects, source=self._source)
                if len(pending) >= LOADED_AT_ONCE:
                    self._load(at, pending)
                    pending = {}
                if at < self._session.close_at and self._now() >= at + SNAPSHOT_EVERY:
                    self._left_out += len(wanted) - asked
                    break
        finally:
            self._load(at, pending)
        self.rounds.end_round()

    def report(self) -> StepReport:
        """What came of all rounds so far."""
        self.rounds.report.notes["left out"] = self._left_out
        return self.rounds.report

    def _stored(self, at: datetime) -> frozenset[str]:
        stored = self._warehouse.read(self._table, columns=["stock_code"], where={"snapshot_at": at})
        return frozenset(stored["stock_code"])

    def _load(self, at: datetime, pending: Mapping[str, Sequence[Any]]) -> None:
        records = [record for answered in pending.values() for record in answered]
        if not records:
            return
        frame = frame_of(records, self._record)
        frame["snapshot_at"] = pd.Series([at] * len(frame), dtype=object)
        scope = Scope((self._session.day,), tuple(pending))
        result = self._warehouse.load(self._table, frame, scope, complete=False, source=self._source)
        self.rounds.report.add_load(result, frame, instant="known_at")


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
        self.rounds = Rounds()
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
        last = self._session.close_at + MINUTE + BOOKED_WITHIN
        following = now.replace(second=0, microsecond=0) + MINUTE + BOOKED_WITHIN
        self._next = None if now >= last else min(following, last)
        pending: dict[str, list[MinuteBar]] = {}

        def fetch(code: str) -> SessionMinutes:
            return self._kis.minute_bars_today(code, self.known.get(code))

        try:
            for code, answer in collect(fetch, self._codes):
                self.rounds.record(f"{now:%H:%M} {code}", answer)
                if isinstance(answer, SourceFailure):
                    continue
                self._warehouse.quarantine(answer.rejects, source=self._source)
                pending[code] = answer.records
                self._keep(code, answer)
                if sum(map(bool, pending.values())) >= LOADED_AT_ONCE:
                    self._load(pending)
                    pending = {}
        finally:
            self._load(pending)
        self.rounds.end_round()

    def report(self) -> StepReport:
        """What came of all rounds so far, and whether a minute is missing."""
        stocks = self._completeness()
        short = stocks[stocks["missing"] > 0].sort_values("missing", ascending=False)
        missing = int(stocks["missing"].sum())
        report = self.rounds.report
        report.notes |= {
            "minutes expected": int(stocks["expected"].sum()),
            "minutes present": int(stocks["present"].sum()),
            "minutes missing": missing,
            "missing by stock": dict(zip(short["stock_code"], map(int, short["missing"]), strict=True)),
        }
        report.finding = Finding(
            passed=not missing,
            why=""
            if not missing
            else f"{missing} minutes of {len(short)} stocks traded, or may have, and KIS sent no bar of them though "
            "the session was asked for twice. Materialize today's partition again before the day ends: past minutes "
            "need a live account.",
            numbers={
                "stocks": len(stocks),
                "missing": missing,
                "shares off the book": int(stocks["off the book"].sum()),
            },
            rows=short,
        )
        return report

    def _completeness(self) -> pd.DataFrame:
        """Per stock that answered: minutes present, minutes expected (present and missing), shares off the book."""
        rows = [
            (code, len(known.bars) + known.missing, len(known.bars), known.missing, known.off_book)
            for code in self._codes
            if code in self.proven
            for known in [self.known[code]]
        ]
        return pd.DataFrame(rows, columns=["stock_code", "expected", "present", "missing", "off the book"])

    def _keep(self, code: str, answer: Batch[MinuteBar]) -> None:
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
        self.rounds.report.add_load(result, frame, instant="ts")

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
