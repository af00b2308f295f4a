"""Wire payloads that went wrong: where an answer has its records, what can be done to them, and what must come of it.

Belongs here: the shapes of our upstreams' answers (JSON, XML, fixed width, zipped), random damage to them, and the
judgement over what a client made of the damaged one. Does not belong here: the clients and their questions.

The judgement knows no client. It compares what a client makes of a damaged answer with what it made of the whole one:
a record whose row was left alone comes back as it was; a damaged row becomes a reject, or a record that differs only
in what the damage says; nothing vanishes without a word.
"""

import dataclasses
import io
import json
import math
import random
import re
import types
import typing
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from xml.etree import ElementTree as ET

from azak_assets.sources.failures import SourceFailure
from azak_assets.sources.records import Batch, RejectCode

Row = Any
BLANK = {None, "", "-", "0", "00000000"}
SCALES = (1, 1_000, 1_000_000, 100_000_000)
_NUMBER = re.compile(r"-?[\d,]+(\.\d+)?", re.ASCII)


# ---- where an answer has its records ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """How to take the rows out of a body, and put others in. Raises whatever a body raises that is no longer one."""

    rows: Callable[[bytes], list[Row]]
    put: Callable[[bytes, list[Row]], bytes]
    is_list: bool = True
    """Whether rows may come in another number and order."""


def _json(body: bytes) -> Any:
    """As our clients read it: UTF-8, else CP949, else with marks for what is neither."""
    for encoding in ("utf-8-sig", "cp949"):
        try:
            return json.loads(body.decode(encoding))
        except UnicodeDecodeError:
            continue
    return json.loads(body.decode("utf-8", "replace"))


def json_list(*path: str, item: str | None = None) -> Shape:
    """Rows in a list at `path` of a JSON object; with `item` each row stands under that name."""

    def rows(body: bytes) -> list[Row]:
        found = _json(body)
        for name in path:
            found = found[name]
        if not isinstance(found, list):
            raise TypeError
        return found if item is None else [one[item] for one in found]

    def put(body: bytes, rows: list[Row]) -> bytes:
        whole = json.loads(body)
        found = whole
        for name in path[:-1]:
            found = found[name]
        old = found[path[-1]]
        found[path[-1]] = rows if item is None else [{**old[0], item: row} for row in rows]
        return json.dumps(whole, ensure_ascii=False).encode("utf-8", "surrogatepass")

    return Shape(rows, put)


def json_objects(*names: str) -> Shape:
    """One record in one or several objects of a JSON object; each counts as a row."""

    def rows(body: bytes) -> list[Row]:
        whole = _json(body)
        return [whole[name] for name in names]

    def put(body: bytes, rows: list[Row]) -> bytes:
        whole = json.loads(body) | {name: {} for name in names} | dict(zip(names, rows, strict=False))
        return json.dumps(whole, ensure_ascii=False).encode("utf-8", "surrogatepass")

    return Shape(rows, put, is_list=False)


def xml_list(tag: str) -> Shape:
    """Rows as elements of an XML document; a row maps the names of its children to their texts."""

    def rows(body: bytes) -> list[Row]:
        return [{child.tag: child.text for child in one} for one in ET.fromstring(body).iter(tag)]

    def put(body: bytes, rows: list[Row]) -> bytes:
        root = ET.fromstring(body)
        (parent,) = [one for one in root.iter() if one.find(tag) is not None]
        for one in parent.findall(tag):
            parent.remove(one)
        for row in rows:
            element = ET.SubElement(parent, tag)
            for name, value in row.items() if isinstance(row, Mapping) else ():
                text = value if isinstance(value, str) else json.dumps(value)
                ET.SubElement(element, name).text = re.sub(r"[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]", "?", text)
        return ET.tostring(root, "utf-8")

    return Shape(rows, put)


def zipped(inside: Shape) -> Shape:
    """The same in the one file of a zip archive."""

    def put(body: bytes, rows: list[Row]) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipFile(io.BytesIO(body)).namelist()[0], inside.put(unzipped(body), rows))
        return buffer.getvalue()

    return Shape(lambda body: inside.rows(unzipped(body)), put)


