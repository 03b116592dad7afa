"""How the index file differs from DuckDB's tables, which are the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlrag.engines.duckdb.cursors import HERE
from sqlrag.store.check import gone
from sqlrag.store.names import in_main, quote
from sqlrag.store.statements import statement

if TYPE_CHECKING:
    import apsw
    import duckdb

    from sqlrag.store.registry import IndexRecord

__all__ = ["Differences", "chunk_differences", "lost_tables", "problems_of", "state_of"]


class Differences(NamedTuple):
    """The ids of chunks that differ, in order. A chunk whose text differs is in both lists."""

    stale: list[int]
    """Chunks to delete from the index file."""
    missing: list[int]
    """Chunks to insert into the index file."""


def state_of(database: duckdb.DuckDBPyConnection, record: IndexRecord) -> str:
    """Return what differs between any two states of an index's tables. Raises CatalogException if one is gone."""
    if record.is_over_table:
        database.execute(f"SELECT 1 FROM {quote(f'{record.name}_rows')} LIMIT 0")
    return f"{record.embedder_hash} {database.execute(statement('duckdb/state', index=record.name)).fetchall()}"


def chunk_differences(database: duckdb.DuckDBPyConnection, index: apsw.Connection, record: IndexRecord) -> Differences:
    """Compare all chunks by their hashes: a million take 2.5 seconds of one processor."""
    import pyarrow as pa

    shown = index.execute(f"SELECT id, CAST(hash AS BLOB) FROM {in_main(record.name)}").fetchall()
    ids, hashes = zip(*shown, strict=True) if shown else ((), ())
    columns = {"id": pa.array(ids, pa.int64()), "hash": pa.array(hashes, pa.binary())}
    database.register("sqlrag_shown", pa.table(columns))
    context = "context" if record.context else "''"
    found = database.execute(statement("duckdb/chunk_differences", index=record.name, context=context)).fetchall()
    database.unregister("sqlrag_shown")
    return Differences([id_ for id_, _ in found if id_ is not None], [id_ for _, id_ in found if id_ is not None])


def lost_tables(database: duckdb.DuckDBPyConnection, record: IndexRecord) -> list[str]:
    """Return the tables of an index that are missing."""
    sql = f"SELECT table_name FROM duckdb_tables() WHERE {HERE}"
    there = {table for (table,) in database.execute(sql).fetchall()}
    parts = ["", "_embedding", *(["_rows"] if record.is_over_table else [])]
    return [record.name + part for part in parts if record.name + part not in there]


def problems_of(
    database: duckdb.DuckDBPyConnection, index: apsw.Connection, record: IndexRecord, index_file: str
) -> list[str]:
    """Return what is wrong with the tables of an index, and how the index file differs from them; for `check`."""
    name, problems = record.name, []
    if lost := lost_tables(database, record):
        return gone(record, lost)
    found = chunk_differences(database, index, record)
    if differing := {*found.stale, *found.missing}:
        problems.append(
            f"{name}: {len(differing)} chunks differ between the tables and the index file: "
            f"`sqlrag check --repair` makes the index file anew, as does deleting {index_file}"
        )
    chunks, vectors = quote(name), quote(f"{name}_embedding")
    counted = {
        "chunks have no vector": f"{chunks} ANTI JOIN {vectors} USING (id)",
        "chunks are there twice": f"(SELECT 1 FROM {chunks} GROUP BY source_id, ordinal HAVING count(*) > 1)",
        "vectors have no chunk": f"{vectors} ANTI JOIN {chunks} USING (id)",
        "chunks have a text of another length than their offsets say": (
            f"{chunks} WHERE length(text) <> end_char - start_char"
        ),
    }
    if record.is_over_table:
        rows = quote(f"{name}_rows")
        counted["chunks are of rows that the index has not seen"] = f"{chunks} ANTI JOIN {rows} USING (source_id)"
    else:
        source = f"SELECT {quote(record.source_key)} FROM {quote(record.source_table)}"
        counted[f"chunks have no row in {record.source_table}"] = f"{chunks} WHERE source_id NOT IN ({source})"
    for what, rows in counted.items():
        ((count,),) = database.execute(f"SELECT count(*) FROM {rows}").fetchall()
        problems += [f"{name}: {count} {what}"] if count else []
    return problems
