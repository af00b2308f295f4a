"""Texts to unit vectors: a local embedder without a model, KoSimCSE, and OpenAI's.

Belongs here: everything that turns strings into float32 vectors, behind one protocol. Does not belong here: which
text of an article is embedded, storing vectors and finding neighbours (`vector_index`). A name stands for a vector
space: whatever changes the numbers gets a new name, so that vectors of two recipes never meet in one index.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Embedder(Protocol):
    """Turns n texts into an n × `dimensions` float32 matrix of unit rows, in the order of the texts."""

    @property
    def name(self) -> str:
        """The vector space, as `ml.news_embeddings.embedder` has it."""
        ...

    @property
    def dimensions(self) -> int:
        """The length of a vector."""
        ...

    def embed(self, texts: Sequence[str]) -> Floats:
        """The vectors; an empty sequence gives a 0 × dimensions matrix."""
        ...


EXCERPT_CHARACTERS = 200
"""KoSimCSE was trained on 50 tokens: more than a headline and the start of an excerpt would not be read."""


def embedding_text(title: str, excerpt: object) -> str:
    """What of an article is embedded: its title and the start of its excerpt, where it has one (else None or NaN)."""
    return f"{title} {excerpt[:EXCERPT_CHARACTERS]}" if isinstance(excerpt, str) and excerpt else title


class LocalEmbedder:
    """Hashed character n-grams: no model, no download, no corpus, the same bits on every machine.

    Case-folded NFC words lose one particle (조사), are framed by spaces and cut into 1- to 3-grams (char_wb), each of
    which adds ±1 to one of 768 cells by a 64-bit hash. Counts are integers until the one division by the norm, so no
    order of summation and no BLAS can change a vector. Spearman × 100 on KorSTS dev 68.3 and KLUE-STS dev 33.5. No
    idf: weights learned from two thousand other headlines gave 68.9 and 26.5, and would tie every vector to a corpus;
    weights by n-gram length gave nothing.
    """

    name = "local-768-v1"
    dimensions = 768

    _PARTICLE = re.compile(
        r"(?<=[가-힣]{2})(?:에서는|에서도|에게서|에서|에게|에는|에도|으로는|으로|까지|부터|보다|처럼|이라는|라는|이나"
        r"|은|는|이|가|을|를|의|에|와|과|도|로|만|나)(?!\w)"
    )
    _WORD = re.compile(r"\w+")
    _BATCH = 2048  # bounds memory: 2048 × 768 counters

    def embed(self, texts: Sequence[str]) -> Floats:
        """The vectors; a text without a letter or digit gets the first unit vector."""
        batches = [self._embed(texts[start : start + self._BATCH]) for start in range(0, len(texts), self._BATCH)]
        return np.concatenate(batches) if batches else np.empty((0, self.dimensions), dtype=np.float32)

    def _embed(self, texts: Sequence[str]) -> Floats:
        framed = [self._framed_words(text) for text in texts]
        characters = np.frombuffer("".join(framed).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
        text_of = np.repeat(np.arange(len(framed)), [len(text) for text in framed])
        is_space = characters == ord(" ")
        counts = np.zeros(len(framed) * self.dimensions, dtype=np.int64)
        hashed = np.zeros(len(characters), dtype=np.uint64)
        for n in (1, 2, 3):
            grams = len(characters) - n + 1
            if grams <= 0:
                break
            # Folding one character more into the hash of the n-1 before it; multiplication wraps at 64 bits as
            # intended.
            hashed = _mixed(hashed[:grams] * np.uint64(0x100000001B3) + characters[n - 1 :] + np.uint64(n))
            within_word = (text_of[:grams] == text_of[n - 1 :]) & ~(is_space[:grams] & is_space[n - 1 :])
            if n == 3:
                within_word &= ~is_space[1:-1]
            cells = text_of[:grams] * self.dimensions + (hashed % np.uint64(self.dimensions)).astype(np.int64)
            for sign, chosen in ((1, hashed >> np.uint64(63) == 1), (-1, hashed >> np.uint64(63) == 0)):
                counts += sign * np.bincount(cells[within_word & chosen], minlength=len(counts))
        rows = counts.reshape(len(framed), self.dimensions)
        rows[~rows.any(axis=1), 0] = 1
        norms = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
        return np.asarray(rows / norms, dtype=np.float32)

    def _framed_words(self, text: str) -> str:
        folded = self._PARTICLE.sub("", unicodedata.normalize("NFC", text).casefold())
        return "".join(f" {word} " for word in self._WORD.findall(folded))


class KoSimCSEEmbedder:
    """`BM-K/KoSimCSE-roberta` through sentence-transformers: CLS pooling, at most 50 tokens, as its authors trained
    it.

    sentence-transformers and torch are loaded, and the model downloaded or found, at the first text; neither is a
    dependency of the base installation. Spearman × 100 on KorSTS: 83.65 as published.
    """

    name = "kosimcse-roberta-768"
    dimensions = 768

    def __init__(self, model: str = "BM-K/KoSimCSE-roberta", batch_size: int = 64) -> None:
        """`model`: a Hugging Face name, or a folder that holds the same model."""
        self._model_name = model
        self._batch_size = batch_size
        self._model: Any = None

    def embed(self, texts: Sequence[str]) -> Floats:
        """The vectors. Raises ImportError naming the extra, or ValueError when the model's width is not 768."""
        if not len(texts):
            return np.empty((0, self.dimensions), dtype=np.float32)
        if self._model is None:
            self._model = self._load()
        vectors = self._model.encode(
            list(texts), batch_size=self._batch_size, convert_to_numpy=True, show_progress_bar=False
        )
        return _unit(np.asarray(vectors, dtype=np.float32))

    def _load(self) -> Any:
        try:
            from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - optional, seconds to import
            from sentence_transformers.sentence_transformer.modules import Pooling, Transformer  # noqa: PLC0415
        except ImportError as error:
            raise ImportError(
                "the KoSimCSE embedder needs sentence-transformers (6 or later) and torch; "
                "install them with pip install 'azak[torch]', "
                "or set AZAK_EMBEDDER=local"
            ) from error
        encoder = Transformer(self._model_name, max_seq_length=50)
        width = encoder.get_embedding_dimension()
        if width != self.dimensions:
            raise ValueError(f"model {self._model_name!r} has {width} dimensions, {self.name} has {self.dimensions}")
        return SentenceTransformer(modules=[encoder, Pooling(width, pooling_mode="cls")])


