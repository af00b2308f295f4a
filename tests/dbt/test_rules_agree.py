"""Rules that stand in SQL and in Python, run by both over the same rows: a match, the entry rule, the jump rule.

Belongs here: where both sides must say the same, and every known difference, row by row, so that neither side changes
alone. Does not belong here: what each side does for itself (`test_marts`, `tests/scoring`, `tests/forecast`).

The marts are built once for all tests of this file. Sessions of November 2026: Friday the 13th, Monday the 16th to
Wednesday the 18th, the exam day on the 19th (10:00 to 16:30), Friday the 20th; later sessions have no bars.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

import pytest
import sqlalchemy as sa

from azak_assets import krx
from azak_assets.forecast.models import load_models
from azak_assets.forecast.predict import Origin, forecast_articles
from azak_assets.scoring.bars import is_unexplained_jump
from azak_assets.scoring.evaluate import evaluate
from azak_assets.scoring.horizons import HORIZONS
from azak_assets.warehouse.postgres import database as warehouse_database
from azak_assets.warehouse.warehouse import Warehouse
from tests.conftest import fresh_database
from tests.dbt.conftest import RunDbt
from tests.dbt.rows import article, bar, change, mention, read, write, write_sessions
from tests.harness import at

RECORDED = tuple(date(2026, 11, day) for day in (13, 16, 17, 18, 19, 20))
FRIDAY, MONDAY, TUESDAY, WEDNESDAY, EXAM_DAY, LAST_FRIDAY = RECORDED


@dataclass(frozen=True)
class Built:
    """A database in which dbt and Python have both done their part."""

    engine: sa.Engine
    warehouse: Warehouse

    def ask(self, origin: Origin) -> None:
        days = [krx.trading_day_of(at(article.known_at)) for article in (*MATCHED, *ENTERED)]
        forecast_articles(
            self.warehouse,
            days=sorted(set(days)),
            models=[model for model in load_models() if model.model == "base_rate"],
            index=None,
            embedder=None,
            origin=origin,
            clients={},
        )


@pytest.fixture(scope="module")
def built(server_url: str, migrated_template: str, run_dbt: RunDbt) -> Iterator[Built]:
    with fresh_database(server_url, migrated_template) as url:
        engine = warehouse_database.create_engine(url)
        try:
            write_calendar(engine)
            write_matched_articles(engine)
            write_entered_articles_and_bars(engine)
            write_moves(engine)
            run_dbt("run", "--select", "+news_price_reactions", url=url)
            done = Built(engine, Warehouse(engine, "test"))
            done.ask("replayed")
            evaluate(done.warehouse, (FRIDAY, later(1)))
            yield done
        finally:
            engine.dispose()


def write_calendar(engine: sa.Engine) -> None:
    write_sessions(engine, krx.sessions(date(2015, 6, 10), date(2015, 6, 16)))
    write_sessions(engine, krx.sessions(date(2022, 1, 18), date(2022, 1, 21)))
    write_sessions(engine, krx.sessions(date(2026, 11, 2), date(2026, 12, 30)))


# ---- A match ---------------------------------------------------------------------------------------------------------


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


class Match(NamedTuple):
    """From when an article is known to be about a stock, and the session that can be traded from then."""

    known_at: datetime
    tradable_session: date


def matches(engine: sa.Engine) -> dict[tuple[str, str], Match]:
    query = "select article_id, stock_code, known_at, tradable_session from marts.matches"
    names = {one.article_id for one in MATCHED}
    return {(name, stock): Match(*rest) for name, stock, *rest in read(engine, query) if name in names}


def asked(engine: sa.Engine, origin: Origin) -> dict[tuple[str, str], Match]:
    query = "select article_id, stock_code, cutoff_at, tradable_session from ml.predictions where origin = '{}'"
    names = {one.article_id for one in MATCHED}
    return {(name, stock): Match(*rest) for name, stock, *rest in read(engine, query.format(origin)) if name in names}


NOT_ASKED = {
    ("copy", "GANA00"),  # a copy, as the first article names the stock too
    ("copy", "MABA00"),  # and a copy, although no other article names the stock
    ("uncompared", "GANA00"),  # for the mart an article without a cluster is the first of its own
}
"""Matches that no model is asked about."""

CUT_OFF_LATER = {
    ("edited", "GANA00"): (
        Match(at("2026-11-17 10:30"), TUESDAY),
        Match(at("2026-11-17 19:00"), WEDNESDAY),
    )
}
"""(match, question): the match goes by the first version of a mention, a replayed question by the newest."""


def test_models_are_asked_about_the_matches_of_first_known_articles(built: Built) -> None:
    """Neither side looks at whether the stock is listed; a withdrawn mention counts for neither."""
    every, questions = matches(built.engine), asked(built.engine, "replayed")
    assert every.keys() == {
        *[(one.article_id, stock) for one in MATCHED for stock in one.stocks if one.article_id != "withdrawn"],
        ("withdrawn", "GANA00"),
    }
    assert questions.keys() == every.keys() - NOT_ASKED
    assert {
        pair: (every[pair], question) for pair, question in questions.items() if question != every[pair]
    } == CUT_OFF_LATER


def test_the_mart_marks_the_copies_that_nobody_is_asked_about(built: Built) -> None:
    query = "select article_id, stock_code, cluster_id from marts.matches where is_duplicate"
    assert set(read(built.engine, query)) == {("copy", "GANA00", "first"), ("copy", "MABA00", "first")}


def test_live_questions_are_the_replayed_ones_that_are_in_the_database(built: Built) -> None:
    """With one cut-off for all, the database's now."""
    built.ask("live")
    live = asked(built.engine, "live")
    assert live.keys() == asked(built.engine, "replayed").keys() - {("unseen", "DARA00")}
    assert len(set(live.values())) == 1


