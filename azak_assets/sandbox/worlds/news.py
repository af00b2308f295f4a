"""Invented Korean headlines about the invented companies, day by day.

Words, publishers and addresses belong here; which news moves a share and by how much was decided by `market`, so that
the moving headlines come before the return they explain. A day's articles are drawn from a generator keyed by (seed,
date) and never change afterwards, except that a corrected title replaces the first one from its time on.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import numpy as np

from azak_assets import krx
from azak_assets.sandbox.worlds.companies import GROUPS, PLAIN_WORDS
from azak_assets.sandbox.worlds.market import FIRST_SESSION, Market
from azak_assets.sandbox.worlds.world import SECTORS, Article, terms_of


@dataclass(frozen=True, slots=True)
class _Press:
    name: str
    office: int
    address: str


#: The first two are the publishers whose feeds the sandbox serves; the others do not exist.
PRESS = (
    _Press("한국경제", 15, "https://www.hankyung.com/article/{day}{serial:05d}"),
    _Press("매일경제", 9, "https://www.mk.co.kr/news/stock/1{day}{serial:04d}"),
    _Press("서울시황", 701, "https://www.seoulsihwang.example/news/{day}/{serial}"),
    _Press("한강경제", 702, "https://biz.hangangeconomy.example/view/{day}{serial:05d}"),
    _Press("여의도인사이트", 703, "https://www.yeouidoinsight.example/news/articleView.html?idxno={day}{serial:04d}"),
    _Press("마켓나루", 704, "https://marketnaru.example/stock/{day}-{serial}"),
    _Press("테크마당", 705, "https://www.techmadang.example/article/{serial:05d}/{day}"),
    _Press("누리일보", 706, "https://www.nuri-ilbo.example/economy/{day}{serial:05d}"),
)

GOOD = (
    "{n}, {q}분기 영업이익 {a}억원…시장 기대치 {p}% 상회",
    "{n}, {a}억원 규모 공급계약 체결",
    "{n}, 북미 고객사 신규 수주…{p}% 성장 전망",
    "[특징주] {n}, 호실적 기대에 강세",
    "{n}, 자사주 {a}억원 매입 결정",
    "{n} 흑자전환 성공…{q}분기 매출 {p}% 증가",
    "증권가 \"{n} 목표주가 {p}% 상향\"",
    "{n}, 신제품 흥행에 수출 최대 실적 경신",
    "{n}, 정부 국책과제 선정…기술력 인정",
    "[단독] {n}, 해외 대형사와 합작 추진…수혜 기대",
    "{n} 배당 {p}% 확대…주주환원 강화",
    "외국인·기관 쌍끌이 매수…{n} 급등",
    "{n}, 특허 취득으로 경쟁력 강화",
)  # fmt: skip
BAD = (
    "{n}, {q}분기 영업손실 {a}억원…적자전환",
    "{n}, {a}억원 유상증자 결정에 주주 반발",
    "[특징주] {n}, 실적 부진 우려에 약세",
    "{n} 공장 화재로 생산 차질…피해액 {a}억원 추정",
    "증권가 \"{n} 목표주가 {p}% 하향\"",
    "{n}, 주요 고객사와 계약 해지…매출 {p}% 감소 우려",
    "{n}, 리콜 결정…충당금 {a}억원 반영",
    "검찰, {n} 본사 압수수색…횡령 의혹",
    "{n}, 임상 실패·허가 반려 악재에 급락 우려",
    "{n} 대주주 지분 블록딜…{p}% 할인 매각",
    "{n}, 과징금 {a}억원 부과…불확실성 확대",
    "[단독] {n} 구조조정 착수…희망퇴직 {p}0명",
)  # fmt: skip
PLAIN = (
    "{n}, 정기 주주총회 개최…사내이사 재선임",
    "{n} \"올해 투자 {a}억원 집행\"",
    "{n}, 신입사원 공개채용 시작",
    "{n}, 서울 본사 이전 마무리",
    "{n}, 협력사 간담회 열고 상생 방안 논의",
    "{n} 대표 \"내실 경영에 집중\"",
    "{n}, {s} 전시회 참가…신기술 선보여",
    "{n}, 지역사회에 김장 {p}00포기 전달",
    "[인사] {n}",
    "{n} 주가 보합…거래량은 평소 수준",
    "[클릭! 종목] {n}, 거래대금 상위권",
    "{n}, {q}분기 실적 발표 앞두고 관망세",
)  # fmt: skip
TWO = (
    "{n}·{m}, {s} 사업 공동 추진 업무협약",
    "{n} vs {m}…{s} 1위 경쟁 가열",
    "{n}, {m}에 {a}억원 규모 부품 공급",
    "{m} 인수전에 {n} 참여…예비입찰 마감",
    "{s}주 엇갈린 희비…{n} 강세, {m} 약세",
)
GROUP = (
    "{g}그룹, 사장단 인사 단행…세대교체",
    '{g}그룹 "5년간 {a}00억원 투자"',
    "{g}, 지주사 전환 검토…계열사 지분 정리",
    "공정위, {g}그룹 내부거래 조사 착수",
)
AMBIGUOUS = {
    "새벽달": ("새벽달 보며 출근하는 사람들…물류센터의 하루", "새벽달, {a}억원 규모 설비 투자 결정"),
    "이음길": ("도심 이음길 조성 사업 {p}월 첫 삽", "이음길, {q}분기 매출 {p}% 증가"),
    "큰우물": ("가뭄에 마을 큰우물도 말랐다…농가 한숨", "큰우물, 신규 수주 {a}억원 공시"),
    "첫눈길": ("첫눈길 교통사고 {p}건…출근길 주의", "[특징주] 첫눈길, 기관 매수에 상승"),
}
MARKET = (
    "코스피 {p}포인트 등락 끝 보합 마감",
    "[마감시황] 코스피, 외국인 매도에 하락…코스닥은 상승",
    "[개장시황] 코스피 상승 출발…반도체 강세",
    "코스닥 {p}% 상승…개인 순매수 {a}억원",
    "원/달러 환율 {p}원 하락…외국인 자금 유입",
    "한은 금통위 앞두고 증시 관망세",
    "뉴욕증시 혼조 마감…국내 증시 영향은",
    "증시 거래대금 {p}조원 돌파…개인 투자자 복귀",
    "공매도 잔고 {p}% 증가…변동성 확대 우려",
    "{s}주 동반 강세…정책 기대감 반영",
    "{s} 업황 둔화 우려…관련주 일제히 하락",
    "금융당국, 불공정거래 조사 강화",
    "[주간증시전망] 코스피 박스권 등락 예상",
    "상장사 {p}0곳 실적 발표…어닝시즌 본격화",
    "연기금 순매수 {p}거래일째…대형주 선호",
)
_SECTOR_NAMES = tuple(SECTORS.values())
#: What an ordinary article is about, and how often; None stands for the everyday words.
_KINDS: tuple[tuple[tuple[str, ...] | None, float], ...] = (
    (GOOD, 0.06), (BAD, 0.06), (PLAIN, 0.40), (TWO, 0.09), (GROUP, 0.06), (None, 0.05), (MARKET, 0.28),
)  # fmt: skip
NEAR = ("[종합] {t}", "{t}(상보)", "{t} (1보)", "[속보] {t}")
LEADS = (
    "{n}({c})가 시장의 주목을 받고 있다. 업계에 따르면 {s} 업황과 수급이 주요 변수로 꼽힌다.",
    '{d}일 업계에 따르면 {n} 측은 "확정된 내용을 공시하겠다"고 밝혔다. 관련 매출은 {a}억원 규모로 알려졌다.',
    "한국거래소에 따르면 {n}의 전 거래일 종가 대비 움직임에 투자자 관심이 쏠린다. 증권가는 & 업종 비교를 권한다.",
    '{n} 관계자는 "{q}분기 계획에 변동이 없다"고 말했다. {m} 등 경쟁사 대응도 변수다.',
)
MARKET_LEAD = "{d}일 국내 증시에서 코스피와 코스닥은 {s} 업종을 중심으로 움직였다. 전문가들은 수급을 살피라고 조언했다."


_DAY = re.compile(r"/1?(20\d{6})")


@dataclass(frozen=True, slots=True)
class _Item:
    article: Article
    corrected_at: datetime | None = None
    corrected_title: str = ""

    @property
    def text(self) -> str:
        """What a search looks at."""
        return f"{self.article.title} {self.article.description}"

    def at(self, now: datetime) -> Article:
        if self.corrected_at is None or now < self.corrected_at:
            return self.article
        first = self.article
        return Article(
            self.corrected_title, first.description, first.press, first.link, first.original_link, first.published_at
        )


@dataclass(frozen=True, slots=True)
class _Page:
    """A day's articles, newest first, and all their text: a search passes over a day by one look at it."""

    items: list[_Item]
    text: str


