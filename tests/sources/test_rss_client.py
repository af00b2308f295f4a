"""RSS: encodings as Korean servers send them, conditional reading, a publisher that refuses, unusable items."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from local_servers import MemoryValidators, Reply

from azak_assets.ports import ATTEMPTS
from azak_assets.sources.failures import Blocked, ContractChanged, Empty, Unavailable
from azak_assets.sources.rss import RssClient
from azak_assets.text.clean import plain_text

KST = ZoneInfo("Asia/Seoul")
NOW = datetime(2026, 11, 3, 16, 0, tzinfo=KST)

ITEM = """<item><title><![CDATA[{title}]]></title><link>https://press.test/{number}</link>
<description>{description}</description><pubDate>{published}</pubDate></item>"""
FEED = """<?xml version="1.0" encoding="{encoding}"?>
<rss version="2.0"><channel><title>증권</title>{items}</channel></rss>"""


def feed(*items, encoding="UTF-8"):
    return FEED.format(encoding=encoding, items="".join(items))


def item(number=1, title="코스피 상승 마감", description="", published="Tue, 03 Nov 2026 15:45:00 +0900"):
    return ITEM.format(number=number, title=title, description=description, published=published)


class Publisher:
    def __init__(self):
        self.body = feed(item()).encode()
        self.status = 200
        self.headers = {}
        self.etag = None
        self.faults = []

    def answer(self, request):
        if self.faults:
            return self.faults.pop(0)
        if self.etag and request.headers.get("if-none-match") == self.etag:
            return Reply(b"", 304)
        return Reply(self.body, self.status, {**({"etag": self.etag} if self.etag else {}), **self.headers})


@pytest.fixture
def publisher():
    return Publisher()


@pytest.fixture
def server(publisher, serve):
    return serve(publisher.answer)


@pytest.fixture
def validators():
    return MemoryValidators()


@pytest.fixture
def client(server, channel, clock, validators):
    client = RssClient(
        "hankyung", server.url, channel=channel, validators=validators, per_second=1000, now=lambda: NOW,
        sleep=clock.sleep,
    )  # fmt: skip
    yield client
    client.close()


def test_an_item_is_read_as_it_is_offered(publisher, client, server):
    publisher.body = feed(
        item(
            7,
            title="<CES 2026> R&D ↑ &quot;최대&quot;",
            description="&lt;p&gt;첫 &lt;b&gt;문장&lt;/b&gt; A&amp;amp;B&lt;/p&gt;",
        )
    ).encode()
    batch = client.articles()
    (article,) = batch.records
    assert plain_text(article.title) == '<CES 2026> R&D ↑ "최대"'
    assert article.excerpt == "<p>첫 <b>문장</b> A&amp;B</p>"
    assert plain_text(article.excerpt) == "첫 문장 A&B"
    assert article.url == "https://press.test/7"
    assert article.published_at == datetime(2026, 11, 3, 15, 45, tzinfo=KST)
    assert (article.press, article.is_date_only) == (None, False)
    assert server.requests[0].path == "/feed/finance"
    assert server.requests[0].headers["user-agent"].startswith("Azak/")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("KT&G, 3분기 매출", "KT&G, 3분기 매출"),
        ("KT&amp;G, 3분기 매출", "KT&G, 3분기 매출"),
        ("M&A·R&D·F&F, Q&A; 정리", "M&A·R&D·F&F, Q&A; 정리"),
        ("BTC&amp;ETH", "BTC&ETH"),
        ("신용등급 &lt;A&gt; 유지", "신용등급 <A> 유지"),
        ("가나&nbsp;전자 &#xAC00;", "가나 전자 가"),
        ("<![CDATA[KT&G &lt;특징주&gt; R&D]]>", "KT&G <특징주> R&D"),
        ("<![CDATA[A&amp;B]]> M&A", "A&B M&A"),
    ],
)
def test_each_layer_of_a_title_is_decoded_once(publisher, client, written, read):
    publisher.body = (
        feed(item(title="코스피"), item(2, title="TITLE")).encode().replace(b"<![CDATA[TITLE]]>", written.encode())
    )
    assert [plain_text(one.title) for one in client.articles().records] == ["코스피", read]


def test_an_address_keeps_its_parameters(publisher, client):
    publisher.body = feed(item()).replace("press.test/1", "press.test/?id=1&copy=2&amp;lang=ko").encode()
    assert client.articles().records[0].url == "https://press.test/?id=1&copy=2&lang=ko"


def test_the_securities_feed_of_maeil(server, channel, validators):
    client = RssClient("mk", server.url, channel=channel, validators=validators, now=lambda: NOW)
    assert len(client.articles().records) == 1
    assert server.requests[0].path == "/rss/50200011/"
    client.close()


def test_several_feeds_give_each_item_once(server, channel, validators):
    feeds = ("/feed/finance", "/feed/economy")
    client = RssClient(
        "hankyung", server.url, feeds, channel=channel, validators=validators, per_second=1000, now=lambda: NOW
    )
    batch = client.articles()
    assert (len(batch.records), batch.requests) == (1, 2)
    client.close()


@pytest.mark.parametrize("declared", ["euc-kr", "CP949", "ks_c_5601-1987", "UTF-8"])
@pytest.mark.parametrize("content_type", ["text/xml", "text/xml; charset=euc-kr", "application/rss+xml; charset=utf-8"])
def test_cp949_is_read_whatever_it_calls_itself(publisher, client, declared, content_type):
    # 뷁 and 믜 are in CP949 and not in EUC-KR.
    publisher.body = feed(item(title="뷁 믜 증시 반등"), encoding=declared).encode("cp949")
    publisher.headers = {"content-type": content_type}
    batch = client.articles()
    assert batch.records[0].title == "뷁 믜 증시 반등"
    assert batch.notes == {"answers in CP949": 1}


def test_cp949_without_any_declaration(publisher, client):
    publisher.body = feed(item(title="증시 반등")).partition("\n")[2].encode("cp949")
    assert client.articles().records[0].title == "증시 반등"


def test_utf8_with_a_byte_order_mark_or_declared_as_something_else(publisher, client):
    publisher.body = b"\xef\xbb\xbf" + feed(item(title="증시 반등"), encoding="euc-kr").encode()
    assert client.articles().records[0].title == "증시 반등"


def test_an_excerpt_cut_inside_a_character_costs_that_character_only(publisher, client):
    whole = feed(item(title="코스피", description="끝이 잘린 문장X")).encode()
    publisher.body = whole.replace("장X".encode(), "장".encode()[:2])
    (article,) = client.articles().records
    assert article.title == "코스피"
    assert article.excerpt.startswith("끝이 잘린 문")


def test_plain_utf8_leaves_no_note_and_broken_characters_do(publisher, client):
    assert client.articles().notes == {}
    publisher.body = feed(item(title="증시 반등")).encode().replace("등".encode(), b"\xff\xff\xff")
    assert client.articles().notes == {"answers with broken characters": 1}


def test_an_unchanged_feed_is_not_sent_again(publisher, client, server):
    publisher.etag = '"v1"'
    publisher.headers = {"last-modified": "Tue, 03 Nov 2026 06:45:00 GMT"}
    assert len(client.articles().records) == 1
    client.confirm()
    again = client.articles()
    assert (again.records, again.requests, again.notes) == ([], 1, {"unchanged feeds": 1})
    assert server.requests[1].headers["if-none-match"] == '"v1"'
    assert server.requests[1].headers["if-modified-since"] == "Tue, 03 Nov 2026 06:45:00 GMT"
    publisher.etag = '"v2"'
    assert len(client.articles().records) == 1


def test_items_that_nobody_stored_are_sent_again(publisher, client, server):
    publisher.etag = '"v1"'
    assert len(client.articles().records) == 1
    assert len(client.articles().records) == 1
    assert "if-none-match" not in server.requests[1].headers


def test_another_process_asks_what_changed_since_too(publisher, client, server, channel, validators):
    publisher.etag = '"v1"'
    client.articles()
    client.confirm()
    other = RssClient("hankyung", server.url, channel=channel, validators=validators, per_second=1000, now=lambda: NOW)
    assert other.articles().records == []
    other.confirm()
    assert other.articles().records == [], "an unchanged feed is confirmed as it was"
    other.close()
    assert [request.headers.get("if-none-match") for request in server.requests] == [None, '"v1"', '"v1"']


def test_a_feed_that_failed_is_asked_for_in_full(publisher, client, server):
    publisher.etag = '"v1"'
    publisher.body = b"<html>no feed</html>"
    with pytest.raises(ContractChanged):
        client.articles()
    publisher.body = feed(item()).encode()
    assert len(client.articles().records) == 1
    assert "if-none-match" not in server.requests[1].headers


def test_a_publisher_that_refuses_is_asked_once(publisher, client, server):
    publisher.status, publisher.body = 403, b"Forbidden"
    with pytest.raises(Blocked, match="HTTP 403: Forbidden") as caught:
        client.articles()
    assert caught.value.action == "alert"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "failure", "message"),
    [
        (200, b"<!doctype html><html><body>hello</body></html>", ContractChanged, "no feed came"),
        (200, b"{}", ContractChanged, "no feed came"),
        (200, b"", Unavailable, "empty body"),
        (200, feed().encode(), Empty, "the feed has no items"),
        (404, b"gone", ContractChanged, "HTTP 404"),
        (503, b"later", Unavailable, "HTTP 503"),
    ],
)
def test_what_is_no_feed_is_said_so(publisher, client, status, body, failure, message):
    publisher.status, publisher.body = status, body
    with pytest.raises(failure, match=message):
        client.articles()


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"published": "방금"}, "published"),
        ({"published": ""}, "published"),
        ({"published": "Tue, 03 Nov 2026 15:45:00"}, "published"),
        ({"title": " "}, "title"),
        *(
            ({"published": absurd}, "published")
            for absurd in (
                "Thu, 01 Jan 1970 00:00:00 +0000",
                "Thu, 01 Jan 2099 00:00:00 +0900",
                "Sun, 03 Jan 2027 15:45:00 +0900",
                "Tue, 03 Nov 2026 15:45:00 +99999999999999",
                "0001-01-01T00:00:00+09:00",
                "9999-12-31T23:59:59-12:00",
                "Tue, 03 Nov 2026 15:45:00 +2500",
                "2026-11-03T15:45:00+99:99",
            )
        ),
    ],
)
def test_a_bad_item_is_refused_and_the_others_land(publisher, client, bad, field):
    publisher.body = feed(item(1), item(2, **bad), item(3)).encode()
    batch = client.articles()
    assert [article.url for article in batch.records] == ["https://press.test/1", "https://press.test/3"]
    assert [r.field for r in batch.rejects] == [field]


WHOLE = feed(item(1), item(2, title="영업이익 3조원 전망"), item(3)).encode()


@pytest.mark.parametrize(
    "end",
    [WHOLE.index("조원".encode()) + 1, WHOLE.index(b"press.test/2") + 4, WHOLE.rindex(b"</pubDate>"), len(WHOLE) - 8],
    ids=["inside a headline", "inside an address", "behind a date", "before the last tag"],
)
def test_a_feed_cut_short_is_read_again_and_never_lands(publisher, client, server, end):
    publisher.faults = [Reply(WHOLE[:end], headers={"etag": '"cut"'})] * ATTEMPTS
    publisher.body = WHOLE
    with pytest.raises(Unavailable, match=r"a feed of \d+ bytes that breaks off") as caught:
        client.articles()
    assert caught.value.action == "retry"
    batch = client.articles()
    assert [article.url for article in batch.records] == [f"https://press.test/{n}" for n in (1, 2, 3)]
    assert "if-none-match" not in server.requests[-1].headers


def test_a_whole_feed_with_a_mistake_in_it_is_read_as_far_as_it_can_be(publisher, client):
    publisher.body = feed(item(1, description="A&nbsp;B"), item(2)).encode() + b"<!-- made in 3 ms -->"
    assert [article.url for article in client.articles().records] == ["https://press.test/1", "https://press.test/2"]


def test_what_a_feed_said_counts_only_when_every_feed_of_the_call_answered(
    publisher, server, channel, clock, validators
):
    feeds = ("/feed/finance", "/feed/economy")
    client = RssClient(
        "hankyung", server.url, feeds, channel=channel, validators=validators, per_second=1000, now=lambda: NOW,
        sleep=clock.sleep,
    )  # fmt: skip
    publisher.etag = '"v1"'
    publisher.faults = [Reply(publisher.body, headers={"etag": '"v1"'}), Reply(b"gone", 404)]
    with pytest.raises(ContractChanged, match="HTTP 404"):
        client.articles()
    client.confirm()
    assert len(client.articles().records) == 1, "the items of the first feed were lost with the call"
    client.confirm()
    assert [request.headers.get("if-none-match") for request in server.requests] == [None] * 4
    assert client.articles().records == []
    client.close()
