"""Similar texts as of an instant: an exact FAISS index in the order in which its texts became known.

Belongs here: building, saving, loading and searching one embedder's index. Does not belong here: embedding, the
manifest row (`ml.faiss_index`) and which of the found articles a forecast may use.

Rows lie in (known_at, vector_id) order, so what was known at an instant is a prefix and a search as of it is an exact
scan of that prefix (IndexFlatIP with IDSelectorRange). Approximate indexes were measured and lost: under a 1 % as-of
filter IVF and HNSW find half or less of the neighbours. Row positions never leave this module; callers see
`vector_id`s only.

One file holds everything, an uncompressed .npz (vector_ids int64, known_at int64 µs since 1970 UTC, vectors float32,
embedder): no pickle, the same bytes for the same input, and its name carries its checksum, so that a new index never
overwrites one in use.
"""

import hashlib
import io
import os
import re
import tempfile
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UNIT_TOLERANCE = 1e-3


class DamagedIndex(Exception):  # noqa: N818 - named for the condition
    """The index file is absent or not what its manifest says; it can always be rebuilt from `ml.news_embeddings`."""


@dataclass(frozen=True, slots=True)
class SavedIndex:
    """What `ml.faiss_index` records of a saved file: the columns' own names, sha256 in hex, instants in UTC."""

    embedder: str
    file_name: str
    checksum: str
    dimensions: int
    vectors: int
    first_known_at: datetime | None
    last_known_at: datetime | None


