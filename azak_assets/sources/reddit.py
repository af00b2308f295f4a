"""Reddit: the posts of a few subreddits that people took notice of.

Put here what is asked of Reddit and which posts count. PRAW has the sign-in, its renewal and the pacing by Reddit's own
rate headers; the calls themselves go through `transport`, which has rate limit, bounds and retries. Comments are
not read. Source: PRAW 8 and Reddit's API rules (100 calls a minute for a registered application).
"""

import json
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn

import praw
from praw.exceptions import PRAWException
from prawcore.exceptions import PrawcoreException, RequestException

from azak_assets import krx
from azak_assets.ports import Channel
from azak_assets.sources.answer import Answer, payload_hash
from azak_assets.sources.failures import (
    Action,
    Blocked,
    ContractChanged,
    Empty,
    NotForThisAccount,
    NotKept,
    RateLimited,
    SourceFailure,
    Unauthorized,
)
from azak_assets.sources.fields import Refused, Row, epoch, optional_text, parse_rows, text, whole
from azak_assets.sources.records import Batch, RedditPost, Reject
from azak_assets.sources.transport import PATIENCE_S, USER_AGENT, Transport

UPSTREAM = "reddit"
SUBREDDITS = ("stocks", "investing", "Korea_Stock", "StockMarket")
LISTINGS = ("new", "hot")
"""Half of each: what is new may become hot, what is hot may have left the first page of the new."""
LISTED = 100
"""The most that one answer holds."""
LEAST_SCORE, LEAST_COMMENTS, OLDEST = 10, 2, timedelta(hours=24)

OAUTH_HOST, SIGN_IN_HOST = "https://oauth.reddit.com", "https://www.reddit.com"
"""Reddit signs an application in at another host than it answers it at; a stand-in does both at one."""
_GONE = frozenset({"[deleted]", "[removed]"})
_BELOW, _REMOVED = "posts below the thresholds", "removed posts"
_FEWEST_SCORE = -(2**31)


