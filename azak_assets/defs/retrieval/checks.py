"""What must hold of the index."""

import dagster as dg

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
    from azak_assets.text.vector_index import DamagedIndex, VectorIndex  # noqa: PLC0415 - numpy

    name = retrieval.embedder.name
    manifest = warehouse.read("ml.faiss_index", where={"embedder": name})
    if manifest.empty:
        return dg.AssetCheckResult(passed=False, description="No index yet: materialize ml/faiss_index.")
    row = manifest.iloc[0]
    try:
        index = VectorIndex.load(retrieval.index_folder / row["file_name"], row["checksum"])
    except DamagedIndex as damaged:
        return dg.AssetCheckResult(passed=False, description=str(damaged))
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
