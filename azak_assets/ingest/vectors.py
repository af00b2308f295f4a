"""Articles as vectors, and the index over them: `ml.news_embeddings` and `ml.faiss_index`, the manifest of its file.

Belongs here: which articles are embedded, and keeping index and manifest equal to the embedded articles. Does not
belong here: how a text becomes a vector (`text.embedders`), the file and the search in it (`text.vector_index`), and
what the UI shows (`defs.retrieval`).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from azak_assets.ingest.report import StepReport
from azak_assets.text.embedders import Embedder, embedding_text
from azak_assets.text.identity import vector_id
from azak_assets.text.vector_index import SavedIndex, VectorIndex
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

KEEP_OLD_S = 24 * 3600


def embed_articles(warehouse: Warehouse, embedder: Embedder, days: Sequence[date]) -> StepReport:
    """Embed the articles of some trading days, oldest first; one whose content has not changed keeps its vector."""
    articles = warehouse.read(
        "raw.news_articles",
        columns=["article_id", "title", "excerpt", "content_hash", "known_at", "trading_day"],
        days=(days[0], days[-1]),
        order_by=["known_at", "article_id"],
    )
    have = warehouse.read(
        "ml.news_embeddings",
        columns=["article_id", "content_hash", "embedding"],
        days=(days[0], days[-1]),
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
    result = warehouse.load("ml.news_embeddings", frame, Scope(tuple(days)), complete=False, source=embedder.name)
    report = StepReport(notes={"embedded now": len(texts), "dimensions": embedder.dimensions})
    shown = ["article_id", "vector_id", "embedder", "trading_day", "known_at"]
    report.add_load(result, frame, instant="known_at", columns=shown)
    return report


def build_index(warehouse: Warehouse, embedder: Embedder, folder: Path) -> tuple[StepReport, SavedIndex]:
    """Build the index over every embedded article, write its file into ``folder`` and name the file in the manifest.

    The file is written whole beside the old one before the manifest names it, so that a reader has either the old index
    or the new one.
    """
    # Two builders at once could put the older index into the manifest last.
    with warehouse.exclusive("index"):
        rows = warehouse.read(
            "ml.news_embeddings", columns=["vector_id", "known_at", "embedding"], where={"embedder": embedder.name}
        )
        vectors = (
            np.vstack(rows["embedding"].tolist()).astype(np.float32)
            if len(rows)
            else np.empty((0, embedder.dimensions), dtype=np.float32)
        )
        index = VectorIndex.build(embedder.name, rows["vector_id"].tolist(), rows["known_at"].tolist(), vectors)
        saved = index.save(folder)
        frame = pd.DataFrame([saved])
        scope = Scope(None, (embedder.name,))
        result = warehouse.load("ml.faiss_index", frame, scope, complete=True, source="text.vector_index")
        _remove_old(folder, embedder.name, keep=saved.file_name)
    report = StepReport(notes={"checksum": saved.checksum})
    report.add_load(result, frame, instant="last_known_at")
    return report, saved


def open_index(warehouse: Warehouse, embedder: str, folder: Path) -> VectorIndex | None:
    """The index of an embedder; None where the manifest names no file yet.

    Raises:
        DamagedIndex: the file is missing or not the one of the manifest; the message says how to rebuild it.
    """
    manifest = warehouse.read("ml.faiss_index", where={"embedder": embedder})
    if manifest.empty:
        return None
    return VectorIndex.load(folder / manifest.iloc[0]["file_name"], manifest.iloc[0]["checksum"])


@dataclass(frozen=True)
class IndexComparison:
    """The ids of the vectors that are embedded, and of those in the index."""

    embedded: frozenset[int]
    indexed: frozenset[int]

    @property
    def missing(self) -> frozenset[int]:
        """Embedded and not in the index."""
        return self.embedded - self.indexed

    @property
    def surplus(self) -> frozenset[int]:
        """In the index and no longer embedded."""
        return self.indexed - self.embedded


def compare_index(warehouse: Warehouse, embedder: str, folder: Path) -> IndexComparison | None:
    """Open the index of an embedder by its manifest and compare ids; None where there is none yet.

    Raises:
        DamagedIndex: see `open_index`.
    """
    index = open_index(warehouse, embedder, folder)
    if index is None:
        return None
    embedded = warehouse.read("ml.news_embeddings", columns=["vector_id"], where={"embedder": embedder})
    return IndexComparison(frozenset(embedded["vector_id"].astype(int)), frozenset(index.vector_ids.tolist()))


def _remove_old(folder: Path, embedder: str, *, keep: str) -> None:
    """Remove index files that the manifest no longer names; each is as large as all vectors.

    Those of the last day stay: a reader may have read the manifest just before it changed.
    """
    for file in folder.glob(f"{embedder}-*.npz"):
        if file.name != keep and time.time() - file.stat().st_mtime > KEEP_OLD_S:
            file.unlink(missing_ok=True)
