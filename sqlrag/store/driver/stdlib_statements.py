"""Our statements on a connection of the standard library's sqlite3, as `sqlrag.store.driver.own_statements` says."""

from __future__ import annotations

import ctypes
import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from ctypes import c_void_p
from typing import TYPE_CHECKING, Any

from sqlrag.store.driver.error_translation import apsw_error
from sqlrag.store.driver.stdlib_library import library

if TYPE_CHECKING:
    from sqlrag.store.driver.own_statements import Bindings
    from sqlrag.store.driver.stdlib_library import Library

__all__ = ["StdlibStatements"]

_OK, _ROW, _DONE = 0, 100, 101
_TXN_WRITE = 2


class StdlibStatements:
    """Runs our statements on an application's `sqlite3.Connection`, through the C library that it uses itself.

    The module's own cursors take the connection's text factory and the process's converters and adapters, and open
    transactions by themselves. Statements are read as far as they are asked for; what is left ends with the iterator.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._sqlite = library()
        name = self._sqlite.database_filename(self._handle(), b"main")
        self.filename = name.decode(errors="surrogateescape") if name else ""

    def execute(self, statement: str, bindings: Bindings = None, /, *, can_cache: bool = True) -> Rows:
        """Run statements and return their rows, those of the last as they are asked for."""
        del can_cache  # none is kept
        return Rows(self._run(statement, [bindings]))

    def executemany(self, statement: str, bindings: Iterable[Any], /) -> Rows:
        """Run a statement once for each of the bindings; without any it is not compiled, as by apsw."""
        for first in (given := iter(bindings)):
            return Rows(self._run(statement, itertools.chain([first], given)))
        return Rows(iter(()))

    def getautocommit(self) -> bool:
        """Tell whether no transaction is open."""
        return bool(self._sqlite.get_autocommit(self._handle()))

    def readonly(self, schema: str) -> bool:
        """Tell whether an attached database is read-only."""
        return bool(self._sqlite.database_readonly(self._handle(), schema.encode()) == 1)

    def txn_state(self) -> int:
        """Return apsw.SQLITE_TXN_WRITE while a statement that writes runs, as far as it is not known otherwise."""
        handle, running = self._handle(), None
        while running := self._sqlite.next_statement(handle, running):
            if self._sqlite.is_running(running) and not self._sqlite.is_reading(running):
                return _TXN_WRITE
        return 0

    def last_insert_rowid(self) -> int:
        """Return the rowid of the row that was inserted last."""
        return int(self._sqlite.last_insert_rowid(self._handle()))

    def _handle(self) -> int | None:
        """Return the handle; raises what `sqlite3` does for a connection that is closed or another thread's."""
        return self._sqlite.handle(self._connection)

    def _run(self, text: str, many: Iterable[Bindings]) -> Iterator[tuple[Any, ...]]:
        rest = text.encode()
        while rest:
            prepared, rest = self._prepare(rest)
            if prepared is None:  # blanks or a comment
                continue
            try:
                for bindings in many:
                    _bind(self._sqlite, prepared, bindings)
                    yield from self._rows(prepared)
                    self._sqlite.reset(prepared)
            finally:
                self._sqlite.finalize(prepared)

    def _prepare(self, text: bytes) -> tuple[int | None, bytes]:
        """Return the first statement of a text, None for one that does nothing, and the rest of the text."""
        handle, statement, tail = self._handle(), c_void_p(), c_void_p()
        buffer = ctypes.create_string_buffer(text)
        start = ctypes.addressof(buffer)
        code = self._sqlite.prepare(handle, start, len(text) + 1, ctypes.byref(statement), ctypes.byref(tail))
        self._check(code)
        return statement.value, text[(tail.value or start) - start :]

    def _rows(self, prepared: int) -> Iterator[tuple[Any, ...]]:
        columns = range(self._sqlite.column_count(prepared))
        while (code := self._sqlite.step(prepared)) == _ROW:
            values = [self._sqlite.column_value(prepared, column) for column in columns]
            yield tuple(map(self._sqlite.read, values))
            self._handle()
        if code != _DONE:
            self._check(code)

    def _check(self, code: int) -> None:
        """Raise apsw's error for a result code."""
        if code != _OK:
            handle = self._handle()
            message = self._sqlite.errmsg(handle).decode(errors="replace")
            raise apsw_error(self._sqlite.extended_errcode(handle) or code, message)


class Rows:
    """The rows of statements that have begun, as apsw's cursor has them."""

    def __init__(self, rows: Iterator[tuple[Any, ...]]) -> None:
        self._rows = rows
        # To the first row: a statement without rows is done when `execute` returns.
        self._first = next(rows, None)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self

    def __next__(self) -> tuple[Any, ...]:
        if self._first is None:
            return next(self._rows)
        row, self._first = self._first, None
        return row

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return what is left."""
        return list(self)

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, None after the last."""
        return next(self, None)


def _bind(sqlite: Library, prepared: int, bindings: Bindings) -> None:
    """Give the parameters of a statement their values; a mapping may have more than it needs."""
    sqlite.clear_bindings(prepared)
    for number in range(1, sqlite.bind_parameter_count(prepared) + 1):
        if isinstance(bindings, Mapping):
            name = sqlite.bind_parameter_name(prepared, number)
            value = bindings[(name or b"?").decode()[1:]]
        else:
            value = (bindings or ())[number - 1]
        sqlite.bind(prepared, number, value)
