"""Reading single fields of a wire record, strictly, so that a bad one names itself.

Put here readers that more than one upstream needs. A reader raises `Refused` with the field, its value and the reason;
`parse_rows` turns that into a `Reject` and goes on with the next record. What a field means stays in the clients.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from azak_assets import krx
from azak_assets.sources.records import Reject, RejectCode

T = TypeVar("T")

Row = Mapping[str, Any]

CONFLICTING = "has two conflicting rows: both are rejected"

RECORD_SHOWN = 2000
"""Characters of a refused record that are kept: enough for every record of our upstreams, a bound for a broken one."""

AHEAD = timedelta(hours=24)
"""A publisher's clock may run ahead, or an article be announced for tomorrow; what is dated later is no time of it."""

DATE_ONLY = time(23, 59, 59)
"""The time of day under which an article without one is served; no press stamps it by chance."""

_WHOLE = re.compile(r"(-?\d+)(\.0+)?", re.ASCII)
_DECIMAL = re.compile(r"-?\d{1,19}(\.\d+)?", re.ASCII)
_DAY = re.compile(r"\d{8}", re.ASCII)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
LONGEST_WHOLE = 19
"""Digits of the largest number a column holds, 2^63-1."""


class Refused(ValueError):  # noqa: N818 - it becomes a Reject
    """This field cannot be used, and so its record cannot."""

    def __init__(self, field: str, value: object, reason: str, code: RejectCode = RejectCode.UNREADABLE) -> None:
        self.code = code
        self.field = field
        self.value = str(value)[:200]
        self.reason = reason
        super().__init__(f"{field}={self.value!r}: {reason}")


def text(row: Row, field: str) -> str:
    """The field as stripped text, never empty."""
    value = optional_text(row, field)
    if value is None:
        raise Refused(field, row.get(field, ""), "is missing or empty")
    return value


def optional_text(row: Row, field: str) -> str | None:
    """The field as stripped text, None where it is missing, blank or JSON null."""
    value = _any_text(row, field)
    if value is not None and _UNSTORABLE.search(value):
        # One of them would keep the records beside it out of PostgreSQL too.
        raise Refused(field, value, "holds a NUL or half a character, which no database keeps")
    return value


def _any_text(row: Row, field: str) -> str | None:
    value = row.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Refused(field, value, f"is a JSON {type(value).__name__}, not text")
    return value.strip() or None


def whole(row: Row, field: str, *, minimum: int = 0) -> int:
    """The field as a whole number of at least `minimum`, from text ("1200", "1200.00") or a JSON integer."""
    value = row.get(field)
    if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
        raise Refused(field, value, f"is a JSON {type(value).__name__}, not a whole number")
    written = "" if value is None else str(value).strip()
    if written in {"", "-"}:
        raise Refused(field, value, "is missing or empty")
    found = _WHOLE.fullmatch(written)
    if not found:
        raise Refused(field, value, "is not a whole number")
    # Python itself refuses to read a number of thousands of digits.
    if len(found[1].lstrip("-")) > LONGEST_WHOLE or not minimum <= int(found[1]) < 2**63:
        raise Refused(field, value, f"is outside {minimum} … 2^63-1")
    return int(found[1])


def scaled(row: Row, field: str, unit: int, *, minimum: int = 0) -> int:
    """The field, published in units of `unit`, as a whole number of single ones; `minimum` counts units."""
    number = whole(row, field, minimum=minimum) * unit
    if not -(2**63) < number < 2**63:
        raise Refused(field, row[field], f"times {unit} is outside what a column holds")
    return number


def decimal(row: Row, field: str) -> float:
    """The field as a number, written with ASCII digits and a point; it may be negative."""
    value = text(row, field)
    if not _DECIMAL.fullmatch(value):
        raise Refused(field, value, "is not a number")
    return float(value)


def positive_decimal(row: Row, field: str) -> float:
    """The field as a number above zero, written with ASCII digits and a point."""
    number = decimal(row, field)
    if number <= 0:
        raise Refused(field, text(row, field), "is not a positive number")
    return number


def optional_decimal(row: Row, field: str) -> float | None:
    """The field as a number of either sign, written with ASCII digits and a point; None where it is blank."""
    value = optional_text(row, field)
    if value is None:
        return None
    if not _DECIMAL.fullmatch(value):
        raise Refused(field, value, "is not a number")
    return float(value)


