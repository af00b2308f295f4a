"""Invented DART filings of the invented issuers and of companies that are not listed, day by day.

Report names and remark letters belong here; the list's paging and statuses are `opendart`. A day's filings are drawn
from a generator keyed by (seed, date). Their hour decides only what is known by now: the service tells no time of day.
"""

import threading
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta

import numpy as np

from azak_assets import krx
from azak_assets.sandbox.worlds.companies import STEMS
from azak_assets.sandbox.worlds.market import FIRST_SESSION, Market
from azak_assets.sandbox.worlds.world import Company, Filing

#: (kind of pblntf_ty, report name, how often against the others)
REPORTS = (
    ("I", "단일판매ㆍ공급계약체결", 9),
    ("I", "기업설명회(IR)개최", 6),
    ("I", "현금ㆍ현물배당결정", 4),
    ("I", "영업(잠정)실적(공정공시)", 6),
    ("I", "타법인주식및출자증권취득결정", 4),
    ("I", "소송등의제기ㆍ신청", 3),
    ("I", "풍문또는보도에대한해명(미확정)", 2),
    ("I", "최대주주변경", 1),
    ("I", "신규시설투자등", 2),
    ("I", "주주총회소집결의", 4),
    ("B", "주요사항보고서(유상증자결정)", 3),
    ("B", "주요사항보고서(자기주식취득결정)", 3),
    ("B", "주요사항보고서(전환사채권발행결정)", 4),
    ("D", "주식등의대량보유상황보고서(일반)", 9),
    ("D", "임원ㆍ주요주주특정증권등소유상황보고서", 16),
    ("D", "최대주주등소유주식변동신고서", 4),
    ("C", "증권신고서(지분증권)", 2),
    ("C", "투자설명서", 3),
    ("E", "자기주식취득결과보고서", 2),
    ("F", "감사보고서", 3),
    ("G", "투자회사의분기영업보고서", 3),
    ("H", "유동화전문회사의사업보고서", 2),
    ("J", "대규모기업집단현황공시[분기별공시]", 3),
)
#: When the periodic report of a company with a December year end is due, and its name with the month it covers.
PERIODIC = {
    (3, 31): "사업보고서 ({before}.12)",
    (5, 15): "분기보고서 ({year}.03)",
    (8, 14): "반기보고서 ({year}.06)",
    (11, 14): "분기보고서 ({year}.09)",
}
PEOPLE = ("강하늘솔", "나도담", "마루온", "배다솜", "서누리", "안채움", "이가람솔", "정여울", "최보듬", "한별온")
UNLISTED = 80
CORRECTED_WITHIN = 4

_DESKS = {"KOSPI": ("Y", "유"), "KOSDAQ": ("K", "코"), "KONEX": ("N", "넥")}


@dataclass(frozen=True, slots=True)
class _Entry:
    filing: Filing
    filed_at: datetime
    corrected_at: datetime | None = None


