"""Values on the wire: what is sent to a client, and the parameters that it sends, as text and in binary.

https://www.postgresql.org/docs/current/datatype.html; the binary forms are those of the types' send functions.
"""

from __future__ import annotations

import array
import datetime as dt
import json
import math
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlrag.serve.postgres.messages import Body, decoded
from sqlrag.serve.postgres.sqlstate import ClientError
from sqlrag.serve.postgres.types import BY_OID, TEXT, PgType
from sqlrag.values.json_values import BLOB, json_value

__all__ = ["decode", "encode", "for_sqlite"]

_MOST_ELEMENTS = 100_000
"""Of an array that a client sends."""

_MOST_DECIMALS = 16_383
"""Of a numeric, as in PostgreSQL. Neither engine has a numeric greater than a double, about 1.8e308."""

_RANGES = {
    "int2": range(-(1 << 15), 1 << 15), "int4": range(-(1 << 31), 1 << 31), "int8": range(-(1 << 63), 1 << 63),
    "oid": range(1 << 32),
}  # fmt: skip

_DAY_ZERO = dt.date(2000, 1, 1)
_TIME_ZERO = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - the zero of a time without a zone
_MICROSECOND = dt.timedelta(microseconds=1)


def encode(value: Any, kind: PgType, *, binary: bool, column: str) -> bytes | None:
    """Return the bytes of a column's value, None for NULL.

    Raises ClientError for a value that is not of the column's type: SQLite allows any in any column.
    """
    if value is None:
        return None
    try:
        return _to_binary(value, kind) if binary else _to_text(value, kind).encode(errors="replace")
    except (TypeError, ValueError, AttributeError, OverflowError, struct.error) as error:
        shown = repr(value)
        raise ClientError(
            "42804",
            f"column {column!r} holds {shown[:50]}{'…' if len(shown) > 50 else ''}, which is no {kind.name} like "
            "the values before it: CAST the column to one type",
        ) from error


def decode(data: bytes, oid: int, *, binary: bool, number: int) -> Any:
    """Return the value of parameter `number`. If its type is 0, the client leaves it open, and it is a text.

    Raises ClientError for a value that is not of the type, and for a type that this server does not know in binary.
    """
    kind = BY_OID.get(oid)
    if kind is None:
        if binary and oid:
            raise ClientError(
                "0A000", f"${number} is of type {oid} in binary, which this server does not know: send a text"
            )
        kind = TEXT
    try:
        value = _from_binary(data, kind) if binary else _from_text(decoded(data), kind)
        _check_range(value, kind, number)
        return value
    except (ValueError, IndexError, ArithmeticError, struct.error) as error:
        code = "22P03" if binary else "22P02"
        raise ClientError(code, f"${number} is no {kind.name}: {data[:50]!r}") from error


def _check_range(value: Any, kind: PgType, number: int) -> None:
    """Raise ClientError for a number that its type does not hold, and for an array of too many elements."""
    if kind.element is not None:
        if len(value) > _MOST_ELEMENTS:
            raise ClientError("54000", f"${number} has {len(value):,} elements: the most are {_MOST_ELEMENTS:,}")
        for one in value:
            _check_range(one, kind.element, number)
        return
    is_too_large = isinstance(value, int) and kind.name in _RANGES and value not in _RANGES[kind.name]
    if isinstance(value, Decimal) and value.is_finite():
        exponent = value.as_tuple().exponent
        is_too_large = math.isinf(float(value)) or (isinstance(exponent, int) and exponent < -_MOST_DECIMALS)
    if is_too_large:
        raise ClientError("22003", f"${number} is out of the range of {kind.name}")


