"""Opening a SQLite file."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from pathlib import Path

import apsw

from sqlrag.errors import ReadOnlyError
from sqlrag.store.driver.error_translation import check_not_duckdb, translated
from sqlrag.store.driver.other_libraries import opened
from sqlrag.store.driver.own_statements import set_aside

__all__ = ["BUSY_TIMEOUT_MS", "HURRIED_MS", "is_new", "open_sqlite", "use_wal"]

BUSY_TIMEOUT_MS = 30_000
"""How long a statement waits for another process's write. sqlrag's own writes take milliseconds, but without a
write-ahead log it is chance when a reader or writer gets its turn."""

HURRIED_MS = 100
"""How long a query waits before it uses the index as it is."""

CACHE_KIB = 65_536
"""SQLite's default of 2 MB is less than one search in a million chunks reads. The memory is taken as needed."""


def open_sqlite(path: str, *, read_only: bool = False, must_exist: bool = False) -> apsw.Connection:
    """Open a SQLite file. With `read_only`, not even a journal is written, so the medium may be read-only.

    If a process was killed in the middle of a write, its changes are rolled back first, even with `read_only`.
    """
    check_not_duckdb(path)  # before SQLite has it open: a close would drop DuckDB's lock
    with translated(path):
        if not read_only:
            flags = apsw.SQLITE_OPEN_READWRITE | (0 if must_exist else apsw.SQLITE_OPEN_CREATE)
            return _prepared(_opened(path, flags))
        connection = _opened(path, apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        try:
            connection.execute("SELECT 1 FROM main.sqlite_schema")
        except (apsw.ReadOnlyError, apsw.CantOpenError) as error:
            connection.close()
            in_read_only_folder = getattr(error, "extendedresult", None) == apsw.SQLITE_READONLY_DIRECTORY
            if isinstance(error, apsw.ReadOnlyError) and not in_read_only_folder:
                _roll_back(path)
                connection = _opened(path, apsw.SQLITE_OPEN_READONLY)
            else:
                connection = _open_immutable(path)
        return _prepared(connection)


def _open_immutable(path: str) -> apsw.Connection:
    """Open a WAL database in a read-only folder or on a read-only medium, where its shared memory file cannot be made.

    Then no process writes it (https://www.sqlite.org/wal.html#read_only_databases). Raises ReadOnlyError if its log is
    not empty, since what is in it would not be seen.
    """
    log = Path(f"{path}-wal")
    if log.exists() and log.stat().st_size:
        raise ReadOnlyError(
            f"{path} has writes in {log.name} that can't be read in a folder that is read-only: copy both to another"
        )
    uri = f"{Path(path).resolve().as_uri()}?immutable=1"
    return _opened(path, apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI, uri)


def _roll_back(path: str) -> None:
    """Let SQLite play back a hot journal. No connection can read before that, and only one that writes may do it.

    (https://www.sqlite.org/lockingv3.html#hot_journals)
    """
    with closing(_opened(path, apsw.SQLITE_OPEN_READWRITE)) as connection:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.execute("SELECT 1 FROM main.sqlite_schema")


def _opened(path: str, flags: int, uri: str | None = None) -> apsw.Connection:
    return set_aside(opened(path, lambda: apsw.Connection(uri or path, flags=flags)))


def is_new(path: str) -> bool:
    """Tell whether there is no database yet: no file, or an empty one."""
    return not os.path.exists(path) or os.path.getsize(path) == 0


def use_wal(connection: apsw.Connection) -> None:
    """Switch a database to WAL mode, in which writers do not block readers (https://www.sqlite.org/wal.html)."""
    # This fails at once, whatever the timeout, if another process is doing the same, which is just as good.
    with suppress(apsw.BusyError):
        connection.execute("PRAGMA main.journal_mode = WAL")


def _prepared(connection: apsw.Connection) -> apsw.Connection:
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.execute(f"PRAGMA main.cache_size = -{CACHE_KIB}")
    return connection
