"""Vectors of the news and the index over them.

Belongs here: declaring both as assets. How articles are embedded and the index is built lives in `ingest.vectors`.
"""

import dagster as dg

from azak_assets.defs.reporting import metadata_of
from azak_assets.defs.tables import table_asset
from azak_assets.defs.windows import window_of
from azak_assets.runtime import Retrieval
from azak_assets.warehouse.warehouse import Warehouse


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
    from azak_assets.ingest.vectors import embed_articles  # noqa: PLC0415 - pandas and numpy: runs only

    report = embed_articles(warehouse, retrieval.embedder, window_of(context).days)
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
    from azak_assets.ingest.vectors import build_index  # noqa: PLC0415 - pandas and numpy: runs only

    report, saved = build_index(warehouse, retrieval.embedder, retrieval.index_folder)
    context.log.info("%d vectors in %s", saved.vectors, saved.file_name)
    return dg.MaterializeResult(
        metadata={
            **metadata_of(report),
            "dagster/row_count": saved.vectors,
            "file": dg.MetadataValue.path(str(retrieval.index_folder / saved.file_name)),
        }
    )
