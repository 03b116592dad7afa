"""The Python functions behind the SQL of sql/spark/: scalars over columns, and table functions over one shard each.

They run in Spark's Python workers, which find this module by its name: sqlrag is installed on the executors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlrag.engines.second_stage import Sizes, copies_fill
from sqlrag.errors import InputError
from sqlrag.spark.bm25 import counts
from sqlrag.spark.pruning import may_match
from sqlrag.spark.worker import Gathered, Located, Models, Open, check_reranker, functions_with, open_shard
from sqlrag.values.arguments import shown

if TYPE_CHECKING:
    import pandas as pd

    from sqlrag.engines.functions import Functions

__all__ = ["FOUND", "SECOND_STAGE", "TABLE_FUNCTIONS", "found_in", "scalars", "second_stage_rows"]


SECOND_STAGE = (
    "id BIGINT, text STRING, score FLOAT, distance DOUBLE, rank_before INT, rank_after INT, source_id STRING, "
    "reranked INT, copies STRING"
)
"""The columns of `search`, as tasks return them."""

FOUND = "shard STRING, distance DOUBLE, source_id STRING, context STRING, text STRING"
"""What a shard says of a candidate of `search`."""


# Scalars


def scalars(models: Models) -> dict[str, tuple[Callable[..., Any], str]]:
    """Return the scalar functions of a session, each with the type of its value, over columns of pandas."""

    def embed(*columns: pd.Series) -> pd.Series:
        functions = functions_with(models)
        return _vectors([functions.embed(*row) for row in _rows(columns)])

    def embed_document(*columns: pd.Series) -> pd.Series:
        texts, *names = map(_values, columns)
        return _vectors(functions_with(models).embed_documents(texts, *names))

    def token_count(*columns: pd.Series) -> pd.Series:
        functions = functions_with(models)
        return _series([functions.token_count(*row) for row in _rows(columns)], "Int64")

    def rerank_score(*columns: pd.Series) -> pd.Series:
        functions = functions_with(models)
        check_reranker(functions.encoders, models)
        queries, texts, *names = map(_values, columns)
        named = names[0] if names else [None] * len(texts)
        scores: list[float | None] = [None] * len(texts)
        for name in dict.fromkeys(named):
            places = [place for place, other in enumerate(named) if other == name]
            found = functions.rerank_scores([queries[at] for at in places], [texts[at] for at in places], name)
            for place, score in zip(places, found, strict=True):
                scores[place] = score
        return _series(scores, "Float32")

    return {
        "embed": (embed, "array<float>"),
        "embed_document": (embed_document, "array<float>"),
        "token_count": (token_count, "bigint"),
        "rerank_score": (rerank_score, "float"),
    }


def _values(column: pd.Series) -> list[Any]:
    """Return the values of a column, None for NULL: pandas has NaN in its place."""
    values: list[Any] = column.astype(object).where(column.notna(), None).tolist()
    return values


def _rows(columns: Sequence[pd.Series]) -> Iterator[tuple[Any, ...]]:
    return zip(*map(_values, columns), strict=True)


def _vectors(blobs: Sequence[bytes | None]) -> pd.Series:
    import numpy as np

    return _series([None if blob is None else np.frombuffer(blob, "<f4") for blob in blobs], "object")


def _series(values: Sequence[Any], kind: str) -> pd.Series:
    import pandas as pd

    return pd.Series(values, dtype=kind)


# Table functions


class ShardVector:
    """`vector_top_k` of one shard; `query` is JSON: a text, or the numbers of a vector."""

    returns = "id: bigint, distance: double"

    def eval(  # noqa: PLR0917 - as SQL calls it
        self,
        shard: str,
        query: str | None,
        k: int,
        filter: str | None,  # noqa: A002 - the contract's name
        candidates: int | None,
        filter_params: str | None,
        nprobe: int | None,
    ) -> Iterator[tuple[int, float]]:
        """Yield the nearest chunks of a shard."""
        located = Located.of(shard)
        if query is not None and may_match(filter, filter_params, located.shard.ranges):
            found = _open(shard).functions.vector_top_k(
                located.record.name, _query(query), k, filter, candidates, filter_params, nprobe
            )
            yield from ((id_, distance) for id_, distance, _ in found)


class ShardCounts:
    """What BM25 needs to know of one shard."""

    returns = "term: int, found: bigint"

    def eval(self, shard: str, query: str | None) -> Iterator[tuple[int, int]]:
        """Yield the counts of a shard."""
        if query is not None:
            one = _open(shard)
            yield from counts(one.engine.connection, one.record, query)


class ShardText:
    """`text_top_k` of one shard, with the statistics of all."""

    returns = "id: bigint, score: double"

    def eval(  # noqa: PLR0917 - as SQL calls it
        self,
        shard: str,
        statistics: str,
        query: str | None,
        k: int,
        filter: str | None,  # noqa: A002
        filter_params: str | None,
    ) -> Iterator[tuple[int, float]]:
        """Yield the best chunks of a shard."""
        located = Located.of(shard)
        if query is not None and may_match(filter, filter_params, located.shard.ranges):
            one = _open(shard)
            if k is None or k < 1:
                one.functions.text_top_k(located.record.name, query, k)  # says what is wrong
            found = one.index.text_top_k(query, k, one.matching(filter, filter_params), statistics)
            yield from ((id_, score) for id_, score, _ in found)


class ShardCandidate:
    """What one shard says of a candidate of `search`: its text, and its distance from the question."""

    returns = FOUND

    def eval(self, shard: str, id: int | None, query: str | None) -> Iterator[tuple[Any, ...]]:  # noqa: A002
        """Yield the candidate, nothing if the shard does not have it."""
        if id is not None and query is not None:
            yield from (row[1:] for row in found_in(open_shard(shard), shard, [id], query))


def found_in(one: Open, shard: str, ids: Sequence[int], query: str | bytes) -> Iterator[tuple[Any, ...]]:
    """Yield what a shard says of some of its chunks: their ids, and the columns of FOUND."""
    distances = one.index.distances(one.vector(query), ids)
    for id_, source_id, text, context in one.index.chunks(ids):
        yield id_, shard, distances.get(id_), str(source_id), context, text


def second_stage(models: Models) -> type:
    """Return the table function that reranks the candidates of all shards."""

    class SecondStage:
        """`candidates` are structs of CANDIDATE."""

        def eval(  # noqa: PLR0917 - as SQL calls it
            self,
            candidates: Sequence[Any],
            query: str | None,
            top_k: int | None,
            top_n: int | None,
            budget_ms: float | None,
            first_stage_weight: float | None,
        ) -> Iterator[tuple[Any, ...]]:
            """Yield the best of them."""
            if query is not None and candidates:
                sizes = Sizes.of(top_k, top_n, budget_ms, first_stage_weight)
                functions = functions_with(models)
                check_reranker(functions.encoders, models)
                yield from second_stage_rows(functions, query, candidates, sizes)

    return SecondStage


CANDIDATE = ("id", "narrow", "narrow_rank", "wide", "wide_rank")
"""What the first stage says of a candidate, before the columns of FOUND: its score and its rank among the `top_k`
nearest by both lists, and among more of them, which are looked at if copies fill the others."""


def second_stage_rows(
    functions: Functions, query: str, candidates: Sequence[Any], sizes: Sizes
) -> list[tuple[Any, ...]]:
    """Return the rows of `search` for candidates in any order: the columns of CANDIDATE, and of FOUND."""
    given = [tuple(one) for one in candidates]
    record = Located.of(given[0][5]).record
    merges = not record.is_over_table
    chunks = {one[0]: (one[0], int(one[7]) if merges else one[7], one[9], one[8]) for one in given}
    near = sorted((one for one in given if one[2] <= sizes.top_k), key=lambda one: one[2])
    hits = [(one[0], one[1], one[2]) for one in near]
    if merges and copies_fill(hits, chunks, sizes):
        hits = [(one[0], one[3], one[4]) for one in sorted(given, key=lambda one: one[4])]
    gathered = Gathered(record, {one[0]: one[6] for one in given})
    rows = functions.second_stage(gathered, query, b"", hits, chunks, sizes)
    return [(*row[:6], str(row[6]), *row[7:]) for row in rows]


class ShardChunk:
    """A chunk of one shard by its id."""

    returns = "id: bigint, source_id: string, text: string, context: string"

    def eval(self, shard: str, id: int | None) -> Iterator[tuple[Any, ...]]:  # noqa: A002
        """Yield the chunk, nothing if the shard does not have it."""
        if id is not None:
            for number, source_id, text, context in _open(shard).index.chunks([id]):
                yield number, str(source_id), text, context


def chunk_text(models: Models) -> type:
    """Return the table function `chunk_text`."""

    class ChunkText:
        """A text, cut into chunks."""

        def eval(self, source: Any, max_tokens: Any = None, overlap: Any = None) -> Iterator[tuple[int, int, int, str]]:
            """Yield the chunks of a text."""
            yield from functions_with(models).chunk_text(source, max_tokens, overlap)

    return ChunkText


TABLE_FUNCTIONS: dict[str, tuple[Callable[[Models], type], str]] = {
    "sqlrag_shard_vector": (lambda _: ShardVector, ShardVector.returns),
    "sqlrag_shard_counts": (lambda _: ShardCounts, ShardCounts.returns),
    "sqlrag_shard_text": (lambda _: ShardText, ShardText.returns),
    "sqlrag_shard_candidate": (lambda _: ShardCandidate, ShardCandidate.returns),
    "sqlrag_shard_chunk": (lambda _: ShardChunk, ShardChunk.returns),
    "sqlrag_second_stage": (
        second_stage,
        SECOND_STAGE,
    ),
    "chunk_text": (chunk_text, "ordinal: int, start_char: int, end_char: int, text: string"),
}
"""By the name in SQL: a function that makes the class for the models of a session, and the columns."""


def _open(shard: str) -> Open:
    return open_shard(shard)


@lru_cache(maxsize=64)
def _query(text: str) -> str | bytes:
    """Return a query that was given as JSON: a text, or a vector as float32 numbers."""
    value = json.loads(text)
    if isinstance(value, str):
        return value
    import numpy as np

    try:
        return np.array(value, "<f4").reshape(-1).tobytes()
    except (TypeError, ValueError) as error:
        raise InputError(f"query is {shown(value)}: it takes a text, or a vector as embed() returns it") from error
