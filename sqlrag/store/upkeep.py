"""What an index does for its codes after it was written to: measure how many candidates a search needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sqlrag.store.codes.blocks import CodeBlocks, layout_of
from sqlrag.store.codes.candidates import Measured, measured_candidates
from sqlrag.store.stored_vectors import Vectors, joined, vec0_vectors
from sqlrag.store.top_k import Index
from sqlrag.store.writer import immediate

if TYPE_CHECKING:
    from collections.abc import Callable

    import apsw
    from numpy.typing import NDArray

    from sqlrag.store.registry import IndexRecord

__all__ = ["keep_up"]

SMALLEST = 5_000
"""Below this many chunks nothing is measured: FEWEST finds nearly all there."""

GROWTH = 2
"""Measured again when the index has so many times the chunks that it had then."""

MOST = 5_000
"""Candidates that are looked at: with more, comparing all in full would be as good."""

QUERIES = 128
"""Vectors of the index that are taken as queries, each left out of its own neighbours."""

DEPTHS = (25, 100)
"""The numbers of neighbours that it is measured for."""

TARGET = 0.995
"""Recall with these queries. Questions find less than passages do: 0.99 is promised for them
(benchmarks/index_questions.py)."""

_SEED = 0
_ROWS_AT_ONCE = 16_384


def keep_up(
    connection: apsw.Connection,
    record: IndexRecord,
    progress: Callable[[str, float], None],
    vectors: Vectors | None = None,
) -> None:
    """Measure the candidates if the index has grown. The connection has no transaction open.

    `vectors` yields the vectors of an index file, which has none itself.
    """
    if layout_of(connection, record) != "codes":
        return
    chunks = CodeBlocks(connection, record).count()
    measured = measured_candidates(connection, record)
    if chunks < SMALLEST or (measured and chunks < GROWTH * measured[0].chunks):
        return
    found = _measured(connection, record, vectors or vec0_vectors(connection, record), chunks, progress)
    with immediate(connection):
        connection.execute("DELETE FROM main.sqlrag_candidates WHERE index_name = ?", (record.name,))
        connection.executemany(
            "INSERT INTO main.sqlrag_candidates VALUES (?, ?, ?, ?, ?)", ((record.name, *one) for one in found)
        )


def _measured(
    connection: apsw.Connection,
    record: IndexRecord,
    stored: Vectors,
    chunks: int,
    progress: Callable[[str, float], None],
) -> list[Measured]:
    """Return how many candidates it takes at each depth."""
    ids, queries = _queries(record, stored)
    nearest = np.full((len(ids), 0), -np.inf, np.float32)
    nearest_ids = np.empty((len(ids), 0), np.int64)
    seen = 0
    for some, vectors in joined(stored(), _ROWS_AT_ONCE):
        products = queries @ vectors.T
        products[some[None, :] == ids[:, None]] = -np.inf
        nearest = np.concatenate([nearest, products], axis=1)
        nearest_ids = np.concatenate([nearest_ids, np.broadcast_to(some, products.shape)], axis=1)
        if nearest.shape[1] > DEPTHS[-1]:
            best = np.argpartition(-nearest, DEPTHS[-1] - 1, axis=1)[:, : DEPTHS[-1]]
            nearest, nearest_ids = np.take_along_axis(nearest, best, 1), np.take_along_axis(nearest_ids, best, 1)
        seen += len(some)
        progress("measuring recall", min(1.0, seen / chunks))
    order = np.argsort(-nearest, axis=1, kind="stable")
    nearest_ids = np.take_along_axis(nearest_ids, order, 1)
    index = Index(connection, record)
    places = np.stack([_places(index, *row) for row in zip(ids.tolist(), queries, nearest_ids, strict=True)])
    rows = []
    for depth in DEPTHS:
        needed = np.sort(places[:, :depth].ravel())
        candidates = min(MOST, int(needed[int(np.ceil(TARGET * len(needed))) - 1]))
        rows.append(Measured(depth, candidates, float((needed <= candidates).mean()), chunks))
    return rows


def _queries(record: IndexRecord, stored: Vectors) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return ids and vectors of QUERIES chunks at random."""
    generator = np.random.default_rng(_SEED)
    ids, vectors, drawn = np.empty(0, np.int64), np.empty((0, record.dimension), np.float32), np.empty(0)
    for some, block in joined(stored(), _ROWS_AT_ONCE):
        ids, vectors = np.concatenate([ids, some]), np.concatenate([vectors, block])
        drawn = np.concatenate([drawn, generator.random(len(some))])
        chosen = np.argsort(drawn, kind="stable")[:QUERIES]  # the smallest numbers of all that were drawn
        ids, vectors, drawn = ids[chosen], vectors[chosen], drawn[chosen]
    return ids, vectors


def _places(index: Index, id_: int, query: NDArray[np.float32], nearest: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return at which place, from 1 on, each of a query's neighbours stands in the order of the codes.

    For a place beyond MOST, return MOST + 1.
    """
    near = [other for other in index.nearest_codes(query.tobytes(), MOST + 1) if other != id_]
    place_of = {other: place for place, other in enumerate(near[:MOST], start=1)}
    return np.array([place_of.get(other, MOST + 1) for other in nearest.tolist()])
