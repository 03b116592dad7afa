"""Checks a `filter` by compiling it on an empty table of the same columns, in memory, where there is nothing to reach.

While SQLite compiles a statement, it tells the authorizer (https://www.sqlite.org/c3ref/set_authorizer.html) all that
the statement would do. The user's own connection and its authorizer are not touched.

A filter may use every function of the connection, SQLite's, sqlrag's and the user's, except those that are made for
top-level SQL only (SQLITE_DIRECTONLY): they have effects, like load_extension() and the shell's writefile().
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import apsw

from sqlrag.store.driver.own_statements import set_aside
from sqlrag.store.filters import without_value
from sqlrag.store.names import quote, same_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlrag.store.registry import Connection

__all__ = ["FilterCompiler"]

_MISSING_FUNCTION = re.compile(r"no such function: (.+)")
_MISSING_COLLATION = re.compile(r"no such collation sequence: (.+)")


class FilterCompiler:
    """Compiles filters over the columns of one table.

    `connection` is only asked which functions and collations it has. What a filter does wrong with them shows when it
    is prepared on that connection.
    """

    def __init__(self, connection: Connection, table: str, columns: Sequence[str]) -> None:
        self._connection = connection
        self._table = table
        self._scratch = set_aside(apsw.Connection(":memory:"))
        # A name in double quotes is a column, never a text (https://www.sqlite.org/quirks.html#dblquote).
        self._scratch.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
        self._scratch.execute(f"CREATE TABLE {quote(table)} ({', '.join(map(quote, columns))})")
        self._selects = 0
        self._refused = ""
        self._with_effects: set[str] | None = None

    def problem(self, expression: str, values: Mapping[str, Any]) -> str | None:
        """Return why an expression cannot be a filter, None if it can; `values` are those of its parameters."""
        self._with_effects = None  # the application may have added a function since
        # SQLite's parser decides what is one expression, in three places. What ends a parenthesis and opens another,
        # like `a) OR (b`, is an expression in the first two, but not in the third, as a part of a window.
        table = quote(self._table)
        forms = (
            f"SELECT ({expression}\n) FROM {table} WHERE ({expression}\n)",
            f"SELECT 1 FROM {table} WINDOW filtered AS (ORDER BY {expression}\n)",
        )
        try:
            return next((problem for form in forms if (problem := self._problem(form, values))), None)
        finally:
            self._scratch.authorizer = None  # it holds this object

    def _problem(self, sql: str, values: Mapping[str, Any]) -> str | None:
        """Return why SQLite does not compile a statement, or why the authorizer refuses it."""
        known: set[str] = set()
        while True:
            self._selects = 0
            self._scratch.authorizer = self._authorize
            cursor = apsw.Cursor(self._scratch)
            # The statement is compiled and not run. Were it run, SQLite might compile it again for a value, and ask the
            # authorizer twice.
            cursor.exec_trace = lambda *_: False
            try:
                cursor.execute(sql, values, can_cache=False)
            except apsw.ExecTraceAbort:
                return None
            except apsw.AuthError:
                return self._refused
            except KeyError as error:
                return without_value(error.args[0])
            except apsw.SQLError as error:
                self._scratch.authorizer = None
                missing = str(error)
                if missing in known or not self._stand_in(missing):
                    return missing
                known.add(missing)

    def _authorize(
        self, action: int, first: str | None, second: str | None, _database: str | None, _inner: str | None
    ) -> int:
        if action == apsw.SQLITE_SELECT:
            self._selects += 1
            if self._selects == 1:
                return apsw.SQLITE_OK
            self._refused = "it is one expression over the table's columns, without a sub-query"
        elif action == apsw.SQLITE_READ:
            if first == self._table:
                return apsw.SQLITE_OK
            self._refused = f"it reads {first}, which is not its table"
        elif action == apsw.SQLITE_FUNCTION:
            if not self._has_effects(str(second)):
                return apsw.SQLITE_OK
            self._refused = f"{second}() has effects, and a filter only reads"
        else:
            self._refused = f"it does more than read ({apsw.mapping_authorizer_function[action]})"
        return int(apsw.SQLITE_DENY)

    def _has_effects(self, function: str) -> bool:
        if self._with_effects is None:
            sql = "SELECT lower(name) FROM main.pragma_function_list WHERE flags & ?"
            self._with_effects = {name for (name,) in self._connection.execute(sql, (apsw.SQLITE_DIRECTONLY,))}
        return function.lower() in self._with_effects

    def _stand_in(self, message: str) -> bool:
        """Give the scratch connection a function or collation that it lacks, if the user's connection has it."""
        function, collation = _MISSING_FUNCTION.fullmatch(message), _MISSING_COLLATION.fullmatch(message)
        if function and self._has("pragma_function_list", function[1]):
            self._scratch.create_scalar_function(function[1], lambda *_: None)
        elif collation and self._has("pragma_collation_list", collation[1]):
            self._scratch.create_collation(collation[1], lambda a, b: (a > b) - (a < b))
        else:
            return False
        return True

    def _has(self, pragma: str, name: str) -> bool:
        names = self._connection.execute(f"SELECT name FROM main.{pragma}")
        return any(same_name(one, name) for (one,) in names)
