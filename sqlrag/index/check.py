"""Is an index whole? What `check` looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlrag.index.names import quote
from sqlrag.index.statements import statement

if TYPE_CHECKING:
    import apsw

    from sqlrag.index.registry import IndexRecord

__all__ = ["check_index"]


def check_index(connection: apsw.Connection, record: IndexRecord) -> list[str]:
    """Return what is wrong with an index in a SQLite file, a line each; empty when it is sound."""
    import apsw

    name = record.name
    sql = statement("index/check", index=name)
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
            f"(SELECT {quote(record.source_key)} FROM {quote(record.source_table)})"
        )
        ((orphans,),) = connection.execute(sql)
        problems += [f"{name}: {orphans} chunks have no row in {record.source_table}"] if orphans else []
    wrong = 0
    for (vector,) in connection.execute(f"SELECT embedding FROM {quote(name + '_vec')}"):
        wrong += not _is_unit(vector, record.dimension)
    if wrong:
        problems.append(f"{name}: {wrong} vectors are not of unit length in {record.dimension} dimensions")
    return problems


def _is_unit(blob: bytes, dimension: int) -> bool:
    import numpy as np

    vector = np.frombuffer(blob, dtype=np.float32)
    return vector.shape == (dimension,) and bool(abs(float(vector @ vector) - 1.0) < 1e-3)  # NaN fails this too
