"""The market's calendar as tables: the committed sessions, and what the broker expects of the coming days.

Belongs here: making and landing these rows. Does not belong here: the calendar itself (`krx`), comparing the two
(`calendar_comparison`).
"""

from datetime import date, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from azak_assets import krx
from azak_assets.ingest.reasons import Reason
from azak_assets.ingest.report import StepReport
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from azak_assets.sources.kis.client import KisClient

ASKED_AHEAD = timedelta(days=28)


def load_sessions(warehouse: Warehouse) -> StepReport:
    """Make `raw.trading_sessions` agree with the calendar that is committed with the code."""
    frame = pd.DataFrame(
        {"trade_date": s.day, "open_at": s.open_at, "close_at": s.close_at, "note": s.note}
        for s in krx.sessions(krx.FIRST_DAY, krx.LAST_DAY)
    )
    result = warehouse.load("raw.trading_sessions", frame, Scope(days=None), complete=True, source="azak calendar")
    report = StepReport()
    report.add_load(result, frame, instant="open_at")
    return report


def collect_broker_calendar(warehouse: Warehouse, kis: "KisClient", today: date, *, source: str) -> StepReport:
    """Ask the broker on which of the next four weeks' days the market opens, at most once a day (KST).

    Raises:
        SourceFailure: KIS does not answer; `NotForThisAccount` for a paper account, which has no such service.
    """
    last = today + ASKED_AHEAD
    # KIS wants this service asked at most once a day, and the last day of an answer says when it was given.
    if len(warehouse.read("raw.broker_calendar", columns=["day"], where={"day": last})):
        return StepReport.without_rows(Reason.ASKED_RECENTLY, "asked today already")
    batch = kis.market_days(today, last)
    frame = pd.DataFrame(batch.records)
    result = warehouse.load("raw.broker_calendar", frame, Scope(days=None), complete=False, source=source)
    warehouse.quarantine(batch.rejects, source=source)
    report = StepReport()
    report.add_load(result, frame, instant="day")
    report.add_rejects(batch.rejects)
    return report
