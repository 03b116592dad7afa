"""What the first stage and BM25 return for each query: the passages that a reranker has to tell apart."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

_WORD = re.compile(r"\w+")
# BM25's usual constants, as in SQLite's FTS5: https://www.sqlite.org/fts5.html#the_bm25_function
_K1, _B = 1.2, 0.75


class BM25:
    """Okapi BM25 over lower-case words (Robertson and Zaragoza, 2009, doi:10.1561/1500000019)."""

    def __init__(self, passages: list[str]) -> None:
        self._vocabulary: dict[str, int] = {}
        rows, columns, counts = [], [], []
        lengths = np.zeros(len(passages))
        for number, passage in enumerate(passages):
            words = Counter(_WORD.findall(passage.lower()))
            lengths[number] = sum(words.values())
            for word, count in words.items():
                rows.append(number)
                columns.append(self._vocabulary.setdefault(word, len(self._vocabulary)))
                counts.append(count)
        shape = (len(passages), len(self._vocabulary))
        frequency = np.bincount(columns, minlength=shape[1])
        idf = np.log1p((shape[0] - frequency + 0.5) / (frequency + 0.5))
        tf = np.array(counts, np.float64)
        length = (lengths / lengths.mean())[rows]
        weights = idf[columns] * tf * (_K1 + 1) / (tf + _K1 * (1 - _B + _B * length))
        self._weights = csr_matrix((weights.astype(np.float32), (rows, columns)), shape).T.tocsr()

    def top_k(self, query: str, k: int) -> NDArray[np.int64]:
        """Return the numbers of the k best passages that share a word with the query, best first."""
        words = [self._vocabulary[word] for word in _WORD.findall(query.lower()) if word in self._vocabulary]
        if not words:
            return np.zeros(0, np.int64)
        scores = np.asarray(self._weights[words].sum(0)).ravel()
        best = np.argpartition(-scores, min(k, len(scores) - 1))[:k]
        best = best[np.argsort(-scores[best], kind="stable")]
        return best[scores[best] > 0]


def vector_top_k(queries: NDArray[np.float32], passages: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the numbers of the k nearest passages of each query, `(queries, k)`, nearest first."""
    found = np.zeros((len(queries), k), np.int64)
    for begin in range(0, len(queries), 512):
        similar = queries[begin : begin + 512] @ passages.T
        best = np.argpartition(-similar, k, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(similar, best, 1), axis=1, kind="stable")
        found[begin : begin + 512] = np.take_along_axis(best, order, 1)
    return found


def draw(
    pool: list[int], positives: list[int], count: int, drawn: np.random.Generator
) -> tuple[list[int], list[float]]:
    """Return `count` passages of a query's pool and their grades; none where the pool has no positive one.

    A positive passage that neither stage returned is left out: the reranker will never see such a one, and next to
    negatives that were returned *because* they are similar it would teach that similar means irrelevant. For the same
    reason the negatives are drawn evenly from the pool, not from its top.
    """
    known = set(positives)
    relevant = [number for number in pool if number in known]
    others = [number for number in pool if number not in known]
    if not relevant or not others:
        return [], []
    relevant = drawn.choice(relevant, min(len(relevant), count // 3), replace=False).tolist()
    others = drawn.choice(others, min(len(others), count - len(relevant)), replace=False).tolist()
    return [*relevant, *others], [1.0] * len(relevant) + [0.0] * len(others)
