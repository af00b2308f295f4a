"""Filings at DART: asked for at once and, by a collector, at every fifth minute of the clock to its half hour's end.

Belongs here: a round, what it adds to the records (stock code, the filing that a correction amends), the loop's times.
Does not belong here: wire format (`sources.opendart`), comparing report names (`text.filings`), which run starts when
(`defs`). Frames are imported where a round lands: the sensors need the times, and load without pandas.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from azak_assets.ingest import loop
from azak_assets.ingest.report import SAMPLE_ROWS, StepReport
from azak_assets.sources.records import Filing, Reject
from azak_assets.warehouse.scope import LoadResult, Scope
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

    from azak_assets.sources.opendart import OpenDartClient

TABLE = "raw.disclosures"
ROUND_EVERY = timedelta(minutes=5)
LAST_ROUND = timedelta(minutes=1)
"""A collector also makes the round at the end of its half hour: the next one needs some seconds to start."""
SHOWN = ["rcept_dt", "corp_name", "stock_code", "report_nm", "correction_kind", "rcept_no"]


@dataclass(frozen=True)
class FilingsWindow:
    """Which filings are asked for: ``days_from(now)`` to ``last`` (KST dates), and a label for people."""

    days_from: Callable[[datetime], date]
    last: date
    label: str


class FilingsFeed:
    """The filings of a window, one `round` at a time."""

    def __init__(
        self,
        warehouse: Warehouse,
        dart: "OpenDartClient",
        window: FilingsWindow,
        *,
        source: str,
        log: logging.Logger,
    ) -> None:
        self._warehouse, self._dart, self._window, self._source, self._log = warehouse, dart, window, source, log
        self._next: datetime | None = None
        self._loads: list[tuple[LoadResult, pd.DataFrame]] = []
        self._rejects: dict[Reject, None] = {}  # a refused filing comes again with every round

    def due_at(self, now: datetime) -> datetime:
        """When the next round is due; the first is at once."""
        return self._next or now

    def round(self, now: datetime) -> None:
        """Ask for the window's filings and land them. Raises `SourceFailure`."""
        self._next = floor_of(now, ROUND_EVERY) + ROUND_EVERY
        batch = self._dart.filings(self._window.days_from(now), self._window.last)
        frame = self._frame(batch.records)
        result = self._warehouse.load(TABLE, frame, Scope(days=None), complete=False, source=self._source)
        self._warehouse.quarantine(batch.rejects, source=self._source)
        self._log.info(
            "%d filings of %s, %d of them new, %d requests",
            len(frame), self._window.label, result.inserted, batch.requests,
        )  # fmt: skip
        self._loads.append((result, frame))
        self._rejects |= dict.fromkeys(batch.rejects)

    def report(self) -> StepReport:
        """What all rounds did to the table; rows, span and sample are those of the newest round."""
        report = StepReport()
        for result, frame in self._loads:
            report.add_load(result, frame, instant="rcept_dt", columns=SHOWN)
        _, newest = self._loads[-1]
        known = newest["rcept_dt"].dropna()
        report.rows = len(newest)
        report.earliest, report.latest = (None, None) if known.empty else (known.min(), known.max())
        report.samples = [newest[SHOWN].head(SAMPLE_ROWS)]
        report.add_rejects(self._rejects)
        report.notes |= {
            "rounds": len(self._loads),
            "listed companies": int(newest["stock_code"].notna().sum()),
            "corrections": int(newest["correction_kind"].notna().sum()),
        }
        return report

    def _frame(self, filings: list[Filing]) -> "pd.DataFrame":
        """The filings, with the stock code of `raw.corp_codes` where DART gives none, and what a correction amends."""
        import pandas as pd  # noqa: PLC0415 - see the module's docstring

        from azak_assets.text.filings import amended  # noqa: PLC0415

        frame = pd.DataFrame(filings, columns=list(Filing.__dataclass_fields__))
        codes = self._warehouse.read("raw.corp_codes", columns=["corp_code", "stock_code"]).dropna()
        listed = frame["corp_code"].map(codes.drop_duplicates("corp_code").set_index("corp_code")["stock_code"])
        frame["stock_code"] = frame["stock_code"].where(frame["stock_code"].notna(), listed)
        earlier = self._warehouse.read(
            TABLE,
            columns=["rcept_no", "corp_code", "filer_name", "report_nm", "rcept_dt"],
            where={"corp_code": frame.loc[frame["correction_kind"].notna(), "corp_code"].unique().tolist()},
        )
        frame["amends_rcept_no"] = amended(frame, earlier)
        return frame


def collect_filings(
    warehouse: Warehouse,
    dart: "OpenDartClient",
    window: FilingsWindow,
    *,
    loops: bool,
    now: Callable[[], datetime],
    sleep: Callable[[float], None],
    source: str,
    log: logging.Logger,
) -> StepReport:
    """Collect the window's filings: one round, or with ``loops`` a round every five minutes to the half hour's end.

    Raises:
        SourceFailure: DART refuses us, or no round came through.
    """
    feed = FilingsFeed(warehouse, dart, window, source=source, log=log)
    if loops:
        # Half hours of the clock: the session that filings belong to changes at the end of one, at midnight.
        until = floor_of(now(), loop.HALF_HOUR) + loop.HALF_HOUR + LAST_ROUND
        loop.run([feed], until=until, now=now, sleep=sleep, log=log)
    else:
        loop.once([feed], now)
    return feed.report()


def floor_of(instant: datetime, step: timedelta) -> datetime:
    """The newest multiple of ``step`` since the instant's midnight (in its own zone)."""
    midnight = instant.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (instant - midnight) // step * step
