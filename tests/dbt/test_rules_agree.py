"""Rules that stand in SQL and in Python, run by both over the same rows: a match, the entry rule, the jump rule.

Belongs here: where both sides must say the same, and every known difference, row by row, so that neither side changes
alone. Does not belong here: what each side does for itself (`test_marts`, `tests/scoring`, `tests/forecast`).

The marts are built once for all tests of this file, over `rules_market`.
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
from tests.databases import fresh_database
from tests.dbt.conftest import RunDbt
from tests.dbt.rows import bar, read, write
from tests.dbt.rules_market import (
    ENTERED,
    EXAM_DAY,
    FRIDAY,
    LAST_FRIDAY,
    MATCHED,
    MONDAY,
    TUESDAY,
    WEDNESDAY,
    write_calendar,
    write_entered_articles_and_bars,
    write_factor,
    write_matched_articles,
)
from tests.harness import at


@dataclass(frozen=True)
class Built:
    """A database that dbt has built the marts in, and Python the forecasts and their scores."""

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


# ---- A match ---------------------------------------------------------------------------------------------------------


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


def test_the_mart_marks_the_copies_as_duplicates(built: Built) -> None:
    query = "select article_id, stock_code, cluster_id from marts.matches where is_duplicate"
    assert set(read(built.engine, query)) == {("copy", "GANA00", "first"), ("copy", "MABA00", "first")}


def test_live_questions_are_the_replayed_ones_that_are_in_the_database(built: Built) -> None:
    """With one cut-off for all, the database's now."""
    built.ask("live")
    live = asked(built.engine, "live")
    assert live.keys() == asked(built.engine, "replayed").keys() - {("unseen", "DARA00")}
    assert len(set(live.values())) == 1


# ---- The entry rule --------------------------------------------------------------------------------------------------


class Reaction(NamedTuple):
    """One article at one horizon, as one side has it; prices in KRW, `status` is the reason where censored."""

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
