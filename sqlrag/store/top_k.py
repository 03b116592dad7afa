"""The top-k of one index: nearest vectors, BM25 and their fusion, each one statement of `sql/index/`.

The nearest vectors are found in two steps: the codes of all chunks give candidates (sqlrag/store/codes), whose vectors
are compared in full. A filter is a set of ids, which the pass over the codes takes into account.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlrag.errors import NotADatabaseError
from sqlrag.store.codes.blocks import CodeBlocks, layout_of
from sqlrag.store.codes.candidates import Measured, candidates_for, has_measured, measured_candidates
from sqlrag.store.codes.scan import CodeMemory
from sqlrag.store.driver.extensions import has_codes_scan
from sqlrag.store.full_text import match_expression
from sqlrag.store.names import in_main
from sqlrag.store.precision import Layout, encode_query, kept_parts
from sqlrag.store.registry import Connection, Contents, IndexRecord
from sqlrag.store.statements import fused_score, statement
from sqlrag.store.states import KeptStates
from sqlrag.values.arguments import DEFAULT_TOP_K

__all__ = ["FUSION_DEPTH", "ChunkRow", "Index", "Matching", "reranked"]

FUSION_DEPTH = 100
"""How far down each list reciprocal rank fusion reads at least: an id far down adds next to nothing."""

Value = TypeVar("Value")

ChunkRow = tuple[int, int, str, str]
"""`(id, source_id, text, context)` of a chunk; `context + text` is what was embedded and is reranked."""


@dataclass
class Matching:
    """The ids of the chunks that a filter lets through, as a SELECT of `id` with its bindings."""

    select: str
    bindings: Mapping[str, Any] = field(default_factory=dict)
    has_params: bool = False
    """Whether the bindings are for parameters of the user's."""
    known: bytes | None = None
    """The ids, 8 bytes each, once they have been read."""

    def ids(self, connection: Connection, *, scans: bool) -> bytes:
        """Return the ids as a BLOB of 8 bytes each, in any order; they are read once.

        `scans`: whether the connection has sqlrag_ids().
        """
        if self.known is None:
            if scans:
                ((self.known,),) = connection.execute(f"SELECT sqlrag_ids(id) FROM ({self.select})", self.bindings)
            else:
                self.known = array("q", [id_ for (id_,) in connection.execute(self.select, self.bindings)]).tobytes()
        return self.known

    def settle(self, connection: Connection) -> None:
        """Replace a SELECT with parameters of the user's, which may have the names of a statement's own."""
        if self.has_params:
            ids = _as_json(self.ids(connection, scans=False))
            self.select, self.bindings = "SELECT value AS id FROM main.json_each(:matching)", {"matching": ids}
            self.has_params = False


