"""The SQL functions in a DuckDB connection: Arrow UDFs, and the macros of sql/duckdb/macros.sql over them.

A UDF gets the arguments of many rows at once as Arrow arrays, so the candidates of a statement reach the
cross-encoder as one call. Arguments are untyped (varargs), so that a wrong type is our error on both engines.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from sqlrag.errors import Error, InputError
from sqlrag.functions import INFO_COLUMNS, Functions
from sqlrag.index.statements import statement
from sqlrag.metrics import MEASURES, Measure

if TYPE_CHECKING:
    import duckdb

    from sqlrag.duckdb.errors import Raised
    from sqlrag.duckdb.indexes import DuckDBIndexes

__all__ = ["register_functions", "register_served"]

_numbers = itertools.count(1)

_TEXT_COLUMNS = frozenset(
    {"text", "index", "source", "embedder", "embedder_hash", "reranker", "reranker_hash", "tokenizer", "vectors"}
)

# Output columns and the DuckDB type of each.
_DISTANCE = {"id": "BIGINT", "distance": "DOUBLE", "rank": "BIGINT"}
_SCORE = {"id": "BIGINT", "score": "DOUBLE", "rank": "BIGINT"}
_SEARCH = {
    "id": "BIGINT",
    "text": "VARCHAR",
    "score": "FLOAT",
    "distance": "DOUBLE",
    "rank_before": "BIGINT",
    "rank_after": "BIGINT",
    "source_id": "BIGINT",  # or VARCHAR: see key_type
    "reranked": "BIGINT",
}
_CHUNK = {"ordinal": "BIGINT", "start_char": "BIGINT", "end_char": "BIGINT", "text": "VARCHAR"}
_INFO = {column: "VARCHAR" if column in _TEXT_COLUMNS else "BIGINT" for column in INFO_COLUMNS}
_INFO["backlog_seconds"] = "DOUBLE"


def register_functions(
    connection: duckdb.DuckDBPyConnection, functions: Functions, indexes: DuckDBIndexes, raised: Raised
) -> None:
    """Give a DuckDB connection the functions of the contract."""
    _Registration(connection, functions, indexes, raised).register()


def register_served(
    connection: duckdb.DuckDBPyConnection, functions: Functions, indexes: DuckDBIndexes, raised: Raised
) -> None:
    """Give the functions to all sessions of a DuckDB instance that serves the database; they take turns in them.

    The macros become entries of the connection's database, which must be another than the served one.
    """
    _Registration(connection, functions, indexes, raised, served=True).register()


def add_maintenance(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    function: Callable[..., int],
    arguments: Sequence[int],
    raised: Raised,
) -> None:
    """Make a function that changes the database callable as SQL, with any of these numbers of arguments."""
    prefix = f"_sqlrag{next(_numbers)}_"
    most = max(arguments)

    def udf(*columns: Any) -> Any:
        import pyarrow as pa

        try:
            calls = zip(*(column.to_pylist() for column in columns), strict=True)
            # What is left out is NULL here; a NULL before others stays, and is refused.
            return pa.array([function(*_without_nulls_at_end(call)) for call in calls], pa.int64())
        except BaseException as error:
            raised.put(error)
            raise

    connection.create_function(  # type: ignore[call-overload]  # the stubs know enums only, 1.5 takes names
        f"{prefix}{name}",
        udf,
        None,
        "BIGINT",
        type="arrow",
        null_handling="special",
        side_effects=True,
    )
    names = [f"argument{number}" for number in range(most)]
    forms = (
        f"({', '.join(names[:count])}) AS {prefix}{name}"
        f"({', '.join([*names[:count], *['NULL'] * (max(most, 1) - count)])})"
        for count in arguments
    )
    connection.execute(f"CREATE OR REPLACE TEMP MACRO {name} {', '.join(forms)}")


def _without_nulls_at_end(values: Sequence[Any]) -> Sequence[Any]:
    while values and values[-1] is None:
        values = values[:-1]
    return values


class _Registration:
    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        functions: Functions,
        indexes: DuckDBIndexes,
        raised: Raised,
        *,
        served: bool = False,
    ) -> None:
        self._served = served
        self._turns: AbstractContextManager[Any] = indexes.lock if served else nullcontext()
        self._connection = connection
        self._functions = functions
        self._indexes = indexes
        self._raised = raised
        self._transaction: object = None
        # All connections of a process to one file share its functions: each has its own under a name of its own.
        self._prefix = f"_sqlrag{next(_numbers)}_"

    def register(self) -> None:
        functions = self._functions
        dimension = self._dimension()

        def embed(*columns: list[Any]) -> list[bytes | None]:
            return [functions.embed(*row) for row in zip(*columns, strict=True)]

        for name, function in (("embed", embed), ("embed_document", functions.embed_documents)):
            self._scalar(f"{name}", f"FLOAT[{dimension}]", _vectors(function, dimension))
            self._scalar(f"{name}_with", "FLOAT[]", _vectors(function, None))
        self._scalar("token_count", "BIGINT", _row_by_row(functions.token_count, "int64"))
        # Declared volatile, or the optimiser pushes `WHERE score > 0` below the join and scores the whole chunk table;
        # where that makes it ask twice, the memo answers.
        self._scalar("rerank_score", "FLOAT", self._rerank_scores, volatile=True)
        for name, measure in MEASURES.items():
            self._scalar(name, "DOUBLE", _measured(measure))
        self._table("vector_top_k", _DISTANCE, functions.vector_top_k)
        self._table("text_top_k", _SCORE, functions.text_top_k)
        self._table("hybrid_top_k", _SCORE, functions.hybrid_top_k)
        key = self._indexes.key_type()
        self._table("search", _SEARCH | {"source_id": key}, _with_keys(functions.search, key))
        self._table("chunk_text", _CHUNK, functions.chunk_text)
        self._table("info", _INFO, lambda _: functions.sqlrag_info())
        for macros in ("duckdb/macros", "duckdb/measures"):
            made = statement(macros).replace("_sqlrag_", self._prefix)
            if self._served:
                self._connection.execute(made.replace("OR REPLACE TEMP MACRO", "MACRO"))
            else:
                self._connection.execute(made)
                self._indexes.define(made)

    def _dimension(self) -> int:
        """Return the width of embed()'s vectors: of the database's own model, of the bundled one if it is not here."""
        from sqlrag.models.registry import load_embedder

        try:
            return self._functions.encoders.embedder.dimension
        except Error:
            return load_embedder().dimension  # embed() itself says what is missing

    def _scalar(self, name: str, returns: str, function: Callable[..., Any], *, volatile: bool = False) -> None:
        def udf(*columns: Any) -> Any:
            try:
                with self._turns:
                    return function(*columns)
            except BaseException as error:
                self._raised.put(error)
                raise

        self._connection.create_function(  # type: ignore[call-overload]  # the stubs know enums only, 1.5 takes names
            f"{self._prefix}{name}",
            udf,
            None,
            returns,
            type="arrow",
            null_handling="special",
            side_effects=volatile,
        )

    def _table(self, name: str, columns: dict[str, str], function: Callable[..., Sequence[Any]]) -> None:
        """Register a function that gives a list of structs, which a macro makes rows of.

        Declared volatile: otherwise the optimiser calls it while it plans (EXPLAIN would search) and carries the list
        through each of its passes, for 1.5 ms.
        """
        import pyarrow as pa

        types = {"BIGINT": pa.int64(), "DOUBLE": pa.float64(), "FLOAT": pa.float32(), "VARCHAR": pa.string()}
        arrow = pa.list_(pa.struct([(column, types[kind]) for column, kind in columns.items()]))
        names = tuple(columns)

        def rows(*arguments: Any) -> Any:
            with self._indexes.lock:
                self._indexes.catch_up()
                calls = [function(*values) for values in zip(*map(_values, arguments), strict=True)]
            return pa.array([[dict(zip(names, row, strict=True)) for row in call] for call in calls], type=arrow)

        declared = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
        self._scalar(name, f"STRUCT({declared})[]", rows, volatile=True)

    def _rerank_scores(self, queries: Any, texts: Any, models: Any, transactions: Any) -> Any:
        """Score a batch of rows; each model's pairs go as one call."""
        import pyarrow as pa

        transaction = transactions[0].as_py() if len(transactions) else None
        if transaction != self._transaction:
            self._transaction = transaction
            self._functions.begin_statement()
        names = _values(models)
        query_values, text_values = _values(queries), _values(texts)
        result: list[float | None] = [None] * len(names)
        for model in dict.fromkeys(names):
            places = [place for place, name in enumerate(names) if name == model]
            scores = self._functions.rerank_scores(
                [query_values[place] for place in places], [text_values[place] for place in places], model
            )
            for place, score in zip(places, scores, strict=True):
                result[place] = score
        return pa.array(result, type=pa.float32())


