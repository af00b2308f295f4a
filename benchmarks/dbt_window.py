"""What one more day costs dbt, with a month and with eighteen months of history behind it.

Belongs here: a market of made-up rows, dbt runs and their ratio. The bar: one more day after 370 sessions
≤ 1.3 × one more day after 20, in the seconds of the models and tests themselves. Starting dbt costs as much with any
history, and would make a ratio of whole commands look better than it is.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from psycopg import sql
from sqlalchemy import make_url

from azak_assets import krx
from azak_assets.warehouse.postgres import database, server
from benchmarks.bars import Row, finish

PROJECT = Path(__file__).resolve().parent.parent / "azak_dbt"
BAR = 1.3
LAST_DAY = date(2026, 11, 13)
REPEATS = 3
SHOWN_NODES = 5

# Sizes of a day: the whole market, and news, matches and forecasts as a live day has them.
STOCKS = 2700
ARTICLES = 600
FORECAST_ARTICLES = 200
MODELS = ("base_rate", "persistence", "model_a", "model_b")

SEED = """
insert into raw.stocks (stock_code, name, market, security_kind, tier, aliases, is_active, listed_shares,
                        known_at, source, observed_at, run_id)
select 'S' || lpad(n::text, 5, '0'), '종목' || n, case when n %% 3 = 0 then 'KOSPI' else 'KOSDAQ' end, 'stock', 3,
       '{{}}', true, 1000000, now(), 'bench', now(), 'bench'
from generate_series(1, {stocks}) as n
on conflict do nothing;

insert into raw.daily_bars (stock_code, trade_date, open, high, low, close, volume, turnover_krw, is_halted, known_at,
                            source, observed_at, run_id)
select 'S' || lpad(n::text, 5, '0'), s.trade_date, p, p + 200, p - 200, p + 100, 1000, 1000 * p, false,
       s.close_at + interval '10 minutes', 'bench', now(), 'bench'
from raw.trading_sessions as s
cross join generate_series(1, {stocks}) as n
cross join lateral (select 10000 + (hashtext(n || s.trade_date::text) %% 1000) as p) as priced
where s.trade_date between %(first)s and %(last)s;

insert into raw.index_bars (index_code, trade_date, open, high, low, close, known_at, source, observed_at, run_id)
select code, trade_date, 100, 101, 99, 100.5, close_at, 'bench', now(), 'bench'
from raw.trading_sessions cross join (values ('0001'), ('1001')) as codes (code)
where trade_date between %(first)s and %(last)s;

insert into raw.news_articles (article_id, title, published_at, is_date_only, content_hash, known_at, trading_day,
                               tradable_session, source, observed_at, run_id)
select 'a' || s.trade_date || '-' || n, repeat('가', 24), s.open_at, false, 'h', s.open_at - n * interval '1 second',
       s.trade_date, s.trade_date, 'bench', now(), 'bench'
from raw.trading_sessions as s cross join generate_series(1, {articles}) as n
where s.trade_date between %(first)s and %(last)s;

insert into text.article_clusters (article_id, cluster_id, method, trading_day, known_at, source, observed_at, run_id)
select article_id, article_id, 'single', trading_day, known_at, 'bench', now(), 'bench'
from raw.news_articles where trading_day between %(first)s and %(last)s;

insert into text.mentions (article_id, field, span_start, span_end, stock_code, surface, method, trading_day, known_at,
                           source, observed_at, run_id)
select article_id, 'title', m * 5, m * 5 + 4,
       'S' || lpad((1 + abs(hashtext(article_id || m)) %% {stocks})::text, 5, '0'),
       '가가가가', 'name', trading_day, known_at, 'bench', now(), 'bench'
from raw.news_articles cross join generate_series(0, 1) as m
where trading_day between %(first)s and %(last)s;

insert into ml.predictions (prediction_id, kind, article_id, stock_code, model_id, model_version, prompt_version,
                            origin, cutoff_at, trading_day, tradable_session, direction, confidence, context_hash,
                            articles_seen, is_contaminated, source, observed_at, run_id)
select md5(article_id || model), 'article', article_id, 'S00001', model, '1', 'p1', 'live', known_at, trading_day,
       tradable_session, 'up', 0.5, 'c', '{{}}', false, 'bench', now(), 'bench'
from raw.news_articles cross join unnest(%(models)s::text[]) as model
where trading_day between %(first)s and %(last)s and split_part(article_id, '-', 4)::int <= {forecast_articles};

insert into ml.prediction_horizons (prediction_id, horizon_sessions, p_up, p_flat, p_down, trading_day,
                                    source, observed_at, run_id)
select prediction_id, horizon, 0.5, 0.3, 0.2, trading_day, 'bench', now(), 'bench'
from ml.predictions cross join (values (1), (5), (20)) as horizons (horizon)
where trading_day between %(first)s and %(last)s;

-- Scores as a finished run leaves them: one matured version for every horizon that the recorded days contain.
insert into ml.model_evaluations (prediction_id, horizon_sessions, version, model_id, stock_code, trading_day, status,
                                  entry_day, exit_day, outcome, brier, log_score, is_direction_right, known_at,
                                  source, observed_at, run_id)
select p.prediction_id, h.horizon, 1, p.model_id, p.stock_code, p.trading_day, 'matured', p.trading_day, x.trade_date,
       'up', 0.38, 0.69, true, x.close_at, 'bench', clock_timestamp(), 'bench'
