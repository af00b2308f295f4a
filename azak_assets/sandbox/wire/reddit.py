"""Reddit's sign-in and listings: OAuth for applications, pages of at most 100, rate headers.

What was posted is the world's to say. Fields of a post, kinds of refusals and the count of calls (1,000 in ten minutes,
announced in three headers) are here.
"""

import base64
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Any
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from azak_assets.sandbox.wire.limits import PerPeriod
from azak_assets.sandbox.worlds.world import Post, UpstreamData

TOKEN_LIFE = timedelta(days=1)
PRIVATE, BANNED = "a_private_one", "a_banned_one"
"""Two names that no world holds posts of."""


def _seconds(instant: datetime) -> float:
    return float(round(instant.timestamp()))


def _hot(post: Post) -> float:
    """What the service's old ranking was: ten times the votes are worth twelve and a half hours."""
    return math.log10(max(abs(post.score), 1)) + post.published_at.timestamp() / 45_000 + 1000 * post.is_pinned


def _thing(post: Post, *, raw: bool) -> dict[str, Any]:
    def shown(text: str) -> str:
        return text if raw else escape(text, quote=False)

    permalink = f"/r/{post.subreddit}/comments/{post.post_id}/a_post/"
    return {
        "kind": "t3",
        "data": {
            "id": post.post_id, "name": f"t3_{post.post_id}", "subreddit": post.subreddit,
            "subreddit_name_prefixed": f"r/{post.subreddit}", "title": shown(post.title), "selftext": shown(post.text),
            "author": post.author or None, "score": post.score, "ups": post.score, "downs": 0, "upvote_ratio": 0.9,
            "num_comments": post.comments, "created": _seconds(post.published_at),
            "created_utc": _seconds(post.published_at), "edited": False, "permalink": permalink,
            "url": post.link or f"https://www.reddit.com{permalink}", "is_self": not post.link,
            "stickied": post.is_pinned, "over_18": False, "link_flair_text": None,
            "removed_by_category": post.removed_by or None,
        },
    }  # fmt: skip


def page(posts: Sequence[Post], query: Mapping[str, str]) -> dict[str, Any]:
    """One page of a listing; `after` is the name of the last post of the page before."""
    asked = query.get("limit", "25")
    limit = min(max(int(asked), 1), 100) if asked.isascii() and asked.isdigit() else 25
    names = [f"t3_{post.post_id}" for post in posts]
    start = names.index(query["after"]) + 1 if query.get("after") in names else 0
    shown = posts[start : start + limit]
    has_more = start + limit < len(posts)
    return {
        "kind": "Listing",
        "data": {
            "after": f"t3_{shown[-1].post_id}" if has_more and shown else None,
            "before": None,
            "dist": len(shown),
            "modhash": "",
            "geo_filter": "",
            "children": [_thing(post, raw=query.get("raw_json") == "1") for post in shown],
        },
    }


def _refused(status: int, message: str, **more: Any) -> Response:
    return JSONResponse({"message": message, "error": status, **more}, status)


class Gateway:
    """The tokens that were issued, and the count of calls by application."""

    def __init__(self, world: UpstreamData, clock: Callable[[], datetime], calls: PerPeriod) -> None:
        self._world = world
        self._clock = clock
        self._calls = calls
        self._tokens: dict[str, tuple[datetime, str]] = {}

    async def sign_in(self, request: Request) -> Response:
        """`POST /api/v1/access_token`, HTTP Basic with the application's id and secret."""
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        try:
            name, _, secret = base64.b64decode(given).decode().partition(":")
        except ValueError:
            name = secret = ""
        if kind.lower() != "basic" or any(not key or key.startswith("invalid") for key in (name, secret)):
            return _refused(401, "Unauthorized")
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        if form.get("grant_type") != ["client_credentials"]:
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        token = secrets.token_urlsafe(24)
        self._tokens[token] = self._clock() + TOKEN_LIFE, name
        life = int(TOKEN_LIFE.total_seconds())
        return JSONResponse({"access_token": token, "token_type": "bearer", "expires_in": life, "scope": "*"})

    async def listing(self, request: Request) -> Response:
        """`GET /r/NAME/new` or `/hot`."""
        application = self._application(request)
        if application is None:
            answer = _refused(401, "Unauthorized")
            answer.headers["www-authenticate"] = 'Bearer realm="reddit", error="invalid_token"'
            return answer
        used, left, reset = self._calls.take(application)
        # An agent of no name shares the budget of all who have none, which is used up.
        if left < 0 or not request.headers.get("user-agent"):
            answer = _refused(429, "Too Many Requests")
        else:
            answer = await self._listed(request)
        answer.headers["x-ratelimit-used"] = str(used)
        answer.headers["x-ratelimit-remaining"] = f"{max(left, 0)}.0"
        answer.headers["x-ratelimit-reset"] = str(math.ceil(reset))
        return answer

    def _application(self, request: Request) -> str | None:
        """Whose token this is; None for one that is not valid (any more)."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if request.scope.get("state", {}).pop("expired_token", False):
            self._tokens.pop(token, None)
        ends_at, application = self._tokens.get(token, (self._clock(), ""))
        return application if kind.lower() == "bearer" and self._clock() < ends_at else None

    async def _listed(self, request: Request) -> Response:
        subreddit = request.path_params["subreddit"]
        if subreddit == PRIVATE:
            return _refused(403, "Forbidden", reason="private")
        if subreddit == BANNED:
            return _refused(404, "Not Found", reason="banned")
        posts = await run_in_threadpool(self._world.posts, subreddit, self._clock())
        if posts is None:
            return RedirectResponse(f"/subreddits/search?q={subreddit}", 302)
        if request.url.path.endswith("/hot"):
            posts = sorted(posts, key=_hot, reverse=True)
        return JSONResponse(page(posts, request.query_params))


def routes(world: UpstreamData, clock: Callable[[], datetime], calls: PerPeriod) -> list[Route]:
    """The sign-in and the listings `new` and `hot`, at one host."""
    gateway = Gateway(world, clock, calls)
    return [
        Route("/reddit/api/v1/access_token", gateway.sign_in, methods=["POST"]),
        Route("/reddit/r/{subreddit}/new", gateway.listing, methods=["GET"]),
        Route("/reddit/r/{subreddit}/hot", gateway.listing, methods=["GET"]),
    ]
