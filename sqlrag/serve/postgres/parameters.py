"""Parameters of a statement: what a client sends, read as values that the engines take."""

from __future__ import annotations

import array
import datetime as dt
import json
import math
import struct
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from sqlrag.serve.postgres.messages import Body, decoded
from sqlrag.serve.postgres.sqlstate import Refused
from sqlrag.serve.postgres.types import BY_OID, TEXT, PgType
from sqlrag.serve.postgres.values import DAY_ZERO, TIME_ZERO

__all__ = ["decode", "for_sqlite"]


_MOST_ELEMENTS = 100_000
"""Of one array."""

_MOST_DECIMALS = 16_383
"""Of a numeric, as PostgreSQL's own. Neither engine has a greater one than a double, about 1.8e308."""

_RANGES = {
    "int2": range(-(1 << 15), 1 << 15), "int4": range(-(1 << 31), 1 << 31), "int8": range(-(1 << 63), 1 << 63),
    "oid": range(1 << 32),
}  # fmt: skip


def decode(data: bytes, oid: int, *, binary: bool, number: int) -> Any:
    """Return the value of parameter `number`, whose type is 0 where the client leaves it open: then it is a text.

    Raises Refused for what is not of that type, or of one that this server does not know in binary.
    """
    kind = BY_OID.get(oid)
    if kind is None:
        if binary and oid:
            raise Refused(
                "0A000", f"${number} is of type {oid} in binary, which this server does not know: send a text"
            )
        kind = TEXT
    try:
        value = _from_binary(data, kind) if binary else _from_text(decoded(data), kind)
        _check_range(value, kind, number)
        return value
    except (ValueError, IndexError, ArithmeticError, struct.error) as error:
        code = "22P03" if binary else "22P02"
        raise Refused(code, f"${number} is no {kind.name}: {data[:50]!r}") from error


def _check_range(value: Any, kind: PgType, number: int) -> None:
    """Raise Refused for a number that its type does not hold, and for an array of too many elements."""
    if kind.element is not None:
        if len(value) > _MOST_ELEMENTS:
            raise Refused("54000", f"${number} has {len(value):,} elements: the most are {_MOST_ELEMENTS:,}")
        for one in value:
            _check_range(one, kind.element, number)
        return
    is_too_large = isinstance(value, int) and kind.name in _RANGES and value not in _RANGES[kind.name]
    if isinstance(value, Decimal) and value.is_finite():
        exponent = value.as_tuple().exponent
        is_too_large = math.isinf(float(value)) or (isinstance(exponent, int) and exponent < -_MOST_DECIMALS)
    if is_too_large:
        raise Refused("22003", f"${number} is out of the range of {kind.name}")


# As text


def _from_text(text: str, kind: PgType) -> Any:
    if kind.element is not None:
        return [None if part is None else _from_text(part, kind.element) for part in _parts(text)]
    return _TEXTS.get(kind.name, str)(text)


def _bool(text: str) -> bool:
    word = text.strip().lower()
    if word in ("t", "true", "y", "yes", "on", "1"):
        return True
    if word in ("f", "false", "n", "no", "off", "0"):
        return False
    raise ValueError(text)


def _bytes(text: str) -> bytes:
    if not text.startswith("\\x"):
        raise ValueError(text)
    return bytes.fromhex(text[2:])


_TEXTS: dict[str, Callable[[str], Any]] = {
    "bool": _bool,
    "bytea": _bytes,
    "int2": int, "int4": int, "int8": int, "oid": int,
    "float4": float, "float8": float,
    "numeric": Decimal,
    "date": dt.date.fromisoformat,
    "time": dt.time.fromisoformat,
    "timestamp": lambda text: dt.datetime.fromisoformat(text.replace(" ", "T", 1)),
    "timestamptz": lambda text: dt.datetime.fromisoformat(text.replace(" ", "T", 1)),
    "uuid": uuid.UUID,
}  # fmt: skip


