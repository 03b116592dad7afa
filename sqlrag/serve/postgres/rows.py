"""The rows of an answer on their way to the client, and how long the engine is kept busy with them.

A statement that has rows left holds the owner's file: SQLite's shared lock, or a reader's mark in the log. So it ends
with the statement's time, however slowly its client fetches; and what is left of a small answer is taken into memory.
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

__all__ = ["Rows", "of_columns", "size_of"]

_LARGEST_ROW = 16 << 20
"""Bytes of the texts and BLOBs of one row."""

_OVERHEAD = 100
"""Bytes that a row in memory takes beside its own."""


class Rows:
    """The rows of an answer as messages, read once; after `seconds` the statement ends, and so do they.

    Iterating raises ClientError (57014) then, and for a row that cannot be sent.
    """

    def __init__(self, answer: Reply, formats: list[int], seconds: float) -> None:
        self.ends = time.monotonic() + seconds
        self._seconds = seconds
        self._answer = answer
        self._rest = _messages(answer, formats)
        self._held: deque[bytes] = deque()
        self._error: BaseException | None = None
        self.is_running = bool(answer.columns)
        """Whether the engine has a statement open for them."""
        self.was_held = False
        """Whether there were more than `hold` could take."""

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
        """Take into memory what is left, up to so many bytes; the statement ends if that is all of it.

        Raises what the statement does; what was taken before is kept.
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
        """End the statement; after what is in memory comes the error."""
        self._error = error
        self._close()

    def end(self, error: BaseException | None = None) -> None:
        """End the statement and forget what is in memory; what comes next is the error, or nothing."""
        self._error = error
        self._held.clear()
        self._close()

    def _close(self) -> None:
        if self.is_running:
            self.is_running = False
            self._answer.close()

    def end_late(self) -> None:
        """End the statement if its time is over."""
        if self.is_running and time.monotonic() >= self.ends:
            self.end(
                ClientError(
                    "57014",
                    f"stopped {self._seconds:g} s after it began: fetch the rows sooner, or ask for fewer with LIMIT",
                )
            )


def _messages(answer: Reply, formats: list[int]) -> Iterator[bytes]:
    """Yield a DataRow for each row."""
    forms = of_columns(formats, len(answer.columns))
    kinds = [(name, kind, form == 1) for (name, kind), form in zip(answer.columns, forms, strict=True)]
    head = int16(len(kinds))
    for row in answer.rows:
        _check_size(row)
        values = (encode(value, kind, binary=b, column=name) for value, (name, kind, b) in zip(row, kinds, strict=True))
        fields = (int32(-1) if value is None else int32(len(value)) + value for value in values)
        yield message(b"D", head, *fields)


def size_of(row: Sequence[Any]) -> int:
    """Return how many characters and bytes the texts and BLOBs of a row have."""
    return sum(len(value) for value in row if isinstance(value, (str, *BLOB)))


def _check_size(row: Sequence[Any]) -> None:
    size = size_of(row)
    if size > _LARGEST_ROW:
        said = f"a row has {size:,} characters or bytes, more than {_LARGEST_ROW:,}"
        raise ClientError("54000", f"{said}: select fewer columns, or substr() of them")


def of_columns(formats: list[int], count: int) -> list[int]:
    """Return a format for each column: none stands for text, a single one for all."""
    return formats if len(formats) == count else (formats or [0]) * count
