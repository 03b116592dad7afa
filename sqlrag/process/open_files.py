"""The files that this process has open; reading the first bytes of a database without dropping its locks.

POSIX locks belong to a process and a file: closing *any* descriptor of the file drops every lock that the process has
on it, whichever code took it (https://www.sqlite.org/howtocorrupt.html, 2.2). SQLite and DuckDB lock their files this
way, and each knows only its own descriptors. So sqlrag never opens and closes a database file that a library may hold:

- If the process has the file open already, it is read through that descriptor.
- Otherwise it is opened, and the descriptor is *kept*. It cannot be closed after reading: another thread may have
  opened the file and locked it since, and no system call closes a descriptor only if it is the last one.

One descriptor is kept for each of the last `MOST_KEPT` files. One is closed only if the process has no other descriptor
of that file. For a deleted file that is safe, because it cannot be opened by its name any more. For the oldest beyond
`MOST_KEPT` it is nearly so: it was last read many files ago, and another thread would have to open and lock it within
the microseconds between the check and the close.

Windows has no such locks, and open files cannot be deleted there, so the file is simply opened and closed.
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
    "descriptor_named",
    "descriptors_on",
    "inode_of",
    "is_kept",
    "names_of",
    "start_of",
]

MOST_KEPT = 32

Inode = tuple[int, int]
"""The device and inode number of a file, which all of its names share."""

_FOLDER = next((folder for folder in ("/proc/self/fd", "/dev/fd") if os.path.isdir(folder)), None)

_STARTS = (
    b"SQLite format 3\0",
    b"\x37\x7f\x06\x82",  # a write-ahead log (https://www.sqlite.org/fileformat.html#wal_file_format)
    b"\x37\x7f\x06\x83",
    b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7",  # a rollback journal
    b"\x18\xe2\x2d\x00",  # the index of a write-ahead log, which has the locks (https://www.sqlite.org/walformat.html)
    b"\x00\x2d\xe2\x18",
)
"""The first bytes of SQLite's databases and journals."""

_kept: dict[Inode, int] = {}
_lock = threading.Lock()


def inode_of(path: str) -> Inode | None:
    """Return the inode of a path, None if there is no such file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def descriptors_on(inode: Inode) -> list[int]:
    """Return this process's descriptors of a file; none on a system that does not list them."""
    return [descriptor for descriptor, found in _all() if found == inode]


def names_of(inode: Inode) -> list[str]:
    """Return the names under which this process has a file open, apart from the descriptor that is kept here."""
    names = []
    for descriptor in descriptors_on(inode):
        if not is_kept(descriptor, inode):
            with suppress(OSError):
                names.append(os.readlink(f"{_FOLDER}/{descriptor}"))
    return names


def is_kept(descriptor: int, inode: Inode) -> bool:
    """Tell whether a descriptor is the one that is kept here for a file."""
    return _kept.get(inode) == descriptor


def descriptor_named(path: str) -> int | None:
    """Return a descriptor that this process has of the file of a name, also if that name was deleted since."""
    for descriptor in _numbers():
        with suppress(OSError):
            if os.readlink(f"{_FOLDER}/{descriptor}").removesuffix(" (deleted)") == path:
                return descriptor
    return None


def start_of(path: str, size: int) -> bytes:
    """Return the first bytes of a file; none if it cannot be read, as opening it will report the reason."""
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
    """Raise OSError if a file is a database, or its journal, that this process has open.

    It must not be read as a document, or as anything else: the reader would close it, and so drop the locks.
    """
    inode = inode_of(os.fspath(path))
    for descriptor in () if inode is None else descriptors_on(inode):
        start = _read(descriptor, inode, 16) or b""
        if start.startswith(_STARTS) or start[8:12] == b"DUCK":
            raise OSError(errno.EBUSY, "is a database that this process has open")


def _start_of(inode: Inode, path: str, size: int) -> bytes:
    if inode in _kept and (start := _read(_kept[inode], inode, size)) is not None:
        return start
    _kept.pop(inode, None)  # other code has closed it, as daemons close all their descriptors
    for there in descriptors_on(inode):
        if (start := _read(there, inode, size)) is not None:
            return start
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    opened = status.st_dev, status.st_ino
    if opened in _kept:  # the file has just been replaced by a known one, of which two are kept now
        return _read(descriptor, opened, size) or b""
    _kept[opened] = descriptor
    _let_go()
    return _read(descriptor, opened, size) or b""


def _let_go() -> None:
    """Close descriptors of deleted files, and the oldest beyond `MOST_KEPT`, unless the process has another one."""
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
    """Return the first bytes through a descriptor; None if it can't be read, or belongs to another file by now."""
    try:
        start = os.pread(descriptor, size, 0)
        status = os.fstat(descriptor)
    except OSError:
        return None
    return start if (status.st_dev, status.st_ino) == inode else None


def _all() -> Iterator[tuple[int, Inode]]:
    """Yield the process's descriptors with their inodes, without those that are closed meanwhile."""
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
        # The process has no descriptor left to list the folder with, and a file may just have taken the last one.
        return range(os.sysconf("SC_OPEN_MAX"))
