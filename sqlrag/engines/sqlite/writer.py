"""Writing documents and their index into a SQLite database, in one transaction a batch."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sqlrag.engines.sqlite.table_schema import tables_in_the_way
from sqlrag.errors import DatabaseError
from sqlrag.store.driver.error_translation import translated
from sqlrag.store.driver.opening import use_wal
from sqlrag.store.names import in_main
from sqlrag.store.registry import IndexRecord, Registry
from sqlrag.store.statements import statement
from sqlrag.store.writer import IndexWriter, check_room, immediate, made_anew

if TYPE_CHECKING:
    import apsw

    from sqlrag.text.documents import Document, Part

__all__ = ["SQLiteWriter"]


class SQLiteWriter:
    """Puts documents with their chunks and vectors into one index of a SQLite file."""

    def __init__(self, connection: apsw.Connection, path: str, record: IndexRecord) -> None:
        self.record = record
        self._path = path
        self._connection = connection
        with translated(path):
            self._create()

    def _create(self) -> None:
        registry = Registry(self._connection)
        if registry.find(self.record.name) is None:
            if not registry.exists() and self._is_empty():
                # A database of our own making: readers go on while it is written. Somebody else's keeps its mode.
                use_wal(self._connection)
            with immediate(self._connection):
                # Another process may have made it since.
                existing = registry.find(self.record.name)
                if existing is None:
                    check_room(self._path, self.record.name, tables_in_the_way(self._connection))
                    self._connection.execute(statement("index/documents"))
                    IndexWriter(self._connection, self.record).create()
                    if registry.meta("embedder") is None:
                        registry.set_meta("embedder", self.record.embedder)
                else:
                    self.record = existing
        self._index = IndexWriter(self._connection, self.record)

    def _is_empty(self) -> bool:
        """Tell whether the file has no table but the score cache."""
        sql = "SELECT 1 FROM main.sqlite_schema WHERE tbl_name <> 'sqlrag_scores'"
        return not list(self._connection.execute(sql))

    def content_hashes(self) -> dict[str, str]:
        """Return the content hash of every document of the index, by its uri."""
        sql = "SELECT uri, content_hash FROM main.documents WHERE index_name = ?"
        with translated(self._path):
            return dict(self._connection.execute(sql, (self.record.name,)))

    def chunks_done(self, uri: str) -> int:
        """Return how many chunks of a document are stored."""
        with translated(self._path):
            row = self._document(uri)
            return 0 if row is None else self._chunks_of(row[0])

    def write(self, parts: Sequence[Part[Document]]) -> None:
        """Write parts of documents, all or nothing."""
        with translated(self._path), immediate(self._connection):
            if not self._index.is_as_recorded():
                raise DatabaseError(made_anew(self._path, self.record.name))
            next_id = self._index.next_id()
            for part in parts:
                next_id = self._write(part, next_id)

    def remove(self, uris: Sequence[str]) -> None:
        """Remove documents and their chunks."""
        with translated(self._path), immediate(self._connection):
            for uri in uris:
                row = self._document(uri)
                if row is not None:
                    self._index.delete_chunks_of([row[0]])
                    self._connection.execute("DELETE FROM main.documents WHERE id = ?", (row[0],))

    def keep_up(self, progress: Callable[[str, float], None], *, wrote: bool = True) -> None:
        """Make new cells for the index if it has outgrown the ones it has."""
        from sqlrag.store.cells.cell_training import CellTraining

        with translated(self._path):
            CellTraining(self._connection, self.record, progress).keep_up(wrote=wrote)

    def _write(self, part: Part[Document], next_id: int) -> int:
        """Write one part, unless another process has written it since; return the next free chunk id."""
        document_id, stored = self._claim(part)
        if document_id is None:
            return next_id
        start = max(0, stored - part.chunks[0].ordinal) if part.chunks else 0
        chunks = part.rows(document_id, itertools.count(next_id), start)
        self._index.insert(chunks, part.vectors[start:])
        if part.last:
            self._connection.execute(
                "UPDATE main.documents SET content_hash = ? WHERE id = ?", (part.source.content_hash, document_id)
            )
        return next_id + len(chunks)

    def _claim(self, part: Part[Document]) -> tuple[int | None, int]:
        """Return the document's id and how many of its chunks are stored already.

        A document of other content loses its old chunks here, in the transaction that brings the first new ones.
        No id: another process has put other content in place since this part's first ones were written, or has
        removed the document. It came later, so that stands.
        """
        document = part.source
        row = self._document(document.uri)
        ours = row is not None and row[1] in (document.content_hash, part.source.partial_hash)
        stored = self._chunks_of(row[0]) if row is not None and ours else 0
        if part.chunks and part.chunks[0].ordinal > stored:
            return None, 0
        if row is not None and ours:
            return row[0], stored
        metadata = json.dumps(document.metadata, ensure_ascii=False)
        values = (document.title, metadata, part.source.partial_hash, document.text)
        if row is not None:
            self._index.delete_chunks_of([row[0]])
            self._connection.execute(
                "UPDATE main.documents SET title = ?, metadata = ?, content_hash = ?, text = ? WHERE id = ?",
                (*values, row[0]),
            )
            return row[0], 0
        self._connection.execute(
            "INSERT INTO main.documents (index_name, uri, title, metadata, content_hash, text) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (self.record.name, document.uri, *values),
        )
        return self._connection.last_insert_rowid(), 0

    def _chunks_of(self, document_id: int) -> int:
        sql = f"SELECT coalesce(max(ordinal), -1) + 1 FROM {in_main(self.record.name)} WHERE source_id = ?"
        ((stored,),) = self._connection.execute(sql, (document_id,))
        return int(stored)

    def _document(self, uri: str) -> tuple[int, str] | None:
        sql = "SELECT id, content_hash FROM main.documents WHERE index_name = ? AND uri = ?"
        rows = list(self._connection.execute(sql, (self.record.name, uri)))
        return rows[0] if rows else None
