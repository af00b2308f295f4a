"""Reddit's and Telegram's stand-ins and the article pages over the wire, without a client of ours."""

from datetime import timedelta

import pytest
from conftest import Clock, Start, kst

from azak_assets.sandbox import Limits, SeededWorld

APP = ("an-app", "a-secret")
AGENT = {"user-agent": "a test of the sandbox"}


def sign_in(http, app=APP, grant="client_credentials"):
    return http.post("/reddit/api/v1/access_token", auth=app, data={"grant_type": grant}, headers=AGENT)


def listing(http, subreddit="stocks", sort="new", token=None, **query):
    token = token or sign_in(http).json()["access_token"]
    headers = {**AGENT, "authorization": f"bearer {token}"}
    return http.get(f"/reddit/r/{subreddit}/{sort}", params=query, headers=headers)


def posts(http, **asked):
    return [child["data"] for child in listing(http, **asked).json()["data"]["children"]]


def test_an_application_signs_in_with_its_keys(http):
    body = sign_in(http).json()
    assert set(body) == {"access_token", "token_type", "expires_in", "scope"}
    assert (body["token_type"], body["expires_in"]) == ("bearer", 86400)
    assert sign_in(http, app=("invalid-app", "a-secret")).status_code == 401
    assert sign_in(http, app=("an-app", "")).status_code == 401
    assert sign_in(http, grant="password").json() == {"error": "unsupported_grant_type"}


def test_a_token_ends_after_a_day(http, clock):
    token = sign_in(http).json()["access_token"]
    assert listing(http, token=token).status_code == 200
    assert listing(http, token="another").status_code == 401
    clock.now += timedelta(days=1)
    answer = listing(http, token=token)
    assert (answer.status_code, "invalid_token" in answer.headers["www-authenticate"]) == (401, True)


def test_the_new_are_newest_first_and_pages_follow_each_other(http, clock):
    first = listing(http, limit="100").json()["data"]
    assert (first["dist"], len(first["children"])) == (100, 100)
    names = [child["data"]["name"] for child in first["children"]]
    assert first["after"] == names[-1]
    second = [one["name"] for one in posts(http, limit="100", after=first["after"])]
    assert not set(names) & set(second)
    times = [child["data"]["created_utc"] for child in first["children"]]
    assert times == sorted(times, reverse=True)
    assert times[0] <= clock.now.timestamp()
    assert len(posts(http)) == 25
    assert len(posts(http, limit="1000")) == 100


def test_votes_come_in_as_hours_pass_and_the_words_stay(http, clock):
    before = {one["id"]: one for one in posts(http, limit="100")}
    again = {one["id"]: one for one in posts(http, limit="100")}
    assert before == again
    clock.now += timedelta(hours=1)
    after = {one["id"]: one for one in posts(http, limit="100")}
    shared = before.keys() & after.keys()
    assert any(after[one]["score"] > before[one]["score"] for one in shared)
    assert all(after[one]["score"] >= before[one]["score"] for one in shared)
    assert all(after[one]["title"] == before[one]["title"] for one in shared)


def test_some_posts_are_removed_and_some_authors_gone(http):
    seen = posts(http, limit="100")
    removed = [one for one in seen if one["removed_by_category"]]
    assert removed
    assert all(one["selftext"] == "[removed]" and one["author"] is None for one in removed)
    assert any(one["author"] is None and not one["removed_by_category"] for one in seen)


def test_the_hot_are_those_people_vote_for(http):
    hot, new = posts(http, sort="hot", limit="100"), posts(http, limit="100")
    assert {one["id"] for one in hot} != {one["id"] for one in new}
    assert sum(one["score"] for one in hot) > sum(one["score"] for one in new)


def test_markup_is_escaped_unless_raw_json_is_asked_for(http):
    raw, cooked = posts(http, limit="100", raw_json="1"), posts(http, limit="100")
    pairs = [(one["title"], other["title"]) for one, other in zip(raw, cooked, strict=True) if "&" in one["title"]]
    assert pairs
    assert all("&amp;" in other and "&amp;" not in one for one, other in pairs)


@pytest.mark.parametrize(("name", "status"), [("a_private_one", 403), ("a_banned_one", 404), ("nobody", 302)])
def test_other_subreddits_are_refused_as_reddit_does(http, name, status):
    assert listing(http, name).status_code == status


def test_calls_are_counted_by_application_over_ten_minutes(start: Start, seeded: SeededWorld, clock: Clock):
    ticks = [0.0]
    http = start(seeded, clock=clock, limits=Limits(reddit_in_ten_minutes=3), tick=lambda: ticks[0])
    answers = [listing(http) for _ in range(4)]  # each with a token of its own
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2.0", "1.0", "0.0", "0.0"]
    assert answers[0].headers["x-ratelimit-used"] == "1"
    ticks[0] = 400
    assert listing(http).headers["x-ratelimit-reset"] == "200"
    ticks[0] = 600
    assert listing(http).status_code == 200


