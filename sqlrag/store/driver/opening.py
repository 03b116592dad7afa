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
"""How long a statement waits for another process's write; sqlrag's own last milliseconds,
but without a write-ahead log readers and writers pass one another by chance."""

HURRIED_MS = 100
"""How long a query waits before it goes on with what the index has."""

CACHE_KIB = 65_536
"""SQLite's own 2 MB hold less than one search in a million chunks reads; the room is taken as it is needed."""


def open_sqlite(path: str, *, read_only: bool = False, must_exist: bool = False) -> apsw.Connection:
    """Open a SQLite file. `read_only` never writes, also not a journal; a medium that can't be written works.

    Where a process was killed in the middle of a write, what it left is undone first, also for `read_only`.
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
    """Open a WAL database where its shared memory file can't be made, in a folder or on a medium that is read-only.

    Nobody writes it then (https://www.sqlite.org/wal.html#read_only_databases). Raises ReadOnlyError where its log has
    something in it, which would not be seen.
    """
    log = Path(f"{path}-wal")
    if log.exists() and log.stat().st_size:
        raise ReadOnlyError(
            f"{path} has writes in {log.name} that can't be read in a folder that is read-only: copy both to another"
        )
    uri = f"{Path(path).resolve().as_uri()}?immutable=1"
    return _opened(path, apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI, uri)


def _roll_back(path: str) -> None:
    """Let SQLite play back a hot journal: nobody can read before that, and only a connection that writes may do it.

    (https://www.sqlite.org/lockingv3.html#hot_journals)
    """
    with closing(_opened(path, apsw.SQLITE_OPEN_READWRITE)) as connection:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.execute("SELECT 1 FROM main.sqlite_schema")


def _opened(path: str, flags: int, uri: str | None = None) -> apsw.Connection:
    return set_aside(opened(path, lambda: apsw.Connection(uri or path, flags=flags)))


def is_new(path: str) -> bool:
    """Tell whether there is no database of anybody's yet: no file, or an empty one."""
    return not os.path.exists(path) or os.path.getsize(path) == 0


def use_wal(connection: apsw.Connection) -> None:
    """Have a database written through a log, beside which readers go on (https://www.sqlite.org/wal.html)."""
    # Another process that does the same makes this fail at once, whatever the timeout; its mode is as good.
    with suppress(apsw.BusyError):
        connection.execute("PRAGMA main.journal_mode = WAL")


def _prepared(connection: apsw.Connection) -> apsw.Connection:
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.execute(f"PRAGMA main.cache_size = -{CACHE_KIB}")
    return connection
