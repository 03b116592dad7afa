"""Turning DuckDB's errors into sqlrag's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import apsw
import duckdb

from sqlrag.errors import (
    DatabaseError,
    DiskFullError,
    Error,
    InputError,
    LockedError,
    MissingDependencyError,
    NotADatabaseError,
    ReadOnlyError,
    SQLError,
)
from sqlrag.process.database_paths import INDEX_FILE_SUFFIX
from sqlrag.store.driver.error_translation import LONE_SURROGATE
from sqlrag.store.driver.error_translation import translated as translated_sqlite

if TYPE_CHECKING:
    from sqlrag.store.registry import IndexRecord

__all__ = ["Raised", "StaleIndexError", "translated"]


class StaleIndexError(Exception):
    """An index that the statement asks lacks rows: the statement is stopped, and will be run again."""

    def __init__(self, record: IndexRecord) -> None:
        super().__init__(f"index {record.name!r} lacks rows")
        self.record = record


class Raised:
    """The error that a Python function raised within a statement, of which DuckDB passes on only the text."""

    def __init__(self) -> None:
        self._error: BaseException | None = None

    def put(self, error: BaseException) -> None:
        """Keep the first error of the statement."""
        self._error = self._error or error

    def take(self) -> BaseException | None:
        """Return the kept error, and forget it."""
        error, self._error = self._error, None
        return error


@contextmanager
def translated(path: str, raised: Raised | None = None, *, opening: bool = False) -> Iterator[None]:
    """Turn DuckDB's errors in the body into sqlrag's. `raised` keeps what our functions raise.

    `opening`: the body opens the database, so an error about a file is about this one.
    """
    if raised is not None:
        raised.take()
    try:
        yield
    except RuntimeError as error:
        # DuckDB's form of Ctrl-C while a statement runs.
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from None
        if _NO_UTF8.search(str(error)):
            raise InputError(LONE_SURROGATE) from error
        raise
    except UnicodeEncodeError as error:
        raise InputError(LONE_SURROGATE) from error
    except duckdb.Error as error:
        original = raised.take() if raised is not None else None
        if isinstance(original, (Error, StaleIndexError, KeyboardInterrupt)):
            raise original from None
        if isinstance(original, apsw.Error):
            with translated_sqlite(f"{path}{INDEX_FILE_SUFFIX}"):
                raise original from None
        if _INTERRUPTED.search(str(error)):  # Ctrl-C while it took rows from Arrow
            raise KeyboardInterrupt from None
        said = original if isinstance(original, duckdb.Error) else error
        raise _translation(said, path, opening=opening) from (original or error)


# The messages of DuckDB 1.5 and 2 about a str that cannot be encoded in UTF-8.
_NO_UTF8 = re.compile(r"Unable to cast Python instance of type <class 'str'>|std::bad_cast")

_INTERRUPTED = re.compile(r"^Invalid Input Error: .* failed: KeyboardInterrupt")

_IN_USE = "another process has it open: close that one, or open it with read_only=True"
_FULL = "the disk is full; what was committed before is intact: make room and run it again"
_OTHER_VERSION = f"DuckDB {duckdb.__version__} can't read it, another version wrote it: install that one, or a newer"

_OF_FILES = (
    duckdb.ConnectionException,
    duckdb.FatalException,
    duckdb.IOException,
    duckdb.OutOfMemoryException,
    duckdb.SerializationException,
    duckdb.TransactionException,
)
"""DuckDB's errors about files and transactions. Any other may quote a text of the user's, so it is not searched."""

_FILE = re.compile(r'(?:file|database) \\*"(?P<file>[^"\\]+)\\*"')

# DuckDB's words about a file, which it quotes before them; the error that they become, and its message.
_ALWAYS: tuple[tuple[str, type[Error], str], ...] = (
    ("^IO Error: Could not set lock on file", LockedError, _IN_USE),
    ("^TransactionContext Error: Conflict", LockedError, "another connection has just written these rows: try again"),
    ('": No space left on device', DiskFullError, _FULL),
    ("out of disk space", DiskFullError, _FULL),
    ('": File too large', DiskFullError, "the file may not grow (ulimit -f); what was committed before is intact"),
    ("^FATAL Error: .*database has been invalidated", DatabaseError, "an error stopped it: close it and open it again"),
)

# The same, while a database is opened.
_OPENING: tuple[tuple[str, type[Error], str], ...] = (
    ("different configuration", LockedError, "this process has it open already, read-only or not: close that one"),
    ("not a valid DuckDB database", NotADatabaseError, "it is not a DuckDB database"),
    ("with version number", NotADatabaseError, _OTHER_VERSION),
    ("sqlite_scanner", NotADatabaseError, "it is a SQLite database: open it with engine='sqlite'"),
    ("Read-only file system", ReadOnlyError, "it is on a read-only file system: open it with read_only=True"),
    ("Permission denied", DatabaseError, "you may not open it: check its permissions, or use read_only=True"),
    ("database does not exist", DatabaseError, "it does not exist"),
)

# Whole messages of DuckDB's about a statement, which quote little of it.
_READ_ONLY = re.compile(r'Invalid Input Error: Cannot execute .* on database "(?P<name>.*)" .* read-only mode!')
_PARAMETERS = re.compile(
    r"Invalid Input Error: (?:Values were not provided for the following|Parameter argument/count mismatch).*"
)
_NO_UNICODE = re.compile(r"Invalid Input Error: Python Conversion Failure: cannot encode str as UTF-8, .*")
_NESTED = re.compile(
    "Binder Error: infinite recursion detected: attempting to recursively expand table macro "
    '"(?P<name>search|(?:vector|text|hybrid)_top_k|chunk(?:_text)?)"'
)
_CHECKSUM = re.compile(r"(?:IO Error: )?Corrupt database file: computed checksum \d+ does not match .*", re.DOTALL)
_CUT_OFF = re.compile('IO Error: Could not read enough bytes from file "')


_TRACEBACK = re.compile(r"Traceback \(most recent call last\):.*\n(?P<last>\S[^\n]*)\s*", re.DOTALL)
"""DuckDB's message if a Python library that it imports itself cannot be loaded."""


