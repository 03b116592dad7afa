"""The top-k of one index: nearest vectors, BM25 and their fusion, each one statement of `sql/index/`."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlrag.errors import InputError, NotADatabaseError
from sqlrag.store.cells.cells import VEC0_MAX_K, CellState, cell_state
from sqlrag.store.cells.filtered import CANDIDATES, filtered_top_k
from sqlrag.store.driver.extensions import has_scan
from sqlrag.store.full_text import match_expression
from sqlrag.store.names import in_main
from sqlrag.store.precision import codes_of, kept_parts
from sqlrag.store.registry import Connection, Contents, IndexRecord
from sqlrag.store.statements import statement
from sqlrag.values.arguments import DEFAULT_TOP_K

__all__ = ["ChunkRow", "Index", "Listing", "Matching"]

FUSION_DEPTH = 100
"""How far down each list reciprocal rank fusion reads at least: an id far down adds next to nothing."""

Value = TypeVar("Value")

ChunkRow = tuple[int, int, str, str]
"""`(id, source_id, text, context)` of a chunk; `context + text` is what was embedded and is reranked."""


@dataclass(frozen=True)
class Listing:
    """The ids of chunks: how many, and a JSON array of them."""

    count: int
    ids: str


@dataclass
class Matching:
    """The ids of the chunks that a filter lets through, as a SELECT of `id` with its bindings."""

    select: str
    passing: Callable[[Sequence[int]], Collection[int]]
    """Which of some chunks it lets through."""
    bindings: Mapping[str, Any] = field(default_factory=dict)
    has_params: bool = False
    """Whether the bindings are for parameters of the user's."""
    _listing: Listing | None = None

    def listing(self, connection: Connection) -> Listing:
        """Return the ids, found once: the SELECT reads them from this list from then on."""
        if self._listing is None:
            sql = f"SELECT count(*), json_group_array(id) FROM ({self.select})"
            ((count, ids),) = connection.execute(sql, self.bindings)
            self._listing = Listing(count, ids)
            self.select, self.bindings = "SELECT value AS id FROM main.json_each(:matching)", {"matching": ids}
        return self._listing

    def settle(self, connection: Connection) -> None:
        """See that the SELECT has no parameters of the user's: they may have the names of a statement's own."""
        if self.has_params:
            self.listing(connection)


