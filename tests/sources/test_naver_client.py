"""Naver search: newest first down to `since`, the limits of paging, markup, and its error codes."""

import html
from datetime import datetime, timedelta
from email.utils import format_datetime
from zoneinfo import ZoneInfo

import pytest
from local_servers import Reply

from azak_assets.sources.failures import ContractChanged, RateLimited, Unauthorized, Unavailable
from azak_assets.sources.naver import NaverSearchClient
from azak_assets.text.clean import plain_text

KST = ZoneInfo("Asia/Seoul")
NOON = datetime(2026, 11, 3, 12, 0, tzinfo=KST)
ID, SECRET = "client-id-never-shown", "client-secret-never-shown"


def item(number, at=None, **changes):
    at = at or NOON - timedelta(minutes=number)
    row = {
        "title": f"<b>현대차</b> 소식 {number}", "originallink": f"https://press.test/{number}",
        "link": f"https://n.news.naver.com/mnews/article/001/{number:010d}", "description": f"본문 {number}",
        "pubDate": format_datetime(at),
    }  # fmt: skip
    return {**row, **changes}


class Naver:
    def __init__(self):
        self.items = []
        self.faults = []

    def answer(self, request):
        if self.faults:
            return self.faults.pop(0)
        assert request.path == "/v1/search/news.json"
        assert request.query["sort"] == "date"
        if (request.headers["x-naver-client-id"], request.headers["x-naver-client-secret"]) != (ID, SECRET):
            message = f"NID AUTH Result Invalid (1000) : Authentication failed. {request.headers['x-naver-client-id']}"
            return Reply({"errorMessage": message, "errorCode": "024"}, 401)
        start, display = int(request.query["start"]), int(request.query["display"])
        if not 1 <= start <= 1000:
            return Reply({"errorMessage": "Invalid start value", "errorCode": "SE03"}, 400)
        if not 1 <= display <= 100:
            return Reply({"errorMessage": "Invalid display value", "errorCode": "SE02"}, 400)
        rows = self.items[start - 1 : start - 1 + display]
        return Reply({
            "lastBuildDate": format_datetime(NOON), "total": len(self.items), "start": start, "display": len(rows),
            "items": rows,
        })  # fmt: skip


@pytest.fixture
def naver():
    return Naver()


@pytest.fixture
def server(naver, serve):
    return serve(naver.answer)


@pytest.fixture
def make(server, channel, clock):
    clients = []

    def build(client_id=ID):
        clients.append(
            NaverSearchClient(
                server.url,
                client_id=client_id,
                client_secret=SECRET,
                channel=channel,
                per_second=1000,
                now=lambda: NOON,
                sleep=clock.sleep,
            )
        )
        return clients[-1]

    yield build
    for client in clients:
        client.close()


LONG_AGO = NOON - timedelta(days=365)


def test_an_article_is_read_as_it_was_written_and_text_strips_its_markup(naver, make, server):
    naver.items = [
        item(
            1, title="<b>현대차</b>, &quot;R&amp;D 확대&quot; &lt;특징주&gt;", description="첫 <b>문장</b> A&amp;B  ..."
        )
    ]
    (article,) = make().search("현대차", LONG_AGO).records
    assert article.title == "<b>현대차</b>, &quot;R&amp;D 확대&quot; &lt;특징주&gt;"
    assert plain_text(article.title) == '현대차, "R&D 확대" <특징주>'
    assert plain_text(article.excerpt) == "첫 문장 A&B ..."
    assert article.url == "https://press.test/1"
    assert article.press is None
    assert (article.published_at, article.is_date_only) == (NOON - timedelta(minutes=1), False)
    assert server.requests[0].query == {"query": "현대차", "display": "100", "start": "1", "sort": "date"}


