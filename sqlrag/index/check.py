"""Is an index whole? What `check` looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlrag.index.blocks import stored_blocks
from sqlrag.index.names import quote
from sqlrag.index.precision import kept_parts
from sqlrag.index.source import key_expression, source_of
from sqlrag.index.statements import statement
from sqlrag.index.top_k import Index

if TYPE_CHECKING:
    import apsw
    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.index.registry import IndexRecord

__all__ = ["check_index"]

ROUNDING = {"float32": 1e-3, "int8": 0.1}
"""How far from 1 the squared length of a stored unit vector may be."""


def check_index(connection: apsw.Connection, record: IndexRecord) -> list[str]:
    """Return what is wrong with an index in a SQLite file, a line each; empty when it is sound."""
    import apsw

    name = record.name
    problems = []
    has_cells = Index(connection, record).has_cells()
    if has_cells:
        sql = statement("index/check", index=name, **kept_parts(record))
        problems = [f"{name}: {count} {what}" for what, count in connection.execute(sql) if count]
    if not connection.readonly("main"):
        fts = quote(f"{name}_fts")
        try:
            # https://www.sqlite.org/fts5.html#the_integrity_check_command; 1 compares with the chunk table too
            connection.execute(f"INSERT INTO {fts} ({fts}, rank) VALUES ('integrity-check', 1)")
        except apsw.CorruptError:
            problems.append(f"{name}: the full text does not match the chunks")
    source = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (record.source_table,)).fetchall()
    if source:  # the index file of a DuckDB database has only the index
        sql = (
            f"SELECT count(*) FROM {quote(name)} WHERE source_id NOT IN "
            f"(SELECT {key_expression(source_of(record))} FROM {quote(record.source_table)})"
        )
        ((orphans,),) = connection.execute(sql)
        problems += [f"{name}: {orphans} chunks have no row in {record.source_table}"] if orphans else []
    wrong = 0
    for _, (_, vectors) in stored_blocks(connection, record) if has_cells else ():
        wrong += _not_unit(vectors, ROUNDING[record.vectors])
    if wrong:
        problems.append(f"{name}: {wrong} vectors are not of unit length in {record.dimension} dimensions")
    return problems


def _not_unit(vectors: NDArray[np.float32], rounding: float) -> int:
    import numpy as np

    with np.errstate(all="ignore"):
        return int((~(np.abs(np.einsum("ij,ij->i", vectors, vectors) - 1.0) < rounding)).sum())  # NaN too