class RedditClient:
    """One application's read-only access; not for several threads, because PRAW is not. Raises `SourceFailure`s.

    `now` must return an aware datetime: a post dated long after it is refused.
    """

    subreddits = SUBREDDITS

    def __init__(
        self,
        base_url: str,
        *,
        client_id: str,
        client_secret: str,
        channel: Channel,
        per_second: float = 1.5,
        now: Callable[[], datetime] = lambda: datetime.now(krx.KST),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        base = base_url.rstrip("/")
        self._now = now
        self._transport = Transport(
            UPSTREAM, base, channel=channel, per_second=per_second, secrets=(client_id, client_secret), sleep=sleep
        )
        self._calls = _Calls(self._transport, base)
        self._reddit = praw.Reddit(
            # Whatever a praw.ini or the environment says: another user, another host, a call home for updates.
            "DEFAULT",
            client_id=client_id,
            client_secret=client_secret,
            user_agent=USER_AGENT,
            username=None,
            password=None,
            refresh_token=None,
            check_for_updates=False,
            check_for_async=False,
            oauth_url=f"{base}/",  # a path is joined to it, and would replace its last part
            reddit_url=SIGN_IN_HOST if base == OAUTH_HOST else base,
            requestor_kwargs={"session": self._calls},
        )

    def posts(self, subreddit: str) -> Batch[RedditPost]:
        """The noticed posts of the last 24 hours: at least 10 upvotes and 2 comments, not removed, each once.

        None is a success; a subreddit that lists no post at all is `Empty`. How many were left out stands in `notes`.
        """
        now = self._now()
        bodies: list[bytes] = []
        posts: dict[str, RedditPost] = {}
        rejects: dict[Reject, None] = {}
        left_out: dict[str, str] = {}
        for listing in LISTINGS:
            rows = self._listed(subreddit, listing, bodies)
            found, refused = parse_rows(rows, lambda row: _post(row, subreddit, now, left_out))
            for post in found:
                posts.setdefault(post.post_id, post)
            rejects.update(dict.fromkeys(refused))
        if not (posts or rejects or left_out):
            raise Empty(UPSTREAM, f"r/{subreddit} lists no post at all")
        return Batch(list(posts.values()), list(rejects), len(bodies), payload_hash(bodies), Counter(left_out.values()))

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def _listed(self, subreddit: str, listing: str, bodies: list[bytes]) -> Sequence[Any]:
        # Not PRAW's listing generator: it makes an object of every post, and of an author who is gone (null) an error
        # that ends the whole listing.
        self._calls.raise_if_exhausted()
        path = f"r/{subreddit}/{listing}"
        try:
            body = self._reddit.request(method="GET", path=path, params={"limit": LISTED})
        except RequestException as error:
            self._raise_cause(error.original_exception, subreddit)
        # PRAW trusts what Reddit answers: a field or a header that is not as it should be is a plain error of Python.
        except (
            PrawcoreException, PRAWException, LookupError, ValueError, TypeError, AttributeError, RecursionError,
        ) as error:  # fmt: skip
            self._raise_cause(error, subreddit)
        try:
            children = body["data"]["children"]
            rows = [child["data"] for child in children if child["kind"] == "t3"]
        except (LookupError, TypeError):
            raise ContractChanged(UPSTREAM, f"{path} holds no listing: {str(body)[:160]}") from None
        bodies.append(self._calls.last.body if self._calls.last else b"")
        return rows

    def _raise_cause(self, error: Exception, subreddit: str) -> NoReturn:
        """Raise what an exception out of PRAW stands for: the last answer tells, and without one it is our own."""
        last = self._calls.last
        if isinstance(error, SourceFailure) or last is None:
            raise error from None
        if last.status in {301, 302, 404}:
            advice = f"There is no r/{subreddit} any more: take it out of SUBREDDITS"
            raise ContractChanged(UPSTREAM, f"HTTP {last.status}", url=last.url, advice=advice) from None
        last.raise_for_status()
        # Its text stays out: the answer to a sign-in holds a token.
        what = f"an answer that PRAW cannot read, {type(error).__name__}: {error}"
        raise ContractChanged(UPSTREAM, what, url=last.url) from None


@dataclass(frozen=True, slots=True)
class _Reply:
    """One answer in the shape that prawcore reads."""

    status_code: int
    headers: Mapping[str, str]
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


class _Calls:
    """Stands where prawcore expects a `requests.Session`, and sends its calls through a `Transport`."""

    def __init__(self, transport: Transport, base: str) -> None:
        self._transport = transport
        self._base = base
        self._exhausted_until = 0.0
        self.headers: dict[str, str] = {}
        """prawcore writes the user agent here, with its own name behind ours."""
        self.last: Answer | None = None

    def request(self, method: str, url: str, **said: Any) -> _Reply:
        """Send a call of prawcore's. Raises `SourceFailure`s for what prawcore cannot mend itself."""
        self.last = None
        headers = {**self.headers, **said["headers"]}
        if "auth" in said:
            headers["authorization"] = f"Basic {b64encode(':'.join(said['auth']).encode()).decode()}"
        if not all(value.isascii() and value.isprintable() for value in headers.values()):
            # Only the token comes from outside; ours are checked before.
            raise ContractChanged(UPSTREAM, "the sign-in gave a token that no header can carry", url=url)
        params = {name: str(value) for name, value in (said.get("params") or {}).items()}
        form = dict(said["data"]) if said.get("data") else None
        path = url.removeprefix(self._base)  # signing in is done at another host
        try:
            return self._transport.ask(
                self._read, path, method=method.upper(), params=params or None, headers=headers, form=form
            )
        except NotKept:
            if form is None:
                raise
            # Sign-ins are not recorded: in a re-run prawcore gets a token of ours before it asks for what was recorded.
            return _Reply(200, {}, '{"access_token": "playback", "expires_in": 86400, "scope": "*"}')

    def close(self) -> None:
        """The transport is closed by whoever made it."""

    def raise_if_exhausted(self) -> None:
        """Raise `RateLimited` where prawcore would sleep until Reddit's period ends: up to ten minutes."""
        left = self._exhausted_until - time.monotonic()
        if left > PATIENCE_S:
            what = f"the calls of this period are used up, for {left:.0f} s more"
            raise RateLimited(UPSTREAM, what, retry_after=left)

    def _read(self, answer: Answer) -> _Reply:
        self.last = answer
        left, reset = (_number(answer.headers.get(f"x-ratelimit-{name}")) for name in ("remaining", "reset"))
        if left is not None and reset is not None and left < 1:
            self._exhausted_until = time.monotonic() + reset
        if answer.status == 429:
            after = _number(answer.headers.get("retry-after")) or reset
            # A period lasts ten minutes: to wait for its end is the next tick's business.
            action: Action = "stop" if after and after > PATIENCE_S else "wait"
            what = f"HTTP 429: {answer.excerpt()}"
            raise RateLimited(UPSTREAM, what, url=answer.url, retry_after=after, action=action)
        if answer.status == 403:
            raise _refusal(answer)
        is_sign_in = answer.url.endswith("/access_token")
        if answer.status == 401 and is_sign_in:
            advice = "Check REDDIT_CLIENT_ID and REDDIT_CLIENT_SECRET"
            raise Unauthorized(UPSTREAM, f"HTTP 401: {answer.excerpt()}", url=answer.url, advice=advice)
        if answer.status >= 500 or answer.status == 408:
            answer.raise_for_status()
        if answer.is_success:
            # Broken off, empty or a page: what may be asked for again is, here, where it is known how.
            try:
                answer.json_object()
            except SourceFailure as failure:
                if is_sign_in:  # the message quotes the answer, and that may hold a token
                    failure.what = f"the answer to the sign-in, {len(answer.body)} bytes, cannot be read"
                raise
        # 401 is left to prawcore, which signs in again; it finds the reason in a header that not every server sends.
        headers = {"www-authenticate": 'Bearer error="invalid_token"', **answer.headers}
        return _Reply(answer.status, headers, answer.text)


def _refusal(answer: Answer) -> SourceFailure:
    """What a 403 means: with a reason it is about one subreddit, and the others are not to be left alone for it."""
    what = f"HTTP 403: {answer.excerpt()}"
    try:
        reason = answer.json_object().get("reason")
    except SourceFailure:
        reason = None
    if reason is not None:
        advice = "The subreddit is not open to this application: look at it in a browser, or take it out of SUBREDDITS"
        return NotForThisAccount(UPSTREAM, what, url=answer.url, advice=advice, action="alert")
    advice = "Reddit refuses this application: look at its approval"
    return Blocked(UPSTREAM, what, url=answer.url, advice=advice)


def _number(value: str | None) -> float | None:
    try:
        return None if value is None else max(0.0, min(float(value), 3600.0))
    except ValueError:
        return None


def _post(row: Row, subreddit: str, now: datetime, left_out: dict[str, str]) -> RedditPost | None:
    post_id = text(row, "id")
    published_at = epoch(row, "created_utc", now)
    body = optional_text(row, "selftext")
    if optional_text(row, "removed_by_category") is not None or body in _GONE:
        left_out[post_id] = _REMOVED
        return None
    score, comments = whole(row, "score", minimum=_FEWEST_SCORE), whole(row, "num_comments")
    if score < LEAST_SCORE or comments < LEAST_COMMENTS or published_at < now - OLDEST:
        left_out[post_id] = _BELOW
        return None
    author = optional_text(row, "author")
    permalink = text(row, "permalink")
    if not permalink.startswith("/r/"):
        raise Refused("permalink", permalink, "is not a path below /r/")
    return RedditPost(
        post_id=post_id,
        subreddit=subreddit,
        title=text(row, "title"),
        text=body,
        link_url=None if row.get("is_self") is True else optional_text(row, "url"),
        url=SIGN_IN_HOST + permalink,
        author=None if author in _GONE else author,
        score=score,
        comments=comments,
        published_at=published_at,
    )
