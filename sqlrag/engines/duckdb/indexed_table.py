"""An index over a table of a DuckDB database: changes are found by comparing hashes of every row's text.

DuckDB 2.0 has triggers, but rejects upserts and MERGE on a table that has one ("not yet supported", tried with 2.0.0),
so the user's own statements would fail. Comparing 100,000 rows takes a twentieth of a second, and misses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlrag.engines.changed_rows import Limits, QueuedRow
from sqlrag.engines.duckdb.error_translation import translated
from sqlrag.engines.duckdb.index_tables import DuckDBTables
from sqlrag.engines.duckdb.table_schema import checked_source, checked_types, key_expression, rows_of
from sqlrag.engines.indexed_table import IndexedTable
from sqlrag.errors import LockedError
from sqlrag.store.names import quote
from sqlrag.store.statements import statement

if TYPE_CHECKING:
    import duckdb

    from sqlrag.engines.duckdb.indexes import DuckDBIndexes
    from sqlrag.store.registry import IndexRecord
    from sqlrag.text.documents import Part

__all__ = ["DuckDBIndexedTable"]


class DuckDBIndexedTable(IndexedTable[DuckDBTables]):
    """Keeps one index in step with the table or view that it is over."""

    repair_makes_keys_anew = True

    def __init__(
        self, database: duckdb.DuckDBPyConnection, path: str, indexes: DuckDBIndexes, record: IndexRecord
    ) -> None:
        super().__init__(DuckDBTables(database, path, indexes, record))
        self._path = path
        self._duckdb = database
        self._found: dict[Any, None] = {}
        """The keys of rows that the last comparison found and that are not written yet."""
        self._without_key: list[QueuedRow] = []

    def repeated(self) -> list[Any]:
        """Return a key that several rows have, if there is one. Raises InputError for a text of bytes."""
        sql = f"SELECT key FROM ({self._select()}) GROUP BY key HAVING count(*) > 1 LIMIT 1"
        return self.tables.column(sql)

    def differences(self) -> list[Any]:
        """Return the keys of the rows that came, changed or went since the index looked at them."""
        return self.tables.column(self.differences_statement())

    def differences_statement(self) -> str:
        """Return the SELECT of these keys, for any connection. Raises DatabaseError if the source has changed."""
        table = checked_source(self._duckdb, self.record)  # raises if it is gone
        source = rows_of(self._source, table.types, self.tables.main)
        self.check_key(table)
        return statement("duckdb/differences", index=self.record.name, main=self.tables.main, source=source)

    def prepare(self, *, compare: bool) -> None:
        """Compare every row. With `compare`, also look for rows without a key, to name them in the report."""
        with translated(self._path):
            self._found = dict.fromkeys(self.differences())
            self._without_key = self._rows_without_key() if compare else []
            for key in self.repeated() if self._found else ():
                raise self._several_rows(key)

    def backlog(self) -> int:
        """Return how many rows of the last comparison are not written yet."""
        return len(self._found)

    def entries(self) -> int:
        """Return how many entries the queue has: each row once, and the rows without a key."""
        return len(self._found) + len(self._without_key)

    def take(self, rows: int, limits: Limits) -> list[QueuedRow]:
        """Return the first rows that were found, at most `rows`, as `within` takes them."""
        return self._without_key[:rows] or super().take(rows, limits)

    def apply(self, rows: Sequence[Part[QueuedRow]]) -> list[Any]:
        """Write rows, all or nothing, but for those that have changed since; return the keys of those written.

        Rows without a key count as written: they are only named in the report.
        """
        if self._without_key:
            self._without_key = self._without_key[len(rows) :]
            return [part.source.source_id for part in rows]
        written: list[Any] = []
        with suppress(LockedError):  # another connection has just written them, and nothing was written here
            written = super().apply(rows)
        for key in written:
            del self._found[key]
        return written

    # Private

    def _queued(self, most: int) -> list[Any]:
        return list(islice(self._found, most))

    def _leave_queue(self, keys: Sequence[Any]) -> None:
        """Do nothing yet: `apply` forgets the rows when the transaction is committed."""

    def _select(self) -> str:
        """Return the SELECT of every row's key and text. Raises SourceGoneError if the source has changed."""
        return rows_of(self._source, checked_types(self._duckdb, self.record), self.tables.main)

    def _rows_without_key(self) -> list[QueuedRow]:
        """Return the rows whose key has a NULL in it, so that they cannot be found again; equal keys once."""
        names = self._source.key
        types = checked_types(self._duckdb, self.record)
        columns = [f"{quote(name)} IS NULL" for name in names]
        key = key_expression(self._source, types) if self._source.is_composite else "NULL"
        sql = (
            f"SELECT DISTINCT {key}, {', '.join(columns)} FROM {quote(self._source.table)} "
            f"WHERE ({self._source.where}) AND ({' OR '.join(columns)}) ORDER BY ALL ASC"
        )
        found = []
        for source_id, *are_null in self._duckdb.execute(sql).fetchall():
            missing = ", ".join(name for name, is_null in zip(names, are_null, strict=True) if is_null)
            reason = f"its key is NULL ({missing})" if self._source.is_composite else "its key is NULL"
            found.append(QueuedRow(source_id, None, None, None, reason))
        return found

    def _present(self, keys: Sequence[Any]) -> list[QueuedRow]:
        """Return rows as they are now, in the order of their keys."""
        if not keys:
            return []
        sql = statement("duckdb/source_rows", index=self.record.name, source=self._select())
        found = {
            key: QueuedRow(key, text, hash_.encode() if there else None, None if known is None else known.encode())
            for key, text, there, hash_, known in self._duckdb.execute(sql, {"keys": list(keys)}).fetchall()
        }
        return [found[key] for key in keys]
