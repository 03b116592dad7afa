"""Writing one index: chunks and their vectors, always both in the same transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlrag.index.names import quote
from sqlrag.index.registry import Connection, IndexRecord, Registry
from sqlrag.index.statements import statement

if TYPE_CHECKING:
    import apsw
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["IndexWriter", "StoredChunk", "immediate"]

StoredChunk = tuple[int, int, int, int, int, str, int]
"""`(id, source_id, ordinal, start_char, end_char, text, token_count)`: a row of the chunk table."""


@contextmanager
def immediate(connection: Connection) -> Iterator[None]:
    """Run the body as one write transaction that holds the write lock from its start.

    A deferred one that reads first and then writes fails at once when another process wrote in between, without
    waiting (https://www.sqlite.org/lang_transaction.html).
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        # A full disk or an I/O error may have rolled the transaction back already.
        if not connection.getautocommit():  # type: ignore[attr-defined]
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


class IndexWriter:
    """One index in a SQLite file, for writing; the caller holds the transaction."""

    def __init__(self, connection: apsw.Connection, record: IndexRecord) -> None:
        self.record = record
        self._connection = connection
        self._table = quote(record.name)
        self._vectors = quote(f"{record.name}_vec")

    def create(self) -> None:
        """Create the index's tables and record it."""
        registry = Registry(self._connection)
        registry.create()
        sql = statement("index/create", index=self.record.name, dimension=self.record.dimension)
        self._connection.execute(sql)
        registry.put(self.record)

    def next_id(self) -> int:
        """Return the first chunk id that was never used."""
        rows = list(self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (self.record.name,)))
        return int(rows[0][0]) + 1 if rows else 1

    def insert(self, chunks: Sequence[StoredChunk], vectors: NDArray[np.float32]) -> None:
        """Insert chunks with their vectors, `(n, dimension)` float32, unit length."""
        self._connection.executemany(f"INSERT INTO {self._table} VALUES (?, ?, ?, ?, ?, ?, ?)", chunks)
        self._connection.executemany(
            f"INSERT INTO {self._vectors} (rowid, embedding) VALUES (?, ?)",
            ((chunk[0], vector.tobytes()) for chunk, vector in zip(chunks, vectors, strict=True)),
        )

    def delete_chunks_of(self, source_ids: Sequence[int]) -> None:
        """Delete the chunks of these source rows; the trigger takes their vectors and words along."""
        self._many(f"DELETE FROM {self._table} WHERE source_id = ?", source_ids)

    def delete_chunks(self, ids: Sequence[int]) -> None:
        """Delete chunks by their own ids."""
        self._many(f"DELETE FROM {self._table} WHERE id = ?", ids)

    def _many(self, sql: str, ids: Sequence[Any]) -> None:
        self._connection.executemany(sql, ((id_,) for id_ in ids))
