"""What a chat model may see: the world as of a cut-off, as canonical JSON.

Belongs here: the selection of facts about one article and one stock. Every fact comes from `Warehouse.as_of` at the
cut-off, and similar articles from the vector index as of it, so nothing that became known later can be in it; a test
rebuilds contexts from a database that has no later rows and compares the bytes. Does not belong here: the words around
the facts (`prompts/`). Reads at the same cut-off are shared, for many articles of a day ask for the same bars.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from azak_assets import krx
from azak_assets.forecast.ledger import canonical_json, sha256
from azak_assets.scoring.horizons import HORIZONS, Bar, entry_of, resolve
from azak_assets.text.embedders import embedding_text
from azak_assets.warehouse import readers

if TYPE_CHECKING:
    from azak_assets.text.embedders import Embedder
    from azak_assets.text.vector_index import VectorIndex
    from azak_assets.warehouse.asof import AsOfClock
    from azak_assets.warehouse.warehouse import Warehouse

STOCK_BARS = 60
INDEX_BARS = 20
INDEX_CODES = ("0001", "1001")
RECENT_ARTICLES = 10
RECENT_ARTICLES_WITHIN = timedelta(days=7)
RECENT_FILINGS = 10
RECENT_FILINGS_WITHIN = timedelta(days=30)
SIMILAR_ARTICLES = 5
SIMILAR_CANDIDATES = 30
"""Neighbours looked at first to find five that are no copies, name a stock and have a return already."""


@dataclass(frozen=True, slots=True)
class Context:
    """One context: its canonical JSON, that text's sha256, the articles in it, and the last close known (KRW)."""

    json: str
    context_hash: str
    articles_seen: tuple[str, ...]
    base_price: int | None