def for_sqlite(value: Any) -> Any:
    """Return a parameter as SQLite stores it: dates as ISO texts, lists of floats as vectors, other lists as JSON."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        is_integer = value.is_finite() and abs(value) < 1 << 63 and value == value.to_integral_value()
        return int(value) if is_integer else float(value)
    if isinstance(value, list):
        if value and all(isinstance(part, float) for part in value):
            return array.array("f", value).tobytes()  # as sqlite-vec takes it, in the machine's order, little-endian
        return json.dumps(value, default=str)
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat(" ") if isinstance(value, dt.datetime) else value.isoformat()
    return str(value) if isinstance(value, uuid.UUID) else value


# Arrays of one dimension, and the types by their names


def _to_text(value: Any, kind: PgType) -> str:
    if kind.element is None:
        return _CODECS[kind.name].to_text(value)
    parts = []
    for one in value:
        part = "NULL" if one is None else _to_text(one, kind.element)
        if one is not None and (
            not part or part.upper() == "NULL" or any(letter in ' \t\n\r\v\f,{}"\\' for letter in part)
        ):
            part = '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'
        parts.append(part)
    return "{" + ",".join(parts) + "}"


def _from_text(text: str, kind: PgType) -> Any:
    if kind.element is None:
        return _CODECS[kind.name].from_text(text)
    return [None if part is None else _from_text(part, kind.element) for part in _elements(text)]


def _elements(text: str) -> list[str | None]:
    """Return the elements of an array as text, `{a,"b c",NULL}`."""
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


def _to_binary(value: Any, kind: PgType) -> bytes:
    if kind.element is None:
        return _CODECS[kind.name].to_binary(value)
    # Dimensions, whether there are NULLs, the type, length and lower bound, and the elements (`array_send`).
    parts = [None if one is None else _to_binary(one, kind.element) for one in value]
    head = struct.pack("!iiI", 1 if parts else 0, int(None in parts), kind.element.oid)
    head += struct.pack("!ii", len(parts), 1) if parts else b""
    return head + b"".join(
        struct.pack("!i", -1) if part is None else struct.pack("!i", len(part)) + part for part in parts
    )


def _from_binary(data: bytes, kind: PgType) -> Any:
    if kind.element is None:
        return _CODECS[kind.name].from_binary(data)
    body = Body(data)
    dimensions, _, oid = body.int32(), body.int32(), body.int32()
    element = BY_OID.get(oid)
    if element is None or element.element is not None or dimensions not in (0, 1):
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


def _bool(text: str) -> bool:
    word = text.strip().lower()
    if word in ("t", "true", "y", "yes", "on", "1"):
        return True
    if word in ("f", "false", "n", "no", "off", "0"):
        return False
    raise ValueError(text)


def _float_text(value: Any) -> str:
    value = float(value)
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _float4_text(value: Any) -> str:
    """Return the shortest decimal number that is this one in 32 bits."""
    value = float(value)
    if not math.isfinite(value):
        return _float_text(value)
    (exact,) = struct.unpack("!f", struct.pack("!f", value))
    return next(
        text
        for digits in range(6, 10)
        if struct.pack("!f", float(text := f"{exact:.{digits}g}")) == struct.pack("!f", exact)
    )


def _int_text(value: Any) -> str:
    if isinstance(value, (bool, int)):
        return str(int(value))
    raise TypeError


def _string_text(value: Any) -> str:
    if isinstance(value, BLOB):
        return bytes(value).decode()
    return _float_text(value) if isinstance(value, float) else str(value)


def _json_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(json_value(value), ensure_ascii=False, default=str)


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, BLOB):
        return bytes(value)
    raise TypeError


def _bytes_from_text(text: str) -> bytes:
    if not text.startswith("\\x"):
        raise ValueError(text)
    return bytes.fromhex(text[2:])


def _interval_text(value: dt.timedelta) -> str:
    seconds, micros = value.seconds, value.microseconds
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{value.days} days {clock}" + (f".{micros:06}" if micros else "")


def _interval_binary(value: dt.timedelta) -> bytes:
    return struct.pack("!qii", value.seconds * 1_000_000 + value.microseconds, value.days, 0)


def _time_binary(value: dt.time) -> bytes:
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return struct.pack("!q", seconds * 1_000_000 + value.microsecond)


def _timestamp_binary(value: dt.datetime) -> bytes:
    if value.tzinfo is not None:
        value = value.astimezone(dt.timezone.utc).replace(tzinfo=None)
    return struct.pack("!q", (value - _TIME_ZERO) // _MICROSECOND)


def _timestamp(data: bytes) -> dt.datetime:
    return _TIME_ZERO + dt.timedelta(microseconds=_unpacked("!q")(data))


def _timestamp_from_text(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text.replace(" ", "T", 1))


def _numeric_text(value: Any) -> str:
    return "NaN" if isinstance(value, Decimal) and value.is_nan() else format(Decimal(value), "f")


def _numeric_binary(value: Any) -> bytes:
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


def _numeric(data: bytes) -> Decimal:
    count, weight, sign, scale = struct.unpack_from("!hhHH", data)
    if sign in (0xC000, 0xD000, 0xF000):
        return Decimal({0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}[sign])
    groups = struct.unpack(f"!{count}h", data[8:])
    if scale > 0x3FFF or any(not 0 <= group < 10_000 for group in groups):
        raise ValueError(data)
    digits = "".join(f"{group:04}" for group in groups) or "0"
    return Decimal(f"{'-' if sign == 0x4000 else ''}{digits}e{4 * (weight - count + 1)}")  # exact, with all its digits


def _packed(form: str) -> Callable[[Any], bytes]:
    return lambda value: struct.pack(form, value)


def _unpacked(form: str) -> Callable[[bytes], Any]:
    return lambda data: struct.unpack(form, data)[0]


@dataclass(frozen=True)
class _Codec:
    """How values of one type are written and read."""

    to_text: Callable[[Any], str]
    from_text: Callable[[str], Any] = str
    to_binary: Callable[[Any], bytes] = lambda value: _string_text(value).encode(errors="replace")
    from_binary: Callable[[bytes], Any] = decoded


def _whole(form: str) -> _Codec:
    return _Codec(_int_text, int, _packed(form), _unpacked(form))


_STRING = _Codec(_string_text)
_CODECS = {
    "bool": _Codec(lambda value: "t" if value else "f", _bool, _packed("!?"), _unpacked("!?")),
    "bytea": _Codec(lambda value: "\\x" + _bytes(value).hex(), _bytes_from_text, _bytes, bytes),
    "int2": _whole("!h"),
    "int4": _whole("!i"),
    "int8": _whole("!q"),
    "oid": _whole("!I"),
    "float4": _Codec(_float4_text, float, _packed("!f"), _unpacked("!f")),
    "float8": _Codec(_float_text, float, _packed("!d"), _unpacked("!d")),
    "numeric": _Codec(_numeric_text, Decimal, _numeric_binary, _numeric),
    "json": _Codec(_json_text, to_binary=lambda value: _json_text(value).encode(errors="replace")),
    "jsonb": _Codec(
        _json_text,
        to_binary=lambda value: b"\1" + _json_text(value).encode(errors="replace"),
        from_binary=lambda data: decoded(data[1:]),
    ),
    "date": _Codec(
        lambda value: value.isoformat(),
        dt.date.fromisoformat,
        lambda value: struct.pack("!i", (value - _DAY_ZERO).days),
        lambda data: _DAY_ZERO + dt.timedelta(days=_unpacked("!i")(data)),
    ),
    "time": _Codec(
        lambda value: value.isoformat(), dt.time.fromisoformat, _time_binary, lambda data: _timestamp(data).time()
    ),
    "timestamp": _Codec(lambda value: value.isoformat(" "), _timestamp_from_text, _timestamp_binary, _timestamp),
    "timestamptz": _Codec(
        lambda value: value.isoformat(" "),
        _timestamp_from_text,
        _timestamp_binary,
        lambda data: _timestamp(data).replace(tzinfo=dt.timezone.utc),
    ),
    "interval": _Codec(_interval_text, to_binary=_interval_binary),
    "uuid": _Codec(str, uuid.UUID, lambda value: uuid.UUID(str(value)).bytes, lambda data: uuid.UUID(bytes=data)),
    "text": _STRING,
    "varchar": _STRING,
}
