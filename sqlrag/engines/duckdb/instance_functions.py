"""The Python functions in a DuckDB instance: registered once, and removed with the last `Database` that uses them.

All connections of a process to one file share an instance and its functions. DuckDB keeps no reference to a Python
function whose connection is closed, and a call of it would crash the process. So the functions live as long as the
process, and are given the token of the connection that calls them (sqlrag/engines/duckdb/session.py).
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING

import duckdb

from sqlrag.engines.duckdb.udfs import UDFS
from sqlrag.process.forks import in_child, leave, remember_inherited, renew_locks
from sqlrag.process.open_files import inode_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Shared", "lend", "register_in", "share"]

_registering = threading.Lock()


def register_in(connection: duckdb.DuckDBPyConnection) -> Sequence[str]:
    """Register the functions, unless the connection's instance has them; return the names of those registered.

    Only this connection can remove them. It must not be in a transaction.
    """
    with _registering:
        connection.execute("BEGIN")
        try:
            for udf in UDFS:
                udf.register(connection)
        except duckdb.CatalogException:  # they are registered already
            connection.execute("ROLLBACK")
            return ()
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return [udf.name for udf in UDFS]


class _Instance:
    """The instance of one file. Its connection is open as long as a `Database` uses the instance."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.users = 0
        self._connection = connection
        self._registered: Sequence[str] = ()
        self._is_prepared = False
        self._preparing = threading.Lock()

    def prepare(self, check: Callable[[], None]) -> None:
        """Register the functions, once. `check` is called before, and may raise."""
        with self._preparing:
            if not self._is_prepared:
                check()
                self._registered = register_in(self._connection)
                self._is_prepared = True

    def close(self, *, keep: bool) -> None:
        """Close the connection. Remove the functions, unless `keep`: then they end with the instance."""
        try:
            for name in () if keep else self._registered:
                self._connection.remove_function(name)
        finally:
            self._connection.close()


_instances: dict[str, _Instance] = {}
_counting = threading.RLock()  # reentrant: garbage collection may call `_let_go` while it is held


class Shared:
    """The share of one `Database` in the functions of its instance."""

    def __init__(self, owner: object, instance: _Instance, path: str) -> None:
        self._instance = instance
        self.let_go = weakref.finalize(owner, _let_go, path, instance)
        """Ends the share; called at the latest when the owner is collected. The last call removes the functions, unless
        a connection that the user opened has them from `lend`."""
        self.let_go.atexit = False

    def prepare(self, check: Callable[[], None]) -> None:
        """Register the functions, once for the instance. `check` examines the file before, and may raise."""
        self._instance.prepare(check)


def share(owner: object, connection: duckdb.DuckDBPyConnection, path: str, *, read_only: bool) -> Shared:
    """Give a `Database` a share in the functions of its connection's instance."""
    if path == ":memory:":
        return Shared(owner, _Instance(connection.cursor()), path)
    path = os.path.abspath(path)
    with _counting:
        if path not in _instances:
            _instances[path] = _Instance(duckdb.connect(path, read_only=read_only))
        instance = _instances[path]
        instance.users += 1
    return Shared(owner, instance, path)


def _let_go(path: str, instance: _Instance) -> None:
    if path == ":memory:":
        return  # the instance has no other connection, and ends with this one
    with _counting:
        instance.users -= 1
        if not instance.users:
            del _instances[path]
            instance.close(keep=any(borrower.path == path and borrower.is_open() for borrower in list(_borrowers)))


class _Borrower:
    """A connection that the user opened, known by a cursor of it, which is closed with it."""

    def __init__(self, path: str, cursor: duckdb.DuckDBPyConnection, end: Callable[[], object]) -> None:
        self.path = os.path.abspath(path)
        self._cursor = cursor
        self._end = end
        self._is_inherited = False

    def is_open(self) -> bool:
        """Tell whether the connection is open."""
        try:
            self._cursor.cursor().close()
        except duckdb.ConnectionException:
            return False
        return True

    def end_inherited(self) -> None:
        """Close nothing in a forked child: all of it belongs to the parent."""
        self._is_inherited = True
        remember_inherited(inode_of(self.path), INHERITED)

    def let_go(self) -> None:
        """Close what was opened for the connection."""
        if self._is_inherited:
            return
        _borrowers.discard(self)
        self._cursor.close()
        self._end()


_borrowers: set[_Borrower] = set()


def lend(
    connection: duckdb.DuckDBPyConnection, cursor: duckdb.DuckDBPyConnection, path: str, end: Callable[[], object]
) -> None:
    """Register the functions in the instance of a connection that the user opened; `cursor` is one of this connection.

    `end` is called when the connection is collected, or when a later call finds it closed. Nothing tells when the last
    connection to the instance is closed, so the functions are never removed; they end with the instance.
    """
    for borrower in list(_borrowers):
        if not borrower.is_open():
            borrower.let_go()
    own = connection.cursor()  # the connection itself may be in a transaction
    try:
        register_in(own)
    finally:
        own.close()
    borrower = _Borrower(path, cursor, end)
    _borrowers.add(borrower)
    weakref.finalize(connection, borrower.let_go).atexit = False


INHERITED = (
    "was open in the process that this one was forked from, and DuckDB would take its copy of that process's memory "
    "for the file: open it only after the fork, or start this process in another way (multiprocessing's 'spawn')"
)


@in_child
def _leave_all() -> None:
    """Leave the parent's instances open: closing the last connection would write to the file."""
    # DuckDB's default connection, which `duckdb.extract_statements` uses, would wait for the parent's threads when the
    # interpreter ends.
    leave(*_instances.values(), *_borrowers, duckdb.default_connection())
    for borrower in _borrowers:
        borrower.end_inherited()
    for known in (_instances, _borrowers):
        known.clear()


renew_locks(sys.modules[__name__])
