"""Articles: identities that repeat, one row an article, and exact duplicates folded without losing a member."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from azak_assets.krx import KST
from azak_assets.text.articles import (
    ARTICLE_COLUMNS,
    articles_frame,
    newest_versions,
    posts_frame,
    with_first_snippets,
)
from azak_assets.text.duplicates import fold
from azak_assets.text.identity import article_id, vector_id


@dataclass(frozen=True)
class Record:
    title: str
    url: str | None = None
    excerpt: str | None = None
    press: str | None = None
    published_at: datetime = datetime(2026, 3, 4, 9, 30, tzinfo=KST)
    is_date_only: bool = False


def test_ids_are_fixed_forever() -> None:
    assert (
        article_id("http://press.example.com/1?utm_source=x", "가", None, date(2026, 1, 2))
        == "caf76239d24c66c6135e6e9ea73da2c1"
    )
    assert (
        article_id(None, "[단독] 가나전자 신제품 공개", "가나일보", date(2026, 1, 2))
        == "e0d4c7d458962dd6b565b2272448549f"
    )
    assert vector_id("caf76239d24c66c6135e6e9ea73da2c1") == 6190105215731174499


def test_id_without_url_distinguishes_press_and_day_but_not_tags() -> None:
    day = date(2026, 1, 2)
    one = article_id(None, "가나전자 신제품 공개", "가나일보", day)
    assert one == article_id(None, "[단독]가나전자, 신제품 공개", "가나일보", day)
    assert (
        len(
            {
                one,
                article_id(None, "가나전자 신제품 공개", "다라일보", day),
                article_id(None, "가나전자 신제품 공개", "가나일보", date(2026, 1, 3)),
            }
        )
        == 3
    )


def test_vector_ids_fit_63_bits() -> None:
    ids = [vector_id(f"{n:032x}") for n in range(2000)]
    assert len(set(ids)) == 2000
    assert all(0 <= v < 2**63 for v in ids)


def test_another_cut_of_the_excerpt_is_no_edit_and_another_headline_is_one() -> None:
    """A search cuts its excerpt around the words that were asked for."""

    def seen(title: str, excerpt: str | None) -> pd.DataFrame:
        return articles_frame([Record(title, "https://press.example.com/1", excerpt)], "naver", "q").articles

    stored = seen("가나전자 공개", "…신제품을 공개했다…")[["article_id", "title", "excerpt", "content_hash"]]
    for excerpt in ("…공개했다. 다라바이오도…", None):
        again = with_first_snippets(seen("가나전자 공개", excerpt), stored)
        assert (
            again[["excerpt", "content_hash"]].to_numpy().tolist()
            == stored[["excerpt", "content_hash"]].to_numpy().tolist()
        )
    edited = seen("가나전자 신제품 공개", "…공개했다. 다라바이오도…")
    pd.testing.assert_frame_equal(with_first_snippets(edited, stored), edited)
    new = articles_frame([Record("가나전자 공개", "https://press.example.com/2", "다른 글")], "naver", "q").articles
    pd.testing.assert_frame_equal(with_first_snippets(new, stored), new)


def test_one_row_an_article_whatever_the_order_of_arrival() -> None:
    old = Record("가나전자 신제품", "http://www.hankyung.com/article/1", "짧다", None)
    new = replace(old, title="가나전자 <b>신제품</b> 공개", published_at=old.published_at + timedelta(minutes=5))
    truncated = replace(new, title="가나전자 신제...")
    records = [old, new, truncated, Record("다른 소식", None, None, "가나일보")]
    frames = articles_frame(records, "naver", "가나전자")
    articles, sightings = frames.articles, frames.sightings
    again = articles_frame(records[::-1], "naver", "가나전자").articles
    pd.testing.assert_frame_equal(articles, again)
    assert tuple(articles.columns) == ARTICLE_COLUMNS
    row = articles.set_index("url").loc["https://www.hankyung.com/article/1"]
    assert row.title == "가나전자 신제품 공개"
    assert row.press == "한국경제"
    assert row.known_at == row.published_at == pd.Timestamp("2026-03-04 00:35", tz=UTC)
    assert sorted(sightings.article_id) == sorted(articles.article_id)
    assert set(sightings["query"]) == {"가나전자"}


def test_answers_merge_to_the_same_version_in_any_order() -> None:
    one = articles_frame([Record("가나전자 신제품", "https://e.example.com/1", "짧은 발췌")], "naver", "가나").articles
    two = articles_frame(
        [Record("가나전자 신제품", "https://e.example.com/1", "조금 더 긴 발췌")], "naver", "나다"
    ).articles
    merged = newest_versions(pd.concat([one, two]))
    pd.testing.assert_frame_equal(merged, newest_versions(pd.concat([two, one])))
    assert merged.excerpt.tolist() == ["조금 더 긴 발췌"]


def test_nothing_in_is_typed_nothing_out() -> None:
    frames = articles_frame([], "mk", "")
    articles, sightings = frames.articles, frames.sightings
    assert articles.empty
    assert str(articles.dtypes["known_at"]) == "datetime64[us, UTC]"
    assert list(sightings.columns) == ["article_id", "query"]
    assert fold(articles).empty


@pytest.mark.parametrize("title", ["<b></b>", "&nbsp;", "\u200b", "\ufeff", "\ud83d"])
def test_a_record_without_a_readable_title_is_handed_back_and_the_others_stay(title: str) -> None:
    frames = articles_frame([Record(title), Record("가나전자 실적", "https://e.example.com/1")], "mk", "")
    assert [one.title for one in frames.untitled] == [title]
    assert frames.articles["title"].tolist() == ["가나전자 실적"]
    assert len(frames.sightings) == 1


def test_text_that_had_been_decoded_wrongly_is_repaired_and_counted() -> None:
    records = [Record("실적 절반의 전망".encode().decode("latin-1")), Record("가나전자")]
    frames = articles_frame(records, "mk", "")
    assert (frames.repaired, sorted(frames.articles["title"])) == (1, ["가나전자", "실적 절반의 전망"])


@dataclass(frozen=True)
class Post:
    title: str
    text: str | None
    post_id: str = "abc"
    subreddit: str = "stocks"
    link_url: str | None = None
    url: str = "https://www.reddit.com/r/stocks/comments/abc/"
    author: str | None = "me"
    score: int = 10
    comments: int = 2
    published_at: datetime = datetime(2026, 3, 4, 9, 30, tzinfo=KST)


def test_a_post_is_text_and_markdown_and_no_html() -> None:
    link = "https://e.example.com/?a=1&sub=2&copy=3"
    frame, repaired = posts_frame([Post("S&P <b> &amp; you", f"{link}\n\n&#x200B;\nQ&amp;A <i>x</i>")])
    assert frame["title"].tolist() == ["S&P <b> &amp; you"]
    assert frame["text"].tolist() == [f"{link}\n\n\nQ&A <i>x</i>"]
    assert repaired == 0


def test_unusable_records_are_named() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        articles_frame([Record("가", published_at=datetime(2026, 1, 1))], "mk", "")  # noqa: DTZ001
    articles = articles_frame([Record("가나", "javascript:void(0)")], "mk", "").articles
    assert articles.url.isna().all()


@pytest.mark.parametrize("url", ["https://press.example.com/", "https://press.example.com/app#/article/%d"])
def test_articles_that_share_a_home_page_are_told_apart_by_title_and_press(url: str) -> None:
    records = [
        Record(f"가나전자 {n}분기 실적 발표", url % n if "%" in url else url, press=press)
        for n in (1, 2)
        for press in ("가나일보", "다라일보")
    ]
    articles = articles_frame([*records, records[0]], "mk", "").articles
    assert len(articles) == 4
    assert articles.url.isna().all()
    assert set(articles.article_id) == {
        article_id(None, record.title, record.press, record.published_at.date()) for record in records
    }


def test_a_headlines_own_brackets_reach_the_table() -> None:
    titles = ["<A/S 논란> 확산", "<U-20 월드컵> 결승", "<P-CBO> 발행", "‹B·B 케어> 출시", "<B 등급> 강등"]
    articles = articles_frame([Record(title) for title in titles], "naver", "").articles
    assert sorted(articles.title) == sorted(titles)


def _folded(*records: Record) -> pd.DataFrame:
    articles = articles_frame(records, "test", "").articles
    return articles[["article_id", "title", "url"]].merge(fold(articles), on="article_id").sort_values("known_at")


def test_same_title_and_press_within_a_day_is_one_cluster_named_by_the_earliest() -> None:
    first = Record("가나전자 신제품 공개 행사", "https://e.example.com/1", press="가나일보")
    again = replace(
        first,
        title="[종합] 가나전자, 신제품 공개 행사",
        url="https://e.example.com/2",
        published_at=first.published_at + timedelta(hours=23),
    )
    next_day = replace(first, url="https://e.example.com/3", published_at=first.published_at + timedelta(hours=24))
    folded = _folded(next_day, again, first)
    assert folded.article_id.size == 3
    assert folded.cluster_id.tolist() == [
        folded.article_id.iloc[0],
        folded.article_id.iloc[0],
        folded.article_id.iloc[2],
    ]
    assert folded.method.tolist() == ["title_press", "title_press", "single"]


def test_another_press_or_none_is_another_origin() -> None:
    one = Record("가나전자 신제품 공개 행사", "https://e.example.com/1", press="가나일보")
    assert _folded(one, replace(one, url="https://f.example.com/1", press="다라일보")).cluster_id.nunique() == 2
    hosts = _folded(replace(one, press=None), replace(one, url="https://e.example.com/2", press=None))
    assert hosts.cluster_id.nunique() == 1
    assert _folded(one, replace(one, url=None, press=None)).cluster_id.nunique() == 2


def test_a_press_is_the_same_on_its_own_site_and_on_naver() -> None:
    own = Record("가나전자 신제품 공개 행사", "https://www.hankyung.com/article/1")
    naver = Record("가나전자 신제품 공개 행사", "https://n.news.naver.com/article/015/0000000001")
    assert _folded(own, naver).cluster_id.nunique() == 1


def test_date_only_articles_fold_by_their_kst_date() -> None:
    end_of_day = datetime(2026, 3, 4, 23, 59, 59, tzinfo=KST)
    dated = Record("가나전자 신제품 공개 행사", None, press="가나일보", published_at=end_of_day, is_date_only=True)
    timed = replace(
        dated, url="https://e.example.com/1", published_at=end_of_day - timedelta(hours=12), is_date_only=False
    )
    morning_after = replace(timed, url="https://e.example.com/2", published_at=end_of_day + timedelta(hours=9))
    assert _folded(dated, timed).cluster_id.nunique() == 1
    assert _folded(dated, morning_after).cluster_id.nunique() == 2


def test_ties_go_to_the_smaller_id_and_order_never_matters() -> None:
    records = [Record("가나전자 신제품 공개 행사", f"https://e.example.com/{n}", press="가나일보") for n in range(4)]
    folded = _folded(*records)
    assert set(folded.cluster_id) == {min(folded.article_id)}
    articles = articles_frame(records, "test", "").articles
    pd.testing.assert_frame_equal(fold(articles), fold(articles.iloc[::-1]))


def test_recorded_news_has_its_607_distinct_articles(recorded_data: Path) -> None:
    rows = pd.read_csv(recorded_data / "2022-01" / "news.csv", dtype=str)
    rows = rows.astype(object).where(rows.notna(), None)
    end_of_day = "T23:59:59+09:00"
    records = [
        Record(r.title, r.url, None, r.press, datetime.fromisoformat(r.published_date + end_of_day), is_date_only=True)
        for r in rows.itertuples()
    ]
    articles = articles_frame(records, "naver", "").articles
    assert len(articles) == 607
    assert articles.url.notna().sum() == 502
    days = articles.published_at.dt.tz_convert(KST).dt.date
    assert days.between(date(2021, 12, 31), date(2022, 1, 28)).sum() == 600
    offices = articles.url.dropna().str.extract(r"article/(\d{3})/")[0]
    named = articles.loc[offices.index].assign(office=offices).groupby("office").press.nunique()
    assert (named == 1).all()
