"""Which articles repeat another one: exact duplicates.

Belongs here: folding by identity and by normalised title and press. Does not belong here: near and semantic
duplicates, which need vectors, and choosing what a reader sees of a cluster.

The same canonical URL is already one article (`identity`). The same normalised title of the same press within 24
hours is one cluster. The same title of *another* press is not folded here: a syndicated text is independent evidence
of reach, and titles that say little ("코스피 상승 마감") meet by chance across presses; that is near-duplicate work.
"""

from datetime import date, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

import pandas as pd

from azak_assets.krx import KST
from azak_assets.text.clean import normalise_title

WINDOW = timedelta(hours=24)
CLUSTER_COLUMNS = ("article_id", "cluster_id", "method", "known_at")


class _Anchor(NamedTuple):
    """The earliest known member of a cluster; the window is measured from it, so that a daily headline never chains."""

    article_id: str
    known_at: datetime
    day: date
    is_date_only: bool


def fold(articles: pd.DataFrame) -> pd.DataFrame:
    """Clusters of `articles` (article_id, url, title, press, published_at, is_date_only, known_at), every member
    kept.

    Returns `CLUSTER_COLUMNS`, one row an article in order of (known_at, article_id): `cluster_id` is the article_id
    of the earliest known member, ties by id; `method` is `title_press` for members of a cluster of two or more, else
    `single`. Members are less than 24 hours of `known_at` apart from the first; where either carries a date and no
    time, they have the same KST date.

    Pass the 24 hours before the day in question too: an earlier member outside the frame cannot be found.
    """
    ordered = articles.sort_values(["known_at", "article_id"], kind="stable")
    anchors: dict[tuple[str, str], list[_Anchor]] = {}
    cluster_ids: list[str] = []
    days = pd.to_datetime(ordered["published_at"], utc=True).dt.tz_convert(KST).dt.date
    columns = ("article_id", "title", "press", "url", "known_at", "is_date_only")
    for article_id, title, press_name, url, known_at, is_date_only, day in zip(
        *(ordered[c] for c in columns), days, strict=True
    ):
        press = _press(press_name, url)
        member = _Anchor(article_id, known_at, day, is_date_only)
        if press is None:  # neither press nor address: nothing says that two such headlines are of one origin
            cluster_ids.append(member.article_id)
            continue
        group = anchors.setdefault((normalise_title(title), press), [])
        anchor = next((known for known in group if _is_repeat(known, member)), None)
        if anchor is None:
            group.append(member)
        cluster_ids.append((anchor or member).article_id)
    clusters = ordered[["article_id", "known_at"]].assign(cluster_id=cluster_ids)
    sizes = clusters.groupby("cluster_id")["article_id"].transform("size")
    clusters["method"] = sizes.gt(1).map({True: "title_press", False: "single"}).astype(str)
    return clusters[list(CLUSTER_COLUMNS)].reset_index(drop=True)


def _is_repeat(first: _Anchor, later: _Anchor) -> bool:
    if first.is_date_only or later.is_date_only:
        return first.day == later.day
    return later.known_at - first.known_at < WINDOW


def _press(press: object, url: object) -> str | None:
    """The press by name, else by the host of the article's address."""
    if isinstance(press, str) and press:
        return press
    return urlsplit(url).hostname if isinstance(url, str) and url else None
