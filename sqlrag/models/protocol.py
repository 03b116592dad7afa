"""Embedders and rerankers that are objects of your own: what they have to do.

The models of remote endpoints (`remote`) are such objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from sqlrag.models.spec import Role

__all__ = ["PairScorer", "TextEncoder"]


@runtime_checkable
class TextEncoder(Protocol):
    """An embedder of your own, for `embedder=`.

    `name` is what an index records: another name is another model. An attribute `max_tokens` names the window; it is
    8,192 tokens without one.
    """

    name: str
    dimension: int

    def embed(self, texts: Sequence[str], role: Role) -> ArrayLike:
        """Return a vector for each text, (n, dimension). `role` is "query" or "document"."""


@runtime_checkable
class PairScorer(Protocol):
    """A reranker of your own, for `reranker=`. Another name is another model."""

    name: str

    def score(self, query: str, documents: Sequence[str]) -> ArrayLike:
        """Return how well each document answers the query, (n,); higher is better."""
