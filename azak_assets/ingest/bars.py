"""What KIS gives of finished sessions for any range of days: daily bars, index bars, and the breadth of the newest one.

Belongs here: which stocks and indices are asked, and what a missing answer means. Does not belong here: services that
give the newest sessions only (`rolling`), a running session (`session`), the exchange's own bars (`exchange`).
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from azak_assets import krx
from azak_assets.ingest.failures import CollectError
from azak_assets.ingest.reasons import Reason
from azak_assets.ingest.report import PLOTTED_STOCKS, DayState, Plot, StepReport
from azak_assets.ingest.round import Collected, ask, gather, store
from azak_assets.ingest.stocks import was_listed
from azak_assets.sources.failures import Empty
from azak_assets.sources.records import DailyBar, IndexBar, IndexBreadth
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from azak_assets.sources.kis.client import KisClient

INDEX_NAMES = {"0001": "KOSPI", "1001": "KOSDAQ", "2001": "KOSPI200"}


def daily_bars(
    warehouse: Warehouse,
    kis: "KisClient",
    sessions: Sequence[krx.Session],
    *,
    label: str,
    source: str,
    log: logging.Logger,
) -> StepReport:
    """The bars of every stock of `raw.stocks` in the sessions, oldest first; ``label`` names them for people.

    Raises:
        CollectError: `raw.stocks` is empty.
        SourceFailure: no stock answered.
    """
    stocks = warehouse.read(
        "raw.stocks", columns=["stock_code", "tier", "listed_on", "delisted_on"], order_by=["tier", "stock_code"]
    )
    if stocks.empty:
        raise CollectError("raw.stocks is empty, so there is nothing to ask for: materialize raw/stocks first.")
    first, last = sessions[0].day, sessions[-1].day
    # The closed days before the first session are asked for with it, at no further call: a bar on one of them is the
    # market's own word against the calendar (`calendar_agrees_with_trading`).
    since = krx.previous_session(first).day + timedelta(days=1)
    gathered = gather(
        f"daily bars {label}", lambda code: kis.daily_bars(code, since, last), stocks["stock_code"], log=log
    )
    days = [session.day for session in sessions]
    report, frame = store(warehouse, "raw.daily_bars", days, gathered, DailyBar, source=source)
    report.excused = _without_bars(stocks, sessions, gathered)
    closes = frame.pivot_table(index="trade_date", columns="stock_code", values="close")
    largest = [code for code in stocks["stock_code"] if code in closes.columns][:PLOTTED_STOCKS]
    report.plots["closes"] = Plot.from_100(f"close, first day = 100, {label}", {code: closes[code] for code in largest})
    report.notes["halted"] = int(frame["is_halted"].sum())
    return report


def _without_bars(stocks: pd.DataFrame, sessions: Sequence[krx.Session], gathered: Collected) -> set[str]:
    """The stocks that rightly answered with nothing: listed after the sessions, or gone before them."""
    empty = {code for code, failure in gathered.failures.items() if isinstance(failure, Empty)}
    return empty & set(stocks.loc[~was_listed(stocks, sessions), "stock_code"])


def indices(warehouse: Warehouse) -> list[str]:
    """The codes of the market's indices and of every sector that a listed stock is in, as the master files name it."""
    sectors = warehouse.read("raw.stocks", columns=["sector"])["sector"].dropna().unique()
    return [*INDEX_NAMES, *sorted(set(sectors) - set(INDEX_NAMES))]


def index_bars(
    warehouse: Warehouse,
    kis: "KisClient",
    sessions: Sequence[krx.Session],
    *,
    label: str,
    source: str,
    log: logging.Logger,
) -> StepReport:
    """The bars of every index in the sessions, oldest first; ``label`` names them for people.

    Raises:
        SourceFailure: no index answered.
    """
    first, last = sessions[0].day, sessions[-1].day
    gathered = gather(
        f"index bars {label}", lambda code: kis.index_bars(code, first, last), indices(warehouse), log=log
    )
    days = [session.day for session in sessions]
    report, frame = store(warehouse, "raw.index_bars", days, gathered, IndexBar, source=source)
    closes = frame.pivot_table(index="trade_date", columns="index_code", values="close")
    lines = {INDEX_NAMES[code]: closes[code] for code in closes.columns if code in INDEX_NAMES}
    report.plots["closes"] = Plot.from_100(f"index, first day = 100, {label}", lines)
    return report


def index_breadth(
    warehouse: Warehouse,
    kis: "KisClient",
    sessions: Sequence[krx.Session],
    now: datetime,
    *,
    source: str,
    log: logging.Logger,
) -> StepReport:
    """The breadth of the newest session with final bars at ``now``, if it is among the sessions.

    Raises:
        NotForThisAccount: a paper account.
        SourceFailure: no index answered.
        CollectError: KIS has none of the session on its own evening; later it is lost.
    """
    newest = krx.newest_final_session(now)
    past = (
        f"KIS tells the breadth of the newest session, {newest.day}, and of no other: nothing for a session before it"
    )
    if sessions[-1].day != newest.day:
        return StepReport.without_rows(Reason.PAST_REACH, past)
    gathered = ask(f"index breadth {newest.day}", kis.index_breadth, indices(warehouse), log=log)
    if not gathered.answered:
        raise next(iter(gathered.failures.values()))
    gathered.whole = [row for row in gathered.whole if row.trade_date == newest.day]
    gathered.whole_keys = [row.index_code for row in gathered.whole]
    if not gathered.whole:
        warehouse.quarantine(gathered.rejects, source=source)
        if now.date() == newest.day:
            raise CollectError(
                f"index breadth: KIS tells none of {newest.day}; its answers are in ops.rejected_records. Materialize "
                "again before the next open: later it is lost."
            )
        replaced = f"{past}, and that one is about to be replaced by the session that comes or runs"
        return StepReport.without_rows(Reason.BEING_REPLACED, replaced)
    report, frame = store(warehouse, "raw.index_breadth", [newest.day], gathered, IndexBreadth, source=source)
    if len(sessions) > 1:
        report.add_state(Reason.PAST_REACH, past)
        report.days[newest.day] = DayState(Reason.LANDED, "landed", len(frame))
    return report
