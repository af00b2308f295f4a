"""Services that give a stock's newest sessions, about 30, and take no range of days: what is asked, and what is told.

Belongs here: whom to ask, how far back an answer reached, and a state for each partition that it could not serve. One
answer serves every asked session inside its reach; a session before it is not failed for ever and not silently empty.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import dagster as dg
import pandas as pd

from azak_assets import krx
from azak_assets.defs.market.assets import PROBES, Collected, gather, store
from azak_assets.defs.reporting import loaded, nothing
from azak_assets.defs.windows import Window
from azak_assets.sources.failures import Empty
from azak_assets.sources.records import Batch
from azak_assets.warehouse.warehouse import Warehouse

SURELY_GIVEN = 20
"""Sessions back from today that an answer of "about 30" reaches for certain."""


def followed(warehouse: Warehouse, window: Window) -> list[str]:
    """The stocks that were listed in some session of the window, the most wanted first.

    Raises:
        dagster.Failure: there are none.
    """
    columns = ["stock_code", "tier", "listed_on", "delisted_on"]
    stocks = warehouse.read("raw.stocks", columns=columns, order_by=["tier", "stock_code"])
    later = stocks["listed_on"].map(lambda day: pd.notna(day) and day > window.last.day).astype(bool)
    gone = stocks["delisted_on"].map(lambda day: pd.notna(day) and day <= window.first.day).astype(bool)
    codes: list[str] = stocks.loc[~later & ~gone, "stock_code"].tolist()
    if not codes:
        raise dg.Failure(
            f"raw.stocks has no stock that was listed in {window.label}, so there is nothing to ask for: materialize "
            "raw/stocks first.",
            allow_retries=False,
        )
    return codes


def ready(
    window: Window, now: datetime, from_when: Callable[[krx.Session], datetime]
) -> tuple[list[krx.Session], dict[date, str]]:
    """The sessions that can be asked for at ``now``, and of each of the others, in a sentence, from when on it can."""
    late = {one.day: from_when(one) for one in window.sessions if from_when(one) > now}
    return (
        [one for one in window.sessions if one.day not in late],
        {
            day: f"not out yet: {day} can be asked for from {at:%Y-%m-%d %H:%M} KST, materialize it then"
            for day, at in late.items()
        },
    )


def is_surely_given(day: date, now: datetime) -> bool:
    """Whether the session is young enough that no answer could leave it out."""
    return krx.count_between(day, now.astimezone(krx.KST).date()) <= SURELY_GIVEN


def ask_newest(
    context: dg.AssetExecutionContext,
    what: str,
    fetch: Callable[[str], Batch[Any]],
    codes: Sequence[str],
    days: Sequence[date],
    *,
    surely: bool,
) -> Collected:
    """Ask for every stock; where the days may be out of reach, first for a few, which tell it for all.

    A few without anything tell it too: only for a session of these weeks is that a failure.

    Raises:
        dagster.Failure or dagster.RetryRequested: no stock answered; see `gather`.
    """
    if not surely:
        few = gather(context, what, fetch, codes[:PROBES], may_be_empty=True)
        if not any(record.trade_date in days for record in [*few.whole, *few.partial]):
            return few
    return gather(context, what, fetch, codes)


@dataclass(frozen=True)
class Landed:
    """What came of the asked sessions: those inside the answers' reach were loaded, the older ones are past it.

    ``reach`` is the oldest session of any answer; None where there was none, and then ``frame`` is too.
    """

    metadata: dict[str, Any]
    frame: pd.DataFrame | None
    reach: date | None
    inside: list[date]
    past: list[date]
    rows: Counter[date]

    @property
    def without(self) -> list[date]:
        """Sessions inside the reach of which no stock has a row."""
        return [day for day in self.inside if not self.rows[day]]


def land(
    warehouse: Warehouse, table: str, days: Sequence[date], gathered: Collected, record: type, *, source: str
) -> Landed:
    """Load what was gathered about those of ``days`` that the answers reach back to; older rows of the table stay.

    A stock whose own answer reaches back to the first of them is answered for, one that answered for fewer sessions
    only adds and corrects. A stock without the newest session counts as failed. Refused rows go to quarantine.

    Raises:
        dagster.Failure: sessions were asked for and every row was refused.
    """
    records = [*gathered.whole, *gathered.partial]
    oldest: dict[str, date] = {}
    for one in records:
        oldest[one.stock_code] = min(one.trade_date, oldest.get(one.stock_code, one.trade_date))
    reach = min(oldest.values(), default=None)
    inside = [day for day in days if reach is not None and day >= reach]
    past = [day for day in days if day not in inside]
    if not inside:
        warehouse.quarantine(gathered.rejects, source=source)
        if days and gathered.rejects and not records:
            first = gathered.rejects[0]
            raise dg.Failure(
                f"{table}: every row was refused, the first for {first.field}={first.value!r}: {first.reason}. All of "
                "them are in ops.rejected_records.",
                allow_retries=False,
            )
        rejected = {"rejected": len(gathered.rejects)}
        return Landed({**nothing(""), **rejected, **gathered.metadata()}, None, reach, [], past, Counter())
    kept = Collected()
    kept.rejects = gathered.rejects
    kept.whole_keys = [code for code in gathered.whole_keys if oldest.get(code, date.max) <= inside[0]]
    kept.partial_keys = sorted({*gathered.whole_keys, *gathered.partial_keys} - set(kept.whole_keys))
    is_whole, asked = set(kept.whole_keys), set(inside)
    for one in records:
        if one.trade_date in asked:
            (kept.whole if one.stock_code in is_whole else kept.partial).append(one)
    result, frame = store(warehouse, table, inside, kept, record, source=source)
    rows = Counter(frame["trade_date"])
    newest = inside[-1]
    if rows[newest]:
        there = set(frame.loc[frame["trade_date"] == newest, "stock_code"])
        for code in sorted({*gathered.whole_keys, *gathered.partial_keys} - there):
            gathered.failures[code] = Empty("kis", f"no usable row of {code} for {newest}")
    metadata = {
        **loaded(result, frame, instant="trade_date", rejects=gathered.rejects),
        **gathered.metadata(),
        "answers reach back to": str(reach),
    }
    return Landed(metadata, frame, reach, inside, past, rows)


def told(
    context: dg.AssetExecutionContext, landed: Landed, state: str, later: dict[date, str], **more: Any
) -> dict[str, Any]:
    """The metadata of all partitions, after each has been given what is true of it alone.

    ``state`` is that of the partitions which have nothing. Partitions that landed are told apart from them one by one,
    and not the other way round: they are few, and the ones past reach may be thousands.
    """
    if state:
        for day in landed.inside:
            context.add_asset_metadata({"state": "landed", "rows": landed.rows[day]}, partition_key=day.isoformat())
    tell_later(context, later)
    return {**landed.metadata, **more, **({"state": state} if state else {})}


def tell_later(context: dg.AssetExecutionContext, later: dict[date, str]) -> None:
    """Give the partitions whose time has not come the sentence that says so."""
    for day, why in later.items():
        context.add_asset_metadata({"state": why, "rows": 0}, partition_key=day.isoformat())