from ml.predictions as p
cross join (values (1), (5), (20)) as h (horizon)
inner join numbered as e on p.trading_day = e.trade_date
inner join numbered as x on x.number = e.number + h.horizon - 1
where x.trade_date between %(first)s and %(last)s
on conflict do nothing;
"""


def _seed(connection: psycopg.Connection, first: date, last: date) -> None:
    """Write what the upstream assets would have written for these sessions."""
    text = SEED.format(stocks=STOCKS, articles=ARTICLES, forecast_articles=FORECAST_ARTICLES)
    for statement in text.split(";\n"):
        if statement.strip():
            connection.execute(statement, {"first": first, "last": last, "models": list(MODELS)})
    connection.commit()


def _calendar(connection: psycopg.Connection) -> None:
    with connection.cursor().copy(
        "copy raw.trading_sessions (trade_date, open_at, close_at, note, source, observed_at, run_id) from stdin"
    ) as copy:
        now = "2026-01-01 00:00+09"
        for one in krx.sessions(krx.FIRST_DAY, krx.LAST_DAY):
            copy.write_row((one.day, one.open_at, one.close_at, one.note, "bench", now, "bench"))
    for model in MODELS:
        connection.execute(
            "insert into ml.models (model_id, provider, model, is_active, source, observed_at, run_id)"
            " values (%s, 'local', %s, true, 'bench', now(), 'bench')",
            (model, model),
        )
    connection.execute(
        "create view numbered as"
        " select trade_date, close_at, row_number() over (order by trade_date) as number from raw.trading_sessions"
    )
    connection.commit()


def _dbt(environment: dict[str, str], first: date, last: date) -> dict[str, float]:
    """Run the whole project for a window; seconds of the command and of the nodes inside it."""
    started = time.perf_counter()
    done = subprocess.run(
        [str(Path(sys.executable).parent / "dbt"), "build", "--exclude", "resource_type:unit_test", "--quiet"],
        env={**environment, "AZAK_WINDOW_START": str(first), "AZAK_WINDOW_END": str(last)},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    results = json.loads((Path(environment["DBT_TARGET_PATH"]) / "run_results.json").read_text())
    nodes = {one["unique_id"].split(".")[2]: one["execution_time"] for one in results["results"]}
    return {"seconds": seconds, "nodes": sum(nodes.values()), **{k: v for k, v in nodes.items() if v > 0.3}}


def _measure(admin: str, history: int, folder: Path) -> dict[str, dict[str, float]]:
    """A fresh database with `history` sessions built at once, then one session more, several times."""
    url = make_url(admin).set(database=f"azak_bench_dbt_{history}")
    days = [one.day for one in krx.sessions(krx.FIRST_DAY, LAST_DAY)][-(history + REPEATS) :]
    environment = {
        **os.environ,
        "AZAK_DBT_HOST": str(url.query.get("host") or url.host),
        "AZAK_DBT_PORT": str(url.query.get("port") or url.port or 5432),
        "AZAK_DBT_USER": url.username or "",
        "AZAK_DBT_PASSWORD": url.password or "",
        "AZAK_DBT_DATABASE": url.database or "",
        "DBT_PROJECT_DIR": str(PROJECT),
        "DBT_PROFILES_DIR": str(PROJECT),
        "DBT_TARGET_PATH": str(folder / f"target_{history}"),
        "DBT_LOG_PATH": str(folder),
    }
    plain = make_url(admin).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as server_connection:
        name = sql.Identifier(url.database or "")
        server_connection.execute(sql.SQL("drop database if exists {} with (force)").format(name))
        server_connection.execute(sql.SQL("create database {}").format(name))
        try:
            database.upgrade(url.render_as_string(hide_password=False))
            target = url.set(drivername="postgresql").render_as_string(hide_password=False)
            with psycopg.connect(target) as connection:
                _calendar(connection)
                _seed(connection, days[0], days[history - 1])
                connection.execute("analyze")
            measured = {"built at once": _dbt(environment, days[0], days[history - 1])}
            with psycopg.connect(target) as connection:
                connection.execute("analyze")  # as autovacuum has done by the next day
            for day in days[history:]:
                with psycopg.connect(target) as connection:
                    _seed(connection, day, day)
                measured[f"+ {day}"] = _dbt(environment, day, day)
        finally:
            server_connection.execute(sql.SQL("drop database {} with (force)").format(name))
    return measured


def main(
    url: Annotated[str, typer.Option(help="A server whose role may create databases; default: an embedded one.")] = "",
    history: Annotated[
        tuple[int, int], typer.Option(help="Sessions of history to compare; the first is the yardstick.")
    ] = (20, 370),
) -> None:
    """Print and keep the cost of one more day behind each length of history."""
    with tempfile.TemporaryDirectory(prefix="azak-bench-") as name:
        folder = Path(name)
        try:
            admin = url or server.ensure_running(folder / "home").url("postgres")
            measured = {length: _measure(admin, length, folder) for length in history}
        finally:
            if not url:
                server.stop(folder / "home")
    for length, runs in measured.items():
        for label, seconds in runs.items():
            slowest = sorted(seconds.items(), key=lambda item: -item[1])[: 2 + SHOWN_NODES]
            typer.echo(f"{length:>4} sessions  {label:<14}" + "  ".join(f"{k} {v:.2f} s" for k, v in slowest))

    def best(length: int, of: str) -> float:
        return min(run[of] for label, run in measured[length].items() if label.startswith("+"))

    shortest = history[0]
    rows = [Row(f"one more day after {length} sessions, nodes", best(length, "nodes"), "s") for length in history]
    rows += [Row(f"one more day after {length} sessions, command", best(length, "seconds"), "s") for length in history]
    rows += [
        Row(
            f"one more day after {length} sessions ÷ after {shortest}, nodes",
            best(length, "nodes") / best(shortest, "nodes"),
            bar=BAR,
        )
        for length in history[1:]
    ]
    finish("dbt_window", rows, runs=measured)


if __name__ == "__main__":
    typer.run(main)
