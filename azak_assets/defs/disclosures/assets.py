"""DART filings by trading day, corrections included.

Belongs here: collecting disclosures. DART gives a date and no time, so a filing counts as known at the end of its
receipt date unless it was seen sooner; in the job `disclosures` the step asks every five minutes for half an hour.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pandas as pd

from azak_assets.defs import collectors
from azak_assets.defs.failures import as_dagster, skip_unless_available
from azak_assets.defs.reporting import loaded, total, usage
from azak_assets.defs.windows import Window, window_of
from azak_assets.ingest import loop
from azak_assets.partitions import TRADING_DAYS
from azak_assets.runtime import Upstreams
from azak_assets.sources.failures import SourceFailure
from azak_assets.sources.records import Filing, Reject
from azak_assets.text.filings import amended
from azak_assets.warehouse.scope import LoadResult, Scope
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:  # the clients bring httpx, which loading the definitions can do without
    from azak_assets.sources.opendart import OpenDartClient

EVERY = timedelta(minutes=5)
LAST_ROUND = timedelta(minutes=1)
"""A collector also makes the round at the end of its half hour: the next one needs some seconds to start."""
SHOWN = ["rcept_dt", "corp_name", "stock_code", "report_nm", "correction_kind", "rcept_no"]


class _Filings:
    """The filings of a window, asked for at once and then at every fifth minute of the clock."""

    def __init__(
        self, warehouse: Warehouse, dart: "OpenDartClient", window: Window, *, source: str, log: dg.DagsterLogManager
    ) -> None:
        self.results: list[LoadResult] = []
        self.newest = pd.DataFrame()
        self.rejects: list[Reject] = []
        self._warehouse, self._dart, self._window, self._source, self._log = warehouse, dart, window, source, log
        self._next: datetime | None = None

    def due_at(self, now: datetime) -> datetime:
        return self._next or now

    def round(self, now: datetime) -> None:
        self._next = _floor(now, EVERY) + EVERY
        batch = self._dart.filings(self._window.asked_from(now).date(), self._window.last.day)
        frame = pd.DataFrame(batch.records, columns=list(Filing.__dataclass_fields__))
        codes = self._warehouse.read("raw.corp_codes", columns=["corp_code", "stock_code"]).dropna()
        listed = frame["corp_code"].map(codes.drop_duplicates("corp_code").set_index("corp_code")["stock_code"])
        frame["stock_code"] = frame["stock_code"].where(frame["stock_code"].notna(), listed)
        earlier = self._warehouse.read(
            "raw.disclosures",
            columns=["rcept_no", "corp_code", "filer_name", "report_nm", "rcept_dt"],
            where={"corp_code": frame.loc[frame["correction_kind"].notna(), "corp_code"].unique().tolist()},
        )
        frame["amends_rcept_no"] = amended(frame, earlier)
        result = self._warehouse.load("raw.disclosures", frame, Scope(days=None), complete=False, source=self._source)
        self._warehouse.quarantine(batch.rejects, source=self._source)
        self._log.info(
            "%d filings of %s, %d of them new, %d requests",
            len(frame), self._window.label, result.inserted, batch.requests,
        )  # fmt: skip
        self.results.append(result)
        self.newest = frame
        # A refused filing comes again with every round.
        self.rejects = list(dict.fromkeys([*self.rejects, *batch.rejects]))


def _floor(instant: datetime, step: timedelta) -> datetime:
    midnight = instant.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (instant - midnight) // step * step


@dg.asset(
    key=["raw", "disclosures"],
    deps=[["raw", "corp_codes"]],
    partitions_def=TRADING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"python", "postgres"},
    owners=["team:disclosures"],
    code_version="1",
    pool="opendart",
    metadata={"dagster/table_name": "raw.disclosures"},
)
def disclosures(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult:
    """Filings at DART, one row a receipt number, by the trading day they belong to.

    Source: OpenDART `list.json`, with corrections. `stock_code` is DART's, else the one of `raw.corp_codes`, and NULL
    for companies that are not listed. `amends_rcept_no` points from a correction to what it corrects. Filings are never
    retired: DART withdraws with another filing.
    """
    if skipped := skip_unless_available(context, upstreams, "disclosures", "opendart"):
        return skipped
    window = window_of(context)
    source = f"{upstreams.source}OpenDART list.json"
    feed = _Filings(warehouse, upstreams.opendart, window, source=source, log=context.log)
    try:
        # Of a window that has closed one round tells all.
        if collectors.is_collector(context.run) and upstreams.now() < window.known_until:
            # Half hours of the clock: the session that filings belong to changes at the end of one, at midnight.
            until = _floor(upstreams.now(), loop.HALF_HOUR) + loop.HALF_HOUR + LAST_ROUND
            loop.run([feed], until=until, now=upstreams.now, sleep=upstreams.sleep, log=context.log)
        else:
            loop.once([feed], upstreams.now)
    except SourceFailure as failure:
        raise as_dagster(failure, f"disclosures {window.label}") from failure
    metadata = loaded(total(feed.results), feed.newest, instant="rcept_dt", rejects=feed.rejects, columns=SHOWN)
    return dg.MaterializeResult(
        metadata={
            **metadata,
            "rounds": len(feed.results),
            "listed companies": int(feed.newest["stock_code"].notna().sum()),
            "corrections": int(feed.newest["correction_kind"].notna().sum()),
            **usage(upstreams),
        }
    )
