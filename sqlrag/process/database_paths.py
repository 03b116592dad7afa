"""Whether a path can be a database file, and what its first bytes say it is."""

from __future__ import annotations

import os
from typing import Any

from sqlrag.errors import DatabaseError, InputError, LockedError
from sqlrag.process.open_files import inode_of, names_of, start_of
from sqlrag.values.arguments import shown

__all__ = ["INDEX_FILE_SUFFIX", "as_path", "check_one_name", "check_path", "is_duckdb", "is_sqlite"]

INDEX_FILE_SUFFIX = ".sqlrag"
"""The index file of a DuckDB database has its path with this suffix."""

_SQLITE_MAGIC = b"SQLite format 3\0"  # https://www.sqlite.org/fileformat.html#magic_header_string
_DUCKDB_MAGIC = b"DUCK"  # at byte 8: https://duckdb.org/docs/stable/internals/storage


def as_path(path: Any) -> str:
    """Return a path as text. Raises InputError for a value that is not a path, or has a character that no path has."""
    try:
        name = os.fsdecode(path)
        os.fsencode(name)
    except (TypeError, UnicodeError):
        raise InputError(f"path is {shown(path)}: it is the path of a database file, or ':memory:'") from None
    if "\0" in name or not name:
        raise InputError(f"path is {shown(path)}: it has {'a NUL in it' if name else 'nothing in it'}")
    return name


def check_path(path: str, *, must_exist: bool) -> None:
    """Raise DatabaseError if a path can't be a database file: it is a folder, or missing though it must exist."""
    if path == ":memory:":
        return
    if os.path.isdir(path):
        raise DatabaseError(f"{path} is a folder: give the path of a database file")
    if must_exist and not os.path.exists(path):
        raise DatabaseError(f"{path} does not exist: make it with `sqlrag ingest {path} FOLDER`, or check the path")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise DatabaseError(f"{path} cannot be made: there is no folder {folder}")


def check_one_name(path: str) -> None:
    """Raise LockedError if this process has the file open under another name, such as a hard link or another mount.

    DuckDB would treat the two as different files, and drop the lock of the first when it closes the second.
    """
    inode = inode_of(path)
    others = [] if inode is None else [name for name in names_of(inode) if name != os.path.realpath(path)]
    if others:
        raise LockedError(f"{path}: this process has it open as {others[0]}: open it by that name, or close that first")


def is_sqlite(path: str) -> bool:
    """Tell whether a file is a SQLite database by its first bytes."""
    return start_of(path, 16) == _SQLITE_MAGIC


def is_duckdb(path: str) -> bool:
    """Tell whether a file is a DuckDB database by its first bytes."""
    return start_of(path, 12)[8:] == _DUCKDB_MAGIC
