"""Vectors without Dagster: what is embedded anew, and the index that the manifest names."""

import os
import time
from pathlib import Path

import pytest

from azak_assets import krx
from azak_assets.ingest.vectors import KEEP_OLD_S, build_index, compare_index, embed_articles, open_index
from azak_assets.text.embedders import LocalEmbedder
from azak_assets.text.vector_index import DamagedIndex
from azak_assets.warehouse.warehouse import Warehouse
from tests.ingest.test_ingest_news import TODAY, collect
from tests.ingest.text_sources import Upstream, item

EMBEDDER = LocalEmbedder()
DAYS = [TODAY.day, krx.shift(TODAY.day, 1).day]


def test_articles_are_embedded_once_and_the_manifest_names_an_index_of_them_all(
    warehouse: Warehouse, upstream: Upstream, tmp_path: Path
) -> None:
    assert open_index(warehouse, EMBEDDER.name, tmp_path) is None
    assert compare_index(warehouse, EMBEDDER.name, tmp_path) is None
    upstream.found["증시"] = [item(1, "코스피 상승")]
    collect(warehouse, upstream)
    assert embed_articles(warehouse, EMBEDDER, DAYS).notes["embedded now"] == 1
    _, first = build_index(warehouse, EMBEDDER, tmp_path)
    upstream.found["증시"] = [item(1, "코스피 상승"), item(2, "코스닥 하락")]
    collect(warehouse, upstream)
    report = embed_articles(warehouse, EMBEDDER, DAYS)
    assert (report.notes["embedded now"], report.inserted, report.rows) == (1, 1, 2)
    before = compare_index(warehouse, EMBEDDER.name, tmp_path)
    assert before is not None
    assert (len(before.embedded), len(before.indexed), len(before.missing), len(before.surplus)) == (2, 1, 1, 0)

    report, second = build_index(warehouse, EMBEDDER, tmp_path)
    assert (second.vectors, report.changed) == (2, 1)
    after = compare_index(warehouse, EMBEDDER.name, tmp_path)
    assert after is not None
    assert after.indexed == after.embedded
    assert (tmp_path / first.file_name).exists(), "a reader may have read the manifest just before"
    index = open_index(warehouse, EMBEDDER.name, tmp_path)
    assert index is not None
    assert len(index) == 2
    long_ago = time.time() - KEEP_OLD_S - 60
    os.utime(tmp_path / first.file_name, (long_ago, long_ago))
    build_index(warehouse, EMBEDDER, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [second.file_name]
    os.truncate(tmp_path / second.file_name, 10)
    with pytest.raises(DamagedIndex, match="ml/faiss_index"):
        open_index(warehouse, EMBEDDER.name, tmp_path)
