"""What must hold of the index, for the operator.

Belongs here: declaring the check. Does not belong here: the comparison (`ingest.vectors`).
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
    """The ids in the index against those of the embedded articles."""
    from azak_assets.ingest.vectors import compare_index  # noqa: PLC0415 - numpy
    from azak_assets.text.vector_index import DamagedIndex  # noqa: PLC0415 - numpy

    try:
        found = compare_index(warehouse, retrieval.embedder.name, retrieval.index_folder)
    except DamagedIndex as damaged:
        return dg.AssetCheckResult(passed=False, description=literal(damaged))
    if found is None:
        return dg.AssetCheckResult(passed=False, description="No index yet: materialize ml/faiss_index.")
    is_equal = found.indexed == found.embedded
    return dg.AssetCheckResult(
        passed=is_equal,
        metadata={
            "embedded": len(found.embedded),
            "indexed": len(found.indexed),
            "missing": len(found.missing),
            "surplus": len(found.surplus),
        },
        description="" if is_equal else "Materialize ml/faiss_index again.",
    )
