"""Vectors of the news and the index over them.

Belongs here: embedding articles and keeping the FAISS index equal to the embedded articles. How similarity is searched
lives in `text.vector_index`; the index never sees past its cut-off.
"""

import time
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd

from azak_assets.defs.reporting import loaded
from azak_assets.defs.windows import window_of
from azak_assets.partitions import TRADING_DAYS
from azak_assets.runtime import Retrieval
from azak_assets.text.embedders import embedding_text
from azak_assets.text.identity import vector_id
from azak_assets.text.vector_index import VectorIndex
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

OWNERS = ["team:retrieval"]
KEEP_OLD_S = 24 * 3600


@dg.asset(
    key=["ml", "news_embeddings"],
    deps=[["raw", "news_articles"]],
    partitions_def=TRADING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"python", "postgres"},
    owners=OWNERS,
    code_version="1",
    metadata={"dagster/table_name": "ml.news_embeddings"},
)
def news_embeddings(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    retrieval: dg.ResourceParam[Retrieval],
) -> dg.MaterializeResult:
    """One unit vector an article and embedder, of its title and the start of its excerpt.

    An article whose content has not changed is not embedded again. Known defect: the local embedder knows letters, not
    meaning; set AZAK_EMBEDDER for KoSimCSE or OpenAI.
    """
    window = window_of(context)
    embedder = retrieval.embedder
    articles = warehouse.read(
        "raw.news_articles",
        columns=["article_id", "title", "excerpt", "content_hash", "known_at", "trading_day"],
        days=(window.first.day, window.last.day),
        order_by=["known_at", "article_id"],
    )
    have = warehouse.read(
        "ml.news_embeddings",
        columns=["article_id", "content_hash", "embedding"],
        days=(window.first.day, window.last.day),
        where={"embedder": embedder.name},
    )
    frame = articles.merge(have, on=["article_id", "content_hash"], how="left")
    new = frame["embedding"].isna()
    texts = [embedding_text(row.title, row.excerpt) for row in frame[new].itertuples()]
    if texts:
        frame.loc[new, "embedding"] = pd.Series(list(embedder.embed(texts)), index=frame.index[new])
    frame = frame.assign(embedder=embedder.name, vector_id=[vector_id(a) for a in frame["article_id"]])
    frame = frame.drop(columns=["title", "excerpt"])
    # Not complete: rows of another embedder share these days, and an article never vanishes.
    result = warehouse.load("ml.news_embeddings", frame, Scope(window.days), complete=False, source=embedder.name)
    metadata = loaded(
        result, frame, instant="known_at", columns=["article_id", "vector_id", "embedder", "trading_day", "known_at"]
    )
    return dg.MaterializeResult(metadata={**metadata, "embedded now": len(texts), "dimensions": embedder.dimensions})


@dg.asset(
    key=["ml", "faiss_index"],
    deps=[["ml", "news_embeddings"]],
    partitions_def=TRADING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"python", "faiss"},
    owners=OWNERS,
    code_version="1",
    pool="index",
    metadata={"dagster/table_name": "ml.faiss_index"},
)
def faiss_index(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    retrieval: dg.ResourceParam[Retrieval],
) -> dg.MaterializeResult:
    """The exact vector index over every embedded article, in the order they became known; this row is its manifest.

    The file is written whole beside the old one and then named in the manifest with its checksum, so that a reader has
    either the old index or the new one. Every partition rebuilds the whole index.
    """
    name = retrieval.embedder.name
    # Two builders at once could put the older index into the manifest last.
    with warehouse.exclusive("index"):
        rows = warehouse.read(
            "ml.news_embeddings", columns=["vector_id", "known_at", "embedding"], where={"embedder": name}
        )
        vectors = (
            np.vstack(rows["embedding"].tolist()).astype(np.float32)
            if len(rows)
            else np.empty((0, retrieval.embedder.dimensions), dtype=np.float32)
        )
        index = VectorIndex.build(name, rows["vector_id"].tolist(), rows["known_at"].tolist(), vectors)
        saved = index.save(retrieval.index_folder)
        frame = pd.DataFrame([saved])
        scope = Scope(None, (name,))
        result = warehouse.load("ml.faiss_index", frame, scope, complete=True, source="text.vector_index")
        _remove_old(retrieval.index_folder, name, keep=saved.file_name)
    context.log.info("%d vectors in %s", saved.vectors, saved.file_name)
    metadata = loaded(result, frame, instant="last_known_at")
    return dg.MaterializeResult(
        metadata={
            **metadata,
            "dagster/row_count": saved.vectors,
            "file": dg.MetadataValue.path(str(retrieval.index_folder / saved.file_name)),
            "checksum": saved.checksum,
        }
    )


def _remove_old(folder: Path, embedder: str, *, keep: str) -> None:
    """Remove index files that the manifest no longer names; each is as large as all vectors.

    Those of the last day stay: a reader may have read the manifest just before it changed.
    """
    for file in folder.glob(f"{embedder}-*.npz"):
        if file.name != keep and time.time() - file.stat().st_mtime > KEEP_OLD_S:
            file.unlink(missing_ok=True)
