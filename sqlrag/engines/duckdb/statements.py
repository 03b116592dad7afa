"""Running the user's statements on a DuckDB connection, again if an index that one asks lacked rows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

import duckdb

from sqlrag.engines.duckdb.asked_indexes import AskedIndexes
from sqlrag.engines.duckdb.error_translation import Raised, StaleIndexError, translated
from sqlrag.engines.duckdb.parameters import DIALECT
from sqlrag.engines.duckdb.rows import DuckDBRows
from sqlrag.values.sql_lexer import significant

if TYPE_CHECKING:
    from sqlrag.engines.functions import Functions
    from sqlrag.indexing.freshness import Freshness
    from sqlrag.process.call_lock import CallLock
    from sqlrag.store.registry import IndexRecord

__all__ = ["Bindings", "Statements"]

Bindings = dict[str, Any] | list[Any]
"""Parameters of a statement, with or without names."""

_TRANSACTION = frozenset({"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT"})
"""The first words of the statements that begin or end a transaction."""

_TRANSACTION_ID = "SELECT system.main.txid_current()"


class Statements:
    """Runs the statements of one connection, and knows whether the user has a transaction open.

    `freshness` returns what indexes changed rows before a query, or None.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        path: str,
        raised: Raised,
        *,
        call_lock: CallLock,
        asking: AskedIndexes,
        freshness: Callable[[], Freshness | None],
        read_only: bool,
    ) -> None:
        self._connection = connection
        self._path = path
        self._raised = raised
        self._call_lock = call_lock
        self.asking = asking
        self._freshness = freshness
        self._read_only = read_only
        self._functions: Functions
        self._main: str
        self._open_rows: DuckDBRows | None = None
        self.in_transaction = False

    def begin(self, functions: Functions, main: str) -> None:
        """Set the SQL functions of the connection, and the schema of its own tables."""
        self._functions, self._main = functions, main

    def hindrance(self) -> str | None:
        """Return why no rows can be indexed that the user's next statement sees, None where they can."""
        if self._read_only:
            return "this connection is read-only"
        return "nothing is brought in within a transaction: COMMIT it first" if self.in_transaction else None

    def drain(self) -> None:
        """Take the unread rows of the last result from the connection, which holds one result at a time."""
        if self._open_rows is not None:
            self._open_rows.drain()

    def run(self, sql: str, bindings: Bindings) -> DuckDBRows:
        """Run the statements of a text one by one; return the rows of the last."""
        with translated(self._path, self._raised):
            *before, last = _statements(sql, bindings)
        try:
            with self._functions.stop.at_ctrl_c():
                for one in before:  # one by one, so that a statement that has run is not run again with a later one
                    self._rows_of(*one).read_to_end()
                self._open_rows = self._rows_of(*last)
        except KeyboardInterrupt:
            self._connection.interrupt()  # DuckDB 1.5 would go on, and the next statement would wait
            raise
        return self._open_rows

    def _rows_of(self, sql: str | duckdb.Statement, bindings: Bindings) -> DuckDBRows:
        """Run one statement, again if an index that it asks lacked rows; return its rows."""
        may_stop = self.hindrance() is None and self._freshness() is not None
        self.asking.begin(may_stop=may_stop, in_transaction=self.in_transaction)
        try:
            while not self._ran(sql, bindings):
                self._functions.begin_statement()
            self.asking.may_stop = False
            with translated(self._path, self._raised):
                rows = DuckDBRows(
                    self._connection,
                    sql,
                    self._path,
                    self._raised,
                    call_lock=self._call_lock,
                    after_read=lambda: self._warn(rows),
                )
        finally:
            if _is_of_transaction(sql):
                self.in_transaction = self._is_in_transaction()
        self._warn(rows)
        return rows

    def _ran(self, sql: str | duckdb.Statement, bindings: Bindings) -> bool:
        """Run a statement; return False if it was stopped because an index lacked rows, which are indexed now."""
        try:
            with translated(self._path, self._raised):
                self._connection.execute(sql, bindings)
        except StaleIndexError as stale:
            freshness = self._freshness()
            if freshness is not None and not self.asking.is_fresh(stale.record):
                freshness.freshen(stale.record)
            self.asking.again(stale.record)
            return False
        return True

    def _is_in_transaction(self) -> bool:
        """Tell whether the user has a transaction open: outside of one, each statement is a transaction of its own."""
        try:
            first, second = (self._connection.execute(_TRANSACTION_ID).fetchall() for _ in range(2))
        except duckdb.Error:  # one that an error has ended, and that waits for its ROLLBACK
            return True
        return bool(first == second)

    def _warn(self, rows: DuckDBRows) -> None:
        """Warn of rows that the asked indexes lacked, as soon as that can be known."""
        freshness = self._freshness()
        if freshness is None:
            return
        if not self.in_transaction:
            late = self.hindrance() or "they came while this statement ran, or its result was being read"
            for record in self.asking.late.values():
                freshness.freshen(record, late=late)
            for record in self.asking.newer.values():
                freshness.warn_of_newer(record, "statement")
            self.asking.late, self.asking.newer = {}, {}
        elif rows.exhausted:
            asked, self.asking.asked = self.asking.asked, {}
            for record in asked.values():
                freshness.freshen(record, late=self.hindrance())
                if record.version != self._version_seen(record):
                    freshness.warn_of_newer(record, "transaction")

    def _version_seen(self, record: IndexRecord) -> int | None:
        """Return the version of an index that the user's transaction sees."""
        sql = f"SELECT version FROM {self._main}.sqlrag_indexes WHERE name = ?"
        with translated(self._path):
            return next((version for (version,) in self._connection.execute(sql, [record.name]).fetchall()), None)


def _statements(sql: str, bindings: Bindings) -> list[tuple[str | duckdb.Statement, Bindings]]:
    """Return the statements of a text, each with its parameters. Values without a name belong to the last one."""
    if ";" not in sql.rstrip("; \t\r\n"):
        return [(sql, bindings)]
    found = duckdb.extract_statements(sql)
    if not found:
        return [(sql, bindings)]
    if isinstance(bindings, dict):
        return [(one, {name: bindings[name] for name in one.named_parameters}) for one in found]
    return [*((one, []) for one in found[:-1]), (found[-1], bindings)]


def _is_of_transaction(sql: str | duckdb.Statement) -> bool:
    """Tell whether a statement begins or ends a transaction."""
    if isinstance(sql, str):
        return any(one.text.upper() in _TRANSACTION for one in islice(significant(sql, DIALECT), 1))
    return bool(sql.type == duckdb.StatementType.TRANSACTION)
