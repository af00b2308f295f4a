"""Identifiers that a re-run repeats.

Belongs here: the id of an article and of its vector. They are hashes of what the article is, so that a backfill,
another machine or another order of arrival makes the same ones. Does not belong here: deciding that two articles are
one story (`duplicates`).
"""

import hashlib
from datetime import date

from azak_assets.text.clean import normalise_title
from azak_assets.text.urls import canonical_url


def article_id(url: str | None, title: str, press: str | None, published_on: date) -> str:
    """32 hex characters: of sha256 over the canonical URL, or without one over normalised title, press and KST date."""
    subject = (
        canonical_url(url) if url else "\x1f".join((normalise_title(title), press or "", published_on.isoformat()))
    )
    return hashlib.sha256(subject.encode()).hexdigest()[:32]


def vector_id(article_id: str) -> int:
    """The 63-bit number, never negative, under which the vector index and `ml.news_embeddings` know an article.

    With a million articles two of them share one with a probability of 5e-8; the index refuses to be built if they do.
    """
    return int.from_bytes(hashlib.sha256(article_id.encode()).digest()[:8], "big") >> 1
