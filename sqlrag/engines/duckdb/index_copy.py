"""Bringing an index of the index file to what DuckDB's tables hold, block by block of ids."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlrag.engines.duckdb.differences import ROWS_AT_ONCE, chunk_differences, listed_columns, stored_vectors
from sqlrag.engines.duckdb.table_state import TableState
from sqlrag.store.names import quote
from sqlrag.store.registry import Contents, Registry
from sqlrag.store.writer import IndexWriter, immediate

if TYPE_CHECKING:
    import apsw
    import duckdb

    from sqlrag.store.registry import IndexRecord

__all__ = ["FILES", "IndexCopy", "drop_index", "note_state", "shown_state"]

FILES = "files"
"""Key of the index file's sqlrag_meta: the signature of the database's files whose tables all indexes show."""

_log = logging.getLogger("sqlrag")


def shown_state(shown: Contents, name: str) -> TableState | None:
    """Return which state of DuckDB's tables the registry of the index file notes for an index."""
    return TableState.parsed(shown.meta(_key(name)))


def note_state(registry: Registry, record: IndexRecord, state: TableState) -> None:
    """Note in the index file, in the caller's transaction, which state of DuckDB's tables it shows."""
    registry.put(record)
    registry.set_meta(_key(record.name), str(state))
    forget_files(registry)


def forget_files(registry: Registry) -> None:
    """Forget, in the caller's transaction, which files the index file shows."""
    if registry.exists():
        registry.set_meta(FILES, "")


def _key(name: str) -> str:
    return f"state:{name}"


def drop_index(connection: apsw.Connection, name: str) -> None:
    """Remove an index from an index file."""
    with immediate(connection):
        for table in (f"{name}_fts", f"{name}_vec", f"{name}_codes", f"{name}_cells", name):
            connection.execute(f"DROP TABLE IF EXISTS {quote(table)}")
        connection.execute("DELETE FROM sqlrag_indexes WHERE name = ?", (name,))
        for table in ("sqlrag_ivf", "sqlrag_nprobe"):
            connection.execute(f"DELETE FROM {table} WHERE index_name = ?", (name,))
        connection.execute("DELETE FROM sqlrag_meta WHERE key IN (?, ?)", (_key(name), FILES))


class IndexCopy:
    """One index of the index file, as a copy of DuckDB's tables."""

    def __init__(self, database: duckdb.DuckDBPyConnection, index: apsw.Connection, record: IndexRecord) -> None:
        self._duckdb = database
        self._index = index
        self._record = record
        self._writer = IndexWriter(index, record)

    def bring_to(self, state: TableState) -> None:
        """Let what is gone or changed go, and what is new come.

        The caller has read the state in the transaction that `database` is in, so that the rows are those of the state,
        and sees to it that nobody else writes the index file meanwhile. One transaction of the index file for some
        thousands of rows, and the state at the end: whatever stops it, the next one compares the same blocks.
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
        """Return the type of the keys in the index file, which would make numbers of texts, or texts of numbers."""
        sql = "SELECT type FROM pragma_table_info(?) WHERE name = 'source_id'"
        return next((str(kind) for (kind,) in self._index.execute(sql, (self._record.name,))), "")

    def _all_blocks(self, state: TableState) -> list[int]:
        """Return the blocks of the tables, and those that the index file has rows in."""
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
        """Copy some chunks with their vectors."""
        columns = listed_columns(self._record)
        sql = f"SELECT {columns} FROM {quote(self._record.name)} WHERE id IN (SELECT unnest(?)) ORDER BY id ASC"
        chunks = self._duckdb.execute(sql, [list(ids)]).fetchall()
        vectors = stored_vectors(self._duckdb, self._record, ids)
        with immediate(self._index):
            self._writer.insert(chunks, vectors)


def _made_as(record: IndexRecord) -> tuple[str, int, str, str, str]:
    """Return what an index's tables are made with: of another they are made again."""
    return record.embedder_hash, record.dimension, record.tokenizer, record.vectors, record.context
