"""The rows over which `test_rules_agree` runs the rules that stand in SQL and in Python.

Belongs here: one calendar, the articles of the match rule, and the articles and bars of the entry rule, each case with
a name. Does not belong here: what either side makes of them, and the moves of the jump rule, which are a table of their
own.

Sessions of November 2026: Friday the 13th, Monday the 16th to Wednesday the 18th, the exam day on the 19th (10:00 to
16:30), Friday the 20th; later sessions have no bars.
"""

from datetime import date
from typing import NamedTuple

import sqlalchemy as sa

from azak_assets import krx
from tests.dbt.rows import article, bar, change, mention, write, write_sessions
from tests.harness import at

RECORDED = tuple(date(2026, 11, day) for day in (13, 16, 17, 18, 19, 20))
FRIDAY, MONDAY, TUESDAY, WEDNESDAY, EXAM_DAY, LAST_FRIDAY = RECORDED


class Article(NamedTuple):
    """An article, the stocks it names, and what it is a copy of: its own id where of none, None while not compared."""

    article_id: str
    known_at: str
    stocks: tuple[str, ...]
    cluster_id: str | None


MATCHED = (
    Article("first", "2026-11-17 08:00", ("GANA00", "DARA00"), "first"),
    Article("copy", "2026-11-17 08:30", ("GANA00", "MABA00"), "first"),
    Article("alone", "2026-11-17 09:30", ("GANA00",), "alone"),
    Article("uncompared", "2026-11-17 10:00", ("GANA00",), None),
    Article("edited", "2026-11-17 10:30", ("GANA00", "DARA00"), "edited"),
    Article("delisted", "2026-11-17 11:00", ("LEFT00",), "delisted"),
    Article("unlisted", "2026-11-17 11:30", ("ABSENT",), "unlisted"),
    Article("late", "2026-11-17 15:30", ("GANA00",), "late"),
    Article("withdrawn", "2026-11-17 12:00", ("GANA00", "DARA00"), "withdrawn"),
    Article("unseen", "2026-11-17 12:30", ("GANA00", "DARA00"), "unseen"),
)

ENTERED = tuple(
    Article(name, known_at, (stock,), name)
    for name, known_at, stock in (
        ("before the open", "2026-11-13 08:59", "PLAIN0"),
        ("at the open", "2026-11-13 09:00", "PLAIN0"),
        ("at the close", "2026-11-13 15:30", "PLAIN0"),
        ("after the close", "2026-11-13 18:00", "PLAIN0"),
        ("at the weekend", "2026-11-14 12:00", "PLAIN0"),
        ("with minutes", "2026-11-16 11:00", "PLAIN0"),
        ("after the last minute", "2026-11-16 15:00", "PLAIN0"),
        ("before the late open", "2026-11-19 09:30", "PLAIN0"),
        ("before the late close", "2026-11-19 16:00", "PLAIN0"),
        ("at the late close", "2026-11-19 16:30", "PLAIN0"),
        ("not recorded yet", "2026-11-21 12:00", "PLAIN0"),
        ("halt on the way", "2026-11-13 08:00", "HALTED"),
        ("halt at the exit", "2026-11-13 11:00", "HALTED"),
        ("halt at the open", "2026-11-14 12:00", "HALTED"),
        ("halt at the close", "2026-11-16 11:00", "HALTED"),
        ("no exit bar", "2026-11-13 11:00", "MISSED"),
        ("no entry bar", "2026-11-14 12:00", "MISSED"),
        ("no exit bar and no later one", "2026-11-13 08:00", "SILENT"),
        ("no entry bar and no later one", "2026-11-14 12:00", "SILENT"),
        ("delisted before the exit", "2026-11-13 08:00", "GONE00"),
        ("delisted before the entry", "2026-11-14 12:00", "GONE00"),
        ("factor", "2026-11-13 08:00", "FACTOR"),
        ("jump on the entry day", "2026-11-17 08:00", "JUMPED"),
        ("jump on the way", "2026-11-13 08:00", "JUMPED"),
        ("jump after a halt", "2026-11-13 08:00", "RESUME"),
        ("jump within a halt", "2026-11-13 08:00", "MERGED"),
        ("jump across a gap", "2026-11-13 08:00", "GAPPED"),
    )
)

_TRADED = dict(zip(RECORDED, [(100, 104), (105, 110), (111, 108), (109, 115), (116, 112), (113, 120)], strict=True))
_DOUBLED = {day: (2 * opening, 2 * close) for day, (opening, close) in _TRADED.items()}

