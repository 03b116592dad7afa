"""Making the cells of an index: when it has outgrown the ones it has, and without keeping readers waiting.

The centroids are found beside the work of everybody else. They are written in one short transaction, and codes then
go into the new cells, some thousands in a transaction each. Meanwhile the index is searched whole, or in old and new
cells, so that nothing is missed; a process that is killed leaves what the next one goes on with.
"""

from __future__ import annotations

import json
import logging
import math
from typing import TYPE_CHECKING

import numpy as np

from sqlrag.store.cells.cells import VEC0_MAX_K, CellState, cell_state
from sqlrag.store.cells.kmeans import nearest_centroids, spherical_kmeans
from sqlrag.store.cells.nprobe import TARGET_RECALL, NprobeMeasurement
from sqlrag.store.names import in_main
from sqlrag.store.precision import kept_parts
from sqlrag.store.stored_vectors import cell_sizes, code_blocks, joined, stored_blocks
from sqlrag.store.writer import IndexWriter, immediate

if TYPE_CHECKING:
    from collections.abc import Callable

    import apsw
    from numpy.typing import NDArray

    from sqlrag.store.registry import IndexRecord

__all__ = ["FLAT_CHUNKS", "CellTraining"]

FLAT_CHUNKS = 20_000
"""Below this many chunks the whole index is searched: exact, and in less time than reranking takes."""

CELLS_PER_SQRT = 2
"""Cells: so many times the square root of the number of chunks. A query's price is one product for each centroid,
then one for each vector in the cells that it looks into; near this both are alike. No more than
one vec0 query returns, so that a query can still look into all of them."""

GROWTH = 4
"""New cells are made when the index has so many times the chunks that the present ones were made for."""

DRIFT = 2
"""... or when the cell of an average chunk holds so many times more than it did, relative to an average cell: what was
written since is about other things, and crowds into few cells."""

SAMPLE_PER_CELL = 48
"""Vectors that train a centroid; FAISS asks for 39 at least
(https://github.com/facebookresearch/faiss/wiki/FAQ)."""

QUERIES = 768
"""Vectors that are held out of the training and taken as queries, to measure which nprobe it takes."""

_SEED = 0
_BLOCKS_AT_ONCE = 128  # of 128 codes: those of one cell are written together; a second of the write lock
_ROWS_AT_ONCE = 8192

_log = logging.getLogger("sqlrag")


