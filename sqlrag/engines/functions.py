"""What each SQL function does, whichever engine calls it.

Scalars: `embed`, `embed_document`, `rerank_score`, `token_count`. Table functions: `vector_top_k`,
`text_top_k`, `hybrid_top_k`, `search`, `chunk`, `chunk_text`, `sqlrag_info`. Their contract: NULL in gives NULL
out for scalars and no rows for tables; types are checked; an error names the argument, its value and the remedy.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlrag.engines.second_stage import Sizes, copies_fill
from sqlrag.errors import InputError, ModelMismatchError
from sqlrag.models.stopping import Stop
from sqlrag.process.forks import Owned, in_own_process
from sqlrag.store.candidates import Candidates
from sqlrag.store.encoders import chunker_of
from sqlrag.store.filters import check_filter, check_filter_params
from sqlrag.store.scores import Scores
from sqlrag.values.arguments import (
    COPIES,
    DEFAULT_VECTOR_WEIGHT,
    check_candidates,
    check_k,
    check_no_nprobe,
    check_share,
    check_text,
    check_vector,
    shown,
    whole,
)

if TYPE_CHECKING:
    from sqlrag.engines.second_stage import FirstStage
    from sqlrag.models import Embedder
    from sqlrag.store.encoders import Encoders
    from sqlrag.store.registry import IndexRecord
    from sqlrag.store.scores import ScoreCache
    from sqlrag.store.top_k import ChunkRow, Index, Matching

__all__ = [
    "DEFAULT_RERANK_LIMIT",
    "INFO_COLUMNS",
    "SCALARS",
    "SEARCH_COLUMNS",
    "Functions",
    "IndexSource",
    "arities",
]

DEFAULT_RERANK_LIMIT = 10_000
"""How many pairs one statement may score before it stops: a forgotten LIMIT over a million rows."""

SCALARS = {"embed": "FLOAT[]", "embed_document": "FLOAT[]", "token_count": "BIGINT", "rerank_score": "FLOAT"}
"""The scalar functions, each a method of `Functions`, with the type of its value on DuckDB."""

SEARCH_COLUMNS = ("id", "text", "score", "distance", "rank_before", "rank_after", "source_id", "reranked", "copies")

_TEXTS = ("index", "source", "embedder", "embedder_hash", "reranker", "reranker_hash", "tokenizer", "vectors")
INFO_COLUMNS = {
    name: "VARCHAR" if name in _TEXTS else "DOUBLE" if name in ("recall", "backlog_seconds") else "BIGINT"
    for name in (
        "index", "source", "documents", "chunks", "tokens", "truncated", "max_tokens", "overlap", "embedder",
        "embedder_hash", "dimension", "window", "reranker", "reranker_hash", "backlog", "tokenizer",
        "vectors", "candidates", "recall", "cached_scores", "cache_hits", "backlog_seconds", "states",
    )
}  # fmt: skip
"""The columns of `sqlrag_info`, with their types on DuckDB."""

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

    def documents(self, record: IndexRecord) -> int:
        """Return how many documents an index over documents has, with those that have no text."""

    def backlog(self, record: IndexRecord) -> tuple[int | None, float | None]:
        """Return how many documents are still to be finished, or rows queued, and since when in seconds.

        None if the changes of a table cannot be counted.
        """


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
    """The SQL functions of one connection; `stop` ends those of a statement between two texts, or pairs.

    Every function of SQL has a method here. Its docstring is the SQL reference, docs/sql.md, which scripts/reference.py
    writes. What several functions have in common is said once, here:

    Parameters:
        index: The name of the index.
        k: How many chunks to return, from 1.
        filter: A boolean expression over the columns of the indexed table, applied before the top-k. NULL: none.
        filter_params: The values of the filter's `:name` parameters, as a JSON object.
        model: A bundled or pulled model, by its name. NULL: the model of the database.

    Raises:
        InputError: An argument has the wrong type or is out of range.
        UnknownIndexError: The database has no index of this name.
        FilterError: `filter` is not one boolean expression over the columns.
        UnknownModelError: There is no model of this name.
    """

    def __init__(
        self,
        indexes: IndexSource,
        encoders: Encoders,
        rerank_limit: int = DEFAULT_RERANK_LIMIT,
        score_cache: ScoreCache | None = None,
        candidates: int | None = None,
    ) -> None:
        self.owned = Owned("this connection")
        self.encoders = encoders
        self._compared = candidates
        self.longest_text: int | None = None
        self.on_asked: Callable[[IndexRecord], bool] | None = None
        """Called with an index before it is searched, once a statement; tells whether the index may have changed."""
        self._asked: set[str] = set()
        self._indexes = indexes
        self._candidates = Candidates()
        self._scores = Scores(rerank_limit, score_cache)
        self.stop = Stop()

    def begin_statement(self) -> None:
        """Start counting the pairs of a new statement, for `rerank_limit`, and forget old candidates."""
        self.begin_counting()
        self._candidates.clear()

    def begin_counting(self) -> None:
        """Do the same in the middle of a statement, which has found candidates already."""
        self._scores.begin_statement()
        self._asked.clear()

    # Scalars

    @_stops
    def embed(self, text: object, model: object = None) -> bytes | None:
        """Return the vector of a query, as float32 numbers; sqlite-vec accepts its BLOB.

        Parameters:
            text: The query. Text beyond the model's window is cut off.
        """
        if text is None:
            return None
        return self.encoders.embedder_named(model).query_bytes(self._text("embed", "text", text))

    @_stops
    def embed_document(self, text: object, model: object = None) -> bytes | None:
        """Return the vector of a passage.

        For a symmetric model, such as the bundled one, it is the vector that `embed` returns. Other models put
        different prompts before a query and a passage.

        Parameters:
            text: The passage. Text beyond the model's window is cut off.
        """
        if text is None:
            return None
        embedder = self.encoders.embedder_named(model)
        return embedder.document_bytes([self._text("embed_document", "text", text)])[0]

    @_stops
    def embed_documents(self, texts: Sequence[object], models: Sequence[object] | None = None) -> list[bytes | None]:
        """Return what `embed_document` returns for each text; the texts of one model run as one batch."""
        models = models or [None] * len(texts)
        vectors: list[bytes | None] = [None] * len(texts)
        for model in dict.fromkeys(models):
            places = [place for place, name in enumerate(models) if name == model and texts[place] is not None]
            if places:
                checked = [self._text("embed_document", "text", texts[place]) for place in places]
                encoded = self.encoders.embedder_named(model).document_bytes(checked)
                for place, vector in zip(places, encoded, strict=True):
                    vectors[place] = vector
        return vectors

    @_stops
    def token_count(self, text: object, model: object = None) -> int | None:
        """Return the number of tokens of a text, without the special tokens of the model.

        Use it to fill the context of a language model up to a budget.

        Parameters:
            text: The text. Nothing is cut off.
        """
        if text is None:
            return None
        return self.encoders.embedder_named(model).token_count(self._text("token_count", "text", text))

    @_stops
    def rerank_score(self, query: object, text: object, model: object = None) -> float | None:
        """Return how relevant a text is to a query, according to the cross-encoder; higher is more relevant.

        The score is that of `CrossEncoder.predict` with the same weights. When the first candidate of a top-k
        function is scored, the others are scored with it, on every core.

        Parameters:
            query: The question.
            text: The passage. Text beyond the model's window is cut off.

        Raises:
            RerankLimitError: The statement would score more pairs than `rerank_limit`, 10,000 by default.
        """
        if query is None or text is None:
            return None
        query, text = self._text("rerank_score", "query", query), self._text("rerank_score", "text", text)
        return self._scores.score_row(self.encoders.reranker_named(model), query, text, self._candidates)

    @_stops
    def rerank_scores(
        self,
        queries: Sequence[object],
        texts: Sequence[object],
        model: object = None,
        kept: Mapping[str, bytes] | None = None,
    ) -> list[Any]:
        """Return what `rerank_score` returns for each pair; None where the query or the text is NULL.

        `kept`: what `kept` has returned for the texts.
        """
        reranker = self.encoders.reranker_named(model)
        groups: dict[str, list[int]] = {}
        for place, (query, text) in enumerate(zip(queries, texts, strict=True)):
            if query is not None and text is not None:
                self._text("rerank_score", "text", text)
                groups.setdefault(self._text("rerank_score", "query", query), []).append(place)
        result: list[Any] = [None] * len(texts)
        for query, places in groups.items():
            scores = self._scores.score(reranker, query, [str(texts[place]) for place in places], kept=kept)
            for place, score in zip(places, scores, strict=True):
                result[place] = score
        return result

    def kept(self, texts: Sequence[object], model: object = None) -> Mapping[str, bytes]:
        """Return what is kept of the candidates among texts, for a reranker that reads states."""
        if not self.encoders.reranker_named(model).encoder:
            return {}
        return self._candidates.kept([text for text in texts if isinstance(text, str)])

    # Table functions

    @in_own_process
    def vector_top_k(  # noqa: PLR0917 - as positional as in SQL
        self,
        index: object,
        query: object,
        k: object,
        filter: object = None,  # noqa: A002
        candidates: object = None,
        filter_params: object = None,
        nprobe: object = None,
    ) -> list[Any]:
        """Return the chunks whose vectors are nearest to the query's.

        Parameters:
            query: A text, which is embedded with the index's own model, or a vector from `embed`.
            candidates: How many chunks with the nearest codes to compare in full, at least `k`. As many as the index
                has chunks: the result is exact. NULL: the connection's setting, or the number that the index has
                measured.
            nprobe: An option of earlier versions. Anything but NULL is an error.

        Columns:
            id: The chunk.
            distance: The Euclidean distance between unit vectors. The cosine similarity is
                `1 - distance * distance / 2`.
            rank: From 1, the nearest first; equal distances are ordered by id.

        Raises:
            ModelMismatchError: `query` is a vector of another model.
        """
        found = self._open(index)
        k = check_k("vector_top_k", "k", k)
        check_no_nprobe("vector_top_k", nprobe)
        compared = self._compared if candidates is None else check_candidates("vector_top_k", candidates, k)
        matching = self.matching(found, filter, filter_params)
        if query is None:
            return []
        rows = found.vector_top_k(self._vector(found, query), k, matching, compared)
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
        """Return the chunks that match the words of the query best, by BM25.

        The query is what a person types: no syntax of full-text search applies, and nothing in it is an error.

        Parameters:
            query: The words.

        Columns:
            id: The chunk.
            score: The BM25 score; higher is better.
            rank: From 1, the best first; equal scores are ordered by id.
        """
        found = self._open(index)
        k = check_k("text_top_k", "k", k)
        matching = self.matching(found, filter, filter_params)
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
        candidates: object = None,
    ) -> list[Any]:
        """Return the best chunks by reciprocal rank fusion of `vector_top_k` and `text_top_k`.

        Parameters:
            query: The question, as a text.
            vector_weight: The vectors' share of the score, from 0 (words alone) to 1 (vectors alone). NULL: 0.5.
            candidates: As for `vector_top_k`.

        Columns:
            id: The chunk.
            score: The fused score; higher is better.
            rank: From 1, the best first; equal scores are ordered by id.
        """
        found = self._open(index)
        k = check_k("hybrid_top_k", "k", k)
        weight = DEFAULT_VECTOR_WEIGHT if vector_weight is None else vector_weight
        weight = check_share("hybrid_top_k", "vector_weight", weight)
        compared = self._compared if candidates is None else check_candidates("hybrid_top_k", candidates, k)
        matching = self.matching(found, filter, filter_params)
        if query is None:
            return []
        text = self._text("hybrid_top_k", "query", query)
        rows = found.hybrid_top_k(
            text, self._vector(found, text), k, matching, vector_weight=weight, candidates=compared
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
        first_stage_weight: object = None,
        vector_weight: object = None,
    ) -> list[Any]:
        """Return the best `top_n` of the `top_k` chunks that `hybrid_top_k` finds: both stages in one call.

        They are ordered by the reranker's score and a part of the first stage's, each divided by its range among the
        candidates: `score / (max - min) + first_stage_weight * first / (max - min)`.

        Where several documents have the same text, the best of these chunks is ranked, and the others come after all
        other texts.

        Parameters:
            query: The question, as a text.
            top_k: How many candidates the first stage finds. NULL: 25.
            top_n: How many chunks are returned. NULL: 3.
            budget_ms: The time for reranking, in milliseconds. Candidates are scored in the order of the first stage
                until it is used up, the first one in any case; those without a score follow the others in that order.
                With 0, only scores that are already known are used. NULL: no limit.
            first_stage_weight: How much the first stage counts beside the reranker, from 0 (nothing) to 1. NULL: 0.3.
            vector_weight: The vectors' share of the first stage, as in `hybrid_top_k`. With 1 no words are looked up.

        Columns:
            id: The chunk.
            text: Its text.
            score: The score of `rerank_score` for the chunk's context and text (`context || text`); NULL if the budget
                did not suffice.
            distance: The distance of `vector_top_k`.
            rank_before: The rank after the first stage, from 1.
            rank_after: The rank after the second stage, from 1.
            source_id: The document's id, or the key of the row in the indexed table.
            reranked: How many candidates have a score.
            copies: The `source_id` of the other candidates with the same text, as a JSON array; NULL for these
                themselves, and in an index over a table of your own, where equal texts are ranked by themselves.

        Raises:
            RerankLimitError: The statement would score more pairs than `rerank_limit`, 10,000 by default.
        """
        found = self._open(index)
        sizes = Sizes.of(top_k, top_n, budget_ms, first_stage_weight)
        share = DEFAULT_VECTOR_WEIGHT if vector_weight is None else vector_weight
        share = check_share("search", "vector_weight", share)
        matching = self.matching(found, filter, filter_params)
        if query is None:
            return []
        text = self._text("search", "query", query)
        vector, merges = self._vector(found, text), not found.record.is_over_table
        hits, chunks = self._candidates_of(found, text, vector, sizes.top_k, matching, share)
        if merges and copies_fill(hits, chunks, sizes):
            hits, chunks = self._candidates_of(found, text, vector, COPIES * sizes.top_k, matching, share)
        return self.second_stage(found, text, vector, hits, chunks, sizes)

    @_stops
    def second_stage(  # noqa: PLR0917 - what the first stage has found
        self,
        found: FirstStage,
        text: str,
        vector: bytes,
        hits: Sequence[tuple[int, float, int]],
        chunks: Mapping[int, ChunkRow],
        sizes: Sizes,
    ) -> list[Any]:
        """Return the rows of `search`, given those of `hybrid_top_k` and their chunks by id."""
        top_n, merges = sizes.top_n, not found.record.is_over_table
        passages = [chunks[hit[0]][3] + chunks[hit[0]][2] for hit in hits]
        reranker = self.encoders.reranker
        states = found.states([hit[0] for hit in hits]) if reranker.encoder else {}
        kept = {passage: states[hit[0]] for hit, passage in zip(hits, passages, strict=True) if hit[0] in states}
        scores = self._scores.score(reranker, text, passages, sizes.seconds, kept)
        reranked = len(scores) - scores.count(None)
        order = found.reranked([(score, hit[1]) for score, hit in zip(scores, hits, strict=True)], sizes.weight)
        sources: dict[int, list[Any]] = {}  # by the place of the best chunk with a text: where the others are from
        if merges:
            best: dict[str, int] = {}
            for place in order:
                _, source_id, passage, _ = chunks[hits[place][0]]
                sources.setdefault(best.setdefault(passage, place), []).append(source_id)
            order.sort(key=lambda place: place not in sources)
        distances = found.distances(vector, [hits[place][0] for place in order[:top_n]])
        rows = []
        for rank_after, place in enumerate(order[:top_n], start=1):
            (id_, _, rank_before), score = hits[place], scores[place]
            _, source_id, passage, _ = chunks[id_]
            others = dict.fromkeys(one for one in sources.get(place, ()) if one != source_id)
            copies = json.dumps(list(others)) if place in sources else None
            rows.append((id_, passage, score, distances.get(id_), rank_before, rank_after, source_id, reranked, copies))
        return rows

    def _candidates_of(  # noqa: PLR0917 - those of hybrid_top_k
        self, found: Index, text: str, vector: bytes, k: int, matching: Matching | None, share: float
    ) -> tuple[list[tuple[int, float, int]], dict[int, Any]]:
        """Return what hybrid_top_k finds, and the chunks; without those that another process has removed since."""
        hits = found.hybrid_top_k(text, vector, k, matching, vector_weight=share, candidates=self._compared)
        chunks = {chunk[0]: chunk for chunk in found.chunks([hit[0] for hit in hits])}
        return [hit for hit in hits if hit[0] in chunks], chunks

    @in_own_process
    def chunk(self, index: object, chunk_id: object) -> list[Any]:
        """Return one chunk by its id.

        A statement that reads texts with it does not name the chunk table, and on Spark does not read all of it.

        Parameters:
            chunk_id: Its id, as a top-k function returns it. If there is no such chunk, no row is returned.

        Columns:
            id: The chunk.
            source_id: The document's id, or the key of the row in the indexed table.
            text: Its text.
            context: The title and headings above it; `context || text` was embedded.
        """
        found = self._indexes.open(index)
        if chunk_id is None:
            return []
        number = whole(chunk_id)
        if number is None:
            raise InputError(f"chunk(): chunk_id is {shown(chunk_id)}: it is the id of a chunk, a whole number")
        return list(found.chunks([number]))

    @_stops
    def chunk_text(self, text: object, max_tokens: object = None, overlap: object = None) -> list[Any]:
        """Cut a text into chunks, as `ingest` does.

        Parameters:
            text: The text.
            max_tokens: The longest chunk. NULL: 200.
            overlap: How many tokens neighbouring chunks share. NULL: none.

        Columns:
            ordinal: The place of the chunk in the text, from 0.
            start_char: The character at which it begins, from 0.
            end_char: The character before which it ends.
            text: The chunk.
        """
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
        """Return a row for each index.

        Columns:
            index: Its name, and that of its chunk table.
            source: The table or view that it is over.
            documents: How many documents it has, or how many rows have a chunk.
            chunks: How many chunks it has.
            tokens: How many tokens they have together.
            truncated: How many chunks exceed the model's window.
            max_tokens: The longest chunk, in tokens.
            overlap: How many tokens neighbouring chunks share.
            embedder: The model of its vectors.
            embedder_hash: A hash of that model's weights, prompts, pooling, window and precision.
            dimension: The length of a vector.
            window: The model's window, in tokens.
            reranker: The cross-encoder of this connection.
            reranker_hash: The same of the reranker.
            backlog: How many rows are not indexed yet; NULL if changes are not noticed, since the table is gone, or
                its triggers are.
            tokenizer: How full text is cut into words.
            vectors: float32 or int8.
            candidates: How many chunks a search for 25 compares in full.
            recall: How many of the 25 nearest it finds, as measured on the index; NULL before it was measured.
            cached_scores: How many scores the database's score cache holds; NULL if it has none.
            cache_hits: How many scores were taken from it.
            backlog_seconds: How long the oldest row of the backlog has waited.
            states: Bytes that are kept of chunks for a reranker that reads states; NULL if nothing is.
        """
        reranker = self.encoders.reranker.spec
        cached = self._scores.cache.counts() if self._scores.cache is not None else None
        rows = []
        for name in self._indexes.names():
            index = self._indexes.open(name)
            record = index.record
            documents, chunks, tokens, truncated, _ = index.counts()
            if not record.is_over_table:
                documents = self._indexes.documents(record)
            backlog, waiting = self._indexes.backlog(record)
            if not self._indexes.is_tracked(record):
                backlog = None
            rows.append((
                record.name, record.source_table, documents, chunks, tokens, truncated, record.max_tokens,
                record.overlap, record.embedder, record.embedder_hash, record.dimension, record.window,
                reranker.name, reranker.identity, backlog, record.tokenizer,
                record.vectors, *index.measured(), *(cached or (None, None)), waiting, index.states_size(),
            ))  # fmt: skip
        return rows

    # What they share

    def _open(self, name: object) -> Index:
        """Return an index that is asked."""
        found = self._indexes.open(name)
        if self.on_asked is not None and found.record.name not in self._asked:
            self._asked.add(found.record.name)
            if self.on_asked(found.record):
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
            return self.encoders.embedder_of(index.record).query_bytes(query)
        vector = check_vector(query, index.record)
        maker = self._maker(vector)
        if maker is not None and not maker.spec.made(index.record.embedder_hash):
            raise ModelMismatchError(
                f"query is a vector of {maker.id}, but index {index.record.name!r} was made with "
                f"{index.record.embedder}@{index.record.embedder_hash[:12]}: "
                "give the text itself, it is embedded with the index's own model"
            )
        return vector

    def _maker(self, vector: bytes) -> Embedder | None:
        """Return the embedder that made a vector, where that is known."""
        return next((embedder for embedder in self.encoders.loaded_embedders() if embedder.made(vector)), None)

    def matching(self, index: Index, expression: object, params: object) -> Matching | None:
        """Return what a filter lets through, None for no filter. Raises FilterError."""
        checked, values = check_filter(expression), check_filter_params(params)
        if checked is None and values:
            raise InputError(f"filter_params is {shown(params)}, and there is no filter")
        return None if checked is None else self._indexes.matching(index.record, checked, values)

    def _remembered(self, index: Index, rows: list[Row]) -> list[Row]:
        self._candidates.add(index, [row[0] for row in rows])
        return rows


def arities(scalar: str) -> range:
    """Return the numbers of arguments that a scalar function accepts: those of its method."""
    parameters = list(inspect.signature(getattr(Functions, scalar)).parameters.values())[1:]
    required = sum(parameter.default is parameter.empty for parameter in parameters)
    return range(required, len(parameters) + 1)


def _half(max_tokens: object) -> int:
    number = whole(max_tokens)
    if number is None:
        raise InputError(f"chunk_text(): max_tokens is {shown(max_tokens)}: it is a whole number of tokens, from 1")
    return number // 2
