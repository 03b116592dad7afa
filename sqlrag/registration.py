"""`register`: the SQL functions in a connection that somebody else opened."""

from __future__ import annotations

import sqlite3
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from sqlrag.arguments import check_count, check_nprobe, check_score_cache
from sqlrag.errors import InputError
from sqlrag.functions import DEFAULT_RERANK_LIMIT
from sqlrag.index.encoders import Encoders

if TYPE_CHECKING:
    from sqlrag.models import Embedder, Reranker

__all__ = ["register"]

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
) -> AnyConnection:
    """Give an open connection the SQL functions, and return it.

    `connection`: an `apsw.Connection`, a `sqlite3.Connection` of the standard library, or a
    `duckdb.DuckDBPyConnection`. The other arguments are those of `connect`. A `sqlite3.Connection`'s trace callback
    is taken for counting pairs. A `cursor()` of a duckdb connection is a connection of its own: register it too.

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
    if isinstance(connection, sqlite3.Connection):
        from sqlrag.sqlite.functions import register_stdlib

        register_stdlib(connection, encoders, **options)
    elif _is_a("apsw", "Connection", connection):
        from sqlrag.sqlite.functions import register_apsw

        register_apsw(connection, encoders, **options)  # type: ignore[arg-type]
    elif _is_a("duckdb", "DuckDBPyConnection", connection):
        from sqlrag.duckdb.engine import register_duckdb

        register_duckdb(connection, encoders, **options)  # type: ignore[arg-type]
    else:
        raise InputError(
            f"connection is a {type(connection).__module__}.{type(connection).__qualname__}: "
            "register() takes an apsw.Connection, a sqlite3.Connection or a duckdb connection"
        )
    return connection


def _is_a(module: str, name: str, value: Any) -> bool:
    """Tell whether a value is of a class of a module, without importing the module for it."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))