class CellTraining:
    """Keeps the cells of one index as good as its vectors ask for; the connection has no transaction open."""

    def __init__(
        self,
        connection: apsw.Connection,
        record: IndexRecord,
        progress: Callable[[str, float], None] | None = None,
    ) -> None:
        self._connection = connection
        self._record = record
        self._writer = IndexWriter(connection, record)
        self._tell = progress or (lambda _what, _share: None)

    def keep_up(self, *, wrote: bool = True) -> None:
        """Make new cells if they are due, and finish what was begun: codes for all, none left in older cells.

        `wrote`: whether chunks came since the last time; only then are the cells' sizes looked at, which takes a while.
        """
        state = cell_state(self._connection, self._record)
        if self._is_due(state, wrote=wrote):
            self._train(state)
        state = cell_state(self._connection, self._record)
        if state is not None and not state.ready:
            self._fill(state)
        if state is not None and (state.moving or self._left_behind(state)):
            self._move(state)

    def _is_due(self, state: CellState | None, *, wrote: bool) -> bool:
        chunks = self._count()
        if state is None:
            return chunks >= FLAT_CHUNKS
        if state.moving or not state.ready:
            return False
        return chunks >= GROWTH * state.chunks or (wrote and self._imbalance(state) >= DRIFT * state.imbalance)

    def _count(self) -> int:
        ((count,),) = self._connection.execute(
            f"SELECT count(*) FROM {in_main(kept_parts(self._record)['kept'] + '_rowids')}"
        )
        return int(count)

    def _imbalance(self, state: CellState) -> float:
        """Return the size of an average chunk's cell, to that of an average cell."""
        return _imbalance(np.array(cell_sizes(self._connection, self._record, state.first_cell), np.int64))

    def _train(self, before: CellState | None) -> None:
        chunks = self._count()
        cells = min(round(CELLS_PER_SQRT * math.sqrt(chunks)), VEC0_MAX_K)
        _log.info("index %s: making %s cells for %s chunks", self._record.name, cells, chunks)
        ids, sample = self._sample(min(1.0, (SAMPLE_PER_CELL * cells + QUERIES) / chunks))
        centroids = spherical_kmeans(
            sample[QUERIES:], cells, seed=_SEED, progress=lambda done, total: self._tell("cells", done / total)
        )
        target = TARGET_RECALL[self._record.vectors]
        measured = NprobeMeasurement(ids[:QUERIES], sample[:QUERIES], centroids, target)
        del sample
        for block_ids, vectors in joined(stored_blocks(self._connection, self._record), _ROWS_AT_ONCE):
            measured.add(block_ids, vectors, nearest_centroids(vectors, centroids))
        # Where many vectors are alike, centroids are: a search that probes one of those without vectors finds nothing.
        self._record_cells(before, chunks, centroids[measured.sizes > 0], measured)

    def _sample(self, share: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return ids and vectors of a random share of the chunks, in random order."""
        generator = np.random.default_rng(_SEED)
        taken = []
        for _, (ids, vectors) in stored_blocks(self._connection, self._record):
            chosen = generator.random(len(ids)) < share
            taken.append((ids[chosen], vectors[chosen]))
        ids = np.concatenate([one for one, _ in taken])
        vectors = np.concatenate([one for _, one in taken])
        order = generator.permutation(len(ids))
        return ids[order], vectors[order]

    def _record_cells(
        self, before: CellState | None, chunks: int, centroids: NDArray[np.float32], measured: NprobeMeasurement
    ) -> None:
        name, table = self._record.name, in_main(f"{self._record.name}_cells")
        with immediate(self._connection):
            if cell_state(self._connection, self._record) != before:
                return  # another process was faster
            has_codes = before is not None or self._record.vectors == "int8"
            first = 1 if before is None else before.first_cell + before.cells
            self._connection.executemany(
                f"INSERT INTO {table} (rowid, centroid) VALUES (?, ?)",
                ((first + place, centroid.tobytes()) for place, centroid in enumerate(centroids)),
            )
            self._connection.execute(
                "INSERT OR REPLACE INTO main.sqlrag_ivf VALUES (?, ?, ?, ?, ?, ?, ?)",
                (name, first, len(centroids), chunks, _imbalance(measured.sizes), has_codes, has_codes),
            )
            self._connection.execute("DELETE FROM main.sqlrag_nprobe WHERE index_name = ?", (name,))
            self._connection.executemany(
                "INSERT INTO main.sqlrag_nprobe VALUES (?, ?, ?, ?)", ((name, *row) for row in measured.rows())
            )

    # Codes into cells

    def _fill(self, state: CellState) -> None:
        """Give each vector its code; then the index is searched by its cells."""
        total, done = self._count(), 0
        last = 0
        while True:
            with immediate(self._connection):
                if cell_state(self._connection, self._record) != state:
                    return
                most = 4 * _BLOCKS_AT_ONCE  # of 16 vectors
                found = list(stored_blocks(self._connection, self._record, after=last, most=most))
                if not found:
                    sql = "UPDATE main.sqlrag_ivf SET ready = 1 WHERE index_name = ?"
                    self._connection.execute(sql, (self._record.name,))
                    return
                for _, (ids, vectors) in found:
                    new = ~np.isin(ids, self._coded(ids))
                    self._writer.insert_codes(ids[new].tolist(), vectors[new])
                    done += len(ids)
                last = found[-1][0]
            self._tell("filling", min(done / max(total, 1), 1.0))

    def _coded(self, ids: NDArray[np.int64]) -> list[int]:
        """Return which of these ids have a code."""
        table = in_main(f"{self._record.name}_codes_rowids")
        sql = f"SELECT rowid FROM {table} WHERE rowid IN (SELECT value FROM main.json_each(?))"
        return [id_ for (id_,) in self._connection.execute(sql, (json.dumps(ids.tolist()),))]

    def _left_behind(self, state: CellState) -> bool:
        table = in_main(f"{self._record.name}_codes_chunks")
        sql = f"SELECT EXISTS (SELECT 1 FROM {table} WHERE partition00 < ?)"
        ((left,),) = self._connection.execute(sql, (state.first_cell,))
        return bool(left)

    def _move(self, state: CellState) -> None:
        """Move the codes of older cells into the present ones, then forget the old centroids."""
        total, moved = self._count(), 0
        last = 0
        while True:
            with immediate(self._connection):
                now = cell_state(self._connection, self._record)
                if now is None or now.first_cell != state.first_cell:
                    return  # another process has made newer ones
                blocks = code_blocks(
                    self._connection,
                    self._record,
                    before_cell=state.first_cell,
                    after=last,
                    most=_BLOCKS_AT_ONCE,
                )
                found = list(blocks)
                if not found:
                    self._finish(state)
                    return
                for _, (ids, vectors) in found:
                    self._writer.delete_codes(ids.tolist())
                    self._writer.insert_codes(ids.tolist(), vectors)
                    moved += len(ids)
                last = found[-1][0]
            self._tell("moving", min(moved / max(total, 1), 1.0))

    def _finish(self, state: CellState) -> None:
        table = in_main(f"{self._record.name}_cells")
        old = [cell for (cell,) in self._connection.execute(f"SELECT rowid FROM {table}") if cell < state.first_cell]
        self._connection.executemany(f"DELETE FROM {table} WHERE rowid = ?", ((cell,) for cell in old))
        self._connection.execute("UPDATE main.sqlrag_ivf SET moving = 0 WHERE index_name = ?", (self._record.name,))


def _imbalance(sizes: NDArray[np.int64]) -> float:
    """Return sum(size²) / sum(size) over the mean size: 1 where all cells are alike."""
    sizes = sizes[sizes > 0].astype(np.float64)
    return float((sizes**2).sum() / sizes.sum() / sizes.mean()) if len(sizes) else 1.0