class Index:
    """One index in a SQLite file, for reading.

    `scans`: whether the connection has the functions of sqlrag's C library; it is asked where the caller does not know.
    `contents`: the registry in the state that is read, which keeps what is found out about the index; without it
    nothing is kept. `memory`: keeps codes between queries where the C library does not.
    """

    def __init__(
        self,
        connection: Connection,
        record: IndexRecord,
        *,
        scans: bool | None = None,
        contents: Contents | None = None,
        memory: CodeMemory | None = None,
    ) -> None:
        self.record = record
        self._has_scan = scans
        self._contents = contents
        self._connection = connection
        self._memory = memory or CodeMemory()
        self._blocks = CodeBlocks(connection, record)

    def vector_top_k(
        self, vector: bytes, k: int, matching: Matching | None = None, candidates: int | None = None
    ) -> list[tuple[int, float, int]]:
        """Return `(id, distance, rank)` of the k nearest chunks, nearest first.

        `candidates`: how many chunks with the nearest codes are compared in full, at least k; by default as many as the
        index has measured for this k. As many as there are chunks, or more: exact.
        """
        wanted = max(k, self.candidates(k) if candidates is None else candidates)
        codes, gone = self._sizes() if self._layout() == "codes" else (0, 0)
        if wanted >= codes:
            return self.compare_all(vector, k, matching)
        ids = matching.ids(self._connection, scans=self.scans()) if matching is not None else None
        return self.compare(vector, k, wanted + gone, ids)

    def compare_all(self, vector: bytes, k: int, matching: Matching | None) -> list[tuple[int, float, int]]:
        """Return `vector_top_k` of all chunks that a filter lets through, each compared in full."""
        name = "index/vector_top_k" if self.scans() else "index/vector_scan"
        return self._rows(name, matching, vector=vector, k=k)

    def compare(self, vector: bytes, k: int, candidates: int, ids: bytes | None) -> list[tuple[int, float, int]]:
        """Return `vector_top_k` of the candidates, the chunks with the nearest codes; `ids`: of these chunks only."""
        if self.scans():
            nearest = f"main.sqlrag_nearest_codes('{self.record.name}_codes', :vector, :candidates, :ids)"
            near = Matching(f"SELECT id FROM {nearest}", {"candidates": candidates, "ids": ids})
            return self._rows("index/vector_top_k", near, vector=vector, k=k)
        found = json.dumps(self.nearest_codes(vector, candidates, ids))
        return self._rows("index/vector_distances", None, vector=vector, k=k, ids=found)

    def nearest_codes(self, vector: bytes, k: int, ids: bytes | None = None) -> list[int]:
        """Return the ids of the k chunks whose codes are nearest to a vector, nearest first; `ids`: of these only."""
        if not self.scans():
            return self._memory.nearest(self._blocks, vector, k, ids)
        sql = "SELECT id FROM main.sqlrag_nearest_codes(?, ?, ?, ?)"
        return [id_ for (id_,) in self._connection.execute(sql, (f"{self.record.name}_codes", vector, k, ids))]

    def scans(self) -> bool:
        """Tell whether the connection has the functions of sqlrag's C library."""
        if self._has_scan is None:
            self._has_scan = has_codes_scan(self._connection)
        return self._has_scan

    def candidates(self, k: int) -> int:
        """Return how many chunks a search for the k nearest compares in full."""
        return candidates_for(k, self._measured())

    def measured(self) -> tuple[int, float | None]:
        """Return how many chunks a search for 25 compares in full, and which recall was measured with them."""
        recalls = [one.recall for one in self._measured() if one.k == DEFAULT_TOP_K]
        return self.candidates(DEFAULT_TOP_K), recalls[0] if recalls else None

    def _measured(self) -> list[Measured]:
        if not self._once("has measured", lambda: has_measured(self._connection), in_schema=True):
            return []
        return self._once("measured", lambda: measured_candidates(self._connection, self.record))

    def _layout(self) -> Layout:
        return self._once("layout", lambda: layout_of(self._connection, self.record), in_schema=True)

    def _sizes(self) -> tuple[int, int]:
        """Return how many codes there are, and how many of them are of chunks that are gone."""
        gone = in_main(f"{self.record.name}_gone")
        sql = f"SELECT ({self._blocks.counted}), (SELECT count(*) FROM {gone})"
        codes, left = self._once("sizes", lambda: next(iter(self._connection.execute(sql))))
        return codes, left

    def _once(self, fact: str, look_up: Callable[[], Value], *, in_schema: bool = False) -> Value:
        """Look up a fact once in a state of the file, or in a schema of it."""
        if self._contents is None:
            return look_up()
        known = self._contents.by_schema if in_schema else self._contents
        return known.once((fact, self.record.name), look_up)

    def text_top_k(
        self, text: str, k: int, matching: Matching | None = None, statistics: str | None = None
    ) -> list[tuple[int, float, int]]:
        """Return `(id, score, rank)` of the k best chunks by BM25, best first.

        `statistics`: those of several files, for the connection's function sqlrag_bm25(); by default those of this one.
        """
        bindings: dict[str, Any] = {"match": self._match(text), "k": k}
        if statistics is not None:
            bindings["statistics"] = statistics
        return self._rows("index/text_top_k", matching, **bindings)

    def hybrid_top_k(
        self,
        text: str,
        vector: bytes,
        k: int,
        matching: Matching | None = None,
        *,
        vector_weight: float,
        candidates: int | None = None,
    ) -> list[tuple[int, float, int]]:
        """Return `(id, score, rank)` of the k best chunks by reciprocal rank fusion, best first.

        `vector_weight`: from 0, the words alone, to 1, the vectors alone.
        """
        depth = max(k, FUSION_DEPTH)
        near = json.dumps([id_ for id_, _, _ in self.vector_top_k(vector, depth, matching, candidates)])
        bindings: dict[str, Any] = {
            "near": near,
            "match": self._match(text),
            "k": k,
            "depth": 0 if vector_weight == 1 else depth,  # in a million chunks, words take longer than vectors
            "vector_weight": vector_weight,
        }
        return self._rows("index/hybrid_top_k", matching, **bindings)

    def distances(self, vector: bytes, ids: Sequence[int]) -> dict[int, float]:
        """Return the distances of these chunks' vectors from a vector, by id."""
        rows = self._rows("index/vector_distances", None, vector=vector, k=len(ids), ids=json.dumps(list(ids)))
        return {id_: distance for id_, distance, _ in rows}

    def reranked(self, scores: Sequence[tuple[float | None, float]], weight: float) -> list[int]:
        """Return the places of candidates in their order after the second stage."""
        return reranked(self._connection, scores, weight)

    def states(self, ids: Sequence[int]) -> dict[int, bytes]:
        """Return what is kept of these chunks for a reranker that reads states, by id."""
        kept = KeptStates(self._connection, self.record)
        return kept.read(ids) if self._once("states", kept.exists, in_schema=True) else {}

    def states_size(self) -> int | None:
        """Return how many bytes are kept for a reranker that reads states, None where nothing is."""
        return KeptStates(self._connection, self.record).bytes()

    def chunks(self, ids: Sequence[int]) -> list[ChunkRow]:
        """Return the chunks of these ids, in their order; an id that is gone is left out."""
        context = "chunk.context" if self.record.context else "''"
        sql = (
            f"SELECT chunk.id, chunk.source_id, chunk.text, {context} FROM main.json_each(?) AS wanted "
            f"CROSS JOIN {in_main(self.record.name)} AS chunk ON chunk.id = wanted.value ORDER BY wanted.key"
        )
        found = list(self._connection.execute(sql, (json.dumps(list(ids)),)))
        for id_, _, text, above in found:
            if not isinstance(text, str) or not isinstance(above, str):
                raise NotADatabaseError(
                    f"this database is damaged: the text of chunk {id_} of index {self.record.name!r} is no text: "
                    "sqlrag check --repair makes it anew"
                )
        return found

    def counts(self) -> tuple[int, int, int, int, int]:
        """Return the number of documents, chunks, tokens, truncated chunks and vectors."""
        sql = statement("index/info", index=self.record.name, **self._parts())
        ((documents, chunks, tokens, truncated, vectors),) = self._connection.execute(
            sql, {"window": self.record.window}
        )
        return documents, chunks, tokens, truncated, vectors

    def _match(self, text: str) -> str:
        return match_expression(text, self.record.tokenizer)

    def _parts(self) -> dict[str, str]:
        return kept_parts(self.record, self._layout())

    def _rows(self, name: str, matching: Matching | None, **bindings: Any) -> list[Any]:
        if matching:
            matching.settle(self._connection)
        # FTS5 would run its query once for each rowid of the list; the plus keeps rowid out of its plan.
        parts = self._parts() | {
            "passing": matching.select if matching else f"SELECT id FROM {in_main(self.record.name)}",
            "filter": f"AND rowid IN ({matching.select})" if matching else "",
            "word_filter": f"AND +rowid IN ({matching.select})" if matching else "",
            "bm25": "sqlrag_bm25" if "statistics" in bindings else "bm25",
            "statistics": ", :statistics" if "statistics" in bindings else "",
        }
        sql = statement(name, index=self.record.name, **parts)
        if "vector" in bindings and self.record.vectors == "int8":
            bindings["code"] = encode_query(self.record, bindings["vector"])
        if matching:
            bindings.update(matching.bindings)
        return list(self._connection.execute(sql, bindings))


def reranked(connection: Connection, scores: Sequence[tuple[float | None, float]], weight: float) -> list[int]:
    """Return the places of candidates in their order after the second stage.

    `scores`: the reranker's score, where it has one, and the first stage's, which counts `weight`.
    """
    sql = statement("index/reranked", fused=fused_score("score", "first", weight))
    return [place for (place,) in connection.execute(sql, {"candidates": json.dumps(list(scores))})]


def _as_json(ids: bytes) -> str:
    found = array("q")
    found.frombytes(ids)
    return json.dumps(found.tolist())
