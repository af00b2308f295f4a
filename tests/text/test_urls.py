"""One address per article, and never one address for two."""

import pytest

from azak_assets.text.urls import canonical_url, press_of

NAVER = "https://n.news.naver.com/mnews/article/015/0004658451"


@pytest.mark.parametrize(
    "url",
    [
        "https://finance.naver.com/item/news_read.naver?article_id=0004658451&office_id=015&code=005380&page=216&sm=title_entity_id.basic",
        "http://finance.naver.com/news/news_read.nhn?article_id=4658451&office_id=15",
        "https://n.news.naver.com/mnews/article/015/0004658451?sid=101",
        "https://n.news.naver.com/article/015/0004658451",
        "https://n.news.naver.com/article/comment/015/0004658451",
        "https://news.naver.com/main/read.naver?mode=LSD&mid=sec&sid1=101&oid=015&aid=0004658451",
        "https://m.news.naver.com/read.nhn?oid=015&aid=0004658451",
        "https://m.stock.naver.com/domestic/stock/005380/news/view/015/0004658451",
        NAVER,
    ],
)
def test_every_naver_road_leads_to_one_address(url: str) -> None:
    assert canonical_url(url) == NAVER
    assert press_of(NAVER) == "한국경제"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://www.example.co.kr:80/view?id=7&utm_source=x&fbclid=y#top", "https://www.example.co.kr/view?id=7"),
        ("https://M.Example.co.kr/view?b=2&a=1", "https://www.example.co.kr/view?a=1&b=2"),
        ("https://m.biz.example.com/9", "https://biz.example.com/9"),
        ("https://example.com:8443/a b", "https://example.com:8443/a%20b"),
        ("https://example.com/?no=3", "https://example.com/?no=3"),
        ("https://example.com/v?id=2&id=1&id=1", "https://example.com/v?id=1&id=1&id=2"),
        ("https://example.com/v?from=a&id=1&id=2&from=b", "https://example.com/v?id=1&id=2"),
        ("https://example.com/9#comments", "https://example.com/9"),
        ("https://example.com/뉴스?q=가", "https://example.com/%EB%89%B4%EC%8A%A4?q=%EA%B0%80"),
        ("https://m.naver.com/about", "https://www.naver.com/about"),
    ],
)
def test_canonical_form_and_that_it_is_final(url: str, expected: str) -> None:
    assert canonical_url(url) == expected
    assert canonical_url(expected) == expected


def test_parameters_that_identify_an_article_stay() -> None:
    ids = {
        canonical_url(f"https://press.example.com/v?{query}")
        for query in ("code=1", "code=2", "page=2", "cid=1", "sid=9", "no=3")
    }
    assert len(ids) == 6


@pytest.mark.parametrize(
    "url",
    [
        "https://press.example.com", "https://press.example.com/", "http://m.press.co.kr//", "https://press.example.com/?",
        "https://press.example.com/?utm_source=rss&from=main", "https://press.example.com/#top",
        "https://press.example.com/#/article/5", "https://press.example.com/app#/article/5",
        "https://press.example.com/view?lang=ko#!/article/5", "https://n.news.naver.com/",
    ],
)  # fmt: skip
def test_an_address_that_many_articles_share_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="identify the article by its title"):
        canonical_url(url)


@pytest.mark.parametrize(
    "url", ["", "javascript:void(0)", "/relative", "ftp://example.com/a", "https://", "https://host/", "http://[::1"]
)
def test_what_is_no_web_address_is_refused_by_name(url: str) -> None:
    with pytest.raises(ValueError, match="title"):
        canonical_url(url)


def test_press_by_host_and_unknown_press() -> None:
    assert press_of("https://www.hankyung.com/article/1") == "한국경제"
    assert press_of("https://magazine.hankyung.com/1") == "한경비즈니스"
    assert press_of("https://press.example.com/1") is None
    assert press_of("https://n.news.naver.com/mnews/article/999/0000000001") is None
