"""The marts against PostgreSQL: cold slices, windows day by day, corrections, vanished rows, running again.

Sessions of November 2026: Friday the 13th, Monday the 16th to Wednesday the 18th, the exam day on the 19th (10:00 to
16:30), Friday the 20th.
"""

from datetime import date, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from azak_assets import krx
from tests.dbt.conftest import AFTER, BEFORE, SLICES, RunDbt
from tests.dbt.rows import PROVENANCE, article, bar, change, mention, read, write, write_sessions

FRIDAY, MONDAY, TUESDAY = date(2026, 11, 13), date(2026, 11, 16), date(2026, 11, 17)
NO_UNIT_TESTS = ("--exclude", "resource_type:unit_test")
MODELS = ("--resource-type", "model")
"""Without the project's own tests, which are four fifths of a build; the first two tests here run them all."""
MARTS = ("matches", "daily_prices", "news_price_reactions", "stocks", "daily_performance", "evaluation_history")


def everything(engine: sa.Engine) -> dict[str, list[tuple[Any, ...]]]:
    return {mart: read(engine, f"select m::text from marts.{mart} as m order by 1") for mart in MARTS}


@pytest.fixture
def market(engine: sa.Engine) -> sa.Engine:
    """A calendar, one KOSDAQ stock with bars until Tuesday, an article before Friday's open and one after its close."""
    write_sessions(engine, krx.sessions(date(2026, 9, 1), date(2026, 12, 31)))
    stock = {"name": "가나전자", "market": "KOSDAQ", "security_kind": "stock", "tier": 1, "aliases": "{}"}
    stock |= {"stock_code": "0126Z0", "is_active": True, "listed_shares": 1000, "known_at": "2026-11-01 07:00+09"}
    write(engine, "raw.stocks", [stock])
    write(
        engine,
        "raw.daily_bars",
        [bar("0126Z0", FRIDAY, 100, 110), bar("0126Z0", MONDAY, 110, 121), bar("0126Z0", TUESDAY, 120, 132)],
    )
    write(
        engine,
        "raw.index_bars",
        [
            {"index_code": "1001", "trade_date": day, "open": opening, "high": 900, "low": 700, "close": close}
            | {"known_at": f"{day} 15:40+09"}
            for day, opening, close in ((FRIDAY, 800, 808), (MONDAY, 808, 800), (TUESDAY, 800, 880))
        ],
    )
    early, late = f"{FRIDAY} 08:00+09", f"{FRIDAY} 18:00+09"
    write(engine, "raw.news_articles", [article("early", early, FRIDAY, FRIDAY), article("late", late, FRIDAY, MONDAY)])
    write(engine, "text.mentions", [mention("early", "0126Z0", FRIDAY, early), mention("late", "0126Z0", FRIDAY, late)])
    return engine


def forecast(engine: sa.Engine, prediction_id: str, model: str, exit_day: date, **score: Any) -> None:
    """A live forecast about the article `early` at horizon 1 and the first version of its score."""
    written = {"observed_at": score.pop("observed_at", PROVENANCE["observed_at"])}
    write(
        engine,
        "ml.predictions",
        [
            {
                "prediction_id": prediction_id,
                "kind": "article",
                "article_id": "early",
                "stock_code": "0126Z0",
                "model_id": model,
                "model_version": "1",
                "prompt_version": "p1",
                "origin": "live",
                "cutoff_at": f"{FRIDAY} 08:00+09",
                "trading_day": FRIDAY,
                "tradable_session": FRIDAY,
                "direction": "up",
                "context_hash": "c",
                "articles_seen": "{early}",
                "is_contaminated": False,
            }
        ],
    )
    horizon = {"prediction_id": prediction_id, "horizon_sessions": 1, "trading_day": FRIDAY}
    write(engine, "ml.prediction_horizons", [{**horizon, "p_up": 0.6, "p_flat": 0.2, "p_down": 0.2}])
    evaluate(engine, prediction_id, model, exit_day, **written, **score)


