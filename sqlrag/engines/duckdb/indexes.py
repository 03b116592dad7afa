"""The indexes of a DuckDB database, as the SQL functions see them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np

from sqlrag.engines.duckdb.cursors import HERE
from sqlrag.engines.duckdb.error_translation import translated as translated_duckdb
from sqlrag.engines.duckdb.file_signature import Signature, file_signature
from sqlrag.engines.duckdb.filter_check import passing_ids
from sqlrag.engines.duckdb.index_copy import IndexCopy
from sqlrag.engines.duckdb.index_file import IndexFile
from sqlrag.engines.duckdb.table_schema import checked_types
from sqlrag.engines.duckdb.vectors import DuckDBIndex, all_vectors
from sqlrag.errors import DatabaseError, SourceGoneError, SQLError
from sqlrag.store.codes.scan import CodeMemory
from sqlrag.store.driver.extensions import has_codes_scan
from sqlrag.store.names import NEXT
from sqlrag.store.registry import IndexRecord
from sqlrag.store.top_k import Index, Matching

if TYPE_CHECKING:
    import duckdb

__all__ = ["DuckDBIndexes"]


class DuckDBIndexes(IndexFile):
    """The indexes of a DuckDB database."""

    def __init__(self, database: duckdb.DuckDBPyConnection, path: str, *, read_only: bool) -> None:
        self._unseen: dict[str, tuple[Signature | None, int]] = {}
        self._macros: str | None = None
        self._scans: bool | None = None
        self._memory = CodeMemory()
        super().__init__(database, path, read_only=read_only)

    def names(self) -> list[str]:
        """Return the names of the indexes."""
        return [record.name for record in self.records()]

    def records(self) -> list[IndexRecord]:
        """Return the records of the indexes, by name."""
        with self.lock:
            found = {record.name: record for record in self.registry.look().records}
            found |= {record.name: record for record, _ in self._lost.values() if not record.name.endswith(NEXT)}
            return [found[name] for name in sorted(found)]

    def record(self, name: object) -> IndexRecord:
        """Return the record of an index. Raises UnknownIndexError."""
        if isinstance(name, str) and (lost := self._lost.get(name.lower())):
            return lost[0]
        return self.registry.look().get(name)

    def open(self, name: object) -> Index:
        """Return an index for reading. Raises UnknownIndexError, or DatabaseError if it has lost a table."""
        if isinstance(name, str) and name.lower() in self._lost:
            raise self._lost[name.lower()][1]
        contents = self.registry.look()  # another connection may have measured, which the database's files don't show
        record = contents.get(name)
        if self._scans is None:
            self._scans = has_codes_scan(self.connection)
        options = {"scans": self._scans, "contents": contents, "memory": self._memory}
        return DuckDBIndex(self._run, self.connection, record, **options)

    def problems_of(self, record: IndexRecord) -> list[str]:
        """Return what is wrong with the vectors of an index, and with its codes and words in the index file."""
        return IndexCopy(self.connection, record).problems(partial(all_vectors, self._duckdb, record))

    def matching(self, record: IndexRecord, expression: str, params: Mapping[str, Any]) -> Matching:
        """Return the chunks whose source row satisfies a checked expression. DuckDB finds them."""
        if self._macros is not None:
            self._duckdb.execute(self._macros)
            self._macros = None
        ids = passing_ids(self._duckdb, self._path, record, expression, params)
        known = np.asarray(ids, np.int64).tobytes()
        if not known:
            return Matching("SELECT 0 AS id WHERE 0", known=known)
        return Matching("SELECT value AS id FROM carray(:matching)", {"matching": apsw.carray(ids)}, known=known)

    def define(self, macros: str) -> None:
        """Keep temporary macros for the first filter, which creates them in the connection that runs filters."""
        self._macros = macros

    def is_tracked(self, record: IndexRecord) -> bool:
        """Tell whether changes of the index's source are noticed, as they are unless it is gone."""
        if not record.is_over_table:
            return True
        try:
            with self.lock, translated_duckdb(self._path):
                checked_types(self._duckdb, record)
        except SourceGoneError:
            return False
        return True

    def documents(self, record: IndexRecord) -> int:
        """Return how many documents an index over documents has, with those that have no text."""
        return int(self._rows("SELECT count(*) FROM documents WHERE index_name = ?", [record.name])[0][0])

    def backlog(self, record: IndexRecord) -> tuple[int | None, float | None]:
        """Return how many documents are ingested in part, or, of an index over a table, how many rows have changed.

        None if the rows cannot be compared; `sync` and `check` say what is wrong with the table.
        """
        if record.is_over_table:
            try:
                return self.unseen(record), None
            except DatabaseError:
                return None, None
        sql = "SELECT count(*) FROM documents WHERE index_name = ? AND content_hash LIKE 'partial:%'"
        return int(self._rows(sql, [record.name])[0][0]), None

    def default_embedder(self) -> str | None:
        """Return the database's own model, or None for a database without an index."""
        return self._meta("embedder")

    def key_type(self) -> str:
        """Return the type of search()'s source_id: VARCHAR if an index has keys that are not whole numbers."""
        sql = (
            "SELECT count(*) FROM duckdb_columns() WHERE column_name = 'source_id' AND data_type <> 'BIGINT' "
            f"AND {HERE} AND lower(table_name) IN (SELECT lower(name) FROM sqlrag_indexes)"
        )
        return "VARCHAR" if self._has_tables() and self._rows(sql)[0][0] else "BIGINT"

    def unseen(self, record: IndexRecord, transaction: duckdb.DuckDBPyConnection | None = None) -> int:
        """Return how many rows have changed since they were indexed; 0 for a view, which only `sync` compares.

        Rows are compared only after a commit, or as `transaction` sees them.
        """
        from sqlrag.engines.duckdb.indexed_table import DuckDBIndexedTable

        if record.tracking == "view":
            return 0
        files = file_signature(self._file)
        known = self._unseen.get(record.name)
        if transaction is None and known is not None and files is not None and known[0] == files:
            return known[1]
        try:
            with self.lock, translated_duckdb(self._path):
                sql = DuckDBIndexedTable(self._duckdb, self._path, self, record).differences_statement()
                count = len((transaction or self._duckdb).execute(sql).fetchall())
        except SQLError as error:
            raise self._without_table(record, error) from error
        if transaction is None:
            self._unseen[record.name] = (files, count)
        return count
