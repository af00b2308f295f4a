"""Rows of `raw` and `text` as the tests of the marts write them, and reading what came of them.

Belongs here: rows that more than one test file writes, in SQL and without the writer, so that a test chooses every
instant. Does not belong here: a market or articles of one test file.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa

from azak_assets import krx

PROVENANCE = {"source": "test", "observed_at": "2026-11-20 20:00+09", "run_id": "test"}


def write(engine: sa.Engine, table: str, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, each with all columns of the first; PostgreSQL reads the texts as the columns' types."""
    columns = [*rows[0], *(c for c in PROVENANCE if c not in rows[0])]
    with engine.begin() as connection:
        casts = dict(
            connection.execute(
                sa.text(
                    "select attname, format_type(atttypid, atttypmod) from pg_attribute"
                    " where attrelid = cast(:name as regclass) and attnum > 0"
                ),
                {"name": table},
            ).all()
        )
        values = ", ".join(f"cast(:{c} as {casts[c]})" for c in columns)
        connection.execute(
            sa.text(f"insert into {table} ({', '.join(columns)}) values ({values})"),
            [{**PROVENANCE, **row} for row in rows],
        )


def read(engine: sa.Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def change(engine: sa.Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(statement))


def write_sessions(engine: sa.Engine, sessions: Sequence[krx.Session]) -> None:
    write(
        engine,
        "raw.trading_sessions",
        [
            {"trade_date": one.day, "open_at": one.open_at, "close_at": one.close_at, "note": one.note}
            for one in sessions
        ],
    )


def bar(code: str, day: date, opening: int | None, close: int) -> dict[str, Any]:
    prices = [price for price in (opening, close) if price is not None]
    return {
        "stock_code": code,
        "trade_date": day,
        "open": opening,
        "high": max(prices) if opening else None,
        "low": min(prices) if opening else None,
        "close": close,
        "volume": 10 if opening else 0,
        "turnover_krw": 10 * close if opening else 0,
        "is_halted": opening is None,
        "known_at": f"{day} 15:40+09",
    }


def article(article_id: str, known_at: str, trading_day: date, tradable_session: date) -> dict[str, Any]:
    return {
        "article_id": article_id,
        "title": "가나전자 신제품 공개",
        "published_at": known_at,
        "is_date_only": False,
        "content_hash": "h",
        "known_at": known_at,
        "trading_day": trading_day,
        "tradable_session": tradable_session,
    }


def mention(article_id: str, code: str, trading_day: date, known_at: str) -> dict[str, Any]:
    return {
        "article_id": article_id,
        "field": "title",
        "span_start": 0,
        "span_end": 4,
        "stock_code": code,
        "surface": "가나전자",
        "method": "name",
        "trading_day": trading_day,
        "known_at": known_at,
    }
