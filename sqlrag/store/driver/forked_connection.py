"""A SQLite connection of ours in a forked child: closed where it was at rest, else left as it is, for ever."""

from __future__ import annotations

from contextlib import suppress

import apsw

from sqlrag.process.call_lock import CallLock
from sqlrag.process.forks import at_fork, leave, remember_inherited
from sqlrag.process.open_files import Inode, inode_of

__all__ = ["InheritedConnection", "give_up", "is_at_rest"]

_WHY = (
    "was being used in the process that this one was forked from, at that very moment, and SQLite's table of locks was "
    "copied with it: fork when no transaction and no call is open there, or start this process otherwise "
    "(multiprocessing's 'spawn')"
)


def is_at_rest(connection: apsw.Connection) -> bool:
    """Tell whether a connection writes nothing; a statement that reads may be half read. No other call may run."""
    try:
        return connection.txn_state() != apsw.SQLITE_TXN_WRITE
    except apsw.ConnectionClosedError:
        return True
    except apsw.Error:  # a thread of the application's own is in it
        return False


def give_up(connection: apsw.Connection, inode: Inode | None, *, at_rest: bool) -> None:
    """Close a child's copy, without a checkpoint, which is the parent's affair; leave what was not at rest as it is."""
    if at_rest:
        with suppress(apsw.Error):
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.close(True)
    else:
        leave(connection)
        remember_inherited(inode, _WHY)


class InheritedConnection:
    """The connection of a Database at a fork; it is told of forks as long as it lives."""

    def __init__(self, connection: apsw.Connection, path: str, call_lock: CallLock) -> None:
        self._connection = connection
        self._inode = inode_of(path)
        self._call_lock = call_lock
        at_fork(self)

    def before_fork(self, seconds: float) -> bool:
        """Wait until nothing is written."""
        if not self._call_lock.pause(seconds):
            return False
        if is_at_rest(self._connection):
            return True
        self._call_lock.resume()
        return False

    def after_fork(self) -> None:
        """Go on in the parent."""
        self._call_lock.resume()

    def in_child(self, *, at_rest: bool) -> None:
        """Give up the copy."""
        give_up(self._connection, self._inode, at_rest=at_rest)
