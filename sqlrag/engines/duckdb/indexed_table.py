"""An index over a table of a DuckDB database: what differs is found by comparing hashes of every row's text.

DuckDB 2.0 has triggers, but a table with them takes no upsert and no MERGE ("not yet supported", tried with 2.0.0): a
user's own statements would fail. A comparison of 100,000 rows takes a twentieth of a second, and misses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from sqlrag.engines.changed_rows import Limits, QueuedRow, chunk_rows, within
from sqlrag.engines.duckdb.error_translation import translated
from sqlrag.engines.duckdb.index_file import index_file_of
from sqlrag.engines.duckdb.index_tables import IndexTables, transaction
from sqlrag.engines.duckdb.table_schema import (
    checked_types,
    describe,
    kept_key_type,
    key_expression,
    key_type_of,
    rows_of,
)
from sqlrag.errors import DatabaseError, InputError, LockedError
from sqlrag.store.driver.error_translation import translated as translated_sqlite
from sqlrag.store.names import NEXT, quote
from sqlrag.store.registry import IndexRecord
from sqlrag.store.source_table import source_of
from sqlrag.store.statements import statement
from sqlrag.store.writer import StoredChunk

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

    from sqlrag.engines.duckdb.indexes import DuckDBIndexes
    from sqlrag.text.documents import Part

__all__ = ["DuckDBLive"]


class DuckDBLive:
    """Keeps one index in step with the table or view that it is over."""

    def __init__(
        self, database: duckdb.DuckDBPyConnection, path: str, indexes: DuckDBIndexes, record: IndexRecord
    ) -> None:
        self._path = path
        self._duckdb = database
        self._indexes = indexes
        self._tables = IndexTables(self._duckdb, path, indexes, record)
        self._source = source_of(record)
        self._is_next = record.name.endswith(NEXT)
        self._rows = quote(f"{record.name}_rows")
        self._queued: dict[Any, None] = {}
        self._without_key: list[QueuedRow] = []

    @property
    def record(self) -> IndexRecord:
        """The record of the index."""
        return self._tables.record

    def create(self, *, first_id: int = 1) -> None:
        """Create the index, with no rows. The caller holds the transaction.

        Raises InputError for a text of bytes, and for a stated key that several rows have.
        """
        for key in self._repeated():
            raise InputError(
                f"key is {self.record.source_key!r}: {self._source.table} has several rows with the key {key!r}: "
                "give columns that tell its rows apart"
            )
        source_type = key_type_of(self._source.key, describe(self._duckdb, self._source.table).types)
        self._tables.create(source_type, first_id=first_id)

    def _repeated(self) -> list[Any]:
        """Return a key that several rows have, if there is one."""
        sql = f"SELECT key FROM ({self._select()}) GROUP BY key HAVING count(*) > 1 LIMIT 1"
        return [key for (key,) in self._duckdb.execute(sql).fetchall()]

    def check_key(self) -> None:
        """Raise DatabaseError where the table has been made anew with another key, or with one of another type."""
        table = describe(self._duckdb, self._source.table)
        kept = kept_key_type(self._duckdb, self.record)
        key_type = key_type_of(self._source.key, table.types)
        if key_type != kept or (table.key and table.key != self._source.key):
            name = self.record.name
            same_columns = table.key in {(), self._source.key}
            anew = "sqlrag check --repair makes the index anew, or " if same_columns else ""
            raise DatabaseError(
                f"index {name!r} knows rows of {table.name} by {', '.join(self._source.key)} {kept}, and the key of "
                f"that {table.kind} is {', '.join(table.key or self._source.key)} {key_type} now: "
                f"{anew}drop the index with drop_index({name!r}) and make it again"
            )

    def differences(self) -> list[Any]:
        """Return the keys of the rows that came, changed or went."""
        return [key for (key,) in self._duckdb.execute(self.differences_statement()).fetchall()]

    def differences_statement(self) -> str:
        """Return the SELECT of these keys, for any connection. Raises DatabaseError where the source is another one."""
        source = self._select()  # says what is gone
        self.check_key()
        return statement("duckdb/live_differences", index=self.record.name, main=self._indexes.main, source=source)

    # What Sync asks

    def prepare(self, *, compare: bool) -> None:
        """Compare every row; raises DatabaseError where the source is gone, or its key does not tell its rows apart.

        `compare`: rows without a key are looked for, too, to be named in the report.
        """
        with translated(self._path):
            self._queued = dict.fromkeys(self.differences())
            self._without_key = self._rows_without_key() if compare else []
            for key in self._repeated() if self._queued else ():
                raise DatabaseError(
                    f"index {self.record.name!r}: {self._source.table} has several rows with the key {key!r}: "
                    "give the index a key that tells them apart"
                )

    def backlog(self) -> int:
        """Return how many rows the last comparison has found that are not written yet."""
        return len(self._queued)

    def entries(self) -> int:
        """Return how many entries the queue has: each row once, and those without a key."""
        return len(self._queued) + len(self._without_key)

    def take(self, rows: int, limits: Limits) -> list[QueuedRow]:
        """Return the first of the rows that were found, so many at most, as `within` takes them."""
        if self._without_key:
            return self._without_key[:rows]
        keys = list(islice(self._queued, max(rows, limits.rows or 0)))
        with translated(self._path):
            return within(self._present(keys), rows, limits)

    def apply(self, rows: Sequence[Part[QueuedRow]]) -> list[Any]:
        """Write rows, all or nothing, but for those that have changed since; return the ids of those written.

        None is written where the index has been made anew meanwhile, with another model perhaps. Rows without a key are
        done with as soon as they are named.
        """
        if self._without_key:
            self._without_key = self._without_key[len(rows) :]
            return [one.source.source_id for one in rows]
        with suppress(LockedError):  # another connection has just written them: nothing of this was
            return self._applied(rows)
        return []

    def _applied(self, rows: Sequence[Part[QueuedRow]]) -> list[Any]:
        with translated(self._path), transaction(self._duckdb):
            before = self._tables.state()
            if not self._tables.is_as_recorded():
                return []
            now = {row.source_id: row for row in self._present([one.source.source_id for one in rows])}
            same = [one for one in rows if now[one.source.source_id].is_as(one.source)]
            changed = [one for one in same if one.source.is_changed]
            chunks, vectors = self._write(changed)
            after = self._tables.state()
        replaced = [one.source.source_id for one in changed]
        if changed:
            self._tables.write_index_file(before, after, replaced, chunks, vectors)
        written = [one.source.source_id for one in same]
        for source_id in written:
            del self._queued[source_id]
        return written

    def keep_up(self, progress: Callable[[str, float], None], *, wrote: bool = True) -> None:
        """Make new cells for the index if it has outgrown the ones it has; one that is to take a place has none yet."""
        if not self._is_next:
            with self._indexes.lock, translated_sqlite(index_file_of(self._path)):
                self._indexes.catch_up()
                self._indexes.keep_up(self.record, progress, wrote=wrote)

    # Private

    def _select(self) -> str:
        """Return the SELECT of every row's key and text. Raises SourceGoneError where the source cannot give it."""
        return rows_of(self._source, checked_types(self._duckdb, self.record), self._indexes.main)

    def _rows_without_key(self) -> list[QueuedRow]:
        """Return the rows that cannot be found again, as part of their key is NULL; those that are alike once."""
        names = self._source.key
        types = checked_types(self._duckdb, self.record)
        columns = [f"{quote(name)} IS NULL" for name in names]
        key = key_expression(self._source, types) if self._source.is_composite else "NULL"
        sql = (
            f"SELECT DISTINCT {key}, {', '.join(columns)} FROM {quote(self._source.table)} "
            f"WHERE ({self._source.where}) AND ({' OR '.join(columns)}) ORDER BY ALL ASC"
        )
        found = []
        for source_id, *are_null in self._duckdb.execute(sql).fetchall():
            missing = ", ".join(name for name, is_null in zip(names, are_null, strict=True) if is_null)
            reason = f"its key is NULL ({missing})" if self._source.is_composite else "its key is NULL"
            found.append(QueuedRow(source_id, None, None, None, reason))
        return found

    def _present(self, keys: Sequence[Any]) -> list[QueuedRow]:
        """Return rows as they are now, in the order of their keys."""
        if not keys:
            return []
        sql = statement("duckdb/live_rows", index=self.record.name, source=self._select())
        found = {
            key: QueuedRow(key, text, hash_.encode() if there else None, None if known is None else known.encode())
            for key, text, there, hash_, known in self._duckdb.execute(sql, {"keys": list(keys)}).fetchall()
        }
        return [found[key] for key in keys]

    def _write(self, changed: Sequence[Part[QueuedRow]]) -> tuple[list[StoredChunk], NDArray[np.float32] | None]:
        """Put rows' chunks in place of those that they had."""
        if not changed:
            return [], None
        ids = iter(self._tables.next_ids(sum(len(one.chunks) for one in changed)))
        chunks = chunk_rows(changed, ids)
        vectors = np.concatenate([one.vectors for one in changed]).astype(np.float32)
        keys = [one.source.source_id for one in changed]
        self._tables.delete_chunks_of(keys)
        self._duckdb.execute(f"DELETE FROM {self._rows} WHERE source_id IN (SELECT unnest($keys))", {"keys": keys})
        present = [
            (one.source.source_id, one.source.content_hash.decode())
            for one in changed
            if one.source.content_hash is not None
        ]
        if present:
            kept = [list(column) for column in zip(*present, strict=True)]
            self._duckdb.execute(f"INSERT INTO {self._rows} SELECT unnest($1), unnest($2)", kept)
        self._tables.insert(chunks, vectors)
        self._tables.bump_version()
        return chunks, vectors
