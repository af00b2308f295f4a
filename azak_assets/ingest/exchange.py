"""Daily bars as the exchange publishes them on the next day: what the broker's bars are reconciled with.

Belongs here: asking the exchange's markets about sessions, what a missing market means, and how far the two sources may
lie apart. Does not belong here: the comparison in the database (`warehouse.reconciliation`), and the broker's own bars
(`bars`).
"""

import logging
from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, cast, get_args

from azak_assets import krx
from azak_assets.ingest.days import each_of
from azak_assets.ingest.failures import RoundError
from azak_assets.ingest.frames import frame_of
from azak_assets.ingest.reasons import Reason
from azak_assets.ingest.report import StepReport
from azak_assets.ingest.round import Collected, ask
from azak_assets.sources.failures import NotForThisAccount, SourceFailure
from azak_assets.sources.records import Batch, ExchangeBar, Market
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from azak_assets.sources.krx_openapi import KrxOpenApiClient
    from azak_assets.warehouse.reconciliation import Comparison

VOLUME_SHARE = 0.20
"""So far volume and turnover may lie apart. Ours are of ten minutes after the close or of the next morning, the
exchange's of the whole day: closing-price trades until 16:00, the after-market until 20:00 and block trades are a few
percent on most days. Another venue's trades (Nextrade adds 30 % and more) or a wrong unit lie far beyond."""
TURNOVER_LEAST_KRW = 100_000_000
"""A share that hardly trades moves by a fifth with a single late order; a difference below this misleads no reader."""


def exchange_bars(
    warehouse: Warehouse,
    exchange: "KrxOpenApiClient",
    days: Sequence[date],
    now: datetime,
    *,
    source: str,
    log: logging.Logger,
) -> StepReport:
    """The exchange's bars of those of the sessions that are published at ``now``.

    Raises:
        RoundError: a market did not answer for a session, though this key is approved for it (the other markets and
            sessions landed), or the key is approved for none.
    """
    report = StepReport()
    not_yet: list[date] = []
    not_approved: dict[str, SourceFailure] = {}
    holes: dict[str, SourceFailure] = {}
    for day in days:
        if now < krx.published_from(day):
            not_yet.append(day)
            continue
        gathered = _ask(exchange, day, log=log)
        for market, failure in gathered.failures.items():
            if isinstance(failure, NotForThisAccount):
                not_approved.setdefault(market, failure)
            else:
                holes[f"{day} {market}"] = failure
        if not _load(warehouse, report, gathered, day, source=source) and not gathered.failures:
            not_yet.append(day)
    if holes:
        what, cause = next(iter(holes.items()))
        raise RoundError(f"exchange {what}; the other markets and sessions landed", cause) from cause
    if not_approved and not report.rows:
        raise RoundError("exchange", next(iter(not_approved.values())))
    _explain(report, not_yet, not_approved, log=log)
    return report


def compare_with_broker(warehouse: Warehouse, *, rows: int) -> "Comparison":
    """The exchange's bars against the broker's, all that both have; ``rows`` of the newest differences come along.

    A bar that is missing in ours counts where it was asked for: a stock of `raw.stocks` in a session that is loaded.
    """
    return warehouse.compare_with_exchange(share=VOLUME_SHARE, least_krw=TURNOVER_LEAST_KRW, rows=rows)


def _explain(
    report: StepReport, not_yet: Sequence[date], not_approved: dict[str, SourceFailure], *, log: logging.Logger
) -> None:
    """Say in the report what is not there."""
    if not_yet:
        from_then = krx.surely_published_from(not_yet[-1])
        published = f"at the latest {from_then:%Y-%m-%d %H:%M} KST"
        report.add_state(Reason.NOT_OUT_YET, f"not published yet: {each_of(not_yet)}, {published}")
    if not_approved:
        report.add_state(Reason.NOT_APPROVED, f"this key was not approved for {', '.join(not_approved)}")
        report.lists["not approved"] = [f"{market}: {failure}" for market, failure in not_approved.items()]
    for reason in [report.state, *map(str, not_approved.values())]:
        if reason:
            log.warning("%s", reason)


def _ask(exchange: "KrxOpenApiClient", day: date, *, log: logging.Logger) -> Collected:
    def fetch(market: str) -> Batch[ExchangeBar]:
        return exchange.daily_bars(cast("Market", market), day)

    try:
        return ask(f"exchange {day}", fetch, get_args(Market), log=log)
    except SourceFailure as failure:
        raise RoundError(f"exchange {day}", failure) from failure


def _load(warehouse: Warehouse, report: StepReport, gathered: Collected, day: date, *, source: str) -> bool:
    """Whether a session has rows. If every market answered, rows that the exchange no longer publishes are retired."""
    records = [*gathered.whole, *gathered.partial]
    report.add_rejects(gathered.rejects)
    warehouse.quarantine(gathered.rejects, source=source)
    if not records:
        return False
    frame = frame_of(records, ExchangeBar)
    is_whole = not gathered.failures and not gathered.rejects
    result = warehouse.load("raw.krx_daily_bars", frame, Scope((day,)), complete=is_whole, source=source)
    report.add_load(result, frame, instant="trade_date")
    return True
