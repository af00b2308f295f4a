"""Reddit: which posts count, how Reddit's refusals are told, and that nothing but the two hosts is ever asked."""

import base64
import logging
from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qs

import praw.config
import prawcore.sessions
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_servers import EvenLimiter, Reply, channel_of

from azak_assets.ports import ATTEMPTS, Channel
from azak_assets.sources.failures import (
    Blocked,
    ContractChanged,
    Empty,
    NotForThisAccount,
    RateLimited,
    SourceFailure,
    Unauthorized,
    Unavailable,
)
from azak_assets.sources.recording import played_back, recorded
from azak_assets.sources.reddit import OAUTH_HOST, RedditClient
from azak_assets.sources.transport import direct
from azak_assets.warehouse.calls import recordings
from azak_assets.warehouse.calls.playback import PlaybackClock, RunRecordings, Unlimited, Unlogged

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
APP_ID, APP_SECRET, TOKEN = "an-application-id", "a-secret-never-in-a-message", "a-token-never-in-a-message"


def post(post_id="1abc", hours=2.0, **changes):
    return {
        "id": post_id, "name": f"t3_{post_id}", "title": "KOSPI & friends", "selftext": "Why?", "author": "somebody",
        "subreddit": "stocks", "score": 57, "num_comments": 12,
        "created_utc": (NOW - timedelta(hours=hours)).timestamp(),
        "permalink": f"/r/stocks/comments/{post_id}/kospi/", "url": "https://www.reddit.com/x", "is_self": True,
        "removed_by_category": None, "stickied": False, **changes,
    }  # fmt: skip


class Reddit:
    """Reddit as its reference describes it, one host for sign-in and listings."""

    def __init__(self):
        self.listings = {"new": [post()], "hot": [post()]}
        self.faults = []
        self.sign_in_faults = []
        self.headers = {"x-ratelimit-remaining": "990.0", "x-ratelimit-used": "10", "x-ratelimit-reset": "400"}
        self.tokens = []

    def answer(self, request):
        if request.path == "/base/api/v1/access_token":
            if self.sign_in_faults:
                return self.sign_in_faults.pop(0)
            self.tokens.append(f"{TOKEN}-{len(self.tokens)}")
            return Reply({"access_token": self.tokens[-1], "token_type": "bearer", "expires_in": 86400, "scope": "*"})
        if self.faults:
            return self.faults.pop(0)
        if request.headers.get("authorization") != f"bearer {self.tokens[-1]}":
            return Reply({"message": "Unauthorized", "error": 401}, 401)
        children = [{"kind": "t3", "data": data} for data in self.listings[request.path.rpartition("/")[2]]]
        listing = {"kind": "Listing", "data": {"after": None, "before": None, "dist": 1, "children": children}}
        return Reply(listing, headers=self.headers)


@pytest.fixture
def reddit():
    return Reddit()


@pytest.fixture
def server(reddit, serve):
    return serve(reddit.answer)


@pytest.fixture
def client(server, channel, clock, monkeypatch):
    # prawcore sleeps up to two seconds before it signs in again.
    monkeypatch.setattr(prawcore.sessions.FiniteRetryStrategy, "_sleep_seconds", lambda self: None)
    client = RedditClient(
        f"{server.url}/base", client_id=APP_ID, client_secret=APP_SECRET, channel=channel, per_second=1000,
        now=lambda: NOW, sleep=clock.sleep,
    )  # fmt: skip
    yield client
    client.close()


def test_a_post_is_read_as_it_is_listed(client, server, limiter):
    batch = client.posts("stocks")
    (found,) = batch.records
    assert (found.post_id, found.subreddit, found.author) == ("1abc", "stocks", "somebody")
    assert (found.title, found.text, found.link_url) == ("KOSPI & friends", "Why?", None)
    assert found.url == "https://www.reddit.com/r/stocks/comments/1abc/kospi/"
    assert (found.score, found.comments) == (57, 12)
    assert found.published_at == NOW - timedelta(hours=2)
    assert (batch.requests, batch.rejects) == (2, [])
    sign_in, *listings = server.requests
    assert (sign_in.method, parse_qs(sign_in.body.decode())) == ("POST", {"grant_type": ["client_credentials"]})
    assert (
        base64.b64decode(sign_in.headers["authorization"].removeprefix("Basic ")).decode() == f"{APP_ID}:{APP_SECRET}"
    )
    assert [request.path for request in listings] == ["/base/r/stocks/new", "/base/r/stocks/hot"]
    assert all(request.query == {"limit": "100", "raw_json": "1"} for request in listings)
    assert all(request.headers["user-agent"].startswith("Azak/") for request in server.requests)
    assert limiter.calls == {"reddit": 3}


