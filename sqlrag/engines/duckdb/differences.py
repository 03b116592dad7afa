"""How the index file differs from DuckDB's tables, which are the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlrag.engines.duckdb.cursors import HERE
from sqlrag.engines.duckdb.table_state import TableState
from sqlrag.store.check import gone
from sqlrag.store.names import in_main, quote
from sqlrag.store.statements import statement

if TYPE_CHECKING:
    import apsw
    import duckdb

    from sqlrag.store.registry import IndexRecord

__all__ = ["Differences", "all_blocks", "chunk_differences", "lost_tables", "problems_of"]


class Differences(NamedTuple):
    """The ids of chunks that differ, in order. A chunk whose text differs is in both lists."""

    stale: list[int]
    """Chunks to delete from the index file."""
    missing: list[int]
    """Chunks to insert into the index file."""


def chunk_differences(
    database: duckdb.DuckDBPyConnection, index: apsw.Connection, record: IndexRecord, ids: range
) -> Differences:
    """Compare the chunks in a range of ids. A chunk without a vector does not belong in the index file."""
    bounds = {"first": ids[0], "last": ids[-1]}
    context = "context" if record.context else "''"
    sql = statement("duckdb/chunk_hashes", index=record.name, context=context)
    truth = dict(database.execute(sql, bounds).fetchall())
    sql = f"SELECT id, hash FROM {in_main(record.name)} WHERE id BETWEEN :first AND :last"
    shown: dict[Any, Any] = dict(index.execute(sql, bounds))
    differing = {id_ for id_, _ in truth.items() ^ shown.items()}
    return Differences(sorted(differing & shown.keys()), sorted(differing & truth.keys()))


def all_blocks(index: apsw.Connection, record: IndexRecord, state: TableState) -> list[int]:
    """Return the blocks of ids in which DuckDB's tables or the index file have chunks, in order."""
    shown = index.execute(f"SELECT DISTINCT id >> ? FROM {in_main(record.name)}", (state.bits,))
    return sorted({*map(int, state.blocks), *(block for (block,) in shown)})


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
    state, differing = TableState.of(database, record), 0
    for block in all_blocks(index, record, state):
        found = chunk_differences(database, index, record, state.ids(block))
        differing += len({*found.stale, *found.missing})
    if differing:
        problems.append(
            f"{name}: {differing} chunks differ between the tables and the index file: "
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
