"""Whether a path can be a database file, and what its first bytes say it is."""

from __future__ import annotations

import os

from sqlrag.errors import DatabaseError

__all__ = ["INDEX_FILE_SUFFIX", "check_path", "is_duckdb", "is_sqlite"]

INDEX_FILE_SUFFIX = ".sqlrag"
"""Stands behind the path of a DuckDB database in that of its index file."""

_SQLITE_MAGIC = b"SQLite format 3\0"  # https://www.sqlite.org/fileformat.html#magic_header_string
_DUCKDB_MAGIC = b"DUCK"  # at byte 8: https://duckdb.org/docs/stable/internals/storage


def check_path(path: str, *, must_exist: bool) -> None:
    """Raise DatabaseError if a path can't be a database file: a folder, or missing where it must exist."""
    if path == ":memory:":
        return
    if os.path.isdir(path):
        raise DatabaseError(f"{path} is a folder: give the path of a database file")
    if must_exist and not os.path.exists(path):
        raise DatabaseError(f"{path} does not exist: make it with `sqlrag ingest {path} FOLDER`, or check the path")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise DatabaseError(f"{path} cannot be made: there is no folder {folder}")


def is_sqlite(path: str) -> bool:
    """Tell whether a file is a SQLite database by its first bytes."""
    return _header(path) == _SQLITE_MAGIC


def is_duckdb(path: str) -> bool:
    """Tell whether a file is a DuckDB database by its first bytes."""
    return _header(path)[8:12] == _DUCKDB_MAGIC


def _header(path: str) -> bytes:
    """Return the first bytes of a file, none where it cannot be read: whoever opens it says why."""
    try:
        with open(path, "rb") as file:
            return file.read(16)
    except OSError:
        return b""
