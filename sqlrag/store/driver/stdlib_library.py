"""The SQLite library under the standard library's `sqlite3`, reached through ctypes.

`sqlite3` has no API for virtual tables, so its connections get them from the C library itself
(https://www.sqlite.org/c3ref/module.html). Two things must be right for that: the library must be the one that
`sqlite3` calls, and the C handle of a connection must be found. Both are proved, without following a pointer,
before anything is done with them: SQLite itself tells the handle of a connection that is opened for the purpose.
"""

from __future__ import annotations

import ctypes
import functools
import sqlite3
import sys
from ctypes import POINTER, c_char_p, c_double, c_int, c_int64, c_ubyte, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlrag.engines.sqlite.table_functions import SQLValue

__all__ = ["Constraint", "Cursor", "IndexInfo", "Library", "Module", "Table", "Usage", "library"]

# Numbers of https://www.sqlite.org/c3ref/constlist.html.
_INTEGER, _FLOAT, _TEXT, _BLOB = 1, 2, 3, 4
_UTF8 = 1
_OK = 0
_COPY_IT = c_void_p(-1)


class Constraint(ctypes.Structure):
    """A constraint of a statement on a table: `struct sqlite3_index_constraint`."""

    _fields_ = (("iColumn", c_int), ("op", c_ubyte), ("usable", c_ubyte), ("iTermOffset", c_int))


class Usage(ctypes.Structure):
    """What a table does with a constraint: `struct sqlite3_index_constraint_usage`."""

    _fields_ = (("argvIndex", c_int), ("omit", c_ubyte))


class IndexInfo(ctypes.Structure):
    """A question of the planner and its answer: the first fields of `sqlite3_index_info`, since SQLite 3.8.2."""

    _fields_ = (
        ("nConstraint", c_int),
        ("aConstraint", POINTER(Constraint)),
        ("nOrderBy", c_int),
        ("aOrderBy", c_void_p),
        ("aConstraintUsage", POINTER(Usage)),
        ("idxNum", c_int),
        ("idxStr", c_void_p),
        ("needToFreeIdxStr", c_int),
        ("orderByConsumed", c_int),
        ("estimatedCost", c_double),
        ("estimatedRows", c_int64),
    )


class Table(ctypes.Structure):
    """`sqlite3_vtab`, and after it a field of ours: which table function it is."""

    _fields_ = (("pModule", c_void_p), ("nRef", c_int), ("zErrMsg", c_void_p), ("number", c_uint64))


class Cursor(ctypes.Structure):
    """`sqlite3_vtab_cursor`."""

    _fields_ = (("pVtab", c_void_p),)


class Module(ctypes.Structure):
    """`sqlite3_module`, version 1: the C functions behind a virtual table."""

    _fields_ = (
        ("iVersion", c_int),
        ("xCreate", c_void_p),
        ("xConnect", c_void_p),
        ("xBestIndex", c_void_p),
        ("xDisconnect", c_void_p),
        ("xDestroy", c_void_p),
        ("xOpen", c_void_p),
        ("xClose", c_void_p),
        ("xFilter", c_void_p),
        ("xNext", c_void_p),
        ("xEof", c_void_p),
        ("xColumn", c_void_p),
        ("xRowid", c_void_p),
        ("xUpdate", c_void_p),
        ("xBegin", c_void_p),
        ("xSync", c_void_p),
        ("xCommit", c_void_p),
        ("xRollback", c_void_p),
        ("xFindFunction", c_void_p),
        ("xRename", c_void_p),
    )