def test_half_is_new_and_half_is_hot_and_each_counts_once(client, reddit):
    reddit.listings = {"new": [post("a"), post("b")], "hot": [post("b", score=58), post("c")]}
    assert [(one.post_id, one.score) for one in client.posts("stocks").records] == [("a", 57), ("b", 57), ("c", 57)]


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({"score": 10}, True),
        ({"score": 9}, False),
        ({"score": -3}, False),
        ({"num_comments": 2}, True),
        ({"num_comments": 1}, False),
        ({"created_utc": (NOW - timedelta(hours=24)).timestamp()}, True),
        ({"created_utc": (NOW - timedelta(hours=24, seconds=1)).timestamp()}, False),
    ],
)
def test_only_posts_that_were_noticed_count(client, reddit, changes, counts):
    reddit.listings = {"new": [post(**changes)], "hot": [post(**changes)]}
    batch = client.posts("stocks")
    assert len(batch.records) == counts
    assert batch.notes == ({} if counts else {"posts below the thresholds": 1})


@pytest.mark.parametrize(
    "changes", [{"removed_by_category": "moderator"}, {"selftext": "[removed]"}, {"selftext": "[deleted]"}]
)
def test_a_removed_post_is_left_out_and_counted(client, reddit, changes):
    reddit.listings = {"new": [post("a"), post("b", **changes)], "hot": []}
    batch = client.posts("stocks")
    assert [one.post_id for one in batch.records] == ["a"]
    assert batch.notes == {"removed posts": 1}


@pytest.mark.parametrize("author", [None, "[deleted]"])
def test_an_author_who_is_gone_costs_neither_the_post_nor_the_listing(client, reddit, author):
    reddit.listings = {"new": [post("a", author=author), post("b")], "hot": []}
    assert [(one.post_id, one.author) for one in client.posts("stocks").records] == [("a", None), ("b", "somebody")]


def test_a_post_that_points_somewhere_keeps_where_to(client, reddit):
    link = post(selftext="", is_self=False, url="https://press.test/1")
    reddit.listings = {"new": [link], "hot": []}
    (found,) = client.posts("stocks").records
    assert (found.text, found.link_url) == (None, "https://press.test/1")


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"id": None}, "id"),
        ({"title": ""}, "title"),
        ({"title": 5}, "title"),
        ({"score": "many"}, "score"),
        ({"score": None}, "score"),
        ({"num_comments": True}, "num_comments"),
        ({"created_utc": "yesterday"}, "created_utc"),
        ({"created_utc": 1e300}, "created_utc"),
        ({"created_utc": (NOW + timedelta(hours=25)).timestamp()}, "created_utc"),
        ({"created_utc": 0}, "created_utc"),
        ({"permalink": "javascript:alert(1)"}, "permalink"),
    ],
)
def test_a_bad_post_is_refused_and_the_others_land(client, reddit, bad, field):
    reddit.listings = {"new": [post("a"), post("b", **bad), post("c")], "hot": []}
    batch = client.posts("stocks")
    assert [one.post_id for one in batch.records] == ["a", "c"]
    assert [reject.field for reject in batch.rejects] == [field]


def test_a_subreddit_that_lists_nothing_at_all_is_empty(client, reddit):
    reddit.listings = {"new": [], "hot": []}
    with pytest.raises(Empty, match="r/stocks lists no post at all"):
        client.posts("stocks")