def test_there_are_noticed_posts_on_every_day(seeded, clock):
    for back in range(20):
        now = clock.now - timedelta(days=back)
        fresh = [
            one for one in seeded.posts("stocks", now)
            if one.score >= 10 and one.comments >= 2 and one.published_at > now - timedelta(days=1)
        ]  # fmt: skip
        assert len(fresh) > 5, now


def test_nothing_was_posted_before_the_world_began(seeded):
    assert seeded.posts("stocks", kst(2023, 12, 24)) == []


# --- telegram -------------------------------------------------------------------------------------------------------


def send(http, text="x", chat_id=42, token="123:abc", **more):
    return http.post(f"/telegram/bot{token}/sendMessage", json={"chat_id": chat_id, "text": text, **more})


def test_a_message_is_kept_without_its_markup(http):
    answer = send(http, "<b>가</b> &amp; <a href='https://x.test'>나</a> 😀", parse_mode="HTML").json()
    assert answer["ok"] is True
    assert answer["result"]["text"] == "가 & 나 😀"
    assert [one["text"] for one in http.get("/sandbox/telegram").json()] == ["가 & 나 😀"]


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        ({"text": "<b>x", "parse_mode": "HTML"}, 400, "can't parse entities"),
        ({"text": "<i><b>x</i></b>", "parse_mode": "HTML"}, 400, "can't parse entities"),
        ({"text": "a < b", "parse_mode": "HTML"}, 400, "can't parse entities"),
        ({"text": "<h1>x</h1>", "parse_mode": "HTML"}, 400, "Unsupported start tag"),
        ({"text": "<b> </b>", "parse_mode": "HTML"}, 400, "text is empty"),
        ({"text": ""}, 400, "text is empty"),
        ({"text": "가" * 4097}, 400, "too long"),
        ({"text": "😀" * 2049}, 400, "too long"),
        ({"chat_id": 404}, 400, "chat not found"),
        ({"chat_id": "nobody"}, 400, "chat not found"),
        ({"chat_id": 403}, 403, "blocked by the user"),
        ({"token": "invalid:abc"}, 401, "Unauthorized"),
    ],
)
def test_a_message_that_cannot_be_sent_is_refused_in_telegrams_words(http, asked, status, told):
    answer = send(http, **asked)
    body = answer.json()
    assert (answer.status_code, body["ok"], body["error_code"]) == (status, False, status)
    assert told in body["description"]
    assert http.get("/sandbox/telegram").json() == []


def test_the_longest_message_is_taken(http):
    assert send(http, "😀" * 2048).status_code == 200
    assert send(http, "<b>" + "가" * 4096 + "</b>", parse_mode="HTML").status_code == 200


def test_a_group_takes_twenty_a_minute_and_a_chat_a_short_burst(start: Start, seeded: SeededWorld):
    ticks = [0.0]
    http = start(seeded, limits=Limits(), tick=lambda: ticks[0])
    assert [send(http).status_code for _ in range(4)] == [200, 200, 200, 429]
    for n in range(20):
        ticks[0] = n * 2.0
        assert send(http, chat_id=-100).status_code == 200
    refused = send(http, chat_id=-100)
    assert refused.status_code == 429
    body = refused.json()
    assert body["parameters"]["retry_after"] >= 1
    assert body["description"] == f"Too Many Requests: retry after {body['parameters']['retry_after']}"
    ticks[0] = 61
    assert send(http, chat_id=-100).status_code == 200


# --- article pages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("feed", "host"), [("/hankyung/feed/finance", "hankyung"), ("/mk/rss/50200011/", "mk")])
def test_the_links_of_a_feed_are_pages_under_its_host(http, feed, host):
    links = [part.split("</link>")[0] for part in http.get(feed).text.split("<link>")[2:]]
    assert len(links) == 50
    for link in links[:10]:
        answer = http.get(f"/{host}" + link.split("/", 3)[3].join(["/", ""]))
        assert answer.status_code == 200, link
        assert "<title>" in answer.text
    assert http.get(f"/{host}/robots.txt").text.startswith("User-agent: *")


def test_an_article_is_not_there_before_it_is_out(http, seeded, clock):
    newest = seeded.headlines("한국경제", clock.now, 1)[0]
    path = "/hankyung" + newest.original_link.removeprefix("https://www.hankyung.com")
    assert http.get(path).status_code == 200
    clock.now = newest.published_at - timedelta(seconds=1)
    assert http.get(path).status_code == 404
    assert http.get("/hankyung/article/19990101x").status_code == 404
