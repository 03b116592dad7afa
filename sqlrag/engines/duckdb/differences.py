"""How the index file differs from DuckDB's tables, which are the truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlrag.engines.duckdb.cursors import HERE
from sqlrag.errors import NotADatabaseError
from sqlrag.store.check import gone
from sqlrag.store.names import quote
from sqlrag.store.precision import codes_of
from sqlrag.store.writer import chunk_columns

if TYPE_CHECKING:
    import apsw
    import duckdb
    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.store.registry import IndexRecord

__all__ = [
    "ROWS_AT_ONCE",
    "Differences",
    "chunk_differences",
    "listed_columns",
    "lost_tables",
    "problems_of",
    "stored_vectors",
]

ROWS_AT_ONCE = 5_000
"""How many rows are taken from DuckDB at a time: a few MB."""

_ALL_IDS = range(-(2**63), 2**63)


@dataclass
class Differences:
    """Ids of rows; a row that both have with other content is in both lists."""

    stale: list[int] = field(default_factory=list)
    """What the index file has and the tables have not, or have otherwise."""
    missing: list[int] = field(default_factory=list)
    """What the tables have and the index file has not, or has otherwise."""

    def __len__(self) -> int:
        return len({*self.stale, *self.missing})


def chunk_differences(
    database: duckdb.DuckDBPyConnection, index: apsw.Connection, record: IndexRecord, ids: range = _ALL_IDS
) -> Differences:
    """Compare the chunks that have a vector with those of the index file, text and all; `ids`: only these."""
    columns = listed_columns(record)
    sql = f"SELECT {columns} FROM {quote(record.name)} WHERE id BETWEEN ? AND ? ORDER BY id ASC"
    return _differences(_chunks(database, record, ids), index.execute(sql, (ids[0], ids[-1])))


def listed_columns(record: IndexRecord) -> str:
    """Return the columns of an index's chunk table, for a SELECT."""
    return ", ".join(chunk_columns(record))


def lost_tables(database: duckdb.DuckDBPyConnection, record: IndexRecord) -> list[str]:
    """Return which tables of an index are gone."""
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
    table, column = ("codes", "code") if record.vectors == "int8" else ("vec", "embedding")
    shown = index.execute(f"SELECT rowid, {column} FROM {quote(f'{name}_{table}')} ORDER BY rowid")
    compared = {
        "chunks": chunk_differences(database, index, record),
        "vectors": _differences(_vectors(database, record), shown),
    }
    for what, found in compared.items():
        if found:
            problems.append(
                f"{name}: {len(found)} {what} differ between the tables and the index file: "
                f"`sqlrag check --repair` makes the index file anew, as does deleting {index_file}"
            )
    chunks, vectors = quote(name), quote(f"{name}_embedding")
    counted = {
        "chunks have no vector": f"{chunks} ANTI JOIN {vectors} USING (id)",
        "chunks are there twice": f"(SELECT 1 FROM {chunks} GROUP BY source_id, ordinal HAVING count(*) > 1)",
        "vectors have no chunk": f"{vectors} ANTI JOIN {chunks} USING (id)",
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


def stored_vectors(database: duckdb.DuckDBPyConnection, record: IndexRecord, ids: Sequence[int]) -> NDArray[np.float32]:
    """Return the vectors of some chunks, (n, dimension), in the order of their ids."""
    import numpy as np

    sql = f"SELECT embedding FROM {quote(record.name + '_embedding')} WHERE id IN (SELECT unnest(?)) ORDER BY id ASC"
    column = list(database.execute(sql, [list(ids)]).fetchnumpy()["embedding"])
    if any(np.shape(vector) != (record.dimension,) for vector in column):
        raise NotADatabaseError(
            f"this database is damaged: {record.name}_embedding has vectors of another length than {record.dimension}: "
            f"in DuckDB itself, DELETE FROM {record.name}_embedding WHERE len(embedding) <> {record.dimension}, "
            "then sqlrag check --repair"
        )
    return np.stack(column).astype(np.float32)


def _chunks(database: duckdb.DuckDBPyConnection, record: IndexRecord, ids: range) -> Iterator[tuple[Any, ...]]:
    listed = listed_columns(record)
    chunks, vectors = (
        f"(SELECT {columns} FROM {quote(table)} WHERE id BETWEEN $first AND $last)"
        for columns, table in ((listed, record.name), ("id", f"{record.name}_embedding"))
    )
    sql = f"SELECT {listed} FROM {chunks} SEMI JOIN {vectors} USING (id) ORDER BY id ASC"
    database.execute(sql, {"first": ids[0], "last": ids[-1]})  # in the transaction that it is in
    while rows := database.fetchmany(ROWS_AT_ONCE):
        yield from rows


def _vectors(database: duckdb.DuckDBPyConnection, record: IndexRecord) -> Iterator[tuple[int, bytes]]:
    sql = (
        f"SELECT id FROM {quote(record.name + '_embedding')} SEMI JOIN {quote(record.name)} USING (id) ORDER BY id ASC"
    )
    ids = [row[0] for row in database.execute(sql).fetchall()]
    for start in range(0, len(ids), ROWS_AT_ONCE):
        some = ids[start : start + ROWS_AT_ONCE]
        vectors = stored_vectors(database, record, some)
        kept = codes_of(record).encode(vectors) if record.vectors == "int8" else vectors
        for id_, vector in zip(some, kept, strict=True):
            yield id_, vector.tobytes()


def _differences(truth: Iterable[tuple[Any, ...]], shown: Iterable[tuple[Any, ...]]) -> Differences:
    """Compare rows in the order of their ids, which come first in each."""
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