def day(row: Row, field: str) -> date:
    """The field, written YYYYMMDD, as a date."""
    value = text(row, field)
    try:
        if not _DAY.fullmatch(value):
            raise ValueError(value)
        return date(int(value[:4]), int(value[4:6]), int(value[6:]))
    except ValueError:
        raise Refused(field, value, "is not a date written YYYYMMDD") from None


def instant(row: Row, field: str, now: datetime) -> datetime:
    """The field, an RFC 822 or ISO 8601 time that states its offset, as an aware datetime.

    Refused where the calendar ends, which could give it no trading day, and later than `AHEAD` after `now` (aware).
    """
    value = text(row, field)
    parsed = _parsed(field, value)
    if parsed.tzinfo is None:
        raise Refused(field, value, "states no offset from UTC")
    return _of_our_time(field, value, parsed, now)


def is_date_only(published_at: datetime) -> bool:
    """Whether this is the end of a KST day to the second, which stands for an article without a time of day."""
    return published_at.astimezone(krx.KST).time() == DATE_ONLY


def epoch(row: Row, field: str, now: datetime) -> datetime:
    """The field, a JSON number of seconds since 1970, as an aware datetime; refused like an `instant`."""
    value = row.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(field, value, "is not a number of seconds")
    try:
        parsed = datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise Refused(field, value, "is no time of our era") from None
    return _of_our_time(field, value, parsed, now)


def _of_our_time(field: str, value: object, parsed: datetime, now: datetime) -> datetime:
    try:
        on = parsed.astimezone(krx.KST).date()
    except (ValueError, OverflowError):
        raise Refused(field, value, "is no time of our era") from None
    if not krx.FIRST_DAY <= on <= krx.LAST_DAY:
        raise Refused(field, value, f"is outside the calendar, {krx.FIRST_DAY} … {krx.LAST_DAY}")
    if parsed > now + AHEAD:
        raise Refused(field, value, f"lies in the future: it is {now.astimezone(krx.KST):%Y-%m-%d %H:%M} KST")
    return parsed


def _parsed(field: str, value: str) -> datetime:
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            return read(value)
        except (ValueError, OverflowError):
            continue
    raise Refused(field, value, "is not a time in RFC 822 or ISO 8601")


def markup(row: Row, field: str) -> str | None:
    """The field as HTML that `text` makes readable, None where it is missing, blank or JSON null.

    Whatever characters it holds, and with its spaces: in Korean text that was decoded wrongly a no-break space is half
    a character, and `text` can still repair it.
    """
    return row[field] if _any_text(row, field) is not None else None


def reject(row: object, refused: Refused) -> Reject:
    """The record that `refused` was raised for, as it goes to quarantine."""
    written = row if isinstance(row, str) else json.dumps(row, ensure_ascii=False, default=str)
    return Reject(written[:RECORD_SHOWN], refused.field, refused.value, refused.reason, refused.code)


def parse_rows(rows: Iterable[Any], parse: Callable[[Row], T | None]) -> tuple[list[T], list[Reject]]:
    """Parse every row; `parse` returns None for a row to leave out silently and raises `Refused` for a bad one."""
    records: list[T] = []
    rejects: list[Reject] = []
    for row in rows:
        try:
            if not isinstance(row, Mapping):
                raise Refused("record", row, "is not a JSON object")
            record = parse(row)
        except Refused as refused:
            rejects.append(reject(row, refused))
        else:
            if record is not None:
                records.append(record)
    return records, rejects


def one_each(found: Iterable[T], key: Callable[[T], Any], field: str) -> tuple[list[T], list[Reject]]:
    """The records, one for each `key`, in their order; two conflicting records for the same key are both rejected.

    `field` is the one that holds the key on the wire.
    """
    by_key: dict[Any, list[T]] = {}
    for record in found:
        same_key = by_key.setdefault(key(record), [])
        if record not in same_key:
            same_key.append(record)
    rejects = [
        Reject(repr(record)[:RECORD_SHOWN], field, str(value), CONFLICTING, RejectCode.CONFLICT)
        for value, records in by_key.items()
        if len(records) > 1
        for record in records
    ]
    return [records[0] for records in by_key.values() if len(records) == 1], rejects
