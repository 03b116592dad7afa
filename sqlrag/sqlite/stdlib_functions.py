"""Scalar functions in a connection of the standard library's `sqlite3`, with errors that say what is wrong.

`Connection.create_function` would do, but whatever a function raises there becomes "user-defined function raised
exception". So these are made by the C library itself (https://www.sqlite.org/c3ref/create_function.html).
"""

from __future__ import annotations

import ctypes
import sqlite3
from ctypes import c_int, c_void_p
from typing import TYPE_CHECKING, Any

from sqlrag.sqlite.stdlib_library import library

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlrag.sqlite.table_functions import SQLValue

__all__ = ["create"]

# https://www.sqlite.org/c3ref/c_deterministic.html
_UTF8, _DETERMINISTIC = 0x1, 0x800

# sqlite3 lets go of the interpreter's lock while SQLite runs; CFUNCTYPE takes it again.
_Function = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_void_p)


def create(connection: sqlite3.Connection, name: str, arguments: int, function: Callable[..., SQLValue]) -> None:
    """Make `name`, with this number of arguments, callable in a connection.

    What `function` raises becomes the text of the sqlite3.OperationalError that the statement ends with. Raises
    MissingDependencyError when the C library can't be reached.
    """
    sqlite = library()

    def call(context: int, count: int, values_at: int) -> None:
        try:
            values: Any = (c_void_p * count).from_address(values_at) if count else ()
            sqlite.give(context, function(*[sqlite.read(value) for value in values]))
        except BaseException as error:  # noqa: BLE001  # nothing may escape into C
            text = (str(error) or type(error).__name__).encode(errors="replace")
            sqlite.result_error(context, text, len(text))

    callback = _Function(call)
    # It lives as long as the connection, as a function of it.
    connection.create_function(f"{name}/{arguments} (scalar function)", 0, lambda: bool(callback))
    code = sqlite.create_function(
        sqlite.handle(connection), name.encode(), arguments, _UTF8 | _DETERMINISTIC, None, callback, None, None, None
    )
    if code:
        raise sqlite3.OperationalError(f"SQLite refuses the function {name}: error {code}")