# ---- The entry rule --------------------------------------------------------------------------------------------------

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


def write_factor(engine: sa.Engine, code: str, day: date, factor: float) -> None:
    row = {"stock_code": code, "ex_date": day, "factor": factor, "base_price": 1, "previous_close": 1}
    write(engine, "raw.adjustment_factors", [row | {"known_at": f"{day} 15:40+09"}])


class Reaction(NamedTuple):
    """What one side says of one article at one horizon; prices in KRW, `status` is the reason where censored."""

    entry_at: datetime
    entry_price: int | None
    exit_day: date
    exit_price: int | None
    factor: float | None
    return_pct: float | None
    status: str


Reactions = dict[tuple[str, int], Reaction]
"""By article and horizon."""


def of_the_mart(engine: sa.Engine) -> Reactions:
    return reactions(
        engine,
        "select article_id, horizon_sessions, entry_at, base_price, exit_day, price, adjustment_factor, return_pct,"
        " coalesce(censor_reason, status) from marts.news_price_reactions",
    )


def of_the_scores(engine: sa.Engine) -> Reactions:
    return reactions(
        engine,
        "select article_id, horizon_sessions, entry_at, entry_price, exit_day, exit_price, adjustment_factor,"
        " (exp(log_return) - 1) * 100, coalesce(censor_reason, status)"
        " from ml.model_evaluations join ml.predictions using (prediction_id) where origin = 'replayed'",
    )


def reactions(engine: sa.Engine, query: str) -> Reactions:
    names = {one.article_id for one in ENTERED}
    found = {}
    for name, horizon, *rest in read(engine, query):
        if name in names:
            one = Reaction(*rest)
            rounded = None if one.return_pct is None else round(one.return_pct, 9)
            found[name, horizon] = one._replace(return_pct=rounded)
    return found


def pending(entry_at: str, exit_day: date) -> Reaction:
    return Reaction(at(entry_at), None, exit_day, None, None, None, "pending")


def censored(entry_at: str, price: int | None, exit_day: date, reason: str) -> Reaction:
    return Reaction(at(entry_at), price, exit_day, None, None, None, reason)


def matured(entry_at: str, price: int, exit_day: date, exit_price: int, return_pct: float) -> Reaction:
    return Reaction(at(entry_at), price, exit_day, exit_price, 1.0, return_pct, "matured")


