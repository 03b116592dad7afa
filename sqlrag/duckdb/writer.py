"""Writing documents and their index into a DuckDB database: its tables first, then the index file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import duckdb

from sqlrag.duckdb.errors import translated
from sqlrag.duckdb.index_file import index_file_of
from sqlrag.duckdb.records import stored_records
from sqlrag.index.names import quote
from sqlrag.index.registry import COLUMNS, SCHEMA_VERSION, IndexRecord
from sqlrag.index.statements import statement
from sqlrag.index.writer import IndexWriter, StoredChunk, check_room, immediate
from sqlrag.sqlite.errors import translated as translated_sqlite

if TYPE_CHECKING:
    from sqlrag.duckdb.index_file import DuckDBIndexes
    from sqlrag.duckdb.state import TableState
    from sqlrag.parts import Part

__all__ = ["DuckDBWriter"]


class DuckDBWriter:
    """Puts documents with their chunks and vectors into one index of a DuckDB database.

    DuckDB lets one process write, so what is stored is known from the start and no other writer is looked for.
    """

    def __init__(
        self, database: duckdb.DuckDBPyConnection, path: str, indexes: DuckDBIndexes, new: IndexRecord
    ) -> None:
        self._path = path
        self._duckdb = indexes.closing(database.cursor())
        self._indexes = indexes
        self._table = quote(new.name)
        with translated(path):
            self.record = self._create(new)
            rows = self._duckdb.execute(
                "SELECT uri, id, content_hash FROM documents WHERE index_name = ?", [self.record.name]
            ).fetchall()
        self._stored: dict[str, tuple[int, str]] = {uri: (id_, hash_) for uri, id_, hash_ in rows}

    def content_hashes(self) -> Mapping[str, str]:
        """Return the content hash of every document of the index, by its uri."""
        return {uri: hash_ for uri, (_, hash_) in self._stored.items()}

    def chunks_done(self, uri: str) -> int:
        """Return how many chunks of a document are stored."""
        id_ = self._stored[uri][0]
        sql = f"SELECT count(*) FROM {self._table} WHERE source_id = ?"
        with translated(self._path):
            return int(self._rows(sql, [id_])[0][0])

    def write(self, parts: Sequence[Part]) -> None:
        """Write parts of documents, all or nothing."""
        stored = dict(self._stored)
        replaced: list[int] = []
        before = self._indexes.state(self.record)
        with translated(self._path), self._transaction():
            for part in parts:
                self._write_document(part, stored, replaced)
            self._delete("source_id", self._table, replaced)
            chunks = self._chunk_rows(parts, stored)
            self._insert(chunks, parts)
            self._bump_version()
        self._stored = stored
        self._write_index_file(before, replaced, chunks, parts)

    def remove(self, uris: Sequence[str]) -> None:
        """Remove documents and their chunks."""
        ids = [self._stored[uri][0] for uri in uris]
        before = self._indexes.state(self.record)
        with translated(self._path), self._transaction():
            self._delete("source_id", self._table, ids)
            self._delete("id", "documents", ids)
            self._bump_version()
        for uri in uris:
            del self._stored[uri]
        self._write_index_file(before, ids, [], [])

    def keep_up(self, progress: Callable[[str, float], None]) -> None:
        """Make new cells for the index if it has outgrown the ones it has."""
        with self._indexes.lock, translated_sqlite(index_file_of(self._path)):
            self._indexes.keep_up(self.record, progress)

    # Private

    def _create(self, new: IndexRecord) -> IndexRecord:
        """Return the record of the index, which is made where there is none."""
        columns = self._columns()
        if "sqlrag_indexes" in columns:
            self._upgrade()
            for record in stored_records(self._duckdb):
                if record.name.lower() == new.name.lower():
                    return record
        check_room(self._path, new.name, columns)
        names = ", ".join(quote(column) for column in COLUMNS)
        with self._transaction():
            self._duckdb.execute(statement("duckdb/schema"))
            self._duckdb.execute(statement("duckdb/create", index=new.name, dimension=new.dimension))
            places = ", ".join("?" for _ in COLUMNS)
            self._duckdb.execute(f"INSERT INTO sqlrag_indexes ({names}) VALUES ({places})", [*new.values().values()])
            for key, value in (("schema_version", str(SCHEMA_VERSION)), ("embedder", new.embedder)):
                self._duckdb.execute("INSERT INTO sqlrag_meta VALUES (?, ?) ON CONFLICT DO NOTHING", [key, value])
        self._indexes.catch_up()
        return new

    def _upgrade(self) -> None:
        """Bring the tables of an earlier schema to this one."""
        version = str(SCHEMA_VERSION)
        if self._rows("SELECT 1 FROM sqlrag_meta WHERE key = 'schema_version' AND value <> ?", [version]):
            with self._transaction():
                self._duckdb.execute(statement("duckdb/schema"))
                self._duckdb.execute("UPDATE sqlrag_meta SET value = ? WHERE key = 'schema_version'", [version])

    def _columns(self) -> dict[str, list[str]]:
        """Return the columns of each table."""
        sql = (
            "SELECT table_name, list(column_name) FROM duckdb_columns() "
            "WHERE database_name = current_database() AND schema_name = current_schema() GROUP BY table_name"
        )
        return dict(self._rows(sql))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._duckdb.execute("BEGIN")
            yield
            self._duckdb.execute("COMMIT")
        except BaseException:
            # After a commit that failed, or a full disk, there is no transaction left to roll back.
            with suppress(duckdb.Error):
                self._duckdb.execute("ROLLBACK")
            raise

    def _rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._duckdb.execute(sql, list(params)).fetchall()

    def _write_document(self, part: Part, stored: dict[str, tuple[int, str]], replaced: list[int]) -> None:
        """Write the document's row; where it was other content, note that its old chunks go."""
        document = part.document
        hash_ = document.content_hash if part.last else part.partial_hash
        known = stored.get(document.uri)
        if known is None:
            ((id_,),) = self._rows("SELECT nextval('documents_ids')")
            metadata = json.dumps(document.metadata, ensure_ascii=False)
            values = [id_, self.record.name, document.uri, document.title, metadata, hash_, document.text]
            self._duckdb.execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        else:
            id_ = known[0]
            if known[1] == part.partial_hash:
                self._duckdb.execute("UPDATE documents SET content_hash = ? WHERE id = ?", [hash_, id_])
            else:
                replaced.append(id_)
                metadata = json.dumps(document.metadata, ensure_ascii=False)
                self._duckdb.execute(
                    "UPDATE documents SET title = ?, metadata = ?, content_hash = ?, text = ? WHERE id = ?",
                    [document.title, metadata, hash_, document.text, id_],
                )
        stored[document.uri] = (id_, hash_)

    def _chunk_rows(self, parts: Sequence[Part], stored: dict[str, tuple[int, str]]) -> list[StoredChunk]:
        count = sum(len(part.chunks) for part in parts)
        ids = iter(self._rows(f"SELECT nextval('{self.record.name}_ids') FROM range(?)", [count]))
        rows: list[StoredChunk] = []
        for part in parts:
            source_id = stored[part.document.uri][0]
            for chunk, tokens in zip(part.chunks, part.token_counts, strict=True):
                (id_,) = next(ids)
                rows.append((id_, source_id, chunk.ordinal, chunk.start_char, chunk.end_char, chunk.text, tokens))
        return rows

    def _insert(self, chunks: Sequence[StoredChunk], parts: Sequence[Part]) -> None:
        """Insert chunks and vectors as Arrow tables."""
        if not chunks:
            return
        import pyarrow as pa

        columns = list(zip(*chunks, strict=True))
        names = ("id", "source_id", "ordinal", "start_char", "end_char", "text", "token_count")
        chunk_table = pa.table({name: list(column) for name, column in zip(names, columns, strict=True)})
        flat = pa.array(_vectors(parts).reshape(-1))
        vectors = pa.FixedSizeListArray.from_arrays(flat, self.record.dimension)
        vector_table = pa.table({"id": list(columns[0]), "embedding": vectors})
        for name, table in ((self._table, chunk_table), (quote(f"{self.record.name}_embedding"), vector_table)):
            self._duckdb.register("sqlrag_new_rows", table)
            self._duckdb.execute(f"INSERT INTO {name} SELECT * FROM sqlrag_new_rows")
            self._duckdb.unregister("sqlrag_new_rows")

    def _delete(self, column: str, table: str, ids: Sequence[int]) -> None:
        if not ids:
            return
        if table == self._table:
            vectors = quote(f"{self.record.name}_embedding")
            self._duckdb.execute(
                f"DELETE FROM {vectors} WHERE id IN (SELECT id FROM {table} WHERE {column} IN (SELECT unnest($ids)))",
                {"ids": list(ids)},
            )
        self._duckdb.execute(f"DELETE FROM {table} WHERE {column} IN (SELECT unnest($ids))", {"ids": list(ids)})

    def _bump_version(self) -> None:
        # By the clock, not by one: two copies of a database that went different ways never have the same version.
        self.record = replace(self.record, version=max(self.record.version + 1, time.time_ns()))
        self._duckdb.execute(
            "UPDATE sqlrag_indexes SET version = ? WHERE name = ?", [self.record.version, self.record.name]
        )

    def _write_index_file(
        self, before: TableState, replaced: Sequence[int], chunks: Sequence[StoredChunk], parts: Sequence[Part]
    ) -> None:
        """Bring the index file to what DuckDB has just committed; a crash before this is caught up on open.

        `before`: the state of DuckDB's tables before the commit. A file that shows another one lacks more than this.
        """
        connection = self._indexes.connection
        index = IndexWriter(connection, self.record)
        with self._indexes.lock, translated_sqlite(index_file_of(self._path)):
            if self._indexes.state_shown(self.record.name) != before:
                self._indexes.catch_up()
                return
            with immediate(connection):
                index.delete_chunks_of(replaced)
                if chunks:
                    index.insert(chunks, _vectors(parts))
                self._indexes.record_state(self.record)


def _vectors(parts: Sequence[Part]) -> Any:
    import numpy as np

    return np.concatenate([part.vectors for part in parts]).astype(np.float32)
