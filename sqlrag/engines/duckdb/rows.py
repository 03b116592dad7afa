"""The rows of a DuckDB statement."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import duckdb

from sqlrag.engines.duckdb.error_translation import Raised, translated
from sqlrag.engines.open_rows import EngineRows, Row
from sqlrag.errors import SQLError
from sqlrag.process.call_lock import CallLock
from sqlrag.results.rows import columns_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DuckDBRows"]

_FETCH_ROWS = 1_000

_MOST_DRAINED = 1_000_000
"""The most unread rows that are kept while another statement runs: a result may not fit into memory."""

_STATUS = (["Count"], ["Success"])
"""The columns that DuckDB reports for a statement without rows, such as CREATE or INSERT."""


class DuckDBRows(EngineRows):
    """The rows of a DuckDB statement. A connection holds one result, so it is drained before the next statement.

    `after_read` is called each time rows were fetched. If they are `exhausted`, the connection is free then.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        sql: str | duckdb.Statement,
        path: str,
        raised: Raised,
        *,
        call_lock: CallLock,
        after_read: Callable[[], None],
    ) -> None:
        described = connection.description or []
        if columns_of(described) in _STATUS and not _is_select(sql):
            connection.fetchall()
            described = []
        super().__init__(columns_of(described), [str(column[1]) for column in described], call_lock)
        self.exhausted = not self.columns
        self._connection = connection
        self._path = path
        self._raised = raised
        self._after_read = after_read

    def _fetched(self) -> list[Row]:
        with translated(self._path, self._raised):
            rows = self._connection.fetchmany(_FETCH_ROWS)
        self.exhausted = len(rows) < _FETCH_ROWS
        self._after_read()
        return rows

    def read_to_end(self) -> None:
        """Read the remaining rows, and keep none of them."""
        while not self.exhausted:
            self._fetched()

    def drain(self) -> None:
        """Take the remaining rows from the connection, at most _MOST_DRAINED. Reading beyond that is then an error."""
        if not self._keep(_MOST_DRAINED):
            self.exhausted = True
            self._error = SQLError(
                f"of this result more than {_MOST_DRAINED:,} rows had not been read when another statement ran, which "
                "ended it: read it to its end before, or on a connection of its own"
            )

    def _end(self) -> None:
        if not self.exhausted:
            with suppress(duckdb.Error):
                self._connection.execute("")  # a connection keeps its last result until another statement

    def arrow(self) -> pa.Table:
        """Return the remaining rows as an Arrow table, in DuckDB's own types unless some were read before."""
        rows = list(self._batch)
        if rows or self._kept or self.exhausted:
            self._batch = iter(rows)
            return super().arrow()
        with self._call_lock, translated(self._path, self._raised), warnings.catch_warnings():
            # DuckDB 2 advises con.sql(), which runs a statement when its result is asked for.
            warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)
            table = self._connection.to_arrow_table()
        self.exhausted = True
        self._after_read()
        return table


def _is_select(sql: str | duckdb.Statement) -> bool:
    found = duckdb.extract_statements(sql) if isinstance(sql, str) else [sql]
    return found[-1].type == duckdb.StatementType.SELECT