def _parts(text: str) -> list[str | None]:
    """Return the elements of an array of one dimension, `{a,"b c",NULL}`."""
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError(text)
    parts: list[str | None] = []
    letters = iter(text[1:-1])
    part, quoted = "", False
    for letter in letters:
        if letter == '"':
            quoted = True
            for inner in letters:
                if inner == '"':
                    break
                part += next(letters, "") if inner == "\\" else inner
        elif letter == ",":
            parts.append(None if not quoted and part.upper() == "NULL" else part)
            part, quoted = "", False
        elif letter in "{}":
            raise ValueError(text)  # several dimensions
        else:
            part += next(letters, "") if letter == "\\" else letter
    if text != "{}":
        parts.append(None if not quoted and part.upper() == "NULL" else part)
    return parts


# In binary


def _from_binary(data: bytes, kind: PgType) -> Any:
    if kind.element is not None:
        return _array(data, kind)
    read = _BINARIES.get(kind.name)
    return decoded(data) if read is None else read(data)


def _unpacked(form: str) -> Callable[[bytes], Any]:
    return lambda data: struct.unpack(form, data)[0]


def _timestamp(data: bytes) -> dt.datetime:
    return TIME_ZERO + dt.timedelta(microseconds=_unpacked("!q")(data))


def _numeric(data: bytes) -> Decimal:
    count, weight, sign, scale = struct.unpack_from("!hhHH", data)
    if sign in (0xC000, 0xD000, 0xF000):
        return Decimal({0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}[sign])
    groups = struct.unpack(f"!{count}h", data[8:])
    if scale > 0x3FFF or any(not 0 <= group < 10_000 for group in groups):
        raise ValueError(data)
    digits = "".join(f"{group:04}" for group in groups) or "0"
    return Decimal(f"{'-' if sign == 0x4000 else ''}{digits}e{4 * (weight - count + 1)}")  # exact, with all its digits


_BINARIES: dict[str, Callable[[bytes], Any]] = {
    "bool": lambda data: bool(_unpacked("!B")(data)),
    "bytea": bytes,
    "int2": _unpacked("!h"), "int4": _unpacked("!i"), "int8": _unpacked("!q"), "oid": _unpacked("!I"),
    "float4": _unpacked("!f"), "float8": _unpacked("!d"),
    "numeric": _numeric,
    "jsonb": lambda data: decoded(data[1:]),
    "date": lambda data: DAY_ZERO + dt.timedelta(days=_unpacked("!i")(data)),
    "time": lambda data: (TIME_ZERO + dt.timedelta(microseconds=_unpacked("!q")(data))).time(),
    "timestamp": _timestamp,
    "timestamptz": lambda data: _timestamp(data).replace(tzinfo=dt.timezone.utc),
    "uuid": lambda data: uuid.UUID(bytes=data),
}  # fmt: skip


def _array(data: bytes, kind: PgType) -> list[Any]:
    body = Body(data)
    dimensions, _, oid = body.int32(), body.int32(), body.int32()
    element = BY_OID.get(oid)
    if element is None or element.element is not None or dimensions not in (0, 1) or kind.element is None:
        raise ValueError(data)
    if not dimensions:
        return []
    count, _ = body.int32(), body.int32()
    if not 0 <= count <= body.left // 4:
        raise ValueError(data)
    values = []
    for _ in range(count):
        length = body.int32()
        values.append(None if length < 0 else _from_binary(body.take(length), element))
    return values


def for_sqlite(value: Any) -> Any:
    """Return a value as SQLite has it: dates as ISO texts, numbers as vectors have them, other lists as JSON."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        is_integer = value.is_finite() and abs(value) < 1 << 63 and value == value.to_integral_value()
        return int(value) if is_integer else float(value)
    if isinstance(value, list):
        if value and all(isinstance(part, float) for part in value):
            return array.array("f", value).tobytes()  # what sqlite-vec takes, in the machine's order, little-endian
        return json.dumps(value, default=str)
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat(" ") if isinstance(value, dt.datetime) else value.isoformat()
    return str(value) if isinstance(value, uuid.UUID) else value
