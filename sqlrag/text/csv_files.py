"""Reading CSV: the delimiter is found, a bad line is named, and reading goes on behind it.

A quote that is never closed would take all lines behind it with it, so the lines of a record that fails are read again
from its second line on.
"""

from __future__ import annotations

import csv
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING

from sqlrag.text.documents import UnreadableError
from sqlrag.text.row_values import exact_number

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["csv_records", "number_columns"]

# The most characters of a record of several lines. After a record that was too long, a quote is taken for a stray one
# much sooner: otherwise a file with many of them would be read to its end again and again.
_LONGEST_RECORD = 64_000_000
_LONGEST_AFTER_ERROR = 200_000

_DELIMITERS = ",;\t|"
_ANY_LENGTH = 2**31 - 1


class _LongFields:
    """A block in which csv reads fields of any length. Its own limit of 128 KiB is less than a long document has.

    The limit holds for the whole process, so the application's own is restored as soon as no row is being read here.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._before = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._readers:
                self._before = csv.field_size_limit(_ANY_LENGTH)
            self._readers += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._readers -= 1
            if not self._readers and csv.field_size_limit() == _ANY_LENGTH:  # the application has not set another one
                csv.field_size_limit(self._before)


_LONG_FIELDS = _LongFields()


class _Lines:
    """The lines of a file, of which those of the present record may be put back."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._waiting: deque[str] = deque()
        self._taken: list[str] = []
        self._length = 0
        self.number = 0
        self.longest = _LONGEST_RECORD

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._length > self.longest and len(self._taken) > 1:
            raise csv.Error("a quote is not closed")
        line = self._waiting.popleft() if self._waiting else next(self._file)
        self.number += 1
        self._taken.append(line)
        self._length += len(line)
        return line

    def begin_record(self) -> None:
        """Forget the lines of the record before."""
        self._taken.clear()
        self._length = 0

    def put_back(self) -> None:
        """Put all lines of the present record back but the first."""
        self._waiting.extendleft(reversed(self._taken[1:]))
        self.number -= max(len(self._taken) - 1, 0)
        self.longest = _LONGEST_AFTER_ERROR


def csv_records(file: IO[str], kind: str) -> Iterator[list[str] | UnreadableError]:
    """Yield the header, then each row that has as many fields, and an error for each row that does not.

    Raises UnicodeDecodeError.
    """
    lines = _Lines(file)
    delimiter = _delimiter(lines, kind)
    width = 0
    while True:
        lines.begin_record()
        first = lines.number + 1
        try:
            with _LONG_FIELDS:
                record = next(csv.reader(lines, delimiter=delimiter, strict=True), None)
        except csv.Error as error:
            last = lines.number
            if last == first:
                yield UnreadableError(f"line {first} is not CSV: {error}")
            else:
                lines.put_back()
                yield UnreadableError(
                    f"lines {first} to {last} are not CSV: {error}; line {first} is left out, the others are read again"
                )
            continue
        if record is None:
            return
        width = width or len(record)
        if len(record) == width:
            yield record
        elif record:
            yield UnreadableError(f"line {first} has {len(record)} fields, and the header {width}")


def _delimiter(lines: _Lines, kind: str) -> str:
    """Return what separates the fields of a file: a tab in TSV, what `sep=` says, or what is frequent in the header."""
    header = next(lines, "")
    said = header.strip().lower()
    if said.startswith("sep=") and len(said) == 5:
        return said[4]
    lines.begin_record()
    lines.number = 0
    lines._waiting.appendleft(header) if header else None  # noqa: SLF001 - the same module
    if kind == "tsv":
        return "\t"
    outside = "".join(header.split('"')[::2])
    counts = {sign: outside.count(sign) for sign in _DELIMITERS}
    return max(_DELIMITERS, key=lambda sign: counts[sign])


def number_columns(records: Iterator[list[str] | UnreadableError], header: Sequence[str]) -> set[str]:
    """Return the columns whose values are all numbers. CSV has no types, and `year >= 2020` needs one."""
    candidates = dict.fromkeys(header, False)  # whether the column has a value
    for record in records:
        if isinstance(record, UnreadableError) or not candidates:
            continue
        for name, value in zip(header, record, strict=False):
            if value and name in candidates:
                if exact_number(value) is None:
                    del candidates[name]
                else:
                    candidates[name] = True
    return {name for name, has_value in candidates.items() if has_value}
