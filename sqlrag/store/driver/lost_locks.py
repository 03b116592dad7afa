"""Whether this process still has the locks that a SQLite connection relies on.

A close of any descriptor of a file drops all POSIX locks that the process has on it, and SQLite does not notice
(https://www.sqlite.org/howtocorrupt.html, 2.2). So another SQLite library of the process, such as Python's sqlite3
module, need only open and close a file between two calls here: afterwards another process may delete the write-ahead
log that this connection goes on writing to, or write in the middle of its transaction.

A program that reads the file, to copy it or to compute its hash, drops the locks of the file in the same way, but not
those of the log's shared memory. As long as these are there, nobody can have begun anew: the lock is taken again.

The kernel tells: a query with F_OFD_GETLK finds the locks of the process itself, as locks of another owner. Only Linux
has that in Python; elsewhere nothing is found.
"""

from __future__ import annotations

import os
import struct
import sys
from contextlib import suppress

import apsw

from sqlrag.errors import LockedError
from sqlrag.process.open_files import Inode, descriptor_named, descriptors_on, inode_of

if sys.platform == "linux":
    import fcntl

__all__ = ["are_lost", "check_locks"]

_SHARED = 0x4000_0002, 510
"""The bytes of a SQLite file that every reader locks: their first, and their number (SQLite's os.h)."""

_DEAD_MAN = 128, 1
"""The byte of a log's shared memory that each process locks which has it open: without it, another begins anew."""

_FLOCK = struct.Struct("hhqqi4x")
"""`struct flock` of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid."""

_seen: set[tuple[Inode, bool]] = set()
"""Files on which this process was seen to have such a lock, and whether in a transaction: an immutable one has none."""


def check_locks(connection: apsw.Connection, path: str, inode: Inode) -> None:
    """Raise LockedError if the locks of a connection are gone."""
    if are_lost(connection, path, inode):
        raise LockedError(
            f"this connection has lost its locks on {path}: something else than APSW's SQLite in this process, such as "
            "Python's sqlite3 module, has opened and closed the file, which drops them. What was committed is intact, "
            "an open transaction is not. Close this connection and open it again, and give the other one the functions "
            "with sqlrag.register(connection), or use apsw.Connection in its place"
        )


def are_lost(connection: apsw.Connection, path: str, inode: Inode) -> bool:
    """Tell whether a connection should have a lock on its file that the process does not have."""
    try:
        in_transaction = connection.txn_state("main") != apsw.SQLITE_TXN_NONE
    except apsw.ThreadingViolationError:  # another thread of the application's is in it
        return False
    descriptors = descriptors_on(inode)
    held = _is_held(inode, descriptors, _SHARED)
    if held:
        _seen.add((inode, in_transaction))
    # Without a log, a connection at rest has no lock: then the descriptors need not be searched for one.
    if held is not False or not ((inode, False) in _seen or (in_transaction and (inode, True) in _seen)):
        return False
    # A connection keeps its lock as long as it has the log open, in a transaction or not. The locks of the transaction
    # itself are those of the shared memory then.
    log = f"{os.path.realpath(path)}-wal"
    if descriptor_named(log) is not None:
        return not _is_taken_again(log, descriptors)
    return in_transaction


def _is_taken_again(log: str, descriptors: list[int]) -> bool:
    """Take a reader's lock again; return whether nobody can have deleted the log in between."""
    shared_memory = f"{log.removesuffix('-wal')}-shm"
    written, memory = inode_of(log), inode_of(shared_memory)
    if memory is None or written is None or not _is_held(memory, descriptors_on(memory), _DEAD_MAN):
        return False
    try:
        fcntl.fcntl(descriptors[0], fcntl.F_SETLK, _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, *_SHARED, 0))
    except OSError:  # another process is about to delete the log
        return False
    return bool(descriptors_on(written)) and inode_of(log) == written


def _is_held(inode: Inode, descriptors: list[int], place: tuple[int, int]) -> bool | None:
    """Tell whether this process has a reader's lock, or a stronger one, on bytes; None if that cannot be known."""
    if sys.platform != "linux" or sys.maxsize < 2**32 or not hasattr(fcntl, "F_OFD_GETLK"):
        return None
    wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, *place, 0)
    for descriptor in descriptors:
        try:
            kind, _, _, _, owner = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, wanted))
        except OSError:  # closed meanwhile, or a file system without locks
            continue
        if kind == fcntl.F_UNLCK:
            return False
        return True if owner == os.getpid() else _is_listed(inode, owner)
    return None


def _is_listed(inode: Inode, other: int) -> bool | None:
    """Look in the kernel's list, where another process has a lock as well; None if the list does not show that one."""
    owners: set[int] = set()
    with suppress(OSError), open("/proc/locks", encoding="ascii") as locks:
        for line in locks:
            fields = line.split()  # 1: POSIX ADVISORY READ 4242 fe:00:131 1073741826 1073742335
            if len(fields) == 8 and fields[1] == "POSIX" and fields[5].rpartition(":")[2] == str(inode[1]):
                owners.add(int(fields[4]))
    if os.getpid() in owners:
        return True
    return False if other in owners else None