def unzipped(body: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return archive.read(archive.namelist()[0])


LINES = Shape(
    lambda body: [line for line in body.split(b"\n") if line.strip()],
    lambda _, rows: b"\n".join(row if isinstance(row, bytes) else str(row).encode() for row in rows) + b"\n",
)
"""Rows as lines of bytes."""
NO_ROWS = Shape(lambda _: [], lambda body, _: body)


# ---- damage ----------------------------------------------------------------------------------------------------------

VALUES: tuple[Any, ...] = (
    None, "", "  ", "-", "0", "-1", "1", "칠만", "１２３", "1_000", "1e5", "1e400", "NaN", "Infinity", "-inf", "0x1f",
    "12,345", "+7", "7.", ".5", "7.50", "9" * 18, "9" * 19, "9" * 40, "9" * 5000, "-0", "00000000", "20261350",
    "20260230", "99991231", "00010101", "2026-09-03", "20260901", "20260905", "250000", "090100", "90100", "000000",
    "Thu, 03 Sep 2026 09:00:00", "Thu, 03 Sep 2026 09:00:00 +0900", "Thu, 03 Sep 2199 09:00:00 +0900", "\x00",
    "a\x00b", "\ud800", "é" * 3000, "<b>굵게</b>", "&lt;b&gt;", "\u202e", "Y", "N", "01", "005930", "00593", "A05930",
    "https://", "javascript:alert(1)", 0, 1, -1, 7.5, 1e308, 10**30, True, False, [], {}, [1], {"a": "b"}, [[]],
)  # fmt: skip
ROWS: tuple[Any, ...] = (None, "a row", 5, [], {}, [{}], True)


@dataclass(frozen=True)
class Damage:
    """A damaged body, or answer, and what was done, for whoever reads of it."""

    what: str
    body: bytes
    status: int = 200


def damaged(body: bytes, shape: Shape, dice: random.Random, first: int) -> Damage:
    """One random damage to a body, three times in four to one of its `first` rows."""
    rows = shape.rows(body)
    if rows and dice.random() < 0.75:
        what, changed = _rows_damaged(rows, dice, first, shape)
        return Damage(what, shape.put(body, changed))
    if dice.random() < 0.5:
        envelope = _envelope_damaged(body, dice)
        if envelope is not None:
            return envelope
    return _bytes_damaged(body, dice)


def _rows_damaged(rows: list[Row], dice: random.Random, first: int, shape: Shape) -> tuple[str, list[Row]]:
    at = dice.randrange(min(len(rows), first))
    row, changed = rows[at], list(rows)
    kinds = ["value"] * 8 + ["drop", "rename", "swap", "pad", "unknown", "row"]
    kind = dice.choice([*kinds, "twice", "gone", "order"] if shape.is_list else kinds)
    if isinstance(row, bytes):
        what, changed[at] = _line_damaged(row, dice)
        return f"row {at}: {what}", changed
    names = list(row) if isinstance(row, Mapping) else []
    if kind == "order":
        dice.shuffle(changed)
    elif kind == "twice":
        changed.insert(dice.randrange(len(changed) + 1), row)
    elif kind == "gone":
        del changed[at]
    elif kind == "row" or not names:
        changed[at] = dice.choice(ROWS)
    else:
        name = dice.choice(names)
        new, kind = _row_damaged(dict(row), name, kind, dice)
        changed[at] = new
        return f"row {at}, {name}: {kind}", changed
    return f"row {at}: {kind}", changed


def _row_damaged(row: dict[str, Any], name: str, kind: str, dice: random.Random) -> tuple[dict[str, Any], str]:
    if kind == "drop":
        del row[name]
    elif kind == "rename":
        row = {f"{key}_new" if key == name else key: value for key, value in row.items()}
    elif kind == "swap":
        other = dice.choice(list(row))
        row[name], row[other] = row[other], row[name]
        kind = f"swapped with {other}"
    elif kind == "pad":
        row[name] = f"  {row[name]} \t" if isinstance(row[name], str) else row[name]
    elif kind == "unknown":
        row[f"unknown_{dice.randrange(9)}"] = dice.choice(VALUES)
    else:
        value = dice.choice(VALUES)
        old = row[name]
        if isinstance(old, str) and old and dice.random() < 0.3:
            digit = dice.randrange(len(old))
            value = old[:digit] + dice.choice("0123456789-. x") + old[digit + 1 :]
        row[name] = value
        kind = f"becomes {value!r:.60}"
    return row, kind


def _line_damaged(line: bytes, dice: random.Random) -> tuple[str, bytes]:
    at = dice.randrange(len(line))
    return dice.choice(
        [
            ("a byte less", line[:at] + line[at + 1 :]),
            ("a byte more", line[:at] + b"0" + line[at:]),
            ("another byte", line[:at] + bytes([dice.randrange(32, 256)]) + line[at + 1 :]),
            ("cut", line[:at]),
            ("spaces", line[: at // 8 * 8] + b" " * 8 + line[at // 8 * 8 + 8 :]),
        ]
    )


def _envelope_damaged(body: bytes, dice: random.Random) -> Damage | None:
    try:
        whole = json.loads(body)
    except ValueError:
        return None
    name = dice.choice(list(whole))
    kind = dice.choice(["value", "value", "value", "drop", "rename", "unknown"])
    new, kind = _row_damaged(whole, name, kind, dice)
    return Damage(f"envelope, {name}: {kind}", json.dumps(new).encode())


def _bytes_damaged(body: bytes, dice: random.Random) -> Damage:
    at = dice.randrange(len(body)) if body else 0
    deep = dice.choice([2_000, 200_000])
    return dice.choice(
        [
            Damage("cut", body[:at]),
            Damage("a bit", body[:at] + bytes([body[at] ^ (1 << dice.randrange(8))]) + body[at + 1 :]),
            Damage("a NUL", body[:at] + b"\x00" + body[at:]),
            Damage("bytes between", body[:at] + dice.randbytes(9) + body[at:]),
            Damage("doubled", body + body),
            Damage("a mark of byte order", b"\xef\xbb\xbf" + body),
            Damage("CP949", body.decode("utf-8", "replace").encode("cp949", "replace")),
            Damage("UTF-16", body.decode("utf-8", "replace").encode("utf-16", "replace")),
            Damage("empty", b""),
            Damage("spaces", b" \r\n"),
            Damage("a page", "<!DOCTYPE html><html><body>서비스 점검</body></html>".encode()),
            Damage("another value", dice.choice([b"null", b"[]", b"{}", b"5", b'"text"', b"true", b"NaN", b"[[]]"])),
            Damage("deep lists", b"[" * deep + b"]" * deep),
            Damage("deep objects", b'{"a":' * deep + b"1" + b"}" * deep),
            Damage("a bomb of entities", _BOMB),
            Damage("a zip archive of something else", _zip(b"no data of ours")),
            Damage("an empty zip archive", _zip(None)),
            Damage("a status", body, dice.choice([201, 204, 301, 400, 401, 403, 404, 408, 418, 429, 500, 503])),
        ]
    )


_BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY a%d "&a%d;&a%d;&a%d;&a%d;">' % (n, n - 1, n - 1, n - 1, n - 1) for n in range(1, 12))
    + b']><rss version="2.0"><channel><item><title>&a11;</title></item></channel></rss>'
).replace(b"&a0;", b"&a;")


def _zip(content: bytes | None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        if content is not None:
            archive.writestr("a file", content)
    return buffer.getvalue()


# ---- what must come of it --------------------------------------------------------------------------------------------


@dataclass
class Told:
    """How often what came of a damage: nobody shall believe a run in which nothing lands or nothing is refused."""

    failed: int = 0
    rejected: int = 0
    landed: int = 0
    causes: dict[str, int] = field(default_factory=dict)


@dataclass
class Whole:
    """What a client makes of the whole answer, and which record each row of a body becomes."""

    batch: Batch[Any]
    bodies: list[bytes]
    shape: Shape
    of_row: dict[tuple[int, int], list[Any]]
    """(number of the body, number of the row): the records that are not there without it."""
    loose: frozenset[str] = frozenset()
    """Fields of a record that its neighbours prove: one that lost its neighbour may have None in them."""
    derived: frozenset[str] = frozenset()
    """Fields that are reckoned from several of a row."""
    lenient: frozenset[str] = frozenset()
    """Fields that are None where they cannot be read, though the rest of the row is good: what they are is optional."""
    is_proven: bool = False
    """Whether the rest of an answer has to prove a record: damage elsewhere may cost it, with a reject."""
    is_merged: bool = False
    """Whether several answers tell of a record, so that a damaged row may come before the whole one, and rows that are
    left out for their values become records with others."""
    is_forgiving: bool = False
    """Whether it is read on where it is no such document any more."""
    is_left_out: Callable[[Row], bool] = lambda _: False
    """Whether a client leaves a row out without a word, as its contract says."""


def check_failure(failure: SourceFailure) -> None:
    """It says who, what, and what to do."""
    assert failure.upstream
    assert failure.what.strip(), failure
    assert failure.advice.strip(), failure
    assert failure.action in ("retry", "wait", "stop", "alert")


def check_record(record: Any) -> None:
    """Every value is of its declared type, finite, aware and storable, and prices do not contradict each other."""
    for name, declared in typing.get_type_hints(type(record)).items():
        value = getattr(record, name)
        assert _fits(value, declared), f"{name}={value!r} is no {declared} in {record}"
        if isinstance(value, float):
            assert math.isfinite(value), f"{name}={value!r} in {record}"
        if isinstance(value, int):
            assert -(2**63) <= value < 2**63, f"{name}={value!r} in {record}"
        if isinstance(value, datetime):
            assert value.tzinfo is not None, f"{name}={value!r} in {record}"
        if isinstance(value, str):
            assert value.strip(), f"{name} is blank in {record}"
            is_repaired = type(record).__name__ == "Article" and name in ("title", "excerpt")
            assert is_repaired or not re.search("[\x00\ud800-\udfff]", value), f"{name}={value!r} in {record}"
    low, high = getattr(record, "low", None), getattr(record, "high", None)
    if low is not None and high is not None and type(record).__name__ != "IndexBar":
        assert 0 < low <= min(record.open, getattr(record, "close", low)) <= high, record


def _fits(value: Any, declared: Any) -> bool:
    origin = typing.get_origin(declared)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, one) for one in typing.get_args(declared))
    if origin is typing.Literal:
        return value in typing.get_args(declared)
    if origin is list:
        return isinstance(value, list) and all(_fits(one, typing.get_args(declared)[0]) for one in value)
    if declared in (None, type(None)):
        return value is None
    if declared is float:
        return isinstance(value, float | int) and not isinstance(value, bool)
    if declared is date:
        return isinstance(value, date) and not isinstance(value, datetime)
    return isinstance(value, declared) and (declared is bool or not isinstance(value, bool))


def check_batch(whole: Whole, number: int, damage: Damage, batch: Batch[Any]) -> None:
    """Nothing wrong landed, and nothing vanished without a word."""
    known = _members(whole.batch.records)
    for record in batch.records:
        if record not in known:
            check_record(record)
    for reject in batch.rejects:
        assert reject.field, reject
        assert reject.reason, reject
    intact = list(whole.batch.records)
    try:
        rows = whole.shape.rows(damage.body)
    except Exception:  # noqa: BLE001 - it is no such body any more; then it may bring nothing new
        rows = None
    if rows is None or damage.status != 200:
        for record in batch.records:
            assert whole.is_forgiving or any(_same(record, one, whole) for one in intact), f"invented: {record}"
    else:
        _check_rows(whole, number, rows, batch)


def _check_rows(whole: Whole, number: int, rows: list[Row], batch: Batch[Any]) -> None:
    """Of a body whose rows can be told: each record that landed, or did not, is what its row says."""
    intact = list(whole.batch.records)
    before = whole.shape.rows(whole.bodies[number])
    old = [at for at, row in enumerate(before) if not _in(row, rows)]
    new = [row for row in rows if not _in(row, before)]
    touched = [record for at in old for record in whole.of_row.get((number, at), intact)]
    kept, known = _members(batch.records), _members(intact)
    for record in intact:
        if record not in kept and not any(record is one for one in touched):
            is_told = whole.is_proven and len(batch.rejects) > len(whole.batch.rejects)
            is_told = is_told or (whole.is_merged and any(_is_about(one, record) for one in batch.records))
            is_told = is_told or any(one.code is RejectCode.CONFLICT for one in batch.rejects)
            assert is_told or any(_same(one, record, whole) for one in batch.records), f"lost: {record}"
    extra = [
        one for one in batch.records if one not in known and not any(_same(one, record, whole) for record in intact)
    ]
    changes = [_changed(before[at], row) for at in old for row in new] or [_changed({}, row) for row in new]
    for record in extra if touched or not whole.is_merged else []:
        assert any(_is_explained(record, base, values, whole) for base in touched or intact for values in changes), (
            f"wrong: {record} of {new} instead of {touched}"
        )
    told = len(extra) + sum(any(_same(one, record, whole) for one in batch.records) for record in touched)
    told += max(0, len(batch.rejects) - len(whole.batch.rejects))
    silent = [row for row in new if not whole.is_left_out(row)]
    if len(before) > 1 or not batch.records:
        assert told >= min(1, len(silent)), f"vanished: {silent}"


def _members(records: Sequence[Any]) -> Collection[Any]:
    """For asking which records are among them; those with lists are few."""
    try:
        return set(records) if records else records
    except TypeError:
        return records


def _in(row: Row, rows: Sequence[Row]) -> bool:
    return any(_equal(row, one) for one in rows)


def _equal(one: Row, another: Row) -> bool:
    return type(one) is type(another) and one == another


def _same(one: Any, another: Any, whole: Whole) -> bool:
    if type(one) is not type(another):
        return False
    return all(
        getattr(one, name) == getattr(another, name) or (name in whole.loose and getattr(one, name) is None)
        for name in one.__dataclass_fields__
    )


def _changed(before: Row, row: Row) -> list[Any] | None:
    """The values of a damaged row that its row did not have before; None where it is not made of values."""
    if not isinstance(row, Mapping) or not isinstance(before, Mapping):
        return None
    names = before.keys() | row.keys()
    return [row.get(name) for name in names if not _equal(before.get(name), row.get(name))]


def _is_about(one: Any, another: Any) -> bool:
    first = dataclasses.fields(one)[0].name
    return bool(getattr(one, first) == getattr(another, first))


def _is_explained(record: Any, base: Any, values: list[Any] | None, whole: Whole) -> bool:
    """Whether a record differs from what its row was before only in values that the damage wrote."""
    if values is None:  # a line of fixed width: nobody can say of which field a byte was
        return type(record) is type(base)
    return all(
        getattr(record, one.name) == getattr(base, one.name)
        or one.name in whole.derived
        or _is_written(one.name, getattr(record, one.name), values, whole)
        for one in dataclasses.fields(record)
    )


def _is_written(name: str, value: Any, values: Sequence[Any], whole: Whole) -> bool:
    if value is None:
        return name in whole.lenient or any(_is_blank(one) for one in values)
    if isinstance(value, bool):
        return any(isinstance(one, str) for one in values)
    if isinstance(value, int | float):
        numbers = [number for one in values for number in _numbers(one)]
        return any(value in (number * scale, float(number) * scale) for number in numbers for scale in SCALES)
    if isinstance(value, list):
        return all(_is_written(name, one, values, whole) for one in value)
    return any(isinstance(one, str | int | float) for one in values)


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().strip("0.-") == "")


def _numbers(value: Any) -> list[float]:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return []
    if isinstance(value, int | float):
        return [value]
    text = value.strip()
    if not _NUMBER.fullmatch(text) or len(text) > 40:
        return []
    plain = text.replace(",", "")
    return [int(plain)] if plain.lstrip("-").isdigit() else [float(plain), float(plain.split(".")[0])]
