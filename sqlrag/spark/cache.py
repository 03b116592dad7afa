"""Local copies of shards on an executor, by content hash, within a size limit.

A shard on a local or shared disk is read where it is. From elsewhere it is copied, once for all processes of a machine.
Rows that were deleted since a shard was written are deleted from a copy of it, so that what is searched is exactly what
is there: neither distances nor the statistics of BM25 know of the deleted ones.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from sqlrag.errors import DatabaseError, DiskFullError, NotADatabaseError
from sqlrag.models.cached_models import models_folder
from sqlrag.spark.folder import Folder
from sqlrag.spark.manifest import unpacked
from sqlrag.spark.shards import checksum, opened
from sqlrag.store.names import in_main

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlrag.spark.manifest import Shard
    from sqlrag.store.registry import IndexRecord

__all__ = ["DEFAULT_CACHE_MB", "Cache", "delete_rows"]

DEFAULT_CACHE_MB = 50_000


@dataclass(frozen=True)
class Cache:
    """A folder of local copies.

    `folder`: by default `shards` beside the folder of pulled models, which SQLRAG_CACHE moves. `limit`: how many
    megabytes the copies take; the least recently used go first, those in use never.
    """

    folder: str | None = None
    limit: int = DEFAULT_CACHE_MB

    def take(self, source: Folder, shard: Shard, record: IndexRecord) -> tuple[str, IO[bytes] | None]:
        """Return the path of a shard's file on this machine, and a lock that keeps it there until it is closed.

        Raises DatabaseError if the shard is not in its folder, NotADatabaseError if it is another file, DiskFullError.
        """
        if source.is_local and not shard.gone:
            _check_size(source, shard)
            return source.at(shard.name), None
        folder = self.folder or str(models_folder().parent / "shards")
        path = os.path.join(folder, f"{shard.sha256}{_mark(shard.gone)}.db")
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            lock = open(f"{path}.lock", "ab")  # noqa: SIM115 - it is held as long as the shard is open
            fcntl.flock(lock, fcntl.LOCK_SH)
            if not os.path.exists(path):
                fcntl.flock(lock, fcntl.LOCK_EX)  # one process makes the copy, the others wait here
                if not os.path.exists(path):
                    self._make_room(folder, shard.size)
                    _copy(source, shard, record, path)
                fcntl.flock(lock, fcntl.LOCK_SH)
            os.utime(path)
        except OSError as error:
            raise _disk_error(folder, shard, error) from error
        return path, lock

    def _make_room(self, folder: str, wanted: int) -> None:
        """Remove the copies that were not used for the longest time, until another one of so many bytes fits."""
        copies = []
        for entry in os.scandir(folder):
            if entry.name.endswith(".db"):
                with suppress(FileNotFoundError):
                    copies.append((entry.stat().st_mtime, entry.stat().st_size, entry.path))
        taken = sum(size for _, size, _ in copies)
        for _, size, path in sorted(copies):
            if taken + wanted <= self.limit * 1_000_000:
                break
            with _unused(path) as is_unused:
                if is_unused:
                    os.unlink(path)
                    taken -= size


@contextmanager
def _unused(path: str) -> Iterator[bool]:
    """Tell whether no process has a copy open; none can take it in the body."""
    with open(f"{path}.lock", "ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield os.path.exists(path)


def delete_rows(path: str, record: IndexRecord, rowids: list[int]) -> None:
    """Delete rows of a shard's source, with their chunks: what a DELETE and `sync` do on one machine."""
    from sqlrag.engines.sqlite.index_tables import SQLiteTables
    from sqlrag.store.source_table import key_expression, source_of

    with opened(path) as engine:
        connection = engine.connection
        tables = SQLiteTables(connection, path, record)
        table = in_main(record.source_table)
        with tables.transaction():
            key = key_expression(source_of(record))
            connection.execute("CREATE TEMP TABLE sqlrag_rows (number INTEGER PRIMARY KEY)")
            connection.executemany("INSERT INTO temp.sqlrag_rows VALUES (?)", ((number,) for number in rowids))
            chosen = "rowid IN (SELECT number FROM temp.sqlrag_rows)"
            keys = [key for (key,) in connection.execute(f"SELECT {key} FROM {table} WHERE {chosen}")]
            tables.delete_chunks_of(keys)
            connection.execute(f"DELETE FROM {table} WHERE {chosen}")
            if record.is_over_table:
                tables.delete_rows(keys)
                connection.execute(f"DELETE FROM {in_main(f'{record.name}_queue')}")


def _check_size(source: Folder, shard: Shard) -> None:
    try:
        size = source.size(shard.name)
    except FileNotFoundError as error:
        raise _missing(source, shard) from error
    if size != shard.size:
        raise _foreign(source, shard, f"it has {size:,} bytes, not {shard.size:,}")


def _copy(source: Folder, shard: Shard, record: IndexRecord, path: str) -> None:
    """Copy a shard, check that it is the one of the manifest, and delete the rows that are gone."""
    number, begun = tempfile.mkstemp(suffix=".begun", dir=os.path.dirname(path))
    os.close(number)
    try:
        try:
            source.download(shard.name, begun)
        except FileNotFoundError as error:
            raise _missing(source, shard) from error
        if checksum(begun) != shard.sha256:
            raise _foreign(source, shard, "its SHA-256 is another")
        if shard.gone:
            delete_rows(begun, record, unpacked(shard.gone).tolist())
        os.replace(begun, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(begun)


def _mark(gone: str) -> str:
    return f"-{hashlib.sha256(gone.encode()).hexdigest()[:16]}" if gone else ""


def _missing(source: Folder, shard: Shard) -> DatabaseError:
    return DatabaseError(
        f"{source.path} has no file {shard.name}, which its manifest names: it was removed, or this executor does not "
        "see the folder. Keep an index where every executor can read it, and register it again after a vacuum"
    )


def _foreign(source: Folder, shard: Shard, why: str) -> NotADatabaseError:
    return NotADatabaseError(f"{source.path}/{shard.name} is not the file that the manifest names: {why}")


def _disk_error(folder: str, shard: Shard, error: OSError) -> DatabaseError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(
            f"{folder}: no space is left for a copy of {shard.name} ({shard.size:,} bytes): make room there, or "
            "register the index with another folder as cache="
        )
    return DatabaseError(f"{folder}: shard {shard.name} cannot be copied: {error.strerror or error}")