class Registry:
    """DART of a seeded market. Safe for several threads."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._lock = threading.Lock()
        self._firsts: dict[date, list[_Entry]] = {}
        self._days: dict[date, list[_Entry]] = {}
        rng = np.random.default_rng([market.seed, 6])
        self._issuers = [issuer for issuer in market.issuers if issuer.parent is None]
        words = ("홀딩스", "파트너스", "인베스트", "자산관리", "유동화전문", "물산", "개발", "테크")
        names = [f"{STEMS[rng.integers(len(STEMS))]}{words[rng.integers(len(words))]}" for _ in range(UNLISTED - 2)]
        # As in the real list, a name is not a key: two unlisted companies are named like listed ones.
        names += [self._issuers[10].name, self._issuers[20].name]
        self._unlisted = [
            Company(f"98{100000 + 61 * n:06d}", name, f"Unlisted Example {n} Co., Ltd.", "", date(2023, 6, 1 + n % 28))
            for n, name in enumerate(names)
        ]

    def companies(self, now: datetime) -> list[Company]:
        """Listed and unlisted companies; a delisted one keeps its stock code, a future one has none yet."""
        today = now.astimezone(krx.KST).date()
        listed = [
            Company(
                issuer.corp_code, issuer.name, f"Example {issuer.code} Co., Ltd.",
                issuer.code if issuer.listed_on <= today else "",
                date(2023, 1 + n % 12, 1 + n % 28) if issuer.listed_on < FIRST_SESSION else issuer.listed_on,
            )
            for n, issuer in enumerate(self._issuers)
        ]  # fmt: skip
        # A company that lists later was registered when it applied.
        known = [c if c.stock_code else replace(c, modified_on=date(2026, 6, 1)) for c in listed]
        return sorted([*known, *self._unlisted], key=lambda company: company.corp_code)

    def filings(self, start: date, end: date, now: datetime) -> list[Filing]:
        """Filings received inside [start, end] by `now`, oldest first; a corrected one says so once it is."""
        found = []
        day = max(start, FIRST_SESSION)
        last = min(end, now.astimezone(krx.KST).date())
        while day <= last:
            for entry in self._day(day):
                if entry.filed_at > now:
                    continue
                is_corrected = entry.corrected_at is not None and entry.corrected_at <= now
                filing = entry.filing
                found.append(replace(filing, rm=f"{filing.rm}정") if is_corrected else filing)
            day += timedelta(days=1)
        return found

    def _day(self, day: date) -> list[_Entry]:
        with self._lock:
            if day not in self._days:
                entries = list(self._first_versions(day)) + self._corrections(day)
                self._days[day] = _numbered(day, entries)
            return self._days[day]

    def _first_versions(self, day: date) -> list[_Entry]:
        """The day's filings that correct nothing, unnumbered; each knows when it will be corrected."""
        if day not in self._firsts:
            self._firsts[day] = self._draw(day) if day >= FIRST_SESSION and krx.is_session(day) else []
        return self._firsts[day]

    def _draw(self, day: date) -> list[_Entry]:
        rng = np.random.default_rng([self._market.seed, 7, day.toordinal()])
        due = [
            name.format(year=day.year, before=day.year - 1)
            for deadline, name in PERIODIC.items()
            if timedelta(0) <= date(day.year, *deadline) - day <= timedelta(days=4)
        ]
        count = int(rng.integers(150, 221)) if due else int(rng.integers(40, 96))
        weights = np.array([report[2] for report in REPORTS], np.float64)
        chosen = rng.choice(len(REPORTS), count, p=weights / weights.sum())
        seconds = np.sort(rng.normal(15.5 * 3600, 2.2 * 3600, count).clip(7.5 * 3600, 17.9 * 3600)).astype(int)
        entries = []
        for which, second in zip(chosen, seconds, strict=True):
            kind, name, _ = REPORTS[which]
            at = datetime.combine(day, time(), krx.KST) + timedelta(seconds=int(second))
            issuer = self._issuers[rng.integers(len(self._issuers))]
            draw, person, later = rng.random(3)
            if due and draw < 0.6:
                kind, name = "A", due[0]
            is_listed = issuer.listed_on <= day <= (issuer.delisted_after or date.max) and kind not in {"G", "H"}
            if is_listed and (kind == "I" or person < 0.72):
                desk, letter = _DESKS[issuer.market]
                code, corp_name, stock_code = issuer.corp_code, issuer.name, issuer.code
            else:
                company = self._unlisted[rng.integers(UNLISTED)]
                desk, letter = "E", ""
                code, corp_name, stock_code = company.corp_code, company.name, ""
                if kind == "I":
                    kind, name = "F", "감사보고서"
            letter = "공" if kind == "J" else letter if kind == "I" else ""
            filer = PEOPLE[int(person * 997) % len(PEOPLE)] if kind == "D" else corp_name
            filing = Filing(code, corp_name, stock_code, desk, name, "", filer, day, letter, kind)
            corrected_at = None
            if draw < 0.07 or draw > 0.97:
                session = krx.shift(day, int(later * (CORRECTED_WITHIN + 1))) if later > 0.2 else krx.session(day)
                corrected_at = datetime.combine(session.day, time(16), krx.KST) + timedelta(seconds=int(later * 7000))
                corrected_at = max(corrected_at, at + timedelta(minutes=20))
            entries.append(_Entry(filing, at, corrected_at))
        return entries

    def _corrections(self, day: date) -> list[_Entry]:
        found: list[_Entry] = []
        if not krx.is_session(day) or day < FIRST_SESSION:
            return found
        for back in range(CORRECTED_WITHIN + 1):
            earlier = krx.shift(day, -back).day
            for entry in self._first_versions(earlier):
                if entry.corrected_at and entry.corrected_at.date() == day:
                    corrected = replace(
                        entry.filing, report_nm=f"[기재정정]{entry.filing.report_nm}", rcept_dt=day, rcept_no=""
                    )
                    found.append(_Entry(corrected, entry.corrected_at))
        return found


def _numbered(day: date, entries: list[_Entry]) -> list[_Entry]:
    """Receipt numbers in the order of filing; some carry the date of the session before, as in the real list."""
    before = krx.previous_session(day).day if entries else day
    numbered = []
    for order, entry in enumerate(sorted(entries, key=lambda entry: (entry.filed_at, entry.filing.corp_code))):
        desk = {"유": "8", "코": "9", "넥": "6"}.get(entry.filing.rm, "0")
        stamp = before if order % 17 == 5 else day
        series = 50000 if stamp == before else 0
        number = f"{stamp:%Y%m%d}{desk}{series + order + 1:05d}"
        numbered.append(replace(entry, filing=replace(entry.filing, rcept_no=number)))
    return numbered
