"""The nearest chunks that pass a filter, in an index with cells.

Three ways, by what is cheap. Where many of the chunks near the query pass, they are looked for among the nearest of
all. Otherwise the filter is asked for the ids of all that pass: where these are few, all are measured, and else those
in the nearest cells, of which it takes the more, the fewer pass.
"""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import TYPE_CHECKING

from sqlrag.store.cells.cells import VEC0_MAX_K

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlrag.store.cells.cells import CellState
    from sqlrag.store.top_k import Index, Matching

__all__ = ["CANDIDATES", "filtered_top_k", "nprobe_for"]

CANDIDATES = 3
"""For each row that is wanted: so many with the nearest codes hold nearly all of the nearest."""

SAMPLE, SAMPLED_CELLS = 200, 4
"""Chunks in the cells nearest to the query that tell what share of its neighbours the filter lets through."""

LARGE_SHARE = 0.04
"""From this share on, those that pass are looked for among the nearest of all: in a million chunks that costs as much
as the ids of all that pass and the codes of some, if the filter finds them by an index of its column."""

MARGIN = 1.4
"""The chunks that pass may lie so much deeper among the neighbours than their share says."""

FEW = 2_000
"""So many vectors are looked up, each by its id, in the time of an unfiltered search in a million chunks; of twice as
many the pages no longer fit into the cache of 64 MB, and each takes three times as long."""

EXPECTED = 0.5
"""Chunks that pass and are in the nearest cells, to as many as there would be if the filter had nothing to do with the
query: with fewer they lie elsewhere, about equally far in many cells ..."""

MANY = 10_000
"""... and all that pass are measured, unless there are more: a quarter of a second."""


def filtered_top_k(
    index: Index, state: CellState, vector: bytes, k: int, *, matching: Matching, nprobe: int | None
) -> list[tuple[int, float, int]]:
    """Return `(id, distance, rank)` of the k nearest chunks that pass; k of them whenever so many pass."""

    def probes(depth: float) -> int:
        if nprobe is not None:
            return nprobe
        return nprobe_for(depth, index.measured_nprobes(), state.cells) * (2 if state.moving else 1)

    # Where many pass: among the nearest of all.
    near = index.near_ids(vector, SAMPLE, nprobe=SAMPLED_CELLS)
    share = len(matching.passing(near)) / SAMPLE
    candidates = CANDIDATES * k
    if share >= LARGE_SHARE:
        depth = MARGIN * k / share
        count = math.ceil(CANDIDATES * depth)
        passing = matching.passing(index.near_ids(vector, count, nprobe=probes(depth)))
        if len(passing) >= candidates:
            return index.distances(vector, k, json.dumps(list(passing)))
    # Where few pass: all of them.
    listing = index.listing(matching)
    if listing.count <= max(FEW, candidates):
        return index.distances(vector, k, listing.ids)
    # Otherwise those of them in the nearest cells.
    cells = probes(MARGIN * k * state.chunks / listing.count)
    enough = max(candidates, EXPECTED * listing.count * cells / state.cells)
    while True:
        if index.scans():
            near, count = index.near_listed(vector, candidates, listing.ids, nprobe=cells)
        else:
            inside = index.inside(vector, listing.ids, nprobe=cells)
            count = inside.count
        if count >= enough or cells >= VEC0_MAX_K:
            break
        if listing.count <= MANY:
            return index.distances(vector, k, listing.ids)
        cells = min(2 * cells, VEC0_MAX_K)
    return index.distances(vector, k, json.dumps(near)) if index.scans() else index.listed(vector, k, inside.ids)


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
