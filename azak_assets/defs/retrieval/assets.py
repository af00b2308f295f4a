"""Vectors of the news and the index over them.

Belongs here: embedding articles and keeping the FAISS index equal to the embedded articles. How similarity is searched
lives in `text.vector_index`; the index never sees past its cut-off.
"""

import time
from pathlib import Path

import dagster as dg

from azak_assets.defs.reporting import metadata_of
from azak_assets.defs.tables import table_asset
from azak_assets.defs.windows import window_of
from azak_assets.ingest.report import StepReport
from azak_assets.runtime import Retrieval
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

KEEP_OLD_S = 24 * 3600


@table_asset("ml.news_embeddings", owner="retrieval", deps=["raw.news_articles"])
def news_embeddings(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    retrieval: dg.ResourceParam[Retrieval],
) -> dg.MaterializeResult[None]:
    """One unit vector an article and embedder, of its title and the start of its excerpt.

    An article whose content has not changed is not embedded again. Known defect: the local embedder knows letters, not
    meaning; set AZAK_EMBEDDER for KoSimCSE or OpenAI.
    """
    # Imported here: the code location loads without pandas and numpy.
    import pandas as pd  # noqa: PLC0415

    from azak_assets.text.embedders import embedding_text  # noqa: PLC0415
    from azak_assets.text.identity import vector_id  # noqa: PLC0415

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
    texts = [
        embedding_text(title, excerpt)
        for title, excerpt in zip(frame["title"][new], frame["excerpt"][new], strict=True)
    ]
    if texts:
        frame.loc[new, "embedding"] = pd.Series(list(embedder.embed(texts)), index=frame.index[new])
    frame = frame.assign(embedder=embedder.name, vector_id=[vector_id(a) for a in frame["article_id"]])
    frame = frame.drop(columns=["title", "excerpt"])
    # Not complete: rows of another embedder share these days, and an article never vanishes.
    result = warehouse.load("ml.news_embeddings", frame, Scope(window.days), complete=False, source=embedder.name)
    report = StepReport(notes={"embedded now": len(texts), "dimensions": embedder.dimensions})
    shown = ["article_id", "vector_id", "embedder", "trading_day", "known_at"]
    report.add_load(result, frame, instant="known_at", columns=shown)
    return dg.MaterializeResult(metadata=metadata_of(report))


@table_asset("ml.faiss_index", owner="retrieval", deps=["ml.news_embeddings"], pool="index", kinds=["faiss"])
def faiss_index(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    retrieval: dg.ResourceParam[Retrieval],
) -> dg.MaterializeResult[None]:
    """The exact vector index over every embedded article, in the order they became known; this row is its manifest.

    The file is written whole beside the old one and then named in the manifest with its checksum, so that a reader has
    either the old index or the new one. Every partition rebuilds the whole index.
    """
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    from azak_assets.text.vector_index import VectorIndex  # noqa: PLC0415

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
    report = StepReport(notes={"checksum": saved.checksum})
    report.add_load(result, frame, instant="last_known_at")
    return dg.MaterializeResult(
        metadata={
            **metadata_of(report),
            "dagster/row_count": saved.vectors,
            "file": dg.MetadataValue.path(str(retrieval.index_folder / saved.file_name)),
        }
    )


def _remove_old(folder: Path, embedder: str, *, keep: str) -> None:
    """Remove index files that the manifest no longer names; each is as large as all vectors.

    Those of the last day stay: a reader may have read the manifest just before it changed.
    """
    for file in folder.glob(f"{embedder}-*.npz"):
        if file.name != keep and time.time() - file.stat().st_mtime > KEEP_OLD_S:
            file.unlink(missing_ok=True)
