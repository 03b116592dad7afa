"""How the index file differs from DuckDB's tables, which are the truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlrag.engines.duckdb.cursors import HERE
from sqlrag.engines.duckdb.vectors import ROWS_AT_ONCE
from sqlrag.store.check import gone
from sqlrag.store.names import in_main, quote
from sqlrag.store.statements import statement

if TYPE_CHECKING:
    import apsw
    import duckdb

    from sqlrag.store.registry import IndexRecord

__all__ = ["Differences", "chunk_differences", "lost_tables", "problems_of"]

_ALL_IDS = range(-(2**63), 2**63)


@dataclass
class Differences:
    """The ids of chunks that differ. A chunk whose text differs is in both lists."""

    stale: list[int] = field(default_factory=list)
    """Chunks to delete from the index file."""
    missing: list[int] = field(default_factory=list)
    """Chunks to insert into the index file."""

    def __len__(self) -> int:
        return len({*self.stale, *self.missing})


def chunk_differences(
    database: duckdb.DuckDBPyConnection, index: apsw.Connection, record: IndexRecord, ids: range = _ALL_IDS
) -> Differences:
    """Compare the chunks in a range of ids. A chunk without a vector does not belong in the index file."""
    bounds = {"first": ids[0], "last": ids[-1]}
    sql = f"SELECT id, hash FROM {in_main(record.name)} WHERE id BETWEEN :first AND :last ORDER BY id"
    return _differences(_chunks(database, record, bounds), index.execute(sql, bounds))


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
    if found := chunk_differences(database, index, record):
        problems.append(
            f"{name}: {len(found)} chunks differ between the tables and the index file: "
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


def _chunks(
    database: duckdb.DuckDBPyConnection, record: IndexRecord, bounds: dict[str, int]
) -> Iterator[tuple[Any, ...]]:
    database.execute(statement("duckdb/chunk_hashes", index=record.name), bounds)
    while rows := database.fetchmany(ROWS_AT_ONCE):
        yield from rows


def _differences(truth: Iterable[tuple[Any, ...]], shown: Iterable[tuple[Any, ...]]) -> Differences:
    """Compare rows that come in the order of their ids, the first value of each."""
    found = Differences()
    others = iter(shown)
    other = next(others, None)
    for row in truth:
        while other is not None and other[0] < row[0]:
            found.stale.append(other[0])
            other = next(others, None)
        if other is None or other[0] > row[0]:
            found.missing.append(row[0])
            continue
        if other != row:
            found.stale.append(row[0])
            found.missing.append(row[0])
        other = next(others, None)
    if other is not None:
        found.stale += [other[0], *(row[0] for row in others)]
    return found
