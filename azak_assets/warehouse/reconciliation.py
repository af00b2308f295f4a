"""Two sources about the same bars, compared where they lie.

Belongs here: the join of `raw.daily_bars` with the exchange's own numbers. Does not belong here: how much two numbers
may differ (`ingest.exchange`) and what a difference means to the operator (`defs.market.reconciliation`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import sqlalchemy as sa


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many bars of how many sessions both sources have, how often they differ by kind, and the newest of those.

    `counts` has every kind: a price, a bar that is missing here, a volume or turnover.
    """

    bars: int
    sessions: int
    counts: dict[str, int]
    rows: pd.DataFrame

    @property
    def differing(self) -> int:
        """How many bars differ."""
        return sum(self.counts.values())

    @property
    def is_of_volumes_alone(self) -> bool:
        """Whether no price differs and no bar is missing."""
        return self.counts[VOLUME] == self.differing


PRICE, MISSING, VOLUME = "price", "no bar here", "volume"

# A bar that is missing counts only where we asked for it: a stock we know, in a session that is loaded.
DIFFERENCES = """
select w.trade_date, w.stock_code, w.name,
       case when b.stock_code is null then :missing
            when (b.open, b.high, b.low, b.close) is distinct from (w.open, w.high, w.low, w.close) then :price
            else :volume end as difference,
       b.open, w.open as krx_open, b.high, w.high as krx_high, b.low, w.low as krx_low,
       b.close, w.close as krx_close, b.volume, w.volume as krx_volume,
       b.turnover_krw, w.turnover_krw as krx_turnover_krw
from raw.krx_daily_bars as w
left join raw.daily_bars as b using (stock_code, trade_date)
where case when b.stock_code is null then
          exists (select from raw.stocks as s where s.stock_code = w.stock_code)
          and exists (select from raw.daily_bars as d where d.trade_date = w.trade_date)
      else
          (b.open, b.high, b.low, b.close) is distinct from (w.open, w.high, w.low, w.close)
          or (abs(b.turnover_krw - w.turnover_krw) > :least_krw
              and (abs(b.volume - w.volume) > :share * greatest(b.volume, w.volume)
                   or abs(b.turnover_krw - w.turnover_krw) > :share * greatest(b.turnover_krw, w.turnover_krw)))
      end
"""
COMPARED = """
select coalesce(sum(bars), 0)::bigint, count(*)
from (select count(*) as bars from raw.krx_daily_bars join raw.daily_bars using (stock_code, trade_date)
      group by trade_date) as by_session
"""


def compare_with_exchange(bind: sa.Engine | sa.Connection, *, share: float, least_krw: int, rows: int) -> Comparison:
    """Compare every bar of the exchange with ours; prices come before volumes, the newest first.

    Prices differ when they are not the same, missing ones included. Volume and turnover differ by more than `share` of
    the larger number, if the turnovers are more than `least_krw` apart.
    """
    given = {"share": share, "least_krw": least_krw, "missing": MISSING, "price": PRICE, "volume": VOLUME, "rows": rows}
    # One pass over both tables: how many differ by kind stands beside each of the rows that are shown.
    differing = (
        f"with found as materialized ({DIFFERENCES}),"  # noqa: S608 (constants)
        " kinds as (select difference, count(*) as of_kind from found group by difference),"
        " ranked as (select found.*, row_number() over (partition by difference order by trade_date desc, stock_code)"
        "            as place from found)"
        " select * from ranked join kinds using (difference) where place <= :rows"
        " order by difference = :volume, trade_date desc, stock_code"
    )

    def look(connection: sa.Connection) -> Comparison:
        compared: Any = connection.execute(sa.text(COMPARED)).one()
        result = connection.execute(sa.text(differing), given)
        names = list(result.keys())
        frame = pd.DataFrame([tuple(row) for row in result], columns=names, dtype=object)
        counts = dict.fromkeys((PRICE, MISSING, VOLUME), 0) | dict(
            zip(frame["difference"], frame["of_kind"], strict=True)
        )
        shown = frame.drop(columns=["place", "of_kind"]).head(rows)
        return Comparison(compared[0], compared[1], counts, shown)

    if isinstance(bind, sa.Engine):
        with bind.connect() as connection:
            return look(connection)
    return look(bind)
