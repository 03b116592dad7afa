"""Is an index whole? What `check` looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlrag.errors import NotADatabaseError
from sqlrag.index.blocks import stored_blocks
from sqlrag.index.names import in_main, quote
from sqlrag.index.precision import kept_parts
from sqlrag.index.source import key_expression, source_of
from sqlrag.index.statements import statement
from sqlrag.index.top_k import Index

if TYPE_CHECKING:
    import apsw
    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.index.registry import IndexRecord

__all__ = ["check_index", "full_text_is_sound", "lost_parts", "misfiled_vectors", "not_unit"]

ROUNDING = {"float32": 1e-3, "int8": 0.1}
"""How far from 1 the squared length of a stored unit vector may be."""


def check_index(connection: apsw.Connection, record: IndexRecord) -> list[str]:
    """Return what is wrong with an index in a SQLite file, a line each; empty when it is sound."""
    name = record.name
    lost = lost_parts(connection, record)
    problems = [f"{name}: {part} is gone" for part in lost]
    if not all("_after_" in part for part in lost):
        return problems  # a table: nothing can be asked
    has_cells = Index(connection, record).has_cells()
    for part in ("check", "check_cells") if has_cells else ():
        sql = statement(f"index/{part}", index=name, items="chunks", **kept_parts(record))
        problems += [f"{name}: {count} {what}" for what, count in connection.execute(sql) if count]
    if not connection.readonly("main") and not full_text_is_sound(connection, record):
        problems.append(f"{name}: the full text does not match the chunks")
    source = connection.execute("SELECT 1 FROM main.sqlite_schema WHERE name = ?", (record.source_table,)).fetchall()
    if source and not record.is_live:  # the index file of a DuckDB database has only the index
        sql = (
            f"SELECT count(*) FROM {in_main(name)} WHERE source_id NOT IN "
            f"(SELECT {key_expression(source_of(record))} FROM {in_main(record.source_table)})"
        )
        ((orphans,),) = connection.execute(sql)
        problems += [f"{name}: {orphans} chunks have no row in {record.source_table}"] if orphans else []
    wrong = misfiled = 0
    try:
        for _, (_, vectors) in stored_blocks(connection, record) if has_cells else ():
            wrong += int(not_unit(vectors, record).sum())
        misfiled = misfiled_vectors(connection, record) if has_cells else 0
    except NotADatabaseError as error:
        problems.append(f"{name}: {error}")
    if wrong:
        problems.append(f"{name}: {wrong} vectors are not of unit length in {record.dimension} dimensions")
    if misfiled:
        problems.append(f"{name}: {misfiled} vectors lie under another id than vec0 has for them")
    return problems


def misfiled_vectors(connection: apsw.Connection, record: IndexRecord) -> int:
    """Return how many vectors a search would give another id, or none, than a look-up by id: vec0 keeps both ways.

    Raises NotADatabaseError for a block that vec0 has not written.
    """
    import numpy as np

    blocks = [ids for _, (ids, _) in stored_blocks(connection, record)]
    found = np.concatenate(blocks) if blocks else np.empty(0, np.int64)
    rows = connection.execute(f"SELECT rowid FROM main.{kept_parts(record)['kept']}")
    kept = np.fromiter((id_ for (id_,) in rows), np.int64)
    return len(np.setxor1d(found, kept))


def lost_parts(connection: apsw.Connection, record: IndexRecord) -> list[str]:
    """Return the tables and triggers of an index that somebody has dropped."""
    name = record.name
    needed = [name, f"{name}_fts", *(f"{name}_after_{event}" for event in ("insert", "delete", "update"))]
    if record.vectors == "float32":
        needed.append(f"{name}_vec")
    if Index(connection, record).has_cells():
        needed.append(f"{name}_codes")
        if not record.is_live:
            needed.append(f"{name}_code_after_delete")
            needed += [f"{name}_vector_after_delete"] if record.vectors == "float32" else []
    parts = dict(connection.execute("SELECT lower(name), sql FROM main.sqlite_schema"))
    there = set(parts)
    earlier = (f"{name}_after_delete", f"{name}_vectors")  # the triggers that did it before schema 2
    if any(f"DELETE FROM {name}_vec " in (parts.get(trigger.lower()) or "") for trigger in earlier):
        there.add(f"{name}_vector_after_delete".lower())
    return [part for part in needed if part.lower() not in there]


def full_text_is_sound(connection: apsw.Connection, record: IndexRecord) -> bool:
    """Tell whether the full text is that of the chunks; the database must be open for writing."""
    import apsw

    words = quote(f"{record.name}_fts")
    try:
        # https://www.sqlite.org/fts5.html#the_integrity_check_command; 1 compares with the chunk table too
        connection.execute(f"INSERT INTO main.{words} ({words}, rank) VALUES ('integrity-check', 1)")
    except apsw.CorruptError:
        return False
    return True


def not_unit(vectors: NDArray[np.float32], record: IndexRecord) -> NDArray[np.bool_]:
    """Tell which stored vectors, (n, dimension), are not of unit length; (n,) bool."""
    import numpy as np

    with np.errstate(all="ignore"):
        lengths = np.einsum("ij,ij->i", vectors, vectors)
        wrong: NDArray[np.bool_] = ~(np.abs(lengths - 1.0) < ROUNDING[record.vectors])  # NaN too
    return wrong
