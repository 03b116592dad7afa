"""The functions in Datasette's SQL pages: `datasette install sqlrag`.

A plugin (https://docs.datasette.io/en/stable/plugin_hooks.html#prepare-connection-conn-database-datasette). Datasette
opens a connection for each of its threads, read-only, with the standard library's sqlite3.
"""

from __future__ import annotations

import logging
import sqlite3
from functools import lru_cache

from datasette import hookimpl

from sqlrag.errors import Error, MissingDependencyError

__all__ = ["prepare_connection"]

_log = logging.getLogger("sqlrag")

_NO_EXTENSIONS = (
    "sqlrag's functions need a Python whose sqlite3 can load extensions, and the one that Datasette runs on cannot: "
    "install both into an environment of another Python (Debian's and Ubuntu's python3 can, pyenv's and macOS's cannot)"
)


@hookimpl  # type: ignore[untyped-decorator]  # of a package that has no types
def prepare_connection(conn: sqlite3.Connection, database: str) -> None:
    """Give one of Datasette's connections the functions; where that cannot be, a warning says why, once."""
    if database == "_internal":
        return
    from sqlrag.guarded import PAIRS
    from sqlrag.registration import register

    try:
        # Datasette's own time limit does not end a function that runs.
        register(conn, rerank_limit=PAIRS)
    except MissingDependencyError:
        _warn_once(_NO_EXTENSIONS)
    except Error as error:
        _warn_once(f"{database} has no functions of sqlrag: {error}")


@lru_cache
def _warn_once(message: str) -> None:
    _log.warning(message)
