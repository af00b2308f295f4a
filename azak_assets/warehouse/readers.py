"""Reads that `read` and `as_of` of one table do not cover, each under a name that says what it returns.

Belongs here: SQL that `scoring` and `forecast` need, over several rows' versions, over pairs of columns, or counted in
the database. Does not belong here: reading one table (`asof`), and what is done with the rows.

Instants are `datetime64[us, UTC]`, dates are `datetime.date` objects.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa

from azak_assets import krx

Bind = sa.Engine | sa.Connection

_BARS_WITH_BASE_PRICE = sa.text(
    "SELECT bar.stock_code, bar.trade_date AS ex_date, bar.base_price, bar.base_ratio,"
    " bar.base_reason AS reason, previous.close AS previous_close,"
    " greatest(bar.known_at, previous.known_at) AS known_at"
    " FROM raw.daily_bars AS bar"
    # Bars of a halt carry the close, so the newest bar before is the last close also after months without a trade.
    " LEFT JOIN LATERAL (SELECT close, known_at FROM raw.daily_bars AS earlier"
    " WHERE earlier.stock_code = bar.stock_code AND earlier.trade_date < bar.trade_date"
    " ORDER BY trade_date DESC LIMIT 1) AS previous ON true"
    " WHERE bar.trade_date = ANY(:days) AND bar.base_price IS NOT NULL"
    " ORDER BY bar.stock_code, bar.trade_date"
)


def daily_bar_versions(bind: Bind, start: date, end: date, stocks: Collection[str] | None = None) -> pd.DataFrame:
    """Every version of the daily bars from start to end, inclusive, of some stocks (None: of the whole market).

    Columns: stock_code, trade_date, open, high, low, close, is_halted, known_at, observed_at, superseded_at (empty in
    the current version). No order.
    """
    columns = ("open", "high", "low", "close", "is_halted")
    return _versions(bind, "raw.daily_bars", "trade_date", columns, span=(start, end), stocks=stocks)


def adjustment_factor_versions(
    bind: Bind, start: date, end: date, stocks: Collection[str] | None = None
) -> pd.DataFrame:
    """Every version of the adjustment factors of ex-dates from start to end, inclusive; as `daily_bar_versions`.

    Columns: stock_code, ex_date, factor, known_at, observed_at, superseded_at. No order.
    """
    return _versions(bind, "raw.adjustment_factors", "ex_date", ("factor",), span=(start, end), stocks=stocks)


def _versions(
    bind: Bind,
    table: str,
    day: str,
    columns: Sequence[str],
    *,
    span: tuple[date, date],
    stocks: Collection[str] | None,
) -> pd.DataFrame:
    selected = ", ".join(("stock_code", day, *columns, "known_at", "observed_at"))
    where = f"{day} BETWEEN :start AND :end" + ("" if stocks is None else " AND stock_code = ANY(:stocks)")
    query = sa.text(
        f"SELECT {selected}, NULL::timestamptz AS superseded_at FROM {table} WHERE {where}"  # noqa: S608 - our own names
        f" UNION ALL SELECT {selected}, superseded_at FROM {table}_history WHERE {where}"
    )
    parameters = {"start": span[0], "end": span[1]} | ({} if stocks is None else {"stocks": sorted(stocks)})
    return pd.read_sql_query(query, bind, params=parameters)


def bars_with_base_price(bind: Bind, days: Sequence[date]) -> pd.DataFrame:
    """The daily bars of some days that carry a base price, each with the last close before; current versions.

    Columns: stock_code, ex_date, base_price (KRW), base_ratio, reason, previous_close (KRW, empty for a first bar),
    known_at (the later of both bars). Ordered by stock and day.
    """
    return pd.read_sql_query(_BARS_WITH_BASE_PRICE, bind, params={"days": list(days)})


def days_with_bars(bind: Bind, days: Sequence[date]) -> set[date]:
    """Those of some days on which at least one stock has a daily bar; one index probe a day."""
    query = sa.text(
        "SELECT day FROM unnest(CAST(:days AS date[])) AS candidate (day)"
        " WHERE EXISTS (SELECT FROM raw.daily_bars WHERE trade_date = day)"
    )
    return set(pd.read_sql_query(query, bind, params={"days": list(days)})["day"])


def traded_minutes(bind: Bind, wanted: Collection[tuple[str, date]]) -> pd.DataFrame:
    """The minute bars with a volume of some pairs of stock and session, within the session's hours.

    Columns: stock_code, trade_date, ts (start of the minute), open, high, low (KRW). No order.

    Raises:
        krx.NotASession: a day without a session.
    """
    query = sa.text(
        "SELECT stock_code, trade_date, ts, open, high, low FROM raw.minute_bars"
        " JOIN unnest(CAST(:stocks AS text[]), CAST(:days AS date[]), CAST(:opens AS timestamptz[]),"
        " CAST(:closes AS timestamptz[])) AS asked (stock, day, open_at, close_at)"
        " ON ts BETWEEN open_at AND close_at AND stock_code = stock AND trade_date = day WHERE volume > 0"
    )
    pairs = sorted(wanted)
    hours = [krx.session(day) for _, day in pairs]
    parameters: dict[str, Any] = {
        "stocks": [stock for stock, _ in pairs],
        "days": [day for _, day in pairs],
        "opens": [session.open_at for session in hours],
        "closes": [session.close_at for session in hours],
    }
    return pd.read_sql_query(query, bind, params=parameters, parse_dates={"ts": {"utc": True}})


def reembedded_vector_ids(bind: Bind, embedder: str) -> list[int]:
    """Vector ids of articles that an embedder has embedded more than once, whenever that was; no order."""
    query = sa.text("SELECT DISTINCT vector_id FROM ml.news_embeddings_history WHERE embedder = :embedder")
    rows = pd.read_sql_query(query, bind, params={"embedder": embedder})
    return [int(vector_id) for vector_id in rows["vector_id"]]


def llm_cost_usd(bind: Bind, day: date) -> float:
    """USD spent on language-model calls that were recorded on a KST date."""
    start = datetime.combine(day, time.min, krx.KST).astimezone(UTC)
    query = sa.text(
        "SELECT cost_usd FROM ml.llm_calls WHERE observed_at >= :start AND observed_at < :end AND cost_usd > 0"
    )
    span = {"start": start, "end": start + timedelta(days=1)}
    return float(pd.read_sql_query(query, bind, params=span)["cost_usd"].sum())
