"""The index file beside a DuckDB database: a SQLite file with the vectors and the full text.

DuckDB's tables are the truth; this file is made from them, can be deleted at any time and is caught up whenever it
shows another state: after a crash between the two commits, after rows were deleted by hand, after the file was
lost. `papers.duckdb` has `papers.duckdb.sqlrag`.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import apsw
import numpy as np

from sqlrag.duckdb.differences import CHUNK_COLUMNS, ROWS_AT_ONCE, chunk_differences, problems_of, stored_vectors
from sqlrag.duckdb.errors import translated as translated_duckdb
from sqlrag.duckdb.filter_check import passing_ids
from sqlrag.duckdb.index_connection import in_memory, index_file_of, open_index, open_index_read_only, remake_index
from sqlrag.duckdb.records import stored_records
from sqlrag.duckdb.rescoring import RescoredIndex
from sqlrag.errors import DatabaseError, NotADatabaseError, SQLError
from sqlrag.index.names import quote
from sqlrag.index.registry import IndexRecord, Registry, check_schema_version
from sqlrag.index.top_k import Index, Matching
from sqlrag.index.writer import IndexWriter, immediate
from sqlrag.sqlite.errors import translated

if TYPE_CHECKING:
    import duckdb

__all__ = ["DuckDBIndexes", "index_file_of"]

_log = logging.getLogger("sqlrag")


class DuckDBIndexes:
    """The indexes of a DuckDB database, answered by the index file, which this class keeps in step."""

    def __init__(self, database: duckdb.DuckDBPyConnection, path: str, *, read_only: bool) -> None:
        self.lock = threading.RLock()
        self._path = path
        self._cursors: WeakSet[duckdb.DuckDBPyConnection] = WeakSet()
        # A connection of its own: it sees what is committed, also while a statement of the user's runs.
        self._duckdb = self.closing(database.cursor())
        self._read_only = read_only
        self._tables_seen = False
        self._names: list[str] = []
        self._seen: list[tuple[Any, ...]] | None = None
        try:
            self._check_version()
            self.connection = self._open()
            self.registry = Registry(self.connection)
            self._catch_up_or_make_again()
        except BaseException:
            self._close_cursors()
            raise

    # What Functions asks

    def names(self) -> list[str]:
        """Return the names of the indexes."""
        with self.lock:
            return self.registry.names()

    def open(self, name: object) -> Index:
        """Return an index for reading. Raises UnknownIndexError."""
        record = self.registry.get(name)
        if record.vectors == "int8":
            return RescoredIndex(self.connection, record, self._rows)
        return Index(self.connection, record)

    def matching(self, record: IndexRecord, expression: str) -> Matching:
        """Return the chunks whose source row satisfies a checked expression, as DuckDB finds them."""
        ids = passing_ids(self._duckdb, self._path, record, expression)

        def passing(wanted: Sequence[int]) -> set[int]:
            return set(np.intersect1d(np.asarray(wanted, np.int64), ids).tolist())

        if not len(ids):
            return Matching("SELECT 0 AS id WHERE 0", passing)
        return Matching("SELECT value AS id FROM carray(:matching)", passing, {"matching": apsw.carray(ids)})

    def define(self, macros: str) -> None:
        """Make macros known to filters, too; they are temporary, a connection's own."""
        self._duckdb.execute(macros)

    def backlog(self, record: IndexRecord) -> int:
        """Return how many documents are ingested in part."""
        sql = "SELECT count(*) FROM documents WHERE index_name = ? AND content_hash LIKE 'partial:%'"
        return int(self._rows(sql, [record.name])[0][0])

    def default_embedder(self) -> str | None:
        """Return the database's own model, None for a database without an index."""
        return self._meta("embedder")

    # What the writer asks

    def closing(self, cursor: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
        """Return a cursor that is closed with this: an open one would keep the file locked."""
        self._cursors.add(cursor)
        return cursor

    def state(self, record: IndexRecord) -> str:
        """Return a text that changes whenever chunks or vectors come or go, by sqlrag's hand or another."""
        sql = f"SELECT version, {_state_of(record.name)} FROM sqlrag_indexes WHERE name = ?"
        try:
            return json.dumps([record.embedder_hash, *self._rows(sql, [record.name])])
        except SQLError as error:
            raise DatabaseError(
                f"{self._path}: index {record.name!r} has lost a table ({str(error).splitlines()[0]}): "
                "restore it, or forget the index in DuckDB itself: "
                f"DELETE FROM sqlrag_indexes WHERE name = '{record.name}'; "
                f"DELETE FROM documents WHERE index_name = '{record.name}'"
            ) from error

    def state_shown(self, name: str) -> str | None:
        """Return which state of DuckDB's tables the index file shows, None where it does not have the index."""
        return self.registry.meta(f"state:{name}") if self.registry.find(name) else None

    def record_state(self, record: IndexRecord) -> None:
        """Note in the index file, in the caller's transaction, that it shows DuckDB's present state."""
        self.registry.put(record)
        self.registry.set_meta(f"state:{record.name}", self.state(record))

    # Keeping the file in step

    def catch_up(self) -> None:
        """Make the index file show what DuckDB's tables hold."""
        if self._read_only and self._seen is not None:
            return  # DuckDB lets nobody else write meanwhile
        with self.lock, translated(index_file_of(self._path)), translated_duckdb(self._path):
            seen = self._glance()
            if seen is not None and seen == self._seen:
                return
            records = {record.name: record for record in self._records()}
            for name in self.registry.names():
                if name not in records:
                    self._drop(name)
            for name, record in records.items():
                if self.state_shown(name) != (state := self.state(record)):
                    self._copy(record, state)
            if list(records) != self._names:
                self._names = list(records)
                seen = self._glance()
            self._seen = seen

    def differences(self) -> list[str]:
        """Return how the index file differs from DuckDB's tables, text by text and number by number; for `check`."""
        path = index_file_of(self._path)
        with translated(path), translated_duckdb(self._path):
            found = self.connection.execute("PRAGMA integrity_check")
            problems = [f"{path}: {row[0]}" for row in found if row[0] != "ok"]
            for record in self._records():
                problems += problems_of(self._duckdb, self.connection, record, path)
        return problems

    def close(self) -> None:
        """Close the connections."""
        self.connection.close()
        self._close_cursors()

    # Private

    def _close_cursors(self) -> None:
        for cursor in list(self._cursors):
            cursor.close()

    def _glance(self) -> list[tuple[Any, ...]] | None:
        """Return what changes with any of the states, in one statement: it is asked before every query."""
        if not self._has_tables():
            return None
        states = "".join(f", {_state_of(name)}" for name in self._names)
        try:
            return sorted(self._rows(f"SELECT name, embedder_hash, version{states} FROM sqlrag_indexes"))
        except SQLError:
            return None  # a table is gone: the long way says which

    def _rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with translated_duckdb(self._path):
            return self._duckdb.execute(sql, list(params)).fetchall()

    def _has_tables(self) -> bool:
        if not self._tables_seen:
            sql = (
                "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'sqlrag_indexes' "
                "AND database_name = current_database() AND schema_name = current_schema()"
            )
            self._tables_seen = bool(self._rows(sql)[0][0])
        return self._tables_seen

    def _meta(self, key: str) -> str | None:
        if not self._has_tables():
            return None
        rows = self._rows("SELECT value FROM sqlrag_meta WHERE key = ?", [key])
        return str(rows[0][0]) if rows else None

    def _check_version(self) -> None:
        check_schema_version(self._meta("schema_version"), self._path)

    def _records(self) -> list[IndexRecord]:
        """Return what DuckDB's tables record of each index."""
        if not self._has_tables():
            return []
        with translated_duckdb(self._path):
            return stored_records(self._duckdb)

    def _open(self) -> apsw.Connection:
        """Open the index file; for a database that is open read-only, one that is behind is of no use."""
        path = index_file_of(self._path)
        if not self._read_only:
            return open_index(path)
        connection = open_index_read_only(path)
        if connection is None:
            return in_memory()
        try:
            registry = Registry(connection)
            with translated(path):
                shown = {name: registry.meta(f"state:{name}") for name in registry.names()}
            if shown == {record.name: self.state(record) for record in self._records()}:
                return connection
        except (NotADatabaseError, SQLError):
            pass
        connection.close()
        return in_memory()

    def _catch_up_or_make_again(self) -> None:
        """Catch up; an index file that turns out to be damaged is begun anew."""
        self._records()  # what is wrong with the tables is nothing that a new index file could mend
        try:
            self.catch_up()
        except (NotADatabaseError, SQLError) as error:
            self.connection.close()
            self.connection = in_memory() if self._read_only else remake_index(index_file_of(self._path), error)
            self.registry = Registry(self.connection)
            self.catch_up()

    def _drop(self, name: str) -> None:
        with immediate(self.connection):
            for table in (f"{name}_fts", f"{name}_vec", f"{name}_codes", f"{name}_cells", name):
                self.connection.execute(f"DROP TABLE IF EXISTS {quote(table)}")
            self.connection.execute("DELETE FROM sqlrag_indexes WHERE name = ?", (name,))
            for table in ("sqlrag_ivf", "sqlrag_nprobe"):
                self.connection.execute(f"DELETE FROM {table} WHERE index_name = ?", (name,))
            self.connection.execute("DELETE FROM sqlrag_meta WHERE key = ?", (f"state:{name}",))

    def _copy(self, record: IndexRecord, state: str) -> None:
        """Bring an index of the file to DuckDB's state: what is gone or changed goes, what is new comes."""
        shown = self.registry.find(record.name)
        if shown is not None and _made_as(shown) != _made_as(record):
            self._drop(record.name)
            shown = None
        writer = IndexWriter(self.connection, record)
        if shown is None:
            with immediate(self.connection):
                writer.create()
        found = chunk_differences(self._duckdb, self.connection, record)
        if len(found.missing) > ROWS_AT_ONCE:
            _log.info("%s: the index file is %s chunks behind, catching up", self._path, f"{len(found.missing):,}")
        with immediate(self.connection):
            writer.delete_chunks(found.stale)
        for start in range(0, len(found.missing), ROWS_AT_ONCE):
            self._copy_chunks(writer, found.missing[start : start + ROWS_AT_ONCE])
        with immediate(self.connection):
            self.registry.put(record)
            self.registry.set_meta(f"state:{record.name}", state)
        self.keep_up(record)

    def keep_up(self, record: IndexRecord, progress: Callable[[str, float], None] | None = None) -> None:
        """Make new cells for an index if it has outgrown the ones it has; the caller holds the lock."""
        from sqlrag.index.cell_training import CellTraining

        CellTraining(self.connection, record, progress).keep_up()

    def _copy_chunks(self, writer: IndexWriter, ids: Sequence[int]) -> None:
        """Copy some chunks with their vectors."""
        sql = f"SELECT {CHUNK_COLUMNS} FROM {quote(writer.record.name)} WHERE id IN (SELECT unnest(?)) ORDER BY id"
        chunks = self._rows(sql, [list(ids)])
        with immediate(self.connection):
            writer.insert(chunks, stored_vectors(self._duckdb, writer.record, ids))


def _made_as(record: IndexRecord) -> tuple[str, int, str, str]:
    """Return what an index's tables are made with: of another they are made again."""
    return record.embedder_hash, record.dimension, record.tokenizer, record.vectors


def _state_of(name: str) -> str:
    """Return the columns that tell one state of an index's tables from another."""
    return f"""
        (SELECT [count(*), max(id), sum(id), sum(source_id), sum(end_char)]::VARCHAR FROM {quote(name)}),
        (SELECT [count(*), sum(id)]::VARCHAR FROM {quote(name + "_embedding")})
    """
