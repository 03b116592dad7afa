"""Whether another SQLite library of this process has a file open: Python's own sqlite3 beside APSW, say.

Two libraries in one process do not know of each other's locks, which belong to the process: each takes the other's
journal for one that a crash has left, empties the other's shared memory, and drops all of the other's locks with its
own (https://www.sqlite.org/howtocorrupt.html, 2.2.1). Reading does that as well as writing. So a file that another
library has open is not opened, and where one opens it later, the next call says so before it touches the file.

What tells is a descriptor of the file that is not APSW's. Which ones are, no library says; those that came when APSW
opened the file get a mark, and so do others where they are no more than the connections that APSW has opened without
sqlrag, by `apsw.Connection` or ATTACH. The mark stays when the connection is closed: SQLite keeps its descriptor as
long as others of its connections hold a lock on the file, and takes it for the next one.

The mark is one of the kernel's, which goes with the descriptor, so that its number can be another library's next: which
signal tells of input (fcntl's F_SETSIG), the default one by its name. Nothing is ever told of a file. Where there is no
F_SETSIG, on macOS, the numbers are remembered.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from weakref import WeakKeyDictionary

import apsw

from sqlrag.errors import LockedError
from sqlrag.process.forks import check_not_inherited, renew_locks
from sqlrag.process.open_files import Inode, descriptors_on, inode_of, is_kept
from sqlrag.store.driver.lost_locks import are_lost

if sys.platform != "win32":
    import fcntl

__all__ = ["check_alone", "close", "is_alone", "opened"]

Database = tuple[str, str]
"""The name that a connection has for a database, and its file."""

_TRIES = 5
_AGAIN = 0.003
"""Seconds until another look: the application's own APSW may just be about to open the file."""

_lock = threading.RLock()
_numbers: set[tuple[Inode, int]] = set()
"""What is marked where the kernel has no mark."""
_counted: WeakKeyDictionary[apsw.Connection, set[Database | None]] = WeakKeyDictionary()
"""The databases of each connection whose descriptors are known."""
_left_open: list[tuple[apsw.Connection, Inode]] = []
"""Connections that could not be closed, and their files."""
_opening: list[apsw.Connection] = []
"""Connections that are just being made."""
renew_locks(sys.modules[__name__])


def opened(path: str, open_it: Callable[[], apsw.Connection]) -> apsw.Connection:
    """Open a file with APSW. Raises LockedError, before it is touched, where another library has it open."""
    check_not_inherited(path)
    with _lock:
        inode = inode_of(path)
        if inode is not None:
            check_alone(path, inode)
            _close_left_open(inode)
        connection = open_it()
        inode = inode_of(path)  # it may have been made now
        if inode is not None and is_alone(inode):  # its descriptor is marked
            _counted[connection] = _databases_of(connection)
        return connection


def check_alone(path: str, inode: Inode) -> None:
    """Raise LockedError where another library than APSW has a file open."""
    for _ in range(_TRIES):
        if is_alone(inode):
            return
        time.sleep(_AGAIN)
    raise LockedError(
        f"{path} is open in this process by something else than APSW's SQLite, such as Python's sqlite3 module, and "
        "two SQLite libraries in one process damage a file, as neither knows of the other's locks: give that "
        "connection the functions with sqlrag.register(connection), where SELECT sqlrag_sync() brings in what has "
        "changed; or open the file with apsw.Connection or sqlrag.connect everywhere; or close it there before"
    )


def close(connection: apsw.Connection, path: str, inode: Inode | None) -> None:
    """Close a connection, unless another library has its file open: a close would drop that one's locks.

    A connection that has lost its own locks leaves the log to others, who may have deleted it or begun another; in the
    middle of a transaction it stays open, as it could overwrite what others have committed.
    """
    if inode is None:
        connection.close()
        return
    if is_alone(inode):
        if not are_lost(connection, path, inode):
            connection.close()
            return
        if connection.txn_state("main") != apsw.SQLITE_TXN_WRITE:
            _close_without_checkpoint(connection)
            return
    import logging

    logging.getLogger("sqlrag").warning(
        "%s stays open until this process ends, since something else than APSW's SQLite has it open, and would lose "
        "its locks; or has closed it in the middle of a transaction here, which has lost its own",
        path,
    )
    _left_open.append((connection, inode))


def _close_left_open(inode: Inode) -> None:
    """Close what was left open of a file: the other library may have taken its locks, and a new connection needs some.

    SQLite counts the locks of a process, and takes none for a connection as long as another one has some, so it thinks.
    """
    for connection, of_file in list(_left_open):
        if of_file == inode and connection.txn_state("main") != apsw.SQLITE_TXN_WRITE:
            _left_open.remove((connection, of_file))
            _close_without_checkpoint(connection)


def _close_without_checkpoint(connection: apsw.Connection) -> None:
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.close()


def is_alone(inode: Inode) -> bool:
    """Tell whether all of this process's descriptors of a file are APSW's."""
    if not _unknown(inode):
        return True
    with _lock:
        # In this order: what is opened in between has a descriptor too many, and is looked at again.
        new = _not_counted(inode)
        unknown = _unknown(inode)
        if len(unknown) > len(new):
            return False
        for descriptor in unknown:
            _mark(descriptor, inode)
        for connection, database in new:
            if database is not None:
                _counted.setdefault(connection, set()).add(database)
        return True


def _unknown(inode: Inode) -> list[int]:
    """Return the descriptors of a file that neither APSW nor sqlrag has, as far as is known."""
    return [one for one in descriptors_on(inode) if not is_kept(one, inode) and not _is_marked(one, inode)]


def _mark(descriptor: int, inode: Inode) -> None:
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGIO)
    except (NameError, AttributeError, OSError):
        _numbers.add((inode, descriptor))


def _is_marked(descriptor: int, inode: Inode) -> bool:
    try:
        return fcntl.fcntl(descriptor, fcntl.F_GETSIG) == signal.SIGIO or (inode, descriptor) in _numbers
    except AttributeError:
        return (inode, descriptor) in _numbers
    except OSError:  # it has been closed meanwhile
        return True


def _not_counted(inode: Inode) -> list[tuple[apsw.Connection, Database | None]]:
    """Return APSW's connections to a file whose descriptors are not known."""
    return [
        (connection, database)
        for connection, database in _databases()
        if database not in _counted.get(connection, ()) and (database is None or inode_of(database[1]) == inode)
    ]


def _databases() -> Iterator[tuple[apsw.Connection, Database | None]]:
    """Iterate over the databases of APSW's connections.

    One that another thread is in does not tell what it has: what is known of it, or else None, which may be any file.
    """
    for connection in [*apsw.connections(), *_opening]:
        try:
            databases = _databases_of(connection)
        except apsw.ThreadingViolationError:
            databases = _counted.get(connection, {None})
        except apsw.ConnectionClosedError:
            continue
        for database in databases:
            yield connection, database


def _databases_of(connection: apsw.Connection) -> set[Database | None]:
    return {(name, connection.db_filename(name) or "") for name in connection.db_names()}


def _note(connection: apsw.Connection) -> None:
    """Mark the descriptor of a connection as the application opens it: SQLite may keep it when that is closed."""
    _opening.append(connection)  # which APSW lists after its hooks only
    try:
        for database in _databases_of(connection):
            inode = inode_of(database[1]) if database is not None and database[1] else None
            if inode is not None:
                is_alone(inode)
    except (OSError, apsw.Error):
        pass
    finally:
        _opening.remove(connection)


apsw.connection_hooks.append(_note)
