"""Columns of a pandas frame as PostgreSQL's binary COPY wants them, checked value by value.

Belongs here: turning typed columns into encoded ones, and refusing values that a column cannot hold. Does not belong
here: the bytes of rows (`copy_format`), which columns a table wants, keys, scopes (`frames`), statements (`changes`).

Missing values are None, NaN, NaT and NA alike.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL

from azak_assets.warehouse.copy_format import (
    EPOCH_DAYS,
    EPOCH_US,
    Coded,
    Encoded,
    Fixed,
    Ints,
    Mask,
    Payloads,
    field_bytes,
)

TEXT_OID: Final = 25
REAL_OID: Final = 700
BIGINT_OID: Final = 20
EXACT_IN_DOUBLE: Final = 2**53


class FrameError(ValueError):
    """A frame that does not fit its table; the message names table, column and value."""


def encode(series: pd.Series[Any], kind: sa.types.TypeEngine[Any], where: str) -> Encoded:
    """Encode one column for its PostgreSQL type; `where` (`schema.table.column`) opens the message of a FrameError."""
    if isinstance(kind, (ARRAY, JSONB)):
        payload = _json if isinstance(kind, JSONB) else _list_of(kind)
        return Payloads([None if _is_missing(value) else payload(value, where) for value in series])
    if isinstance(kind, sa.Integer):
        return _integers(series, kind, where)
    encoders: dict[type[Any], Callable[[pd.Series[Any], str], Encoded]] = {
        sa.Double: _doubles,
        sa.Boolean: _booleans,
        sa.Date: _dates,
        sa.DateTime: _instants,
        sa.Text: _texts,
    }
    for type_, encoder in encoders.items():
        if isinstance(kind, type_):
            return encoder(series, where)
    raise TypeError(f"{where}: no encoding for the type {kind!r}; add it to azak_assets/warehouse/encode.py")


def constant(value: str, rows: int) -> Coded:
    """Encode a text column that holds one value."""
    return Coded(np.zeros(rows, dtype=np.int32), [value.encode()])


def instants(values_us: Ints) -> Fixed:
    """Encode instants given as microseconds since 1970-01-01 UTC."""
    return Fixed(values_us - EPOCH_US, None)


def as_series(column: Fixed) -> pd.Series[Any]:
    """Return an encoded column of instants as datetimes in UTC."""
    return pd.Series((column.values + EPOCH_US).view("datetime64[us]")).dt.tz_localize("UTC")


def fingerprint(columns: dict[str, Encoded], definition: str) -> str:
    """Return a sha256 over the values of all columns in their order and over `definition`."""
    digest = hashlib.sha256(definition.encode())
    for name, column in columns.items():
        digest.update(f"\x00{name}\x00{len(column)}\x00".encode())
        column.update(digest)
    return digest.hexdigest()


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)  # noqa: PLR0124


def _refuse(series: pd.Series[Any], bad: Mask, where: str, wanted: str) -> FrameError:
    position = int(np.flatnonzero(bad)[0])
    value = series.iloc[position]
    return FrameError(
        f"{where} wants {wanted}; row {position} of the frame holds {value!r} ({type(value).__name__}), "
        f"{int(bad.sum())} of {len(series)} rows are like it"
    )


def _objects(series: pd.Series[Any], kinds: type | tuple[type, ...], where: str, wanted: str) -> Mask | None:
    """Check the Python values of an object column one by one; return where they are missing."""
    nulls: Mask = series.isna().to_numpy()
    booleans_wanted = isinstance(kinds, tuple) and bool in kinds
    bad = np.fromiter(
        (
            not missing
            and (not isinstance(value, kinds) or (isinstance(value, (bool, np.bool_)) and not booleans_wanted))
            for value, missing in zip(series, nulls, strict=True)
        ),
        dtype=bool,
        count=len(series),
    )
    if bad.any():
        raise _refuse(series, bad, where, wanted)
    return nulls if nulls.any() else None


def _numbers(series: pd.Series[Any], where: str, wanted: str) -> tuple[npt.NDArray[Any], Mask | None]:
    """Return the numbers of a column (int64 or float64, missing ones 0) and where they are missing."""
    if series.dtype == object:
        nulls = _objects(series, (int, float, np.integer, np.floating), where, wanted)
        filled = [0 if _is_missing(value) else value for value in series]
        try:
            return np.array(filled, dtype=None if filled else np.int64), nulls
        except OverflowError:
            raise FrameError(f"{where} wants {wanted}; a value does not fit") from None
    if series.dtype.kind not in "iuf" or not isinstance(series.dtype, (np.dtype, pd.api.extensions.ExtensionDtype)):
        raise _refuse(
            series, series.notna().to_numpy() | (len(series) > 0), where, f"{wanted} (dtype is {series.dtype})"
        )
    nulls = series.isna().to_numpy() if series.hasnans else None
    kind = np.float64 if series.dtype.kind == "f" else np.int64
    return series.to_numpy(dtype=kind, na_value=0) if nulls is not None else series.to_numpy(dtype=kind), nulls


def _integers(series: pd.Series[Any], kind: sa.Integer, where: str) -> Fixed:
    dtype, name = (
        (np.int16, "smallint")
        if isinstance(kind, sa.SmallInteger)
        else (np.int64, "bigint")
        if isinstance(kind, sa.BigInteger)
        else (np.int32, "integer")
    )
    wanted = f"whole numbers ({name})"
    if series.isna().all():
        return Fixed(np.zeros(len(series), dtype=dtype), np.ones(len(series), dtype=bool) if len(series) else None)
    values, nulls = _numbers(series, where, wanted)
    limits = np.iinfo(dtype)
    bad = (values < limits.min) | (values > limits.max)
    if values.dtype.kind == "f":
        bad |= (values != np.floor(values)) | (np.abs(values) > EXACT_IN_DOUBLE)
    if bad.any():
        raise _refuse(series, bad, where, wanted)
    return Fixed(values.astype(dtype, copy=False), nulls)


def _doubles(series: pd.Series[Any], where: str) -> Fixed:
    if series.isna().all():
        return Fixed(np.zeros(len(series)), np.ones(len(series), dtype=bool) if len(series) else None)
    values, nulls = _numbers(series, where, "numbers (double precision)")
    return Fixed(values.astype(np.float64, copy=False), nulls)


def _booleans(series: pd.Series[Any], where: str) -> Fixed:
    wanted = "booleans"
    if isinstance(series.dtype, np.dtype) and series.dtype.kind == "b":
        return Fixed(series.to_numpy().view(np.int8), None)
    if isinstance(series.dtype, pd.BooleanDtype):
        nulls = series.isna().to_numpy() if series.hasnans else None
        return Fixed(series.to_numpy(dtype=bool, na_value=False).view(np.int8), nulls)
    nulls = _objects(series.astype(object), (bool, np.bool_), where, wanted)
    values = np.fromiter((not _is_missing(one) and bool(one) for one in series), dtype=np.int8, count=len(series))
    return Fixed(values, nulls)


def _dates(series: pd.Series[Any], where: str) -> Fixed:
    wanted = "dates (datetime.date, a KST date)"
    if series.dtype.kind == "M" and isinstance(series.dtype, np.dtype):
        nulls = series.isna().to_numpy()
        days = series.to_numpy().astype("datetime64[D]")
        bad = (days != series.to_numpy()) & ~nulls
        if bad.any():
            raise _refuse(series, bad, where, wanted)
        numbers = np.where(nulls, 0, days.astype(np.int64) - EPOCH_DAYS).astype(np.int32)
        return Fixed(numbers, nulls if nulls.any() else None)
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        raise _refuse(series, np.ones(len(series), dtype=bool), where, wanted) if len(series) else FrameError(where)
    codes, distinct = pd.factorize(series.astype(object))
    for value in distinct:
        if not isinstance(value, date) or isinstance(value, datetime):
            raise _refuse(series, np.asarray(series.astype(object) == value), where, wanted)
    numbers = np.array([*(value.toordinal() for value in distinct), 0], dtype=np.int32) - date(2000, 1, 1).toordinal()
    nulls = codes < 0
    return Fixed(np.where(nulls, 0, numbers[codes]).astype(np.int32), nulls if nulls.any() else None)


def _instants(series: pd.Series[Any], where: str) -> Fixed:
    wanted = "datetimes with a time zone"
    if not isinstance(series.dtype, pd.DatetimeTZDtype):
        if series.dtype.kind == "M" and len(series) and not series.isna().all():
            raise _refuse(series, series.notna().to_numpy(), where, wanted)
        series = series.astype(object)
        _objects(series, datetime, where, wanted)
        naive = np.fromiter(
            (not _is_missing(value) and value.utcoffset() is None for value in series), dtype=bool, count=len(series)
        )
        if naive.any():
            raise _refuse(series, naive, where, wanted)
        series = pd.to_datetime(series, utc=True)
    values = series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[us]").view(np.int64)
    nulls = values == np.iinfo(np.int64).min
    if nulls.any():
        return Fixed(np.where(nulls, 0, values - EPOCH_US), nulls)
    return Fixed(values - EPOCH_US, None)


def _texts(series: pd.Series[Any], where: str) -> Coded:
    codes, distinct = pd.factorize(series)
    values = np.asarray(distinct, dtype=object).tolist()
    for value in values if series.dtype != "str" else ():
        if not isinstance(value, str):
            raise _refuse(series, np.asarray(series.astype(object) == value), where, "text")
    try:
        texts = list(map(str.encode, values))
    except UnicodeEncodeError as error:
        raise FrameError(f"{where} wants text; {error.object!r} holds half a character (a lone surrogate)") from None
    if b"\x00" in b"".join(texts):
        value = next(value for value in values if "\x00" in value)
        raise FrameError(f"{where} wants text; {value!r} holds a NUL character, which PostgreSQL cannot store")
    return Coded(codes.astype(np.int32), texts)


def _json(value: Any, where: str) -> bytes:
    try:
        return b"\x01" + json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True).encode()
    except (TypeError, ValueError) as error:
        raise FrameError(f"{where} wants JSON (finite numbers only): {error}; value {value!r:.200}") from None


def _list_of(kind: ARRAY[Any]) -> Callable[[Any, str], bytes]:
    if isinstance(kind.item_type, REAL):
        return _reals
    return _bigints if isinstance(kind.item_type, sa.BigInteger) else _text_list


def _bigints(value: Any, where: str) -> bytes:
    wanted = f"{where} wants flat lists of whole numbers (bigint[])"
    if not isinstance(value, (list, tuple)) or not all(type(item) is int for item in value):
        raise FrameError(f"{wanted}; found {value!r:.200}")
    try:
        items = b"".join(struct.pack(">iq", 8, item) for item in value)
    except struct.error:
        raise FrameError(f"{wanted}; {value!r:.200} holds one that does not fit") from None
    return _array(BIGINT_OID, len(value), items)


def _reals(value: Any, where: str) -> bytes:
    try:
        numbers = np.asarray(value, dtype=">f4")
    except (TypeError, ValueError):
        raise FrameError(f"{where} wants lists of numbers (real[]); found {value!r:.200}") from None
    if numbers.ndim != 1:
        raise FrameError(f"{where} wants flat lists of numbers (real[]); found {numbers.ndim} dimensions")
    items = np.empty(len(numbers), dtype=[("length", ">i4"), ("value", ">f4")])
    items["length"], items["value"] = 4, numbers
    return _array(REAL_OID, len(numbers), items.tobytes())


def _text_list(value: Any, where: str) -> bytes:
    if not isinstance(value, (list, tuple, np.ndarray)) or not all(isinstance(item, str) for item in value):
        raise FrameError(f"{where} wants lists of text (text[]); found {value!r:.200}")
    return _array(TEXT_OID, len(value), b"".join(field_bytes(item.encode()) for item in value))


def _array(oid: int, length: int, items: bytes) -> bytes:
    if not length:
        return struct.pack(">iii", 0, 0, oid)
    return struct.pack(">iiiii", 1, 0, oid, length, 1) + items


def storable(text: str) -> str:
    """The text without what PostgreSQL cannot hold: NUL and half characters, each replaced by a mark."""
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()
