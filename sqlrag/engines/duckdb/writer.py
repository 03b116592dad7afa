"""Writing documents and their index into a DuckDB database: its tables first, then the index file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlrag.engines.duckdb.cursors import own_cursor
from sqlrag.engines.duckdb.error_translation import translated
from sqlrag.engines.duckdb.index_file import index_file_of
from sqlrag.engines.duckdb.index_tables import IndexTables, transaction
from sqlrag.errors import DatabaseError
from sqlrag.store.driver.error_translation import translated as translated_sqlite
from sqlrag.store.names import quote
from sqlrag.store.registry import IndexRecord
from sqlrag.store.writer import StoredChunk, made_anew

if TYPE_CHECKING:
    import duckdb

    from sqlrag.engines.duckdb.indexes import DuckDBIndexes
    from sqlrag.text.documents import Document, Part

__all__ = ["DuckDBWriter"]


class DuckDBWriter:
    """Puts documents with their chunks and vectors into one index of a DuckDB database.

    DuckDB lets one process write, so what is stored is known from the start and no other writer is looked for.
    """

    def __init__(
        self, database: duckdb.DuckDBPyConnection, path: str, indexes: DuckDBIndexes, new: IndexRecord
    ) -> None:
        self._path = path
        self._duckdb = indexes.closing(own_cursor(database, indexes.catalog))
        self._indexes = indexes
        self._tables = IndexTables(self._duckdb, path, indexes, new)
        with translated(path):
            existing = self._tables.find()
            if existing is not None:
                self._tables.record = existing
            else:
                with transaction(self._duckdb):
                    self._tables.create()
                indexes.catch_up()
            rows = self._duckdb.execute(
                "SELECT uri, id, content_hash FROM documents WHERE index_name = ?", [self.record.name]
            ).fetchall()
        self._stored: dict[str, tuple[int, str]] = {uri: (id_, hash_) for uri, id_, hash_ in rows}

    @property
    def record(self) -> IndexRecord:
        """The record of the index."""
        return self._tables.record

    def content_hashes(self) -> Mapping[str, str]:
        """Return the content hash of every document of the index, by its uri."""
        return {uri: hash_ for uri, (_, hash_) in self._stored.items()}

    def chunks_done(self, uri: str) -> int:
        """Return how many chunks of a document are stored."""
        id_ = self._stored[uri][0]
        sql = f"SELECT count(*) FROM {quote(self.record.name)} WHERE source_id = ?"
        with translated(self._path):
            return int(self._rows(sql, [id_])[0][0])

    def write(self, parts: Sequence[Part[Document]]) -> None:
        """Write parts of documents, all or nothing."""
        stored = dict(self._stored)
        replaced: list[int] = []
        vectors = _vectors(parts)
        with translated(self._path), transaction(self._duckdb):
            before = self._tables.state()
            if not self._tables.is_as_recorded():
                raise DatabaseError(made_anew(self._path, self.record.name))
            for part in parts:
                self._write_document(part, stored, replaced)
            self._tables.delete_chunks_of(replaced)
            chunks = self._chunk_rows(parts, stored)
            self._tables.insert(chunks, vectors)
            self._tables.bump_version()
            after = self._tables.state()
        self._stored = stored
        self._tables.write_index_file(before, after, replaced, chunks, vectors)

    def remove(self, uris: Sequence[str]) -> None:
        """Remove documents and their chunks."""
        ids = [self._stored[uri][0] for uri in uris]
        with translated(self._path), transaction(self._duckdb):
            before = self._tables.state()
            self._tables.delete_chunks_of(ids)
            self._duckdb.execute("DELETE FROM documents WHERE id IN (SELECT unnest($ids))", {"ids": ids})
            self._tables.bump_version()
            after = self._tables.state()
        for uri in uris:
            del self._stored[uri]
        self._tables.write_index_file(before, after, ids, [], None)

    def keep_up(self, progress: Callable[[str, float], None], *, wrote: bool = True) -> None:
        """Make new cells for the index if it has outgrown the ones it has."""
        with self._indexes.lock, translated_sqlite(index_file_of(self._path)):
            self._indexes.catch_up()
            self._indexes.keep_up(self.record, progress, wrote=wrote)

    # Private

    def _rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._duckdb.execute(sql, list(params)).fetchall()

    def _write_document(self, part: Part[Document], stored: dict[str, tuple[int, str]], replaced: list[int]) -> None:
        """Write the document's row; where it was other content, note that its old chunks go."""
        document = part.source
        hash_ = document.content_hash if part.last else document.partial_hash
        known = stored.get(document.uri)
        if known is None:
            ((id_,),) = self._rows("SELECT nextval('documents_ids')")
            metadata = json.dumps(document.metadata, ensure_ascii=False)
            values = [id_, self.record.name, document.uri, document.title, metadata, hash_, document.text]
            self._duckdb.execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        else:
            id_ = known[0]
            if known[1] == document.partial_hash:
                self._duckdb.execute("UPDATE documents SET content_hash = ? WHERE id = ?", [hash_, id_])
            else:
                replaced.append(id_)
                metadata = json.dumps(document.metadata, ensure_ascii=False)
                self._duckdb.execute(
                    "UPDATE documents SET title = ?, metadata = ?, content_hash = ?, text = ? WHERE id = ?",
                    [document.title, metadata, hash_, document.text, id_],
                )
        stored[document.uri] = (id_, hash_)

    def _chunk_rows(self, parts: Sequence[Part[Document]], stored: dict[str, tuple[int, str]]) -> list[StoredChunk]:
        ids = iter(self._tables.next_ids(sum(len(part.chunks) for part in parts)))
        return [row for part in parts for row in part.rows(stored[part.source.uri][0], ids)]


def _vectors(parts: Sequence[Part[Document]]) -> Any:
    import numpy as np

    return np.concatenate([part.vectors for part in parts]).astype(np.float32)
