"""Company mentions: every rule by our own headlines that pass or must not, and the measured promises."""

from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from azak_assets.text.mentions import MENTION_COLUMNS, MentionFinder, mentions_frame

STOCKS = pd.DataFrame(
    [
        ("005930", "삼성전자", ["삼전"]),
        ("005935", "삼성전자우", None),
        ("005380", "현대차", ["현대자동차"]),
        ("005385", "현대차우", None),
        ("005387", "현대차2우B", None),
        ("001500", "현대차증권", []),
        ("012330", "현대모비스", []),
        ("250060", "모비스", []),
        ("035720", "카카오", []),
        ("323410", "카카오뱅크", ["카뱅"]),
        ("377300", "카카오페이", []),
        ("000270", "기아", []),
        ("000880", "한화", []),
        ("012450", "한화에어로스페이스", []),
        ("003550", "LG", []),
        ("066570", "LG전자", []),
        ("039490", "키움증권", []),
        ("001680", "대상", []),
        ("002270", "세방", []),
        ("078930", "GS", []),
        ("033780", "KT&G", []),
        ("030200", "KT", []),
        ("007070", "GS리테일", []),
        ("00088K", "한화3우B", []),
    ],
    columns=["stock_code", "name", "aliases"],
)


@pytest.fixture(scope="module")
def finder() -> MentionFinder:
    return MentionFinder(STOCKS)


def _codes(finder: MentionFinder, title: str, excerpt: str | None = None) -> list[str]:
    return [mention.stock_code for mention in finder.find(title, excerpt)]


@pytest.mark.parametrize(
    ("title", "codes"),
    [
        # 1: the longest name at a place
        ("카카오뱅크와 카카오페이, 카카오 계열 동반 강세", ["323410", "377300", "035720"]),
        ("현대차2우B 급등, 현대차우도 올라", ["005387", "005385"]),
        ("삼성전자우 배당 매력", ["005935"]),
        ("현대차우선주 이야기", []),
        # 2 and 3: borders of the word
        ("신현대차 구매기", []),
        ("카카오톡 업데이트", []),
        ("카카오도 뛰어든 시장", ["035720"]),
        ("삼성전자에서만 일한 30년", []),
        ("삼성전자에서는 무슨 일이", ["005930"]),
        ("美삼성전자 공장 방문", ["005930"]),
        ("GS25 신상품", []),
        ("KT&G 신제품, KT 요금제", ["033780", "030200"]),
        ("AKT 실험", []),
        ("현대차·기아·LG전자 한자리에", ["005380", "000270", "066570"]),
        ("현대차그룹 신년회", []),
        ("카카오 그룹주 이야기", []),
        ("현대차家 3세", []),
        # 4: brokers as authors
        ("현대차, 목표가 30만원으로 상향-키움증권", ["005380"]),
        ("키움증권 \"현대차, 하반기 회복\"", ["005380"]),
        ("현대차, 하반기가 좋다 - 키움증권", ["005380"]),
        ("현대차證 \"반도체 업황 회복\"", []),
        ("키움증권, 2분기 영업이익 20% 증가", ["039490"]),
        ("현대차證, 작년 순이익 1000억원", ["001500"]),
        ("[가나證 추천주] 현대차", ["005380"]),
        ("현대차-기아 통합 조직", ["005380", "000270"]),
        # 5: groups
        ("한화, 3분기 영업이익 2배", ["000880"]),
        ("[특징주] 한화, 장중 신고가", ["000880"]),
        ("한화, 협력사와 봄맞이 봉사", []),
        ("한화 4연승, LG 꺾고 선두", []),
        ("LG, 연장 끝내기 승리… 1위 지켜 매출도 껑충", []),
        ("한화에어로스페이스 수출 계약", ["012450"]),
        # 6: strict words
        ("청소년 대상 교육 실적 공개", []),
        ("대상, 3분기 영업이익 급증", ["001680"]),
        ("[실적] 대상, 매출 1조", ["001680"]),
        ("대상, 청정원 신제품 출시", []),
        ("㈜대상 임직원 봉사", ["001680"]),
        ("현대차·모비스 반도체 동맹", ["005380"]),
        # 7: short names
        ("세방 음악회 열려", []),
        ("세방, 협력사 간담회", ["002270"]),
        ("봄날의 세방, 음악회 열려", []),
        ("세방, 유상증자 결정", ["002270"]),
        ("현대차·세방 협력", ["005380", "002270"]),
        ("기아 신차 공개", ["000270"]),
        ("기아 타이거즈, 홈런 3방", []),
        ("기아, 프로야구 개막전 승리", []),
    ],
)  # fmt: skip
def test_rules(finder: MentionFinder, title: str, codes: list[str]) -> None:
    assert _codes(finder, title) == codes


def test_an_issuers_own_code_settles_it_and_another_code_refuses_it(finder: MentionFinder) -> None:
    assert _codes(finder, "소식", "한화(000880)는 대상(001680)과 손잡았다") == ["000880", "001680"]
    assert _codes(finder, "소식", "현대차(123456)라는 이름의 다른 회사") == []
    assert _codes(finder, "소식", "한화는 창립 기념식을 열었다. 대상은 다음과 같다") == []