def evaluate(engine: sa.Engine, prediction_id: str, model: str, exit_day: date, **score: Any) -> None:
    row = {
        "prediction_id": prediction_id,
        "horizon_sessions": 1,
        "version": 1,
        "model_id": model,
        "stock_code": "0126Z0",
        "trading_day": FRIDAY,
        "status": "matured",
        "exit_day": exit_day,
        "outcome": "up",
        "brier": 0.24,
        "log_score": 0.51,
        "is_direction_right": True,
        "known_at": f"{exit_day} 15:40+09",
    }
    write(engine, "ml.model_evaluations", [row | score])


def models(engine: sa.Engine, *names: str) -> None:
    write(
        engine,
        "ml.models",
        [{"model_id": name, "provider": "local", "model": name, "is_active": True} for name in names],
    )


def test_the_project_builds_from_nothing_with_its_unit_tests(database: str, run_dbt: RunDbt) -> None:
    done = run_dbt("build", url=database)
    assert set(done.statuses.values()) == {"success", "pass"}
    assert set(MARTS) <= done.statuses.keys()


def test_slices_build_a_cold_database_one_after_the_other(market: sa.Engine, database: str, run_dbt: RunDbt) -> None:
    models(market, "base_rate")
    forecast(market, "b", "base_rate", FRIDAY)
    for one in SLICES:
        run_dbt("build", "--select", one, *NO_UNIT_TESTS, url=database, window=(FRIDAY, FRIDAY))
    assert read(market, "select last_trade_date, last_close from marts.stocks") == [(FRIDAY, 110)]
    assert read(market, "select matured_count, base_rate_skill from marts.daily_performance") == [(1, 0.0)]
    comments = "select obj_description('marts.matches'::regclass), col_description('marts.matches'::regclass, 1)"
    assert all(read(market, comments)[0])


def test_later_days_fill_the_reactions_to_earlier_articles(market: sa.Engine, database: str, run_dbt: RunDbt) -> None:
    query = (
        "select article_id, horizon_sessions, entry, exit_day, price, return_pct, index_return_pct from"
        " marts.news_price_reactions where status = 'matured' order by 1, 2"
    )
    first = ("early", 1, "open", FRIDAY, 110, 10.0, 1.0)
    expected = {
        FRIDAY: [first],
        MONDAY: [
            first,
            ("early", 2, "open", MONDAY, 121, 21.0, 0.0),
            ("late", 1, "open", MONDAY, 121, 10.0, pytest.approx(-0.990099)),
        ],
        TUESDAY: [
            first,
            ("early", 2, "open", MONDAY, 121, 21.0, 0.0),
            ("early", 3, "open", TUESDAY, 132, 32.0, 10.0),
            ("late", 1, "open", MONDAY, 121, 10.0, pytest.approx(-0.990099)),
            ("late", 2, "open", TUESDAY, 132, 20.0, pytest.approx(8.910891)),
        ],
    }
    for day, rows in expected.items():
        run_dbt("build", "--select", BEFORE, *MODELS, url=database, window=(day, day))
        assert read(market, query) == rows, day
    assert read(market, "select count(*) from marts.news_price_reactions") == [(12,)]

    by_day = before_forecasts(market)
    run_dbt("build", "--select", BEFORE, *MODELS, url=database, window=(FRIDAY, TUESDAY))
    assert before_forecasts(market) == by_day, "a range must leave what its days left"
    run_dbt("build", "--select", BEFORE, *MODELS, "--full-refresh", url=database)
    assert before_forecasts(market) == by_day, "and so must all days at once"


def before_forecasts(engine: sa.Engine) -> dict[str, list[tuple[Any, ...]]]:
    names = ("matches", "daily_prices", "news_price_reactions")
    return {name: read(engine, f"select m::text from marts.{name} as m order by 1") for name in names}


