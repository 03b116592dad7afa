"""Opening the index file beside a DuckDB database: as it is, made again where it is of no use, or in memory."""

from __future__ import annotations

import logging
import os

import apsw

from sqlrag.errors import DatabaseError, Error, NotADatabaseError, SchemaVersionError
from sqlrag.process.database_paths import INDEX_FILE_SUFFIX
from sqlrag.store.driver.error_translation import translated
from sqlrag.store.driver.extensions import load_vec
from sqlrag.store.driver.opening import open_sqlite
from sqlrag.store.driver.own_statements import set_aside
from sqlrag.store.registry import SCHEMA_VERSION, Registry

__all__ = ["in_memory", "index_file_of", "open_index", "open_index_read_only", "remake_index"]

_log = logging.getLogger("sqlrag")


def index_file_of(path: str) -> str:
    """Return the path of a DuckDB database's index file."""
    return path if path == ":memory:" else f"{path}{INDEX_FILE_SUFFIX}"


def open_index(path: str) -> apsw.Connection:
    """Open an index file for reading and writing; one that is damaged, or of another version, is made again."""
    try:
        return _open(path)
    except (NotADatabaseError, SchemaVersionError) as error:
        return remake_index(path, error)


def open_index_read_only(path: str) -> apsw.Connection | None:
    """Open an index file for reading; None where it is missing, damaged or of another version."""
    try:
        connection = open_sqlite(path, read_only=True)
        return _prepared(connection, path)
    except Error as error:
        _log.info("%s: the index is made in memory, because the database is open read-only", error)
        return None


def remake_index(path: str, why: Error) -> apsw.Connection:
    """Remove an index file and return a new one; `why` is logged."""
    _log.warning("%s: the index file is made again", why)
    try:
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(path + suffix):
                os.remove(path + suffix)
    except OSError as error:
        raise DatabaseError(f"{path} is of no use and cannot be removed ({error.strerror}): remove it") from why
    return _open(path)


def in_memory() -> apsw.Connection:
    """Return an index file that is none: for a database that is open read-only."""
    connection = set_aside(apsw.Connection(":memory:"))
    load_vec(connection)
    return connection


def _open(path: str) -> apsw.Connection:
    connection = open_sqlite(path)
    with translated(path):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")  # a lost last commit is caught up
        except BaseException:
            connection.close()
            raise
    return _prepared(connection, path)


def _prepared(connection: apsw.Connection, path: str) -> apsw.Connection:
    """Return the connection with sqlite-vec in it, its file checked."""
    with translated(path):
        try:
            load_vec(connection)
            _check_version(Registry(connection).meta("schema_version"), path)
        except BaseException:
            connection.close()
            raise
    return connection


def _check_version(version: str | None, path: str) -> None:
    """Raise SchemaVersionError if another version of sqlrag, newer or older, made the file."""
    if version not in (None, str(SCHEMA_VERSION)):
        raise SchemaVersionError(f"{path} was made by another version of sqlrag (schema {version})")
