"""Writing documents with their chunks and vectors into an index, on either engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlrag.errors import DatabaseError
from sqlrag.store.names import quote
from sqlrag.store.writer import made_anew
from sqlrag.text.documents import PARTIAL, Document

if TYPE_CHECKING:
    from sqlrag.engines.index_tables import IndexTables
    from sqlrag.store.registry import IndexRecord
    from sqlrag.text.documents import Part

__all__ = ["DocumentWriter", "mark_partial", "partial_documents"]

AT_ONCE = 1_000
"""Parameters of one statement, at most."""


@dataclass(frozen=True)
class _Stored:
    """What a database has of a document."""

    id: int
    content_hash: str
    chunks: int
    """How many of its chunks are stored: ordinals 0, 1, 2 ..."""


class DocumentWriter:
    """Puts documents with their chunks and vectors into one index, which is made if it is not there.

    Other connections, and on SQLite other processes, may write the same documents. Each transaction looks at what is
    stored, so that nothing is written twice, and what came later stands.
    """

    def __init__(self, tables: IndexTables) -> None:
        self._tables = tables
        with tables.errors():
            existing = tables.existing()
        self.is_new = False
        """Whether the index was made here."""
        if existing is None:
            with tables.transaction():
                existing = tables.existing()  # another process may have made it since
                if existing is None:
                    tables.create()
                    self.is_new = True
        if existing is not None:
            self._tables = tables.of(existing)

    @property
    def record(self) -> IndexRecord:
        """The record of the index."""
        return self._tables.record

    def content_hashes(self) -> dict[str, str]:
        """Return the content hash of every document of the index, by its uri."""
        sql = f"SELECT uri, content_hash FROM {self._tables.main}.documents WHERE index_name = ?"
        with self._tables.errors():
            return dict(self._tables.rows(sql, [self.record.name]))

    def chunks_done(self, uri: str) -> int:
        """Return how many chunks of a document are stored."""
        with self._tables.errors():
            stored = self._stored([uri]).get(uri)
            return 0 if stored is None else stored.chunks

    def write(self, parts: Sequence[Part[Document]]) -> None:
        """Write parts of documents, all or nothing.

        A part that another process has written since is left out. Raises DatabaseError where the index has been made
        anew meanwhile.
        """
        import numpy as np

        with self._tables.batch():
            if not self._tables.is_as_recorded():
                raise DatabaseError(made_anew(self._tables.path, self.record.name))
            stored = self._stored([part.source.uri for part in parts])
            replaced: list[int] = []
            # Each part with its document's id and the first of its chunks that is not stored.
            claims = [(part, *self._claim(part, stored, replaced)) for part in parts]
            ids = self._tables.next_ids(sum(len(part.chunks) - start for part, _, start in claims))
            chunks = [row for part, document, start in claims for row in part.rows(document, ids, start)]
            vectors = np.concatenate([part.vectors[start:] for part, _, start in claims])
            self._tables.delete_chunks_of(replaced)
            states = [one for part, _, start in claims for one in part.states[start:]]
            self._tables.insert(chunks, vectors, states)

    def remove(self, uris: Sequence[str]) -> None:
        """Remove documents and their chunks."""
        with self._tables.batch():
            ids = [stored.id for stored in self._stored(uris).values()]
            self._tables.delete_chunks_of(ids)
            for some in _slices(ids):
                sql = f"DELETE FROM {self._tables.main}.documents WHERE id IN ({_places(some)})"
                self._tables.rows(sql, some)

    def places(self) -> dict[str, dict[str, Any]]:
        """Return the metadata of the documents that are files, by their uris."""
        sql = (
            f"SELECT uri, metadata FROM {self._tables.main}.documents "
            "WHERE index_name = ? AND CAST(metadata AS TEXT) LIKE '%\"folder\": %'"
        )
        with self._tables.errors():
            return {uri: json.loads(metadata) for uri, metadata in self._tables.rows(sql, [self.record.name])}

    def update_metadata(self, metadata: Mapping[str, dict[str, Any]]) -> None:
        """Write the metadata of documents, by their uris, whose content stays as it is."""
        sql = f"UPDATE {self._tables.main}.documents SET metadata = ? WHERE index_name = ? AND uri = ?"
        for some in _slices(list(metadata.items())):
            with self._tables.batch():
                for uri, value in some:
                    self._tables.rows(sql, [json.dumps(value, ensure_ascii=False), self.record.name, uri])

    def keep_up(self, progress: Callable[[str, float], None]) -> None:
        """Measure how many candidates a search needs, if the index has grown since that was last measured."""
        self._tables.keep_up(progress)

    def _stored(self, uris: Sequence[str]) -> dict[str, _Stored]:
        """Return what the database has of those documents that it knows, by their uris."""
        main, name = self._tables.main, self.record.name
        found: dict[str, _Stored] = {}
        for some in _slices(uris):
            sql = f"SELECT uri, id, content_hash FROM {main}.documents WHERE index_name = ? AND uri IN "
            documents = self._tables.rows(f"{sql}({_places(some)})", [name, *some])
            ids = [id_ for _, id_, _ in documents]
            sql = (
                f"SELECT source_id, max(ordinal) + 1 FROM {main}.{quote(name)} WHERE source_id IN ({_places(ids)}) "
                "GROUP BY source_id"
            )
            chunks = dict(self._tables.rows(sql, ids)) if ids else {}
            found |= {uri: _Stored(id_, hash_, chunks.get(id_, 0)) for uri, id_, hash_ in documents}
        return found

    def _claim(self, part: Part[Document], stored: dict[str, _Stored], replaced: list[int]) -> tuple[int, int]:
        """Write the document's row, and return its id and the place of the first chunk that is not stored.

        A document of other content is `replaced`: it loses its old chunks in the transaction that brings the first new
        ones. Where another process has put other content in place since this document's first part was written, or has
        removed the document, that came later and stands: all of this part counts as stored.
        """
        document = part.source
        known = stored.get(document.uri)
        ours = known is not None and known.content_hash in (document.content_hash, document.partial_hash)
        done = known.chunks if known is not None and ours else 0
        first = part.chunks[0].ordinal if part.chunks else 0
        if first > done:
            return 0, len(part.chunks)
        hash_ = document.content_hash if part.last else document.partial_hash
        if known is None:
            id_ = self._insert(document, hash_)
        else:
            id_ = known.id
            if not ours:
                replaced.append(id_)
                self._update(document, hash_, id_)
            elif part.last and known.content_hash != hash_:
                sql = f"UPDATE {self._tables.main}.documents SET content_hash = ? WHERE id = ?"
                self._tables.rows(sql, [hash_, id_])
        stored[document.uri] = _Stored(id_, hash_, max(done, first + len(part.chunks)))
        return id_, min(done - first, len(part.chunks))

    def _insert(self, document: Document, content_hash: str) -> int:
        sql = (
            f"INSERT INTO {self._tables.main}.documents (id, index_name, uri, title, metadata, content_hash, text) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id"
        )
        key = [self._tables.new_document_id(), self.record.name, document.uri]
        (id_,) = self._tables.column(sql, [*key, document.title, _metadata(document), content_hash, document.text])
        return int(id_)

    def _update(self, document: Document, content_hash: str, id_: int) -> None:
        sql = (
            f"UPDATE {self._tables.main}.documents SET title = ?, metadata = ?, content_hash = ?, text = ? WHERE id = ?"
        )
        self._tables.rows(sql, [document.title, _metadata(document), content_hash, document.text, id_])


def mark_partial(tables: IndexTables, documents: Sequence[int]) -> None:
    """Take documents' chunks out of the index, and note that they are to come. The caller holds the transaction."""
    tables.delete_chunks_of(documents)
    for some in _slices(documents):
        sql = (
            f"UPDATE {tables.main}.documents SET content_hash = '{PARTIAL}' || content_hash "
            f"WHERE id IN ({_places(some)}) AND substr(content_hash, 1, {len(PARTIAL)}) <> '{PARTIAL}'"
        )
        tables.rows(sql, some)


def partial_documents(tables: IndexTables) -> list[Document]:
    """Return the documents of which not every chunk is stored, as they were ingested."""
    sql = (
        f"SELECT uri, title, text, metadata, substr(content_hash, {len(PARTIAL) + 1}) FROM {tables.main}.documents "
        f"WHERE index_name = ? AND substr(content_hash, 1, {len(PARTIAL)}) = '{PARTIAL}'"
    )
    with tables.errors():
        rows = tables.rows(sql, [tables.record.name])
    return [Document(uri, title, text, json.loads(metadata), hash_) for uri, title, text, metadata, hash_ in rows]


def _metadata(document: Document) -> str:
    return json.dumps(document.metadata, ensure_ascii=False)


def _slices(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield the values in portions that one statement takes as parameters."""
    for start in range(0, len(values), AT_ONCE):
        yield values[start : start + AT_ONCE]


def _places(values: Sequence[Any]) -> str:
    return ", ".join("?" for _ in values)
