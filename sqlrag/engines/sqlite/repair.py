"""Mending an index of a SQLite database: what is wrong goes, and the rows that it belonged to are indexed again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sqlrag.engines.sqlite.indexed_table import SQLiteLive
from sqlrag.store.check import lost_parts
from sqlrag.store.names import in_main
from sqlrag.store.registry import IndexRecord
from sqlrag.store.repair import has_broken_cells, mend_index, mend_places, wrong_rows
from sqlrag.store.source_table import key_expression, source_of
from sqlrag.store.statements import statement
from sqlrag.store.writer import IndexWriter, immediate
from sqlrag.text.documents import PARTIAL, Document

if TYPE_CHECKING:
    import apsw

__all__ = ["mark_partial", "mend", "partial_documents"]


def mend(connection: apsw.Connection, path: str, record: IndexRecord) -> bool:
    """Mend an index, in one transaction; False where only making it anew helps."""
    with immediate(connection):
        if lost_parts(connection, record) or (record.is_live and SQLiteLive(connection, path, record).lost()):
            return False
        if not mend_places(connection, record):
            return False
        if record.vectors == "int8" and has_broken_cells(connection, record):
            return False  # its codes are all that there is
        rows = wrong_rows(connection, record)
        mend_index(connection, record)
        if record.is_live:
            live = SQLiteLive(connection, path, record)
            live.forget([*rows, *live.unknown(), *live.without_chunks()])
            return True
        sql = statement("index/documents_without_chunks", index=record.name, main="main")
        mark_partial(connection, record, [*rows, *(id_ for (id_,) in connection.execute(sql))])
        keys = f"SELECT {key_expression(source_of(record))} FROM {in_main(record.source_table)}"
        sql = f"SELECT DISTINCT source_id FROM {in_main(record.name)} WHERE source_id NOT IN ({keys})"
        IndexWriter(connection, record).delete_chunks_of([source_id for (source_id,) in connection.execute(sql)])
    return True


def mark_partial(connection: apsw.Connection, record: IndexRecord, documents: Sequence[int]) -> None:
    """Take documents' chunks out of the index, and note that they are to come. The caller holds the transaction."""
    IndexWriter(connection, record).delete_chunks_of(documents)
    connection.executemany(
        "UPDATE main.documents SET content_hash = ?1 || content_hash "
        "WHERE id = ?2 AND substr(content_hash, 1, length(?1)) <> ?1",
        ((PARTIAL, document) for document in documents),
    )


def partial_documents(connection: apsw.Connection, record: IndexRecord) -> Iterator[Document]:
    """Yield the documents of which not every chunk is stored, as they were ingested."""
    import json

    sql = (
        "SELECT uri, title, text, metadata, substr(content_hash, ?) FROM main.documents "
        "WHERE index_name = ? AND substr(content_hash, 1, ?) = ?"
    )
    rows = list(connection.execute(sql, (len(PARTIAL) + 1, record.name, len(PARTIAL), PARTIAL)))
    for uri, title, text, metadata, content_hash in rows:
        yield Document(uri, title, text, json.loads(metadata), content_hash)
