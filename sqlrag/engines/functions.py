"""What each SQL function does, whichever engine calls it.

Scalars: `embed`, `embed_document`, `rerank_score`, `token_count`. Table functions: `vector_top_k`,
`text_top_k`, `hybrid_top_k`, `search`, `chunk_text`, `sqlrag_info`. Their contract: NULL in gives NULL out for
scalars and no rows for tables; types are checked; an error names the argument, its value and the remedy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlrag.errors import InputError, ModelMismatchError
from sqlrag.models.stopping import Stop
from sqlrag.process.forks import Owned, in_own_process
from sqlrag.store.candidates import Candidates
from sqlrag.store.encoders import chunker_of
from sqlrag.store.filters import check_filter, check_filter_params
from sqlrag.store.scores import Scores
from sqlrag.values.arguments import (
    DEFAULT_TOP_K,
    DEFAULT_TOP_N,
    DEFAULT_VECTOR_WEIGHT,
    check_budget,
    check_k,
    check_share,
    check_text,
    check_top_n,
    check_vector,
    shown,
    whole,
)

if TYPE_CHECKING:
    from sqlrag.models import Embedder
    from sqlrag.store.encoders import Encoders
    from sqlrag.store.registry import IndexRecord
    from sqlrag.store.scores import ScoreCache
    from sqlrag.store.top_k import Index, Matching

__all__ = ["DEFAULT_RERANK_LIMIT", "INFO_COLUMNS", "SEARCH_COLUMNS", "Functions", "IndexSource"]

DEFAULT_RERANK_LIMIT = 10_000
"""How many pairs one statement may score before it stops: a forgotten LIMIT over a million rows."""

SEARCH_COLUMNS = ("id", "text", "score", "distance", "rank_before", "rank_after", "source_id", "reranked")
INFO_COLUMNS = (
    "index", "source", "documents", "chunks", "tokens", "truncated", "max_tokens", "overlap", "embedder",
    "embedder_hash", "dimension", "window", "reranker", "reranker_hash", "backlog", "tokenizer",
    "vectors", "cells", "nprobe", "cached_scores", "cache_hits", "backlog_seconds",
)  # fmt: skip

Row = TypeVar("Row", bound=tuple[Any, ...])


class IndexSource(Protocol):
    """Where an engine keeps its indexes."""

    def names(self) -> list[str]:
        """Return the names of the indexes."""

    def records(self) -> list[IndexRecord]:
        """Return what is recorded of each index."""

    def record(self, name: object) -> IndexRecord:
        """Return what is recorded of an index. Raises UnknownIndexError."""

    def open(self, name: object) -> Index:
        """Return an index for reading. Raises UnknownIndexError."""

    def matching(self, record: IndexRecord, expression: str, params: Mapping[str, Any]) -> Matching:
        """Return the chunks whose source row satisfies a checked expression, given values of its parameters."""

    def default_embedder(self) -> str | None:
        """Return the database's own model, None for a database without an index."""

    def is_tracked(self, record: IndexRecord) -> bool:
        """Tell whether the changes of an index's table are noticed."""

    def backlog(self, record: IndexRecord) -> tuple[int, float | None]:
        """Return how many documents are still to be finished, or rows queued, and since when in seconds."""


Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


