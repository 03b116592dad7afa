"""The vectors and texts of an index, which only DuckDB's own tables have, and comparing vectors with a query.

`id IN $ids` uses the primary key: 200 vectors take 2 ms, whatever the size of the table. A copy in the index file would
take 1.4 ms, and double the space.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sqlrag.errors import NotADatabaseError
from sqlrag.store.names import quote
from sqlrag.store.statements import statement
from sqlrag.store.top_k import Index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    import duckdb
    from numpy.typing import NDArray

    from sqlrag.store.registry import Connection, IndexRecord
    from sqlrag.store.stored_vectors import Block
    from sqlrag.store.top_k import ChunkRow, Matching

__all__ = ["ROWS_AT_ONCE", "DuckDBIndex", "Run", "all_vectors", "stored_vectors"]

ROWS_AT_ONCE = 5_000
"""How many rows are read from DuckDB at a time: a few MB."""

Run: TypeAlias = "Callable[[str, dict[str, Any]], duckdb.DuckDBPyConnection]"
"""Runs a statement in DuckDB with named parameters; the connection has its result."""


def stored_vectors(database: duckdb.DuckDBPyConnection, record: IndexRecord, ids: Sequence[int]) -> NDArray[np.float32]:
    """Return the vectors of some chunks, `(n, dimension)`; `ids` ascend."""
    sql = f"""
        SELECT embedding FROM {quote(record.name + "_embedding")}
        WHERE id BETWEEN $first AND $last AND id IN (SELECT unnest($ids)) ORDER BY id ASC
    """
    bindings = {"first": ids[0], "last": ids[-1], "ids": list(ids)}
    column = list(database.execute(sql, bindings).fetchnumpy()["embedding"])
    if any(np.shape(vector) != (record.dimension,) for vector in column):
        raise NotADatabaseError(
            f"this database is damaged: {record.name}_embedding has vectors of another length than {record.dimension}: "
            f"in DuckDB itself, DELETE FROM {record.name}_embedding WHERE len(embedding) <> {record.dimension}, "
            "then sqlrag check --repair"
        )
    return np.stack(column).astype(np.float32)


def all_vectors(database: duckdb.DuckDBPyConnection, record: IndexRecord) -> Iterator[Block]:
    """Yield the ids and vectors of the chunks that have one, in the order of their ids."""
    sql = (
        f"SELECT id FROM {quote(record.name + '_embedding')} SEMI JOIN {quote(record.name)} USING (id) ORDER BY id ASC"
    )
    ids = database.execute(sql).fetchnumpy()["id"]
    for start in range(0, len(ids), ROWS_AT_ONCE):
        some = ids[start : start + ROWS_AT_ONCE]
        yield some, stored_vectors(database, record, some.tolist())


class DuckDBIndex(Index):
    """An index whose codes and words are in the index file, and whose vectors DuckDB compares in full."""

    def __init__(self, run: Run, connection: Connection, record: IndexRecord, **options: Any) -> None:
        super().__init__(connection, record, **options)
        self._run = run

    def compare(self, vector: bytes, k: int, candidates: int, ids: bytes | None) -> list[tuple[int, float, int]]:
        """Return `vector_top_k` of the candidates, the chunks with the nearest codes; `ids`: of these chunks only."""
        near = self.nearest_codes(vector, candidates, ids)
        return self._ranked(self._distances(vector, "WHERE id IN $ids", ids=near), k)

    def compare_all(self, vector: bytes, k: int, matching: Matching | None) -> list[tuple[int, float, int]]:
        """Return `vector_top_k` of all chunks that a filter lets through, each compared in full."""
        found = self._distances(vector)
        if matching is None:
            wanted = np.concatenate([np.empty(0, np.int64), *(block.ids for block in self._blocks.all())])
        else:
            wanted = np.frombuffer(matching.ids(self._connection, scans=self.scans()), np.int64)
        is_wanted = np.isin(found["id"], wanted)
        return self._ranked({name: column[is_wanted] for name, column in found.items()}, k)

    def distances(self, vector: bytes, ids: Sequence[int]) -> dict[int, float]:
        """Return the distances of these chunks' vectors from a vector, by id."""
        found = self._ranked(self._distances(vector, "WHERE id IN $ids", ids=list(ids)), len(ids))
        return {id_: distance for id_, distance, _ in found}

    def _distances(self, vector: bytes, condition: str = "", **bindings: Any) -> Mapping[str, NDArray[Any]]:
        sql = f"""
            SELECT id, array_distance(embedding, $query::FLOAT[{self.record.dimension}])::DOUBLE AS distance
            FROM   {quote(self.record.name + "_embedding")} {condition}
        """
        return self._run(sql, {"query": memoryview(vector).cast("f").tolist(), **bindings}).fetchnumpy()

    @staticmethod
    def _ranked(found: Mapping[str, NDArray[Any]], k: int) -> list[tuple[int, float, int]]:
        ids, distances = found["id"], np.ma.filled(found["distance"], np.nan)
        order = np.lexsort((ids, distances))[:k]
        pairs = zip(ids[order].tolist(), distances[order].tolist(), strict=True)
        return [(id_, distance, rank) for rank, (id_, distance) in enumerate(pairs, start=1)]

    def chunks(self, ids: Sequence[int]) -> list[ChunkRow]:
        """Return the chunks of these ids, in their order; an id that is gone is left out."""
        context = "context" if self.record.context else "''"
        sql = f"SELECT id, source_id, text, {context} FROM {quote(self.record.name)} WHERE id IN $ids"
        found = {row[0]: row for row in self._run(sql, {"ids": list(ids)}).fetchall()}
        return [found[id_] for id_ in ids if id_ in found]

    def counts(self) -> tuple[int, int, int, int, int]:
        """Return the number of documents, chunks, tokens, truncated chunks and vectors."""
        sql = statement("duckdb/info", index=self.record.name)
        (counts,) = self._run(sql, {"window": self.record.window}).fetchall()
        documents, chunks, tokens, truncated, vectors = map(int, counts)
        return documents, chunks, tokens, truncated, vectors

    def _parts(self) -> dict[str, str]:
        return {}  # no statement about the index file reads vectors
