"""The vector index as the warehouse names it: `ml.faiss_index` is the manifest of a file in the index folder.

Belongs here: opening the index that the manifest names. Does not belong here: the file and the search in it
(`text.vector_index`), and what the UI shows (`defs.retrieval`).
"""

from pathlib import Path

from azak_assets.text.vector_index import VectorIndex
from azak_assets.warehouse.warehouse import Warehouse


def open_index(warehouse: Warehouse, embedder: str, folder: Path) -> VectorIndex | None:
    """The index of an embedder; None where the manifest names no file yet.

    Raises:
        DamagedIndex: the file is missing or not the one of the manifest; the message says how to rebuild it.
    """
    manifest = warehouse.read("ml.faiss_index", where={"embedder": embedder})
    if manifest.empty:
        return None
    return VectorIndex.load(folder / manifest.iloc[0]["file_name"], manifest.iloc[0]["checksum"])
