"""The bytes between the server and its clients: frames, values, rows and tables (docs/protocol.md, version 1)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from operator import index
from typing import Any, TypeAlias

from sqlrag.errors import InputError

__all__ = [
    "LONGEST_FRAME",
    "LONGEST_TEXT",
    "VERSION",
    "Frame",
    "ProtocolError",
    "Value",
    "as_row",
    "as_table",
    "query_body",
    "read_row",
    "read_table",
]

VERSION = 1

LONGEST_FRAME = 64 << 20
"""Bytes of a frame, including its type."""

LONGEST_TEXT = 4_000_000
"""Characters of one text: a model's tokenizer takes some hundred bytes of memory for each token."""

Value: TypeAlias = "int | float | str | bytes | None"
"""A value that SQLite stores (https://www.sqlite.org/datatype3.html)."""

_NULL, _INTEGER, _REAL, _TEXT, _BLOB = range(5)
_I64 = struct.Struct("<q")
_F64 = struct.Struct("<d")
_U32 = struct.Struct("<I")
_U16 = struct.Struct("<H")
_SIZES = struct.Struct("<HI")


class Frame(IntEnum):
    """The types of frames: the client's are below 10, the server's from 10 on."""

    HELLO = 1
    WELCOME = 2
    BEGIN = 3
    CALL = 4
    ROWS = 5
    FAILED = 6
    STATUS = 7
    STOP = 8
    CANCEL = 9
    QUERY = 10
    RESULT = 11
    ERROR = 12
    WORKING = 13


class ProtocolError(Exception):
    """The other side broke the protocol; the connection cannot be used any more."""


def as_row(values: Sequence[Any]) -> bytes:
    """Return a row: a count of 16 bits, then its values. Raises InputError for a value that SQLite cannot store."""
    return b"".join([_U16.pack(len(values)), *map(_encoded, values)])


def as_table(columns: int, rows: Sequence[Sequence[Any]]) -> bytes:
    """Return a table: the counts of its columns and rows, then the values, row by row."""
    return b"".join([_SIZES.pack(columns, len(rows)), *(_encoded(value) for row in rows for value in row)])


def query_body(sql: str, bindings: Any) -> bytes:
    """Return the body of a QUERY; `bindings` is a mapping by name, a sequence, or None."""
    named = bindings.items() if hasattr(bindings, "items") else [(None, value) for value in bindings or ()]
    values: list[Any] = [sql, len(named)]
    for name, value in named:
        values += (name, value)
    return as_row(values)


def read_row(body: bytes, *, least: int = 0) -> list[Value]:
    """Return the values of a row. Raises ProtocolError, UnicodeDecodeError for text that is not UTF-8."""
    reader = _Reader(body)
    count = reader.number(_U16)
    values = reader.values(count)
    reader.end()
    if count < least:
        raise ProtocolError(f"a row of {count} values where {least} are needed")
    return values


def read_table(body: bytes) -> list[tuple[Value, ...]]:
    """Return the rows of a table. Raises ProtocolError, UnicodeDecodeError for text that is not UTF-8."""
    reader = _Reader(body)
    columns, rows = reader.unpacked(_SIZES)
    if columns * rows > len(body) or (rows and not columns):  # each value takes a byte at least
        raise ProtocolError(f"a table of {columns} columns and {rows} rows in {len(body)} bytes")
    values = reader.values(columns * rows)
    reader.end()
    return [tuple(values[start : start + columns]) for start in range(0, len(values), columns or 1)]


class _Reader:
    """Reads values off a body, one after the other."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def unpacked(self, form: struct.Struct) -> tuple[Any, ...]:
        try:
            found = form.unpack_from(self._body, self._at)
        except struct.error:
            raise ProtocolError("a frame ends in the middle of a value") from None
        self._at += form.size
        return found

    def number(self, form: struct.Struct) -> int:
        return int(self.unpacked(form)[0])

    def values(self, count: int) -> list[Value]:
        return [self._value() for _ in range(count)]

    def end(self) -> None:
        if self._at != len(self._body):
            raise ProtocolError(f"{len(self._body) - self._at} bytes too many in a frame")

    def _value(self) -> Value:
        if self._at >= len(self._body):
            raise ProtocolError("a frame ends before its last value")
        tag = self._body[self._at]
        self._at += 1
        if tag == _NULL:
            return None
        if tag == _INTEGER:
            return self.number(_I64)
        if tag == _REAL:
            return float(self.unpacked(_F64)[0])
        if tag not in (_TEXT, _BLOB):
            raise ProtocolError(f"a value has the tag {tag}")
        length = self.number(_U32)
        start, self._at = self._at, self._at + length
        if self._at > len(self._body):
            raise ProtocolError("a frame ends in the middle of a text or blob")
        found = self._body[start : self._at]
        return found.decode() if tag == _TEXT else found


def _encoded(value: Any) -> bytes:
    if value is None:
        return b"\0"
    if isinstance(value, str):
        encoded = value.encode()
        return b"\3" + _U32.pack(len(encoded)) + encoded
    if isinstance(value, float):
        return b"\2" + _F64.pack(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b"\4" + _U32.pack(len(value)) + bytes(value)
    try:
        return b"\1" + _I64.pack(index(value))
    except (TypeError, struct.error):
        raise InputError(f"{value!r:.80} is no value that SQLite can store") from None
