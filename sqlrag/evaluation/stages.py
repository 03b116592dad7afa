"""Running the two stages of an evaluation: each first stage for each query, then the scores of its candidates."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from sqlrag.store.names import quote
from sqlrag.store.statements import statement

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlrag.database import Database
    from sqlrag.evaluation.files import Queries

__all__ = ["FIRST_STAGES", "FUSED", "RUN", "Stages", "Times"]

FIRST_STAGES = {"vector": "vector_top_k", "text": "text_top_k", "hybrid": "hybrid_top_k"}
"""The first stages of a database, and their SQL functions."""

FUSED = "hybrid"
"""The first stage whose score counts after reranking, as in search()."""

RUN = "run"
"""The first stage that is read from a file."""


@dataclass
class Times:
    """Seconds of each first stage, all queries together, and of the second stage.

    `candidates` is the number of pairs that the second stage had to score, `pairs` the number of those whose score was
    not known before.
    """

    first: dict[str, float] = field(default_factory=dict)
    second: float = 0.0
    candidates: int = 0
    pairs: int = 0

    @property
    def of_a_pair(self) -> float | None:
        """Seconds per pair, None if most scores were known before and the time of a pair cannot be known."""
        return self.second / self.pairs if 0 < self.candidates <= 2 * self.pairs else None


class Stages:
    """Runs the first stages `names` at the largest top_k, and scores each (query, chunk) pair once.

    These include the candidates and scores of every smaller top_k.
    """

    def __init__(self, db: Database, index: str, names: Sequence[str], top_k: int) -> None:
        self.names = list(names)
        self._db = db
        self._index = index
        self._top_k = top_k

    def run(self, queries: Queries, report: Callable[[int, str], None]) -> Times:
        """Fill evaluation_candidates and evaluation_scores. `report` is called before each query."""
        self._warm_up()
        times = Times(dict.fromkeys(self.names, 0.0))
        for done, (query_id, query) in enumerate(queries.items()):
            report(done, f"query {done + 1:,} of {len(queries):,}")
            for name in self.names:
                started = time.perf_counter()
                self._find(name, query_id, query)
                times.first[name] += time.perf_counter() - started
            self._score(query_id, query, times)
        return times

    def _warm_up(self) -> None:
        """Load the models, so that loading does not count as the time of a query."""
        params = {"index": self._index, "query": "warm up"}
        self._db.execute(f"SELECT rank FROM {self._function('vector')}(:index, :query, 1)", params).fetchall()
        self._db.reranker.score("warm up", ["warm up"])

    def _find(self, name: str, query_id: str, query: str) -> None:
        params = {"first_stage": name, "query_id": query_id, "k": self._top_k}
        if name == RUN:
            self._db.execute(statement("evaluation/run_candidates"), params).fetchall()
            return
        score = "hit.score" if name == FUSED else "0"
        sql = statement("evaluation/candidates", function=self._function(name), score=score)
        self._db.execute(sql, params | {"index": self._index, "query": query}).fetchall()

    def _function(self, name: str) -> str:
        """Return the SQL function of a first stage; on SQLite by the name that no table of the user can hide."""
        return f"main.sqlrag_{FIRST_STAGES[name]}" if self._db.engine == "sqlite" else FIRST_STAGES[name]

    @cached_property
    def _passage(self) -> str:
        """What is reranked: a chunk's text behind its context, which an index made before schema 4 has not."""
        columns = self._db.describe(f"SELECT * FROM {self._db.schema}.{quote(self._index)}")
        return "chunk.context || chunk.text" if any(name == "context" for name, _ in columns) else "chunk.text"

    def _score(self, query_id: str, query: str, times: Times) -> None:
        """Score the candidates of a query.

        SQLite calls rerank_score() for one row at a time, and this statement has no top-k function that knows the next
        rows. The reranker therefore scores all texts first, side by side on all cores, and the statement finds the
        scores in its memory.
        """
        params = {"query_id": query_id, "query": query}
        reranker = self._db.reranker
        started, before = time.perf_counter(), reranker.pairs_scored
        parts = {"main": self._db.schema, "passage": self._passage}
        sql = statement("evaluation/texts", index=self._index, **parts)
        texts = [row[0] for row in self._db.execute(sql, {"query_id": query_id})]
        reranker.score(query, texts)
        self._db.execute(statement("evaluation/scores", index=self._index, **parts), params).fetchall()
        times.second += time.perf_counter() - started
        times.candidates += len(texts)
        times.pairs += reranker.pairs_scored - before
