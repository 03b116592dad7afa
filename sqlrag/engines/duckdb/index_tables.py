"""The tables of one index in DuckDB, for writing: chunks and vectors in one transaction, then the index file."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import duckdb

from sqlrag.engines.duckdb.cursors import HERE, schema_of
from sqlrag.engines.duckdb.index_file import index_file_of
from sqlrag.engines.duckdb.schema_check import stored_records
from sqlrag.store.driver.error_translation import translated as translated_sqlite
from sqlrag.store.names import quote
from sqlrag.store.registry import COLUMNS, SCHEMA_VERSION, IndexRecord
from sqlrag.store.statements import statement
from sqlrag.store.writer import CHUNK_COLUMNS, IndexWriter, StoredChunk, check_room, immediate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.engines.duckdb.indexes import DuckDBIndexes
    from sqlrag.engines.duckdb.table_state import TableState

__all__ = ["IndexTables", "transaction", "upgrade"]


@contextmanager
def transaction(database: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Run the body as one transaction."""
    try:
        database.execute("BEGIN")
        yield
        database.execute("COMMIT")
    except BaseException:
        # After a commit that failed, or a full disk, there is no transaction left to roll back.
        with suppress(duckdb.Error):
            database.execute("ROLLBACK")
        raise


def upgrade(database: duckdb.DuckDBPyConnection) -> None:
    """Bring the tables of an earlier schema to this one."""
    version = str(SCHEMA_VERSION)
    sql = "SELECT 1 FROM sqlrag_meta WHERE key = 'schema_version' AND value <> ?"
    if database.execute(sql, [version]).fetchall():
        with transaction(database):
            database.execute(statement("duckdb/schema", main=schema_of(database)))
            database.execute("UPDATE sqlrag_meta SET value = ? WHERE key = 'schema_version'", [version])


