"""The functions in Datasette's SQL pages, and a search box on the pages of chunk tables: `datasette install sqlrag`.

A plugin (https://docs.datasette.io/en/stable/plugin_hooks.html#prepare-connection-conn-database-datasette). Datasette
opens a connection for each of its threads, read-only, with the standard library's sqlite3.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from datasette import hookimpl

from sqlrag.errors import Error, MissingDependencyError

if TYPE_CHECKING:
    from datasette.app import Datasette

__all__ = ["extra_body_script", "prepare_connection", "register_routes"]

_log = logging.getLogger("sqlrag")

_NO_EXTENSIONS = (
    "sqlrag's functions need a Python whose sqlite3 can load extensions, and the one that Datasette runs on cannot: "
    "install both into an environment of another Python (Debian's and Ubuntu's python3 can, pyenv's and macOS's cannot)"
)


@hookimpl  # type: ignore[untyped-decorator]  # of a package that has no types
def prepare_connection(conn: sqlite3.Connection, database: str, datasette: Datasette) -> None:
    """Give one of Datasette's connections the functions. If that is not possible, warn once.

    Datasette's time limit interrupts a statement between two of SQLite's own steps. `stop` interrupts a batch of texts
    in a function of ours, and texts are limited to a length that takes a model some hundredths of a second.
    """
    if database == "_internal":
        return
    from sqlrag.database import LONGEST_TEXT
    from sqlrag.engines.options import ConnectionOptions
    from sqlrag.engines.sqlite.registered import register_stdlib
    from sqlrag.registration import keep_in_step
    from sqlrag.serve.untrusted import PAIRS
    from sqlrag.store.encoders import Encoders

    try:
        encoders = Encoders(None, None, "onnx")
        engine = register_stdlib(conn, encoders, ConnectionOptions(read_only=True, rerank_limit=PAIRS))
        keep_in_step(engine, 0)
    except MissingDependencyError:
        _warn_once(_NO_EXTENSIONS)
    except Error as error:
        _warn_once(f"{database} has no functions of sqlrag: {error}")
    else:
        engine.functions.longest_text = LONGEST_TEXT
        engine.functions.stop.seconds = datasette.setting("sql_time_limit_ms") / 1000


@hookimpl  # type: ignore[untyped-decorator]  # of a package that has no types
def extra_body_script(
    database: str | None, table: str | None, columns: list[str] | None, view_name: str, datasette: Datasette
) -> Awaitable[str] | str:
    """Put a search box on the page of a chunk table."""
    if view_name != "table" or database is None or table is None or not columns:
        return ""
    from sqlrag.integrations.datasette_search import box

    return box(datasette, database, table, columns)


@hookimpl  # type: ignore[untyped-decorator]  # of a package that has no types
def register_routes() -> list[tuple[str, Callable[..., Any]]]:
    """Add the page with the answer of the box."""
    from sqlrag.integrations.datasette_search import ROUTE, search_page

    return [(ROUTE, search_page)]


@lru_cache
def _warn_once(message: str) -> None:
    _log.warning(message)
