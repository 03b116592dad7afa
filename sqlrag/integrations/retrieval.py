"""What the retrievers share: the search that they run, and the metadata of a hit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlrag.database import Database
from sqlrag.results import Hit
from sqlrag.values.arguments import DEFAULT_TOP_K, DEFAULT_TOP_N

__all__ = ["OWN_FIELDS", "metadata_of", "search_of"]

OWN_FIELDS = ("source", "title", "source_id", "chunk_id", "score", "rank_before", "rank_after")
"""The names in a hit's metadata that do not come from its source."""


def search_of(
    database: Database,
    index: str | None = None,
    top_k: int = DEFAULT_TOP_K,
    top_n: int = DEFAULT_TOP_N,
    filter: str | None = None,  # noqa: A002 - the contract's name
) -> Callable[[str], list[Hit]]:
    """Return `database.search` as a function of the question alone. Several threads may call it."""
    return partial(database.search, index=index, top_k=top_k, top_n=top_n, filter=filter)


def metadata_of(hit: Hit) -> dict[str, Any]:
    """Return the metadata of a hit's source, with OWN_FIELDS in the place of fields of the same names."""
    values = (hit.uri, hit.title, hit.source_id, hit.id, hit.score, hit.rank_before, hit.rank_after)
    return {**hit.metadata, **dict(zip(OWN_FIELDS, values, strict=True))}