class VectorIndex:
    """Unit vectors of one embedder with their stable ids and the instants they became known. Immutable; searches are
    thread-safe.
    """

    def __init__(self, embedder: str, vector_ids: Integers, known_at: Integers, vectors: Floats) -> None:
        """Arrays already in (known_at, vector_id) order; use `build` or `load`."""
        import faiss  # noqa: PLC0415 - slow to import, and the code location loads this module

        self.embedder = embedder
        self._vector_ids = vector_ids
        self._known_at = known_at
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(vectors)

    def __len__(self) -> int:
        return len(self._vector_ids)

    @property
    def vector_ids(self) -> Integers:
        """The stable ids of everything indexed, in the order it became known."""
        return self._vector_ids

    @property
    def dimensions(self) -> int:
        """The length of every vector."""
        return int(self._index.d)

    @classmethod
    def build(
        cls, embedder: str, vector_ids: Sequence[int] | Integers, known_at: Sequence[datetime], vectors: Floats
    ) -> Self:
        """An index over `vectors` (n × dimensions, unit norm), in any order of rows.

        Raises ValueError for lengths that differ, a repeated id, a naive instant, or a vector that is not of unit
        length.
        """
        ids = np.asarray(vector_ids, dtype=np.int64)
        rows = np.ascontiguousarray(vectors, dtype=np.float32)
        if rows.ndim != 2 or not len(ids) == len(known_at) == len(rows):
            raise ValueError(
                f"{embedder}: {len(ids)} vector_ids, {len(known_at)} instants and vectors of shape {rows.shape} "
                "do not belong together; pass n ids, n instants and an n × dimensions matrix"
            )
        if len(np.unique(ids)) < len(ids):
            values, counts = np.unique(ids, return_counts=True)
            raise ValueError(
                f"{embedder}: vector_id {values[counts > 1][0]} occurs more than once; pass each article once"
            )
        norms = np.linalg.norm(rows, axis=1)
        wrong = np.flatnonzero(~(np.abs(norms - 1) <= _UNIT_TOLERANCE))
        if len(wrong):
            raise ValueError(
                f"{embedder}: the vector of {ids[wrong[0]]} has length {norms[wrong[0]]:.4g}, not 1; "
                "embedders return unit vectors"
            )
        instants = np.asarray([_microseconds(instant) for instant in known_at], dtype=np.int64)
        order = np.lexsort((ids, instants))
        return cls(embedder, ids[order], instants[order], rows[order])

    def search(self, vectors: Floats, k: int, at: datetime, exclude: Collection[int] = ()) -> tuple[Integers, Floats]:
        """The `k` nearest of what was known at `at` (inclusive), for each of the m rows of `vectors` (m × dimensions,
        unit norm).

        Returns (vector_ids, cosine scores), both m × min(k, candidates), best first; equal scores go to the earlier
        known, then the smaller id. `exclude` holds vector_ids that are no candidates for any row. Raises ValueError
        for a naive `at`.
        """
        queries = np.ascontiguousarray(np.atleast_2d(vectors), dtype=np.float32)
        if queries.shape[1] != self.dimensions:
            raise ValueError(f"{self.embedder}: a query has {queries.shape[1]} dimensions, the index {self.dimensions}")
        visible = int(np.searchsorted(self._known_at, _microseconds(at), side="right"))
        excluded = np.flatnonzero(np.isin(self._vector_ids[:visible], np.fromiter(exclude, dtype=np.int64)))
        width = max(min(k, visible - len(excluded)), 0)
        ids = np.empty((len(queries), width), dtype=np.int64)
        scores = np.empty((len(queries), width), dtype=np.float32)
        if width:
            for row, query in enumerate(queries):
                positions, scores[row] = self._nearest(query[None, :], width, visible, excluded)
                ids[row] = self._vector_ids[positions]
        return ids, scores

    def _nearest(self, query: Floats, width: int, visible: int, excluded: Integers) -> tuple[Integers, Floats]:
        """(positions, scores) of one query, asking for more until the last score found is below the last one needed.

        FAISS breaks ties by its heap, which depends on what else is there; identical headlines tie exactly. Always
        the selector path, one query at a time: a score must not depend on the number of rows or queries beside it.
        """
        import faiss  # noqa: PLC0415 - as above

        prefix: Any = faiss.SearchParameters
        parameters = prefix(sel=faiss.IDSelectorRange(0, visible))  # its stubs miss the keyword its wrapper adds
        asked = min(width + len(excluded) + 1, visible)
        while True:
            found_scores, found = self._index.search(query, asked, params=parameters)
            kept = ~np.isin(found[0], excluded)
            scores, positions = found_scores[0][kept], found[0][kept]
            if asked == visible or (len(scores) > width and scores[-1] < scores[width - 1]):
                order = np.lexsort((positions, -scores))[:width]
                return positions[order], scores[order]
            asked = min(asked * 2, visible)

    def save(self, folder: Path) -> SavedIndex:
        """Write `<embedder>-<16 hex of its sha256>.npz` into `folder`, all or nothing, and return its manifest."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {
            "embedder": np.frombuffer(self.embedder.encode(), dtype=np.uint8),
            "vector_ids": self._vector_ids,
            "known_at": self._known_at,
            "vectors": self._index.reconstruct_n(0, len(self)),
        }
        np.savez(buffer, allow_pickle=False, **arrays)
        content = buffer.getbuffer()
        checksum = hashlib.sha256(content).hexdigest()
        file_name = f"{re.sub(r'[^A-Za-z0-9._-]', '_', self.embedder)}-{checksum[:16]}.npz"
        folder.mkdir(parents=True, exist_ok=True)
        _write_atomically(folder / file_name, content)
        first, last = (self._known_at[[0, -1]].tolist()) if len(self) else (None, None)
        return SavedIndex(
            embedder=self.embedder,
            file_name=file_name,
            checksum=checksum,
            dimensions=self.dimensions,
            vectors=len(self),
            first_known_at=None if first is None else _EPOCH + first * _MICROSECOND,
            last_known_at=None if last is None else _EPOCH + last * _MICROSECOND,
        )

    @classmethod
    def load(cls, path: Path, checksum: str) -> Self:
        """The index in `path`, if its sha256 is the manifest's `checksum`. Raises DamagedIndex otherwise, before
        reading any of it.
        """
        remedy = "materialize ml/faiss_index again; it is rebuilt from ml.news_embeddings"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DamagedIndex(f"index file {path} cannot be read ({error.strerror}); {remedy}") from error
        found = hashlib.sha256(content).hexdigest()
        if found != checksum:
            what = (
                "is complete but not the one of the manifest"
                if _is_whole_archive(content)
                else "was cut short or damaged"
            )
            raise DamagedIndex(
                f"index file {path} ({len(content):,} bytes) {what}: sha256 {found[:16]}…, "
                f"manifest {checksum[:16]}…; {remedy}"
            )
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls(
                arrays["embedder"].tobytes().decode(), arrays["vector_ids"], arrays["known_at"], arrays["vectors"]
            )


def _microseconds(instant: datetime) -> int:
    if instant.tzinfo is None:
        raise ValueError(f"instant {instant!r} has no time zone; every timestamp is aware")
    return (instant - _EPOCH) // _MICROSECOND


def _write_atomically(path: Path, content: memoryview) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _is_whole_archive(content: bytes) -> bool:
    try:
        return zipfile.ZipFile(io.BytesIO(content)).testzip() is None
    except zipfile.BadZipFile:
        return False