class IndexTables:
    """One index's tables; the caller holds the transaction unless it says otherwise."""

    def __init__(
        self, database: duckdb.DuckDBPyConnection, path: str, indexes: DuckDBIndexes, record: IndexRecord
    ) -> None:
        self.record = record
        self._path = path
        self._duckdb = database
        self._indexes = indexes
        self._table = quote(record.name)
        self._vectors = quote(f"{record.name}_embedding")

    def find(self) -> IndexRecord | None:
        """Return the record of an index of this name, None where there is none; tables of an earlier schema go on."""
        if "sqlrag_indexes" not in self._columns():
            return None
        upgrade(self._duckdb)
        names = (record for record in stored_records(self._duckdb) if record.name.lower() == self.record.name.lower())
        return next(names, None)

    def is_as_recorded(self) -> bool:
        """Tell whether the index is still the one that this was opened for, and not made anew by another connection."""
        return any(record.is_as(self.record) for record in stored_records(self._duckdb))

    def create(self, source_type: str = "BIGINT", *, first_id: int = 1) -> None:
        """Create the tables and record the index. Raises DatabaseError where a table stands in the way."""
        check_room(self._path, self.record.name, self._columns(), documents=not self.record.is_live)
        record = self.record
        main = schema_of(self._duckdb)
        self._duckdb.execute(statement("duckdb/schema", main=main))
        kept = source_type if source_type == "BIGINT" else f'{source_type} COLLATE "binary"'
        parts = {"main": main, "dimension": record.dimension, "source_type": kept, "first_id": first_id}
        for part in ("create", *(["live"] if record.is_live else [])):
            self._duckdb.execute(statement(f"duckdb/{part}", index=record.name, **parts))
        names, places = ", ".join(quote(column) for column in COLUMNS), ", ".join("?" for _ in COLUMNS)
        self._duckdb.execute(f"INSERT INTO sqlrag_indexes ({names}) VALUES ({places})", [*record.values().values()])
        for key, value in (("schema_version", str(SCHEMA_VERSION)), ("embedder", record.embedder)):
            self._duckdb.execute("INSERT INTO sqlrag_meta VALUES (?, ?) ON CONFLICT DO NOTHING", [key, value])

    def drop(self) -> None:
        """Drop the tables and forget the index."""
        # What an index over documents does not have may be a table of the user's.
        for part in ("", "_embedding", "_rows") if self.record.is_live else ("", "_embedding"):
            table = f"{self.record.name}{part}"
            self._duckdb.execute(f"DROP TABLE IF EXISTS {quote(table)}")
        self._duckdb.execute(f"DROP SEQUENCE IF EXISTS {quote(f'{self.record.name}_ids')}")
        self._duckdb.execute("DELETE FROM sqlrag_indexes WHERE name = ?", [self.record.name])

    def next_ids(self, count: int) -> list[int]:
        """Return ids of chunks that were never used."""
        sql = f"SELECT nextval('{self.record.name}_ids') FROM range(?)"
        return [id_ for (id_,) in self._duckdb.execute(sql, [count]).fetchall()]

    def insert(self, chunks: Sequence[StoredChunk], vectors: NDArray[np.float32]) -> None:
        """Insert chunks and vectors, (n, dimension), as Arrow tables."""
        if not chunks:
            return
        import pyarrow as pa

        columns = list(zip(*chunks, strict=True))
        chunk_table = pa.table({name: list(column) for name, column in zip(CHUNK_COLUMNS, columns, strict=True)})
        flat = pa.array(vectors.reshape(-1))
        fixed = pa.FixedSizeListArray.from_arrays(flat, self.record.dimension)
        vector_table = pa.table({"id": list(columns[0]), "embedding": fixed})
        for name, table in ((self._table, chunk_table), (self._vectors, vector_table)):
            self._duckdb.register("sqlrag_new_rows", table)
            self._duckdb.execute(f"INSERT INTO {name} SELECT * FROM sqlrag_new_rows")
            self._duckdb.unregister("sqlrag_new_rows")

    def delete_chunks_of(self, source_ids: Sequence[Any]) -> None:
        """Delete the chunks of these source rows, and their vectors."""
        if not source_ids:
            return
        chosen = f"{self._table} WHERE source_id IN (SELECT unnest($ids))"
        ids = {"ids": list(source_ids)}
        self._duckdb.execute(f"DELETE FROM {self._vectors} WHERE id IN (SELECT id FROM {chosen})", ids)
        self._duckdb.execute(f"DELETE FROM {chosen}", ids)

    def state(self) -> TableState:
        """Return the state of the tables, as the transaction sees it. Raises DatabaseError where one is gone."""
        return self._indexes.state(self.record, self._duckdb)

    def bump_version(self) -> None:
        """Give the tables another version, by which an index file knows whether it shows them."""
        # By the clock, not by one: two copies of a database that went different ways never have the same version.
        self.record = replace(self.record, version=max(self.record.version + 1, time.time_ns()))
        sql = "UPDATE sqlrag_indexes SET version = ? WHERE name = ?"
        self._duckdb.execute(sql, [self.record.version, self.record.name])

    def write_index_file(
        self,
        before: TableState,
        after: TableState,
        replaced: Sequence[Any],
        chunks: Sequence[StoredChunk],
        vectors: NDArray[np.float32] | None,
    ) -> None:
        """Bring the index file to what DuckDB has just committed; a crash before this is caught up on open.

        `before`, `after`: the states of DuckDB's tables at the beginning and the end of that transaction, as it saw
        them: what others commit is in neither. A file that shows another state than `before` lacks more than this, or
        has this already.
        """
        connection = self._indexes.connection
        index = IndexWriter(connection, self.record)
        with self._indexes.lock, self._indexes.changing, translated_sqlite(index_file_of(self._path)):
            with immediate(connection):
                shows_before = self._indexes.state_shown(self.record.name) == before
                if shows_before:
                    index.delete_chunks_of(replaced)
                    if chunks and vectors is not None:
                        index.insert(chunks, vectors)
                    self._indexes.record_state(self.record, after)
            if not shows_before:
                self._indexes.catch_up()

    def _columns(self) -> dict[str, list[str]]:
        """Return the columns of each table."""
        sql = f"SELECT table_name, list(column_name) FROM duckdb_columns() WHERE {HERE} GROUP BY table_name"
        return dict(self._duckdb.execute(sql).fetchall())
