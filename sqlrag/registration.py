"""`register`: the SQL functions in a connection that the user opened."""

from __future__ import annotations

import sqlite3
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from sqlrag.engines.functions import DEFAULT_RERANK_LIMIT
from sqlrag.engines.options import ConnectionOptions
from sqlrag.errors import InputError
from sqlrag.store.encoders import Encoders
from sqlrag.values.arguments import (
    DEFAULT_SYNC_ROWS,
    check_candidates,
    check_count,
    check_flag,
    check_score_cache,
    without_nprobe,
)

if TYPE_CHECKING:
    from sqlrag.engines.sqlite.registered import RegisteredEngine
    from sqlrag.models import Embedder, Reranker

__all__ = ["keep_in_step", "register"]

AnyConnection = TypeVar("AnyConnection")


@without_nprobe
def register(
    connection: AnyConnection,
    *,
    embedder: str | Embedder | None = None,
    reranker: str | Reranker | None = None,
    backend: str = "onnx",
    rerank_limit: int = DEFAULT_RERANK_LIMIT,
    candidates: int | None = None,
    score_cache: int | None = None,
    sync_rows: int = DEFAULT_SYNC_ROWS,
    read_only: bool = False,
) -> AnyConnection:
    """Give the SQL functions to a connection that is already open.

    On SQLite the connection also gets `sqlrag_create_index`, `sqlrag_sync` and the others that change indexes, which
    run through it: an application of `sqlite3` can index its own tables without `connect`. Before an index is queried,
    up to `sync_rows` changed rows are indexed, including those that this connection wrote. A BacklogWarning says why if
    they cannot be, as in a transaction before its COMMIT; Python's sqlite3 begins one before a write.

    On DuckDB the connection indexes nothing. A BacklogWarning counts committed rows that an index lacks;
    `sqlrag.connect(path).sync()` in the same process indexes them. What a transaction of this connection has written is
    not counted before its COMMIT. A `cursor()` of a DuckDB connection is another connection: register it as well.

    Parameters:
        connection: An `apsw.Connection`, a `sqlite3.Connection` or a `duckdb.DuckDBPyConnection`. The trace callback of
            a `sqlite3.Connection` is taken for counting pairs.
        embedder: As for `connect`, here and below.
        reranker: The cross-encoder.
        backend: "onnx" or "torch".
        rerank_limit: How many pairs one statement may score.
        candidates: How many chunks with the nearest codes a search compares in full.
        score_cache: How many scores to keep in the file. They are written when the connection next runs a statement and
            when it is closed. A `sqlite3.Connection` cannot have a cache: APSW's SQLite would write it, and two SQLite
            libraries can damage a file.
        sync_rows: How many changed rows a query may index before it runs; SQLite only.
        read_only: Give none of the functions that change indexes, and index nothing before queries.

    Returns:
        The connection.

    Raises:
        InputError: The connection is of another kind, or an argument is wrong.
        MissingDependencyError: The sqlite3 module of this Python cannot load extensions.

    Examples:
        >>> import apsw
        >>> connection = sqlrag.register(apsw.Connection(":memory:"))
        >>> connection.execute("SELECT token_count('how do I undo a migration?')").fetchall()
        [(7,)]
    """
    encoders = Encoders(embedder, reranker, backend)
    options = ConnectionOptions(
        read_only=check_flag("register", "read_only", read_only),
        rerank_limit=check_count("register", "rerank_limit", rerank_limit),
        candidates=check_candidates("register", candidates),
        score_cache=check_score_cache(score_cache),
    )
    sync_rows = check_count("register", "sync_rows", sync_rows)
    if isinstance(connection, sqlite3.Connection):
        from sqlrag.engines.sqlite.registered import register_stdlib

        keep_in_step(register_stdlib(connection, encoders, options), sync_rows)
    elif _is_a("apsw", "Connection", connection):
        from sqlrag.engines.sqlite.registered import register_apsw

        engine = register_apsw(connection, encoders, options)  # type: ignore[arg-type]
        keep_in_step(engine, sync_rows)
    elif _is_a("duckdb", "DuckDBPyConnection", connection):
        from sqlrag.engines.duckdb.registered import register_duckdb

        register_duckdb(connection, encoders, options)  # type: ignore[arg-type]
    else:
        raise InputError(
            f"connection is a {type(connection).__module__}.{type(connection).__qualname__}: "
            "register() takes an apsw.Connection, a sqlite3.Connection or a duckdb connection"
        )
    return connection


def keep_in_step(engine: RegisteredEngine, sync_rows: int) -> None:
    """Give a connection the functions that change indexes, and make its queries index queued rows first."""
    from sqlrag.database import Database
    from sqlrag.indexing.freshness import Freshness

    Database(engine, sync_rows)  # its constructor adds the functions
    remedy = f"run: sqlrag sync {engine.path}" if engine.read_only else "run: SELECT sqlrag_sync()"
    engine.freshness = Freshness(engine, sync_rows, remedy)
    engine.functions.on_asked = engine.freshen


def _is_a(module: str, name: str, value: Any) -> bool:
    """Tell whether a value is an instance of a module's class, without importing the module."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))
