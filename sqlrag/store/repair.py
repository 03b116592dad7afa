"""Repairing an index in a SQLite file from its own parts, and finding the source rows that must be indexed again.

Tables of the user's are not touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlrag.store.check import full_text_is_sound, not_unit, vector_tables
from sqlrag.store.names import in_main
from sqlrag.store.precision import kept_parts
from sqlrag.store.statements import statement
from sqlrag.store.stored_vectors import stored_blocks
from sqlrag.store.vec0_layout import places_of
from sqlrag.store.writer import IndexWriter

if TYPE_CHECKING:
    import apsw

    from sqlrag.store.registry import IndexRecord

__all__ = ["has_broken_cells", "repair_index", "repair_places", "wrong_rows"]


def wrong_rows(connection: apsw.Connection, record: IndexRecord) -> list[Any]:
    """Return the source rows with a chunk that has no vector, a wrong one, or a text that does not fit its offsets."""
    import numpy as np

    sql = statement("index/wrong_rows", index=record.name, **kept_parts(record))
    rows = {source_id for (source_id,) in connection.execute(sql)}
    find = f"SELECT source_id FROM {in_main(record.name)} WHERE id = ?"
    for _, (ids, vectors) in stored_blocks(connection, record):
        for id_ in np.asarray(ids)[not_unit(vectors, record)]:
            rows.update(source_id for (source_id,) in connection.execute(find, (int(id_),)))
    return sorted(rows, key=str)


def has_broken_cells(connection: apsw.Connection, record: IndexRecord) -> bool:
    """Tell whether some vectors are in no cell that a search examines."""
    sql = statement("index/check_cells", index=record.name, **kept_parts(record))
    return any(count for _, count in connection.execute(sql))


def repair_places(connection: apsw.Connection, record: IndexRecord) -> bool:
    """Make the tables of vectors anew if they are not as vec0 keeps them.

    The new tables get the vectors whose place is certain; the others are embedded again. Return False for a damaged
    index that keeps only codes. The caller holds the write transaction.
    """
    writer = IndexWriter(connection, record)
    tables = {table: places_of(connection, table, size) for table, size in vector_tables(record).items()}
    kept = tables.pop(kept_parts(record)["kept"])
    if record.vectors == "int8":
        return kept.are_sound and all(places.are_sound for places in tables.values())
    if not kept.are_sound:
        writer.remake_vectors(kept.agreed)
    if not all(places.are_sound for places in tables.values()):
        writer.remake_cells()
    return True


def repair_index(connection: apsw.Connection, record: IndexRecord) -> None:
    """Delete vectors without a chunk, drop cells that lack vectors, and make the full text anew if it is wrong.

    The caller holds the write transaction, and makes new cells afterwards.
    """
    writer = IndexWriter(connection, record)
    kept = kept_parts(record)["kept"]
    sql = f"SELECT rowid FROM main.{kept} WHERE rowid NOT IN (SELECT id FROM {in_main(record.name)})"
    writer.delete_vectors([id_ for (id_,) in connection.execute(sql)])
    if has_broken_cells(connection, record):
        writer.drop_cells()
    if not full_text_is_sound(connection, record):
        writer.remake_full_text()
