"""How one connection uses its database, whichever engine holds it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlrag.engines.functions import DEFAULT_RERANK_LIMIT, Functions, IndexSource
from sqlrag.store.encoders import Encoders
from sqlrag.store.scores import ScoreCache

__all__ = ["ConnectionOptions"]


@dataclass(frozen=True)
class ConnectionOptions:
    """The arguments of `connect` and `register` that an engine needs, checked."""

    read_only: bool = False
    must_exist: bool = False
    """Whether a missing file is an error. `connect` checks it; SQLite's flags make it certain."""
    rerank_limit: int = DEFAULT_RERANK_LIMIT
    """The most pairs that one statement may score."""
    candidates: int | None = None
    """How many chunks with the nearest codes a search compares in full; None for what the index has measured."""
    score_cache: int | None = None
    """How many scores the file keeps; None for no cache."""

    def functions(self, indexes: IndexSource, encoders: Encoders, scores: ScoreCache | None) -> Functions:
        """Return the SQL functions of a connection with these options."""
        return Functions(indexes, encoders, self.rerank_limit, scores, self.candidates)