class ContextReader:
    """Builds contexts through as-of reads with one clock: `known` for replays, `observed` for live forecasts."""

    def __init__(
        self, warehouse: Warehouse, clock: AsOfClock, index: VectorIndex | None, embedder: Embedder | None
    ) -> None:
        self._warehouse = warehouse
        self._clock = clock
        self._index = index
        self._embedder = embedder
        self._shared: dict[tuple[Any, ...], Any] = {}
        self._lock = threading.Lock()

    def build(self, article_id: str, stock_code: str, at: datetime) -> Context:
        """The context of one article and stock at a cut-off; LookupError if the article was not known then."""
        articles = self._as_of("raw.news_articles", at, where={"article_id": article_id})
        if articles.empty:
            raise LookupError(f"article {article_id} was not {self._clock} at {at.isoformat()}; choose a later cut-off")
        article = _rows(articles)[0]
        bars = self._once(("bars", stock_code, at), lambda: self._bars([stock_code], at).get(stock_code, {}))
        recent = self._recent_articles(stock_code, at)
        copies = self._once(("copies", article_id, at), lambda: self._copies(article_id, at))
        recent = recent[~recent["article_id"].isin(copies)].head(RECENT_ARTICLES)
        similar = self._once(("similar", article_id, at), lambda: self._similar(article, copies, at))
        base = _price(bars[max(bars)]["close"]) if bars else None
        facts = {
            "cutoff_at": _kst(at),
            "base_price": base,
            "stock": self._once(("stock", stock_code, at), lambda: self._stock(stock_code, at)),
            "article": _article(article) | {"excerpt": _text(article["excerpt"])},
            "bars": _adjusted(bars)[-STOCK_BARS:],
            "indices": self._once(("indices", at), lambda: self._indices(at)),
            "recent_articles": [_article(row) for row in _rows(recent)],
            "recent_filings": self._once(("filings", stock_code, at), lambda: self._filings(stock_code, at)),
            "similar_articles": [facts for _, facts in similar],
        }
        text = canonical_json(facts)
        seen = dict.fromkeys([article_id, *recent["article_id"], *(one for one, _ in similar)])
        return Context(text, sha256(text), tuple(seen), base)

    def _as_of(self, table: str, at: datetime, **options: Any) -> pd.DataFrame:
        return self._warehouse.as_of(table, at, self._clock, **options)

    def _once(self, key: tuple[Any, ...], read: Callable[[], Any]) -> Any:
        # Two threads may read the same thing at the same time; they read the same past, so either answer will do.
        with self._lock:
            if key in self._shared:
                return self._shared[key]
        value = read()
        with self._lock:
            return self._shared.setdefault(key, value)

    def _bars(self, stocks: list[str], at: datetime) -> dict[str, dict[date, Mapping[str, Any]]]:
        """The bars of the last sessions, one more than are shown, by stock and day."""
        last = krx.session_on_or_before(at.astimezone(krx.KST).date()).day
        days = [one.day for one in krx.sessions(krx.shift(last, -STOCK_BARS).day, last)]  # today may have no bar yet
        return self._bars_on(stocks, days, at)

    def _bars_on(self, stocks: list[str], days: list[date], at: datetime) -> dict[str, dict[date, Mapping[str, Any]]]:
        """The bars as they were traded, each with its `factor`: 1, or what the prices before it are to be multiplied
        by."""
        rows = self._as_of("raw.daily_bars", at, where={"stock_code": stocks, "trade_date": days})
        factors = self._as_of("raw.adjustment_factors", at, where={"stock_code": stocks, "ex_date": days})
        factor_of = {(row["stock_code"], row["ex_date"]): row["factor"] for row in _rows(factors)}
        found: dict[str, dict[date, Mapping[str, Any]]] = {}
        for row in _rows(rows):
            key = row["stock_code"], row["trade_date"]
            found.setdefault(key[0], {})[key[1]] = row | {"factor": factor_of.get(key, 1.0)}
        return found

    def _stock(self, stock_code: str, at: datetime) -> dict[str, Any]:
        """Code, and name, market and sector where they were known: a replay of the past knows the code alone."""
        rows = self._as_of("raw.stocks", at, where={"stock_code": stock_code})
        known = _rows(rows)[0] if len(rows) else {}
        return {"stock_code": stock_code} | {name: _text(known.get(name)) for name in ("name", "market", "sector")}

    def _indices(self, at: datetime) -> dict[str, list[list[Any]]]:
        last = krx.session_on_or_before(at.astimezone(krx.KST).date()).day
        days = [one.day for one in krx.sessions(krx.shift(last, -INDEX_BARS).day, last)]
        bars = self._as_of("raw.index_bars", at, where={"index_code": list(INDEX_CODES), "trade_date": days})
        levels: dict[str, list[list[Any]]] = {}
        for row in _rows(bars):  # ordered by the key: code, then day
            levels.setdefault(row["index_code"], []).append([row["trade_date"].isoformat(), row["close"]])
        return {code: rows[-INDEX_BARS:] for code, rows in levels.items()}

    def _recent_articles(self, stock_code: str, at: datetime) -> pd.DataFrame:
        """First-known articles about the stock within a week before the cut-off, newest first, one a cluster."""
        found: pd.DataFrame = self._once(("recent", stock_code, at), lambda: self._read_recent_articles(stock_code, at))
        return found

    def _read_recent_articles(self, stock_code: str, at: datetime) -> pd.DataFrame:
        days = _trading_days(at - RECENT_ARTICLES_WITHIN, at)
        mentions = self._as_of("text.mentions", at, where={"stock_code": stock_code, "trading_day": days})
        ids = sorted(set(mentions["article_id"]))
        clusters = self._as_of("text.article_clusters", at, where={"article_id": ids})
        first = sorted(clusters.loc[clusters["article_id"] == clusters["cluster_id"], "article_id"])
        articles = self._as_of("raw.news_articles", at, where={"article_id": first})
        articles = articles[articles["known_at"] >= pd.Timestamp(at - RECENT_ARTICLES_WITHIN)]
        return articles.sort_values(["known_at", "article_id"], ascending=[False, True])

    def _copies(self, article_id: str, at: datetime) -> set[str]:
        """The article and every member of its cluster."""
        own = self._as_of("text.article_clusters", at, where={"article_id": article_id})
        members = self._as_of("text.article_clusters", at, where={"cluster_id": sorted(set(own["cluster_id"]))})
        return {article_id, *members["article_id"]}

    def _filings(self, stock_code: str, at: datetime) -> list[dict[str, Any]]:
        days = _trading_days(at - RECENT_FILINGS_WITHIN, at)
        rows = self._as_of("raw.disclosures", at, where={"stock_code": stock_code, "trading_day": days})
        rows = rows.sort_values(["known_at", "rcept_no"], ascending=[False, True]).head(RECENT_FILINGS)
        return [
            {"rcept_no": row["rcept_no"], "report_nm": row["report_nm"], "known_at": _kst(row["known_at"])}
            for row in _rows(rows)
        ]

    def _similar(self, article: Mapping[str, Any], copies: set[str], at: datetime) -> list[tuple[str, dict[str, Any]]]:
        """Up to five earlier articles by similarity, each with what its stock did afterwards as far as that was
        known."""
        index = self._index
        if index is None or not len(index):
            return []
        query = self._vector(article, at, index.embedder)
        corrected = self._once(("corrected",), lambda: self._ever_corrected(index.embedder))
        width = SIMILAR_CANDIDATES
        while True:
            found, _ = index.search(query, width, at)
            embedded = self._as_of(
                "ml.news_embeddings",
                at,
                columns=["article_id", "embedding", "known_at"],
                where={"embedder": index.embedder, "vector_id": sorted({*found[0].tolist(), *corrected})},
            )
            # Similarities are taken from the vectors as of the cut-off: the index may hold a later version of one.
            vectors = np.array(embedded.pop("embedding").tolist(), dtype=np.float64).reshape(-1, index.dimensions)
            embedded["similarity"] = np.round(vectors @ query[0].astype(np.float64), 4)
            nearest = embedded.sort_values(["similarity", "known_at", "article_id"], ascending=[False, True, True])
            chosen = self._with_returns(nearest.head(width), copies, at)
            # The live clock may hide much of what the index found; then look further.
            if len(chosen) == SIMILAR_ARTICLES or width >= len(index):
                return chosen
            width *= 4

    def _ever_corrected(self, embedder: str) -> list[int]:
        """Vector ids of articles embedded more than once: the index knows their newest version only."""
        return readers.reembedded_vector_ids(self._warehouse.engine, embedder)

    def _with_returns(self, nearest: pd.DataFrame, copies: set[str], at: datetime) -> list[tuple[str, dict[str, Any]]]:
        """The first five that are no copies, name a stock, and whose one-session return was known."""
        wanted = sorted(set(nearest["article_id"]) - copies)
        known = self._as_of("raw.news_articles", at, where={"article_id": wanted})
        articles = {row["article_id"]: row for row in _rows(known)}
        mentions = self._as_of("text.mentions", at, where={"article_id": sorted(articles)})
        # The first stock of the headline, else of the excerpt: "title" sorts after "excerpt".
        mentions = mentions.sort_values(
            ["article_id", "field", "span_start"], ascending=[True, False, True], kind="stable"
        )
        stocks = mentions.drop_duplicates("article_id").set_index("article_id")["stock_code"].to_dict()
        chosen: list[tuple[str, dict[str, Any]]] = []
        for name, similarity in zip(nearest["article_id"], nearest["similarity"], strict=True):
            if name not in articles or name not in stocks:
                continue
            returns = self._realised(stocks[name], articles[name]["known_at"].to_pydatetime(), at)
            if returns["1"] is not None:
                facts = {"stock_code": stocks[name], "similarity": float(similarity), "returns": returns}
                chosen.append((name, _article(articles[name]) | facts))
            if len(chosen) == SIMILAR_ARTICLES:
                break
        return chosen

    def _vector(self, article: Mapping[str, Any], at: datetime, embedder: str) -> Any:
        stored = self._as_of(
            "ml.news_embeddings",
            at,
            columns=["embedding", "content_hash"],
            where={"embedder": embedder, "article_id": article["article_id"]},
        )
        if len(stored) and stored.iloc[0]["content_hash"] == article["content_hash"]:
            return np.array([stored.iloc[0]["embedding"]], dtype=np.float32)
        if self._embedder is None:
            raise LookupError(
                f"article {article['article_id']} has no vector of {embedder} yet: materialize "
                "ml/news_embeddings first, or pass the embedder"
            )
        return self._embedder.embed([embedding_text(article["title"], article["excerpt"])])

    def _realised(self, stock_code: str, known_at: datetime, at: datetime) -> dict[str, float | None]:
        """Log returns of a stock after an earlier article, by horizon; None where the exit was not known at the
        cut-off."""
        entry = entry_of(known_at, None)
        if entry.at > at:
            return dict.fromkeys(map(str, HORIZONS))
        last = krx.session_on_or_before(at.astimezone(krx.KST).date()).day
        days = [one.day for one in krx.sessions(entry.day, min(last, entry.exit_day(max(HORIZONS))))]
        bars = self._once(
            ("after", stock_code, entry.day, days[-1], at),
            lambda: self._bars_on([stock_code], days, at).get(stock_code, {}),
        )
        by_day = {day: _bar(row) for day, row in bars.items()}
        returns: dict[str, float | None] = {}
        for horizon in HORIZONS:
            one = resolve(entry, horizon, by_day, minute=None, market_days=(), delisted_on=None)
            returns[str(horizon)] = None if one.log_return is None else round(one.log_return, 5)
        return returns


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _trading_days(start: datetime, end: datetime) -> list[date]:
    return [one.day for one in krx.sessions(krx.trading_day_of(start), krx.trading_day_of(end))]


