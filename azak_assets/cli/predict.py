"""`azak predict CODE`: what every configured model says about the newest article on a stock, asked now.

Belongs here: choosing the article and showing the answers. How a forecast is made lives in `forecast`.
"""

from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from azak_assets import krx
from azak_assets.cli.environment import CannotStart, prepared
from azak_assets.forecast.models import load_models
from azak_assets.forecast.predict import forecast_articles
from azak_assets.ingest.vectors import open_index
from azak_assets.runtime import ChatModels, open_warehouse, retrieval
from azak_assets.scoring.horizons import HORIZONS
from azak_assets.warehouse.warehouse import Warehouse

RECENT = timedelta(days=30)


def predict(console: Console, code: str, *, replay: Path | None, seed: int) -> None:
    """Ask, and print each model's probabilities for 1, 5 and 20 sessions.

    Raises:
        CannotStart: the code is malformed or unknown, or nothing was written about the stock lately.
    """
    if not krx.is_stock_code(code):
        raise CannotStart(f"{code!r} is no stock code: six characters, for example 005930.")
    with (
        prepared(console, replay=replay, seed=seed) as ready,
        open_warehouse(ready.settings, ready.world, run_id="azak predict") as warehouse,
    ):
        stock = warehouse.read("raw.stocks", columns=["name", "market"], where={"stock_code": code})
        if stock.empty:
            raise CannotStart(
                f"No stock {code} in raw.stocks: check the code, or load the listed stocks first (`azak run`, or "
                "materialize raw/stocks)."
            )
        article = _newest_article(warehouse, code)
        name, market = stock.iloc[0]["name"], stock.iloc[0]["market"]
        console.print(f"[bold]{escape(name)}[/] {code} ({market}): {escape(article['title'])}")
        where = retrieval(ready.settings)
        chat = ChatModels(ready.settings)
        with warehouse.exclusive("forecasts"):
            report = forecast_articles(
                warehouse,
                days=[article["trading_day"]],
                models=load_models(),
                index=open_index(warehouse, where.embedder.name, where.index_folder),
                embedder=where.embedder,
                origin="live",
                clients=chat.clients,
                budget_usd=chat.budget_usd,
                only=(article["article_id"], code),
            )
        _show(console, warehouse, article["article_id"], code)
        for model, reasons in report.failed.items():
            console.print(f"[red]✗[/] {model}: {escape(reasons.most_common(1)[0][0])}")
        for model in report.not_configured:
            console.print(f"[yellow]![/] {model}: not configured, its provider has no key")


def _newest_article(warehouse: Warehouse, code: str) -> pd.Series:
    """The first-known article of the newest cluster that names the stock."""
    since = (datetime.now(krx.KST) - RECENT).date()
    mentions = warehouse.read(
        "text.mentions",
        columns=["article_id", "known_at", "trading_day"],
        days=(since, krx.LAST_DAY),
        where={"stock_code": code},
        order_by=["known_at", "article_id"],
    )
    clusters = warehouse.read(
        "text.article_clusters",
        columns=["article_id", "cluster_id"],
        where={"article_id": mentions["article_id"].unique().tolist()},
    )
    first = clusters.loc[clusters["article_id"] == clusters["cluster_id"], "article_id"]
    mentions = mentions[mentions["article_id"].isin(first)]
    if mentions.empty:
        raise CannotStart(
            f"No article of the last {RECENT.days} days names {code}: there is nothing to ask about. Collect news "
            "first (materialize raw/news_articles and text/mentions, or `azak run`)."
        )
    newest = mentions.iloc[-1]
    return warehouse.read("raw.news_articles", where={"article_id": newest["article_id"]}).iloc[0]


def _show(console: Console, warehouse: Warehouse, article_id: str, code: str) -> None:
    forecasts = warehouse.read(
        "ml.predictions",
        columns=["prediction_id", "model_id", "origin", "cutoff_at", "direction", "confidence", "reasoning"],
        where={"article_id": article_id, "stock_code": code},
        order_by=["origin", "model_id"],
    )
    horizons = warehouse.read("ml.prediction_horizons", where={"prediction_id": forecasts["prediction_id"].tolist()})
    table = Table("model", "origin", "asked as of (KST)", "1 session ↑ → ↓", "5 sessions", "20 sessions", "why")
    for row in forecasts.to_dict("records"):
        probabilities = (_probabilities(horizons, row["prediction_id"], horizon) for horizon in HORIZONS)
        asked = pd.Timestamp(row["cutoff_at"]).tz_convert(krx.KST)
        why = row["reasoning"] if isinstance(row["reasoning"], str) else ""
        table.add_row(row["model_id"], row["origin"], f"{asked:%Y-%m-%d %H:%M}", *probabilities, escape(why[:60]))
    console.print(table)


def _probabilities(horizons: pd.DataFrame, prediction_id: str, horizon: int) -> str:
    """Up, flat and down as whole percentages; empty where the model gave none."""
    mine = horizons[(horizons["prediction_id"] == prediction_id) & (horizons["horizon_sessions"] == horizon)]
    return "".join(f"{row.p_up:.0%} {row.p_flat:.0%} {row.p_down:.0%}" for row in mine.itertuples())
