"""What shows on the files of a DuckDB database that nothing was committed: in microseconds, at any size.

A commit ends with bytes in the write-ahead log, or with a checkpoint in the database file. No transaction starts while
DuckDB writes the last of these bytes (`DuckTransactionManager::CommitTransaction` flushes the log under the lock that
`StartTransaction` takes): who sees them on the file and asks DuckDB then, is told of the commit.
"""

from __future__ import annotations

import os
import time

__all__ = ["Signature", "file_signature"]

Signature = tuple[tuple[int, int, int] | None, ...]
"""Number, bytes and time of the last change of each file."""

_SUFFIXES = ("", ".wal", ".wal.checkpoint")
"""The database, its write-ahead log, and the log of what is committed while a checkpoint runs."""

_SETTLED = 2_000_000_000
"""Nanoseconds after which another change has another time, on the file system with the coarsest clock (FAT)."""


def file_signature(path: str) -> Signature | None:
    """Return what is the same again as long as nothing is committed, None where the files cannot tell.

    They cannot for a database in memory, on Windows, which writes sizes and times late, and just after a change.
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
