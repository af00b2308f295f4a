"""Article pages: robots.txt decides, one page a second, and a publisher that refuses is left alone for the day."""

from datetime import datetime, timedelta

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_servers import KST, EvenLimiter, MemoryHosts, Reply, channel_of

from azak_assets.ports import ATTEMPTS
from azak_assets.sandbox import SeededWorld, create_app, start_in_thread
from azak_assets.sources.failures import Blocked, ContractChanged, RateLimited, Unavailable
from azak_assets.sources.pages import PUBLISHERS, PageReader, _text
from azak_assets.sources.rss import RssClient

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=KST)
HOST = "www.hankyung.com"
URL = f"https://{HOST}/article/2026112000123"
PAGE = """<html><head><title>t</title><script>no()</script></head><body><h1 class="headline">제목</h1>
<div class="article-body" id="articletxt"><figure><figcaption>사진 설명</figcaption></figure>
 첫  문장이다.<br><br>둘째 &amp; <b>셋째</b> 문장.<script>ad()</script><p></p></div><div>바닥글</div></body></html>"""


class Site:
    def __init__(self):
        self.robots = Reply(b"User-agent: *\nDisallow: /print/\n")
        self.page = Reply(PAGE.encode())

    def answer(self, request):
        return self.robots if request.path == "/robots.txt" else self.page


