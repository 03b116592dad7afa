"""The Python functions behind the macros of sql/duckdb/: Arrow UDFs that all connections of an instance share.

The first argument of each is the token of the connection that it works for. A UDF gets the arguments of many rows at
once as Arrow arrays, so the candidates of a statement reach the cross-encoder as one call. Arguments are untyped
(varargs), so that a wrong type is our error on both engines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from sqlrag.engines.duckdb.session import Session, session_of
from sqlrag.engines.functions import INFO_COLUMNS, SCALARS, SEARCH_COLUMNS
from sqlrag.engines.measures import MEASURES
from sqlrag.errors import InputError
from sqlrag.store.names import quote

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = ["PLAIN", "PREFIX", "UDF", "UDFS"]

PREFIX = "_sqlrag_"
"""How the names of the functions begin, which no statement of a stranger may call."""

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
    "source_id": "VARCHAR",  # the macro casts it to the type that the database's keys have
    "reranked": "BIGINT",
    "copies": "VARCHAR",
}
_STORED = {"id": "BIGINT", "source_id": "VARCHAR", "text": "VARCHAR", "context": "VARCHAR"}
_CHUNK = {"ordinal": "BIGINT", "start_char": "BIGINT", "end_char": "BIGINT", "text": "VARCHAR"}


class UDF:
    """A function of the instance; it lives as long as the process.

    `returns`: a DuckDB type; or, of a function that gives a list of rows for each row of arguments, their columns and
    types. `function` takes the session and Arrow arrays, and returns the values, or an Arrow array of them. A volatile
    function is called for each row, and never while a plan is made.
    """

    def __init__(
        self,
        name: str,
        returns: str | dict[str, str],
        function: Callable[..., Sequence[Any] | pa.Array],
        *,
        volatile: bool = False,
    ) -> None:
        self.name = PREFIX + name
        self._returns = returns
        self._volatile = volatile

        # This object keeps the function alive: DuckDB holds no reference to it.
        def call(*columns: Any) -> Any:
            import pyarrow as pa

            if not columns or not len(columns[0]):
                return pa.array([], self._arrow())
            session = session_of(columns[0][0].as_py())
            try:
                with session.at_work(), session.turns:
                    found = function(session, *columns[1:])
                return found if isinstance(found, pa.Array) else pa.array(found, self._arrow())
            except BaseException as error:
                session.raised.put(error)
                raise

        self._call = call

    def register(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Register it in the connection's instance. Raises duckdb.CatalogException where it is registered."""
        returns = self._returns
        if isinstance(returns, dict):
            returns = f"STRUCT({', '.join(f'{quote(column)} {kind}' for column, kind in returns.items())})[]"
        connection.create_function(  # type: ignore[call-overload]  # the stubs know enums only, 1.5 takes names
            self.name,
            self._call,
            None,
            returns,
            type="arrow",
            null_handling="special",
            side_effects=self._volatile,
        )

    def _arrow(self) -> pa.DataType:
        return _arrow_type(self._returns if isinstance(self._returns, str) else tuple(self._returns.items()))


@cache
def _arrow_type(returns: str | tuple[tuple[str, str], ...]) -> pa.DataType:
    import pyarrow as pa

    if isinstance(returns, tuple):
        return pa.list_(pa.struct([(column, _arrow_type(kind)) for column, kind in returns]))
    types = {"BIGINT": pa.int64(), "DOUBLE": pa.float64(), "FLOAT": pa.float32(), "VARCHAR": pa.string()}
    return types[returns] if returns in types else pa.list_(types[returns.removesuffix("[]")])


def _values(column: Any) -> list[Any]:
    """Return an Arrow column as Python values; a vector as the float32 bytes that SQLite has."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [_as_bytes(one.values) for one in column]
    values: list[Any] = column.to_pylist()
    return values


def _as_bytes(vector: Any) -> bytes | None:
    """Return a vector as float32 bytes; a NULL inside becomes NaN, which is refused with a clear error."""
    import numpy as np
    import pyarrow as pa

    if vector is None:
        return None
    if pa.types.is_floating(vector.type):
        return bytes(vector.to_numpy(zero_copy_only=False).astype(np.float32, copy=False).tobytes())
    return np.array(vector.to_pylist(), dtype=np.float32).tobytes()


def _rows(columns: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    return zip(*map(_values, columns), strict=True)


# Scalars


def _embed(session: Session, *columns: Any) -> pa.Array:
    return _vectors([session.functions.embed(*row) for row in _rows(columns)])


def _embed_document(session: Session, *columns: Any) -> pa.Array:
    return _vectors(session.functions.embed_documents(*map(_values, columns)))


def _vectors(blobs: Sequence[bytes | None]) -> pa.Array:
    """Return float32 vectors as an Arrow array of lists over their bytes."""
    import pyarrow as pa

    flat = b"".join(blob for blob in blobs if blob is not None)
    ends = [0, *accumulate(0 if blob is None else len(blob) // 4 for blob in blobs)]
    offsets = pa.array([None if blob is None else end for blob, end in zip(blobs, ends, strict=False)] + ends[-1:])
    numbers = pa.Array.from_buffers(pa.float32(), len(flat) // 4, [None, pa.py_buffer(flat)])
    return pa.ListArray.from_arrays(offsets.cast(pa.int32()), numbers)


def _rerank_score(session: Session, queries: Any, texts: Any, models: Any, transactions: Any) -> list[float | None]:
    """Score a batch of rows; each model's pairs go as one call."""
    session.in_transaction(transactions[0].as_py())
    names = _values(models)
    query_values, text_values = _values(queries), _values(texts)
    result: list[float | None] = [None] * len(names)
    for model in dict.fromkeys(names):
        places = [place for place, name in enumerate(names) if name == model]
        own = [text_values[place] for place in places]
        with session.indexes.lock:
            kept = session.functions.kept(own, model)
        scores = session.functions.rerank_scores([query_values[place] for place in places], own, model, kept)
        for place, score in zip(places, scores, strict=True):
            result[place] = score
    return result