@pytest.mark.parametrize(
    "title",
    [
        "<U-20 월드컵> 결승", "<P-CBO> 발행", "<A/S 논란> 확산", "‹B·B 케어> 출시", "<B·B 케어> 출시",
        "<A 등급> 회사채", "<특징주> 강세", "<S&P 500> 하락", "3<5>2", "<a, b> 순서", "<I'm> 화제",
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_escaped", [True, False])
def test_a_headlines_own_brackets_stay_and_tags_go(naver, make, title, is_escaped):
    written = html.escape(title) if is_escaped else title.replace("&", "&amp;")
    marked = f"<b>현대차</b> {written}<br/> <a href='https://x.test/?a=1' class=\"link\">더보기</a><img src=x.png >"
    naver.items = [item(1, title=marked)]
    assert plain_text(make().search("현대차", LONG_AGO).records[0].title) == f"현대차 {title} 더보기"


@pytest.mark.parametrize(
    ("originallink", "link", "url"),
    [
        ("", "https://n.news.naver.com/mnews/article/001/0000000001", "https://n.news.naver.com/mnews/article/001/0000000001"),
        ("", "", None),
        ("https://press.test/", "https://n.news.naver.com/mnews/article/001/0000000001", "https://n.news.naver.com/mnews/article/001/0000000001"),
        ("http://press.test", "", "http://press.test"),
        ("https://press.test/?no=7", "https://n.news.naver.com/mnews/article/001/0000000001", "https://press.test/?no=7"),
    ],
)  # fmt: skip
def test_an_article_without_its_publishers_address(naver, make, originallink, link, url):
    naver.items = [item(1, originallink=originallink, link=link)]
    assert make().search("현대차", LONG_AGO).records[0].url == url


def test_equal_headlines_without_an_address_on_two_days_are_two_articles(naver, make):
    nowhere = {"title": "장 마감 시황", "originallink": "", "link": ""}
    naver.items = [item(1, **nowhere), item(1, **nowhere), item(1, at=NOON - timedelta(days=1), **nowhere)]
    assert len(make().search("시황", LONG_AGO).records) == 2


def test_the_last_second_of_a_korean_day_means_no_time_of_day(naver, make):
    end = datetime(2026, 11, 2, 23, 59, 59, tzinfo=KST)
    naver.items = [item(1, at=end), item(2, at=end - timedelta(seconds=1))]
    first, second = make().search("현대차", LONG_AGO).records
    assert (first.is_date_only, second.is_date_only) == (True, False)


def test_paging_stops_at_since(naver, make):
    naver.items = [item(n) for n in range(600)]
    since = NOON - timedelta(minutes=150)
    batch = make().search("현대차", since)
    assert batch.requests == 2
    assert len(batch.records) == 151
    assert min(article.published_at for article in batch.records) == since
    published = [article.published_at for article in batch.records]
    assert published == sorted(published, reverse=True)


def test_until_is_exclusive(naver, make):
    naver.items = [item(n) for n in range(50)]
    batch = make().search("현대차", NOON - timedelta(minutes=20), NOON - timedelta(minutes=10))
    assert [article.published_at for article in batch.records] == [NOON - timedelta(minutes=n) for n in range(11, 21)]


@pytest.mark.parametrize(("count", "requests"), [(0, 1), (99, 1), (100, 1), (101, 2), (250, 3)])
def test_paging_stops_at_the_end_of_the_results(naver, make, count, requests):
    naver.items = [item(n) for n in range(count)]
    batch = make().search("현대차", LONG_AGO)
    assert (len(batch.records), batch.requests, batch.rejects) == (count, requests, [])


def test_what_cannot_be_reached_is_said(naver, make, server):
    naver.items = [item(n) for n in range(2000)]
    batch = make().search("현대차", LONG_AGO)
    assert len(batch.records) == 1099
    assert [int(r.query["start"]) for r in server.requests] == [*range(1, 1000, 100), 1000]
    (reject,) = batch.rejects
    assert (reject.record, reject.field) == ("현대차", "start")
    assert str(NOON - timedelta(minutes=1098)) in reject.reason


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"title": " "}, "title"),
        ({"title": None}, "title"),
        ({"pubDate": "어제"}, "pubDate"),
        ({"pubDate": ""}, "pubDate"),
        ({"pubDate": "Mon, 26 Sep 2016 07:50:00"}, "pubDate"),
        ({"pubDate": "Thu, 01 Jan 1970 09:00:00 +0900"}, "pubDate"),
        ({"pubDate": "Wed, 04 Nov 2026 12:00:01 +0900"}, "pubDate"),
        ({"description": 5}, "description"),
    ],
)
def test_a_malformed_item_is_refused_and_the_others_land(naver, make, changes, field):
    naver.items = [item(1), item(2, **changes), item(3)]
    batch = make().search("현대차", LONG_AGO)
    assert len(batch.records) == 2
    assert [r.field for r in batch.rejects] == [field]


