"""Table functions in a connection of the standard library's `sqlite3`, as eponymous virtual tables.

The callbacks are Python functions that SQLite calls through ctypes. Two rules keep the memory safe:

1. What SQLite calls to give something back is C (`sqlite3_free`), never Python. A cursor or connection is often
   closed while an exception is on its way or the interpreter ends, and then Python code must not run.
   So nothing reports that a cursor was closed: its scan is dropped at the next opening that finds no other open.
   A registration lives in the connection, as a scalar function of it.
2. A callback that did not come to its end must not look like a success. An exception can strike before the first
   line of a function (Ctrl-C does), and ctypes then returns whatever lies in memory. See `_callback`.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import sqlite3
import threading
import weakref
from ctypes import c_int, c_int64, c_void_p, py_object
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from sqlrag.engines.sqlite.table_functions import Scan, plan
from sqlrag.store.driver.stdlib_library import Cursor, IndexInfo, Module, Table, library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlrag.engines.sqlite.table_functions import TableFunction

__all__ = ["create"]

# Numbers of https://www.sqlite.org/c3ref/constlist.html; sqlite3 has names for them only since Python 3.11.
_OK, _ERROR, _NOMEM, _INTERRUPT, _CONSTRAINT = 0, 1, 7, 9, 19
_EQUALS = 2


def create(connection: sqlite3.Connection, function: TableFunction) -> None:
    """Make `SELECT * FROM name(arguments)` work in a connection.

    What `rows` raises becomes the text of the sqlite3.OperationalError that the statement ends with. `rows` lives as
    long as the connection and should not hold it, or only `connection.close()` frees the two. Raises
    MissingDependencyError when the C library can't be reached.
    """
    handle = library().handle(connection)
    _binding().register(connection, handle, _Registration(function))


class _Constraints:
    """The C structure sqlite3_index_info as `plan` sees it."""

    def __init__(self, info: IndexInfo) -> None:
        self._info = info

    def equalities(self) -> Iterator[tuple[int, int, bool]]:
        for number in range(self._info.nConstraint):
            constraint = self._info.aConstraint[number]
            if constraint.op == _EQUALS:
                yield number, constraint.iColumn, bool(constraint.usable)

    def use(self, number: int, position: int) -> None:
        usage = self._info.aConstraintUsage[number]
        usage.argvIndex, usage.omit = position, 1


class _Registration:
    """A table function in one connection."""

    def __init__(self, function: TableFunction) -> None:
        self.function = function
        self.scans: dict[int, Scan] = {}
        """The scan of each open cursor, by the cursor's address."""

    def declaration(self) -> bytes:
        return self.function.declaration().encode()


@functools.cache
def _binding() -> _Binding:
    binding = _Binding()
    # Connections may outlive this module when the interpreter ends: its C functions stay for ever.
    ctypes.pythonapi.Py_IncRef(py_object(binding))
    return binding