BARS: dict[str, dict[date, tuple[int | None, int] | None]] = {
    "PLAIN0": {},
    "HALTED": {MONDAY: (None, 104)},
    "MISSED": {MONDAY: None},
    "SILENT": dict.fromkeys(RECORDED[1:]),
    "GONE00": dict.fromkeys(RECORDED[1:]),
    "FACTOR": {FRIDAY: _DOUBLED[FRIDAY], MONDAY: _DOUBLED[MONDAY]},
    "JUMPED": {FRIDAY: _DOUBLED[FRIDAY], MONDAY: _DOUBLED[MONDAY]},
    "RESUME": {FRIDAY: _DOUBLED[FRIDAY], MONDAY: (None, 208)},
    "MERGED": {FRIDAY: _DOUBLED[FRIDAY], MONDAY: (None, 110)},
    "GAPPED": {FRIDAY: _DOUBLED[FRIDAY], MONDAY: None},
}
"""(open, close) of each stock where they are not `_TRADED`; an open of None is a halt, None is no bar."""


def write_entered_articles_and_bars(engine: sa.Engine) -> None:
    write_stocks(engine, {code: MONDAY if code == "GONE00" else None for code in BARS})
    write_articles(engine, ENTERED)
    prices = [(code, day, changed.get(day, _TRADED[day])) for code, changed in BARS.items() for day in RECORDED]
    write(engine, "raw.daily_bars", [bar(code, day, *price) for code, day, price in prices if price is not None])
    write_factor(engine, "FACTOR", TUESDAY, 0.5)
    minute = {"stock_code": "PLAIN0", "trade_date": MONDAY, "open": 107, "high": 108, "low": 106, "close": 106}
    minute |= {"volume": 5, "known_at": "2026-11-16 11:02+09"}
    write(engine, "raw.minute_bars", [minute | {"ts": "2026-11-16 11:00+09"}, minute | {"ts": "2026-11-16 11:01+09"}])


def write_calendar(engine: sa.Engine) -> None:
    write_sessions(engine, krx.sessions(date(2015, 6, 10), date(2015, 6, 16)))
    write_sessions(engine, krx.sessions(date(2022, 1, 18), date(2022, 1, 21)))
    write_sessions(engine, krx.sessions(date(2026, 11, 2), date(2026, 12, 30)))


def write_matched_articles(engine: sa.Engine) -> None:
    write_stocks(engine, {"GANA00": None, "DARA00": None, "MABA00": None, "LEFT00": date(2026, 6, 1)})
    write_articles(engine, MATCHED)
    # The stock is named a second time, in an excerpt that came later.
    again = mention("first", "GANA00", TUESDAY, "2026-11-17 13:00+09") | {"field": "excerpt", "span_start": 7}
    write(engine, "text.mentions", [again | {"span_end": 11}])
    # One name moved in the headline that was edited in the evening; the other stands where it stood.
    change(
        engine,
        "insert into text.mentions_history select *, '2026-11-17 19:00+09' from text.mentions"
        " where article_id = 'edited' and stock_code = 'GANA00'",
    )
    change(
        engine,
        "update text.mentions set span_start = 3, span_end = 7, known_at = '2026-11-17 19:00+09'"
        " where article_id = 'edited' and stock_code = 'GANA00'",
    )
    # One name was withdrawn.
    withdrawn = "from text.mentions where article_id = 'withdrawn' and stock_code = 'DARA00'"
    change(engine, f"insert into text.mentions_history select *, '2026-11-17 14:00+09' {withdrawn}")
    change(engine, f"delete {withdrawn}")
    # One name has not been found yet by the time of any cut-off.
    change(
        engine,
        "update text.mentions set observed_at = '2999-01-01' where article_id = 'unseen' and stock_code = 'DARA00'",
    )


def write_articles(engine: sa.Engine, articles: tuple[Article, ...]) -> None:
    """Articles with a mention of each stock in the title, and their clusters."""
    heads, mentions, clusters = [], [], []
    for one in articles:
        known_at = at(one.known_at)
        trading_day, known = krx.trading_day_of(known_at), known_at.isoformat()
        heads.append(article(one.article_id, known, trading_day, krx.tradable_session(known_at).day))
        mentions += [mention(one.article_id, stock, trading_day, known) for stock in one.stocks]
        if one.cluster_id is not None:
            clusters.append(
                {"article_id": one.article_id, "cluster_id": one.cluster_id, "method": "single"}
                | {"trading_day": trading_day, "known_at": known}
            )
    write(engine, "raw.news_articles", heads)
    write(engine, "text.mentions", mentions)
    write(engine, "text.article_clusters", clusters)


def write_stocks(engine: sa.Engine, delisted_on: dict[str, date | None]) -> None:
    write(
        engine,
        "raw.stocks",
        [
            {"stock_code": code, "name": code, "market": "KOSPI", "security_kind": "stock", "tier": 1, "aliases": "{}"}
            | {"is_active": day is None, "delisted_on": day, "known_at": "2026-11-01 07:00+09"}
            for code, day in delisted_on.items()
        ],
    )


def write_factor(engine: sa.Engine, code: str, day: date, factor: float) -> None:
    row = {"stock_code": code, "ex_date": day, "factor": factor, "base_price": 1, "previous_close": 1}
    write(engine, "raw.adjustment_factors", [row | {"known_at": f"{day} 15:40+09"}])
