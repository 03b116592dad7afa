"""The index file beside a DuckDB database: a SQLite file with the vectors and the full text.

DuckDB's tables are the truth; this file is made from them, can be deleted at any time and is caught up whenever it
shows another state: after a crash between the two commits, after rows were deleted by hand, after the file was
lost. `papers.duckdb` has `papers.duckdb.sqlrag`.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np

from sqlrag.errors import DatabaseError, NotADatabaseError, SchemaVersionError
from sqlrag.index.names import check_index_name, quote
from sqlrag.index.registry import COLUMNS, SCHEMA_VERSION, IndexRecord, Registry
from sqlrag.index.top_k import Index, Matching
from sqlrag.index.writer import IndexWriter, immediate
from sqlrag.sqlite.errors import translated
from sqlrag.sqlite.functions import load_vec

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = ["DuckDBIndexes", "index_file_of"]

CATCH_UP_ROWS = 5_000
"""Chunks that are copied from DuckDB in one transaction."""

_log = logging.getLogger("sqlrag")


def index_file_of(path: str) -> str:
    """Return the path of a DuckDB database's index file."""
    return path if path == ":memory:" else f"{path}.sqlrag"


class DuckDBIndexes:
    """The indexes of a DuckDB database, answered by the index file, which this class keeps in step."""

    def __init__(self, database: duckdb.DuckDBPyConnection, path: str, *, read_only: bool) -> None:
        self.lock = threading.RLock()
        self._path = path
        # A connection of its own: it sees what is committed, also while a statement of the user's runs.
        self._duckdb = database.cursor()
        self._read_only = read_only
        self._tables_seen = False
        self._check_version()
        self.connection = self._open()
        self.registry = Registry(self.connection)
        self.catch_up()

    # What Functions asks

    def names(self) -> list[str]:
        """Return the names of the indexes."""
        with self.lock:
            return self.registry.names()

    def open(self, name: object) -> Index:
        """Return an index for reading. Raises UnknownIndexError."""
        return Index(self.connection, self.registry.get(name))

    def matching(self, record: IndexRecord, expression: str) -> Matching:
        """Return the chunks whose source row satisfies a checked expression, as DuckDB finds them."""
        sql = (
            f"SELECT id FROM {quote(record.name)} WHERE source_id IN "
            f"(SELECT {quote(record.source_key)} FROM {quote(record.source_table)} WHERE ({expression}\n))"
        )
        ids = self._duckdb.execute(sql).fetchnumpy()["id"].astype(np.int64)
        if not len(ids):
            return Matching("SELECT 0 WHERE 0")
        return Matching("SELECT value FROM carray(:matching)", {"matching": apsw.carray(ids)})

    def backlog(self, record: IndexRecord) -> int:
        """Return how many documents are ingested in part."""
        sql = "SELECT count(*) FROM documents WHERE index_name = ? AND content_hash LIKE 'partial:%'"
        return int(self._one(sql, [record.name])[0])

    def default_embedder(self) -> str | None:
        """Return the database's own model, None for a database without an index."""
        if not self._has_tables():
            return None
        return str(self._one("SELECT value FROM sqlrag_meta WHERE key = 'embedder'")[0])

    # Keeping the file in step

    def catch_up(self) -> None:
        """Make the index file show what DuckDB's tables hold."""
        with self.lock:
            records = {record.name: record for record in self._records()}
            for name in self.registry.names():
                if name not in records:
                    self._drop(name)
            for name, record in records.items():
                if self._state_shown(name) != (state := self._state(record)):
                    self._copy(record, state)

    def differences(self) -> list[str]:
        """Return how the index file differs from DuckDB's tables, text by text; for `check`."""
        problems = []
        for record in self._records():
            name = quote(record.name)
            truth = self._duckdb.execute(f"SELECT id, text FROM {name} ORDER BY id")
            shown = iter(self.connection.execute(f"SELECT id, text FROM {name} ORDER BY id"))
            differing = 0
            while rows := truth.fetchmany(10_000):
                differing += sum(row != next(shown, None) for row in rows)
            differing += sum(1 for _ in shown)
            if differing:
                problems.append(
                    f"{record.name}: {differing} chunks differ between the tables and the index file: "
                    f"delete {index_file_of(self._path)}, it is made again"
                )
            sql = f"SELECT count(*) FROM {name} WHERE id NOT IN (SELECT id FROM {quote(record.name + '_embedding')})"
            without = self._one(sql)[0]
            if without:
                problems.append(f"{record.name}: {without} chunks have no vector")
        return problems

    def record_state(self, record: IndexRecord) -> None:
        """Note in the index file, in the caller's transaction, that it shows DuckDB's present state."""
        self.registry.put(record)
        self.registry.set_meta(f"state:{record.name}", self._state(record))

    def close(self) -> None:
        """Close both connections."""
        self.connection.close()
        self._duckdb.close()

    # Private

    def _one(self, sql: str, params: list[Any] | None = None) -> tuple[Any, ...]:
        row = self._duckdb.execute(sql, params or []).fetchone()
        assert row is not None
        return row

    def _has_tables(self) -> bool:
        if self._tables_seen:
            return True
        sql = (
            "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'sqlrag_indexes' "
            "AND database_name = current_database() AND schema_name = current_schema()"
        )
        self._tables_seen = bool(self._one(sql)[0])
        return self._tables_seen

    def _check_version(self) -> None:
        if not self._has_tables():
            return
        version = self._one("SELECT value FROM sqlrag_meta WHERE key = 'schema_version'")[0]
        if int(version) > SCHEMA_VERSION:
            raise SchemaVersionError(
                f"{self._path} was made by a newer sqlrag (schema {version}; this one knows up to {SCHEMA_VERSION}): "
                "upgrade with pip install -U sqlrag"
            )

    def _records(self) -> list[IndexRecord]:
        """Return what DuckDB's tables record of each index."""
        if not self._has_tables():
            return []
        columns = ", ".join(quote(column) for column in COLUMNS)
        rows = self._duckdb.execute(f"SELECT {columns} FROM sqlrag_indexes ORDER BY name").fetchall()
        records = [IndexRecord(*row) for row in rows]
        for record in records:
            check_index_name(record.name)  # the file may come from a stranger
        return records

    def _state(self, record: IndexRecord) -> str:
        """Return a text that changes whenever chunks come or go, by sqlrag's hand or another."""
        sql = f"SELECT count(*), max(id), sum(id)::VARCHAR FROM {quote(record.name)}"
        return json.dumps([record.embedder_hash, record.version, *self._one(sql)])

    def _state_shown(self, name: str) -> str | None:
        return self.registry.meta(f"state:{name}") if self.registry.find(name) else None

    def _open(self) -> apsw.Connection:
        """Open the index file; one that is damaged, or newer than this sqlrag, is made again."""
        path = index_file_of(self._path)
        if self._read_only:
            return self._open_read_only(path)
        try:
            connection = self._open_file(path)
            if Registry(connection).exists():
                Registry(connection).check_version(path)
            return connection
        except (NotADatabaseError, SchemaVersionError) as error:
            _log.warning("%s: made again", error)
            for suffix in ("", "-wal", "-shm"):
                if os.path.exists(path + suffix):
                    os.remove(path + suffix)
            return self._open_file(path)

    @staticmethod
    def _open_file(path: str) -> apsw.Connection:
        from sqlrag.sqlite.engine import open_sqlite

        connection = open_sqlite(path)
        with translated(path):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")  # a lost last commit is caught up
        load_vec(connection)
        return connection

    def _open_read_only(self, path: str) -> apsw.Connection:
        """Open the index file for reading; where it is missing or behind, make one in memory."""
        from sqlrag.sqlite.engine import open_sqlite

        try:
            connection = open_sqlite(path, read_only=True)
            load_vec(connection)
            registry = Registry(connection)
            with translated(path):
                shown = {name: registry.meta(f"state:{name}") for name in registry.names()}
            if shown == {record.name: self._state(record) for record in self._records()}:
                return connection
            connection.close()
        except DatabaseError:
            pass
        connection = apsw.Connection(":memory:")
        load_vec(connection)
        return connection

    def _drop(self, name: str) -> None:
        with translated(self._path), immediate(self.connection):
            for table in (f"{name}_fts", f"{name}_vec", name):
                self.connection.execute(f"DROP TABLE IF EXISTS {quote(table)}")
            self.connection.execute("DELETE FROM sqlrag_indexes WHERE name = ?", (name,))
            self.connection.execute("DELETE FROM sqlrag_meta WHERE key = ?", (f"state:{name}",))

    def _copy(self, record: IndexRecord, state: str) -> None:
        """Bring an index of the file to DuckDB's state: what is gone goes, what is new comes."""
        shown = self.registry.find(record.name)
        if shown is not None and shown.embedder_hash != record.embedder_hash:
            self._drop(record.name)
            shown = None
        writer = IndexWriter(self.connection, record)
        table = quote(record.name)
        with translated(index_file_of(self._path)):
            if shown is None:
                with immediate(self.connection):
                    writer.create()
            stored = f"SELECT id FROM {table} JOIN {quote(record.name + '_embedding')} USING (id)"
            truth = self._duckdb.execute(stored).fetchnumpy()["id"].astype(np.int64)
            rows = self.connection.execute(f"SELECT id FROM {table}")
            present = np.fromiter((row[0] for row in rows), dtype=np.int64)
            missing = np.setdiff1d(truth, present)
            if len(missing) > CATCH_UP_ROWS:
                _log.info("%s: the index file is %s chunks behind, catching up", self._path, f"{len(missing):,}")
            with immediate(self.connection):
                writer.delete_chunks([int(id_) for id_ in np.setdiff1d(present, truth)])
            for start in range(0, len(missing), CATCH_UP_ROWS):
                self._copy_chunks(writer, missing[start : start + CATCH_UP_ROWS])
            with immediate(self.connection):
                self.registry.put(record)
                self.registry.set_meta(f"state:{record.name}", state)

    def _copy_chunks(self, writer: IndexWriter, ids: Any) -> None:
        """Copy some chunks with their vectors."""
        table, vectors = quote(writer.record.name), quote(f"{writer.record.name}_embedding")
        sql = f"""
            SELECT chunk.*, vector.embedding
            FROM   {table} AS chunk JOIN {vectors} AS vector USING (id)
            WHERE  id IN (SELECT unnest($ids)) ORDER BY id
        """
        batch: pa.Table = self._duckdb.execute(sql, {"ids": [int(id_) for id_ in ids]}).to_arrow_table()
        columns = [batch.column(place).to_pylist() for place in range(7)]
        flat = batch.column("embedding").combine_chunks()
        embedding = flat.flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1).astype(np.float32)
        with immediate(self.connection):
            writer.insert(list(zip(*columns, strict=True)), embedding)