def _translation(error: duckdb.Error, path: str, *, opening: bool) -> Error:  # noqa: PLR0911 - one for each kind
    words = str(error)
    if (failed := _TRACEBACK.search(words)) is not None:
        return MissingDependencyError(f"{failed['last']}: is there enough memory (ulimit -v), and all installed?")
    first_line = words.splitlines()[0] if words else ""
    if _CHECKSUM.fullmatch(words) and (type(error) is duckdb.Error or isinstance(error, _OF_FILES)):
        which = path if opening else f"{path}, or a database that is attached to it,"
        return NotADatabaseError(f"{which} is damaged: DuckDB's checksum of it is another")
    if isinstance(error, _OF_FILES):
        return _about_a_file(error, first_line, path, opening=opening)
    if (read_only := _READ_ONLY.fullmatch(first_line)) is not None:
        is_main = read_only["name"] == os.path.splitext(os.path.basename(path))[0]
        return ReadOnlyError(f"{path if is_main else read_only['name']}: it is open read-only")
    if _PARAMETERS.fullmatch(first_line):
        return InputError(f"{path}: the parameters do not fit the statement ({first_line})")
    if _NO_UNICODE.fullmatch(first_line):
        return InputError(LONE_SURROGATE)
    return SQLError(_without_nesting(words))


def _without_nesting(words: str) -> str:
    """Return DuckDB's message, or a remedy if it is about an index function within itself."""
    nested = _NESTED.match(words)
    if nested is None:
        return words
    name = nested["name"]
    return (
        f"{name}() stands within {name}(), which DuckDB does not allow of such a function: give the outer one a "
        f"column, as in FROM (SELECT text FROM {name}(...)) AS inside, {name}(..., inside.text, ...)"
    )


def _about_a_file(error: duckdb.Error, first_line: str, path: str, *, opening: bool) -> Error:
    """Return the error about the file that DuckDB names; if it names none, about the database's own."""
    named = _FILE.search(first_line)
    is_other = named is not None and not _is_of(named["file"], path)
    which = named["file"] if named is not None and is_other else path
    if opening and not is_other and os.path.isfile(path) and not os.path.getsize(path):
        return NotADatabaseError(f"{path} is empty, so it is no DuckDB database: remove it, and it is made anew")
    for sign, kind, meaning in (*_ALWAYS, *(_OPENING if opening else ())):
        if re.search(sign, first_line):
            return kind(f"{which}: {meaning}")
    if not is_other and (opening or _CUT_OFF.match(first_line)):
        return NotADatabaseError(f"{path} is damaged, or cannot be read: {first_line}")
    if named is not None and not is_other:
        return DatabaseError(f"{path} cannot be read or written: {first_line}")
    if isinstance(error, duckdb.OutOfMemoryException):  # DuckDB's own advice has six lines
        return SQLError(f"{first_line}: give it more (SET memory_limit, ulimit -v), or fewer threads (SET threads = 1)")
    return SQLError(str(error))


def _is_of(file: str, path: str) -> bool:
    """Tell whether a file is a database's own: the file itself, its log, or its temporary files."""
    own = os.path.realpath(path)
    found = os.path.realpath(file)
    return found == own or found.startswith((f"{own}.wal", f"{own}.tmp"))
