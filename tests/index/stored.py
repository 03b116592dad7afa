"""An index of bare vectors in a database of its own, and the same vectors in memory."""

from __future__ import annotations

import apsw
import numpy as np

from sqlrag.engines.sqlite.functions import load_vec
from sqlrag.store.codes.blocks import CodeBlocks
from sqlrag.store.registry import IndexRecord
from sqlrag.store.top_k import Index, Matching
from sqlrag.store.upkeep import keep_up
from sqlrag.store.writer import IndexWriter, immediate

DIMENSION = 128
ALL = 1_000_000
"""Candidates: all of them."""


def vectors_of(count: int, seed: int = 0, topics: int = 40, dimension: int = DIMENSION) -> np.ndarray:
    """Return unit vectors around some topics, as embeddings of text are."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(7).standard_normal((topics, dimension))
    vectors = centres[generator.integers(topics, size=count)] + 0.6 * generator.standard_normal((count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def matching(ids) -> Matching:
    """Return a filter that lets these chunks through."""
    values = ", ".join(f"({id_})" for id_ in ids) or "(NULL)"
    return Matching(f"SELECT column1 AS id FROM (VALUES {values}) WHERE column1 IS NOT NULL")


class Stored:
    """The index, and what it must find."""

    def __init__(self, path: str = ":memory:", vectors: str = "float32", dimension: int = DIMENSION) -> None:
        self.connection = apsw.Connection(path)
        load_vec(self.connection)
        self.record = IndexRecord(
            "chunks", "documents", "id", "m", "h", dimension, "", "", 256, 200, 0, vectors=vectors
        )
        self.writer = IndexWriter(self.connection, self.record)
        self.blocks = CodeBlocks(self.connection, self.record)
        self.vectors: dict[int, np.ndarray] = {}
        with immediate(self.connection):
            self.writer.create()

    def insert(self, vectors: np.ndarray, ids: list[int] | None = None) -> None:
        with immediate(self.connection):
            first = self.writer.next_id()
            ids = ids or list(range(first, first + len(vectors)))
            self.writer.insert([(id_, id_, 0, 0, 4, "text", 1) for id_ in ids], vectors)
        self.vectors.update(zip(ids, vectors, strict=True))

    def delete(self, ids: list[int]) -> None:
        with immediate(self.connection):
            self.writer.delete_chunks(ids)
        for id_ in ids:
            del self.vectors[id_]

    def keep_up(self) -> None:
        keep_up(self.connection, self.record, lambda _what, _share: None)

    def top_k(self, query, k: int, passing=None, candidates: int | None = None) -> list[tuple[int, float, int]]:
        filtered = None if passing is None else matching(passing)
        return Index(self.connection, self.record).vector_top_k(query.tobytes(), k, filtered, candidates)

    def exact(self, query: np.ndarray, k: int, passing=None) -> list[int]:
        ids = np.array(sorted(self.vectors if passing is None else passing))
        distances = np.linalg.norm(np.stack([self.vectors[id_] for id_ in ids.tolist()]) - query, axis=1)
        return ids[np.lexsort((ids, distances))[:k]].tolist()

    def recall(self, queries: np.ndarray, k: int = 25, passing=None, candidates: int | None = None) -> float:
        """Return the recall; each search gives as many rows as there are, nearest first, and no others."""
        shares = []
        for query in queries:
            rows = self.top_k(query, k, passing, candidates)
            exact = self.exact(query, k, passing)
            assert [row[2] for row in rows] == list(range(1, len(exact) + 1))
            assert [row[1] for row in rows] == sorted(row[1] for row in rows)
            assert passing is None or {row[0] for row in rows} <= set(passing)
            shares.append(len({row[0] for row in rows} & set(exact)) / len(exact))
        return float(np.mean(shares))
