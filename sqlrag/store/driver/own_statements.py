"""Running our statements on a connection that an application opened, unaffected by the application's settings.

A row or text factory, a trace that replaces rows or forbids statements, a class of cursors and converters of declared
types are for the application's statements. Ours run on cursors without them, and raise apsw's errors with either
module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import apsw

if TYPE_CHECKING:
    import sqlite3

    from sqlrag.store.driver.stdlib_statements import StdlibStatements

__all__ = ["APSWStatements", "Bindings", "set_aside", "statements_on"]

Bindings = Mapping[str, Any] | Sequence[Any] | None


def set_aside(connection: apsw.Connection) -> apsw.Connection:
    """Return a connection of ours without the settings that the application's `apsw.connection_hooks` gave it."""
    connection.cursor_factory = apsw.Cursor
    connection.row_trace = connection.exec_trace = None
    return connection


def statements_on(connection: apsw.Connection | sqlite3.Connection) -> APSWStatements | StdlibStatements:
    """Return an object that runs our statements on a connection of either module."""
    if isinstance(connection, apsw.Connection):
        return APSWStatements(connection)
    from sqlrag.store.driver.stdlib_statements import StdlibStatements

    return StdlibStatements(connection)


class APSWStatements:
    """Runs our statements on an application's `apsw.Connection`: a `sqlrag.store.registry.Connection`."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.filename = connection.filename

    def execute(self, statement: str, bindings: Bindings = None, /, *, can_cache: bool = True) -> apsw.Cursor:
        """Run statements and return their rows."""
        return self.cursor().execute(statement, bindings, can_cache=can_cache)

    def executemany(self, statement: str, bindings: Iterable[Any], /) -> apsw.Cursor:
        """Run a statement once for each of the bindings."""
        return self.cursor().executemany(statement, bindings)

    def getautocommit(self) -> bool:
        """Tell whether no transaction is open."""
        return self._connection.getautocommit()

    def readonly(self, schema: str) -> bool:
        """Tell whether an attached database is read-only."""
        return self._connection.readonly(schema)

    def txn_state(self) -> int:
        """Return whether the connection reads or writes just now: one of apsw.SQLITE_TXN_."""
        return self._connection.txn_state()

    def last_insert_rowid(self) -> int:
        """Return the rowid of the row that was inserted last."""
        return self._connection.last_insert_rowid()

    def cursor(self) -> apsw.Cursor:
        """Return a cursor that the application's traces do not see."""
        cursor = apsw.Cursor(self._connection)
        # None: the cursor has no trace of its own, and does not use the connection's.
        cursor.row_trace = cursor.exec_trace = None
        return cursor
