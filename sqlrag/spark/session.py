"""`register`: the functions of SQL in a session of Spark's, over the shards of an index."""

from __future__ import annotations

import os
import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlrag.engines.functions import DEFAULT_RERANK_LIMIT, INFO_COLUMNS
from sqlrag.errors import InputError, MissingDependencyError
from sqlrag.models.named_models import named_model, resolve
from sqlrag.spark.cache import DEFAULT_CACHE_MB, Cache
from sqlrag.spark.folder import Folder
from sqlrag.spark.functions import TABLE_FUNCTIONS, scalars
from sqlrag.spark.manifest import Manifest
from sqlrag.spark.worker import Located, Models, check_embedder, open_shard
from sqlrag.store.driver.error_translation import translated
from sqlrag.store.names import in_main, quote
from sqlrag.store.source_table import key_columns
from sqlrag.store.statements import statement
from sqlrag.store.writer import chunk_columns
from sqlrag.values.arguments import COPIES, DEFAULT_TOP_K, check_count, shown

if TYPE_CHECKING:
    import pyarrow as pa

    from sqlrag.store.registry import IndexRecord

__all__ = ["Registered", "located", "models_of", "register", "registered", "scanned", "spark_type"]

FUNCTIONS = ("vector_top_k", "text_top_k", "hybrid_top_k", "search", "chunk", "sqlrag_info")

ROWS_AT_ONCE = 10_000
"""How many rows of a shard are read into one batch of Arrow's."""

_CHUNK_TYPES = {
    "id": "BIGINT", "ordinal": "INT", "start_char": "INT", "end_char": "INT", "text": "STRING", "token_count": "INT",
    "context": "STRING",
}  # fmt: skip


class Registered:
    """An index that a session has: a version of its manifest, and how its shards are opened."""

    def __init__(self, folder: Folder, manifest: Manifest, models: Models, cache: Cache) -> None:
        self.folder = folder
        self.manifest = manifest
        self.models = models
        self.cache = cache

    @property
    def name(self) -> str:
        """The name of the index, as it is compared."""
        return self.manifest.record.name.lower()

    def rows(self) -> list[tuple[str, int, int, str]]:
        """Return the rows of this index in the view of shards."""
        shards = zip(self.manifest.shards, located(self), strict=True)
        return [(self.name, shard.low, shard.high, text) for shard, text in shards]

    def key_type(self) -> str:
        """Return the type of a key of the source."""
        return key_type(self.manifest)


def located(index: Registered) -> list[str]:
    """Return what tasks need to open the shards, a text each."""
    manifest = index.manifest
    return [
        Located(index.folder.path, manifest.record, shard, index.models, index.cache).text()
        for shard in manifest.shards
    ]


_sessions: weakref.WeakKeyDictionary[Any, dict[str, Registered]] = weakref.WeakKeyDictionary()


def registered(spark: Any, name: object) -> Registered:
    """Return an index of a session; None: the only one. Raises InputError that names those that there are."""
    known = _sessions.get(spark, {})
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if not isinstance(name, str) or name.lower() not in known:
        there = ", ".join(repr(one.manifest.record.name) for one in known.values())
        raise InputError(f"index is {shown(name)}: the session has {there or 'none'} (sqlrag.spark.register)")
    return known[name.lower()]


def register(
    spark: Any,
    path: str | os.PathLike[str],
    *,
    version: int | None = None,
    reranker: str | None = None,
    rerank_limit: int = DEFAULT_RERANK_LIMIT,
    cache: str | None = None,
    cache_mb: int = DEFAULT_CACHE_MB,
    partitions: int | None = None,
) -> int:
    """Give a session of Spark's the functions of SQL, over an index in shards.

    The session gets the functions `embed`, `embed_document`, `token_count`, `rerank_score`, `vector_top_k`,
    `text_top_k`, `hybrid_top_k`, `search`, `chunk`, `chunk_text` and `sqlrag_info`, the index's chunks as a temporary
    view of the index's name, and its documents or rows as one of their table's name, unless the session has a table of
    that name. Nothing is changed outside of the session. The session keeps this version of the index; register it again
    to see a newer one. Several indexes may be registered; `embed` then uses the model of the last.

    Parameters:
        spark: The session, classic or Connect.
        path: The folder of the index, or its URL. Every executor must see it.
        version: A version of the index, by default the newest.
        reranker: A bundled or pulled cross-encoder, by its name.
        rerank_limit: How many pairs a task may score with `rerank_score`.
        cache: A folder on each executor for copies of shards that are not on a local or shared disk; by default
            `shards` in sqlrag's folder for caches.
        cache_mb: How many megabytes the copies may take.
        partitions: How many tasks search the shards; by default as many as the session runs at a time, at most one for
            each shard.

    Returns:
        The version that is registered.

    Raises:
        InputError: An argument is wrong, or there is no index.
        MissingDependencyError: PySpark, or the library of the file system, is not installed.
        UnknownModelError: The index's model, or `reranker`, is neither bundled nor pulled.
        ModelMismatchError: The model of the index's name is another one here.
    """
    check_pyspark()
    for argument, value in (("rerank_limit", rerank_limit), ("cache_mb", cache_mb), ("partitions", partitions)):
        check_count("register", argument, 0 if value is None else value)
    folder = Folder(path)
    manifest = Manifest.read(folder, version)
    index = Registered(folder, manifest, models_of(manifest.record, reranker, rerank_limit), Cache(cache, cache_mb))
    indexes = _sessions.setdefault(spark, {})
    indexes[index.name] = index
    _make_views(spark, list(indexes.values()), partitions)
    _make_functions(spark, list(indexes.values()), index.models)
    _make_tables(spark, index, indexes)
    return manifest.version


