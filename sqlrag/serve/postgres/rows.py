"""The rows of a statement on their way to the client, and how long they keep the engine busy.

A statement that has rows left holds the database's file: SQLite's shared lock, or a reader's mark in the log. So it
ends when its time is over, however slowly the client fetches, and the remaining rows of a small result are read into
memory.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from sqlrag.serve.postgres.commands import Reply
from sqlrag.serve.postgres.encoding import encode
from sqlrag.serve.postgres.messages import int16, int32, message
from sqlrag.serve.postgres.sqlstate import ClientError
from sqlrag.values.json_values import BLOB

__all__ = ["Rows", "formats_of", "size_of"]

_LARGEST_ROW = 16 << 20
"""The most bytes of the texts and BLOBs of one row."""

_OVERHEAD = 100
"""Bytes that a row in memory takes in addition to its message."""


class Rows:
    """The rows of a reply as messages, which can be read once. After `seconds` the statement ends.

    Iterating then raises ClientError (57014); it also does for a row that cannot be sent.
    """

    def __init__(self, reply: Reply, formats: list[int], seconds: float) -> None:
        self.ends = time.monotonic() + seconds
        self._seconds = seconds
        self._reply = reply
        self._rest = _messages(reply, formats_of(formats, len(reply.columns)))
        self._held: deque[bytes] = deque()
        self._error: BaseException | None = None
        self.is_running = bool(reply.columns)
        """Whether the statement is still open in the engine."""
        self.was_held = False
        """Whether `hold` has been tried since rows were last sent."""

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._held:
            return self._held.popleft()
        return self._more()

    def _more(self) -> bytes:
        if self._error is not None:
            raise self._error
        if not self.is_running:
            raise StopIteration
        try:
            return next(self._rest)
        except BaseException:
            self._close()
            raise

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return sum(len(one) + _OVERHEAD for one in self._held)

    def hold(self, most: int, until: float) -> None:
        """Read the remaining rows into memory, up to `most` bytes; if those are all, the statement ends.

        Raises what the statement raises; the rows read before are kept.
        """
        size = self.held
        self.was_held = True
        while self.is_running and size <= most and time.monotonic() < until:
            try:
                self._held.append(self._more())
            except StopIteration:
                return
            except BaseException as error:
                self.fail(error)
                raise
            size += len(self._held[-1]) + _OVERHEAD

    def fail(self, error: BaseException) -> None:
        """End the statement; the error comes after the rows in memory."""
        self._error = error
        self._close()

    def end(self, error: BaseException | None = None) -> None:
        """End the statement and forget the rows in memory; iterating then raises the error, or ends."""
        self._error = error
        self._held.clear()
        self._close()

    def _close(self) -> None:
        if self.is_running:
            self.is_running = False
            self._reply.close()

    def end_late(self) -> None:
        """End the statement if its time is over."""
        if self.is_running and time.monotonic() >= self.ends:
            self.end(
                ClientError(
                    "57014",
                    f"stopped {self._seconds:g} s after it began: fetch the rows sooner, or ask for fewer with LIMIT",
                )
            )


def _messages(reply: Reply, formats: list[int]) -> Iterator[bytes]:
    """Yield a DataRow for each row."""
    kinds = [(name, kind, form == 1) for (name, kind), form in zip(reply.columns, formats, strict=True)]
    head = int16(len(kinds))
    for row in reply.rows:
        _check_size(row)
        values = (encode(value, kind, binary=b, column=name) for value, (name, kind, b) in zip(row, kinds, strict=True))
        fields = (int32(-1) if value is None else int32(len(value)) + value for value in values)
        yield message(b"D", head, *fields)


def size_of(row: Sequence[Any]) -> int:
    """Return the number of characters and bytes in the texts and BLOBs of a row."""
    return sum(len(value) for value in row if isinstance(value, (str, *BLOB)))


def _check_size(row: Sequence[Any]) -> None:
    size = size_of(row)
    if size > _LARGEST_ROW:
        said = f"a row has {size:,} characters or bytes, more than {_LARGEST_ROW:,}"
        raise ClientError("54000", f"{said}: select fewer columns, or substr() of them")


def formats_of(formats: list[int], count: int, what: str = "columns") -> list[int]:
    """Return a format for each: none stands for text, a single one for all. Raises ClientError for any other number."""
    if len(formats) not in (0, 1, count) or any(form not in (0, 1) for form in formats):
        raise ClientError("08P01", f"{len(formats)} formats for {count} {what}: 0 or 1 for each, one for all, or none")
    return formats if len(formats) == count else (formats or [0]) * count
