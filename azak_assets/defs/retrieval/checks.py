"""What must hold of the index.

Does not belong here: building the index (`ingest.vectors`).
"""

import dagster as dg

from azak_assets.defs.markdown import literal
from azak_assets.runtime import Retrieval
from azak_assets.warehouse.warehouse import Warehouse


@dg.asset_check(
    asset=["ml", "faiss_index"],
    description="The file the manifest names is whole, and its vectors are exactly those of the embedded articles.",
)
def index_equals_embeddings(
    warehouse: dg.ResourceParam[Warehouse], retrieval: dg.ResourceParam[Retrieval]
) -> dg.AssetCheckResult:
    """Open the file by its manifest and compare ids."""
    from azak_assets.ingest.vectors import open_index  # noqa: PLC0415 - numpy
    from azak_assets.text.vector_index import DamagedIndex  # noqa: PLC0415 - numpy

    name = retrieval.embedder.name
    try:
        index = open_index(warehouse, name, retrieval.index_folder)
    except DamagedIndex as damaged:
        return dg.AssetCheckResult(passed=False, description=literal(damaged))
    if index is None:
        return dg.AssetCheckResult(passed=False, description="No index yet: materialize ml/faiss_index.")
    embedded = warehouse.read("ml.news_embeddings", columns=["vector_id"], where={"embedder": name})
    ids = set(embedded["vector_id"].astype(int))
    indexed = set(index.vector_ids.tolist())
    return dg.AssetCheckResult(
        passed=ids == indexed,
        metadata={
            "embedded": len(ids),
            "indexed": len(indexed),
            "missing": len(ids - indexed),
            "surplus": len(indexed - ids),
        },
        description="" if ids == indexed else "Materialize ml/faiss_index again.",
    )
