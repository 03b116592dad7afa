"""The candidates that a statement's first stage has just found, for the second stage to score side by side.

SQLite calls `rerank_score` row by row, which keeps one core busy. But the rows are known before: a top-k
function has produced them. They are remembered here by id; when the first of them comes to be scored, all are.
A candidate that a later filter drops is then scored for nothing: bounded by MAX_CANDIDATES.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlrag.store.top_k import Index

__all__ = ["MAX_CANDIDATES", "Candidates"]

MAX_CANDIDATES = 128
"""The largest top-k that is scored at once: a larger one may well be cut down before it is reranked."""


class Candidates:
    """The latest top-k results of one connection whose texts nobody has asked for yet."""

    def __init__(self) -> None:
        self._sets: deque[tuple[Index, list[int]]] = deque(maxlen=8)

    def add(self, index: Index, ids: list[int]) -> None:
        """Remember one top-k result."""
        if 1 < len(ids) <= MAX_CANDIDATES:
            self._sets.append((index, ids))

    def clear(self) -> None:
        """Forget them: a new statement begins."""
        self._sets.clear()

    def beside(self, text: str, at_most: int) -> list[str]:
        """Return the other texts of the result that `text` belongs to; nothing if it belongs to none.

        A result is used once: what it held has been scored then.
        """
        for place in range(len(self._sets) - 1, -1, -1):
            index, ids = self._sets[place]
            texts = [chunk[2] for chunk in index.chunks(ids)]
            if text in texts:
                del self._sets[place]
                others = dict.fromkeys(texts)
                del others[text]
                return list(others)[: max(at_most - 1, 0)]
        return []
