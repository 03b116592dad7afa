"""Which nprobe gives the recall that is wanted: measured on vectors of the index itself, taken as queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DEPTHS", "TARGET_RECALL", "NprobeMeasurement"]

TARGET_RECALL = {"float32": 0.957, "int8": 0.967}
"""0.95 is promised; the rest is for the error of the sample of queries, and for what codes lose."""

DEPTHS = (25, 100, 400, 1600)
"""The numbers of neighbours for which nprobe is measured: those farther down lie in more cells."""


class NprobeMeasurement:
    """Collects the true neighbours of some queries, block by block of the index, and the cells that they are in.

    `ids`, (q,), and `queries`, (q, dimension) float32: chunks of the index; each is left out of its own neighbours.
    `target`: the recall that is wanted.
    """

    def __init__(
        self,
        ids: NDArray[np.int64],
        queries: NDArray[np.float32],
        centroids: NDArray[np.float32],
        target: float,
    ) -> None:
        self.sizes = np.zeros(len(centroids), np.int64)
        """Chunks in each cell."""
        self._ids, self._queries, self._target = ids, queries, target
        self._products = np.full((len(queries), 0), -np.inf, np.float32)
        self._cells = np.zeros((len(queries), 0), np.int32)
        order = np.argsort(-(queries @ centroids.T), axis=1, kind="stable")
        self._probe = np.empty_like(order)  # of each query and cell: the nprobe from which on it is looked into
        np.put_along_axis(self._probe, order, np.arange(1, len(centroids) + 1)[None, :], axis=1)

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32], cells: NDArray[np.int64]) -> None:
        """Take a block of the index: its ids, vectors and cells."""
        self.sizes += np.bincount(cells, minlength=len(self.sizes))
        products = self._queries @ vectors.T
        products[ids[None, :] == self._ids[:, None]] = -np.inf
        self._products = np.concatenate([self._products, products], axis=1)
        self._cells = np.concatenate([self._cells, np.broadcast_to(cells.astype(np.int32), products.shape)], axis=1)
        if self._products.shape[1] > DEPTHS[-1]:
            nearest = np.argpartition(-self._products, DEPTHS[-1] - 1, axis=1)[:, : DEPTHS[-1]]
            self._products = np.take_along_axis(self._products, nearest, axis=1)
            self._cells = np.take_along_axis(self._cells, nearest, axis=1)

    def rows(self) -> list[tuple[int, int, float]]:
        """Return `(k, nprobe, recall)` for each depth that the index is large enough for."""
        order = np.argsort(-self._products, axis=1, kind="stable")
        needed = np.take_along_axis(self._probe, np.take_along_axis(self._cells, order, axis=1), axis=1)
        found = []
        for depth in DEPTHS:
            if depth < self.sizes.sum() // 4:
                probes = np.sort(needed[:, :depth].ravel())
                nprobe = int(probes[int(np.ceil(self._target * len(probes))) - 1])
                found.append((depth, nprobe, float((probes <= nprobe).mean())))
        return found
