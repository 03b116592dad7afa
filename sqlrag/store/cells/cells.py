"""The cells of one index: which there are, and which one a vector belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlrag.errors import NotADatabaseError
from sqlrag.store.cells.kmeans import nearest_centroids
from sqlrag.store.stored_vectors import centroid_blocks, joined

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.store.registry import Connection, IndexRecord

__all__ = ["VEC0_MAX_K", "CellState", "Cells", "cell_state"]

VEC0_MAX_K = 4096
"""The most rows that one vec0 query returns (`SQLITE_VEC_VEC0_K_MAX` in sqlite-vec 0.1.9)."""


@dataclass(frozen=True)
class CellState:
    """A row of `sqlrag_ivf`; the columns are explained in sql/index/schema.sql."""

    first_cell: int
    cells: int
    chunks: int
    imbalance: float
    moving: bool
    ready: bool


def cell_state(connection: Connection, record: IndexRecord) -> CellState | None:
    """Return how the cells of an index were made, None while it is searched whole."""
    sql = "SELECT first_cell, cells, chunks, imbalance, moving, ready FROM main.sqlrag_ivf WHERE index_name = ?"
    for row in connection.execute(sql, (record.name,)):
        first_cell, cells, chunks, imbalance, moving, ready = row
        if any(not isinstance(value, int) for value in (first_cell, cells, chunks)) or not isinstance(imbalance, float):
            raise NotADatabaseError(f"this database is damaged: its table sqlrag_ivf has {row!r} for {record.name!r}")
        return CellState(first_cell, cells, chunks, imbalance, bool(moving), bool(ready))
    return None


class Cells:
    """The centroids of one index, read when they are first needed and again when there are new ones."""

    def __init__(self, connection: Connection, record: IndexRecord) -> None:
        self._connection = connection
        self._record = record
        self._read: tuple[CellState, NDArray[np.int64], NDArray[np.float32]] | None = None

    def of(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the cell of each vector, (n,): 0 while there are none. The caller holds the write transaction."""
        import numpy as np

        state = cell_state(self._connection, self._record)
        if state is None:
            return np.zeros(len(vectors), np.int64)
        if self._read is None or self._read[0].first_cell != state.first_cell:
            self._read = (state, *self._centroids(state))
        _, cells, centroids = self._read
        return cells[nearest_centroids(vectors, centroids)]

    def _centroids(self, state: CellState) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        import numpy as np

        found = list(joined(centroid_blocks(self._connection, self._record), VEC0_MAX_K))
        if not any((ids >= state.first_cell).any() for ids, _ in found):
            raise NotADatabaseError(
                f"this database is damaged: index {self._record.name!r} has lost its cells: "
                "sqlrag check --repair makes them anew"
            )
        cells = np.concatenate([ids for ids, _ in found])
        centroids = np.concatenate([vectors for _, vectors in found])
        present = cells >= state.first_cell
        return cells[present], centroids[present]
