"""Cleaning: repaired only where the evidence is beyond doubt, and a comparison form that keeps what a headline says."""

import pytest

from azak_assets.text.clean import content_hash, decode_entities, normalise_title, plain_text, readable, repair_encoding

HEADLINE = "가나전자, 3분기 영업이익 12% 증가"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("cp949", "latin-1"),
        ("euc-kr", "latin-1"),
        ("utf-8", "latin-1"),
        ("utf-8", "cp949"),
    ],
)
def test_wrongly_decoded_korean_is_repaired(written: str, read: str) -> None:
    try:
        broken = HEADLINE.encode(written).decode(read)
    except UnicodeDecodeError:
        # This pair loses bytes on the whole headline; a shorter text shows the lossless case.
        headline = next(t for t in ("가나다라", "실적", "전자", "매출", "가나") if _survives(t, written, read))
        assert repair_encoding(headline.encode(written).decode(read)) == headline
        return
    assert broken != HEADLINE
    assert repair_encoding(broken) == HEADLINE


def _survives(text: str, written: str, read: str) -> bool:
    try:
        text.encode(written).decode(read)
    except UnicodeDecodeError:
        return False
    return True


def test_windows_1252_reading_and_kept_bytes_are_repaired() -> None:
    broken = "".join(
        bytes([b]).decode("cp1252") if b not in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else chr(b) for b in HEADLINE.encode()
    )
    assert repair_encoding(broken) == HEADLINE
    assert repair_encoding(HEADLINE.encode("cp949").decode("utf-8", "surrogateescape")) == HEADLINE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain ascii",
        HEADLINE,
        "Café Société à Paris",
        "¡Olé! ñandú",
        "中國 증시 急騰",
        "株 證 發",
        "±5% ©2026",
        "징 슨",
        "\ud800 깨진",
    ],
)
def test_sound_text_is_left_alone(text: str) -> None:
    assert repair_encoding(text) == text


def test_repairing_twice_changes_nothing_more() -> None:
    broken = HEADLINE.encode("cp949").decode("latin-1")
    assert repair_encoding(repair_encoding(broken)) == repair_encoding(broken)


def test_markup_entities_and_controls_go_but_a_headlines_own_brackets_stay() -> None:
    assert plain_text("<b>가나전자</b> &quot;매출&quot; 2배&#39;") == '가나전자 "매출" 2배\''
    assert plain_text("<CES 2026> 가나전자<br/>참가  \x00\u200b<1조") == "<CES 2026> 가나전자 참가 <1조"
    own = "<A/S 논란> <U-20 월드컵> <P-CBO> <B·B 케어> <S 등급> <I'm> <Li-ion> <td-1>"
    assert plain_text(f'<p class="x">{own}</p><a href=/v?a=1>더</a><img src="a>b" alt=\'c\' />') == f"{own} 더"
    assert plain_text("가나<script>var a = '<b>';</script>전자<!-- x -->") == "가나전자"
    assert plain_text("\u1100\u1161\u1102\u1161") == "가나"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("BTC&amp;ETH", "BTC&ETH"),
        ("신용등급 &lt;A&gt; 유지", "신용등급 <A> 유지"),
        ("신용등급 <A> 유지", "신용등급 <A> 유지"),
        ("<B>가나</B> 실적", "가나 실적"),
        ("?id=1&amp;copy=2&amp;lang=ko", "?id=1&copy=2&lang=ko"),
        ("KT&G, 3분기 M&A R&D F&F Q&A;", "KT&G, 3분기 M&A R&D F&F Q&A;"),
        ("A&amp;amp;B", "A&amp;B"),
        ("&amp;lt;b&amp;gt;", "&lt;b&gt;"),
        ("&lt;b&gt;가나&lt;/b&gt;", "<b>가나</b>"),
        ("가나&nbsp;전자&#8203;&#x27;s", "가나 전자's"),
    ],
)
def test_each_layer_is_decoded_once(markup: str, text: str) -> None:
    assert plain_text(markup) == text
    assert readable(text) == text, "text is no markup: nothing decodes it again"
    assert content_hash(text, text) != content_hash(decode_entities(text) + ".", text)
    assert normalise_title(f"{text} 가나다라마바사") == normalise_title(f" {text}  가나다라마바사")


def test_tags_takes_spaces_and_punctuation_do_not_distinguish_headlines() -> None:
    expected = normalise_title("가나전자, 3분기 영업이익 12% 증가")
    for variant in (
        "[단독] 가나전자 3분기 영업이익 12% 증가",
        "[속보][특징주]가나전자, 3분기 영업이익 12% 증가(종합2보)",
        "가나전자 ‘3분기’ 영업이익 12% 증가 (상보)",
        "가나전자, 3분기  영업이익 12％ 증가…",
    ):
        assert normalise_title(variant) == expected
    assert normalise_title("매출 1,200억원 달성한 가나") == normalise_title("매출 1200억원 달성한 가나")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("코스피 지수 3.5% 상승 마감", "코스피 지수 35% 상승 마감"),
        ("코스피 지수 -1.2% 장중 변동", "코스피 지수 +1.2% 장중 변동"),
        ("가나전자 4분기 매출↑ 전망치", "가나전자 4분기 매출↓ 전망치"),
        ("[인사] 가나부", "[부고] 가나부"),
        ("가나전자(A사) 공급 계약 체결", "가나전자(B사) 공급 계약 체결"),
    ],
)
def test_what_a_headline_says_keeps_it_apart(one: str, other: str) -> None:
    assert normalise_title(one) != normalise_title(other)


def test_content_hash_follows_the_words_only() -> None:
    assert content_hash("가나 실적", None) == content_hash("가나  실적", "")
    assert content_hash("가나 실적", "본문") != content_hash("가나 실적", "본문 고침")
    assert content_hash("가나", "실적") != content_hash("가나실적", "")