def later(count: int, day: date = LAST_FRIDAY) -> date:
    return krx.shift(day, count).day


FRIDAY_OPEN, MONDAY_OPEN, MONDAY_CLOSE = "2026-11-13 09:00", "2026-11-16 09:00", "2026-11-16 15:30"

DIFFERENCES = {
    # The scores enter at the first minute that began after the cut-off and leave at the close of that session; the
    # mart enters at the close, so that each of its horizons ends a session later.
    ("with minutes", 1): (
        matured("2026-11-16 11:01", 107, MONDAY, 110, 2.803738318),
        matured(MONDAY_CLOSE, 110, TUESDAY, 108, -1.818181818),
    ),
    ("with minutes", 5): (
        matured("2026-11-16 11:01", 107, LAST_FRIDAY, 120, 12.149532710),
        pending(MONDAY_CLOSE, later(1)),
    ),
    ("with minutes", 20): (pending("2026-11-16 11:01", later(15)), pending(MONDAY_CLOSE, later(16))),
    # The mart shows the close that a halt carries as an entry price.
    **{
        ("halt at the close", horizon): (
            censored(MONDAY_CLOSE, None, exit_day, "halted_entry"),
            censored(MONDAY_CLOSE, 104, exit_day, "halted_entry"),
        )
        for horizon, exit_day in ((1, TUESDAY), (5, later(1)), (20, later(16)))
    },
    # The scores wait for a later bar of the stock, as a request that failed leaves the same hole; the mart does not.
    ("no exit bar and no later one", 5): (
        pending(FRIDAY_OPEN, EXAM_DAY),
        censored(FRIDAY_OPEN, 100, EXAM_DAY, "no_exit_bar"),
    ),
    **{
        ("no entry bar and no later one", horizon): (
            pending(MONDAY_OPEN, exit_day),
            censored(MONDAY_OPEN, None, exit_day, "no_entry_bar"),
        )
        for horizon, exit_day in ((1, MONDAY), (5, LAST_FRIDAY), (20, later(15)))
    },
    # The scores compare each bar with the one before it, whatever lies between; the mart compares traded bars with the
    # session before, so that a price that changed during a halt or across a missing bar is a return.
    ("jump within a halt", 5): (
        censored(FRIDAY_OPEN, 200, EXAM_DAY, "unexplained_jump"),
        matured(FRIDAY_OPEN, 200, EXAM_DAY, 112, -44.0),
    ),
    ("jump across a gap", 5): (
        censored(FRIDAY_OPEN, 200, EXAM_DAY, "unexplained_jump"),
        matured(FRIDAY_OPEN, 200, EXAM_DAY, 112, -44.0),
    ),
}
"""(scores, mart) of every article and horizon on which the two differ, besides the entry price while pending."""


def test_reactions_and_scores_enter_and_leave_alike(built: Built) -> None:
    mart, scores = of_the_mart(built.engine), of_the_scores(built.engine)
    assert {horizon for _, horizon in mart} == {*HORIZONS, 2, 3, 10}, "the mart has three horizons of its own"
    assert scores.keys() == {(one.article_id, horizon) for one in ENTERED for horizon in HORIZONS}
    assert scores.keys() == {key for key in mart if key[1] in HORIZONS}

    # While pending, the mart shows the entry price as soon as its session is recorded; the scores show none.
    waiting = {key: mart[key].entry_price for key in scores if mart[key].status == "pending"}
    assert {key for key, price in waiting.items() if price is None} == {("not recorded yet", h) for h in HORIZONS}
    mart |= {key: mart[key]._replace(entry_price=None) for key in waiting}

    differences = {key: (one, mart[key]) for key, one in scores.items() if one != mart[key]}
    assert differences == DIFFERENCES
    # And what they agree about is every kind of end, not pending rows alone.
    assert Counter(one.status for key, one in scores.items() if key not in DIFFERENCES) == {
        "matured": 27,
        "pending": 28,
        "halted_entry": 3,
        "halted_exit": 1,
        "no_entry_bar": 3,
        "no_exit_bar": 1,
        "delisted": 4,
        "unexplained_jump": 2,
    }


