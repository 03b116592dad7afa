"""Whether a SQLite file is damaged, as SQLite itself finds."""

from __future__ import annotations

from contextlib import closing

import apsw

from sqlrag.store.driver.opening import open_sqlite

__all__ = ["damage"]


def damage(connection: apsw.Connection) -> list[str]:
    """Return what `PRAGMA integrity_check` finds in the main database of a connection.

    FTS5 may look at its tables as this connection has last seen them, and take what another one has written since for
    damage. So what is found has to be found by a connection that has seen nothing, too.
    """
    try:
        found = _found(connection)
    except apsw.SQLError as error:  # FTS5 says so of a configuration that it cannot read
        found = [str(error)]
    if found and connection.filename:
        # For reading only SQLite leaves out CHECK constraints.
        read_only = connection.readonly("main")
        with closing(open_sqlite(connection.filename, read_only=read_only, must_exist=True)) as fresh:
            try:
                return _found(fresh)
            except apsw.SQLError:  # it lacks a function of this connection, or FTS5 says it again
                return found
    return found


def _found(connection: apsw.Connection) -> list[str]:
    # https://www.sqlite.org/pragma.html#pragma_integrity_check
    lines = [str(line) for (line,) in connection.execute("PRAGMA main.integrity_check")]
    return [] if lines == ["ok"] else lines
