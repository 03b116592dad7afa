"""Functions and aggregates in a connection of the standard library's `sqlite3`, with errors that say what is wrong.

`Connection.create_function` would do, but whatever a function raises there becomes "user-defined function raised
exception". So these are made by the C library itself (https://www.sqlite.org/c3ref/create_function.html).
"""

from __future__ import annotations

import ctypes
import itertools
import sqlite3
from ctypes import c_int, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any, Protocol

from sqlrag.store.driver.stdlib_library import library

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlrag.engines.sqlite.table_functions import SQLValue
    from sqlrag.store.driver.stdlib_library import Library

__all__ = ["Aggregation", "create", "create_aggregate"]

# https://www.sqlite.org/c3ref/c_deterministic.html
_UTF8, _DETERMINISTIC, _DIRECTONLY = 0x1, 0x800, 0x80000

# sqlite3 lets go of the interpreter's lock while SQLite runs; CFUNCTYPE takes it again.
_Function = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_void_p)
_Final = ctypes.CFUNCTYPE(None, c_void_p)

_numbers = itertools.count(1)


class Aggregation(Protocol):
    """One aggregation, over the rows of one group."""

    def step(self, *values: Any) -> None:
        """Take the arguments of a row."""

    def final(self) -> SQLValue:
        """Return the value of the group."""


def create(
    connection: sqlite3.Connection,
    name: str,
    arguments: int,
    function: Callable[..., SQLValue],
    *,
    with_effects: bool = False,
) -> None:
    """Make `name`, with this number of arguments, callable in a connection.

    What `function` raises becomes the text of the sqlite3.OperationalError that the statement ends with. One
    `with_effects` can be called by a statement itself, and by no view or trigger. Raises
    MissingDependencyError when the C library can't be reached.
    """
    sqlite = library()

    def call(context: int, count: int, values_at: int) -> None:
        try:
            sqlite.give(context, function(*_values(sqlite, count, values_at)))
        except BaseException as error:  # noqa: BLE001  # nothing may escape into C
            _complain(sqlite, context, error)

    callback = _Function(call)
    flags = _DIRECTONLY if with_effects else _DETERMINISTIC
    _create(sqlite, connection, name, arguments, (callback, None, None), flags=flags)


def create_aggregate(
    connection: sqlite3.Connection, name: str, arguments: int, maker: Callable[[], Aggregation]
) -> None:
    """Make the aggregate `name`, with this number of arguments, callable in a connection; errors as of `create`.

    SQLite keeps 8 bytes for each group that it aggregates (https://www.sqlite.org/c3ref/aggregate_context.html):
    in them stands the number of its aggregation. It always calls for the final value, also after an error.
    """
    sqlite = library()
    open_ones: dict[int, Aggregation] = {}

    def step(context: int, count: int, values_at: int) -> None:
        try:
            number = c_uint64.from_address(sqlite.aggregate_context(context, ctypes.sizeof(c_uint64)))
            if not number.value:
                number.value = next(_numbers)
                open_ones[number.value] = maker()
            open_ones[number.value].step(*_values(sqlite, count, values_at))
        except BaseException as error:  # noqa: BLE001  # nothing may escape into C
            _complain(sqlite, context, error)

    def final(context: int) -> None:
        try:
            address = sqlite.aggregate_context(context, 0)  # none if there was no row
            number = c_uint64.from_address(address).value if address else 0
            sqlite.give(context, (open_ones.pop(number, None) or maker()).final())
        except BaseException as error:  # noqa: BLE001  # nothing may escape into C
            _complain(sqlite, context, error)

    _create(sqlite, connection, name, arguments, (None, _Function(step), _Final(final)))


def _values(sqlite: Library, count: int, values_at: int) -> list[SQLValue]:
    values: Any = (c_void_p * count).from_address(values_at) if count else ()
    return [sqlite.read(value) for value in values]


def _complain(sqlite: Library, context: int, error: BaseException) -> None:
    text = (str(error) or type(error).__name__).encode(errors="replace")
    sqlite.result_error(context, text, len(text))


def _create(
    sqlite: Library,
    connection: sqlite3.Connection,
    name: str,
    arguments: int,
    callbacks: tuple[Any, Any, Any],
    *,
    flags: int = _DETERMINISTIC,
) -> None:
    # They live as long as the connection, as a function of it.
    connection.create_function(f"{name}/{arguments} (sqlrag)", 0, lambda: bool(callbacks))
    code = sqlite.create_function(
        sqlite.handle(connection), name.encode(), arguments, _UTF8 | flags, None, *callbacks, None
    )
    if code:
        raise sqlite3.OperationalError(f"SQLite refuses the function {name}: error {code}")
