"""The candidates that a statement's first stage has just found, for the second stage to score side by side.

SQLite calls `rerank_score` row by row, which keeps one core busy. But a top-k function has produced these rows before,
and it noted their ids here. When the first of them is scored, the texts of all are read, once, and all are scored. A
candidate that a later condition drops is then scored for nothing, which MAX_CANDIDATES limits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlrag.store.top_k import ChunkRow, Index

__all__ = ["MAX_CANDIDATES", "Candidates"]

MAX_CANDIDATES = 128
"""The largest top-k that is scored at once: a larger one may well be cut down before it is reranked."""

_MOST_RESULTS = 8


@dataclass(eq=False)
class _Result:
    """One top-k result."""

    index: Index
    ids: Sequence[int]

    @cached_property
    def texts(self) -> dict[str, None]:
        """The distinct texts of the result in its order, read when they are first needed."""
        return dict.fromkeys(text for _, _, text, _ in self._chunks)

    @cached_property
    def passages(self) -> dict[str, None]:
        """The same texts behind their contexts, for a statement that scores `context || text`."""
        return dict.fromkeys(context + text for _, _, text, context in self._chunks)

    @cached_property
    def kept(self) -> dict[str, bytes]:
        """What is kept of the passages for a reranker that reads states."""
        states = self.index.states(self.ids)
        return {context + text: states[id_] for id_, _, text, context in self._chunks if id_ in states}

    @cached_property
    def _chunks(self) -> list[ChunkRow]:
        return self.index.chunks(self.ids)


class Candidates:
    """The latest top-k results of the statement that runs whose texts are not scored yet."""

    def __init__(self) -> None:
        self._results: deque[_Result] = deque(maxlen=_MOST_RESULTS)

    def add(self, index: Index, ids: Sequence[int]) -> None:
        """Remember one top-k result."""
        if 1 < len(ids) <= MAX_CANDIDATES:
            self._results.append(_Result(index, ids))

    def clear(self) -> None:
        """Forget all results: a new statement begins."""
        self._results.clear()

    def kept(self, texts: Collection[str]) -> dict[str, bytes]:
        """Return what is kept of the passages of each result that has one of these texts, for a reranker of states."""
        found: dict[str, bytes] = {}
        wanted = set(texts)
        for result in reversed(self._results):
            if not wanted.isdisjoint(result.passages):
                found |= result.kept
                wanted -= result.passages.keys()
            if not wanted:
                break
        return found

    def beside(self, text: str, at_most: int) -> list[str]:
        """Return the other texts of the result that `text` belongs to; none if it belongs to no result.

        At most `at_most` texts are to be scored, `text` among them. A result is given once: it is scored then.
        """
        for result in reversed(self._results):
            texts = next((texts for texts in (result.texts, result.passages) if text in texts), None)
            if texts is not None:
                self._results.remove(result)
                others = [other for other in texts if other != text]
                return others[: max(at_most - 1, 0)]
        return []