# ---- The jump rule ---------------------------------------------------------------------------------------------------

NARROW, WIDE, OLD_TICKS = date(2015, 6, 12), date(2015, 6, 15), date(2022, 1, 20)


class Move(NamedTuple):
    """Closes of two neighbouring sessions, KRW, the factor of the second, and whether each side calls it a jump."""

    day: date
    before: int
    after: int
    python: bool
    sql: bool
    factor: float = 1.0


MOVES = (
    # ±30 % of a price whose limits are whole ticks
    Move(MONDAY, 10_000, 13_000, python=False, sql=False),
    Move(MONDAY, 10_000, 13_010, python=True, sql=True),
    Move(MONDAY, 10_000, 7_000, python=False, sql=False),
    Move(MONDAY, 10_000, 6_990, python=True, sql=True),
    Move(MONDAY, 10_000, 10_000, python=False, sql=False),
    # The exchange cuts 30 % to whole ticks of the base (here 6,165 to 6,150): the mart lets the rest through.
    Move(MONDAY, 20_550, 14_400, python=False, sql=False),
    Move(MONDAY, 20_550, 14_390, python=True, sql=False),
    Move(MONDAY, 20_550, 14_380, python=True, sql=True),
    Move(MONDAY, 12_340, 16_040, python=False, sql=False),
    Move(MONDAY, 12_340, 16_042, python=True, sql=False),
    Move(MONDAY, 12_340, 16_050, python=True, sql=True),
    # A few won: one tick is more than 30 %.
    Move(MONDAY, 3, 4, python=True, sql=True),
    Move(MONDAY, 4, 5, python=False, sql=False),
    Move(MONDAY, 7, 9, python=False, sql=False),
    # A factor explains a split; where it leaves half a won, the scores take the limits of the rounded base.
    Move(MONDAY, 10_000, 2_600, python=False, sql=False, factor=0.2),
    Move(MONDAY, 10_000, 2_605, python=True, sql=True, factor=0.2),
    Move(MONDAY, 10_000, 2_600, python=True, sql=True),
    Move(MONDAY, 203, 131, python=False, sql=False, factor=0.5),
    Move(MONDAY, 203, 132, python=False, sql=True, factor=0.5),
    Move(MONDAY, 203, 133, python=True, sql=True, factor=0.5),
    # Until 2023 the ticks of the markets differed: the wider limit counts, here KOSDAQ's 130,600 against 130,500.
    Move(OLD_TICKS, 100_500, 130_600, python=False, sql=False),
    Move(OLD_TICKS, 100_500, 130_700, python=True, sql=True),
    # ±15 % until the limits were widened
    Move(NARROW, 10_000, 11_500, python=False, sql=False),
    Move(NARROW, 10_000, 11_550, python=True, sql=True),
    Move(NARROW, 10_000, 8_500, python=False, sql=False),
    Move(NARROW, 10_000, 8_490, python=True, sql=True),
    Move(WIDE, 10_000, 11_550, python=False, sql=False),
    Move(WIDE, 10_000, 13_000, python=False, sql=False),
    Move(WIDE, 10_000, 13_050, python=True, sql=True),
)


def code_of(number: int) -> str:
    return f"M{number:05}"


def write_moves(engine: sa.Engine) -> None:
    """Each move as the bars of a stock of its own."""
    for number, move in enumerate(MOVES):
        code, previous = code_of(number), krx.previous_session(move.day).day
        bars = [bar(code, previous, move.before, move.before), bar(code, move.day, move.after, move.after)]
        write(engine, "raw.daily_bars", bars)
        if move.factor != 1:
            write_factor(engine, code, move.day, move.factor)


def test_scores_and_prices_call_the_same_moves_jumps(built: Built) -> None:
    query = "select stock_code, is_jump from marts.daily_prices where previous_close is not null"
    in_sql = dict(read(built.engine, query))
    found = [
        move._replace(
            python=is_unexplained_jump(move.before * move.factor, move.after, move.day), sql=in_sql[code_of(number)]
        )
        for number, move in enumerate(MOVES)
    ]
    assert found == list(MOVES)