def _stops(
    method: Callable[Concatenate[Functions, Arguments], Returned],
) -> Callable[Concatenate[Functions, Arguments], Returned]:
    """Make a function that runs a model end between two texts, or pairs, when its statement is interrupted.

    Raises DatabaseError in a forked child.
    """

    @wraps(method)
    def stopping(self: Functions, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Returned:
        self.owned.check_process()
        with self.stop.applied():
            return method(self, *args, **kwargs)

    return stopping


class Functions:
    """The SQL functions of one connection; `stop` ends those of a statement between two texts, or pairs."""

    def __init__(
        self,
        indexes: IndexSource,
        encoders: Encoders,
        rerank_limit: int = DEFAULT_RERANK_LIMIT,
        score_cache: ScoreCache | None = None,
        nprobe: int | None = None,
    ) -> None:
        self.owned = Owned("this connection")
        self.encoders = encoders
        self._nprobe = nprobe
        self.longest_text: int | None = None
        self.on_asked: Callable[[IndexRecord], None] | None = None
        """Called with an index before it is searched, once a statement."""
        self._asked: set[str] = set()
        self._indexes = indexes
        self._candidates = Candidates()
        self._scores = Scores(rerank_limit, score_cache)
        self.stop = Stop()

    def begin_statement(self) -> None:
        """Start counting the pairs of a new statement, for `rerank_limit`, and forget old candidates."""
        self._scores.begin_statement()
        self._candidates.clear()
        self._asked.clear()

    # Scalars

    @_stops
    def embed(self, text: object, model: object = None) -> bytes | None:
        """Return the vector of a query, float32; NULL for NULL."""
        if text is None:
            return None
        vector = self.encoders.embedder_named(model).query_vector(self._text("embed", "text", text))
        return vector.tobytes()

    @_stops
    def embed_document(self, text: object, model: object = None) -> bytes | None:
        """Return the vector of a passage, float32; NULL for NULL."""
        if text is None:
            return None
        embedder = self.encoders.embedder_named(model)
        return embedder.encode_document(self._text("embed_document", "text", text)).tobytes()

    @_stops
    def embed_documents(self, texts: Sequence[object], models: Sequence[object] | None = None) -> list[bytes | None]:
        """Return the vectors of many passages, as `embed_document`; those of one model run as one batch."""
        models = models or [None] * len(texts)
        vectors: list[bytes | None] = [None] * len(texts)
        for model in dict.fromkeys(models):
            places = [place for place, name in enumerate(models) if name == model and texts[place] is not None]
            if places:
                checked = [self._text("embed_document", "text", texts[place]) for place in places]
                encoded = self.encoders.embedder_named(model).encode_document(checked)
                for place, vector in zip(places, encoded, strict=True):
                    vectors[place] = vector.tobytes()
        return vectors

    @_stops
    def token_count(self, text: object, model: object = None) -> int | None:
        """Return the number of tokens of a text, without the model's special ones; NULL for NULL."""
        if text is None:
            return None
        return self.encoders.embedder_named(model).token_count(self._text("token_count", "text", text))

    @_stops
    def rerank_score(self, query: object, text: object, model: object = None) -> float | None:
        """Return the relevance of a text to a query; NULL for NULL.

        The candidates of the top-k functions that ran before are known: the first of them to be scored has
        all of them scored side by side, on every core.
        """
        if query is None or text is None:
            return None
        query, text = self._text("rerank_score", "query", query), self._text("rerank_score", "text", text)
        reranker = self.encoders.reranker_named(model)
        texts = [text]
        if not self._scores.is_known(reranker, query, text):
            texts += self._candidates.beside(text, self._scores.left)
        return self._scores.score(reranker, query, texts)[0]

    @_stops
    def rerank_scores(self, queries: Sequence[object], texts: Sequence[object], model: object = None) -> list[Any]:
        """Return the scores of many pairs, `None` where the query or the text is NULL."""
        reranker = self.encoders.reranker_named(model)
        groups: dict[str, list[int]] = {}
        for place, (query, text) in enumerate(zip(queries, texts, strict=True)):
            if query is not None and text is not None:
                self._text("rerank_score", "text", text)
                groups.setdefault(self._text("rerank_score", "query", query), []).append(place)
        result: list[Any] = [None] * len(texts)
        for query, places in groups.items():
            scores = self._scores.score(reranker, query, [str(texts[place]) for place in places])
            for place, score in zip(places, scores, strict=True):
                result[place] = score
        return result

    # Table functions

    @in_own_process
    def vector_top_k(  # noqa: PLR0917 - as positional as in SQL
        self,
        index: object,
        query: object,
        k: object,
        filter: object = None,  # noqa: A002
        nprobe: object = None,
        filter_params: object = None,
    ) -> list[Any]:
        """Return `(id, distance, rank)` of the k chunks nearest to a text or a vector.

        `nprobe`: cells of the index to look into; by default the connection's, or what the index has measured.
        `filter_params`: values of the filter's parameters, a JSON object.
        """
        found = self._open(index)
        k = check_k("vector_top_k", "k", k)
        nprobe = self._nprobe if nprobe is None else check_k("vector_top_k", "nprobe", nprobe)
        matching = self._matching(found, filter, filter_params)
        if query is None:
            return []
        rows = found.vector_top_k(self._vector(found, query), k, matching, nprobe)
        return self._remembered(found, rows)

    @in_own_process
    def text_top_k(
        self,
        index: object,
        query: object,
        k: object,
        filter: object = None,  # noqa: A002
        filter_params: object = None,
    ) -> list[Any]:
        """Return `(id, score, rank)` of the k best chunks by BM25."""
        found = self._open(index)
        k = check_k("text_top_k", "k", k)
        matching = self._matching(found, filter, filter_params)
        if query is None:
            return []
        rows = found.text_top_k(self._text("text_top_k", "query", query), k, matching)
        return self._remembered(found, rows)

    @in_own_process
    def hybrid_top_k(  # noqa: PLR0917 - as positional as in SQL
        self,
        index: object,
        query: object,
        k: object,
        filter: object = None,  # noqa: A002
        vector_weight: object = None,
        filter_params: object = None,
    ) -> list[Any]:
        """Return `(id, score, rank)` of the k best chunks by reciprocal rank fusion of vectors and BM25.

        `vector_weight`: the vectors' share of the score, from 0 to 1; the words have the rest.
        """
        found = self._open(index)
        k = check_k("hybrid_top_k", "k", k)
        weight = DEFAULT_VECTOR_WEIGHT if vector_weight is None else vector_weight
        weight = check_share("hybrid_top_k", "vector_weight", weight)
        matching = self._matching(found, filter, filter_params)
        if query is None:
            return []
        text = self._text("hybrid_top_k", "query", query)
        rows = found.hybrid_top_k(
            text, self._vector(found, text), k, matching, vector_weight=weight, nprobe=self._nprobe
        )
        return self._remembered(found, rows)

    @_stops
    def search(  # noqa: PLR0917 - as positional as in SQL
        self,
        index: object,
        query: object,
        top_k: object = None,
        top_n: object = None,
        filter: object = None,  # noqa: A002
        budget_ms: object = None,
        filter_params: object = None,
    ) -> list[Any]:
        """Return rows of `SEARCH_COLUMNS`: the best `top_n` of the `top_k` nearest, best first.

        `budget_ms`: how long the second stage may take. It scores the candidates in the order of the first as far as
        time allows; the others come after those that it scored, in that order, with the score NULL.
        """
        found = self._open(index)
        top_k = check_k("search", "top_k", DEFAULT_TOP_K if top_k is None else top_k)
        top_n = check_top_n(min(DEFAULT_TOP_N, top_k) if top_n is None else top_n, top_k)
        seconds = None if budget_ms is None else check_budget(budget_ms) / 1000
        matching = self._matching(found, filter, filter_params)
        if query is None:
            return []
        text = self._text("search", "query", query)
        hits = found.vector_top_k(self._vector(found, text), top_k, matching, self._nprobe)
        chunks = {chunk[0]: chunk for chunk in found.chunks([hit[0] for hit in hits])}
        hits = [hit for hit in hits if hit[0] in chunks]
        scores = self._scores.score(self.encoders.reranker, text, [chunks[hit[0]][2] for hit in hits], seconds)
        reranked = len(scores) - scores.count(None)
        # Equal scores keep the order of the first stage, and so do those without one, behind the others.
        order = sorted(range(len(hits)), key=lambda place: (-_or_lowest(scores[place]), hits[place][2]))
        rows = []
        for rank_after, place in enumerate(order[:top_n], start=1):
            (id_, distance, rank_before), score = hits[place], scores[place]
            _, source_id, passage = chunks[id_]
            rows.append((id_, passage, score, distance, rank_before, rank_after, source_id, reranked))
        return rows

    @_stops
    def chunk_text(self, text: object, max_tokens: object = None, overlap: object = None) -> list[Any]:
        """Return `(ordinal, start_char, end_char, text)` of the chunks of a text."""
        from sqlrag.text.chunking import DEFAULT_MAX_TOKENS, DEFAULT_OVERLAP

        max_tokens = DEFAULT_MAX_TOKENS if max_tokens is None else max_tokens
        overlap = min(DEFAULT_OVERLAP, _half(max_tokens)) if overlap is None else overlap
        split = chunker_of(self.encoders.embedder, max_tokens, overlap)
        if text is None:
            return []
        chunks = split.chunks(self._text("chunk_text", "text", text))
        return [(chunk.ordinal, chunk.start_char, chunk.end_char, chunk.text) for chunk in chunks]

    @in_own_process
    def sqlrag_info(self) -> list[Any]:
        """Return a row of `INFO_COLUMNS` for each index."""
        reranker = self.encoders.reranker.spec
        cached = self._scores.cache.counts() if self._scores.cache is not None else None
        rows = []
        for name in self._indexes.names():
            index = self._indexes.open(name)
            record = index.record
            documents, chunks, tokens, truncated, _ = index.counts()
            backlog: int | None
            backlog, waiting = self._indexes.backlog(record)
            if not self._indexes.is_tracked(record):
                backlog = None
            rows.append((
                record.name, record.source_table, documents, chunks, tokens, truncated, record.max_tokens,
                record.overlap, record.embedder, record.embedder_hash, record.dimension, record.window,
                reranker.name, reranker.weights_hash, backlog, record.tokenizer,
                record.vectors, *index.cells(), *(cached or (None, None)), waiting,
            ))  # fmt: skip
        return rows

    # What they share

    def _open(self, name: object) -> Index:
        """Return an index that is asked."""
        found = self._indexes.open(name)
        if self.on_asked is not None and found.record.name not in self._asked:
            self._asked.add(found.record.name)
            self.on_asked(found.record)
            return self._indexes.open(name)
        return found

    def _text(self, function: str, argument: str, value: object) -> str:
        """Return a text, no longer than `longest_text` where that is set: a model takes a second for a megabyte."""
        text = check_text(function, argument, value)
        if self.longest_text is not None and len(text) > self.longest_text:
            raise InputError(
                f"{function}(): {argument} has {len(text):,} characters: here it takes {self.longest_text:,} at most, "
                "such as substr() of it"
            )
        return text

    def _vector(self, index: Index, query: object) -> bytes:
        """Return the query vector for an index: of a text by the index's own model, of a vector itself."""
        if isinstance(query, str):
            return self.encoders.embedder_of(index.record).query_vector(query).tobytes()
        vector = check_vector(query, index.record)
        maker = self._maker(vector)
        if maker is not None and maker.spec.weights_hash != index.record.embedder_hash:
            raise ModelMismatchError(
                f"query is a vector of {maker.id}, but index {index.record.name!r} was made with "
                f"{index.record.embedder}@{index.record.embedder_hash[:12]}: "
                "give the text itself, it is embedded with the index's own model"
            )
        return vector

    def _maker(self, vector: bytes) -> Embedder | None:
        """Return the embedder that made a vector, where that is known."""
        return next((embedder for embedder in self.encoders.loaded_embedders() if embedder.made(vector)), None)

    def _matching(self, index: Index, expression: object, params: object) -> Matching | None:
        checked, values = check_filter(expression), check_filter_params(params)
        if checked is None and values:
            raise InputError(f"filter_params is {shown(params)}, and there is no filter")
        return None if checked is None else self._indexes.matching(index.record, checked, values)

    def _remembered(self, index: Index, rows: list[Row]) -> list[Row]:
        self._candidates.add(index, [row[0] for row in rows])
        return rows


def _or_lowest(score: float | None) -> float:
    return -math.inf if score is None else score


def _half(max_tokens: object) -> int:
    number = whole(max_tokens)
    if number is None:
        raise InputError(f"chunk_text(): max_tokens is {shown(max_tokens)}: it is a whole number of tokens, from 1")
    return number // 2
