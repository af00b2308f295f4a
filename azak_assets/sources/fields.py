"""Reading single fields of a wire record, strictly, so that a bad one names itself.

Put here readers that more than one upstream needs. A reader raises `Refused` with the field, its value and the reason;
`parse_rows` turns that into a `Reject` and goes on with the next record. What a field means stays in the clients.
"""

import html
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any, TypeVar

from azak_assets.sources.records import Reject

T = TypeVar("T")

Row = Mapping[str, Any]

RECORD_SHOWN = 2000
"""Characters of a refused record that are kept: enough for every record of our upstreams, a bound for a broken one."""

_WHOLE = re.compile(r"-?\d+(\.0+)?", re.ASCII)
_DAY = re.compile(r"\d{8}", re.ASCII)
# Only the elements that feeds send: a headline's own angle brackets (<특징주>, <CES 2026>) are text.
_TAG = re.compile(r"</?(?:a|b|br|div|em|font|hr|i|img|p|span|strong|sub|sup|u)\b[^<>]*>", re.IGNORECASE)


class Refused(ValueError):  # noqa: N818 - it becomes a Reject
    """This field cannot be used, and so its record cannot."""

    def __init__(self, field: str, value: object, reason: str) -> None:
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
    value = row.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Refused(field, value, f"is a JSON {type(value).__name__}, not text")
    return value.strip() or None


def whole(row: Row, field: str, *, minimum: int = 0) -> int:
    """The field as a whole number of at least `minimum`, from text ("1200", "1200.00") or a JSON integer."""
    value = row.get(field)
    written = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if written in {"", "-"}:
        raise Refused(field, value, "is missing or empty")
    if not _WHOLE.fullmatch(written):
        raise Refused(field, value, "is not a whole number")
    number = int(written.partition(".")[0])
    if not minimum <= number < 2**63:
        raise Refused(field, value, f"is outside {minimum} … 2^63-1")
    return number


def positive_decimal(row: Row, field: str) -> float:
    """The field as a finite number above zero."""
    value = text(row, field)
    try:
        number = float(value)
    except ValueError:
        raise Refused(field, value, "is not a number") from None
    if not isfinite(number) or number <= 0:
        raise Refused(field, value, "is not a positive number")
    return number


def day(row: Row, field: str) -> date:
    """The field, written YYYYMMDD, as a date."""
    value = text(row, field)
    try:
        if not _DAY.fullmatch(value):
            raise ValueError(value)
        return date(int(value[:4]), int(value[4:6]), int(value[6:]))
    except ValueError:
        raise Refused(field, value, "is not a date written YYYYMMDD") from None


def instant(row: Row, field: str) -> datetime:
    """The field, an RFC 822 or ISO 8601 time that states its offset, as an aware datetime."""
    value = text(row, field)
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            parsed = read(value)
        except ValueError:
            continue
        if parsed.tzinfo is None:
            raise Refused(field, value, "states no offset from UTC")
        return parsed
    raise Refused(field, value, "is not a time in RFC 822 or ISO 8601")


def plain_text(row: Row, field: str) -> str | None:
    """The field without tags and entities, in that order, so that an escaped `&lt;b&gt;` stays as the text it is."""
    value = optional_text(row, field)
    if value is None:
        return None
    return " ".join(html.unescape(_TAG.sub("", value)).split()) or None


def reject(row: object, refused: Refused) -> Reject:
    """The record that `refused` was raised for, as it goes to quarantine."""
    written = row if isinstance(row, str) else json.dumps(row, ensure_ascii=False, default=str)
    return Reject(written[:RECORD_SHOWN], refused.field, refused.value, refused.reason)


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
