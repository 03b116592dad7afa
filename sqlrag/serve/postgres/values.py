"""Values as PostgreSQL writes them: as text, and in binary.

https://www.postgresql.org/docs/current/datatype.html; the binary forms are those of the types' send functions.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import struct
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from sqlrag.serve.postgres.sqlstate import Refused
from sqlrag.serve.postgres.types import PgType
from sqlrag.values.json_values import BLOB, json_value

__all__ = ["DAY_ZERO", "TIME_ZERO", "encode"]

DAY_ZERO = dt.date(2000, 1, 1)
TIME_ZERO = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - the zero of a time without a zone

_MICROSECOND = dt.timedelta(microseconds=1)


def encode(value: Any, kind: PgType, *, binary: bool, column: str) -> bytes | None:
    """Return a value of a column as it is sent, None for NULL.

    Raises Refused for a value that is not of the column's type, as SQLite's need not be.
    """
    if value is None:
        return None
    try:
        return _binary(value, kind) if binary else _text(value, kind).encode(errors="replace")
    except (TypeError, ValueError, AttributeError, OverflowError, struct.error) as error:
        shown = repr(value)
        raise Refused(
            "42804",
            f"column {column!r} holds {shown[:50]}{'…' if len(shown) > 50 else ''}, which is no {kind.name} like "
            "the values before it: CAST the column to one type",
        ) from error


# As text


def _text(value: Any, kind: PgType) -> str:
    if kind.element is not None:
        return _array_text(value, kind.element)
    return _TEXTS[kind.name](value)


def _float(value: Any) -> str:
    value = float(value)
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _float4(value: Any) -> str:
    """Return the shortest decimal number that is this one as 32 bits."""
    value = float(value)
    if not math.isfinite(value):
        return _float(value)
    (exact,) = struct.unpack("!f", struct.pack("!f", value))
    return next(
        text
        for digits in range(6, 10)
        if struct.pack("!f", float(text := f"{exact:.{digits}g}")) == struct.pack("!f", exact)
    )


def _int(value: Any) -> str:
    if isinstance(value, (bool, int)):
        return str(int(value))
    raise TypeError


def _string(value: Any) -> str:
    if isinstance(value, BLOB):
        return bytes(value).decode()
    return _float(value) if isinstance(value, float) else str(value)


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, BLOB):
        return bytes(value)
    raise TypeError


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(json_value(value), ensure_ascii=False, default=str)


def _interval(value: dt.timedelta) -> str:
    seconds, micros = value.seconds, value.microseconds
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{value.days} days {clock}" + (f".{micros:06}" if micros else "")


_TEXTS: dict[str, Callable[[Any], str]] = {
    "bool": lambda value: "t" if value else "f",
    "bytea": lambda value: "\\x" + _bytes(value).hex(),
    "int2": _int, "int4": _int, "int8": _int, "oid": _int,
    "float4": _float4, "float8": _float,
    "json": _json, "jsonb": _json,
    "numeric": lambda value: "NaN" if isinstance(value, Decimal) and value.is_nan() else format(Decimal(value), "f"),
    "date": lambda value: value.isoformat(),
    "time": lambda value: value.isoformat(),
    "timestamp": lambda value: value.isoformat(" "),
    "timestamptz": lambda value: value.isoformat(" "),
    "interval": _interval,
    "uuid": str, "text": _string, "varchar": _string,
}  # fmt: skip


def _array_text(values: Any, element: PgType) -> str:
    parts = []
    for value in values:
        if value is None:
            parts.append("NULL")
            continue
        part = _text(value, element)
        if not part or part.upper() == "NULL" or any(letter in ' \t\n\r\v\f,{}"\\' for letter in part):
            part = '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'
        parts.append(part)
    return "{" + ",".join(parts) + "}"


# In binary


def _binary(value: Any, kind: PgType) -> bytes:
    if kind.element is not None:
        return _array_binary(value, kind.element)
    return _BINARIES[kind.name](value)


def _packed(form: str) -> Callable[[Any], bytes]:
    return lambda value: struct.pack(form, value)


def _micros(value: dt.datetime) -> bytes:
    if value.tzinfo is not None:
        value = value.astimezone(dt.timezone.utc).replace(tzinfo=None)
    return struct.pack("!q", (value - TIME_ZERO) // _MICROSECOND)


def _time(value: dt.time) -> bytes:
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return struct.pack("!q", seconds * 1_000_000 + value.microsecond)


def _interval_binary(value: dt.timedelta) -> bytes:
    return struct.pack("!qii", value.seconds * 1_000_000 + value.microseconds, value.days, 0)


def _numeric(value: Any) -> bytes:
    """Return digits to the base of 10,000, the first one's place, sign and decimals (`numeric_send`)."""
    number = Decimal(value)
    if not number.is_finite():
        return struct.pack("!hhHh", 0, 0, 0xC000 if number.is_nan() else 0xD000 if number > 0 else 0xF000, 0)
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    scale = max(-exponent, 0)
    whole = "".join(map(str, digits)) + "0" * max(exponent, 0)
    whole = whole.rjust(scale, "0")
    before, after = whole[: len(whole) - scale], whole[len(whole) - scale :]
    before = before.rjust(-(-len(before) // 4) * 4, "0")
    after = after.ljust(-(-len(after) // 4) * 4, "0")
    groups = [int((before + after)[place : place + 4]) for place in range(0, len(before) + len(after), 4)]
    weight = len(before) // 4 - 1
    while groups and groups[0] == 0:
        groups, weight = groups[1:], weight - 1
    while groups and groups[-1] == 0:
        groups.pop()
    head = struct.pack("!hhHH", len(groups), weight if groups else 0, 0x4000 if sign and groups else 0, scale)
    return head + struct.pack(f"!{len(groups)}h", *groups)


_BINARIES: dict[str, Callable[[Any], bytes]] = {
    "bool": lambda value: b"\1" if value else b"\0",
    "bytea": _bytes,
    "int2": _packed("!h"), "int4": _packed("!i"), "int8": _packed("!q"), "oid": _packed("!I"),
    "float4": _packed("!f"), "float8": _packed("!d"),
    "json": lambda value: _json(value).encode(errors="replace"),
    "jsonb": lambda value: b"\1" + _json(value).encode(errors="replace"),
    "numeric": _numeric,
    "date": lambda value: struct.pack("!i", (value - DAY_ZERO).days),
    "time": _time,
    "timestamp": _micros, "timestamptz": _micros,
    "interval": _interval_binary,
    "uuid": lambda value: uuid.UUID(str(value)).bytes,
    "text": lambda value: _string(value).encode(errors="replace"),
    "varchar": lambda value: _string(value).encode(errors="replace"),
}  # fmt: skip


def _array_binary(values: Any, element: PgType) -> bytes:
    """Return dimensions, whether there are NULLs, the type, length and lower bound, and the elements (`array_send`)."""
    parts = [None if value is None else _binary(value, element) for value in values]
    head = struct.pack("!iiI", 1 if parts else 0, int(None in parts), element.oid)
    head += struct.pack("!ii", len(parts), 1) if parts else b""
    return head + b"".join(
        struct.pack("!i", -1) if part is None else struct.pack("!i", len(part)) + part for part in parts
    )
