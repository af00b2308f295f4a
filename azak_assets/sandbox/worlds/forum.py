"""Invented posts of the subreddits, day by day.

Words, authors and how a post fares belong here; how a listing goes over the wire belongs to `reddit`. A day's posts are
drawn from a generator keyed by (seed, subreddit, date) and never change, except that votes and comments come in as the
hours pass, a few posts are removed and a few authors leave.
"""

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np

from azak_assets.sandbox.worlds.market import FIRST_SESSION, Market
from azak_assets.sandbox.worlds.world import Post

#: Subreddit: posts of an ordinary day. Names are compared without case, as the service does.
SUBREDDITS = {"stocks": 45, "investing": 30, "Korea_Stock": 8, "StockMarket": 25}

TITLES = (
    "What are your thoughts on {n} ({c}) after the earnings call?",
    "{n} down {p}% this week & nobody talks about it",
    "Is the KOSPI discount finally closing?",
    "DD: why {n} might be worth <{a}B KRW",
    "Foreigners bought Korean {s} for {p} days in a row",
    "How do you get exposure to Korea? ETF vs. single names",
    "{n} announces buyback, market shrugs 🤔",
    "Daily discussion: Korean market opens flat",
    "Sold my {n} position today, here is what I learned",
    "Short selling in Seoul: what has changed \"for good\"?",
)  # fmt: skip
TEXTS = (
    "I have been following {n} for {p} months.\n\n**Pros**\n\n* cheap\n* buybacks\n\nWhat am I missing?",
    "Volume was about {a} million shares. Not advice.\n\n&gt; quoted from the filing\n\nThoughts?",
    "Title says it all. 한국 주식 어떻게 보시나요?",
    "",
)
LOOK_BACK = timedelta(days=21)
"""A listing reaches back about a thousand posts."""


@dataclass(frozen=True, slots=True)
class _Draft:
    post: Post
    score: int
    comments: int
    removed_after: timedelta | None
    left_after: timedelta | None

    def at(self, now: datetime) -> Post:
        """The post as it stands at an instant after its publication."""
        age = now - self.post.published_at
        share = 1 - math.exp(-age / timedelta(hours=5))
        is_removed = self.removed_after is not None and age >= self.removed_after
        has_left = self.left_after is not None and age >= self.left_after
        first = self.post
        return Post(
            post_id=first.post_id, subreddit=first.subreddit, title=first.title,
            text="[removed]" if is_removed else first.text, link=first.link,
            author="" if has_left or is_removed else first.author, published_at=first.published_at,
            score=1 + int(self.score * share), comments=int(self.comments * share),
            removed_by="moderator" if is_removed else "", is_pinned=first.is_pinned,
        )  # fmt: skip


class Forum:
    """Every post of a seeded market's subreddits, written when its day is first asked for. Safe for several threads."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._lock = threading.Lock()
        self._days: dict[tuple[str, date], list[_Draft]] = {}

    def posts(self, subreddit: str, now: datetime) -> list[Post] | None:
        """What was published by `now`, newest first; None for a subreddit that does not exist."""
        name = next((known for known in SUBREDDITS if known.lower() == subreddit.lower()), None)
        return None if name is None else [draft.at(now) for draft in self._published(name, now)]

    def _published(self, subreddit: str, now: datetime) -> Iterator[_Draft]:
        day = now.astimezone(UTC).date()
        for back in range(LOOK_BACK.days):
            for draft in self._day(subreddit, day - timedelta(days=back)):
                if draft.post.published_at <= now:
                    yield draft

    def _day(self, subreddit: str, day: date) -> Sequence[_Draft]:
        if day < FIRST_SESSION:
            return []
        with self._lock:
            key = (subreddit, day)
            if key not in self._days:
                self._days[key] = self._write(subreddit, day)
            return self._days[key]

    def _write(self, subreddit: str, day: date) -> list[_Draft]:
        place = list(SUBREDDITS).index(subreddit)
        rng = np.random.default_rng([self._market.seed, 7, place, day.toordinal()])
        count = int(rng.poisson(SUBREDDITS[subreddit]))
        seconds = sorted((int(second) for second in rng.integers(0, 86_400, count)), reverse=True)
        midnight = datetime.combine(day, time(), UTC)
        return [
            self._draft(rng, subreddit, midnight + timedelta(seconds=second), (day.toordinal() * 10 + place) * 1000 + n)
            for n, second in enumerate(seconds)
        ]

    def _draft(self, rng: np.random.Generator, subreddit: str, at: datetime, number: int) -> _Draft:
        issuer = self._market.issuers[int(rng.integers(len(self._market.issuers)))]
        words = {"n": issuer.name, "c": issuer.code, "p": int(rng.integers(2, 20)), "a": int(rng.integers(2, 900))}
        words["s"] = "semiconductors" if issuer.sector == "0013" else "shares"
        post_id = np.base_repr(number, 36).lower()
        text = TEXTS[int(rng.integers(len(TEXTS)))].format(**words)
        chances = rng.random(4).tolist()
        post = Post(
            post_id=post_id, subreddit=subreddit, title=TITLES[int(rng.integers(len(TITLES)))].format(**words),
            text=text, link="" if text else f"https://www.example.com/news/{post_id}",
            author=f"reader_{int(rng.integers(10_000))}", published_at=at, score=1, comments=0, removed_by="",
            is_pinned=chances[0] < 0.02,
        )  # fmt: skip
        return _Draft(
            post=post,
            score=int(rng.lognormal(3.0, 1.4)),
            comments=int(rng.lognormal(2.0, 1.2)),
            removed_after=timedelta(hours=3) if chances[1] < 0.05 else None,
            left_after=timedelta(hours=2) if chances[2] < 0.06 else None,
        )
