"""Loading sqlite-vec, and the searches of sqlrag's own C library, into a SQLite connection."""

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

__all__ = ["has_codes_scan", "load_vec", "vec_library"]


_HAS_SCAN = "EXISTS (SELECT 1 FROM main.pragma_module_list WHERE name = 'sqlrag_nearest_codes')"
_HAS_VEC = "EXISTS (SELECT 1 FROM main.pragma_function_list WHERE name = 'vec_version')"


def has_codes_scan(connection: Connection) -> bool:
    """Tell whether a connection has sqlrag_nearest_codes(), of sqlrag's C library (extension/scan.h)."""
    ((found,),) = connection.execute(f"SELECT {_HAS_SCAN}")
    return bool(found)


def load_vec(connection: apsw.Connection | sqlite3.Connection) -> None:
    """Load sqlite-vec into a connection that does not have it, and switch extension loading off again.

    The searches of sqlrag's own library are loaded beside it where that library was built; without it the same rows are
    found more slowly.
    """
    own = statements_on(connection)
    ((has_vec, scans),) = own.execute(f"SELECT {_HAS_VEC}, {_HAS_SCAN}")
    library = None if scans else built_library()
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

    # sqlite3's own load_extension() takes an entry point only since Python 3.12. A library that cannot be loaded, as it
    # was built for another processor or C library, is the same as no library.
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
