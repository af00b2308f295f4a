"""Which listed companies an article names, and where.

Belongs here: finding names, aliases and former names in titles and excerpts. Does not belong here: who is listed and
under which names (a frame says it), the word lists themselves (`data/mention_words.toml`), and how much an article is
about a stock (`marts.matches`).

Precision comes before recall, because a wrong match makes a forecast about the wrong company. Naive matching of short
names is right in less than half of the cases; the rules are:

1. leftmost-longest over all names, aliases and blockers: the longest name at a place blocks shorter ones inside it;
2. no Hangul, Latin letter or digit to its left;
3. to its right nothing of a word, or a run of Hangul that is one whole particle;
4. brokers that sign or speak in a report on another company are not its subject, nor is a trailing "-X" or a credit;
5. a group's name is the group, not the holding company, unless "X, " opens a title that reports a result;
6. strict words ("대상", "전방") need the same;
7. other names that are words, and all of one or two letters, need one of: "X, " opening the title, market evidence
   within 40 characters, a place in an enumeration right behind a company;
8. former names and the names of delisted issues count only while they were in use.

A mark of the issuer itself overrides 4 to 7: "㈜X", "(주)X", or its own code in brackets behind the name; another code
there refuses the name. Sports pages do not name the owner of the club.
"""

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib import resources
from typing import Literal

import pandas as pd
from ahocorasick_rs import AhoCorasick, MatchKind

from azak_assets.krx import KST

Field = Literal["title", "excerpt"]
Method = Literal["name", "alias", "former_name"]

MENTION_COLUMNS = (
    "article_id", "field", "span_start", "span_end", "stock_code", "surface", "method", "trading_day", "known_at",
)  # fmt: skip

_EVIDENCE_DISTANCE = 40
_HEAD = re.compile(r"\s*(?:(?:\[[^\]]*\]|<[^>]*>|【[^】]*】)\s*)*$")
_CODE_BEHIND = re.compile(r"\s?[(\[<]\s?(?:KOSPI|KOSDAQ|코스피|코스닥)?[\s:,]*A?([0-9][0-9A-Z]{5})\b")
_COMPANY_MARK = re.compile(r"(?:㈜|\(주\)|주식회사)\s?$")
_DASH_BEFORE = re.compile(r"[-–—―]$")
_SIGN_BEFORE = re.compile(r"(?:[-–—―|/]|\.\.\.?|…)\s?$")
_NOTHING_BEHIND = re.compile(r"[\s\"'”’)\].…]*$")
_QUOTE_BEHIND = re.compile(r"(?:은|는|\s?:|,)?\s?[\"“‘'”]")
# "키움증권 홍길동 연구원은": whoever speaks for a broker speaks about others.
_ANALYST_BEHIND = re.compile(
    r"[^,·]{0,16}?(?:연구원|연구위원|애널리스트|센터장|이코노미스트|스트래티지스트|투자전략|리서치)"
)
_CREDIT_BEFORE = re.compile(r"(?:사진|제공|자료|출처|이미지|그래픽)\s?(?:제공)?\s?[=:|]\s?$")
_GROUP_BEHIND = re.compile(r"(?:家|系|\s?그룹)")
_ASCII_TAIL = re.compile(r"[&'’.+-]?[A-Za-z0-9]")
_ASCII_HEAD = re.compile(r"[A-Za-z0-9][&'’.+-]$")
_BROKER = re.compile(r"(?:투자)?증권$|證$")


@dataclass(frozen=True, slots=True)
class Mention:
    """One company named at one place. Spans count characters of the field from 0, the end is exclusive."""

    stock_code: str
    field: Field
    span_start: int
    span_end: int
    surface: str
    method: Method


@dataclass(frozen=True, slots=True)
class _Owner:
    """A stock that bears a name, until a last day if it was given up or the stock was delisted."""

    stock_code: str
    method: Method
    first_day: date | None = None
    last_day: date | None = None


