"""Companies named in articles: from `raw.news_articles` and `raw.stocks` to `text.mentions`.

Belongs here: which articles and names are read. Does not belong here: what counts as a mention (`text.mentions`).
"""

from collections.abc import Sequence
from datetime import date

import pandas as pd

from azak_assets.ingest.report import StepReport
from azak_assets.text.mentions import MentionFinder, mentions_frame
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

SHOWN = ["stock_code", "surface", "field", "method", "trading_day"]
MOST_MENTIONED = 10


def make_mentions(warehouse: Warehouse, days: Sequence[date]) -> tuple[StepReport, pd.DataFrame]:
    """Find the mentions in the articles of some trading days, oldest first, and replace those of before.

    Returns the report, and (stock_code, mentions) of the ten stocks that are named most.
    """
    report = StepReport()
    # It reads, computes and replaces the days: of two at once the staler would retire what the newer had found.
    with warehouse.exclusive("mentions"):
        articles = warehouse.read(
            "raw.news_articles",
            columns=["article_id", "title", "excerpt", "known_at", "trading_day"],
            days=(days[0], days[-1]),
        )
        stocks = warehouse.read("raw.stocks", columns=["stock_code", "name", "aliases", "delisted_on"])
        frame = mentions_frame(MentionFinder(stocks), articles)
        result = warehouse.load("text.mentions", frame, Scope(tuple(days)), complete=True, source="text.mentions")
    report.add_load(result, frame, instant="known_at", columns=SHOWN)
    report.notes["articles"] = len(articles)
    report.notes["articles with a mention"] = int(frame["article_id"].nunique())
    counts = frame["stock_code"].value_counts().head(MOST_MENTIONED)
    return report, counts.rename_axis("stock_code").reset_index(name="mentions")