class Index:
    """One index in a SQLite file, for reading.

    `scans`: whether the connection has sqlrag_scan(); it is asked where the caller does not know. `contents`: the
    registry in the state that is read, which keeps what is found out about the index; without it nothing is kept.
    """

    def __init__(
        self,
        connection: Connection,
        record: IndexRecord,
        *,
        scans: bool | None = None,
        contents: Contents | None = None,
    ) -> None:
        self.record = record
        self._has_scan = scans
        self._contents = contents
        self._connection = connection

    def vector_top_k(
        self, vector: bytes, k: int, matching: Matching | None = None, nprobe: int | None = None
    ) -> list[tuple[int, float, int]]:
        """Return `(id, distance, rank)` of the k nearest chunks, nearest first.

        `nprobe`: the cells to look into, where the index has some; by default what it has measured for this k. All of
        them, or more: exact, where float32 is kept.
        """
        if k > VEC0_MAX_K and not self.scans():
            return self._measured(vector, k, matching)
        state = self._ready()
        is_exact = nprobe is not None and state is not None and nprobe >= state.cells
        if k > VEC0_MAX_K or (is_exact and self.record.vectors == "float32"):
            return self._of_all(vector, k, matching)
        if matching is None or state is None:
            return self._probe(vector, k, nprobe=nprobe, matching=matching)
        return filtered_top_k(self, state, vector, k, matching=matching, nprobe=nprobe)

    def _probe(
        self,
        vector: bytes,
        k: int,
        *,
        nprobe: int | None = None,
        matching: Matching | None = None,
    ) -> list[tuple[int, float, int]]:
        """Return `vector_top_k` of the nearest cells: `nprobe` of them, or as many as the k nearest lie in."""
        if self.record.vectors != "int8" and self._ready() is None:
            return self._of_all(vector, k, matching)
        if self.scans():
            name, part = "index/vector_top_k", "index/nearest_cells_scanned"
            return self._rows(name, matching, part, vector=vector, wanted=k, nprobe=nprobe, depth=k)
        ids = self._near_ids(vector, CANDIDATES * k, nprobe=nprobe, depth=k, matching=matching)
        return self.distances(vector, k, json.dumps(ids))

    def _of_all(self, vector: bytes, k: int, matching: Matching | None) -> list[tuple[int, float, int]]:
        """Return `vector_top_k` of all chunks, exact."""
        if self.scans():
            return self._rows("index/vector_top_k", matching, "index/nearest_flat_scanned", vector=vector, wanted=k)
        if k >= VEC0_MAX_K:
            return self._measured(vector, k, matching)
        rows = self._rows("index/vector_top_k", matching, "index/nearest_flat", vector=vector, wanted=k + 1)
        # Of those that are as far as the last one vec0 gives any: the ones with the lower ids come first.
        if len(rows) > k and rows[k][1] == rows[k - 1][1]:
            return self._measured(vector, k, matching)
        return rows[:k]

    def _measured(self, vector: bytes, k: int, matching: Matching | None) -> list[tuple[int, float, int]]:
        """Return `vector_top_k` of all chunks, each measured by itself."""
        return self._rows("index/vector_scan", matching, vector=vector, k=k)

    def _near_ids(
        self, vector: bytes, count: int, *, nprobe: int | None, depth: int, matching: Matching | None = None
    ) -> list[int]:
        """Return the ids of `count` chunks with the nearest codes in some cells, as vec0 finds them."""
        candidates = min(count, VEC0_MAX_K)
        bindings: dict[str, Any] = {"vector": vector, "candidates": candidates, "nprobe": nprobe, "depth": depth}
        for each in (candidates, VEC0_MAX_K):
            rows = self._rows("index/near_ids", matching, each=each, **bindings)
            if not rows or not rows[0][1]:
                return [id_ for id_, _ in rows]
        return [id_ for id_, _ in self._rows("index/near_ids_each", matching, **bindings)]

    def distances(self, vector: bytes, k: int, ids: str) -> list[tuple[int, float, int]]:
        """Return `vector_top_k` among the chunks of a JSON array, one by one: exact, at a look-up for each."""
        if self.scans():
            return self._rows("index/vector_top_k", None, "index/nearest_looked_up", vector=vector, wanted=k, ids=ids)
        return self._rows("index/vector_distances", None, vector=vector, k=k, ids=ids)

    def inside(self, vector: bytes, ids: str, *, nprobe: int) -> Listing:
        """Return which chunks of a JSON array are in the `nprobe` nearest cells."""
        ((count, inside),) = self._rows(
            "index/listed_inside", None, vector=vector, ids=ids, nprobe=min(nprobe, VEC0_MAX_K)
        )
        return Listing(count, inside)

    def listed(self, vector: bytes, k: int, ids: str) -> list[tuple[int, float, int]]:
        """Return `vector_top_k` among the chunks of a JSON array, by their codes first."""
        return self._rows("index/vector_top_k", None, "index/nearest_listed", vector=vector, wanted=k, ids=ids)

    def near_ids(self, vector: bytes, count: int, *, nprobe: int) -> list[int]:
        """Return the ids of `count` chunks with the nearest codes in some cells."""
        if self.scans():
            return [row[0] for row in self._near_scanned(vector, count, nprobe, None)]
        return self._near_ids(vector, count, nprobe=nprobe, depth=count)

    def near_listed(self, vector: bytes, count: int, ids: str, *, nprobe: int) -> tuple[list[int], int]:
        """Return `near_ids` among the chunks of a JSON array, and how many of these are in the cells; by a scan."""
        rows = self._near_scanned(vector, count, nprobe, ids)
        return [id_ for id_, _ in rows], rows[0][1] if rows else 0

    def _near_scanned(self, vector: bytes, count: int, nprobe: int, ids: str | None) -> list[Any]:
        probe, candidates = min(nprobe, VEC0_MAX_K), min(count, VEC0_MAX_K)
        bindings: dict[str, Any] = {"vector": vector, "candidates": candidates, "nprobe": probe, "ids": ids}
        return self._rows("index/near_ids_scanned", None, **bindings)

    def scans(self) -> bool:
        """Tell whether sqlrag_scan() finds the vectors: it looks for tables of the main database."""
        if self._has_scan is None:
            self._has_scan = has_scan(self._connection)
        return self._has_scan and self.has_cells()

    def has_cells(self) -> bool:
        """Tell whether the index can have cells: one of schema 1 that nobody has written to since cannot."""
        sql = "SELECT 1 FROM main.sqlite_schema WHERE name = ?"
        return self._once(
            "has_cells", lambda: bool(list(self._connection.execute(sql, (f"{self.record.name}_cells",))))
        )

    def _ready(self) -> CellState | None:
        """Return how the cells were made, None while the index is searched whole."""

        def read() -> CellState | None:
            state = cell_state(self._connection, self.record) if self.has_cells() else None
            return state if state is not None and state.ready else None

        return self._once("ready", read)

    def _once(self, fact: str, look_up: Callable[[], Value]) -> Value:
        return look_up() if self._contents is None else self._contents.once((fact, self.record.name), look_up)

    def cells(self) -> tuple[int, int | None]:
        """Return how many cells the index has, 0 while it is searched whole, and how many of them a search probes."""
        state = self._ready()
        return (0, None) if state is None else (state.cells, dict(self.measured_nprobes()).get(DEFAULT_TOP_K))

    def listing(self, matching: Matching) -> Listing:
        """Return the ids of all chunks that a filter lets through."""
        return matching.listing(self._connection)

    def measured_nprobes(self) -> list[tuple[int, int]]:
        """Return `(k, nprobe)` as measured when the cells were made, in order."""

        def read() -> list[tuple[int, int]]:
            sql = "SELECT k, nprobe FROM main.sqlrag_nprobe WHERE index_name = ? ORDER BY k"
            found = [(k, nprobe) for k, nprobe in self._connection.execute(sql, (self.record.name,))]
            if not all(isinstance(number, int) for row in found for number in row):
                raise NotADatabaseError(f"this database is damaged: its table sqlrag_nprobe has {found!r}")
            return found

        return self._once("nprobes", read)

    def text_top_k(self, text: str, k: int, matching: Matching | None = None) -> list[tuple[int, float, int]]:
        """Return `(id, score, rank)` of the k best chunks by BM25, best first."""
        return self._rows("index/text_top_k", matching, match=self._match(text), k=k)

    def hybrid_top_k(
        self,
        text: str,
        vector: bytes,
        k: int,
        matching: Matching | None = None,
        *,
        vector_weight: float,
        nprobe: int | None = None,
    ) -> list[tuple[int, float, int]]:
        """Return `(id, score, rank)` of the k best chunks by reciprocal rank fusion, best first.

        `vector_weight`: from 0, the words alone, to 1, the vectors alone.
        """
        if k > VEC0_MAX_K:
            raise InputError(f"k is {k}: hybrid_top_k() fuses at most {VEC0_MAX_K} candidates")
        depth = max(k, FUSION_DEPTH)
        near = json.dumps([id_ for id_, _, _ in self.vector_top_k(vector, depth, matching, nprobe)])
        bindings: dict[str, Any] = {
            "near": near,
            "match": self._match(text),
            "k": k,
            "depth": depth,
            "vector_weight": vector_weight,
        }
        return self._rows("index/hybrid_top_k", matching, **bindings)

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
        sql = statement("index/info", index=self.record.name, **kept_parts(self.record))
        ((documents, chunks, tokens, truncated, vectors),) = self._connection.execute(
            sql, {"window": self.record.window}
        )
        return documents, chunks, tokens, truncated, vectors

    def _match(self, text: str) -> str:
        return match_expression(text, self.record.tokenizer)

    def _rows(self, name: str, matching: Matching | None, nearest: str | None = None, **bindings: Any) -> list[Any]:
        if matching:
            matching.settle(self._connection)
        # FTS5 would run its query once for each rowid of the list; the plus keeps rowid out of its plan.
        parts = kept_parts(self.record) | {
            "filter": f"AND rowid IN ({matching.select})" if matching else "",
            "word_filter": f"AND +rowid IN ({matching.select})" if matching else "",
            "ids": f"(SELECT json_group_array(id) FROM ({matching.select}))" if matching else "NULL",
        }
        parts["nearest"] = statement(nearest, index=self.record.name, **parts) if nearest else ""
        sql = statement(name, index=self.record.name, **parts)
        if "vector" in bindings:
            bindings["code"] = self._code(bindings["vector"])
        if "wanted" in bindings:
            bindings["candidates"] = min(CANDIDATES * bindings["wanted"], VEC0_MAX_K)
        if matching:
            bindings.update(matching.bindings)
        return list(self._connection.execute(sql, bindings))

    def _code(self, vector: bytes) -> bytes:
        return codes_of(self.record).encode_query(vector)
