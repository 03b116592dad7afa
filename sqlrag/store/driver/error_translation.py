"""Turning SQLite's errors into sqlrag's (result codes: https://www.sqlite.org/rescode.html)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import apsw

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
from sqlrag.process.database_paths import INDEX_FILE_SUFFIX, is_duckdb

__all__ = ["LONE_SURROGATE", "apsw_error", "check_not_duckdb", "translated"]

LONE_SURROGATE = (
    "the statement or one of its parameters has a lone surrogate in it, so it is not Unicode: "
    "replace it, e.g. text.encode('utf-8', 'replace').decode()"
)
"""The message about a text that cannot be encoded in UTF-8."""


# The messages of sqlite-vec and FTS5 when their tables are damaged.
_DAMAGED_TABLES = re.compile(
    "vectors blob |could not open vectors? blob |Error opening vector blob |Could not fetch vector data "
    r"|chunks iter error|Internal sqlite-vec error: |invalid fts5 file format \("
)


_HIDDEN_FUNCTION = re.compile(
    r"'(?:(vector_top_k|text_top_k|hybrid_top_k|search|chunk(?:_text)?)|(json_each|pragma_\w+|sqlrag_\w+))' "
    "is not a function",
    re.IGNORECASE,
)
"""SQLite's message if a table has the name of a table function."""

_LOST_TABLE = re.compile(r"no such table: (main\.)?\w+_(vec|codes|fts|queue|rows)$")


@contextmanager
def translated(path: str, subject: Callable[[], str] | None = None) -> Iterator[None]:
    """Turn APSW's errors in the body into sqlrag's; sqlrag's own pass through.

    `subject`: returns which file an error is about; by default it is the one at `path`.
    """
    try:
        yield
    except UnicodeEncodeError as error:
        raise InputError(LONE_SURROGATE) from error
    except UnicodeDecodeError as error:
        raise SQLError(
            "a text among the results is not UTF-8, as SQLite allows: read it as CAST(... AS BLOB)"
        ) from error
    except apsw.Error as error:
        raise _translation(error, path, subject or (lambda: path)) from error


def apsw_error(code: int, message: str) -> apsw.Error:
    """Return the error that APSW raises for a result code (https://www.sqlite.org/rescode.html)."""
    try:
        kind = type(apsw.exception_for(code))
    except (ValueError, OverflowError):
        kind = apsw.SQLError
    error: Any = kind(message) if issubclass(kind, apsw.Error) else apsw.SQLError(message)
    error.result, error.extendedresult = code & 0xFF, code
    found: apsw.Error = error
    return found


def _translation(  # noqa: C901, PLR0911 - one return for each kind of error
    error: apsw.Error, path: str, subject: Callable[[], str]
) -> Error:
    # Shared memory of the WAL that can't grow is an I/O error to SQLite.
    if isinstance(error, apsw.FullError) or _code(error) == apsw.SQLITE_IOERR_SHMSIZE:
        return DiskFullError(
            f"{subject()}: the disk is full; what was committed before is intact: make room and run it again"
        )
    if _code(error) == apsw.SQLITE_READONLY_ROLLBACK:
        return ReadOnlyError(
            f"{subject()}: a process was stopped while it wrote, which has to be undone before anybody can read: "
            "open it again, where it can be written"
        )
    if isinstance(error, apsw.ReadOnlyError):
        return ReadOnlyError(f"{subject()} is read-only: {error}")
    # A file that ends in the middle of a page.
    if isinstance(error, (apsw.NotADBError, apsw.CorruptError)) or _code(error) == apsw.SQLITE_IOERR_SHORT_READ:
        return _not_a_database(error, path, subject())
    if isinstance(error, (apsw.BusyError, apsw.LockedError)):
        return LockedError(f"{subject()} is being written by another process: try again when it has finished")
    if isinstance(error, apsw.CantOpenError):
        return DatabaseError(
            f"{subject()} cannot be opened: is it there, and may you read it? "
            "Where its folder can't be written, open it with read_only=True"
        )
    if isinstance(error, apsw.IOError):
        return DatabaseError(f"{subject()}: the disk reports an error ({error}); what was committed before is intact")
    if isinstance(error, apsw.BindingsError):
        return InputError(f"{path}: the parameters do not fit the statement ({error})")
    if _DAMAGED_TABLES.match(str(error)):
        if path.endswith(INDEX_FILE_SUFFIX):
            return _not_a_database(error, path, path)
        return NotADatabaseError(
            f"{path}: the vectors or the full text of an index are damaged ({error}): "
            "sqlrag check --repair makes them anew"
        )
    if hidden := _HIDDEN_FUNCTION.fullmatch(str(error)):
        name = hidden[1] or hidden[2]
        remedy = f"call it as sqlrag_{name.lower()}(), or rename the table" if hidden[1] else "rename the table"
        whose = "SQLite's" if hidden[2] and not name.lower().startswith("sqlrag_") else "sqlrag's"
        return SQLError(f"{error}: a table or view called {name} hides {whose} function {name}(): {remedy}")
    if _LOST_TABLE.search(str(error)):
        return SQLError(f"{error}: where it was a part of an index, sqlrag check --repair makes it anew")
    return SQLError(str(error))


def check_not_duckdb(path: str) -> None:
    """Raise NotADatabaseError for a DuckDB file."""
    if is_duckdb(path):
        raise NotADatabaseError(f"{path} is a DuckDB database: open it with engine='duckdb'")


def _not_a_database(error: apsw.Error, path: str, subject: str) -> Error:
    if subject != path:
        return NotADatabaseError(f"{subject} is not a SQLite database, or it is damaged: {error}")
    if path.endswith(INDEX_FILE_SUFFIX):
        return NotADatabaseError(f"{path} is damaged ({error}): close the database and delete it, it is made again")
    return NotADatabaseError(f"{path} is not a SQLite database, or it is damaged: {error}")


def _code(error: apsw.Error) -> int | None:
    """Return SQLite's extended result code."""
    return getattr(error, "extendedresult", None)
