"""The nearest chunks that pass a filter, in an index with cells.

Three ways, by what is cheap: among the nearest of all where enough of them pass; among all that pass, one by one,
where they are few; otherwise among those in the nearest cells, of which it takes the more, the fewer pass.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from sqlrag.index.cells import VEC0_MAX_K

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlrag.index.cells import CellState
    from sqlrag.index.top_k import Index, Matching

__all__ = ["filtered_top_k", "nprobe_for"]

SAMPLE = 200
"""Chunks that tell what share of them the filter lets through."""

LARGE_SHARE = 0.2
"""From this share on, those that pass are looked for among the nearest of all."""

LOOKUPS_PER_CELL = 4
"""Looking up a vector by its id costs about a quarter of looking into a cell with a list of ids."""


def filtered_top_k(
    index: Index, state: CellState, vector: bytes, k: int, *, matching: Matching, nprobe: int | None
) -> list[tuple[int, float, int]]:
    """Return `(id, distance, rank)` of the k nearest chunks that pass; k of them whenever so many pass."""
    sampled = index.sampled_ids(SAMPLE)
    share = len(matching.passing(sampled)) / max(len(sampled), 1)
    if share >= LARGE_SHARE:
        near = index.probe(vector, min(math.ceil(1.5 * k / share), VEC0_MAX_K), nprobe=nprobe)
        passing = matching.passing([row[0] for row in near])
        found = [row for row in near if row[0] in passing]
        if len(found) >= k:
            return _ranked(found[:k])
    ids = index.ids(matching)
    if not ids:
        return []
    depth = k * state.chunks / len(ids)
    probes = nprobe_for(depth, index.measured_nprobes(), state.cells) if nprobe is None else nprobe
    if len(ids) <= max(LOOKUPS_PER_CELL * probes, k):
        return index.distances(vector, k, ids)
    listed = matching.listed(ids)
    found = index.probe(vector, k, nprobe=min(probes, VEC0_MAX_K), matching=listed)
    if len(found) < k:
        # They lie elsewhere than a filter that has nothing to do with the query would have them.
        found = index.probe(vector, k, nprobe=VEC0_MAX_K, matching=listed)
    return found


def nprobe_for(depth: float, measured: Sequence[tuple[int, int]], cells: int) -> int:
    """Return the nprobe for the `depth` nearest chunks, between and beyond the depths `(k, nprobe)` that were measured.

    nprobe grows with a power of the depth, which two neighbouring measurements give.
    """
    if len(measured) < 2:
        return cells
    pairs = list(pairwise(measured))
    (low, few), (high, many) = next((pair for pair in pairs if depth <= pair[1][0]), pairs[-1])
    power: float = math.log(many / few) / math.log(high / low)
    return max(1, min(round(few * math.pow(depth / low, power)), cells))


def _ranked(rows: list[tuple[int, float, int]]) -> list[tuple[int, float, int]]:
    return [(id_, distance, rank) for rank, (id_, distance, _) in enumerate(rows, start=1)]
