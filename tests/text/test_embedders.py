"""Embedders: unit rows in order, the same bits everywhere, and limits of services respected over real HTTP."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from azak_assets.text.embedders import Embedder, KoSimCSEEmbedder, LocalEmbedder, OpenAIEmbedder

TEXTS = [
    "가나전자, 3분기 영업이익 12% 증가",
    "가나전자가 3분기에 영업이익 12% 증가",
    "코스피 하락 마감",
    "",
    "?!",
    "Gana 전자 ABC",
]


def _digest(vectors: np.ndarray) -> str:
    return hashlib.sha256(vectors.astype("<f4").tobytes()).hexdigest()[:16]


def test_local_vectors_are_these_bits_everywhere() -> None:
    vectors = LocalEmbedder().embed(TEXTS)
    assert vectors.shape == (len(TEXTS), 768)
    assert vectors.dtype == np.float32
    assert _digest(vectors) == "f7445606451d6182"


def test_local_vectors_do_not_depend_on_the_process_or_the_batch() -> None:
    code = (
        "import sys, hashlib; from azak_assets.text.embedders import LocalEmbedder as L;"
        f"print(hashlib.sha256(L().embed({TEXTS!r}).astype('<f4').tobytes()).hexdigest()[:16])"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == _digest(LocalEmbedder().embed(TEXTS))
    many = TEXTS * 1000
    together = LocalEmbedder().embed(many)
    assert (
        together[: len(TEXTS)].tobytes() == together[-len(TEXTS) :].tobytes() == LocalEmbedder().embed(TEXTS).tobytes()
    )
    assert (
        np.vstack([LocalEmbedder().embed([text]) for text in TEXTS]).tobytes() == LocalEmbedder().embed(TEXTS).tobytes()
    )


def test_local_similarity_follows_meaning_where_letters_do() -> None:
    vectors = LocalEmbedder().embed(TEXTS)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > 0.9 > 0.3 > likeness[0, 2]
    assert LocalEmbedder().embed([]).shape == (0, 768)
    assert LocalEmbedder().embed(["\u1100\u1161전자"]).tobytes() == LocalEmbedder().embed(["가전자"]).tobytes()


def test_local_quality_on_recorded_sentence_pairs(recorded_data: Path) -> None:
    pairs = pd.read_csv(recorded_data / "korsts_dev.tsv", sep="\t", quoting=3)
    embed = LocalEmbedder().embed
    cosine = (embed(list(pairs.sentence1)) * embed(list(pairs.sentence2))).sum(axis=1)
    assert spearmanr(cosine, pairs.score)[0] > 0.68
    klue = json.loads((recorded_data / "klue_sts_dev.json").read_text(encoding="utf-8"))
    cosine = (embed([p["sentence1"] for p in klue]) * embed([p["sentence2"] for p in klue])).sum(axis=1)
    assert spearmanr(cosine, [p["labels"]["real-label"] for p in klue])[0] > 0.33


class _Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[dict] = []
        self.is_short_of_one = False


class _Handler(BaseHTTPRequestHandler):
    """Answers like the embeddings endpoint, newest first, so that only `index` tells the order."""

    server: _Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append({**asked, "path": self.path, "key": self.headers["Authorization"]})
        data = []
        for index, text in enumerate(asked["input"]):
            vector = np.zeros(asked["dimensions"], dtype="<f4")
            vector[len(text.encode()) % asked["dimensions"]] = 3.0
            as_asked = (
                base64.b64encode(vector.tobytes()).decode()
                if asked.get("encoding_format") == "base64"
                else vector.tolist()
            )
            data.append({"object": "embedding", "index": index, "embedding": as_asked})
        if self.server.is_short_of_one:
            data.pop()
        body = json.dumps(
            {
                "object": "list",
                "data": data[::-1],
                "model": asked["model"],
                "usage": {"prompt_tokens": 1, "total_tokens": 1},
            }
        )
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Tests print nothing."""


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def _openai(server: _Server) -> OpenAIEmbedder:
    return OpenAIEmbedder("a-key", f"http://127.0.0.1:{server.server_port}/v1")


def test_openai_batches_order_and_unit_norm(server: _Server) -> None:
    texts = ["x" * (n % 700 + 1) for n in range(2050)]
    embedder: Embedder = _openai(server)
    vectors = embedder.embed(texts)
    assert vectors.shape == (2050, 1536)
    assert vectors.argmax(axis=1).tolist() == [len(text) for text in texts]
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert embedder.name == "openai-text-embedding-3-small-1536"
    for request in server.requests:
        assert request["path"] == "/v1/embeddings"
        assert request["key"] == "Bearer a-key"
        assert request["model"] == "text-embedding-3-small"
        assert request["encoding_format"] == "base64"
        assert len(request["input"]) <= 2048
        assert sum(len(text.encode()) for text in request["input"]) <= 300_000
    assert sum(len(request["input"]) for request in server.requests) == 2050


def test_openai_takes_at_most_2048_texts_and_cuts_long_or_empty_ones(server: _Server) -> None:
    assert _openai(server).embed(["가"] * 2049).shape == (2049, 1536)
    assert [len(request["input"]) for request in server.requests] == [2048, 1]
    server.requests.clear()
    _openai(server).embed(["가" * 5000, ""])
    assert server.requests[0]["input"] == ["가" * 2730, " "]
    assert _openai(server).embed([]).shape == (0, 1536)


def test_openai_answers_that_miss_a_text_are_refused(server: _Server) -> None:
    server.is_short_of_one = True
    with pytest.raises(ValueError, match="2 texts sent, 1 vectors returned"):
        _openai(server).embed(["가", "나"])
    with pytest.raises(ValueError, match="OPENAI_API_KEY"):
        OpenAIEmbedder("")


@pytest.mark.skipif(find_spec("sentence_transformers") is not None, reason="sentence-transformers is installed")
def test_kosimcse_without_its_extra_names_it() -> None:
    with pytest.raises(ImportError, match=r"azak\[torch\]"):
        KoSimCSEEmbedder().embed(["가"])


@pytest.mark.skipif(
    find_spec("sentence_transformers") is None, reason="needs the torch extra: pip install 'azak[torch]'"
)
def test_kosimcse_pools_the_first_token_of_at_most_fifty(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415 - only with the extra
    from transformers import BertConfig, BertModel, BertTokenizerFast  # noqa: PLC0415

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "가", "나", "다"]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    torch.manual_seed(1)
    model = BertModel(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=768,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=64,
        )
    ).eval()
    tokenizer = BertTokenizerFast(str(tmp_path / "vocab.txt"))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    embedder = KoSimCSEEmbedder(str(tmp_path))
    texts = ["가 나 다", "다 나", "가 " * 200]
    with torch.no_grad():
        encoded = tokenizer(texts, padding=True, truncation=True, max_length=50, return_tensors="pt")
        expected = torch.nn.functional.normalize(model(**encoded).last_hidden_state[:, 0]).numpy()
    assert np.allclose(embedder.embed(texts), expected, atol=1e-5)
    assert np.allclose(embedder.embed(["가 " * 49]), embedder.embed(["가 " * 120]), atol=1e-5)
    assert embedder.embed([]).shape == (0, 768)