def check_pyspark() -> None:
    """Raise MissingDependencyError without PySpark."""
    try:
        import pyspark.sql  # noqa: F401 - whether it is there
    except ImportError as error:
        raise MissingDependencyError('sqlrag.spark needs PySpark: pip install "sqlrag[spark]"') from error


def models_of(record: IndexRecord, reranker: str | None, rerank_limit: int = DEFAULT_RERANK_LIMIT) -> Models:
    """Return the models of an index, checked on the driver. Raises UnknownModelError or ModelMismatchError."""
    spec = named_model(record.embedder, record.embedder_hash, verify=False)
    check_embedder(spec, record.embedder, record.embedder_hash)
    scorer = resolve(reranker, "cross-encoder", verify=False)
    return Models(record.embedder, record.embedder_hash, reranker, scorer.identity, rerank_limit)


def key_type(manifest: Manifest) -> str:
    """Return the type of a key of the source: that of its column, or STRING for several."""
    names = key_columns(manifest.record.source_key)
    kind = spark_type(manifest.columns.get(names[0], "")) if len(names) == 1 else "STRING"
    return kind if kind == "BIGINT" else "STRING"


def spark_type(declared: str) -> str:
    """Return Spark's type for a column of SQLite's (https://www.sqlite.org/datatype3.html#determination_of_column_affinity)."""
    kinds = {"INT": "BIGINT", "CHAR": "STRING", "CLOB": "STRING", "TEXT": "STRING", "BLOB": "BINARY", "REAL": "DOUBLE"}
    kinds |= {"FLOA": "DOUBLE", "DOUB": "DOUBLE"}
    return next((kind for sign, kind in kinds.items() if sign in declared.upper()), "STRING")


_INFO = ", ".join(f"`{name}` {spark_type(kind)}" for name, kind in INFO_COLUMNS.items())
"""The columns of `sqlrag_info`, as Spark declares them."""


def _make_views(spark: Any, indexes: Sequence[Registered], partitions: int | None) -> None:
    """Make the view of all shards, each of which stays with the executor that has it open."""
    rows = [row for index in indexes for row in index.rows()]
    count = partitions or _tasks_at_once(spark) or len(rows)
    shards = spark.createDataFrame(rows, "name STRING, low BIGINT, high BIGINT, shard STRING")
    shards.repartition(max(1, min(count, len(rows)))).cache().createOrReplaceTempView("sqlrag_shards")
    spark.createDataFrame([_info(index) for index in indexes], _INFO).createOrReplaceTempView("sqlrag_indexes")


def _tasks_at_once(spark: Any) -> int | None:
    """Return how many tasks the session runs at a time; None if it does not say, as with Connect."""
    with suppress(Exception):
        return int(spark.sparkContext.defaultParallelism)
    return None


def _make_functions(spark: Any, indexes: Sequence[Registered], models: Models) -> None:
    from pyspark.sql.functions import PandasUDFType, pandas_udf, udtf

    for name, (function, kind) in scalars(models).items():
        with warnings.catch_warnings():  # it would rather have type hints, which cannot say: any number of columns
            warnings.simplefilter("ignore")
            made = pandas_udf(function, kind, PandasUDFType.SCALAR)
        # Spark pushes a condition on a deterministic function below a join, and would score the whole chunk table.
        spark.udf.register(name, made.asNondeterministic() if name == "rerank_score" else made)
    for name, (make, columns) in TABLE_FUNCTIONS.items():
        spark.udtf.register(name, udtf(make(models), returnType=columns).asDeterministic())
    least = "CASE WHEN {0}.k >= 1 THEN {0}.k ELSE raise_error(concat('k is ', coalesce({0}.k, 'NULL'), ': {1}')) END"
    numbers = all(index.key_type() == "BIGINT" for index in indexes)
    parts = {
        "columns": _INFO,
        "copies": _copies(indexes),
        "top_k": f"coalesce(search.top_k, {DEFAULT_TOP_K})",
        "key_type": "BIGINT" if numbers else "STRING",
    }
    for name in FUNCTIONS:
        spark.sql(statement(f"spark/{name}", known=_known(name, indexes), k=least.format(name, "from 1"), **parts))