def test_a_rerun_follows_corrections_and_forgets_what_vanished(
    market: sa.Engine, database: str, run_dbt: RunDbt
) -> None:
    run_dbt("build", "--select", BEFORE, *MODELS, url=database, window=(FRIDAY, TUESDAY))
    change(market, "delete from text.mentions where article_id = 'late'")
    change(market, f"update raw.daily_bars set close = 105, low = 100 where trade_date = '{FRIDAY}'")
    run_dbt("build", "--select", BEFORE, *MODELS, url=database, window=(FRIDAY, FRIDAY))
    assert read(market, "select distinct article_id from marts.matches") == [("early",)]
    assert read(market, "select distinct article_id from marts.news_price_reactions") == [("early",)]
    assert read(market, "select return_pct from marts.news_price_reactions where horizon_sessions = 1") == [(5.0,)]
    # Monday lies outside the window, but its return starts from Friday's close.
    monday = f"select previous_close, return_pct from marts.daily_prices where trade_date = '{MONDAY}'"
    assert read(market, monday) == [(105, pytest.approx((121 / 105 - 1) * 100))]


def changes(engine: sa.Engine, mart: str) -> tuple[int, int, int, int]:
    """(inserted, changed, unchanged, retired) of the newest dbt call that met the mart."""
    query = "select inserted, changed, unchanged, retired from ops.mart_changes where mart = 'marts.{}'"
    return read(engine, query.format(mart) + " order by made_at desc limit 1")[0]  # type: ignore[return-value]


def test_equal_rows_are_left_alone_and_what_changed_is_told(market: sa.Engine, database: str, run_dbt: RunDbt) -> None:
    window = (FRIDAY, TUESDAY)
    run_dbt("build", "--select", BEFORE, *MODELS, url=database, window=window)
    assert read(market, "select count(*) from ops.mart_changes") == [(0,)], "made from nothing"
    rows = "select stock_code, trade_date, xmin from marts.daily_prices order by 2"
    written = read(market, rows)
    run_dbt("build", "--select", BEFORE, *MODELS, url=database, window=window)
    assert changes(market, "daily_prices") == (0, 0, 3, 0)
    assert changes(market, "matches") == (0, 0, 2, 0)
    assert changes(market, "stocks") == (0, 0, 1, 0)
    assert read(market, rows) == written
    change(market, "delete from text.mentions where article_id = 'late'")
    change(market, f"update raw.daily_bars set close = 131 where trade_date = '{TUESDAY}'")
    run_dbt("build", "--select", BEFORE, *MODELS, url=database, window=window)
    assert changes(market, "daily_prices") == (0, 1, 2, 0)
    assert changes(market, "matches") == (0, 0, 1, 1)
    assert read(market, rows)[:2] == written[:2]
    assert read(market, f"select close from marts.daily_prices where trade_date = '{TUESDAY}'") == [(131,)]


def test_an_edited_headline_does_not_move_the_reaction_behind_the_edit(
    market: sa.Engine, database: str, run_dbt: RunDbt
) -> None:
    """The market had read the first version: known before Friday's open, edited in the evening."""
    run_dbt("build", "--select", BEFORE, *MODELS, url=database, window=(FRIDAY, TUESDAY))
    before = read(market, "select * from marts.news_price_reactions where article_id = 'early' order by 3")
    change(
        market,
        "insert into text.mentions_history select *, '2026-11-13 19:00+09' from text.mentions"
        " where article_id = 'early'",
    )
    change(
        market,
        "update text.mentions set span_start = 3, span_end = 7, known_at = '2026-11-13 19:00+09',"
        " observed_at = '2026-11-13 19:00+09' where article_id = 'early'",
    )
    change(
        market,
        f"update raw.news_articles set title = '속보 가나전자 신제품 공개', known_at = '2026-11-13 19:00+09',"
        f" tradable_session = '{MONDAY}' where article_id = 'early'",
    )
    run_dbt("build", "--select", BEFORE, *MODELS, url=database, window=(FRIDAY, TUESDAY))
    assert read(
        market, "select span_start, known_at, tradable_session from marts.matches where article_id = 'early'"
    ) == [(3, datetime(2026, 11, 13, 8, tzinfo=krx.KST), FRIDAY)]
    assert read(market, "select * from marts.news_price_reactions where article_id = 'early' order by 3") == before


