"""Opening the index file beside a DuckDB database, or making it anew, or in memory."""

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
    """Open an index file for reading and writing. A damaged file, or one of another version, is made anew."""
    try:
        return _open(path)
    except (NotADatabaseError, SchemaVersionError) as error:
        return remake_index(path, error)


def open_index_read_only(path: str) -> apsw.Connection | None:
    """Open an index file for reading; return None if it is missing, damaged or of another version."""
    try:
        connection = open_sqlite(path, read_only=True)
        return _prepared(connection, path)
    except Error as error:
        _log.info("%s: the index is made in memory, because the database is open read-only", error)
        return None


def remake_index(path: str, why: Error) -> apsw.Connection:
    """Replace an index file by a new one, and log why."""
    _log.warning("%s: the index file is made again", why)
    try:
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(path + suffix):
                os.remove(path + suffix)
    except OSError as error:
        raise DatabaseError(f"{path} must be made anew and cannot be removed ({error.strerror}): remove it") from why
    return _open(path)


def in_memory() -> apsw.Connection:
    """Return a connection to an index in memory."""
    connection = set_aside(apsw.Connection(":memory:"))
    load_vec(connection)
    return connection


def _open(path: str) -> apsw.Connection:
    connection = open_sqlite(path)
    with translated(path):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")  # a lost commit is made again
        except BaseException:
            connection.close()
            raise
    return _prepared(connection, path)


def _prepared(connection: apsw.Connection, path: str) -> apsw.Connection:
    """Load sqlite-vec and sqlrag's C library, and check the file's version."""
    with translated(path):
        try:
            load_vec(connection)
            version = Registry(connection).meta("schema_version")
            if version not in (None, str(SCHEMA_VERSION)):
                raise SchemaVersionError(  # noqa: TRY301 - the connection is closed below
                    f"{path} was made by another version of sqlrag (schema {version})"
                )
        except BaseException:
            connection.close()
            raise
    return connection
