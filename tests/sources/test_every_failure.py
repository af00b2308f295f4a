"""Every way an answer can go wrong, at every upstream, over real sockets: the failure has its name.

The sandbox plays the faults, as its plan may; it shares no code with the clients. What a client does with an answer
that is whole but odd stands in its own tests.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import httpx
import pytest
from every_client import Clients

from azak_assets import krx
from azak_assets.sandbox import Limits, SeededWorld, create_app, start_in_thread
from azak_assets.sources import transport
from azak_assets.sources.failures import (
    Blocked,
    ContractChanged,
    RateLimited,
    SourceFailure,
    Unauthorized,
    Unavailable,
    Unconfirmed,
)

NOW, DAY = "2026-09-04 20:00", date(2026, 9, 4)
UNLIMITED = Limits(*[10**9] * 8)
PAGE = "https://www.hankyung.com/article/2026090100089"

USUAL: dict[str, type[SourceFailure] | None] = {
    "kind 500": Unavailable,
    "kind 429": RateLimited,
    "kind 401": Unauthorized,
    "kind 403": Blocked,
    "kind error_in_200": Unavailable,
    "kind empty": Unavailable,
    "kind html": ContractChanged,
    "kind truncated": Unavailable,
    "kind lost": Unavailable,
    "kind cp949": None,  # it is read
    "status 418": ContractChanged,
    "status 503": Unavailable,
}
SENT = dict.fromkeys(("kind 500", "kind empty", "kind html", "kind truncated", "kind lost", "status 503"), Unconfirmed)
"""Where asking twice does something twice, a lost answer is no reason to ask again."""
TELL_NO_ERROR_IN_200 = {"kis-master", "naver", "rss", "krx", "reddit", "telegram", "pages"}


@dataclass(frozen=True)
class Asked:
    """Where the fault is met, and what is asked."""

    path: str
    ask: Callable[[Clients], Any]
    otherwise: dict[str, type[SourceFailure] | None]


UPSTREAMS = {
    "kis": Asked("/kis/uapi", lambda c: c.kis.index_bars("0001", DAY, DAY), {}),
    "kis token": Asked("/kis/oauth2", lambda c: c.kis.index_bars("0001", DAY, DAY), {}),
    "kis-master": Asked("/kis-master", lambda c: c.kis.listed_stocks(), {}),
    "opendart filings": Asked("/opendart/api/list.json", lambda c: c.opendart.filings(DAY, DAY), {}),
    "opendart companies": Asked("/opendart/api/corpCode.xml", lambda c: c.opendart.corp_codes(), {}),
    "naver": Asked("/naver", lambda c: c.naver.search("증시", since=datetime(2026, 9, 4, tzinfo=krx.KST)), {}),
    "rss": Asked("/hankyung/feed", lambda c: c.rss.articles(), {}),
    "krx": Asked("/krx", lambda c: c.krx.daily_bars("KONEX", date(2026, 9, 2)), {}),
    "reddit": Asked("/reddit/r/", lambda c: c.reddit.posts("stocks"), {"kind 401": None}),  # PRAW signs in anew
    "reddit token": Asked("/reddit/api", lambda c: c.reddit.posts("stocks"), {}),
    "telegram": Asked("/telegram", lambda c: c.telegram.send("4242", "x"), SENT),
    # A publisher's refusals mean: leave the host alone. A page without the article is one that has no text, and of half
    # a page that came as a whole nobody can tell.
    "pages": Asked(
        "/hankyung/article",
        lambda c: c.pages.read(PAGE),
        {"kind 401": Blocked, "kind html": None, "kind truncated": None},
    ),
}
CASES = [
    pytest.param(name, fault, id=f"{name}: {fault}")
    for name in UPSTREAMS
    for fault in USUAL
    if fault != "kind error_in_200" or name.partition(" ")[0] not in TELL_NO_ERROR_IN_200
]


@pytest.fixture(scope="module")
def clock() -> list[datetime]:
    return [datetime.fromisoformat(NOW).replace(tzinfo=krx.KST)]


@pytest.fixture(scope="module")
def sandbox(clock: list[datetime]) -> Iterator[str]:
    with start_in_thread(create_app(SeededWorld(1), clock=lambda: clock[0], limits=UNLIMITED)) as url:
        yield url


@pytest.fixture(scope="module")
def every_client(sandbox: str) -> Iterator[Clients]:
    made = Clients(sandbox, NOW)
    yield made
    made.close()


@pytest.fixture
def hasty(clients: Clients, sandbox: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clients]:
    """Clients that wait less than a second for an answer."""
    monkeypatch.setattr(transport, "READ_TIMEOUT_S", 0.75)
    made = Clients(sandbox, NOW)
    made.now = clients.now
    yield made
    made.close()


@pytest.fixture
def clients(every_client: Clients, clock: list[datetime]) -> Clients:
    """The clients a minute later, as if they had never asked: KIS gives a token a minute."""
    clock[0] = every_client.now = clock[0] + timedelta(seconds=61)
    every_client.forget()
    return every_client


@pytest.mark.parametrize(("name", "fault"), CASES)
def test_what_goes_wrong_has_its_name_and_says_what_to_do(
    sandbox: str, clients: Clients, name: str, fault: str
) -> None:
    asked = UPSTREAMS[name]
    expected = asked.otherwise.get(fault, USUAL[fault])
    what, value = fault.split()
    order = {"path": asked.path, what: value if what == "kind" else float(value), "times": 1}
    httpx.post(f"{sandbox}/sandbox/faults", json=order).raise_for_status()
    if expected is None:
        assert asked.ask(clients) is not None
    else:
        with pytest.raises(expected) as caught:
            asked.ask(clients)
        assert caught.value.upstream
        assert caught.value.advice
    assert httpx.get(f"{sandbox}/sandbox/faults").json()[-1]["met"] == 1


@pytest.mark.parametrize("name", UPSTREAMS)
def test_an_answer_that_does_not_come_is_not_waited_for(sandbox: str, hasty: Clients, name: str) -> None:
    asked = UPSTREAMS[name]
    httpx.post(f"{sandbox}/sandbox/faults", json={"path": asked.path, "delay": 1.5}).raise_for_status()
    with pytest.raises(Unconfirmed if asked.otherwise is SENT else Unavailable, match="ReadTimeout"):
        asked.ask(hasty)


FIELDS = {
    "kis": ("/kis/uapi", "bstp_nmix_prpr"),
    "opendart filings": ("/opendart/api/list.json", "corp_code"),
    "opendart companies": ("/opendart/api/corpCode.xml", "corp_code"),
    "naver": ("/naver", "pubDate"),
    "rss": ("/hankyung/feed", "pubDate"),
    "krx": ("/krx", "TDD_CLSPRC"),
    "reddit": ("/reddit/r/", "created_utc"),
}


@pytest.mark.parametrize("becomes", ["missing", "null", "words", "칠만"])
@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_goes_wrong_is_named_and_lands_nowhere(
    sandbox: str, clients: Clients, name: str, becomes: str
) -> None:
    path, field = FIELDS[name]
    order = {"path": path, "field": field, "becomes": becomes, "times": 9}
    httpx.post(f"{sandbox}/sandbox/faults", json=order).raise_for_status()
    if name == "krx":  # none of whose rows can be read
        with pytest.raises(ContractChanged, match=field):
            UPSTREAMS[name].ask(clients)
    else:
        batch = UPSTREAMS[name].ask(clients)
        assert batch.records == []
        assert any(reject.field in (field, FEED_NAMES.get(field)) for reject in batch.rejects)
    while httpx.get(f"{sandbox}/sandbox/faults").json()[-1]["is_open"]:
        httpx.get(f"{sandbox}{path}")  # use it up


FEED_NAMES = {"pubDate": "published"}
"""As the feed reader calls it."""