@pytest.mark.parametrize(
    ("reply", "failure", "action", "told"),
    [
        (Reply({"reason": "private", "error": 403}, 403), NotForThisAccount, "alert", "private"),
        (Reply(b"<html>whoa there, pardner!</html>", 403), Blocked, "alert", "pardner"),
        (Reply({"reason": "banned", "error": 404}, 404), ContractChanged, "alert", "no r/stocks any more"),
        (
            Reply(b"", 302, {"location": "/subreddits/search?q=stocks"}),
            ContractChanged,
            "alert",
            "no r/stocks any more",
        ),
        (Reply(b"", 301), ContractChanged, "alert", "no r/stocks any more"),
        (Reply({"error": 429}, 429, {"x-ratelimit-reset": "400"}), RateLimited, "stop", "429"),
        (Reply({"error": 429}, 429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}), RateLimited, "wait", "429"),
        (Reply(b"oops", 500), Unavailable, "retry", "HTTP 500"),
        (Reply(b"", 200), Unavailable, "retry", "empty body"),
        (Reply(b'{"kind": "Lis', 200), Unavailable, "retry", "broken JSON"),
        (Reply(b"<html>down</html>", 200), ContractChanged, "alert", "a page came"),
        (Reply([1, 2], 200), ContractChanged, "alert", "a JSON list"),
        (Reply({"kind": "Listing", "data": {"children": None}}), ContractChanged, "alert", "no listing"),
        (Reply({"kind": "Listing", "data": {"children": [5]}}), ContractChanged, "alert", "no listing"),
        (Reply({}, 200, {"x-ratelimit-remaining": "lots"}), ContractChanged, "alert", "PRAW cannot read"),
        (Reply({"reason": "what", "explanation": "?"}, 400), ContractChanged, "alert", "HTTP 400"),
        (Reply({"error": 401}, 401), Unauthorized, "stop", "HTTP 401"),
    ],
)
def test_what_reddit_refuses_is_named(client, reddit, reply, failure, action, told):
    reddit.faults = [reply] * 2 * ATTEMPTS
    with pytest.raises(failure, match=told) as caught:
        client.posts("stocks")
    assert caught.value.action == action
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        (Reply({"message": "Unauthorized", "error": 401}, 401), Unauthorized),
        (Reply({"error": "unsupported_grant_type"}, 400), ContractChanged),
        (Reply({"access_token": TOKEN, "token_type": "bearer"}), ContractChanged),
        (Reply({"access_token": TOKEN, "expires_in": "soon", "scope": "*"}), ContractChanged),
        (Reply(f'{{"access_token": "{TOKEN}", "expi'.encode()), Unavailable),
        (Reply({"error": 429}, 429, {"retry-after": "2"}), RateLimited),
        (Reply(b"", 503), Unavailable),
    ],
)
def test_a_sign_in_that_fails_is_named_and_shows_no_secret(client, reddit, server, reply, failure, caplog):
    caplog.set_level(logging.DEBUG)
    reddit.sign_in_faults = [reply] * 2 * ATTEMPTS
    with pytest.raises(failure) as caught:
        client.posts("stocks")
    assert {request.path for request in server.requests} == {"/base/api/v1/access_token"}
    shown = str(caught.value) + caplog.text
    for secret in (APP_ID, APP_SECRET, TOKEN, base64.b64encode(f"{APP_ID}:{APP_SECRET}".encode()).decode()):
        assert secret not in shown


def test_a_token_that_expired_is_replaced_once(client, reddit, server):
    client.posts("stocks")
    reddit.faults = [Reply({"message": "Unauthorized", "error": 401}, 401)]
    assert len(client.posts("stocks").records) == 1
    assert len(reddit.tokens) == 2
    assert [request.path for request in server.requests].count("/base/r/stocks/new") == 3


def test_a_refusal_for_a_moment_is_waited_out(client, reddit, clock):
    reddit.faults = [Reply({"error": 429}, 429, {"retry-after": "3"})]
    assert len(client.posts("stocks").records) == 1
    assert 3 <= sum(clock.slept) < 6


def test_a_used_up_period_is_told_and_not_slept_through(client, reddit, server):
    reddit.headers = {"x-ratelimit-remaining": "0.0", "x-ratelimit-used": "1000", "x-ratelimit-reset": "500"}
    with pytest.raises(RateLimited, match="used up, for") as caught:
        client.posts("stocks")
    assert 490 < caught.value.retry_after <= 500
    assert len(server.requests) == 2, "the sign-in and the first listing"


