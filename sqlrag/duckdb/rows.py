"""The rows of a DuckDB statement, and whether it has any."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import duckdb

from sqlrag.duckdb.errors import Raised, translated
from sqlrag.errors import SQLError
from sqlrag.results import columns_of
from sqlrag.turns import Turns

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DuckDBRows"]

_FETCH_ROWS = 1_000

_MOST_DRAINED = 1_000_000
"""Unread rows that are kept while another statement runs: a result may have more of them than memory takes."""

_STATUS = (["Count"], ["Success"])
"""What DuckDB answers to a statement that has no rows, such as CREATE or INSERT."""


class DuckDBRows:
    """The rows of a DuckDB statement. The connection holds one result: it is drained before the next statement."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, sql: str, path: str, raised: Raised, turns: Turns
    ) -> None:
        self._described = connection.description or []
        self.columns = columns_of(self._described)
        if self.columns in _STATUS and duckdb.extract_statements(sql)[-1].type != duckdb.StatementType.SELECT:
            connection.fetchall()
            self.columns, self._described = [], []
        self._connection = connection
        self._path = path
        self._raised = raised
        self._turns = turns
        self._drained: list[tuple[Any, ...]] | None = None
        self._cut = False
        self._exhausted = not self.columns

    @property
    def types(self) -> list[str | None]:
        """DuckDB's types of the columns."""
        return [str(column[1]) for column in self._described]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while rows := self._more():
            yield from rows

    def _more(self) -> list[tuple[Any, ...]]:
        """Return the next rows, none at the end."""
        with self._turns:
            if self._drained is not None:
                rows, self._drained = self._drained, []
                if self._cut and not rows:
                    raise SQLError(
                        f"of this result more than {_MOST_DRAINED:,} rows had not been read when another statement "
                        "ran, which ended it: read it to its end before, or on a connection of its own"
                    )
                return rows
            if self._exhausted:
                return []
            with translated(self._path, self._raised):
                rows = self._connection.fetchmany(_FETCH_ROWS)
            self._exhausted = not rows
            return rows

    def drain(self) -> None:
        """Take what is left from the connection, as far as _MOST_DRAINED; reading beyond that is an error then."""
        if self._exhausted or self._drained is not None:
            return
        self._drained = []
        with translated(self._path, self._raised):
            while rows := self._connection.fetchmany(_FETCH_ROWS):
                if len(self._drained) >= _MOST_DRAINED:
                    self._cut = True
                    return
                self._drained += rows

    def close(self) -> None:
        """Give up what is left; the next statement takes the connection."""
        self._exhausted, self._drained = True, None

    def arrow(self) -> pa.Table:
        """Return what is left as an Arrow table, in DuckDB's own types."""
        import pyarrow as pa

        if self._drained is not None or self._exhausted:
            rows = list(self)
            arrays = [pa.array([row[place] for row in rows]) for place in range(len(self.columns))]
            return pa.Table.from_arrays(arrays, names=self.columns)
        with self._turns, translated(self._path, self._raised), warnings.catch_warnings():
            # DuckDB 2 advises con.sql(), which runs a statement when its result is asked for.
            warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)
            table = self._connection.to_arrow_table()
        self._exhausted = True
        return table