def _with_keys(search: Callable[..., list[Any]], key_type: str) -> Callable[..., list[Any]]:
    """Return search() with the keys of its rows in the one type that their column has, VARCHAR beside other keys."""
    place = list(_SEARCH).index("source_id")

    def rows(*arguments: Any) -> list[Any]:
        found = search(*arguments)
        if key_type == "VARCHAR":
            return [(*row[:place], str(row[place]), *row[place + 1 :]) for row in found]
        for row in found:
            if not isinstance(row[place], int):  # another connection has made this index since
                raise InputError(f"search(): the keys of index {arguments[0]!r} are text: open the database again")
        return found

    return rows


def _values(column: Any) -> list[Any]:
    """Return an Arrow column as Python values; a vector as the float32 bytes that SQLite has."""
    import numpy as np
    import pyarrow as pa

    values: list[Any] = column.to_pylist()
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        # A NULL inside becomes NaN, which is refused with a clear error.
        return [None if value is None else np.array(value, dtype=np.float32).tobytes() for value in values]
    return values


def _row_by_row(function: Callable[..., Any], arrow_type: str) -> Callable[..., Any]:
    def batch(*columns: Any) -> Any:
        import pyarrow as pa

        rows = zip(*map(_values, columns), strict=True)
        return pa.array([function(*row) for row in rows], type=getattr(pa, arrow_type)())

    return batch


def _measured(measure: Measure) -> Callable[..., Any]:
    """Return the function behind an aggregate: a list of `(rank, relevance)` for each group, then its settings."""

    def batch(groups: Any, *settings: Any) -> Any:
        import pyarrow as pa

        values = []
        for documents, *given in zip(groups.to_pylist(), *map(_values, settings), strict=True):
            rows = None if documents is None else [(one["rank"], one["relevance"]) for one in documents]
            values.append(measure.of(rows, *given))
        return pa.array(values, type=pa.float64())

    return batch


def _vectors(function: Callable[..., list[bytes | None]], dimension: int | None) -> Callable[..., Any]:
    def batch(*columns: Any) -> Any:
        import numpy as np
        import pyarrow as pa

        kind = pa.list_(pa.float32()) if dimension is None else pa.list_(pa.float32(), dimension)
        blobs = function(*map(_values, columns))
        return pa.array([None if blob is None else np.frombuffer(blob, dtype=np.float32) for blob in blobs], type=kind)

    return batch