class Library:
    """The C functions of SQLite that a table function needs, under their own names without `sqlite3_`.

    Raises OSError or AttributeError when the file at `path`, or for None the process, does not have them.
    """

    def __init__(self, path: str | None) -> None:
        # These wait for a mutex, which another thread may hold that waits for the interpreter's lock: let go of it.
        waiting = ctypes.CDLL(path)
        self.create_module = _function(
            waiting.sqlite3_create_module_v2, c_int, c_void_p, c_char_p, c_void_p, c_void_p, c_void_p
        )
        self.create_function = _function(
            waiting.sqlite3_create_function_v2, c_int, c_void_p, c_char_p, c_int, c_int, *[c_void_p] * 5
        )
        self.prepare = _function(waiting.sqlite3_prepare_v2, c_int, c_void_p, c_void_p, c_int, c_void_p, c_void_p)
        self.step = _function(waiting.sqlite3_step, c_int, c_void_p)
        self.reset = _function(waiting.sqlite3_reset, c_int, c_void_p)
        self.next_statement = _function(waiting.sqlite3_next_stmt, c_void_p, c_void_p, c_void_p)
        self.is_running = _function(waiting.sqlite3_stmt_busy, c_int, c_void_p)
        self.is_reading = _function(waiting.sqlite3_stmt_readonly, c_int, c_void_p)
        self.last_insert_rowid = _function(waiting.sqlite3_last_insert_rowid, c_int64, c_void_p)
        self.finalize = _function(waiting.sqlite3_finalize, c_int, c_void_p)
        self.clear_bindings = _function(waiting.sqlite3_clear_bindings, c_int, c_void_p)
        self.bind_parameter_count = _function(waiting.sqlite3_bind_parameter_count, c_int, c_void_p)
        self.bind_parameter_name = _function(waiting.sqlite3_bind_parameter_name, c_char_p, c_void_p, c_int)
        self._bind_null = _function(waiting.sqlite3_bind_null, c_int, c_void_p, c_int)
        self._bind_int64 = _function(waiting.sqlite3_bind_int64, c_int, c_void_p, c_int, c_int64)
        self._bind_double = _function(waiting.sqlite3_bind_double, c_int, c_void_p, c_int, c_double)
        content = (c_void_p, c_int, c_char_p, c_uint64, c_void_p)
        self._bind_text = _function(waiting.sqlite3_bind_text64, c_int, *content, c_ubyte)
        self._bind_blob = _function(waiting.sqlite3_bind_blob64, c_int, *content)
        self.column_count = _function(waiting.sqlite3_column_count, c_int, c_void_p)
        self.column_value = _function(waiting.sqlite3_column_value, c_void_p, c_void_p, c_int)
        self.extended_errcode = _function(waiting.sqlite3_extended_errcode, c_int, c_void_p)
        self.errmsg = _function(waiting.sqlite3_errmsg, c_char_p, c_void_p)
        self.get_autocommit = _function(waiting.sqlite3_get_autocommit, c_int, c_void_p)
        self.database_readonly = _function(waiting.sqlite3_db_readonly, c_int, c_void_p, c_char_p)
        self.database_filename = _function(waiting.sqlite3_db_filename, c_char_p, c_void_p, c_char_p)
        self.declare_vtab = _function(waiting.sqlite3_declare_vtab, c_int, c_void_p, c_char_p)
        self._auto_extension = _function(waiting.sqlite3_auto_extension, c_int, c_void_p)
        self._cancel_auto_extension = _function(waiting.sqlite3_cancel_auto_extension, c_int, c_void_p)
        # These return at once.
        quick = ctypes.PyDLL(path)
        self.free_address = ctypes.cast(quick.sqlite3_free, c_void_p).value
        self.free = _function(quick.sqlite3_free, None, c_void_p)
        self.malloc = _function(quick.sqlite3_malloc64, c_void_p, c_uint64)
        self.value_type = _function(quick.sqlite3_value_type, c_int, c_void_p)
        self.value_int64 = _function(quick.sqlite3_value_int64, c_int64, c_void_p)
        self.value_double = _function(quick.sqlite3_value_double, c_double, c_void_p)
        self.value_text = _function(quick.sqlite3_value_text, c_void_p, c_void_p)
        self.value_blob = _function(quick.sqlite3_value_blob, c_void_p, c_void_p)
        self.value_bytes = _function(quick.sqlite3_value_bytes, c_int, c_void_p)
        self.result_null = _function(quick.sqlite3_result_null, None, c_void_p)
        self.result_int64 = _function(quick.sqlite3_result_int64, None, c_void_p, c_int64)
        self.result_double = _function(quick.sqlite3_result_double, None, c_void_p, c_double)
        self.result_text = _function(quick.sqlite3_result_text64, None, c_void_p, c_char_p, c_uint64, c_void_p, c_ubyte)
        self.result_blob = _function(quick.sqlite3_result_blob64, None, c_void_p, c_char_p, c_uint64, c_void_p)
        self.result_error = _function(quick.sqlite3_result_error, None, c_void_p, c_char_p, c_int)
        self.aggregate_context = _function(quick.sqlite3_aggregate_context, c_void_p, c_void_p, c_int)
        self._opened: list[int] = []
        # SQLite may be about to call it in another thread when it is cancelled: it lives as long as the library.
        prototype = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p)
        self._notice = prototype(self._note)

    def read(self, value: int) -> SQLValue:
        """Return a copy of what SQLite passes to a function."""
        kind = self.value_type(value)
        if kind == _INTEGER:
            return int(self.value_int64(value))
        if kind == _FLOAT:
            return float(self.value_double(value))
        if kind not in (_TEXT, _BLOB):
            return None
        # The text before its length: the conversion to UTF-8 may change that.
        address = (self.value_text if kind == _TEXT else self.value_blob)(value)
        size = self.value_bytes(value)
        if address is None and (kind == _TEXT or size):
            raise MemoryError
        content = ctypes.string_at(address, size) if size else b""
        return content.decode() if kind == _TEXT else content

    def give(self, context: int, value: SQLValue) -> None:
        """Make a copy of a value the result of a function, or of a column.

        Raises OverflowError, TypeError or UnicodeEncodeError for what SQLite can't store.
        """
        if value is None:
            self.result_null(context)
        elif isinstance(value, int):
            self.result_int64(context, _within_64_bits(value))
        elif isinstance(value, float):
            self.result_double(context, value)
        elif isinstance(value, str):
            content = value.encode()
            self.result_text(context, content, len(content), _COPY_IT, _UTF8)
        elif isinstance(value, bytes):
            self.result_blob(context, value, len(value), _COPY_IT)
        else:
            raise _not_storable(value)

    def bind(self, statement: int, place: int, value: SQLValue) -> None:
        """Make a copy of a value a parameter of a statement. Raises as `give` does."""
        if value is None:
            self._bind_null(statement, place)
        elif isinstance(value, int):
            self._bind_int64(statement, place, _within_64_bits(value))
        elif isinstance(value, float):
            self._bind_double(statement, place, value)
        elif isinstance(value, str):
            content = value.encode()
            self._bind_text(statement, place, content, len(content), _COPY_IT, _UTF8)
        elif isinstance(value, bytes):
            self._bind_blob(statement, place, value, len(value), _COPY_IT)
        else:
            raise _not_storable(value)

    def _note(self, handle: int, _message_at: int, _functions: int) -> int:
        self._opened.append(handle)
        return 0

    def serves_this_python(self) -> bool:
        """Return whether `sqlite3` calls this library, and its connections keep their handle where we look.

        An automatic extension (https://www.sqlite.org/c3ref/auto_extension.html) is told the handle of every
        connection that this library opens.
        """
        self._opened.clear()
        if self._auto_extension(self._notice) != _OK:
            return False
        try:
            connection = sqlite3.connect(":memory:")
        finally:
            self._cancel_auto_extension(self._notice)
        try:
            return self.handle(connection) in self._opened
        finally:
            connection.close()

    def handle(self, connection: sqlite3.Connection) -> int | None:
        """Return the address of a connection's `sqlite3` structure, the first field after the object's header.

        Raises what `sqlite3` raises for a connection that is closed or belongs to another thread.
        """
        if not isinstance(connection, sqlite3.Connection):
            raise InputError(f"connection is a {type(connection).__qualname__}: it must be a sqlite3.Connection")
        sqlite3.Connection.cursor(connection).close()
        return c_void_p.from_address(id(connection) + object.__basicsize__).value


