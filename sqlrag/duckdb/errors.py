"""DuckDB's errors in sqlrag's words."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import apsw
import duckdb

from sqlrag.errors import (
    DatabaseError,
    DiskFullError,
    Error,
    InputError,
    LockedError,
    NotADatabaseError,
    ReadOnlyError,
    SQLError,
)
from sqlrag.paths import INDEX_FILE_SUFFIX
from sqlrag.sqlite.errors import LONE_SURROGATE
from sqlrag.sqlite.errors import translated as translated_sqlite

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
    except RuntimeError as error:
        # What DuckDB makes of Ctrl-C while a statement runs.
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from None
        if _NO_UTF8.search(str(error)):
            raise InputError(LONE_SURROGATE) from error
        raise
    except UnicodeEncodeError as error:
        raise InputError(LONE_SURROGATE) from error
    except duckdb.Error as error:
        original = raised.take() if raised is not None else None
        if isinstance(original, (Error, KeyboardInterrupt)):
            raise original from None
        if isinstance(original, apsw.Error):
            with translated_sqlite(f"{path}{INDEX_FILE_SUFFIX}"):
                raise original from None
        if _INTERRUPTED.search(str(error)):  # Ctrl-C while it took rows from Arrow
            raise KeyboardInterrupt from None
        said = original if isinstance(original, duckdb.Error) else error
        raise _translation(said, path) from (original or error)


# A str that UTF-8 can't hold, as DuckDB 1.5 and 2 put it.
_NO_UTF8 = re.compile(r"Unable to cast Python instance of type <class 'str'>|std::bad_cast")

_INTERRUPTED = re.compile(r"^Invalid Input Error: .* failed: KeyboardInterrupt")

# What DuckDB says, in lower case, and what it means.
_FULL = "the disk is full; what was committed before is intact: make room and run it again"
_OTHER_VERSION = f"DuckDB {duckdb.__version__} can't read it, another version wrote it: install that one, or a newer"
_MEANINGS: tuple[tuple[str, type[Error], str], ...] = (
    ("could not set lock", LockedError, "another process has it open: close that one, or open it with read_only=True"),
    ("different configuration", LockedError, "this process has it open already, read-only or not: close that one"),
    ("transactioncontext error: conflict", LockedError, "another connection has just written the same rows: try again"),
    ("not a valid duckdb database", NotADatabaseError, "it is not a DuckDB database"),
    ("with version number", NotADatabaseError, _OTHER_VERSION),
    ("corrupt database file", NotADatabaseError, "it is damaged: DuckDB's checksum of it is another"),
    ("sqlite_scanner", NotADatabaseError, "it is a SQLite database: open it with engine='sqlite'"),
    ("no space left", DiskFullError, _FULL),
    ("out of disk space", DiskFullError, _FULL),
    ("file too large", DiskFullError, "the file may not grow (ulimit -f); what was committed before is intact"),
    ("read-only mode", ReadOnlyError, "it is open read-only"),
    ("read-only file system", ReadOnlyError, "it is on a read-only file system: open it with read_only=True"),
    ("permission denied", DatabaseError, "you may not open it: check its permissions, or use read_only=True"),
    ("database does not exist", DatabaseError, "it does not exist"),
    ("has been invalidated", DatabaseError, "an earlier error stopped it: close it and open it again"),
    ("cannot encode str as utf-8", InputError, LONE_SURROGATE),
    ("values were not provided", InputError, "the parameters do not fit the statement"),
    ("argument/count mismatch", InputError, "the parameters do not fit the statement"),
)


def _translation(error: duckdb.Error, path: str) -> Error:
    words = str(error)
    # These three quote the statement, in which anything may stand.
    if isinstance(error, (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)):
        return SQLError(words)
    first_line = words.splitlines()[0] if words else ""
    damaged = isinstance(error, (duckdb.IOException, duckdb.FatalException, duckdb.SerializationException))
    if damaged and os.path.isfile(path) and not os.path.getsize(path):
        return NotADatabaseError(f"{path} is empty, so it is no DuckDB database: remove it, and it is made anew")
    for sign, kind, meaning in _MEANINGS:
        if sign in first_line.lower():
            said = f" ({first_line})" if kind is InputError else ""
            return kind(f"{path}: {meaning}{said}")
    if damaged:
        return NotADatabaseError(f"{path} is damaged, or cannot be read: {first_line}")
    return SQLError(words)
