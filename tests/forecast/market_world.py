"""A small world for forecasts: bars of two stocks, index bars, articles with mentions and clusters, filings, vectors.

Everything is written through the one writer. Articles lie far enough back for their nominal times to hold, as in a
replay.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from azak_assets import krx
from azak_assets.text.embedders import LocalEmbedder
from azak_assets.text.identity import vector_id
from azak_assets.text.vector_index import VectorIndex
from azak_assets.warehouse.load import Scope
from azak_assets.warehouse.warehouse import Warehouse
from tests.harness import at

GANA, DARA = "005930", "000660"
DAY = date(2022, 1, 20)
EMBEDDER = LocalEmbedder()


def _utc(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    for column in columns:
        frame[column] = pd.to_datetime(frame[column], utc=True)
    return frame


def load_bars(warehouse: Warehouse, start: date, end: date, *, shift: int = 0) -> None:
    """Bars of both stocks and both indices for every session; `shift` KRW on top of the usual prices."""
    rows, indices = [], []
    for n, session in enumerate(krx.sessions(start, end)):
        known_at = session.close_at + timedelta(minutes=10)
        for stock, base in ((GANA, 70_000), (DARA, 120_000)):
            close = base + shift + 700 * (((n * 7) % 11) - 5)
            rows.append(
                {"stock_code": stock, "trade_date": session.day, "open": close - 100, "high": close + 300,
                 "low": close - 300, "close": close, "volume": 1000 + n, "turnover_krw": 1000 * close,
                 "is_halted": False, "base_price": None, "base_ratio": None, "base_reason": None,
                 "known_at": known_at}
            )  # fmt: skip
        indices += [
            {"index_code": code, "trade_date": session.day, "open": 2900.0, "high": 2950.0, "low": 2880.0,
             "close": 2900.0 + n + shift, "volume": 1000, "turnover_krw": 1000, "known_at": known_at}
            for code in ("0001", "1001", "2001")
        ]  # fmt: skip
    days = tuple(session.day for session in krx.sessions(start, end))
    for table, found in (("raw.daily_bars", rows), ("raw.index_bars", indices)):
        warehouse.load(table, _utc(pd.DataFrame(found), "known_at"), Scope(days=days), complete=False, source="test")


def load_factor(warehouse: Warehouse, stock: str, ex_date: date, factor: float, known_at: datetime) -> None:
    frame = pd.DataFrame(
        [
            {"stock_code": stock, "ex_date": ex_date, "factor": factor, "base_price": 1, "previous_close": 1,
             "reason": None, "known_at": known_at}
        ]
    )  # fmt: skip
    warehouse.load(
        "raw.adjustment_factors", _utc(frame, "known_at"), Scope(days=(ex_date,)), complete=False, source="test"
    )


def load_articles(warehouse: Warehouse, articles: Iterable[dict[str, Any]]) -> None:
    """Each: article_id, title, known_at, stocks (codes), and optionally cluster_id. Vectors are written too."""
    given = list(articles)
    frame = pd.DataFrame(
        [
            {"article_id": one["article_id"], "url": None, "title": one["title"], "excerpt": None, "press": "가람경제",
             "published_at": one["known_at"], "is_date_only": False, "content_hash": one["article_id"],
             "known_at": one["known_at"]}
            for one in given
        ]
    )  # fmt: skip
    warehouse.load(
        "raw.news_articles", _utc(frame, "published_at", "known_at"), Scope(days=None), complete=False, source="test"
    )
    stored = warehouse.read("raw.news_articles").set_index("article_id")[["trading_day", "known_at"]]

    def write(table: str, rows: list[dict[str, Any]]) -> None:
        if rows:
            frame = _utc(pd.DataFrame(rows), "known_at")
            warehouse.load(table, frame, Scope(days=None), complete=False, source="test")

    # What is derived from an article becomes known with it, with a corrected one when the correction did.
    own = [{"article_id": one["article_id"], **stored.loc[one["article_id"]].to_dict()} for one in given]
    clusters = [one.get("cluster_id", one["article_id"]) for one in given]
    write(
        "text.article_clusters",
        [row | {"cluster_id": c, "method": "single"} for row, c in zip(own, clusters, strict=True)],
    )
    write(
        "text.mentions",
        [
            row
            | {
                "field": "title",
                "span_start": 2 * n,
                "span_end": 2 * n + 2,
                "stock_code": code,
                "surface": "가나",
                "method": "name",
            }
            for row, one in zip(own, given, strict=True)
            for n, code in enumerate(one["stocks"])
        ],
    )
    vectors = EMBEDDER.embed([one["title"] for one in given])
    write(
        "ml.news_embeddings",
        [
            row
            | {"embedder": EMBEDDER.name, "vector_id": vector_id(row["article_id"]), "embedding": vector.tolist(),
               "content_hash": row["article_id"]}
            for row, vector in zip(own, vectors, strict=True)
        ],
    )  # fmt: skip


def build_index(warehouse: Warehouse) -> VectorIndex:
    rows = warehouse.read("ml.news_embeddings")
    vectors = EMBEDDER.embed([]) if rows.empty else pd.DataFrame(rows["embedding"].tolist()).to_numpy("float32")
    return VectorIndex.build(
        EMBEDDER.name, rows["vector_id"].tolist(), [t.to_pydatetime() for t in rows["known_at"]], vectors
    )


def load_filing(warehouse: Warehouse, rcept_no: str, stock: str, name: str, known_at: datetime) -> None:
    frame = pd.DataFrame(
        [
            {"rcept_no": rcept_no, "corp_code": "00000001", "corp_name": "가나전자", "stock_code": stock,
             "corp_cls": "Y", "report_nm": name, "filer_name": "가나전자", "rcept_dt": known_at.date(), "rm": None,
             "correction_kind": None, "amends_rcept_no": None, "known_at": known_at}
        ]
    )  # fmt: skip
    warehouse.load("raw.disclosures", _utc(frame, "known_at"), Scope(days=None), complete=False, source="test")


def past(warehouse: Warehouse) -> None:
    """What was known by the morning of 2022-01-20: bars up to the day before, three articles, one copy, one filing."""
    load_bars(warehouse, date(2021, 10, 1), date(2022, 1, 19))
    load_articles(
        warehouse,
        [
            {
                "article_id": "old",
                "title": "가나전자 반도체 대규모 수주",
                "known_at": at("2021-12-01 10:00"),
                "stocks": [GANA],
            },
            {
                "article_id": "fresh",
                "title": "가나전자 반도체 수주 소식",
                "known_at": at("2022-01-19 07:00"),
                "stocks": [GANA],
            },
            {
                "article_id": "asked",
                "title": "가나전자 반도체 대규모 공급 수주",
                "known_at": at("2022-01-20 07:30"),
                "stocks": [GANA, DARA],
            },
            {
                "article_id": "copy",
                "cluster_id": "asked",
                "title": "가나전자 반도체 대규모 공급 수주",
                "known_at": at("2022-01-20 07:40"),
                "stocks": [GANA],
            },
        ],
    )
    load_filing(warehouse, "20220110000001", GANA, "단일판매ㆍ공급계약체결", at("2022-01-10 23:59:59"))


def future(warehouse: Warehouse) -> None:
    """What came later, made to be noticed: more bars, corrected bars, factors, similar articles, a filing, another
    title."""
    load_bars(warehouse, date(2022, 1, 20), date(2022, 1, 28))
    load_factor(warehouse, GANA, date(2022, 1, 20), 0.2, at("2022-01-20 15:40"))
    load_factor(warehouse, GANA, date(2022, 1, 10), 0.5, at("2022-01-20 07:30:01"))
    load_bars(warehouse, date(2021, 12, 1), date(2022, 1, 19), shift=9_999)
    load_articles(
        warehouse,
        [
            {
                "article_id": "later",
                "title": "가나전자 반도체 대규모 공급 수주",
                "known_at": at("2022-01-20 07:31"),
                "stocks": [GANA],
            },
            {
                "article_id": "much-later",
                "title": "가나전자 반도체 수주",
                "known_at": at("2022-01-25 09:30"),
                "stocks": [GANA, DARA],
            },
            {"article_id": "old", "title": "정정: 수주 취소", "known_at": at("2021-12-01 10:00"), "stocks": [DARA]},
        ],
    )
    load_filing(warehouse, "20220120000001", GANA, "풍문또는보도에대한해명", at("2022-01-20 23:59:59"))
    load_filing(warehouse, "20220110000001", GANA, "[기재정정]단일판매ㆍ공급계약체결", at("2022-01-10 23:59:59"))
