"""DuckDB's errors in sqlrag's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb

from sqlrag.errors import (
    DatabaseError,
    DiskFullError,
    Error,
    LockedError,
    NotADatabaseError,
    ReadOnlyError,
    SQLError,
)

__all__ = ["Raised", "translated"]


class Raised:
    """The error that a Python function raised inside a statement; DuckDB passes on only its text."""

    def __init__(self) -> None:
        self._error: BaseException | None = None

    def put(self, error: BaseException) -> None:
        """Keep the first error of the statement."""
        self._error = self._error or error

    def take(self) -> BaseException | None:
        """Return what was kept, and forget it."""
        error, self._error = self._error, None
        return error


@contextmanager
def translated(path: str, raised: Raised | None = None) -> Iterator[None]:
    """Turn what DuckDB raises in the body into sqlrag's errors; `raised` knows what our functions raised."""
    if raised is not None:
        raised.take()
    try:
        yield
    except duckdb.Error as error:
        original = raised.take() if raised is not None else None
        if isinstance(original, (Error, KeyboardInterrupt)):
            raise original from None
        raise _translation(error, path) from (original or error)


# What DuckDB says, in lower case, and what it means.
_MEANINGS: tuple[tuple[str, Any, str], ...] = (
    ("could not set lock", LockedError, "another process has it open: close that one, or open it with read_only=True"),
    ("not a valid duckdb database", NotADatabaseError, "it is not a DuckDB database"),
    (
        "no space left",
        DiskFullError,
        "the disk is full; what was committed before is intact: make room and run it again",
    ),
    ("read-only mode", ReadOnlyError, "it is open read-only"),
    ("permission denied", DatabaseError, "you may not open it: check its permissions"),
    ("database does not exist", DatabaseError, "it does not exist"),
)


def _translation(error: duckdb.Error, path: str) -> Error:
    words = str(error)
    lowered = words.lower()
    for sign, kind, meaning in _MEANINGS:
        if sign in lowered:
            return kind(f"{path}: {meaning}")  # type: ignore[no-any-return]
    if isinstance(error, (duckdb.IOException, duckdb.FatalException, duckdb.SerializationException)):
        return NotADatabaseError(f"{path} cannot be read: {words.splitlines()[0]}")
    return SQLError(words)