class Rates(EvenLimiter):
    """Starts calls at once, and writes down the pace it was asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def acquire(self, name, per_second):
        self.asked.append((name, per_second))


@pytest.fixture
def site():
    return Site()


@pytest.fixture
def server(site, serve):
    return serve(site.answer)


@pytest.fixture
def hosts():
    return MemoryHosts()


@pytest.fixture
def make(server, hosts, clock):
    readers = []

    def start(now=NOW, **changes):
        given = {"channel": channel_of(Rates()), "hosts": hosts, "now": lambda: now, "sleep": clock.sleep, **changes}
        readers.append(PageReader({HOST: server.url + "/"}, **given))
        return readers[-1]

    yield start
    for reader in readers:
        reader.close()


def asked(server):
    return [request.path for request in server.requests]


def test_a_page_is_its_text_a_line_a_paragraph(make, server):
    page = make().read(URL)
    assert page.status == "read"
    assert page.text == "첫 문장이다.\n둘째 & 셋째 문장."
    assert page.notes == {}
    assert asked(server) == ["/robots.txt", "/article/2026112000123"]
    assert all(request.headers["user-agent"].startswith("Azak/") for request in server.requests)


def test_cp949_is_read_and_counted(make, site):
    site.page = Reply(PAGE.encode("cp949"), headers={"content-type": "text/html; charset=utf-8"})
    page = make().read(URL)
    assert page.text.startswith("첫 문장이다.")
    assert page.notes == {"answers in CP949": 1}


def test_only_publishers_that_are_known_are_read(make):
    reader = make()
    assert reader.reads(URL)
    for url in ("https://n.news.naver.com/mnews/article/015/1", "https://www.mk.co.kr/news/stock/1", "nonsense"):
        assert not reader.reads(url), "naver forbids it, and mk has no base address here"


@pytest.mark.parametrize(
    "robots",
    [
        "User-agent: *\nDisallow: /article/",
        "User-agent: Azak\nDisallow: /",
        "User-agent: *\nDisallow: /*2026",
        "user-agent: other\nuser-agent: azak\ndisallow: /article",
    ],
)
def test_what_robots_txt_disallows_is_not_asked_for(make, site, server, robots):
    site.robots = Reply(robots.encode())
    assert make().read(URL).status == "disallowed"
    assert asked(server) == ["/robots.txt"]


@pytest.mark.parametrize(
    "robots", [b"", b"User-agent: GPTBot\nDisallow: /\n", b"User-agent: *\nAllow: /article/\nDisallow: /"]
)
def test_what_it_does_not_disallow_is_read(make, site, robots):
    site.robots = Reply(robots)
    assert make().read(URL).status == "read"


@pytest.mark.parametrize("status", [404, 410, 400])
def test_a_host_without_robots_txt_allows_everything(make, site, status):
    site.robots = Reply(b"<html>not here</html>", status)
    assert make().read(URL).status == "read"


def test_a_host_whose_robots_txt_is_down_allows_nothing_for_now(make, site, server, hosts):
    site.robots = Reply(b"", 503)
    with pytest.raises(Unavailable):
        make().read(URL)
    assert asked(server) == ["/robots.txt"] * ATTEMPTS
    assert hosts.kept == {}
    site.robots = Reply(b"")
    assert make().read(URL).status == "read"


def test_a_page_in_place_of_robots_txt_is_no_permission(make, site, server):
    site.robots = Reply(b"<html>welcome</html>")
    with pytest.raises(ContractChanged, match="a page came for a robots"):
        make().read(URL)
    assert asked(server) == ["/robots.txt"]


@pytest.mark.parametrize("robots", [b"", b"User-agent: *\nCrawl-delay: 0.1", b"User-agent: *\nCrawl-delay: 5"])
def test_pages_come_one_a_second_or_as_slowly_as_the_host_wants(make, site, robots):
    site.robots = Reply(robots)
    limiter = Rates()
    make(channel=channel_of(limiter)).read(URL)
    assert limiter.asked == [(HOST, 1.0), (HOST, pytest.approx(0.2 if b"5" in robots else 1.0))]


def test_a_host_that_wants_hours_between_two_pages_wants_none_read(make, site, server):
    site.robots = Reply(b"User-agent: *\nCrawl-delay: 3600")
    with pytest.raises(Blocked, match="3600 s between two pages"):
        make().read(URL)
    assert asked(server) == ["/robots.txt"]


def test_robots_txt_is_read_once_a_day_and_host_whichever_process_asks(make, server):
    reader = make()
    for _ in range(2):
        reader.read(URL)
    make(now=NOW + timedelta(hours=14)).read(URL)
    assert asked(server).count("/robots.txt") == 1
    make(now=NOW + timedelta(hours=16)).read(URL)
    assert asked(server).count("/robots.txt") == 2, "midnight in Korea has passed"


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("where", ["page", "robots"])
def test_a_host_that_refuses_is_left_alone_for_the_day(make, site, server, status, where):
    setattr(site, where, Reply(b"Forbidden", status))
    reader = make()
    with pytest.raises(Blocked, match=f"HTTP {status}: Forbidden"):
        reader.read(URL)
    before = len(server.requests)
    for again in (reader, make(now=NOW + timedelta(hours=10))):
        with pytest.raises(Blocked, match="refused us today and is left alone"):
            again.read(URL)
    assert len(server.requests) == before
    setattr(site, where, Reply(PAGE.encode() if where == "page" else b""))
    assert make(now=NOW + timedelta(days=1)).read(URL).status == "read"


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (Reply(b"", 404), "gone"),
        (Reply(b"", 410), "gone"),
        (Reply(b"", 302, {"location": "https://elsewhere.test/"}), "moved"),
        (Reply("<html><body><div class='paywall'>로그인</div></body></html>".encode()), "no_text"),
        (Reply(b"<div id='articletxt'> </div>"), "no_text"),
        (Reply(b"\x00\xff\xfe"), "no_text"),
    ],
)
def test_a_page_without_a_text_says_what_it_is(make, site, server, reply, status):
    site.page = reply
    page = make().read(URL)
    assert (page.status, page.text) == (status, None)
    assert len(server.requests) == 2, "nothing is followed or tried again"


@pytest.mark.parametrize(
    ("reply", "failure"),
    [(Reply(b"", 429), RateLimited), (Reply(b"", 500), Unavailable), (Reply(b"", 200), Unavailable)],
)
def test_a_page_that_fails_is_named(make, site, reply, failure):
    site.page = reply
    with pytest.raises(failure):
        make().read(URL)


@settings(max_examples=200, deadline=None)
@given(
    html=st.text()
    | st.lists(st.sampled_from(["<div id='articletxt'>", "</div>", "<p>", "<script>", "가", "&#0;", "<", "</"])).map(
        "".join
    )
)
def test_no_page_whatever_it_holds_breaks_the_reader(html):
    for publisher in PUBLISHERS.values():
        assert isinstance(_text(html, publisher), str)


def test_the_sandboxs_own_articles_are_read_over_its_addresses():
    """A publisher's base address covers its article pages, so that the links of its feed lead to the stand-in."""
    now = datetime(2026, 11, 20, 18, 0, tzinfo=KST)
    with start_in_thread(create_app(SeededWorld(1), clock=lambda: now)) as url:
        bases = {"www.hankyung.com": f"{url}/hankyung", "www.mk.co.kr": f"{url}/mk"}
        reader = PageReader(bases, channel=channel_of(Rates()), hosts=MemoryHosts(), now=lambda: now)
        pages = {}
        for source in ("hankyung", "mk"):
            feed = RssClient(
                source, f"{url}/{source}", channel=channel_of(Rates()), validators=_Nothing(), now=lambda: now
            )
            links = [article.url for article in feed.articles().records]
            assert all(reader.reads(link) for link in links)
            pages[source] = [reader.read(link) for link in links]
            feed.close()
        reader.close()
        assert httpx.get(f"{url}/mk/news/stock/120261120999999").status_code == 404
    for of_one in pages.values():
        assert len(of_one) == 50
        assert {page.status for page in of_one} == {"read", "no_text"}
        assert any(page.notes for page in of_one), "some come in CP949"
        read = [page for page in of_one if page.status == "read"]
        assert all(len(page.text.splitlines()) >= 4 and "사진" not in page.text for page in read)
        assert all("거래대금은 평소와 비슷한 수준이었다." in page.text for page in read)


class _Nothing:
    def read(self, feed):
        return {}

    def keep(self, feed, headers):
        pass
