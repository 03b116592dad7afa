"""Telling from the files of a DuckDB database that nothing was committed, in microseconds, whatever their size.

A commit ends with bytes in the write-ahead log, or with a checkpoint in the database file. No transaction starts while
DuckDB writes the last of these bytes (`DuckTransactionManager::CommitTransaction` flushes the log under the lock that
`StartTransaction` takes). So a transaction that starts after the files were seen to change sees the commit.
"""

from __future__ import annotations

import os
import time

__all__ = ["Signature", "file_signature"]

Signature = tuple[tuple[int, int, int] | None, ...]
"""The inode, size and time of the last change of each file."""

_SUFFIXES = ("", ".wal", ".wal.checkpoint")
"""The database, its write-ahead log, and the log that is written while a checkpoint runs."""

_SETTLED = 2_000_000_000
"""Nanoseconds after which a further change gets another time, even on FAT, which has the coarsest clock."""


def file_signature(path: str) -> Signature | None:
    """Return a value that stays the same until something is committed, or None if the files cannot tell.

    They cannot tell for a database in memory, just after a change, or on Windows, which updates sizes and times late.
    """
    if os.name == "nt":
        return None
    found = tuple(_of(path + suffix) for suffix in _SUFFIXES)
    newest = max((one[2] for one in found if one is not None), default=0)
    return None if found[0] is None or time.time_ns() - newest < _SETTLED else found


def _of(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
