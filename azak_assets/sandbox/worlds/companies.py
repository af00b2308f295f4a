"""The invented issuers of the seeded market: names, codes, sectors, size.

Every name is made up: a stem that no listed company carries, joined with a word of its trade. Codes start with 99, a
range the exchange does not use. What the companies' shares then do belongs to `market`.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np

from azak_assets.sandbox.worlds.world import Market

#: Stems of names. The first ones found a group of several listed companies; a headline may name the group alone.
STEMS = (
    "하랑솔", "도담누리", "가온벼리", "미르채움", "해담찬", "나래울", "다온슬", "라온미르", "마루새", "바론해",
    "사름별", "아라솔", "자람터", "차오름솔", "파람결", "타래온", "그린나루", "늘솔길", "단미르", "두레온",
    "드림벼리", "라무솔", "마중별", "모아름", "물빛채", "바림솔", "벼루온", "봄내음", "비나래", "사부작", "산다라온",
    "새라온", "소담채", "수피아온", "슬옹누리", "아람치", "안다미솔", "여울찬", "예그리솔", "온새미솔", "윤슬온",
    "이든샘", "잔다리", "조롱솔", "지음새", "차반누리", "초롱별", "타니아솔", "토담누리", "파니온", "푸르내",
    "하늬솔", "한올채", "해찬솔", "혜윰", "흐노니", "가라온", "고운매솔", "구름채", "꽃가람", "너울별", "노고지솔",
    "누리보듬", "다흰솔", "달보드레", "도래샘온", "라별", "마디온", "매지구름", "미쁨솔", "바다온별", "벗나래",
    "보드레솔",
)  # fmt: skip
GROUPS = STEMS[:5]

#: Companies that carry an everyday word, so that a headline with the word need not be about them.
PLAIN_WORDS = ("새벽달", "이음길", "큰우물", "첫눈길")

#: Sector code: (words of the trade that end a name, daily volatility relative to the market's average).
TRADES = {
    "0005": (("푸드", "식품", "제당"), 0.8),
    "0008": (("화학", "케미컬", "소재"), 1.0),
    "0009": (("제약", "바이오팜", "파마"), 1.4),
    "0011": (("제강", "스틸", "금속"), 1.0),
    "0012": (("기계", "로보틱스", "중공업"), 1.2),
    "0013": (("전자", "반도체", "디스플레이"), 1.3),
    "0014": (("메디칼", "헬스케어", "광학"), 1.2),
    "0015": (("모터스", "오토텍", "조선"), 1.0),
    "0016": (("유통", "리테일", "상사"), 0.8),
    "0017": (("에너지", "가스", "전력"), 0.7),
    "0018": (("건설", "이앤씨", "산업개발"), 0.9),
    "0019": (("해운", "로지스", "항공"), 1.0),
    "0020": (("텔레콤", "네트웍스", "통신"), 0.7),
    "0021": (("금융지주", "생명", "증권"), 0.8),
    "0026": (("소프트", "게임즈", "엔터"), 1.4),
}

COUNT = 200
PREFERRED = 6
KONEX = 14
REITS, SPACS = 2, 4


@dataclass(frozen=True, slots=True)
class Issuer:
    """One listed issue at the first session: its size there and what makes it move.

    `parent` is the position of the common share a preferred share follows. `listed_on` later than the first session is
    a new listing; `delisted_after` is its last session. `split_on` is the session from which one share is five.
    """

    code: str
    name: str
    corp_code: str
    market: Market
    group: str
    sector: str
    volatility: float
    price: int
    shares: int
    parent: int | None = None
    is_spac: bool = False
    listed_on: date = date(2010, 3, 2)
    delisted_after: date | None = None
    split_on: date | None = None


def found(seed: int, newcomer_on: date, delisted_after: date, split_on: date) -> list[Issuer]:
    """The 200 issues of a seed, largest market value first; the three dates are those of the corporate events."""
    rng = np.random.default_rng([seed, 1])
    sectors = list(TRADES)
    names = _names(rng, COUNT - PREFERRED - REITS - SPACS - len(PLAIN_WORDS))
    numbers = rng.permutation(np.arange(100, 1000))[:COUNT]
    # Heavy tail: value falls a little faster than the inverse of the rank, as it does on a real exchange.
    ranks = np.arange(1, COUNT + 1)
    values = 180e12 / ranks**1.25 * np.exp(rng.normal(0, 0.15, COUNT))
    prices = np.exp(rng.normal(9.9, 1.0, COUNT)).clip(900, 700_000)
    letters = "ABCDEFGHJKLMNPQRSTVWXYZ"
    issuers: list[Issuer] = []
    for rank in range(COUNT - PREFERRED):
        number = int(numbers[rank])
        code = f"99{number}0"
        if rank % 24 == 23:
            code = f"99{number // 10}{letters[number % len(letters)]}0"
        market: Market = "KOSPI" if rank < 12 or rng.random() < (0.85 if rank < 60 else 0.3) else "KOSDAQ"
        group, is_spac = "ST", False
        if rank >= COUNT - PREFERRED - SPACS:
            name, sector, market, is_spac = f"{STEMS[-1 - rank % 7]}스팩{rank % 9 + 1}호", "0021", "KOSDAQ", True
        elif rank >= COUNT - PREFERRED - SPACS - KONEX:
            (name, sector), market, group = names.pop(), "KONEX", "KN"
        elif 120 <= rank < 120 + REITS:
            name, sector, market, group = f"{STEMS[40 + rank - 120]}리츠", "0021", "KOSPI", "RT"
        elif 30 <= rank < 30 + 7 * len(PLAIN_WORDS) and rank % 7 == 2:
            name, sector = PLAIN_WORDS[(rank - 30) // 7], sectors[rank % len(sectors)]
        else:
            name, sector = names.pop()
        # A share that is split later has to be dear enough to split.
        price = 2000 if is_spac else 450_000 if rank == 6 else int(prices[rank])
        issuers.append(
            Issuer(
                code=code, name=name, corp_code=f"99{100000 + 37 * number:06d}", market=market, group=group,
                sector=sector, volatility=0.15 if is_spac else TRADES[sector][1] * float(rng.uniform(0.8, 1.3)),
                price=price, shares=max(int(values[rank] / price) // 1000 * 1000, 300_000), is_spac=is_spac,
                listed_on=newcomer_on if rank == 45 else date(1990 + rank % 33, rank % 12 + 1, rank % 27 + 1),
                delisted_after=delisted_after if rank == 150 else None, split_on=split_on if rank == 6 else None,
            )
        )  # fmt: skip
    commons = [rank for rank in range(40) if rank != 6 and issuers[rank].code[4].isdigit()][:PREFERRED]
    for order, rank in enumerate(commons):
        common = issuers[rank]
        last = "K" if order == PREFERRED - 1 else "5"
        issuers.append(
            Issuer(
                code=common.code[:5] + last, name=f"{common.name}우", corp_code="", market=common.market, group="ST",
                sector=common.sector, volatility=common.volatility, price=int(common.price * 0.7),
                shares=common.shares // 10, parent=rank, listed_on=common.listed_on,
            )
        )  # fmt: skip
    return issuers


def _names(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """(name, sector) of `count` companies, each name once; the last ones, handed out first, are of the groups."""
    trades = [(sector, word) for sector, (words, _) in TRADES.items() for word in words]
    pairs: dict[str, str] = {}
    while len(pairs) < count - 5 * len(GROUPS):
        sector, word = trades[rng.integers(len(trades))]
        pairs.setdefault(STEMS[rng.integers(len(GROUPS), len(STEMS))] + word, sector)
    for stem in GROUPS:
        chosen = rng.permutation(len(trades))[:5]
        pairs |= {stem + trades[index][1]: trades[index][0] for index in chosen}
    names = list(pairs.items())
    # One group company leads the market; the others are spread over the first half.
    tail = names[-5 * len(GROUPS) :]
    mixed = [names[index] for index in rng.permutation(len(names) - len(tail))]
    for position in range(len(tail)):
        mixed.insert(len(mixed) - 4 * position, tail[position])
    return mixed
