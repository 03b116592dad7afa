"""The top-k of one index: nearest vectors, BM25 and their fusion, each one statement of `sql/index/`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlrag.errors import InputError
from sqlrag.index.match import match_expression
from sqlrag.index.names import quote
from sqlrag.index.registry import Connection, IndexRecord
from sqlrag.index.statements import statement

__all__ = ["ChunkRow", "Index", "Matching", "filtered_by"]

VEC0_MAX_K = 4096
"""The most rows that one vec0 query returns (`SQLITE_VEC_VEC0_K_MAX` in sqlite-vec 0.1.9)."""

FUSION_DEPTH = 100
"""How far down each list reciprocal rank fusion reads at least: an id far down adds next to nothing."""

ChunkRow = tuple[int, int, str]
"""`(id, source_id, text)` of a chunk."""


@dataclass(frozen=True)
class Matching:
    """The ids of the chunks that a filter lets through, as a SELECT with its bindings."""

    select: str
    bindings: Mapping[str, Any] = field(default_factory=dict)


def filtered_by(expression: str, record: IndexRecord) -> Matching:
    """Return the chunks whose source row satisfies an expression that `check_filter` has passed."""
    source, key = quote(record.source_table), quote(record.source_key)
    return Matching(
        f"SELECT id FROM {quote(record.name)} WHERE source_id IN (SELECT {key} FROM {source} WHERE ({expression}\n))"
    )


class Index:
    """One index in a SQLite file, for reading."""

    def __init__(self, connection: Connection, record: IndexRecord) -> None:
        self.record = record
        self._connection = connection

    def vector_top_k(self, vector: bytes, k: int, matching: Matching | None = None) -> list[tuple[int, float, int]]:
        """Return `(id, distance, rank)` of the k nearest chunks, nearest first."""
        name = "index/vector_top_k" if k <= VEC0_MAX_K else "index/vector_scan"
        return self._rows(name, matching, vector=vector, k=k)

    def text_top_k(self, text: str, k: int, matching: Matching | None = None) -> list[tuple[int, float, int]]:
        """Return `(id, score, rank)` of the k best chunks by BM25, best first."""
        return self._rows("index/text_top_k", matching, match=self._match(text), k=k)

    def hybrid_top_k(
        self, text: str, vector: bytes, k: int, matching: Matching | None = None, *, vector_weight: float
    ) -> list[tuple[int, float, int]]:
        """Return `(id, score, rank)` of the k best chunks by reciprocal rank fusion, best first.

        `vector_weight`: from 0, the words alone, to 1, the vectors alone.
        """
        if k > VEC0_MAX_K:
            raise InputError(f"k is {k}: hybrid_top_k() fuses at most {VEC0_MAX_K} candidates")
        depth = max(k, FUSION_DEPTH)
        return self._rows(
            "index/hybrid_top_k",
            matching,
            vector=vector,
            match=self._match(text),
            k=k,
            depth=depth,
            vector_weight=vector_weight,
        )

    def chunks(self, ids: Sequence[int]) -> list[ChunkRow]:
        """Return the chunks of these ids, in their order; an id that is gone is left out."""
        sql = (
            f"SELECT chunk.id, chunk.source_id, chunk.text FROM json_each(?) AS wanted "
            f"CROSS JOIN {quote(self.record.name)} AS chunk ON chunk.id = wanted.value ORDER BY wanted.key"
        )
        return list(self._connection.execute(sql, (json.dumps(list(ids)),)))

    def counts(self) -> tuple[int, int, int, int, int]:
        """Return the number of documents, chunks, tokens, truncated chunks and vectors."""
        sql = statement("index/info", index=self.record.name)
        ((documents, chunks, tokens, truncated, vectors),) = self._connection.execute(
            sql, {"window": self.record.window}
        )
        return documents, chunks, tokens, truncated, vectors

    def _match(self, text: str) -> str:
        return match_expression(text, self.record.tokenizer)

    def _rows(self, name: str, matching: Matching | None, **bindings: Any) -> list[Any]:
        # FTS5 would run its query once for each rowid of the list; the plus keeps rowid out of its plan.
        sql = statement(
            name,
            index=self.record.name,
            filter=f"AND rowid IN ({matching.select})" if matching else "",
            word_filter=f"AND +rowid IN ({matching.select})" if matching else "",
        )
        if matching:
            bindings.update(matching.bindings)
        return list(self._connection.execute(sql, bindings))