class _Binding:
    """The C side of all table functions: one `sqlite3_module` for the process."""

    def __init__(self) -> None:
        self._library = library()
        self._numbers = itertools.count(1)
        self._registrations: weakref.WeakValueDictionary[int, _Registration] = weakref.WeakValueDictionary()
        self._callbacks: list[object] = []
        self._outcome = threading.local()
        callback, pointer = self._callback, c_void_p
        in_table, in_cursor = self._fail, self._fail_in_cursor
        self._module = Module(
            xConnect=callback(self._connect, None, pointer, pointer, c_int, pointer, pointer, pointer),
            xBestIndex=callback(self._best_index, in_table, pointer, pointer),
            xDisconnect=self._library.free_address,
            xOpen=callback(self._open, in_table, pointer, pointer),
            xClose=self._library.free_address,
            xFilter=callback(self._filter, in_cursor, pointer, c_int, pointer, c_int, pointer),
            xNext=callback(self._next, in_cursor, pointer),
            # This one can't fail; that the end was not seen is an error in `_next` and `_column`.
            xEof=callback(self._at_end, None, pointer, otherwise=0),
            xColumn=callback(self._column, in_cursor, pointer, pointer, c_int),
            xRowid=callback(self._rowid, in_cursor, pointer, pointer),
        )

    def register(self, connection: sqlite3.Connection, handle: int | None, registration: _Registration) -> None:
        name = registration.function.name
        connection.create_function(f"{name} (table function)", 0, registration.declaration)
        number = next(self._numbers)
        self._registrations[number] = registration
        code = self._library.create_module(handle, name.encode(), ctypes.byref(self._module), number, None)
        if code != _OK:
            raise sqlite3.OperationalError(f"SQLite refuses the table function {name}: error {code}")

    def _callback(
        self,
        method: Callable[..., int],
        fail: Callable[[BaseException, int], int] | None,
        *arguments: Any,
        otherwise: int = _INTERRUPT,
    ) -> int | None:
        """Return the address of a C function that calls a method, and returns `otherwise` if that never ends.

        `fail` makes an error code of an exception and the first argument. Two C functions stand one behind the other:
        the inner one runs Python; the outer one runs none, so nothing can interrupt it. It sets the outcome to
        `otherwise`, as the conversion of an argument, calls the inner one, and ignores the result for the outcome.
        """
        outcome = self._outcome

        def run(_: None, *values: Any) -> None:
            try:
                code = method(*values)
            except BaseException as error:
                # The method may have run SQL, and that set the outcome too.
                outcome.code = otherwise
                if fail is None:
                    raise
                code = fail(error, values[0])
            outcome.code = code

        inner = ctypes.PYFUNCTYPE(None, c_void_p, *arguments)(run)
        set_outcome = SimpleNamespace(from_param=functools.partial(setattr, outcome, "code"))
        inner.argtypes = (set_outcome, *arguments)  # type: ignore[arg-type]  # whatever has a from_param does
        # getattr's third argument, a default that is never needed, is where ctypes puts the result.
        inner.restype = functools.partial(getattr, outcome, "code")
        outer = ctypes.CFUNCTYPE(c_int, *arguments)(functools.partial(inner, otherwise))
        self._callbacks.append(outer)
        return ctypes.cast(outer, c_void_p).value

    def _connect(self, handle: int, number: int, _argc: int, _argv: int, table_at: int, _message_at: int) -> int:
        registration = self._registrations[number]
        code = self._library.declare_vtab(handle, registration.declaration())
        if code == _OK:
            address = self._library.malloc(ctypes.sizeof(Table))
            if address is None:
                return _NOMEM
            ctypes.memset(address, 0, ctypes.sizeof(Table))
            Table.from_address(address).number = number
            c_void_p.from_address(table_at).value = address
        return int(code)

    def _best_index(self, table: int, info_at: int) -> int:
        info = IndexInfo.from_address(info_at)
        call = plan(self._registration(table).function, _Constraints(info))
        if call is None:
            return _CONSTRAINT
        info.idxNum, info.estimatedRows = call.given, call.rows
        if call.cost is not None:
            info.estimatedCost = call.cost
        return _OK

    def _open(self, table: int, cursor_at: int) -> int:
        registration = self._registration(table)
        if Table.from_address(table).nRef == 0:
            registration.scans.clear()
        address = self._library.malloc(ctypes.sizeof(Cursor))
        if address is None:
            return _NOMEM
        registration.scans[address] = Scan(registration.function)
        c_void_p.from_address(cursor_at).value = address
        return _OK

    def _filter(self, cursor: int, given: int, _name: int | None, count: int, values_at: int | None) -> int:
        # SQLite passes no array where there are no values.
        values: Any = (c_void_p * count).from_address(values_at) if values_at is not None else ()
        self._scan(cursor).start(given, [self._library.read(value) for value in values])
        return _OK

    def _next(self, cursor: int) -> int:
        scan = self._scan(cursor)
        if scan.at_end():
            return _INTERRUPT
        scan.advance()
        return _OK

    def _at_end(self, cursor: int) -> int:
        return int(self._scan(cursor).at_end())

    def _column(self, cursor: int, context: int, column: int) -> int:
        self._library.give(context, self._scan(cursor).value(column))
        return _OK

    def _rowid(self, cursor: int, rowid_at: int) -> int:
        c_int64.from_address(rowid_at).value = self._scan(cursor).rowid()
        return _OK

    def _registration(self, table: int) -> _Registration:
        return self._registrations[Table.from_address(table).number]

    def _scan(self, cursor: int) -> Scan:
        return self._registration(Cursor.from_address(cursor).pVtab).scans[cursor]

    def _fail_in_cursor(self, error: BaseException, cursor: int) -> int:
        return self._fail(error, Cursor.from_address(cursor).pVtab)

    def _fail(self, error: BaseException, table: int) -> int:
        """Give the text of an error to SQLite, which frees the memory."""
        structure = Table.from_address(table)
        self._library.free(structure.zErrMsg)
        # An error without a text, like KeyboardInterrupt, is known by its name.
        text = (str(error) or type(error).__name__).encode(errors="replace") + b"\0"
        structure.zErrMsg = self._library.malloc(len(text))
        if structure.zErrMsg is None:
            return _NOMEM
        ctypes.memmove(structure.zErrMsg, text, len(text))
        return _ERROR
