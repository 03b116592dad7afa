"""What the retrievers have in common: how they ask, and what they tell of a hit beside its text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlrag.database import Database
from sqlrag.results import Hit
from sqlrag.values.arguments import DEFAULT_TOP_K, DEFAULT_TOP_N

__all__ = ["OWN_FIELDS", "Asking", "metadata_of"]

OWN_FIELDS = ("source", "title", "source_id", "chunk_id", "score", "rank_before", "rank_after")
"""Names in a hit's metadata that are not those of its source."""


@dataclass
class Asking:
    """One search, for any question; several threads may ask: a Database lets them take turns."""

    database: Database
    index: str | None = None
    top_k: int = DEFAULT_TOP_K
    top_n: int = DEFAULT_TOP_N
    filter: str | None = None

    def __call__(self, question: str) -> list[Hit]:
        """Return the best hits, best first, as `Database.search`."""
        return self.database.search(question, self.index, top_k=self.top_k, top_n=self.top_n, filter=self.filter)


def metadata_of(hit: Hit) -> dict[str, Any]:
    """Return the metadata of a hit's source, and OWN_FIELDS over them."""
    values = (hit.uri, hit.title, hit.source_id, hit.id, hit.score, hit.rank_before, hit.rank_after)
    return {**hit.metadata, **dict(zip(OWN_FIELDS, values, strict=True))}
