"""An index made anew beside the old one, put in its place, or repaired; on either engine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlrag.engines.document_writer import mark_partial

if TYPE_CHECKING:
    from sqlrag.engines.index_tables import IndexTables
    from sqlrag.engines.indexed_table import IndexedTable
    from sqlrag.store.registry import IndexRecord

__all__ = ["begin_next", "repair_index", "switch"]


def begin_next(made: IndexedTable[Any], old: IndexRecord) -> None:
    """Make the index that is to take another's place, every text queued; one that was begun the same way is kept."""
    tables = made.tables
    with tables.transaction():
        begun = tables.existing()
        if begun is not None and begun.is_as(tables.record):
            return
        if begun is not None:
            tables.of(begun).drop()
        made.check_unique()
        tables.create(first_id=tables.of(old).unused_id())  # ids of chunks are never used again


def switch(made: IndexedTable[Any], old: IndexRecord) -> None:
    """Put an index in the place of the old one, in one transaction.

    What it does not have yet is its backlog. Documents that have changed since it looked at them count as ingested in
    part.
    """
    tables: IndexTables = made.tables
    version = max(old.version, tables.record.version)
    final = tables.of(
        replace(tables.record, name=old.name, template=old.template, tracking=old.tracking, version=version)
    )
    with tables.transaction():
        changed = [] if old.is_over_table else made.differences()
        first_id = tables.unused_id()
        tables.of(old).drop()
        final.create(first_id=first_id, queue=False)
        final.take_over(tables)
        tables.drop()
        mark_partial(final, changed)
        # Where the old model was the database's own, the new one takes its place if no index has the old one any more.
        sql = (
            f"UPDATE {final.main}.sqlrag_meta SET value = ? WHERE key = 'embedder' AND value = ? "
            f"AND NOT EXISTS (SELECT 1 FROM {final.main}.sqlrag_indexes WHERE embedder = ?)"
        )
        final.rows(sql, [final.record.embedder, old.embedder, old.embedder])


def repair_index(tables: IndexTables) -> bool:
    """Take out of an index what is wrong, so that it is indexed again; False where only making it anew helps."""
    with tables.transaction():
        wrong = tables.wrong_rows()
        if wrong is None:
            return False
        if tables.record.is_over_table:
            rows = [*wrong, *tables.unknown_rows(), *tables.rows_without_chunks()]
            tables.delete_chunks_of(rows)
            tables.delete_rows(rows)
        else:
            tables.delete_chunks_of(tables.rows_without_document())
            documents = [*wrong, *tables.documents_without_chunks(), *tables.mend_documents()]
            mark_partial(tables, list(dict.fromkeys(documents)))
    return True
