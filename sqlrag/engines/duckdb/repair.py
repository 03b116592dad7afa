"""Mending an index of a DuckDB database: what is wrong goes, and the rows that it belonged to are indexed again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sqlrag.engines.duckdb.cursors import schema_of
from sqlrag.engines.duckdb.differences import lost_tables
from sqlrag.engines.duckdb.index_tables import IndexTables, transaction
from sqlrag.engines.duckdb.table_schema import describe, kept_key_type, key_type_of
from sqlrag.store.names import quote
from sqlrag.store.source_table import key_columns
from sqlrag.store.statements import statement
from sqlrag.text.documents import PARTIAL, Document

if TYPE_CHECKING:
    import duckdb

    from sqlrag.engines.duckdb.indexes import DuckDBIndexes
    from sqlrag.store.registry import IndexRecord

__all__ = ["mark_partial", "mend", "partial_documents"]


def mend(database: duckdb.DuckDBPyConnection, path: str, indexes: DuckDBIndexes, record: IndexRecord) -> bool:
    """Mend an index's tables, in one transaction; False where only making the index anew helps.

    That is where one is gone, and where the source's key is of another type than the keys that the index has.
    """
    if lost_tables(database, record) or _has_other_keys(database, record):
        return False
    tables = IndexTables(database, path, indexes, record)
    chunks, vectors = quote(record.name), quote(f"{record.name}_embedding")
    with transaction(database):
        database.execute(f"DELETE FROM {vectors} WHERE id NOT IN (SELECT id FROM {chunks})")
        wrong = statement("duckdb/wrong_rows", index=record.name)
        rows = [source_id for (source_id,) in database.execute(wrong).fetchall()]
        if record.is_live:
            sql = f"SELECT DISTINCT source_id FROM {chunks} ANTI JOIN {quote(f'{record.name}_rows')} USING (source_id)"
            rows += [source_id for (source_id,) in database.execute(sql).fetchall()]
            sql = (
                f"SELECT source_id FROM {quote(f'{record.name}_rows')} WHERE content_hash <> '' "
                f"AND source_id NOT IN (SELECT source_id FROM {chunks})"
            )
            rows += [source_id for (source_id,) in database.execute(sql).fetchall()]
            forget = f"DELETE FROM {quote(f'{record.name}_rows')} WHERE source_id IN (SELECT unnest($rows))"
        else:
            sql = f"SELECT DISTINCT source_id FROM {chunks} WHERE source_id NOT IN (SELECT id FROM documents)"
            tables.delete_chunks_of([source_id for (source_id,) in database.execute(sql).fetchall()])
        tables.delete_chunks_of(rows)
        if not record.is_live:
            sql = statement("index/documents_without_chunks", index=record.name, main=schema_of(database))
            mark_partial(database, [source_id for (source_id,) in database.execute(sql).fetchall()])
        elif rows:
            database.execute(forget, {"rows": rows})
        tables.bump_version()
    return True


def _has_other_keys(database: duckdb.DuckDBPyConnection, record: IndexRecord) -> bool:
    if not record.is_live:
        return False
    table = describe(database, record.source_table)
    key = key_columns(record.source_key)
    return table.key in {(), key} and key_type_of(key, table.types) != kept_key_type(database, record)


def mark_partial(database: duckdb.DuckDBPyConnection, documents: Sequence[int]) -> None:
    """Note of documents whose chunks are gone that they are to come. The caller holds the transaction."""
    sql = (
        f"UPDATE documents SET content_hash = '{PARTIAL}' || content_hash "
        f"WHERE id IN (SELECT unnest($documents)) AND content_hash NOT LIKE '{PARTIAL}%'"
    )
    if documents:
        database.execute(sql, {"documents": list(documents)})


def partial_documents(database: duckdb.DuckDBPyConnection, record: IndexRecord) -> Iterator[Document]:
    """Yield the documents of which not every chunk is stored, as they were ingested."""
    sql = (
        f"SELECT uri, title, text, metadata, content_hash[{len(PARTIAL) + 1}:] FROM documents "
        f"WHERE index_name = ? AND content_hash LIKE '{PARTIAL}%'"
    )
    for uri, title, text, metadata, content_hash in database.execute(sql, [record.name]).fetchall():
        yield Document(uri, title, text, json.loads(metadata), content_hash)