def test_wrong_keys_stop_without_showing_them(make, server):
    with pytest.raises(Unauthorized, match=r"024.*NAVER_CLIENT_ID") as caught:
        make("invalid-id-that-is-echoed").search("현대차", LONG_AGO)
    assert caught.value.action == "stop"
    assert "invalid-id-that-is-echoed" not in str(caught.value)
    assert len(server.requests) == 1


def test_a_used_up_quota_stops(naver, make, server):
    naver.faults = [Reply({"errorMessage": "Query limit exceeded", "errorCode": "010"}, 429)]
    with pytest.raises(RateLimited, match="25,000") as caught:
        make().search("현대차", LONG_AGO)
    assert caught.value.action == "stop"
    assert len(server.requests) == 1


def test_too_many_calls_a_second_are_waited_out(naver, make, clock):
    naver.items = [item(1)]
    naver.faults = [Reply({"errorMessage": "Rate limit exceeded", "errorCode": "012"}, 429)]
    assert len(make().search("현대차", LONG_AGO).records) == 1
    assert clock.slept[0] >= 1


@pytest.mark.parametrize(
    ("reply", "failure", "message"),
    [
        (Reply({"errorMessage": "Incorrect query request", "errorCode": "SE01"}, 400), ContractChanged, "SE01"),
        (Reply({"errorMessage": "Invalid search api", "errorCode": "SE05"}, 404), ContractChanged, "SE05"),
        (Reply({"errorMessage": "no permission", "errorCode": "024"}, 403), Unauthorized, "may use the search API"),
        (Reply({"total": 1}), ContractChanged, "no items"),
        (Reply({"items": [], "total": "많음"}), ContractChanged, "no total"),
        (Reply(b"<!doctype html><title>Naver</title>"), ContractChanged, "a page came instead of JSON"),
    ],
)
def test_errors_that_repeating_cannot_heal(naver, make, server, reply, failure, message):
    naver.faults = [reply]
    with pytest.raises(failure, match=message):
        make().search("현대차", LONG_AGO)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [Reply({"errorMessage": "System error", "errorCode": "SE99"}, 500), Reply(b""), Reply(b'{"items": [{"ti')],
)
def test_accidents_are_tried_again(naver, make, reply):
    naver.items = [item(1)]
    naver.faults = [reply]
    assert len(make().search("현대차", LONG_AGO).records) == 1
    naver.faults = [reply] * 10
    with pytest.raises(Unavailable):
        make().search("현대차", LONG_AGO)


def test_naive_instants_are_refused(make):
    with pytest.raises(ValueError, match="time zone"):
        make().search("현대차", NOON.replace(tzinfo=None))


@pytest.mark.parametrize("title", ["실적 절반의 전망", "예산 삭감", "전자 절"])
def test_a_title_that_was_decoded_wrongly_keeps_every_byte_for_its_repair(naver, make, title):
    """Half of a character read as Latin-1 may be a no-break space, or a line break of another world."""
    naver.items = [item(1, title=f" <b>{title.encode().decode('latin-1')}</b>\n")]
    assert plain_text(make().search("현대차", LONG_AGO).records[0].title) == title