def _copies(indexes: Sequence[Registered]) -> str:
    """Return how many times as many candidates are gathered, as an expression: more of an index of documents."""
    names = ", ".join(f"'{index.name}'" for index in indexes if not index.manifest.record.is_over_table)
    return f"CASE WHEN lower(search.index) IN ({names}) THEN {COPIES} ELSE 1 END" if names else "1"


def _known(function: str, indexes: Sequence[Registered]) -> str:
    """Return the name of an index as an expression that is an error for an unknown one."""
    names = ", ".join(f"'{index.name}'" for index in indexes)
    there = ", ".join(index.manifest.record.name for index in indexes)
    return (
        f"CASE WHEN lower({function}.index) IN ({names}) THEN lower({function}.index) "
        f"ELSE raise_error(concat('no index ', coalesce({function}.index, 'NULL'), ': there is {there}')) END"
    )


def _make_tables(spark: Any, index: Registered, indexes: Mapping[str, Registered]) -> None:
    """Make the views of the index's chunks, and of its documents or rows."""
    manifest, record = index.manifest, index.manifest.record
    kinds = _CHUNK_TYPES | {"source_id": index.key_type()}
    chunks = {column: kinds[column] for column in chunk_columns(record)}
    _make_table(spark, index, record.name, chunks)
    source = record.source_table
    ours = any(source.lower() == one.manifest.record.source_table.lower() for one in indexes.values() if one != index)
    if ours or not spark.catalog.tableExists(source) or source in _made_views(spark):
        _make_table(spark, index, source, {name: spark_type(kind) for name, kind in manifest.columns.items()})
        _made_views(spark).add(source)


_views: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()


def _made_views(spark: Any) -> set[str]:
    return _views.setdefault(spark, set())


def _make_table(spark: Any, index: Registered, table: str, columns: Mapping[str, str]) -> None:
    shards = spark.table("sqlrag_shards").where(f"name = '{index.name}'").select("shard")
    sql = f"SELECT {', '.join(map(quote, columns))} FROM {in_main(table)}"
    _scan(shards, sql, columns).createOrReplaceTempView(f"`{table}`")


def scanned(spark: Any, shards: Sequence[str], sql: str, columns: Mapping[str, str], name: str) -> Any:
    """Return the rows of a statement on each shard as a DataFrame, with the name of the shard in a column `name`."""
    if not shards:
        return spark.createDataFrame([], _schema({**columns, name: "STRING"}))
    files = spark.createDataFrame([(shard,) for shard in shards], "shard STRING").repartition(len(shards))
    return _scan(files, sql, {**columns, name: "STRING"}, with_name=True)


def _schema(columns: Mapping[str, str]) -> str:
    return ", ".join(f"`{name}` {kind}" for name, kind in columns.items())


def _scan(shards: Any, sql: str, columns: Mapping[str, str], *, with_name: bool = False) -> Any:
    """Return the rows of a statement on each shard; with the shard's name as the last column, if that is wanted."""

    def scan(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for batch in batches:
            for shard in batch.column(0).to_pylist():
                one = open_shard(shard)
                with translated(one.engine.path):
                    cursor = one.engine.connection.execute(sql)
                    while rows := list(islice(cursor, ROWS_AT_ONCE)):
                        values = list(zip(*rows, strict=True))
                        if with_name:
                            values.append((one.name,) * len(rows))
                        arrays = [_array(*pair) for pair in zip(values, columns.values(), strict=True)]
                        yield pa.RecordBatch.from_arrays(arrays, list(columns))

    return shards.mapInArrow(scan, _schema(columns))


def _array(values: Sequence[Any], kind: str) -> pa.Array:
    """Return values of SQLite's as a column; one of another type than the column declares is NULL."""
    import pyarrow as pa

    types = {"BIGINT": pa.int64(), "INT": pa.int32(), "DOUBLE": pa.float64(), "BINARY": pa.binary()}
    kinds: dict[str, Any] = {"BIGINT": int, "INT": int, "DOUBLE": (int, float), "BINARY": bytes}
    if kind == "STRING":
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.array([value if isinstance(value, kinds[kind]) else None for value in values], types[kind])


def _info(index: Registered) -> tuple[Any, ...]:
    """Return the row of `sqlrag_info` for an index, from its manifest."""
    manifest, record = index.manifest, index.manifest.record
    shards = manifest.shards
    scorer = resolve(index.models.reranker, "cross-encoder", verify=False)
    recalls = [shard.recall for shard in shards if shard.recall is not None]
    values = {
        "index": record.name,
        "source": record.source_table,
        "documents": sum(shard.rows - shard.gone_rows for shard in shards),
        "chunks": sum(shard.chunks - shard.gone_chunks for shard in shards),
        "tokens": sum(shard.tokens - shard.gone_tokens for shard in shards),
        "truncated": sum(shard.truncated for shard in shards),
        "reranker": scorer.name,
        "reranker_hash": scorer.identity,
        "backlog": 0,
        "candidates": max((shard.candidates for shard in shards), default=0),
        "recall": min(recalls, default=None),
    }
    return tuple(values.get(name, getattr(record, name, None)) for name in INFO_COLUMNS)
