"""Titles and excerpts made readable and comparable; the one place where their markup is stripped.

Belongs here: HTML to text, repairing text that was decoded wrongly, the comparison form of a title, and the hash that
says whether an article's text changed. Does not belong here: decoding a response body, JSON or XML (`sources`, which
return the markup of titles and excerpts as it was written), the text of a whole page (`sources.pages` knows where a
publisher keeps it) and which articles are duplicates (`duplicates`).

Each layer is decoded once. `plain_text` takes a source's markup; everything behind it is text, on which only
`readable` may be called: a second decoding would make of the text `BTC&ETH` another one.
"""

import hashlib
import html
import re
import unicodedata
from html.entities import html5

from w3lib.html import remove_comments, remove_tags_with_content

# Element names that feeds really send, and only with what a tag may hold. Anything else in angle brackets is a
# headline's own punctuation (`<CES 2026>`, `<A/S 논란>`, `<U-20 월드컵>`, `<B 등급>`).
_ELEMENTS = (
    "a", "b", "big", "br", "center", "div", "em", "figcaption", "figure", "font", "h1", "h2", "h3", "h4", "hr", "i",
    "img", "li", "mark", "ol", "p", "s", "small", "span", "strong", "sub", "sup", "table", "tbody", "td", "th", "tr",
    "u", "ul",
)  # fmt: skip
_TAG = re.compile(
    rf"</?({'|'.join(_ELEMENTS)})"
    r"(?:\s+[a-z][a-z0-9_:.-]*\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+))*\s*/?>",
    re.IGNORECASE | re.ASCII,
)
_BLOCKS = frozenset({"br", "div", "hr", "li", "p", "td", "tr"})
_GRADES = frozenset("ABISU")
"""One capital in brackets is a grade or a class (`신용등급 <A> 유지`) unless its end tag is there too."""
# HTML also reads names without the semicolon; in headlines and addresses those are text (`BTC&ETH`, `?id=1&copy=2`).
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});", re.ASCII)
_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\ud800-\udfff]"
)
_HANGUL = re.compile(r"[가-힣]")
_ESCAPED_BYTE = re.compile(r"[\udc80-\udcff]")
_LATIN1_HIGH = re.compile(r"[\x80-\xff]")

_BRACKET_TAG = re.compile(r"\[[^\[\]]{1,20}\]|【[^【】]{1,20}】|〔[^〔〕]{1,20}〕")
# Round brackets carry meaning (`(주)`, `(A씨)`), so only the words that say which take of a story it is, or what
# comes with it.
_TAKE_TAG = re.compile(
    r"\((?:상보|종합|속보|단독|재종합|종합\s*\d*보|\d+보|영상|동영상|포토|사진|그래픽|표|인포그래픽)\)"
)
_NOT_COMPARED = re.compile(r"[\W_]+")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3})")
# What punctuation must survive: 3.5 is not 35, -1.2% is not +1.2%, and 매출↑ is not 매출↓.
_NUMERIC = re.compile(r"(?<=\d)\.(?=\d)|(?<![\w%])[-+](?=\d)|[%↑↓▲▼△▽]")
_SHORTEST_TITLE = 8


def repair_encoding(text: str) -> str:
    """Undo one wrong decoding of Korean text, where the evidence is beyond doubt; anything else returns unchanged.

    Repaired: CP949/EUC-KR or UTF-8 bytes read as Latin-1 or Windows-1252, undecodable bytes kept as surrogates, and
    UTF-8 read as CP949 without loss. Beyond doubt means: the bytes decode strictly, and the result is mostly Hangul.
    """
    if text.isascii():
        return text
    try:
        if _ESCAPED_BYTE.search(text):
            return _hangul_or_none(text.encode("utf-8", "surrogateescape"), "cp949") or text
        if _HANGUL.search(text) is None and len(_LATIN1_HIGH.findall(text)) >= 2:
            raw = _single_bytes(text)
            # UTF-8 first: its strictness makes an accident improbable, while most byte pairs are some CP949 character.
            return _hangul_or_none(raw, "utf-8") or _hangul_or_none(raw, "cp949") or text
        return _hangul_or_none(text.encode("cp949"), "utf-8") or text
    except UnicodeEncodeError:  # a character that no such misreading produces
        return text