def test_tests_see_the_window_and_nothing_else(market: sa.Engine, database: str, run_dbt: RunDbt) -> None:
    run_dbt("run", "--select", BEFORE, url=database, window=(FRIDAY, TUESDAY))
    change(market, f"update marts.daily_prices set low = 0 where trade_date = '{MONDAY}'")
    rule = "daily_prices_traded_bars_enclose_their_prices"
    assert run_dbt("test", "--select", rule, url=database, window=(TUESDAY, TUESDAY)).statuses == {rule: "pass"}
    done = run_dbt("test", "--select", rule, url=database, window=(MONDAY, TUESDAY), check=False)
    assert done.statuses == {rule: "fail"}


def test_performance_follows_new_scores_of_any_day(market: sa.Engine, database: str, run_dbt: RunDbt) -> None:
    models(market, "base_rate", "chat")
    forecast(market, "b", "base_rate", FRIDAY, brier=0.48)
    forecast(market, "c", "chat", FRIDAY, brier=0.24)
    run_dbt("build", "--select", BEFORE, *MODELS, url=database, window=(FRIDAY, MONDAY))
    run_dbt("build", "--select", AFTER, *MODELS, url=database, window=(FRIDAY, FRIDAY))
    query = (
        "select model_id, exit_day, mean_brier, base_rate_pairs, base_rate_brier, base_rate_skill"
        " from marts.daily_performance order by 1, 2"
    )
    assert read(market, query) == [
        ("base_rate", FRIDAY, 0.48, 1, 0.48, 0.0),
        ("chat", FRIDAY, 0.24, 1, 0.48, 0.5),
    ]
    # A corrected price re-scored Friday while Monday ran: only the new version counts, in both marts.
    evaluate(market, "c", "chat", FRIDAY, version=2, brier=0.96, observed_at="2026-11-21 09:00+09")
    run_dbt("build", "--select", AFTER, *MODELS, url=database, window=(MONDAY, MONDAY))
    assert read(market, query)[1] == ("chat", FRIDAY, 0.96, 1, 0.48, -1.0)
    history = "select matured_20, brier_20, is_regression from marts.evaluation_history where model_id = 'chat'"
    assert read(market, history) == [(1, 0.96, None)]


def test_a_score_whose_exit_moved_counts_once(market: sa.Engine, database: str, run_dbt: RunDbt) -> None:
    """Minutes that came late bring an entry, and with it the exit, a session forward: the old day loses its row."""
    models(market, "chat")
    forecast(market, "c", "chat", MONDAY)
    run_dbt("build", "--select", BEFORE, *MODELS, url=database, window=(FRIDAY, TUESDAY))
    run_dbt("build", "--select", AFTER, *MODELS, url=database, window=(MONDAY, MONDAY))
    evaluate(market, "c", "chat", FRIDAY, version=2, observed_at="2026-11-21 09:00+09")
    run_dbt("build", "--select", AFTER, *MODELS, url=database, window=(FRIDAY, FRIDAY))
    for mart in ("daily_performance", "evaluation_history"):
        assert read(market, f"select exit_day, matured_count from marts.{mart}") == [(FRIDAY, 1)], mart
    # And back again, while another day runs.
    evaluate(market, "c", "chat", MONDAY, version=3, observed_at="2026-11-21 10:00+09")
    run_dbt("build", "--select", AFTER, *MODELS, url=database, window=(TUESDAY, TUESDAY))
    for mart in ("daily_performance", "evaluation_history"):
        assert read(market, f"select exit_day, matured_count from marts.{mart}") == [(MONDAY, 1)], mart
    assert read(market, "select matured_20 from marts.evaluation_history") == [(1,)]