@dataclass(slots=True)
class _Name:
    """A pattern of the automaton; without owners it only blocks."""

    text: str
    owners: list[_Owner] = field(default_factory=list)
    is_group: bool = False
    is_strict: bool = False
    is_ambiguous: bool = False
    is_broker: bool = False
    is_latin: bool = False
    shorter: list["_Name"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a name stands; a neighbour is joined to a company right before it ("현대차·기아")."""

    text: str
    field: Field
    start: int
    end: int
    is_neighbour: bool

    @property
    def behind(self) -> str:
        """The character after the name, empty at the end."""
        return self.text[self.end : self.end + 1]

    @property
    def opens_title(self) -> bool:
        """Whether the title, after its tags, begins with "X, ", as headlines begin that report what X did."""
        return self.field == "title" and self.behind == "," and _HEAD.match(self.text, 0, self.start) is not None

    def has(self, words: re.Pattern[str]) -> bool:
        return words.search(self.text) is not None


@dataclass(frozen=True, slots=True)
class _Words:
    """The word lists, compiled."""

    particles: re.Pattern[str]
    evidence: re.Pattern[str]
    sports: re.Pattern[str]
    analyst: re.Pattern[str]
    groups: frozenset[str]
    strict: frozenset[str]
    ambiguous: frozenset[str]
    clear: frozenset[str]
    blockers: tuple[str, ...]


class MentionFinder:
    """Finds the listed companies that texts name. Built once for a universe (some milliseconds), immutable,
    thread-safe.
    """

    def __init__(self, stocks: pd.DataFrame, former_names: pd.DataFrame | None = None) -> None:
        """Names to look for.

        `stocks`: stock_code, name, aliases (list of strings or None); optionally delisted_on (date or None): such a
        stock's names count until that day. `former_names`: stock_code, name, and optionally first_day, last_day
        (dates or None): such a name counts on these days, inclusive. A name of two stocks that are listed at the same
        time names neither. Raises ValueError for an empty name.
        """
        self._words = _words()
        names: dict[str, _Name] = {}
        for stock in stocks.to_dict("records"):
            last_day = _day(stock.get("delisted_on"))
            self._add(names, stock["name"], _Owner(stock["stock_code"], "name", last_day=last_day))
            aliases = list(stock["aliases"]) if isinstance(stock["aliases"], Iterable) else []
            if _BROKER.search(stock["name"]):
                aliases.append(_BROKER.sub("證", stock["name"]))
            for alias in aliases:
                self._add(names, alias, _Owner(stock["stock_code"], "alias", last_day=last_day))
        for former in () if former_names is None else former_names.to_dict("records"):
            first_day, last_day = _day(former.get("first_day")), _day(former.get("last_day"))
            self._add(names, former["name"], _Owner(former["stock_code"], "former_name", first_day, last_day))
        for text in (*self._words.blockers, *self._words.groups):
            names.setdefault(text, _Name(text))
        for name in names.values():
            shorter = [names[name.text[:end]] for end in range(len(name.text) - 1, 0, -1) if name.text[:end] in names]
            name.shorter = shorter if name.owners else []
        self._names = list(names.values())
        self._automaton = AhoCorasick(list(names), matchkind=MatchKind.LeftmostLongest)

    def find(self, title: str, excerpt: str | None = None, on: date | None = None) -> list[Mention]:
        """The mentions in order of field (title first) and place. `on`: the article's KST date; without it names of
        today count.
        """
        found = self._in_field(title, "title", on)
        if excerpt:
            found += self._in_field(excerpt, "excerpt", on)
        return found

    def _add(self, names: dict[str, _Name], text: str, owner: _Owner) -> None:
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"stock {owner.stock_code}: {owner.method} {text!r} is empty; remove it from the universe")
        name = names.get(text)
        if name is None:
            words = self._words
            is_short = len(text) <= 2 and text not in words.clear
            name = names[text] = _Name(
                text,
                is_group=text in words.groups,
                is_strict=text in words.strict,
                is_ambiguous=is_short or text in words.ambiguous,
                is_broker=_BROKER.search(text) is not None,
                is_latin=text.isascii(),
            )
        if all(known.stock_code != owner.stock_code for known in name.owners):
            name.owners.append(owner)

    def _in_field(self, text: str, place: Field, on: date | None) -> list[Mention]:
        hits = self._automaton.find_matches_as_indexes(text)
        if not hits:
            return []
        found: list[Mention] = []
        brokers: list[Mention] = []
        for index, start, end in hits:
            if start and _is_word(text[start - 1]):
                continue
            name = self._bounded(self._names[index], text, start, end)
            if name is None or not name.owners:
                continue
            owner = _owner_on(name.owners, on)
            if owner is None:
                continue
            end = start + len(name.text)  # noqa: PLW2901 - a shorter name may have been the bounded one
            between = text[found[-1].span_end : start] if found else "none"
            spot = _Spot(text, place, start, end, len(between) <= 3 and not between.strip(" -–—·ㆍ‧/&,"))
            is_marked = _is_marked(spot, owner.stock_code)
            if is_marked is None:
                is_marked = not _is_author(name, spot) and self._is_issuer(name, spot)
            if not is_marked:
                continue
            mention = Mention(owner.stock_code, place, start, end, name.text, owner.method)
            found.append(mention)
            if name.is_broker:
                brokers.append(mention)
        if brokers and len({mention.stock_code for mention in found}) > 1 and self._words.analyst.search(text):
            others = [mention for mention in found if mention not in brokers]
            return others or found
        return found

    def _bounded(self, name: _Name, text: str, start: int, end: int) -> _Name | None:
        """The longest of the names at `start` behind which no other word goes on (rule 3)."""
        while True:
            behind = text[end : end + 1]
            follows = self._words.particles.match(text, end) if behind else True
            if follows and not (name.is_latin and _ASCII_TAIL.match(text, end)):
                return None if name.is_latin and _ASCII_HEAD.search(text, max(start - 2, 0), start) else name
            candidates = [shorter for shorter in name.shorter if shorter.owners]
            if not candidates:
                return None
            # Shorter names carry their own, shorter lists, so this ends.
            name = candidates[0]
            end = start + len(name.text)

    def _is_issuer(self, name: _Name, spot: _Spot) -> bool:
        """Rules 5 to 7: whether the name stands for the company at this spot."""
        words = self._words
        if name.is_group or name.is_strict:
            return spot.opens_title and spot.has(words.evidence) and not spot.has(words.sports)
        if name.is_ambiguous and not spot.is_neighbour and not spot.opens_title:
            before = words.evidence.search(spot.text, max(spot.start - _EVIDENCE_DISTANCE, 0), spot.start)
            if not before and not words.evidence.search(spot.text, spot.end, spot.end + _EVIDENCE_DISTANCE):
                return False
        return not spot.has(words.sports) or spot.has(words.evidence)


def mentions_frame(finder: MentionFinder, articles: pd.DataFrame) -> pd.DataFrame:
    """The mentions of `articles` (article_id, title, excerpt, known_at, trading_day) as rows of `text.mentions`.

    Names are those of the KST date of `known_at`. Returns `MENTION_COLUMNS`, in the order of the articles.
    """
    columns = ["article_id", "title", "excerpt", "trading_day", "known_at"]
    days = pd.to_datetime(articles["known_at"], utc=True).dt.tz_convert(KST).dt.date
    rows = [
        (article_id, m.field, m.span_start, m.span_end, m.stock_code, m.surface, m.method, trading_day, known_at)
        for (article_id, title, excerpt, trading_day, known_at), day in zip(
            articles[columns].itertuples(index=False, name=None), days, strict=True
        )
        for m in finder.find(title, excerpt if isinstance(excerpt, str) else None, day)
    ]
    frame = pd.DataFrame(rows, columns=list(MENTION_COLUMNS))
    return frame.astype({"known_at": articles["known_at"].dtype, "span_start": "int64", "span_end": "int64"})


def _is_marked(spot: _Spot, stock_code: str) -> bool | None:
    """True for a mark of the issuer itself, False for a mark of something else, None without a mark."""
    code = _CODE_BEHIND.match(spot.text, spot.end)
    if code:
        return code[1] == stock_code
    if spot.behind == "證" or _GROUP_BEHIND.match(spot.text, spot.end):
        return False
    return True if _COMPANY_MARK.search(spot.text, max(spot.start - 6, 0), spot.start) else None


def _is_author(name: _Name, spot: _Spot) -> bool:
    """Rule 4: whether the name signs or speaks here instead of being spoken of."""
    if _CREDIT_BEFORE.search(spot.text, max(spot.start - 8, 0), spot.start):
        return True
    if name.is_broker and (_QUOTE_BEHIND.match(spot.text, spot.end) or _ANALYST_BEHIND.match(spot.text, spot.end)):
        return True
    is_last = spot.field == "title" and not spot.is_neighbour and _NOTHING_BEHIND.match(spot.text, spot.end)
    signs = _SIGN_BEFORE if name.is_broker else _DASH_BEFORE
    return bool(is_last and signs.search(spot.text, max(spot.start - 4, 0), spot.start))


def _is_word(character: str) -> bool:
    return "가" <= character <= "힣" or (character.isascii() and character.isalnum())


def _owner_on(owners: Sequence[_Owner], on: date | None) -> _Owner | None:
    """The one stock that bears the name on that day; a current name beats a former one."""
    bearers = [
        owner
        for owner in owners
        if (owner.last_day is None or (on is not None and on <= owner.last_day))
        and (owner.first_day is None or on is None or on >= owner.first_day)
    ]
    if len(bearers) > 1:
        bearers = [owner for owner in bearers if owner.method != "former_name" and owner.last_day is None]
    return bearers[0] if len(bearers) == 1 else None


def _day(value: object) -> date | None:
    """A date column's value; pandas has NaT and NaN where there is none."""
    return value if isinstance(value, date) and not pd.isna(value) else None


@cache
def _words() -> _Words:
    text = resources.files("azak_assets.text").joinpath("data/mention_words.toml").read_text(encoding="utf-8")
    lists: dict[str, list[str]] = tomllib.loads(text)
    return _Words(
        particles=re.compile(rf"(?:{_any_of(lists['particles'])})?(?![가-힣A-Za-z0-9])"),
        evidence=re.compile(_any_of(lists["evidence"])),
        sports=re.compile(_any_of(lists["sports"])),
        analyst=re.compile(_any_of(lists["analyst"])),
        groups=frozenset(lists["groups"]),
        strict=frozenset(lists["strict"]),
        ambiguous=frozenset(lists["ambiguous"]),
        clear=frozenset(lists["clear"]),
        blockers=tuple(lists["blockers"]),
    )


def _any_of(words: list[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))