def test_credits_and_speaking_analysts_are_not_subjects(finder: MentionFinder) -> None:
    assert _codes(finder, "소식", "(사진=카카오) 키움증권 홍길동 연구원은 카카오뱅크를 추천했다") == ["323410"]


def test_spans_fields_and_methods(finder: MentionFinder) -> None:
    title, excerpt = '카뱅, 현대차와 협약…카뱅 "기대"', "현대자동차가 카카오뱅크와"
    found = finder.find(title, excerpt)
    assert [(m.stock_code, m.field, m.method) for m in found] == [
        ("323410", "title", "alias"),
        ("005380", "title", "name"),
        ("323410", "title", "alias"),
        ("005380", "excerpt", "alias"),
        ("323410", "excerpt", "name"),
    ]  # fmt: skip
    for mention in found:
        text = title if mention.field == "title" else excerpt
        assert text[mention.span_start : mention.span_end] == mention.surface
    for one, other in pairwise(m for m in found if m.field == "title"):
        assert one.span_end <= other.span_start


def test_former_and_delisted_names_count_while_they_were_in_use() -> None:
    stocks = pd.DataFrame(
        {
            "stock_code": ["000270", "900001", "900002"],
            "name": ["기아", "가나다홀딩스", "가나다"],
            "aliases": [[], [], []],
            "delisted_on": [None, date(2024, 5, 31), None],
        }
    )
    former = pd.DataFrame(
        {
            "stock_code": ["000270", "900002"],
            "name": ["기아차", "라마바"],
            "first_day": [None, date(2020, 1, 1)],
            "last_day": [date(2021, 3, 21), None],
        }
    )
    finder = MentionFinder(stocks, former)
    assert [m.method for m in finder.find("기아차 신차", on=date(2021, 3, 21))] == ["former_name"]
    assert finder.find("기아차 신차", on=date(2021, 3, 22)) == []
    assert finder.find("기아차 신차") == []
    assert finder.find("라마바 공장", on=date(2019, 12, 31)) == []
    assert _codes(finder, "라마바 공장") == ["900002"]
    # A delisted company's name is nobody's today, and still hides the shorter name inside it.
    assert [m.stock_code for m in finder.find("가나다홀딩스 합병", on=date(2024, 5, 31))] == ["900001"]
    assert finder.find("가나다홀딩스 합병", on=date(2024, 6, 1)) == []


def test_a_name_of_two_listed_companies_names_neither() -> None:
    twins = pd.DataFrame({"stock_code": ["900001", "900002"], "name": ["가나다라", "가나다라"], "aliases": [[], []]})
    assert MentionFinder(twins).find("가나다라 상장") == []
    with pytest.raises(ValueError, match="900001: alias '' is empty"):
        MentionFinder(pd.DataFrame({"stock_code": ["900001"], "name": ["가나다라"], "aliases": [[""]]}))


def test_frame_of_mentions_has_the_tables_columns(finder: MentionFinder) -> None:
    articles = pd.DataFrame(
        {
            "article_id": ["a", "b", "c"],
            "title": ["현대차와 카카오", "소식 없음", "소식"],
            "excerpt": [None, None, "삼성전자는"],
            "trading_day": [date(2026, 3, 4)] * 3,
            "known_at": pd.to_datetime([datetime(2026, 3, 4, tzinfo=UTC)] * 3),
        }
    )
    frame = mentions_frame(finder, articles)
    assert tuple(frame.columns) == MENTION_COLUMNS
    assert frame[["article_id", "field", "span_start", "stock_code"]].to_numpy().tolist() == [
        ["a", "title", 0, "005380"],
        ["a", "title", 5, "035720"],
        ["c", "excerpt", 0, "005930"],
    ]
    assert not frame.duplicated(["article_id", "field", "span_start", "stock_code"]).any()
    empty = mentions_frame(finder, articles.iloc[:0])
    assert empty.empty
    assert empty.dtypes["known_at"] == frame.dtypes["known_at"]


def _recorded_finder(folder: Path) -> MentionFinder:
    listed = pd.read_csv(folder / "listing_2026-03-20.csv", dtype=str, encoding="utf-8-sig")
    stocks = pd.DataFrame({"stock_code": listed["Code"], "name": listed["Name"], "aliases": [[]] * len(listed)})
    stocks.loc[stocks["stock_code"] == "323410", "aliases"] = pd.Series(
        [["카뱅"]], index=stocks.index[stocks["stock_code"] == "323410"]
    )
    return MentionFinder(stocks)


def test_recorded_headlines_are_matched_where_they_name_the_company(recorded_data: Path) -> None:
    finder = _recorded_finder(recorded_data)
    news = pd.read_csv(recorded_data / "2022-01" / "news.csv", dtype=str).drop_duplicates("title")
    for code, pattern in (("005380", "현대차[,·…]"), ("323410", "(?:카카오뱅크|카뱅)[,·… ]")):
        named = news.title[news.title.str.contains(rf"(?:^|[^가-힣A-Za-z0-9]){pattern}", regex=True)]
        assert len(named) > 80
        found = sum(code in _codes(finder, title) for title in named)
        assert found / len(named) >= 0.99
    groups = news.title[
        news.title.str.contains("현대차그룹")
        & ~news.title.str.replace("현대차그룹", "").str.contains("현대차|현대자동차")
    ]
    assert len(groups) > 50
    assert not any("005380" in _codes(finder, title) for title in groups)
