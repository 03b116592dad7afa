"""`register`: the SQL functions in a connection that somebody else opened."""

from __future__ import annotations

import sqlite3
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from sqlrag.engines.functions import DEFAULT_RERANK_LIMIT
from sqlrag.errors import InputError
from sqlrag.store.encoders import Encoders
from sqlrag.values.arguments import DEFAULT_SYNC_ROWS, check_count, check_flag, check_nprobe, check_score_cache

if TYPE_CHECKING:
    from sqlrag.engines.sqlite.registered import RegisteredEngine
    from sqlrag.models import Embedder, Reranker

__all__ = ["keep_in_step", "register"]

AnyConnection = TypeVar("AnyConnection")


def register(
    connection: AnyConnection,
    *,
    embedder: str | Embedder | None = None,
    reranker: str | Reranker | None = None,
    backend: str = "onnx",
    rerank_limit: int = DEFAULT_RERANK_LIMIT,
    nprobe: int | None = None,
    score_cache: int | None = None,
    sync_rows: int = DEFAULT_SYNC_ROWS,
    read_only: bool = False,
) -> AnyConnection:
    """Give an open connection the SQL functions, and return it.

    `connection`: an `apsw.Connection`, a `sqlite3.Connection` of the standard library, or a
    `duckdb.DuckDBPyConnection`. The other arguments are those of `connect`. A `sqlite3.Connection`'s trace callback
    is taken for counting pairs. A `cursor()` of a duckdb connection is a connection of its own: register it too.

    On SQLite the connection has `sqlrag_create_index`, `sqlrag_sync` and their kin, too, which run through it: an
    application of `sqlite3` that indexes its own tables needs no `connect`. Before an index is asked, up to
    `sync_rows` changed rows are brought in, the connection's own among them, or a BacklogWarning says why not: within
    a transaction, as Python's sqlite3 begins one before a write, until COMMIT. `read_only`: none of this.

    On DuckDB the connection brings nothing in. A BacklogWarning tells of committed rows that an index lacks, and
    `sqlrag.connect(path).sync()` in the same process brings them in. Of what a transaction of the connection's has
    written nothing is told before its COMMIT.

    A `score_cache` is written when the connection next runs a statement and when it is closed; a `sqlite3.Connection`
    can have none, because APSW's SQLite writes it and two SQLite libraries can damage a file.

    Raises MissingDependencyError where this Python's sqlite3 can't load extensions.
    """
    encoders = Encoders(embedder, reranker, backend)
    options: dict[str, Any] = {
        "rerank_limit": check_count("register", "rerank_limit", rerank_limit),
        "nprobe": check_nprobe("register", nprobe),
        "score_cache": check_score_cache(score_cache),
    }
    sync_rows = check_count("register", "sync_rows", sync_rows)
    read_only = check_flag("register", "read_only", read_only)
    if isinstance(connection, sqlite3.Connection):
        from sqlrag.engines.sqlite.registered import register_stdlib

        keep_in_step(register_stdlib(connection, encoders, **options, read_only=read_only), sync_rows)
    elif _is_a("apsw", "Connection", connection):
        from sqlrag.engines.sqlite.registered import register_apsw

        engine = register_apsw(connection, encoders, **options, read_only=read_only)  # type: ignore[arg-type]
        keep_in_step(engine, sync_rows)
    elif _is_a("duckdb", "DuckDBPyConnection", connection):
        from sqlrag.engines.duckdb.engine import register_duckdb

        register_duckdb(connection, encoders, **options)  # type: ignore[arg-type]
    else:
        raise InputError(
            f"connection is a {type(connection).__module__}.{type(connection).__qualname__}: "
            "register() takes an apsw.Connection, a sqlite3.Connection or a duckdb connection"
        )
    return connection


def keep_in_step(engine: RegisteredEngine, sync_rows: int) -> None:
    """Give a connection the functions that change indexes, and have its queries bring in what is queued."""
    from sqlrag.database import Database
    from sqlrag.indexing.freshness import Freshness

    Database(engine, sync_rows)  # adds the functions
    remedy = f"run: sqlrag sync {engine.path}" if engine.read_only else "run: SELECT sqlrag_sync()"
    engine.freshness = Freshness(engine, sync_rows, remedy)
    engine.functions.on_asked = engine.freshness.freshen


def _is_a(module: str, name: str, value: Any) -> bool:
    """Tell whether a value is of a class of a module, without importing the module for it."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))
