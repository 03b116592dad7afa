"""The bundled models, computing each vector and each score once a process, for tests that ask for them again and again.

Both models are deterministic, and tests/models has what says so. What is above the model is as ever: a new reranker
remembers nothing, counts the pairs that it has scored, and knows nothing of the others.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from sqlrag.models import Embedder, Reranker


class OnceEmbedder(Embedder):
    """The bundled embedder; a document that it has encoded before, for whatever database, costs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._vectors: dict[str, np.ndarray] = {}

    def encode_document(self, text):
        """Return what the model returns for several texts, from memory those that it has had."""
        texts = list(text)
        missing = [one for one in dict.fromkeys(texts) if one not in self._vectors]
        self._vectors.update(zip(missing, super().encode_document(missing), strict=True))
        return np.stack([self._vectors[one] for one in texts]) if texts else super().encode_document(texts)


class _OnceScorer:
    """The model of a reranker, between it and its callers."""

    def __init__(self, scorer) -> None:
        self._scorer = scorer
        self._known: dict[tuple[str, str], float] = {}
        self.spec, self.tokenizer, self.conditions = scorer.spec, scorer.tokenizer, scorer.conditions

    def score(self, pairs, until=None):
        """Return the pairs' scores; those of pairs that are known take no time."""
        missing = [pair for pair in dict.fromkeys(map(tuple, pairs)) if pair not in self._known]
        scores = self._scorer.score(missing, until).tolist() if missing else []
        new = dict(zip(missing, scores, strict=True))
        self._known.update((pair, score) for pair, score in new.items() if not math.isnan(score))  # was out of time
        return np.array([self._known.get(tuple(pair), np.nan) for pair in pairs], np.float32)


@cache
def _scorer() -> _OnceScorer:
    return _OnceScorer(Reranker()._scorer)


def new_reranker() -> Reranker:
    """Return a reranker that remembers nothing, as a new process has one."""
    reranker = Reranker()
    reranker._scorer = _scorer()
    return reranker
