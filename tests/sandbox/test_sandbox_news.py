"""News over the wire: Naver's search with its limits and errors, and the publishers' feeds."""

import html
import re
from collections import Counter
from datetime import timedelta
from email.utils import parsedate_to_datetime
from xml.etree import ElementTree

import pytest
from conftest import kst

from azak_assets.sandbox import Limits
from azak_assets.sandbox.worlds.companies import GROUPS, PLAIN_WORDS

KEYS = {"X-Naver-Client-Id": "an-id", "X-Naver-Client-Secret": "a-secret"}


def _search(http, query, **parameters):
    parameters = {"sort": "date", "display": 100, **parameters}
    return http.get("/naver/v1/search/news.json", params={"query": query, **parameters}, headers=KEYS)


def _plain(text):
    return html.unescape(re.sub(r"</?b>", "", text))


def test_search_page_has_the_documented_shape(http, seeded, clock):
    name = seeded.issues(clock.now)[0].name
    answer = _search(http, name, display=5)
    assert answer.headers["content-type"].startswith("application/json")
    body = answer.json()
    assert set(body) == {"lastBuildDate", "total", "start", "display", "items"}
    assert (body["start"], body["display"], len(body["items"])) == (1, 5, 5)
    assert body["lastBuildDate"] == "Fri, 20 Nov 2026 18:00:00 +0900"
    for item in body["items"]:
        assert set(item) == {"title", "originallink", "link", "description", "pubDate"}
        assert f"<b>{name}</b>" in item["title"] + item["description"]
        assert item["pubDate"].endswith("+0900")
        assert (
            item["link"].startswith("https://n.news.naver.com/mnews/article/") or item["link"] == item["originallink"]
        )
    assert "&quot;" in answer.text


def test_pages_run_back_in_time_without_gap_or_repeat(http):
    first, second = _search(http, "증시"), _search(http, "증시", start=101)
    both = first.json()["items"] + second.json()["items"]
    dates = [parsedate_to_datetime(item["pubDate"]) for item in both]
    assert dates == sorted(dates, reverse=True)
    assert len({item["link"] for item in both}) == 200
    assert _search(http, "증시", start=101, display=1).json()["items"] == second.json()["items"][:1]


def test_quotes_and_exclusions(http, seeded, clock):
    name = seeded.issues(clock.now)[0].name
    everything = _search(http, f'"{name}"').json()["total"]
    without = _search(http, f'"{name}" -특징주').json()["total"]
    assert 0 < without < everything
    assert _search(http, f"{name} 없는낱말이다").json() | {"lastBuildDate": ""} == {
        "lastBuildDate": "", "total": 0, "start": 1, "display": 0, "items": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "status", "code"),
    [
        ({"query": ""}, 400, "SE01"),
        ({"query": "증시", "display": "101"}, 400, "SE02"),
        ({"query": "증시", "display": "0"}, 400, "SE02"),
        ({"query": "증시", "start": "1001"}, 400, "SE03"),
        ({"query": "증시", "start": "x"}, 400, "SE03"),
        ({"query": "증시", "sort": "newest"}, 400, "SE04"),
    ],
)
def test_bad_parameters_name_their_code(http, parameters, status, code):
    answer = http.get("/naver/v1/search/news.json", params=parameters, headers=KEYS)
    assert (answer.status_code, answer.json()["errorCode"]) == (status, code)


def test_keys_and_other_searches_are_refused(http):
    for keys in ({}, {**KEYS, "X-Naver-Client-Id": "invalid"}, {**KEYS, "X-Naver-Client-Secret": ""}):
        answer = http.get("/naver/v1/search/news.json", params={"query": "증시"}, headers=keys)
        assert (answer.status_code, answer.json()["errorCode"]) == (401, "024")
    answer = http.get("/naver/v1/search/blogs.json", params={"query": "증시"}, headers=KEYS)
    assert (answer.status_code, answer.json()["errorCode"]) == (404, "SE05")


