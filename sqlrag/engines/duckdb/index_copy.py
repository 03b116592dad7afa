"""Bringing an index of the index file to the state of DuckDB's tables, block by block of ids."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlrag.engines.duckdb.differences import CHUNKS, chunk_differences
from sqlrag.engines.duckdb.table_state import TableState
from sqlrag.engines.duckdb.vectors import ROWS_AT_ONCE, stored_vectors
from sqlrag.store.names import quote
from sqlrag.store.registry import Contents, Registry
from sqlrag.store.writer import IndexWriter, immediate

if TYPE_CHECKING:
    import apsw
    import duckdb

    from sqlrag.store.registry import IndexRecord

__all__ = ["FILES", "IndexCopy", "drop_index", "note_state", "shown_state"]

FILES = "files"
"""Key in the index file's sqlrag_meta: the signature that the database's files had when all indexes were up to date."""

_log = logging.getLogger("sqlrag")


def shown_state(shown: Contents, name: str) -> TableState | None:
    """Return the state of DuckDB's tables that an index was made from, according to the index file."""
    return TableState.parsed(shown.meta(_key(name)))


def note_state(registry: Registry, record: IndexRecord, state: TableState) -> None:
    """Record which state of DuckDB's tables an index was made from. The caller has opened a transaction."""
    registry.put(record)
    registry.set_meta(_key(record.name), str(state))
    forget_files(registry)


def forget_files(registry: Registry) -> None:
    """Remove the signature of the database's files. The caller has opened a transaction."""
    if registry.exists():
        registry.set_meta(FILES, "")


def _key(name: str) -> str:
    return f"state:{name}"


def drop_index(connection: apsw.Connection, name: str) -> None:
    """Remove an index from an index file."""
    with immediate(connection):
        for table in (f"{name}_fts", f"{name}_codes", f"{name}_gone", name):
            connection.execute(f"DROP TABLE IF EXISTS {quote(table)}")
        connection.execute("DELETE FROM sqlrag_indexes WHERE name = ?", (name,))
        connection.execute("DELETE FROM main.sqlrag_candidates WHERE index_name = ?", (name,))
        connection.execute("DELETE FROM sqlrag_meta WHERE key IN (?, ?)", (_key(name), FILES))


class IndexCopy:
    """Copies the rows of one index from DuckDB's tables into the index file."""

    def __init__(self, database: duckdb.DuckDBPyConnection, index: apsw.Connection, record: IndexRecord) -> None:
        self._duckdb = database
        self._index = index
        self._record = record
        self._writer = IndexWriter(index, record, keeps_vectors=False)

    def bring_to(self, state: TableState) -> None:
        """Delete the rows that are gone or changed, and insert those that are new or changed.

        The caller has read the state in the transaction in which `database` reads the rows, and lets nobody else write
        the index file. Some thousands of rows are written in each transaction, and the state in the last one. If this
        is stopped before, the next call compares the same blocks again.
        """
        registry = Registry(self._index)
        shown = registry.find(self._record.name)
        key_type = self._key_type()
        if shown is not None and (_made_as(shown) != _made_as(self._record) or self._shown_key_type() != key_type):
            drop_index(self._index, self._record.name)
            shown = None
        with immediate(self._index):
            forget_files(registry)
            if shown is None:
                self._writer.create(key_type)
        blocks = state.changed_blocks(shown_state(registry.look(), self._record.name))
        for block in self._all_blocks(state) if blocks is None else blocks:
            self._copy_block(state.ids(block))
        with immediate(self._index):
            note_state(registry, self._record, state)

    def _key_type(self) -> str:
        described = self._duckdb.execute(f"SELECT source_id FROM {quote(self._record.name)} LIMIT 0").description or []
        return "INTEGER" if str(described[0][1]) == "BIGINT" else "TEXT"

    def _shown_key_type(self) -> str:
        """Return the type of the keys in the index file. SQLite would convert keys of another type."""
        sql = "SELECT type FROM pragma_table_info(?) WHERE name = 'source_id'"
        return next((str(kind) for (kind,) in self._index.execute(sql, (self._record.name,))), "")

    def _all_blocks(self, state: TableState) -> list[int]:
        """Return the blocks that have rows in DuckDB's tables or in the index file."""
        sql = f"SELECT DISTINCT id >> ? FROM {quote(self._record.name)}"
        shown = (block for (block,) in self._index.execute(sql, (state.bits,)))
        return sorted({*map(int, state.blocks), *shown})

    def _copy_block(self, ids: range) -> None:
        found = chunk_differences(self._duckdb, self._index, self._record, ids)
        if len(found.missing) > ROWS_AT_ONCE:
            _log.info(
                "index %s: copying %s chunks from %s on", self._record.name, f"{len(found.missing):,}", f"{ids[0]:,}"
            )
        if found.stale:
            with immediate(self._index):
                self._writer.delete_chunks(found.stale)
        for start in range(0, len(found.missing), ROWS_AT_ONCE):
            self._copy_chunks(found.missing[start : start + ROWS_AT_ONCE])

    def _copy_chunks(self, ids: Sequence[int]) -> None:
        """Insert some chunks, and the codes of their vectors."""
        sql = f"SELECT {CHUNKS} FROM {quote(self._record.name)} WHERE id IN (SELECT unnest(?)) ORDER BY id ASC"
        chunks = self._duckdb.execute(sql, [list(ids)]).fetchall()
        vectors = stored_vectors(self._duckdb, self._record, ids)
        with immediate(self._index):
            self._writer.insert(chunks, vectors)


def _made_as(record: IndexRecord) -> tuple[str, int, str, str]:
    """Return the settings after a change of which an index is made anew."""
    return record.embedder_hash, record.dimension, record.tokenizer, record.vectors
