"""The functions in a connection that somebody else opened, and what keeps its indexes in step.

All of it runs through the connection itself, so that an application of the standard library's sqlite3 needs no second
SQLite library to index its own tables (two in one process can damage a file,
https://www.sqlite.org/howtocorrupt.html#multiple_copies_of_sqlite_linked_into_the_same_application).

A query brings in what is queued while the statement that asks runs: it reads, so another one may write beside it. That
cannot be where the statement writes itself, nor inside of a transaction of the application's: then a warning says so.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast

from sqlrag.engines.functions import Functions
from sqlrag.engines.sqlite.engine import SQLiteEngine
from sqlrag.engines.sqlite.functions import (
    SQLiteIndexes,
    aggregate_functions,
    give_functions,
    scalar_functions,
    under_both_names,
)
from sqlrag.errors import InputError, MissingDependencyError
from sqlrag.store.driver.extensions import load_vec
from sqlrag.store.driver.opening import HURRIED_MS
from sqlrag.store.driver.own_statements import APSWStatements
from sqlrag.store.writer import upgrade

if TYPE_CHECKING:
    import sqlite3

    import apsw

    from sqlrag.engines.options import ConnectionOptions
    from sqlrag.engines.sqlite.table_functions import SQLValue
    from sqlrag.store.driver.stdlib_statements import StdlibStatements
    from sqlrag.store.encoders import Encoders
    from sqlrag.store.registry import IndexRecord

__all__ = ["RegisteredEngine", "register_apsw", "register_stdlib"]

Result = TypeVar("Result")

AddFunction = Callable[[str, "Callable[..., int]", int], None]
"""Makes a function callable as SQL, with so many arguments, by the user's own statements alone."""


class RegisteredEngine(SQLiteEngine):
    """The engine behind a connection that somebody else opened."""

    def __init__(
        self,
        own: APSWStatements | StdlibStatements,
        indexes: SQLiteIndexes,
        functions: Functions,
        encoders: Encoders,
        add_function: AddFunction,
        *,
        read_only: bool,
    ) -> None:
        path = own.filename or "this database"
        # What runs our statements has of an apsw.Connection all that is needed.
        read_only = read_only or own.readonly("main")
        self._begin(cast("apsw.Connection", own), indexes, path, encoders, read_only=read_only)
        self.functions = functions
        self._add_function = add_function

    def freshen(self, record: IndexRecord) -> bool:
        """Bring changed rows into an index that is about to be searched; return whether it may have changed."""
        if self.freshness is None or (self.indexes.seen and self._changes.is_fresh(record, self.indexes.seen)):
            return False
        self.freshness.freshen(record)
        return True

    def add_maintenance(self, name: str, function: Callable[..., int], arguments: Sequence[int]) -> None:
        """Make a function that changes the database callable as SQL, but not from a view or trigger of the file's."""
        for count in arguments:
            self._add_function(name, function, count)

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Wait for other processes' writes no longer than a query may; a handler of the application's stays."""
        ((waits,),) = self.connection.execute("PRAGMA busy_timeout")
        if waits <= HURRIED_MS:
            yield
            return
        # A statement from the cache would set nothing.
        list(self.connection.execute(f"PRAGMA busy_timeout = {HURRIED_MS}", can_cache=False))
        try:
            yield
        finally:
            list(self.connection.execute(f"PRAGMA busy_timeout = {waits}", can_cache=False))

    def _check_writable(self, what: str = "written to") -> None:
        super()._check_writable(what)
        contents = self.indexes.look()
        contents.check_version(self.path)
        if contents.exists and not contents.is_current:
            upgrade(self.connection)


def register_apsw(connection: apsw.Connection, encoders: Encoders, options: ConnectionOptions) -> RegisteredEngine:
    """Give an APSW connection of the user's the functions and sqlite-vec."""
    import apsw

    from sqlrag.store.score_table import table_in

    own = APSWStatements(connection)
    indexes = SQLiteIndexes(own)
    encoders.use_recorded(indexes.default_embedder())
    table = table_in(connection, options.score_cache)
    functions = give_functions(connection, indexes, encoders, options, table)
    weakref.finalize(functions, table.close)  # the functions go with the connection

    def add(name: str, function: Callable[..., int], arguments: int) -> None:
        connection.create_scalar_function(name, function, arguments, flags=apsw.SQLITE_DIRECTONLY)

    return RegisteredEngine(own, indexes, functions, encoders, add, read_only=options.read_only)


def register_stdlib(connection: sqlite3.Connection, encoders: Encoders, options: ConnectionOptions) -> RegisteredEngine:
    """Give a connection of the standard library's sqlite3 the functions and sqlite-vec.

    Raises MissingDependencyError where this Python was built without extension loading, InputError for a score cache.
    """
    import sqlrag.engines.sqlite.stdlib_functions as scalars
    import sqlrag.engines.sqlite.stdlib_tables as tables
    from sqlrag.store.driver.stdlib_statements import StdlibStatements

    if not hasattr(connection, "enable_load_extension"):
        raise MissingDependencyError(
            "this Python's sqlite3 was built without extension loading, which sqlite-vec needs: "
            "open the database with sqlrag.connect(path) or with apsw.Connection(path) instead of sqlite3, not beside "
            "it: both are installed with sqlrag, and two SQLite libraries in one process damage a file"
        )
    if options.score_cache is not None:
        raise InputError(
            f"score_cache is {options.score_cache}: the cache is written through APSW's own SQLite, and two SQLite "
            "libraries in one process can damage a file: register an apsw.Connection, use sqlrag.connect(path), or "
            "leave it out"
        )
    load_vec(connection)
    own = StdlibStatements(connection)
    indexes = SQLiteIndexes(own)
    encoders.use_recorded(indexes.default_embedder())
    functions = options.functions(indexes, encoders, None)
    outer = _Outermost(functions)
    for name, counts, function in scalar_functions(functions):
        for arguments in counts:
            scalars.create(connection, name, arguments, outer.inside(function))
    for name, arguments, aggregate in aggregate_functions():
        scalars.create_aggregate(connection, name, arguments, aggregate)
    for table_function in under_both_names(functions):
        tables.create(connection, replace(table_function, rows=outer.inside(table_function.rows)))

    def add(name: str, function: Callable[..., int], arguments: int) -> None:
        scalars.create(connection, name, arguments, outer.inside(function), with_effects=True)

    connection.set_trace_callback(outer.trace)
    return RegisteredEngine(own, indexes, functions, encoders, add, read_only=options.read_only)


class _Outermost:
    """Tells the user's statements from those that the functions run inside of them; a trace callback sees both."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._depth = 0

    def inside(self, function: Callable[..., Result]) -> Callable[..., Result]:
        """Return a function whose own SQL counts as part of the statement that calls it."""

        def call(*arguments: SQLValue) -> Result:
            self._depth += 1
            try:
                return function(*arguments)
            finally:
                self._depth -= 1

        return call

    def trace(self, _sql: str) -> None:
        """Begin a statement, if it is the user's."""
        if not self._depth:
            self._functions.stop.begin()
            self._functions.begin_statement()
