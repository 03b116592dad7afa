"""The Python functions in a DuckDB instance: registered once, removed with the last `Database` of it.

An instance is what all connections of a process to one file share, and its functions stand in a catalog that they share
too. DuckDB keeps no reference to a Python function whose connection is closed, and a call of it would end the process:
so the functions live as long as the process, and know their connection by its token (sqlrag/engines/duckdb/session.py).
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

    Only this connection can remove them. It is in no transaction.
    """
    with _registering:
        connection.execute("BEGIN")
        try:
            for udf in UDFS:
                udf.register(connection)
        except duckdb.CatalogException:  # all are there
            connection.execute("ROLLBACK")
            return ()
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return [udf.name for udf in UDFS]


class _Instance:
    """The instance of one file, with a connection to it that is open as long as a `Database` is."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.users = 0
        self._connection = connection
        self._registered: Sequence[str] = ()
        self._is_prepared = False
        self._preparing = threading.Lock()

    def prepare(self, check: Callable[[], None]) -> None:
        """Register the functions, once; `check` may raise before."""
        with self._preparing:
            if not self._is_prepared:
                check()
                self._registered = register_in(self._connection)
                self._is_prepared = True

    def close(self, *, keep: bool) -> None:
        """Remove the functions, unless they are to be kept: they go with the instance then."""
        try:
            for name in () if keep else self._registered:
                self._connection.remove_function(name)
        finally:
            self._connection.close()


_instances: dict[str, _Instance] = {}
_counting = threading.RLock()  # a garbage collection inside of it may let go of another one


class Shared:
    """What a `Database` has of the functions in its instance."""

    def __init__(self, owner: object, instance: _Instance, path: str) -> None:
        self._instance = instance
        self.let_go = weakref.finalize(owner, _let_go, path, instance)
        """Lets go of them; it is called when the owner is gone, too. The last one to let go removes them, unless a
        connection that somebody else opened has them by `lend`."""
        self.let_go.atexit = False

    def prepare(self, check: Callable[[], None]) -> None:
        """Register the functions, if nobody has; `check` looks at the file before, and may raise."""
        self._instance.prepare(check)


def share(owner: object, connection: duckdb.DuckDBPyConnection, path: str, *, read_only: bool) -> Shared:
    """Let an owner share the functions in the instance of its connection, until it lets go."""
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
        return  # they go with the instance, which nobody else has
    with _counting:
        instance.users -= 1
        if not instance.users:
            del _instances[path]
            instance.close(keep=any(borrower.path == path and borrower.is_open() for borrower in list(_borrowers)))


class _Borrower:
    """A connection that somebody else opened, by a cursor of it, which is closed with it."""

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
        """Let go of nothing in a forked child."""
        self._is_inherited = True
        remember_inherited(inode_of(self.path), INHERITED)

    def let_go(self) -> None:
        """Let go of all that is open for the connection."""
        if self._is_inherited:
            return
        _borrowers.discard(self)
        self._cursor.close()
        self._end()


_borrowers: set[_Borrower] = set()


def lend(
    connection: duckdb.DuckDBPyConnection, cursor: duckdb.DuckDBPyConnection, path: str, end: Callable[[], object]
) -> None:
    """Let the instance of somebody else's connection have the functions; `cursor` is one of the connection's.

    `end` is called when the connection is gone, or found closed at another call of this. Nobody says when the last of
    these connections is closed, so the functions go with the instance.
    """
    for borrower in list(_borrowers):
        if not borrower.is_open():
            borrower.let_go()
    own = connection.cursor()  # whatever transaction the connection is in
    try:
        register_in(own)
    finally:
        own.close()
    borrower = _Borrower(path, cursor, end)
    _borrowers.add(borrower)
    weakref.finalize(connection, borrower.let_go).atexit = False


INHERITED = (
    "was open in the process that this one was forked from, and DuckDB would take its copy of what that has in memory "
    "for the file: open it after the fork only, or start this process otherwise (multiprocessing's 'spawn')"
)


@in_child
def _leave_all() -> None:
    """Leave the parent's instances as they are: the last connection that is closed would write the file."""
    # DuckDB's own, which `duckdb.extract_statements` uses, is closed when the interpreter ends, and waits for threads.
    leave(*_instances.values(), *_borrowers, duckdb.default_connection())
    for borrower in _borrowers:
        borrower.end_inherited()
    for known in (_instances, _borrowers):
        known.clear()


renew_locks(sys.modules[__name__])
