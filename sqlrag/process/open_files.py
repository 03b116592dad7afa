"""The files that this process has open, and the first bytes of a database without a lock lost.

POSIX locks belong to a process and a file: a close of *any* descriptor of the file drops every lock that the process
has on it, whoever took it (https://www.sqlite.org/howtocorrupt.html, 2.2). SQLite and DuckDB lock their files this way,
and each knows only of its own descriptors. So nothing of sqlrag opens and closes a database file beside the library
that holds it:

- What the process has open already is read through a descriptor that is there.
- Where there is none, one is opened and *kept*. It cannot be closed again when the bytes are read: another thread may
  have opened the file and taken a lock since, and there is no call that closes a descriptor only if it is the last one.

One descriptor a file is kept, and of the last `MOST_KEPT` files; one is closed that no other descriptor of the process
stands beside. Of a file that has been deleted that is safe, as nobody can open it by its name any more. Of the oldest
beyond `MOST_KEPT` it is as good as safe: it was last looked at many files ago, and whoever opens it now would have to
lock it within the microseconds between the look and the close.

Windows has no such locks, and its open files can't be deleted: there the file is opened and closed.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress

__all__ = [
    "MOST_KEPT",
    "Inode",
    "check_no_database",
    "descriptors_on",
    "inode_of",
    "is_kept",
    "names_of",
    "start_of",
]

MOST_KEPT = 32

Inode = tuple[int, int]
"""The device and number of a file, whatever its names."""

_FOLDER = next((folder for folder in ("/proc/self/fd", "/dev/fd") if os.path.isdir(folder)), None)

_STARTS = (
    b"SQLite format 3\0",
    b"\x37\x7f\x06\x82",  # a write-ahead log (https://www.sqlite.org/fileformat.html#wal_file_format)
    b"\x37\x7f\x06\x83",
    b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7",  # a rollback journal
)
"""What files of SQLite's that have locks, or stand beside one that has, begin with."""

_kept: dict[Inode, int] = {}
_lock = threading.Lock()


def inode_of(path: str) -> Inode | None:
    """Return which file a path means, None where there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def descriptors_on(inode: Inode) -> list[int]:
    """Return this process's descriptors of a file, none where the system does not tell."""
    return [descriptor for descriptor, found in _all() if found == inode]


def names_of(inode: Inode) -> list[str]:
    """Return by which names this process has a file open, without the descriptor that is kept here."""
    names = []
    for descriptor in descriptors_on(inode):
        if not is_kept(descriptor, inode):
            with suppress(OSError):
                names.append(os.readlink(f"{_FOLDER}/{descriptor}"))
    return names


def is_kept(descriptor: int, inode: Inode) -> bool:
    """Tell whether a descriptor is the one of a file that is kept here."""
    return _kept.get(inode) == descriptor


def start_of(path: str, size: int) -> bytes:
    """Return the first bytes of a file, none where it cannot be read: whoever opens it says why."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            return b""
        if _FOLDER is None:
            with open(path, "rb") as file:
                return file.read(size)
        with _lock:
            return _start_of((status.st_dev, status.st_ino), path, size)
    except (OSError, ValueError):
        return b""


def check_no_database(path: str | os.PathLike[str]) -> None:
    """Raise OSError where a file is a database, or its journal, that this process has open; it must not be opened.

    Reading it as a document, or as anything else, would end with a close.
    """
    inode = inode_of(os.fspath(path))
    for descriptor in () if inode is None else descriptors_on(inode):
        start = _read(descriptor, inode, 16) or b""
        if start.startswith(_STARTS) or start[8:12] == b"DUCK":
            raise OSError(errno.EBUSY, "is a database that this process has open")


def _start_of(inode: Inode, path: str, size: int) -> bytes:
    if inode in _kept and (start := _read(_kept[inode], inode, size)) is not None:
        return start
    _kept.pop(inode, None)  # somebody has closed it, as daemons close all that they find
    for there in descriptors_on(inode):
        if (start := _read(there, inode, size)) is not None:
            return start
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    opened = status.st_dev, status.st_ino
    if opened in _kept:  # the file has been replaced since, by one that is known: two are kept of it
        return _read(descriptor, opened, size) or b""
    _kept[opened] = descriptor
    _let_go()
    return _read(descriptor, opened, size) or b""


def _let_go() -> None:
    """Close what is kept of deleted files, and of the oldest beyond `MOST_KEPT`, where nobody else has them open."""
    counts = Counter(inode for _, inode in _all())
    for inode, descriptor in list(_kept.items()):
        try:
            status = os.fstat(descriptor)
        except OSError:
            status = None
        if status is None or (status.st_dev, status.st_ino) != inode:
            del _kept[inode]
        elif counts[inode] == 1 and (not status.st_nlink or len(_kept) > MOST_KEPT):
            del _kept[inode]
            os.close(descriptor)


def _read(descriptor: int, inode: Inode | None, size: int) -> bytes | None:
    """Return the first bytes by a descriptor, None if it can't be read, or is another file's by now."""
    try:
        start = os.pread(descriptor, size, 0)
        status = os.fstat(descriptor)
    except OSError:
        return None
    return start if (status.st_dev, status.st_ino) == inode else None


def _all() -> Iterator[tuple[int, Inode]]:
    """Iterate over the process's descriptors with their files; one that is closed meanwhile is left out."""
    for descriptor in _numbers():
        try:
            status = os.fstat(descriptor)
        except OSError:
            continue
        yield descriptor, (status.st_dev, status.st_ino)


def _numbers() -> Iterable[int]:
    """Return the numbers that this process's descriptors may have."""
    if _FOLDER is None:
        return ()
    try:
        return [int(name) for name in os.listdir(_FOLDER) if name.isdigit()]
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        # The last descriptor has just been taken, by a file that must be known to be ours.
        return range(os.sysconf("SC_OPEN_MAX"))