class Newsroom:
    """Every article of a seeded market, written when its day is first asked for. Safe for several threads."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._lock = threading.Lock()
        self._days: dict[date, _Page] = {}
        names = enumerate(market.issuers)
        self._covered = [number for number, issuer in names if issuer.parent is None and not issuer.is_spac]
        self._events: dict[date, list[tuple[datetime, int, float]]] = {}
        for events in market.events.values():
            for event in events:
                moved = (event.known_at, event.issuer, event.shock)
                self._events.setdefault(event.known_at.date(), []).append(moved)

    def _day(self, day: date) -> _Page:
        with self._lock:
            if day not in self._days:
                items = self._write(day)
                self._days[day] = _Page(items, "\n".join(item.text for item in items))
            return self._days[day]

    def search(self, query: str, now: datetime) -> list[Article]:
        """Everything published by `now` that holds all the query's terms, newest first."""
        wanted, excluded = terms_of(query)
        return [
            item.at(now)
            for item in self._published(now, wanted)
            if all(term in item.text for term in wanted) and not any(term in item.text for term in excluded)
        ]

    def headlines(self, press: str, now: datetime, limit: int) -> list[Article]:
        """The newest articles of one publisher."""
        newest: list[Article] = []
        for item in self._published(now):
            if item.article.press == press:
                newest.append(item.at(now))
                if len(newest) == limit:
                    break
        return newest

    def page(self, address: str, now: datetime) -> Article | None:
        """The article at a publisher's own address, if it is out by `now`; addresses carry their day."""
        written = _DAY.search(address)
        try:
            day = datetime.strptime(written[1] if written else "", "%Y%m%d").replace(tzinfo=krx.KST).date()
        except ValueError:
            return None
        if not FIRST_SESSION <= day <= now.astimezone(krx.KST).date():
            return None
        items = (item for item in self._day(day).items if item.article.original_link == address)
        return next((item.at(now) for item in items if item.article.published_at <= now), None)

    def _published(self, now: datetime, terms: Sequence[str] = ()) -> Iterator[_Item]:
        """What was published by `now`, newest first, back to the first session; days without a term are passed over."""
        day = now.astimezone(krx.KST).date()
        while day >= FIRST_SESSION:
            page = self._day(day)
            if all(term in page.text for term in terms):
                yield from (item for item in page.items if item.article.published_at <= now)
            day -= timedelta(days=1)

    # --- writing --------------------------------------------------------------------------------------------------

    def _write(self, day: date) -> list[_Item]:
        rng = np.random.default_rng([self._market.seed, 5, day.toordinal()])
        is_session = krx.is_session(day)
        issuers = self._market.issuers
        listed = [n for n in self._covered if issuers[n].listed_on <= day <= (issuers[n].delisted_after or date.max)]
        # Large companies are written about more often, but not in proportion to their value.
        weight = np.array([issuers[n].price * issuers[n].shares for n in listed]) ** 0.35
        stories = [
            (known_at, number, (GOOD if shock > 0 else BAD)[int(rng.integers(12))])
            for known_at, number, shock in sorted(self._events.get(day, []))
        ]
        ordinary = int(rng.integers(50, 86)) if is_session else int(rng.integers(10, 26))
        kinds = rng.choice(len(_KINDS), ordinary, p=[share for _, share in _KINDS])
        subjects = rng.choice(listed, ordinary, p=weight / weight.sum())
        # Most is written in office hours, some in the evening; at weekends it is thinner and spread out.
        hours = rng.normal(13.0, 3.4, ordinary).clip(6.5, 22.9) if is_session else rng.uniform(8, 22, ordinary)
        for kind, number, hour in zip(kinds, subjects, hours, strict=True):
            at = datetime.combine(day, time(), krx.KST) + timedelta(seconds=int(hour * 3600))
            titles = _KINDS[kind][0] or AMBIGUOUS[PLAIN_WORDS[rng.integers(len(PLAIN_WORDS))]]
            stories.append((at, int(number), titles[rng.integers(len(titles))]))
        # One draw for all articles of the day: thousands of days are written when a search looks far back.
        limits = [len(listed), 980, 40, 5, len(SECTORS), len(LEADS), len(GROUPS), len(PRESS), 180]
        numbers = rng.integers([0, 12, 3, 1, 0, 0, 0, 0, 20], limits, (len(stories), 9)).tolist()
        chances = rng.random((len(stories), 2)).tolist()
        items = [
            self._item(title, at, serial, issuers=(number, listed[draws[0]]), numbers=draws[1:], chances=chance)
            for serial, ((at, number, title), draws, chance) in enumerate(zip(stories, numbers, chances, strict=True))
        ]
        items += self._echoes(rng, items)
        # An echo that would run after midnight is left out: a day's page is written from that day alone.
        end = datetime.combine(day, time(23, 59), krx.KST)
        kept = [item for item in items if item.article.published_at <= end]
        return sorted(kept, key=lambda item: (item.article.published_at, item.article.link), reverse=True)

    def _item(
        self,
        title: str,
        at: datetime,
        serial: int,
        *,
        issuers: tuple[int, int],
        numbers: list[int],
        chances: list[float],
    ) -> _Item:
        """One article from a headline with slots about the first issuer; the second is the other one it may name."""
        issuer, other = (self._market.issuers[number] for number in issuers)
        amount, percent, quarter, sector, lead, group, press, minutes = numbers
        is_about_issuer = "{n}" in title
        words = {
            "n": issuer.name, "m": other.name if other is not issuer else "해외 경쟁사", "c": issuer.code, "a": amount,
            "p": percent, "q": quarter, "d": at.day, "g": GROUPS[group],
            "s": SECTORS[issuer.sector] if is_about_issuer else _SECTOR_NAMES[sector],
        }  # fmt: skip
        written = title.format(**words)
        description = (LEADS[lead] if is_about_issuer else MARKET_LEAD).format(**words)
        article = _published_by(PRESS[press], written, description, at, serial, is_hosted=chances[0] < 0.75)
        if chances[1] < 0.02:
            return _Item(article, at + timedelta(minutes=minutes), f"[정정] {written}")
        return _Item(article)

    def _echoes(self, rng: np.random.Generator, items: list[_Item]) -> list[_Item]:
        """Other publishers running the same story: word for word, or with the marks of a follow-up."""
        echoes: list[_Item] = []
        for item, draw in zip(items, rng.random(len(items)).tolist(), strict=True):
            first = item.article
            if draw > 0.14:
                continue
            title = first.title if draw < 0.06 else NEAR[rng.integers(len(NEAR))].format(t=first.title)
            at = first.published_at + timedelta(seconds=int(rng.integers(120, 5400)))
            other = [press for press in PRESS if press.name != first.press]
            press = other[rng.integers(len(other))]
            serial = len(items) + len(echoes)
            article = _published_by(press, title, first.description, at, serial, is_hosted=rng.random() < 0.75)
            echoes.append(_Item(article))
        return echoes


def _published_by(
    press: _Press, title: str, description: str, at: datetime, serial: int, *, is_hosted: bool
) -> Article:
    original = press.address.format(day=f"{at:%Y%m%d}", serial=serial)
    number = at.toordinal() * 1000 + serial
    link = f"https://n.news.naver.com/mnews/article/{press.office:03d}/{number:010d}?sid=101" if is_hosted else original
    return Article(title, description, press.name, link, original, at)
