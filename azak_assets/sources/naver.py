"""Naver's Search Open API: news by query, newest first.

Put here its paging, limits and error codes. It gives title, link and an excerpt, no body and no press. Source: the
published reference of the search API (developers.naver.com). 25,000 calls a day an application.

Does not belong here: which queries are sent (`ingest.news`), and stripping markup (`text.clean`).
"""

import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from azak_assets import krx
from azak_assets.ports import Channel
from azak_assets.sources.answer import Answer, payload_hash
from azak_assets.sources.failures import ContractChanged, RateLimited, Unauthorized, Unavailable
from azak_assets.sources.fields import Refused, Row, instant, is_date_only, markup, optional_text, parse_rows
from azak_assets.sources.records import Article, Batch, Reject, noted
from azak_assets.sources.transport import Transport

UPSTREAM = "naver"
DISPLAY = 100
STARTS = [*range(1, 1000, DISPLAY), 1000]
"""`start` ends at 1000 and `display` at 100: a query reaches its newest 1,099 items, and the last page overlaps."""

CALLS_A_DAY = 25_000
QUOTA_USED = "010"
_HOME_PAGE = re.compile(r"https?://[^/?#]*/?", re.IGNORECASE)


class NaverSearchClient:
    """One application's access, safe to share between threads. All methods raise `SourceFailure`s.

    `now` must return an aware datetime: an article dated long after it is refused.
    """

    def __init__(
        self,
        base_url: str,
        *,
        client_id: str,
        client_secret: str,
        channel: Channel,
        per_second: float = 5,
        now: Callable[[], datetime] = lambda: datetime.now(krx.KST),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._now = now
        self._http = Transport(
            UPSTREAM,
            base_url,
            channel=channel,
            per_second=per_second,
            per_day=CALLS_A_DAY,
            headers={"x-naver-client-id": client_id, "x-naver-client-secret": client_secret},
            secrets=(client_id, client_secret),
            sleep=sleep,
        )

    def search(self, query: str, since: datetime, until: datetime | None = None) -> Batch[Article]:
        """Articles found for `query` and published in [`since`, `until`), newest first; both instants aware.

        Stops where the results reach back to `since` or end. If the 1,099 reachable items do neither, the batch has a
        reject saying how far back they go, because what lies between is missing. Nothing found is a success.
        """
        if since.tzinfo is None or (until is not None and until.tzinfo is None):
            raise ValueError("since and until need a time zone")
        now = self._now()
        bodies: list[bytes] = []
        notes: list[Mapping[str, int]] = []
        articles: dict[Article, None] = {}  # the last page repeats items of the one before, and so may a moving list
        rejects: dict[Reject, None] = {}
        for start in STARTS:
            body = self._page(query, start, bodies, notes)
            found, refused = parse_rows(body["items"], lambda row: _article(row, now))
            articles.update(dict.fromkeys(found))
            rejects.update(dict.fromkeys(refused))
            is_last = len(body["items"]) < DISPLAY or start + DISPLAY > body["total"]
            if is_last or (found and found[-1].published_at < since):
                break
        else:
            oldest = min((article.published_at for article in articles), default=None)
            rejects[Reject(query, "start", "1000", f"older results cannot be asked for: these end at {oldest}")] = None
        wanted = [
            article
            for article in articles
            if since <= article.published_at and (until is None or article.published_at < until)
        ]
        return Batch(wanted, list(rejects), len(bodies), payload_hash(bodies), noted(*notes))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _page(self, query: str, start: int, bodies: list[bytes], notes: list[Mapping[str, int]]) -> dict[str, Any]:
        def read(answer: Answer) -> dict[str, Any]:
            body = _result(answer)
            bodies.append(answer.body)
            notes.append(answer.notes)
            return body

        params = {"query": query, "display": str(DISPLAY), "start": str(start), "sort": "date"}
        return self._http.ask(read, "/v1/search/news.json", params=params)


def _result(answer: Answer) -> dict[str, Any]:
    body = answer.json_object()
    code = str(body.get("errorCode") or "")
    if code or not answer.is_success:
        raise _failure(code, answer, str(body.get("errorMessage") or answer.excerpt()))
    if not isinstance(body.get("items"), list) or not isinstance(body.get("total"), int):
        raise ContractChanged(UPSTREAM, "the result holds no items or no total", url=answer.url)
    return body


def _failure(code: str, answer: Answer, message: str) -> Exception:
    what = f"error {code} (HTTP {answer.status}): {message}"
    if code == QUOTA_USED:
        advice = "The day's 25,000 calls of this application are used up: run again after midnight KST"
        return RateLimited(UPSTREAM, what, url=answer.url, advice=advice, action="stop")
    if answer.status == 429:
        return RateLimited(UPSTREAM, what, url=answer.url, retry_after=1)
    if answer.status in {401, 403}:
        advice = "Check NAVER_CLIENT_ID and NAVER_CLIENT_SECRET, and that the application may use the search API"
        return Unauthorized(UPSTREAM, what, url=answer.url, advice=advice)
    if answer.status >= 500 or code == "SE99":
        return Unavailable(UPSTREAM, what, url=answer.url)
    return ContractChanged(UPSTREAM, what, url=answer.url)


def _article(row: Row, now: datetime) -> Article:
    title = markup(row, "title")
    if title is None:
        raise Refused("title", row.get("title", ""), "is missing or empty")
    published_at = instant(row, "pubDate", now)
    return Article(
        title=title,
        url=_address(row),
        excerpt=markup(row, "description"),
        press=None,
        published_at=published_at,
        is_date_only=is_date_only(published_at),
    )


def _address(row: Row) -> str | None:
    """The publisher's own address, which its feed carries too; Naver's where it knows none but the home page."""
    own, hosted = optional_text(row, "originallink"), optional_text(row, "link")
    return (hosted or own) if own is None or _HOME_PAGE.fullmatch(own) else own
