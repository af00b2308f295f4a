"""The index is exact, blind to the future, stable in its ids and its bytes, and refuses a damaged file."""

import io
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from azak_assets.text.vector_index import DamagedIndex, VectorIndex

START = datetime(2026, 1, 2, tzinfo=UTC)
N, DIMENSIONS = 3000, 96


def _vectors(n: int, seed: int = 7) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, DIMENSIONS)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _corpus() -> tuple[np.ndarray, list[datetime], np.ndarray]:
    """Shuffled, with one vector in ten repeated elsewhere (headlines repeat) and many instants shared."""
    generator = np.random.default_rng(11)
    vectors = _vectors(N)
    vectors[generator.choice(N, N // 10, replace=False)] = vectors[5]
    ids = generator.choice(2**62, N, replace=False)
    known_at = [START + timedelta(minutes=int(m)) for m in generator.integers(0, N // 3, N)]
    return ids, known_at, vectors


@pytest.fixture(scope="module")
def corpus() -> tuple[np.ndarray, list[datetime], np.ndarray]:
    return _corpus()


@pytest.fixture(scope="module")
def index(corpus: tuple[np.ndarray, list[datetime], np.ndarray]) -> VectorIndex:
    return VectorIndex.build("test-96", *corpus)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("k", [1, 10, N + 50])
def test_equals_brute_force_as_of(corpus, index: VectorIndex, share: float, k: int) -> None:
    ids, known_at, vectors = corpus
    at = sorted(known_at)[max(int(N * share) - 1, 0)]
    queries = np.vstack([_vectors(3, seed=99), vectors[5:6]])
    exclude = [int(ids[5]), int(ids[17]), 123456789]
    candidates = [i for i in range(N) if known_at[i] <= at and int(ids[i]) not in exclude]
    found, scores = index.search(queries, k, at, exclude)
    assert found.shape == scores.shape == (4, min(k, len(candidates)))
    for row, query in enumerate(queries):
        exact = {int(ids[i]): float(vectors[i].astype(np.float64) @ query.astype(np.float64)) for i in candidates}
        assert np.allclose(scores[row], sorted(exact.values(), reverse=True)[: found.shape[1]], atol=1e-6)
        assert np.allclose(scores[row], [exact[int(v)] for v in found[row]], atol=1e-6)
        assert (np.diff(scores[row]) <= 0).all()
        assert len(set(found[row].tolist())) == found.shape[1]


def test_equal_scores_go_to_the_earlier_known_then_the_smaller_id(corpus, index: VectorIndex) -> None:
    ids, known_at, vectors = corpus
    twins = sorted((known_at[i], int(ids[i])) for i in range(N) if (vectors[i] == vectors[5]).all())
    assert len(twins) > 200
    for k in (1, 7, 100, len(twins)):
        found, _ = index.search(vectors[5:6], k, max(known_at))
        assert found[0].tolist() == [vector_id for _, vector_id in twins[:k]]


def test_the_past_is_the_same_bytes_with_and_without_a_future(corpus, index: VectorIndex) -> None:
    ids, known_at, vectors = corpus
    at = sorted(known_at)[N // 3]
    past = [i for i in range(N) if known_at[i] <= at]
    truncated = VectorIndex.build("test-96", ids[past], [known_at[i] for i in past], vectors[past])
    queries = _vectors(25, seed=5)
    with_future, without = index.search(queries, 20, at), truncated.search(queries, 20, at)
    one_by_one = [index.search(query, 20, at) for query in queries]
    for part in (0, 1):
        assert with_future[part].tobytes() == without[part].tobytes()
        assert with_future[part].tobytes() == np.vstack([answer[part] for answer in one_by_one]).tobytes()


def test_nothing_is_seen_a_microsecond_early() -> None:
    index = VectorIndex.build("test-96", [7], [START], _vectors(1))
    assert index.search(_vectors(1), 5, START - timedelta(microseconds=1))[0].shape == (1, 0)
    assert index.search(_vectors(1), 5, START)[0].tolist() == [[7]]


def test_an_empty_index_answers_and_survives_saving(tmp_path: Path) -> None:
    saved = VectorIndex.build("test-96", [], [], np.empty((0, DIMENSIONS), np.float32)).save(tmp_path)
    assert (saved.vectors, saved.first_known_at, saved.last_known_at) == (0, None, None)
    loaded = VectorIndex.load(tmp_path / saved.file_name, saved.checksum)
    assert loaded.search(_vectors(2), 3, START)[0].shape == (2, 0)
    assert loaded.dimensions == DIMENSIONS


def test_same_content_same_bytes_whatever_the_order_of_rows(corpus, index: VectorIndex, tmp_path: Path) -> None:
    ids, known_at, vectors = corpus
    order = np.random.default_rng(3).permutation(N)
    shuffled = VectorIndex.build("test-96", ids[order], [known_at[i] for i in order], vectors[order])
    one, two = index.save(tmp_path / "one"), shuffled.save(tmp_path / "two")
    assert one == two
    assert (tmp_path / "one" / one.file_name).read_bytes() == (tmp_path / "two" / two.file_name).read_bytes()
    assert one.checksum[:16] in one.file_name
    assert (one.vectors, one.dimensions) == (N, DIMENSIONS)
    assert (one.first_known_at, one.last_known_at) == (min(known_at), max(known_at))
    loaded = VectorIndex.load(tmp_path / "one" / one.file_name, one.checksum)
    assert loaded.embedder == "test-96"
    for mine, theirs in zip(
        index.search(vectors[:4], 9, max(known_at)), loaded.search(vectors[:4], 9, max(known_at)), strict=True
    ):
        assert mine.tobytes() == theirs.tobytes()


def test_a_damaged_absent_or_foreign_file_is_refused_with_its_remedy(index: VectorIndex, tmp_path: Path) -> None:
    saved = index.save(tmp_path)
    path = tmp_path / saved.file_name
    content = path.read_bytes()
    for cut in (0, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(DamagedIndex, match=r"cut short.*materialize ml/faiss_index"):
            VectorIndex.load(path, saved.checksum)
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(DamagedIndex, match="cut short or damaged"):
        VectorIndex.load(path, saved.checksum)
    other = VectorIndex.build("test-96", [1], [START], _vectors(1)).save(tmp_path)
    with pytest.raises(DamagedIndex, match="not the one of the manifest"):
        VectorIndex.load(tmp_path / other.file_name, saved.checksum)
    path.unlink()
    with pytest.raises(DamagedIndex, match="cannot be read"):
        VectorIndex.load(path, saved.checksum)


def test_the_file_is_plain_arrays(index: VectorIndex, tmp_path: Path) -> None:
    saved = index.save(tmp_path)
    archive = zipfile.ZipFile(io.BytesIO((tmp_path / saved.file_name).read_bytes()))
    assert all(b"'O'" not in archive.read(name)[:128] for name in archive.namelist())
    assert [p.name for p in tmp_path.iterdir()] == [saved.file_name]


def test_a_failed_save_leaves_nothing_behind(
    index: VectorIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        index.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="42 occurs more than once"):
        VectorIndex.build("e", [42, 42], [START, START], _vectors(2))
    with pytest.raises(ValueError, match="length 2"):
        VectorIndex.build("e", [1], [START], _vectors(1) * 2)
    with pytest.raises(ValueError, match="length nan"):
        VectorIndex.build("e", [1], [START], _vectors(1) * np.float32("nan"))
    with pytest.raises(ValueError, match="no time zone"):
        VectorIndex.build("e", [1], [datetime(2026, 1, 1)], _vectors(1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="do not belong"):
        VectorIndex.build("e", [1, 2], [START], _vectors(1))
    index = VectorIndex.build("e", [1], [START], _vectors(1))
    with pytest.raises(ValueError, match="no time zone"):
        index.search(_vectors(1), 1, datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="dimensions"):
        index.search(np.ones((1, 3), np.float32), 1, START)