def test_naver_counts_the_calls_of_a_second_and_of_a_day(start, seeded, clock):
    second = [1000.0]
    http = start(seeded, clock=clock, limits=Limits(naver_a_second=10, naver_a_day=25), tick=lambda: second[0])

    def ask(times, keys=KEYS):
        answers = [http.get("/naver/v1/search/news.json", params={"query": "증시"}, headers=keys) for _ in range(times)]
        return Counter((answer.status_code, answer.json().get("errorCode")) for answer in answers)

    assert ask(12) == {(200, None): 10, (429, "012"): 2}
    second[0] += 1
    assert ask(10) == {(200, None): 10}
    second[0] += 1
    assert ask(10) == {(200, None): 5, (429, "010"): 5}
    second[0] += 1
    assert ask(1, {**KEYS, "X-Naver-Client-Id": "another-id"}) == {(200, None): 1}
    clock.now = kst(2026, 11, 20, 23, 59)
    assert ask(1) == {(429, "010"): 1}
    clock.now = kst(2026, 11, 21, 0, 0)
    assert ask(1) == {(200, None): 1}


def test_the_limits_are_those_that_naver_states():
    assert (Limits().naver_a_second, Limits().naver_a_day) == (10, 25_000)


@pytest.fixture(scope="module")
def month(seeded):
    """Everything written in the four weeks before 2026-11-20, found by searching for every letter of the news."""
    now = kst(2026, 11, 20, 18, 0)
    newsroom = seeded._newsroom
    pages = [newsroom._day((now - timedelta(days=back)).date()) for back in range(1, 29)]
    return [(page.items[0].article.published_at.date(), [item.article for item in page.items]) for page in pages]


def test_a_session_day_has_60_to_120_articles_and_a_weekend_some(month):
    counts = {day: len(articles) for day, articles in month}
    weekdays = [count for day, count in counts.items() if day.isoweekday() <= 5]
    weekends = [count for day, count in counts.items() if day.isoweekday() > 5]
    assert all(50 <= count <= 130 for count in weekdays)
    assert all(8 <= count <= 45 for count in weekends)


def test_news_has_the_traps_it_is_made_for(month, seeded):
    articles = [article for _, day in month for article in day]
    titles = Counter(article.title for article in articles)
    names = [issue.name for issue in seeded.issues(kst(2026, 11, 20, 18, 0))]
    twice = [t for t, n in titles.items() if n > 1 and len({a.press for a in articles if a.title == t}) > 1]
    assert len(twice) > 20
    assert sum(title.startswith("[종합] ") or title.endswith("(상보)") for title in titles) > 20
    assert sum(sum(name in title for name in names) >= 2 for title in titles) > 50
    assert sum(any(f"{group}그룹" in title for group in GROUPS) for title in titles) > 20
    assert sum(any(word in title for word in PLAIN_WORDS) for title in titles) > 20
    assert sum(not any(name in title for name in names) for title in titles) > 200
    assert sum(article.published_at.hour >= 16 for article in articles) > 100
    assert len({article.link for article in articles}) == len(articles)


def test_a_correction_changes_the_title_under_the_same_url(start, seeded, clock):
    http = start(seeded, clock=clock)
    item = next(i for i in seeded._newsroom._day(kst(2026, 11, 19, 0).date()).items if i.corrected_at is not None)
    link, words = item.article.link, item.article.title
    clock.now = item.corrected_at - timedelta(seconds=1)
    before = {i["link"]: _plain(i["title"]) for i in _search(http, f'"{words}"').json()["items"]}
    clock.now = item.corrected_at
    after = {i["link"]: _plain(i["title"]) for i in _search(http, f'"{words}"').json()["items"]}
    assert before[link] == words
    assert after[link] == f"[정정] {words}"


@pytest.mark.parametrize(
    ("path", "host"), [("/hankyung/feed/finance", "www.hankyung.com"), ("/mk/rss/50200011/", "www.mk.co.kr")]
)
def test_feed_is_rss_and_answers_conditional_requests(start, seeded, clock, path, host):
    http = start(seeded, clock=clock)
    answer = http.get(path)
    channel = ElementTree.fromstring(answer.content).find("channel")
    items = channel.findall("item")
    assert len(items) == 50
    assert all(item.findtext("link").startswith(f"https://{host}/") for item in items)
    dates = [parsedate_to_datetime(item.findtext("pubDate")) for item in items]
    assert dates == sorted(dates, reverse=True)
    assert http.get(path, headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    assert http.get(path, headers={"if-modified-since": answer.headers["last-modified"]}).status_code == 304
    clock.now += timedelta(days=2)
    assert http.get(path, headers={"if-none-match": answer.headers["etag"]}).status_code == 200
    assert http.get(path, headers={"if-modified-since": answer.headers["last-modified"]}).status_code == 200


def test_unknown_feed_is_not_found(http):
    assert http.get("/hankyung/feed/horoscope").status_code == 404
    assert http.get("/mk/rss/1/").status_code == 404