def _for_each_row(name: str) -> Callable[..., list[Any]]:
    def call(session: Session, *columns: Any) -> list[Any]:
        function = getattr(session.functions, name)
        return [function(*row) for row in _rows(columns)]

    return call


_BATCHED: dict[str, Callable[..., list[Any]]] = {
    "embed": _embed,
    "embed_document": _embed_document,
    "rerank_score": _rerank_score,
}
"""The scalar functions that run a batch at once, or whose value has another form on DuckDB; sql/duckdb/macros.sql
has their macros."""

PLAIN = tuple(name for name in SCALARS if name not in _BATCHED)
"""The others, which are called for each row."""


def _measure(_session: Session, names: Any, groups: Any, *settings: Any) -> list[float | None]:
    """Return the value of an aggregate: of a list of `(rank, relevance)` for each group, then its settings."""
    values = []
    for name, documents, *given in zip(names.to_pylist(), groups.to_pylist(), *map(_values, settings), strict=True):
        rows = None if documents is None else [(one["rank"], one["relevance"]) for one in documents]
        values.append(MEASURES[name].of(rows, *given))
    return values


def _maintain(session: Session, names: Any, *columns: Any) -> list[int]:
    """Call a function that changes the database."""
    # What is left out is NULL here; a NULL before others stays, and is refused.
    calls = zip(*(column.to_pylist() for column in columns), strict=True)
    return [
        session.maintenance[name](*_without_nulls_at_end(call))
        for name, call in zip(names.to_pylist(), calls, strict=True)
    ]


def _without_nulls_at_end(values: Sequence[Any]) -> Sequence[Any]:
    while values and values[-1] is None:
        values = values[:-1]
    return values


# Functions that give rows


def _table(name: str, columns: dict[str, str], function: Callable[..., list[Any]], *, asks: bool = False) -> UDF:
    """Return a function that brings the indexes up to date, and returns a list of structs, of which a macro makes rows.

    `asks`: its first argument names the index that it searches.

    It is volatile, so that the optimiser does not call it: EXPLAIN would search, and carrying the list through all
    passes of the optimiser would take 1.5 ms.
    """

    def rows(session: Session, *arguments: Any) -> pa.Array:
        with session.indexes.lock:
            session.indexes.catch_up()
            asked = dict.fromkeys(map(str, arguments[0].to_pylist())) if asks else ()
            for index in asked:
                session.asks(index)
            calls = [function(session, *values) for values in _rows(arguments)]
            for index in asked:  # another connection may have written it meanwhile
                session.asks(index)
        return _structs(columns, calls)

    return UDF(name, columns, rows, volatile=True)


def _structs(columns: dict[str, str], calls: Sequence[Sequence[tuple[Any, ...]]]) -> pa.Array:
    """Return the rows of each call as a list of structs, made column by column."""
    import pyarrow as pa

    rows = [row for call in calls for row in call]
    values = zip(*rows, strict=True) if rows else [()] * len(columns)
    arrays = [pa.array(column, _arrow_type(kind)) for column, kind in zip(values, columns.values(), strict=True)]
    structs = pa.StructArray.from_arrays(arrays, list(columns))
    return pa.ListArray.from_arrays(pa.array([0, *accumulate(map(len, calls))], pa.int32()), structs)


def _with_keys(name: str, place: int) -> Callable[..., list[Any]]:
    """Return a function that gives the rows of search() or chunk() with their keys, in this column, as texts."""

    def rows(session: Session, *arguments: Any) -> list[Any]:
        found = getattr(session.functions, name)(*arguments)
        for row in found if session.key_type == "BIGINT" else ():
            if not isinstance(row[place], int):  # another connection has made this index since
                raise InputError(f"{name}(): the keys of index {arguments[0]!r} are text: open the database again")
        return [(*row[:place], str(row[place]), *row[place + 1 :]) for row in found]

    return rows


# rerank_score is volatile, or the optimiser pushes `WHERE score > 0` below the join and scores the whole chunk table;
# where that makes it ask twice, the memo answers.
UDFS = (
    *(
        UDF(name, kind, _BATCHED.get(name) or _for_each_row(name), volatile=name == "rerank_score")
        for name, kind in SCALARS.items()
    ),
    UDF("measure", "DOUBLE", _measure),
    UDF("maintain", "BIGINT", _maintain, volatile=True),
    _table("vector_top_k", _DISTANCE, lambda session, *given: session.functions.vector_top_k(*given), asks=True),
    _table("text_top_k", _SCORE, lambda session, *given: session.functions.text_top_k(*given), asks=True),
    _table("hybrid_top_k", _SCORE, lambda session, *given: session.functions.hybrid_top_k(*given), asks=True),
    _table("search", _SEARCH, _with_keys("search", SEARCH_COLUMNS.index("source_id")), asks=True),
    _table("chunk", _STORED, _with_keys("chunk", 1)),
    _table("chunk_text", _CHUNK, lambda session, *given: session.functions.chunk_text(*given)),
    _table("info", INFO_COLUMNS, lambda session, _: session.functions.sqlrag_info()),
)
"""All of them."""