class OpenAIEmbedder:
    """OpenAI `text-embedding-3-small` at 1,536 dimensions, or any server of the same protocol.

    A request carries at most 2,048 texts and 300,000 tokens, a text at most 8,191 tokens. Tokens are counted as UTF-8
    bytes, of which a byte-level tokenizer never makes more tokens, so that no tokenizer is needed; longer texts are
    cut.
    """

    dimensions = 1536
    _MOST_TEXTS = 2048
    _MOST_TOKENS = 300_000
    _MOST_TOKENS_A_TEXT = 8191

    def __init__(self, api_key: str, base_url: str | None = None, model: str = "text-embedding-3-small") -> None:
        """`base_url` includes the version (`https://api.openai.com/v1`). Raises ValueError without a key."""
        if not api_key:
            raise ValueError("the OpenAI embedder needs OPENAI_API_KEY; set it, or set AZAK_EMBEDDER=local")
        import openai  # noqa: PLC0415 - a second to import, and the code location loads this module

        self.name = f"openai-{model}-{self.dimensions}"
        self._model = model
        self._client = openai.OpenAI(api_key=api_key, base_url=base_url)

    def embed(self, texts: Sequence[str]) -> Floats:
        """The vectors. Raises openai.OpenAIError as the SDK does, after its own retries."""
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        start = 0
        for batch in self._batches(texts):
            # No encoding_format: the SDK then asks for base64, a quarter of the bytes, and decodes it.
            answer = self._client.embeddings.create(model=self._model, input=batch, dimensions=self.dimensions)
            if sorted(item.index for item in answer.data) != list(range(len(batch))):
                raise ValueError(
                    f"{self.name}: {len(batch)} texts sent, {len(answer.data)} vectors returned; none kept"
                )
            for item in answer.data:
                vectors[start + item.index] = item.embedding
            start += len(batch)
        return _unit(vectors)

    def _batches(self, texts: Sequence[str]) -> Iterator[list[str]]:
        batch: list[str] = []
        tokens = 0
        for text in texts:
            # The service refuses an empty text; a space is the nearest it takes.
            payload = (text or " ").encode()[: self._MOST_TOKENS_A_TEXT]
            if batch and (len(batch) == self._MOST_TEXTS or tokens + len(payload) > self._MOST_TOKENS):
                yield batch
                batch, tokens = [], 0
            batch.append(payload.decode(errors="ignore"))
            tokens += len(payload)
        if batch:
            yield batch


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of MurmurHash3 (64 bit): every bit of the input reaches every bit of the output."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (norms > 0).all() or not np.isfinite(norms).all():
        raise ValueError("an embedding is zero or not finite; the model or server is broken")
    return np.asarray(vectors / norms, dtype=np.float32)
