"""The bundled models, computing each vector and each score once a process, for tests that ask for them again and again.

Both models are deterministic, and tests/models has what says so. What is above the model is as ever: a new reranker
remembers nothing, counts the pairs that it has scored, and knows nothing of the others.
"""

from __future__ import annotations

import contextlib
import math
from functools import cache

import numpy as np
import pytest

from sqlrag.models import Embedder, Reranker
from sqlrag.models.loaded import load_embedder, load_reranker


class _OnceEncoder:
    """The model of an embedder, between it and its callers."""

    def __init__(self, encoder) -> None:
        self._encoder = encoder
        self._known: dict[tuple[str, str], np.ndarray] = {}
        self.spec, self.tokenizer = encoder.spec, encoder.tokenizer

    def embed(self, texts, role):
        """Return the texts' vectors; those of texts that are known take no time."""
        missing = [text for text in dict.fromkeys(texts) if (role, text) not in self._known]
        if missing:
            vectors = self._encoder.embed(missing, role)
            self._known.update(((role, text), vector) for text, vector in zip(missing, vectors, strict=True))
        return np.stack([self._known[role, text] for text in texts]) if texts else self._encoder.embed(texts, role)


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
def _encoder() -> _OnceEncoder:
    return _OnceEncoder(load_embedder()._backend)


@cache
def _scorer() -> _OnceScorer:
    return _OnceScorer(load_reranker()._backend)


def new_embedder() -> Embedder:
    """Return an embedder that has encoded nothing, as a new process has one."""
    embedder = Embedder()
    embedder._backend = _encoder()
    return embedder


def new_reranker() -> Reranker:
    """Return a reranker that remembers nothing, as a new process has one."""
    reranker = Reranker()
    reranker._backend = _scorer()
    return reranker


@contextlib.contextmanager
def encoding_once():
    """The embedder that databases of this process share encodes a text once, whatever database it goes into."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load_embedder(), "_backend", _encoder())
        yield