def plain_text(markup: str) -> str:
    """HTML as text that a person can read: tags stripped, then entities decoded once, then `readable`.

    In this order, so that an escaped `&lt;b&gt;` stays the text it is. A headline's own angle brackets stay.
    """
    if "<" in markup:
        markup = remove_comments(remove_tags_with_content(markup, which_ones=("script", "style")))
        markup = _TAG.sub(_replacement, markup)
    return readable(decode_entities(markup))


def decode_entities(text: str) -> str:
    """`text` with the entities decoded, once, that end in a semicolon and have a name in HTML 5 or a number."""
    return _ENTITY.sub(_character, text) if "&" in text else text


def readable(text: str) -> str:
    """Text (no markup) repaired, without control and invisible characters, in NFC and with single spaces."""
    return " ".join(_CONTROL.sub("", unicodedata.normalize("NFC", repair_encoding(text))).split())


def normalise_title(title: str) -> str:
    """The form in which two headlines (text, no markup) are compared; not for display.

    Tags in square brackets (`[단독]`), takes (`(상보)`, `(종합2보)`), punctuation and spaces go; letters are
    case-folded. NFKC, because presses differ in full-width forms and `㈜`. Signs, decimals, percent and arrows stay:
    they are what a price headline says. Where the tags are most of the headline (`[인사] 금융위원회`) they stay, or
    all such notices would be one.
    """
    text = unicodedata.normalize("NFKC", readable(title)).casefold()
    untagged = _TAKE_TAG.sub(" ", _BRACKET_TAG.sub(" ", text))
    bare = _comparable(untagged)
    return bare if len(bare) >= _SHORTEST_TITLE else _comparable(text)


def excerpt(text: str, characters: int) -> str:
    """The first `characters` of a text, up to the last whole word, with an ellipsis where it was cut."""
    if len(text) <= characters:
        return text
    head = text[: characters - 1]
    return (head if text[characters - 1].isspace() else re.sub(r"\s\S*\Z", "", head)).rstrip() + "…"


def content_hash(title: str, excerpt: str | None) -> str:
    """sha256 (hex) of an article's title and excerpt (text, no markup); another spacing gives the same hash."""
    text = readable(title) + "\x1f" + ("" if excerpt is None else readable(excerpt))
    return hashlib.sha256(text.encode()).hexdigest()


def _replacement(tag: re.Match[str]) -> str:
    """What stands in place of a tag: nothing, a space for a block, the tag itself where it is a headline's own."""
    if tag[0] == f"<{tag[1]}>" and tag[1] in _GRADES and f"</{tag[1]}>" not in tag.string:
        return tag[0]
    return " " if tag[1].lower() in _BLOCKS else ""


def _character(entity: re.Match[str]) -> str:
    is_known = entity[0].startswith("&#") or entity[0][1:] in html5
    return html.unescape(entity[0]) if is_known else entity[0]


def _comparable(text: str) -> str:
    text = _THOUSANDS.sub("", text)
    kept = {match.start() for match in _NUMERIC.finditer(text)}
    if not kept:
        return _NOT_COMPARED.sub("", text)
    return "".join(c for i, c in enumerate(text) if i in kept or (c.isalnum() and c != "_"))


def _single_bytes(text: str) -> bytes:
    """The bytes behind a Latin-1 or Windows-1252 reading; the five that 1252 leaves undefined come as controls."""
    return b"".join(character.encode("latin-1" if character < "\u0100" else "cp1252") for character in text)


def _hangul_or_none(payload: bytes, encoding: str) -> str | None:
    try:
        text = payload.decode(encoding)
    except UnicodeDecodeError:
        return None
    beyond_ascii = sum(not character.isascii() for character in text)
    hangul = len(_HANGUL.findall(text))
    return text if hangul >= 2 and hangul * 2 > beyond_ascii else None
