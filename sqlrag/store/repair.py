"""Repairing an index in a SQLite file from its own parts, and finding the source rows that must be indexed again.

Tables of the user's are not touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlrag.store.check import code_problems, full_text_is_sound, not_unit, vector_tables
from sqlrag.store.names import in_main
from sqlrag.store.precision import kept_parts
from sqlrag.store.statements import statement
from sqlrag.store.stored_vectors import stored_blocks, vec0_vectors
from sqlrag.store.vec0_layout import places_of
from sqlrag.store.writer import IndexWriter

if TYPE_CHECKING:
    import apsw

    from sqlrag.store.registry import IndexRecord

__all__ = ["repair_index", "repair_vectors", "wrong_rows"]


def wrong_rows(connection: apsw.Connection, record: IndexRecord) -> list[Any]:
    """Return the source rows with a chunk that has no vector, a wrong one, or a text that does not fit its offsets."""
    import numpy as np

    sql = statement("index/wrong_rows", index=record.name, **kept_parts(record))
    rows = {source_id for (source_id,) in connection.execute(sql)}
    find = f"SELECT source_id FROM {in_main(record.name)} WHERE id = ?"
    for ids, vectors in stored_blocks(connection, record):
        for id_ in np.asarray(ids)[not_unit(vectors, record)]:
            rows.update(source_id for (source_id,) in connection.execute(find, (int(id_),)))
    return sorted(rows, key=str)


def repair_vectors(connection: apsw.Connection, record: IndexRecord) -> None:
    """Make the tables of vectors and codes anew if they are not as they should be.

    A table of vectors that vec0 can't use gets those whose place is certain; the others are embedded again. The caller
    holds the write transaction.
    """
    writer = IndexWriter(connection, record)
    writer.bring_to_codes()
    ((table, size),) = vector_tables(connection, record).items()
    places = places_of(connection, table, size)
    if not places.are_sound:
        writer.remake_vectors(places.agreed)
    if code_problems(connection, record, vec0_vectors(connection, record)):
        writer.remake_codes()


def repair_index(connection: apsw.Connection, record: IndexRecord) -> None:
    """Delete vectors without a chunk, and make the full text anew if it is wrong. The caller holds the transaction."""
    writer = IndexWriter(connection, record)
    kept = kept_parts(record)["kept"]
    sql = f"SELECT rowid FROM main.{kept} WHERE rowid NOT IN (SELECT id FROM {in_main(record.name)})"
    writer.delete_vectors([id_ for (id_,) in connection.execute(sql)])
    if not full_text_is_sound(connection, record):
        writer.remake_full_text()