def test_neither_a_praw_ini_nor_the_environment_makes_it_another_user(
    reddit, server, channel, tmp_path, monkeypatch, clock
):
    (tmp_path / "praw.ini").write_text(
        "[DEFAULT]\nusername=me\npassword=mine\nrefresh_token=r\ncheck_for_updates=true\ncomment_kind=t1\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("praw_username", "me")
    monkeypatch.setenv("praw_password", "mine")
    monkeypatch.setattr(praw.config.Config, "CONFIG", None)

    def call_home(**_):
        raise AssertionError("PRAW asked whether there is a newer PRAW")

    monkeypatch.setattr(praw.reddit, "update_check", call_home)
    client = RedditClient(
        f"{server.url}/base/", client_id=APP_ID, client_secret=APP_SECRET, channel=channel, per_second=1000,
        now=lambda: NOW, sleep=clock.sleep,
    )  # fmt: skip
    assert len(client.posts("stocks").records) == 1
    assert parse_qs(server.requests[0].body.decode()) == {"grant_type": ["client_credentials"]}
    client.close()


def test_the_real_reddit_signs_in_at_another_host_than_it_answers(channel):
    client = RedditClient(OAUTH_HOST, client_id=APP_ID, client_secret=APP_SECRET, channel=channel)
    assert client._reddit.config.reddit_url == "https://www.reddit.com"
    assert client._reddit.config.oauth_url == "https://oauth.reddit.com/"
    client.close()


def test_a_key_that_no_header_can_carry_is_told_before_anything_is_sent(server, channel):
    client = RedditClient(server.url, client_id="아이디-아이디", client_secret=APP_SECRET, channel=channel)
    with pytest.raises(Unauthorized, match="characters that no key has"):
        client.posts("stocks")
    assert server.requests == []
    client.close()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(sorted(post())), JSON, max_size=4))
def test_no_post_whatever_it_holds_ends_a_listing(client, reddit, changes):
    reddit.listings = {"new": [post("good"), {**post("bad"), **changes}], "hot": []}
    batch = client.posts("stocks")
    assert batch.records[0].post_id == "good"
    assert len(batch.records) - 1 + len(batch.rejects) + sum(batch.notes.values()) in {0, 1}
    assert all(reject.reason for reject in batch.rejects)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=40) | JSON, status=st.sampled_from([200, 201, 204, 301, 400, 401, 403, 404, 429, 500, 999])
)
def test_no_answer_whatever_it_is_ends_in_an_error_without_a_name(server, reddit, monkeypatch, body, status):
    monkeypatch.setattr(prawcore.sessions.FiniteRetryStrategy, "_sleep_seconds", lambda self: None)
    reddit.faults = [Reply(body, status)] * 20
    client = RedditClient(
        f"{server.url}/base", client_id=APP_ID, client_secret=APP_SECRET, per_second=10_000,
        channel=channel_of(EvenLimiter(), attempts=1), now=lambda: NOW, sleep=lambda _: None,
    )  # fmt: skip
    try:
        with pytest.raises(SourceFailure):
            client.posts("stocks")
    finally:
        client.close()


def test_posts_are_read_again_from_what_was_kept_without_signing_in(server, tmp_path):
    def client(base, channel):
        return RedditClient(
            base, client_id=APP_ID, client_secret=APP_SECRET, channel=channel, per_second=1000, now=lambda: NOW,
            sleep=lambda _: None,
        )  # fmt: skip

    writer = recordings.PayloadWriter(tmp_path, run_id="a-run", about={}, keep_days=30)
    first = client(f"{server.url}/base", Channel(Unlimited(), Unlogged(), recorded(direct, writer)))
    told = first.posts("stocks").records
    first.close()
    writer.close()
    (run,) = recordings.runs(tmp_path, date(2020, 1, 1), date(2100, 1, 1))
    assert {path.partition("?")[0] for _, path, _ in run.answers} == {"/r/stocks/new", "/r/stocks/hot"}
    asked = len(server.requests)
    again = client(
        "http://nowhere.invalid",
        Channel(Unlimited(), Unlogged(), played_back(RunRecordings(run, [run], PlaybackClock(NOW))), attempts=1),
    )
    assert again.posts("stocks").records == told
    assert told
    assert len(server.requests) == asked
    again.close()
