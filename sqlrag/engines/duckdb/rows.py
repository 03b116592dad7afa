"""The rows of a DuckDB statement."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import duckdb

from sqlrag.engines.duckdb.error_translation import Raised, translated
from sqlrag.errors import Error, SQLError
from sqlrag.process.call_lock import CallLock
from sqlrag.results import columns_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DuckDBRows"]

_FETCH_ROWS = 1_000

_MOST_DRAINED = 1_000_000
"""The most unread rows that are kept while another statement runs: a result may not fit into memory."""

_STATUS = (["Count"], ["Success"])
"""The columns that DuckDB reports for a statement without rows, such as CREATE or INSERT."""


class DuckDBRows:
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
        self._described = connection.description or []
        self.columns = columns_of(self._described)
        if self.columns in _STATUS and not _is_select(sql):
            connection.fetchall()
            self.columns, self._described = [], []
        self._connection = connection
        self._path = path
        self._raised = raised
        self._call_lock = call_lock
        self._batch: Iterator[tuple[Any, ...]] = iter(())
        self._after_read = after_read
        self._drained: list[tuple[Any, ...]] = []
        self._error: Error | None = None
        self.exhausted = not self.columns

    @property
    def types(self) -> list[str | None]:
        """DuckDB's types of the columns."""
        return [str(column[1]) for column in self._described]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self

    def __next__(self) -> tuple[Any, ...]:
        self._call_lock.check()
        row = next(self._batch, None)
        while row is None:
            rows = self._more()
            if not rows:
                raise StopIteration
            self._batch = iter(rows)
            row = next(self._batch)
        return row

    def _more(self) -> list[tuple[Any, ...]]:
        """Return the next rows, or none at the end."""
        with self._call_lock:
            if self._drained:
                rows, self._drained = self._drained, []
                return rows
            if self._error is not None:
                raise self._error
            return [] if self.exhausted else self._fetched()

    def _fetched(self) -> list[tuple[Any, ...]]:
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
        """Take the remaining rows from the connection, at most _MOST_DRAINED.

        Reading beyond that is then an error. Errors that DuckDB raises meanwhile are also raised to the reader.
        """
        try:
            while not self.exhausted:
                if len(self._drained) >= _MOST_DRAINED:
                    raise SQLError(
                        f"of this result more than {_MOST_DRAINED:,} rows had not been read when another statement "
                        "ran, which ended it: read it to its end before, or on a connection of its own"
                    )
                self._drained += self._fetched()
        except Error as error:
            self._error, self.exhausted = error, True

    def close(self) -> None:
        """Give up the remaining rows, and the memory that DuckDB keeps them in."""
        if self._call_lock.is_closed or self._call_lock.is_inherited:
            return
        with self._call_lock, suppress(duckdb.Error):
            if not self.exhausted:
                self._connection.execute("")  # a connection keeps its last result until another statement
        self.exhausted, self._drained, self._error = True, [], None

    def arrow(self) -> pa.Table:
        """Return the remaining rows as an Arrow table, in DuckDB's own types."""
        import pyarrow as pa

        rows = list(self._batch)
        if rows or self._drained or self.exhausted:
            rows += self
            arrays = [pa.array([row[place] for row in rows]) for place in range(len(self.columns))]
            return pa.Table.from_arrays(arrays, names=self.columns)
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