def _within_64_bits(value: int) -> int:
    if not -(1 << 63) <= value < 1 << 63:
        raise OverflowError(f"{value} does not fit into the 64 bits of a SQLite integer")
    return value


def _not_storable(value: object) -> TypeError:
    return TypeError(f"a {type(value).__qualname__} is nothing that SQLite stores: {value!r}")


def _function(function: Any, result: Any, *arguments: Any) -> Callable[..., Any]:
    function.restype, function.argtypes = result, arguments
    return function  # type: ignore[no-any-return]  # ctypes has no better type


@functools.cache
def library() -> Library:
    """Return the library that `sqlite3` uses. Raises MissingDependencyError when it can't be reached."""
    import _sqlite3

    # dlsym finds what the extension module is linked to; where Python is one file, what is linked into that.
    for path in (getattr(_sqlite3, "__file__", None), None):
        found = _open(path)
        if found is not None:
            return found
    raise MissingDependencyError(
        f"the sqlite3 module of this Python ({sys.executable}) hides its SQLite library, so it can't have table "
        "functions: open the database with sqlrag.connect(path) or apsw.Connection(path) instead, which work everywhere"
    )


def _open(path: str | None) -> Library | None:
    """Return the library when it has the functions and is proved to be that of `sqlite3`."""
    # The place of an object's first field is known of CPython only.
    if sys.implementation.name != "cpython":
        return None
    try:
        found = Library(path)
    except (OSError, AttributeError, TypeError):  # the last one: Windows has no handle of the whole process
        return None
    return found if found.serves_this_python() else None
