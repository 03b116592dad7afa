"""What `search` is asked for, and what its second stage asks of the first, on one machine and on Spark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from sqlrag.values.arguments import (
    DEFAULT_FIRST_STAGE_WEIGHT,
    DEFAULT_TOP_K,
    DEFAULT_TOP_N,
    check_budget,
    check_k,
    check_share,
    check_top_n,
)

if TYPE_CHECKING:
    from sqlrag.store.registry import IndexRecord
    from sqlrag.store.top_k import ChunkRow

__all__ = ["FirstStage", "Sizes", "copies_fill"]


class FirstStage(Protocol):
    """What the second stage of `search` asks of an index, or of several shards of one."""

    record: IndexRecord

    def states(self, ids: Sequence[int], /) -> dict[int, bytes]:
        """Return what is kept of chunks for a reranker that reads states, by id."""

    def distances(self, vector: bytes, ids: Sequence[int], /) -> dict[int, float]:
        """Return the distances of chunks from a vector, by id."""

    def reranked(self, scores: Sequence[tuple[float | None, float]], weight: float, /) -> list[int]:
        """Return the places of candidates in their order, by the scores of both stages."""


class Sizes(NamedTuple):
    """The arguments of `search` that are numbers, checked."""

    top_k: int
    top_n: int
    seconds: float | None
    """The time for reranking; None: no limit."""
    weight: float
    """Of the first stage."""

    @classmethod
    def of(cls, top_k: object, top_n: object, budget_ms: object, first_stage_weight: object) -> Sizes:
        """Return them, with defaults for NULL. Raises InputError."""
        checked = check_k("search", "top_k", DEFAULT_TOP_K if top_k is None else top_k)
        kept = check_top_n(min(DEFAULT_TOP_N, checked) if top_n is None else top_n, checked)
        seconds = None if budget_ms is None else check_budget(budget_ms) / 1000
        weight = DEFAULT_FIRST_STAGE_WEIGHT if first_stage_weight is None else first_stage_weight
        return cls(checked, kept, seconds, check_share("search", "first_stage_weight", weight))


def copies_fill(hits: Sequence[tuple[int, float, int]], chunks: Mapping[int, ChunkRow], sizes: Sizes) -> bool:
    """Tell whether there are further candidates, and these have fewer texts than are wanted."""
    return len(hits) == sizes.top_k > sizes.top_n > len({chunks[hit[0]][2] for hit in hits})