def _article(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"title": row["title"], "press": _text(row["press"]), "known_at": _kst(row["known_at"])}


def _adjusted(bars: Mapping[date, Mapping[str, Any]]) -> list[list[Any]]:
    """Day, open, high, low, close and volume of each bar, oldest first, comparable with the last of them."""
    rows: list[list[Any]] = []
    factor = 1.0
    for day, bar in sorted(bars.items(), reverse=True):
        prices = (_price(bar[name], factor) for name in ("open", "high", "low", "close"))
        rows.append([day.isoformat(), *prices, round(bar["volume"] / factor)])
        factor *= bar["factor"]
    return rows[::-1]


def _bar(row: Mapping[str, Any]) -> Bar:
    first, high, low, close = (
        nan if pd.isna(row[name]) else float(row[name]) for name in ("open", "high", "low", "close")
    )
    return Bar(first, high, low, close, bool(row["is_halted"]), row["known_at"].to_pydatetime(), row["factor"])


def _kst(instant: datetime) -> str:
    """An instant as the prompt writes it: KST to the second, with its offset."""
    return instant.astimezone(krx.KST).isoformat(timespec="seconds")


def _text(value: Any) -> str | None:
    return None if value is None or pd.isna(value) else str(value)


def _price(value: Any, factor: float = 1.0) -> int | None:
    return None if pd.isna(value) else round(value * factor)
