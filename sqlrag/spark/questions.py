"""Many questions at once: each is embedded once, each task opens its shards once, and many are reranked in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlrag.engines.second_stage import Sizes
from sqlrag.errors import InputError
from sqlrag.spark.bm25 import counts
from sqlrag.spark.functions import FOUND, SECOND_STAGE, found_in, second_stage_rows
from sqlrag.spark.pruning import may_match
from sqlrag.spark.session import check_pyspark, registered
from sqlrag.spark.worker import Located, Models, check_reranker, functions_with, open_shard
from sqlrag.store.top_k import FUSION_DEPTH
from sqlrag.values.arguments import COPIES, shown

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["search"]

_Q = "sqlrag_question"
_LISTED = f"{_Q} STRING, vector BINARY, shard STRING, words BOOLEAN, id BIGINT, distance DOUBLE"
_CANDIDATE = f"{_Q} STRING, id BIGINT, narrow DOUBLE, narrow_rank INT, wide DOUBLE, wide_rank INT, {FOUND}"


def search(
    spark: Any,
    questions: Any,
    index: str | None = None,
    *,
    column: str = "question",
    top_k: int | None = None,
    top_n: int | None = None,
    filter: str | None = None,  # noqa: A002 - the contract's name
    filter_params: str | None = None,
    first_stage_weight: float | None = None,
) -> Any:
    """Return the answers of `search` to many questions, as a DataFrame.

    Parameters:
        spark: A session with a registered index.
        questions: A DataFrame with the questions in `column`, or a list of texts.
        index: The name of the index; by default the only one that is registered.
        column: The column that has the questions.
        top_k: How many candidates the first stage finds for each, by default 25.
        top_n: How many chunks are returned for each, by default 3.
        filter: A boolean expression over the columns of the indexed rows, in SQLite's SQL.
        filter_params: The values of its `:name` parameters, as a JSON object.
        first_stage_weight: How much the first stage counts beside the reranker, from 0 to 1, by default 0.3.

    Returns:
        The columns of `questions`, and of `search`, with a row for each answer: id, text, score, distance, rank_before,
        rank_after, source_id, reranked and copies. A question that is NULL has no answers.

    Raises:
        InputError: An argument is wrong, or the index is not registered.
        FilterError: `filter` is not one boolean expression.
    """
    check_pyspark()
    from pyspark.sql import functions as f

    one = registered(spark, index)
    sizes = Sizes.of(top_k, top_n, None, first_stage_weight)
    may_match(filter, filter_params, {})  # says what is wrong with them
    if isinstance(questions, Sequence) and not isinstance(questions, str):
        questions = spark.createDataFrame([(text,) for text in questions], f"`{column}` STRING")
    if column not in getattr(questions, "columns", ()):
        raise InputError(
            f"questions is {shown(questions)}: it is a list of texts, or a DataFrame with a column {column!r}"
        )
    asked = questions.select(questions[column].cast("STRING").alias(_Q)).where(f"{_Q} IS NOT NULL").distinct()
    asked = _mapped(asked, _embedded(one.models), f"{_Q} STRING, vector BINARY")
    shards = spark.table("sqlrag_shards").where(f"name = '{one.name}'").select("shard")
    counted = _mapped(shards.crossJoin(f.broadcast(asked)), _counted, f"{_Q} STRING, term INT, found BIGINT")
    sums = counted.groupBy(_Q, "term").agg(f.sum("found").alias("found"))
    entries = f.collect_list(f.struct(sums["term"].cast("STRING"), "found"))
    statistics = sums.groupBy(_Q).agg(f.to_json(f.map_from_entries(entries)).alias("statistics"))
    many = 1 if one.manifest.record.is_over_table else COPIES
    depth = max(many * sizes.top_k, FUSION_DEPTH)
    pairs = shards.crossJoin(f.broadcast(asked.join(statistics, _Q)))
    listed = _mapped(pairs, _listed(depth, filter, filter_params), _LISTED)
    chosen = _fused(listed, sizes.top_k, many, depth)
    found = _mapped(chosen.repartition("shard").sortWithinPartitions("shard", _Q), _found, _CANDIDATE)
    gathered = found.groupBy(_Q).agg(f.collect_list(f.struct(*found.columns[1:])).alias("candidates"))
    answers = _mapped(gathered, _reranked(one.models, sizes), f"{_Q} STRING, {SECOND_STAGE}")
    answers = answers.withColumn("source_id", answers["source_id"].cast(one.key_type()))
    return questions.join(answers, questions[column] == answers[_Q]).drop(_Q)


def _fused(listed: Any, top_k: int, many: int, depth: int) -> Any:
    """Return the candidates of each question: the lists of vectors and words, fused as sql/spark/search.sql does."""
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    rank = f.row_number().over(Window.partitionBy(_Q, "words").orderBy("distance", "id"))
    ranked = listed.withColumn("rank", rank).where(f"rank <= {depth}")
    scores = ranked.groupBy(_Q, "id", "shard").agg(
        f.min("rank").alias("best"),
        f.any_value("vector").alias("vector"),
        f.sum(f.expr("1D / (60 + rank)")).alias("wide"),
        f.sum(f.expr(f"CASE WHEN rank <= {max(top_k, FUSION_DEPTH)} THEN 1D / (60 + rank) END")).alias("narrow"),
    )
    of_question = Window.partitionBy(_Q)
    by_narrow = of_question.orderBy(f.desc_nulls_last("narrow"), "best", "id")
    by_wide = of_question.orderBy(f.desc("wide"), "best", "id")
    placed = scores.withColumn("narrow_rank", f.row_number().over(by_narrow))
    placed = placed.withColumn("wide_rank", f.row_number().over(by_wide))
    placed = placed.where(f"narrow_rank <= {top_k} OR wide_rank <= {many * top_k}")
    return placed.select("shard", _Q, "vector", "id", "narrow", "narrow_rank", "wide", "wide_rank")


# What tasks run: each takes the rows of a batch, and yields rows


def _embedded(models: Models) -> Callable[[Sequence[Any]], Iterator[tuple[Any, ...]]]:
    def embedded(rows: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        embedder = functions_with(models).encoders.embedder
        for (question,) in rows:
            yield question, embedder.query_bytes(question)

    return embedded


def _counted(rows: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    for shard, question, _ in rows:
        one = open_shard(shard)
        yield from ((question, *count) for count in counts(one.engine.connection, one.record, question))


def _listed(depth: int, filter: str | None, filter_params: str | None) -> Any:  # noqa: A002
    def listed(rows: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        for shard, question, vector, statistics in rows:
            if not may_match(filter, filter_params, Located.of(shard).shard.ranges):
                continue
            one = open_shard(shard)
            near = one.functions.vector_top_k(one.record.name, vector, depth, filter, None, filter_params)
            yield from ((question, vector, shard, False, id_, distance) for id_, distance, _ in near)
            worded = one.index.text_top_k(question, depth, one.matching(filter, filter_params), statistics)
            yield from ((question, vector, shard, True, id_, -score) for id_, score, _ in worded)

    return listed


def _found(rows: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    for (shard, question, vector), some in groupby(rows, key=lambda row: row[:3]):
        ranked = {row[3]: row[3:] for row in some}
        for id_, *said in found_in(open_shard(shard), shard, list(ranked), vector):
            yield (question, *ranked[id_], *said)


def _reranked(models: Models, sizes: Sizes) -> Any:
    def reranked(rows: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        functions = functions_with(models)
        check_reranker(functions.encoders, models)
        for question, gathered in rows:
            functions.begin_statement()  # the limit of pairs is a question's
            given = [tuple(one.values()) for one in gathered]
            yield from ((question, *row) for row in second_stage_rows(functions, question, given, sizes))

    return reranked


def _mapped(frame: Any, rows_of: Callable[[Sequence[Any]], Iterator[tuple[Any, ...]]], schema: str) -> Any:
    """Return what a function makes of the rows of each batch, as a DataFrame with a schema of Spark's."""

    def mapped(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        kinds = {"STRING": pa.string(), "BIGINT": pa.int64(), "INT": pa.int32(), "FLOAT": pa.float32()}
        kinds |= {"DOUBLE": pa.float64(), "BOOLEAN": pa.bool_(), "BINARY": pa.binary()}
        fields = pa.schema([(name, kinds[kind]) for name, kind in map(str.split, schema.split(", "))])
        for batch in batches:
            rows = list(rows_of(list(zip(*(column.to_pylist() for column in batch.columns), strict=True))))
            if rows:
                values = zip(zip(*rows, strict=True), fields.types, strict=True)
                yield pa.RecordBatch.from_arrays([pa.array(*pair) for pair in values], schema=fields)

    return frame.mapInArrow(mapped, schema)
