"""From a source's records to the frames of `raw.news_articles`, `raw.news_sightings` and `raw.reddit_posts`.

Belongs here: cleaning, identity and which version of a repeated article counts. Does not belong here: fetching records
(`sources`; records are taken by their attributes) and writing frames (`warehouse`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
import pandas as pd

from azak_assets.krx import KST
from azak_assets.text.clean import content_hash, decode_entities, plain_text, readable, repair_encoding
from azak_assets.text.identity import article_id
from azak_assets.text.urls import canonical_url, press_of

ARTICLE_COLUMNS = (
    "article_id", "url", "title", "excerpt", "press", "published_at", "is_date_only", "content_hash", "known_at",
)  # fmt: skip
SIGHTING_COLUMNS = ("article_id", "query")
POST_COLUMNS = (
    "post_id", "subreddit", "title", "text", "link_url", "url", "author", "score", "comments", "published_at",
)  # fmt: skip
_INSTANT = "datetime64[us, UTC]"


class ArticleRecord(Protocol):
    """What a source says about one article.

    `title` and `excerpt` are HTML as the source wrote it; `published_at` is aware, and 23:59:59 KST where only the date
    is known.
    """

    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def url(self) -> str | None: ...  # noqa: D102
    @property
    def excerpt(self) -> str | None: ...  # noqa: D102
    @property
    def press(self) -> str | None: ...  # noqa: D102
    @property
    def published_at(self) -> datetime: ...  # noqa: D102
    @property
    def is_date_only(self) -> bool: ...  # noqa: D102


class PostRecord(Protocol):
    """What a forum says about one post: the title as text, `text` as Markdown; `published_at` is aware."""

    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def text(self) -> str | None: ...  # noqa: D102
    @property
    def author(self) -> str | None: ...  # noqa: D102
    @property
    def published_at(self) -> datetime: ...  # noqa: D102


@dataclass(frozen=True)
class ArticleFrames:
    """One answer as frames.

    `articles`: `ARTICLE_COLUMNS`, one row an article, sorted by id; `known_at` is the nominal time, `published_at`.
    `sightings`: `SIGHTING_COLUMNS`, distinct. `untitled`: the records without a readable title, which are in neither.
    `repaired`: how many records hold text that had been decoded wrongly.
    """

    articles: pd.DataFrame
    sightings: pd.DataFrame
    untitled: list[ArticleRecord]
    repaired: int


def articles_frame(records: Iterable[ArticleRecord], source: str, query: str) -> ArticleFrames:
    """The frames of one answer of `source` to `query` ("" for a feed, which takes no query).

    Press is the record's, else the one that its URL names. A URL that is no web address counts as none. Raises
    ValueError for a record with a naive time.
    """
    rows, untitled, repaired = [], [], 0
    for record in records:
        if title := plain_text(record.title):
            rows.append(_row(record, title, source))
            repaired += _is_repaired(record.title, record.excerpt, record.press)
        else:
            untitled.append(record)
    articles = newest_versions(pd.DataFrame(rows, columns=list(ARTICLE_COLUMNS)))
    sightings = pd.DataFrame({"article_id": articles["article_id"], "query": query}, columns=list(SIGHTING_COLUMNS))
    return ArticleFrames(articles, sightings, untitled, repaired)


def posts_frame(posts: Iterable[PostRecord]) -> tuple[pd.DataFrame, int]:
    """(the posts, one row each, with clean titles and texts; how many had been decoded wrongly).

    `known_at` is the nominal time, `published_at`. Lines of a text stay lines. Markdown has entities (Reddit's editor
    writes `&#x200B;`) and no tags.
    """
    rows, repaired = [], 0
    for post in posts:
        row = {name: getattr(post, name) for name in POST_COLUMNS}
        lines = (readable(decode_entities(line)) for line in (post.text or "").splitlines())
        published_at = pd.Timestamp(post.published_at).tz_convert("UTC")
        rows.append(
            row
            | {
                "title": readable(post.title) or "(no title)",
                "text": "\n".join(lines).strip() or None,
                "author": post.author and readable(post.author),
                "published_at": published_at,
                "known_at": published_at,
            }
        )
        repaired += _is_repaired(post.title, post.text)
    frame = pd.DataFrame(rows, columns=[*POST_COLUMNS, "known_at"])
    return frame.astype({"published_at": _INSTANT, "known_at": _INSTANT}), repaired


def newest_versions(articles: pd.DataFrame) -> pd.DataFrame:
    """One row an article from several answers: the latest `published_at`, then the fuller title, then the fuller
    excerpt.

    The order in which answers arrived never decides, so that a repeated collection yields the same version.
    """
    typed = articles.astype({"published_at": _INSTANT, "known_at": _INSTANT, "is_date_only": bool})
    ranked = typed.assign(
        _title=typed["title"].str.len(),
        _excerpt=typed["excerpt"].str.len().fillna(0),
    ).sort_values(["article_id", "published_at", "_title", "_excerpt", "content_hash"], kind="stable")
    newest = ranked.drop_duplicates("article_id", keep="last")
    return newest[list(ARTICLE_COLUMNS)].reset_index(drop=True)


def with_first_snippets(articles: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """`articles` with the stored excerpt wherever the stored title is the same.

    A search cuts its excerpt around the words asked for, so that another query gives another one: that is no edit of
    the article, and must not make a new version of it at every tick. `stored` has article_id, title, excerpt and
    content_hash.
    """
    first = articles[["article_id", "title"]].merge(stored, on=["article_id", "title"], how="left", indicator="_there")
    there = (first["_there"] == "both").to_numpy()
    return articles.assign(
        excerpt=np.where(there, first["excerpt"], articles["excerpt"]),
        content_hash=np.where(there, first["content_hash"], articles["content_hash"]),
    )


def _is_repaired(*texts: str | None) -> bool:
    decoded = (decode_entities(text) for text in texts if text is not None)
    return any(repair_encoding(text) != text for text in decoded)


def _row(record: ArticleRecord, title: str, source: str) -> tuple[object, ...]:
    if record.published_at.tzinfo is None:
        raise ValueError(
            f"{source}: published_at {record.published_at!r} of {title!r} has no time zone; sources attach KST"
        )
    url = _web_address(record.url)
    excerpt = (plain_text(record.excerpt) if record.excerpt else "") or None
    press = readable(record.press) if record.press else None
    identity = article_id(url, title, press, record.published_at.astimezone(KST).date())
    if press is None and url is not None:
        press = press_of(url)
    published_at = pd.Timestamp(record.published_at).tz_convert("UTC")
    hashed = content_hash(title, excerpt)
    return (identity, url, title, excerpt, press, published_at, record.is_date_only, hashed, published_at)


def _web_address(url: str | None) -> str | None:
    if not url:
        return None
    try:
        return canonical_url(url)
    except ValueError:
        return None
