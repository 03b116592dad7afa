"""Measuring the candidates of an int8 index again at full precision: DuckDB's own tables keep float32 vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlrag.store.names import quote
from sqlrag.store.top_k import Index

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sqlrag.store.registry import Connection, Contents, IndexRecord
    from sqlrag.store.top_k import Matching

__all__ = ["RescoredIndex"]

RESCORED = 4
"""Candidates for each row of the result: a code's error moves hardly any of the nearest k beyond the nearest 4 k."""


class RescoredIndex(Index):
    """An index of int8 vectors whose candidates DuckDB puts in order."""

    def __init__(
        self,
        connection: Connection,
        record: IndexRecord,
        rows: Callable[[str, list[Any]], list[tuple[Any, ...]]],
        *,
        scans: bool,
        contents: Contents,
    ) -> None:
        super().__init__(connection, record, scans=scans, contents=contents)
        self._duckdb_rows = rows

    def vector_top_k(
        self, vector: bytes, k: int, matching: Matching | None = None, candidates: int | None = None
    ) -> list[tuple[int, float, int]]:
        """Return `(id, distance, rank)` of the k nearest chunks, nearest first, as `Index.vector_top_k`."""
        import numpy as np

        near = super().vector_top_k(vector, max(k, RESCORED * k), matching, candidates)
        sql = (
            f"SELECT id, array_distance(embedding, ?::FLOAT[{self.record.dimension}])::DOUBLE AS distance "
            f"FROM {quote(self.record.name + '_embedding')} WHERE id IN (SELECT unnest(?)) "
            "ORDER BY distance ASC, id ASC LIMIT ?"
        )
        query = np.frombuffer(vector, np.float32).tolist()
        rows = self._duckdb_rows(sql, [query, [row[0] for row in near], k])
        return [(id_, distance, rank) for rank, (id_, distance) in enumerate(rows, start=1)]
