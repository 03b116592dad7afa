"""What is loaded into a SQLite connection: sqlite-vec, and the scan of sqlrag's own C library."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

from sqlrag.errors import MissingDependencyError
from sqlrag.store.driver.built_library import SCAN_ENTRY_POINT, built_library
from sqlrag.store.driver.own_statements import statements_on

if TYPE_CHECKING:
    import sqlite3

    import apsw

    from sqlrag.store.registry import Connection

__all__ = ["has_scan", "load_vec", "vec_library"]


def has_scan(connection: Connection) -> bool:
    """Tell whether a connection has sqlrag_scan(), of sqlrag's C library (extension/scan.h)."""
    return bool(list(connection.execute("SELECT 1 FROM main.pragma_module_list WHERE name = 'sqlrag_scan'")))


def load_vec(connection: apsw.Connection | sqlite3.Connection) -> None:
    """Load sqlite-vec unless it is there; extension loading is closed again after it.

    And beside it the scan of sqlrag's own library, where that was built: without it the same rows take longer.
    """
    own = statements_on(connection)
    has_vec = bool(list(own.execute("SELECT 1 FROM main.pragma_function_list WHERE name = 'vec_version'")))
    library = None if has_scan(own) else built_library()
    if has_vec and library is None:
        return
    connection.enable_load_extension(True)
    try:
        if not has_vec:
            connection.load_extension(vec_library())
        if library is not None:
            _load_scan(own, library)
    finally:
        connection.enable_load_extension(False)


def _load_scan(own: Connection, library: str) -> None:
    import apsw

    # sqlite3's own load_extension() takes an entry point since Python 3.12 only. A library that cannot be loaded, of
    # another processor or C library, is as good as none.
    with suppress(apsw.Error):
        list(own.execute("SELECT load_extension(?, ?)", (library, SCAN_ENTRY_POINT)))


def vec_library() -> str:
    """Return the path of sqlite-vec's library, as its `loadable_path()` does; importing that costs an import of numpy.

    Raises MissingDependencyError where it is not installed.
    """
    found = find_spec("sqlite_vec")
    if found is None or found.origin is None:
        raise MissingDependencyError("sqlite-vec is not installed: pip install sqlite-vec")
    return os.path.join(os.path.dirname(found.origin), "vec0")