def test_versions_of_a_model_are_never_pooled(market: sa.Engine, database: str, run_dbt: RunDbt) -> None:
    models(market, "chat")
    forecast(market, "c1", "chat", FRIDAY, brier=0.2)
    forecast(market, "c2", "chat", FRIDAY, brier=0.6)
    change(market, "update ml.predictions set model_version = '2' where prediction_id = 'c2'")
    run_dbt("build", *MODELS, url=database, window=(FRIDAY, TUESDAY))
    assert read(market, "select model_version, mean_brier from marts.daily_performance order by 1") == [
        ("1", 0.2),
        ("2", 0.6),
    ]
    assert read(market, "select model_version, brier_20 from marts.evaluation_history order by 1") == [
        ("1", 0.2),
        ("2", 0.6),
    ]


def test_a_censored_forecast_waits_for_its_day(market: sa.Engine, database: str, run_dbt: RunDbt) -> None:
    """A halt at the entry censors every horizon at once; a day that nobody has traded yet has no performance."""
    models(market, "chat")
    wednesday = krx.next_session(TUESDAY).day
    unscored = {"status": "censored", "outcome": None, "brier": None, "log_score": None, "is_direction_right": None}
    forecast(market, "c", "chat", wednesday, **unscored)
    run_dbt("build", *MODELS, url=database, window=(FRIDAY, TUESDAY))
    assert read(market, "select count(*) from marts.daily_performance") == [(0,)]
    write(market, "raw.daily_bars", [bar("0126Z0", wednesday, 132, 133)])
    run_dbt("build", *MODELS, url=database, window=(wednesday, wednesday))
    assert read(market, "select exit_day, matured_count, censored_count from marts.daily_performance") == [
        (wednesday, 0, 1)
    ]


def test_a_mart_made_from_nothing_holds_every_scored_day(market: sa.Engine, database: str, run_dbt: RunDbt) -> None:
    """The run that scored Friday died before dbt; Monday's is the first to make the marts."""
    models(market, "chat")
    forecast(market, "c1", "chat", FRIDAY)
    forecast(market, "c2", "chat", MONDAY)
    run_dbt("build", *MODELS, url=database, window=(MONDAY, MONDAY))
    for mart in ("daily_performance", "evaluation_history"):
        assert read(market, f"select exit_day from marts.{mart} order by 1") == [(FRIDAY,), (MONDAY,)], mart


def test_every_relation_and_column_is_explained(market: sa.Engine, database: str, run_dbt: RunDbt) -> None:
    run_dbt("run", url=database)
    silent = """
        select n.nspname || '.' || c.relname || coalesce('.' || a.attname, '')
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where n.nspname in ('staging', 'marts') and c.relkind in ('r', 'p', 'v')
          and (obj_description(c.oid) is null or col_description(c.oid, a.attnum) is null)
    """
    assert read(market, silent) == []


def test_a_second_run_changes_nothing_and_keeps_what_analysts_built(
    market: sa.Engine, database: str, run_dbt: RunDbt
) -> None:
    models(market, "base_rate")
    forecast(market, "b", "base_rate", FRIDAY)
    run_dbt("build", *MODELS, url=database, window=(FRIDAY, TUESDAY))
    before = everything(market)
    assert all(before.values())
    for mart in MARTS:
        change(market, f"create view public.of_{mart} as select * from marts.{mart}")
    run_dbt("build", *MODELS, url=database, window=(FRIDAY, TUESDAY))
    assert everything(market) == before
    for mart in MARTS:
        assert read(market, f"select count(*) from public.of_{mart}") == [(len(before[mart]),)]


def test_a_broken_promise_is_a_failed_check(market: sa.Engine, database: str, run_dbt: RunDbt) -> None:
    run_dbt("run", "--select", BEFORE, url=database)
    change(market, "update marts.news_price_reactions set entry_at = known_at where horizon_sessions = 1")
    change(market, "update marts.news_price_reactions set price = null where horizon_sessions = 2")
    change(market, "update marts.matches set tradable_session = '2026-11-14' where article_id = 'early'")
    done = run_dbt("test", "--select", BEFORE, url=database, check=False)
    failed = {name for name, status in done.statuses.items() if status == "fail"}
    assert failed == {
        "news_price_reactions_enter_after_the_article_was_known",
        "news_price_reactions_have_prices_once_matured",
        "relationships_matches_tradable_session__trade_date__source_raw_trading_sessions_",
    }
