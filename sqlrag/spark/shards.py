"""Writing the file of a shard, with the code that writes any SQLite database of sqlrag's, and describing it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlrag.engines.options import ConnectionOptions
from sqlrag.engines.sqlite.engine import SQLiteEngine
from sqlrag.spark.manifest import Range, Shard
from sqlrag.store.encoders import Encoders
from sqlrag.store.names import in_main, quote
from sqlrag.store.precision import from_int8
from sqlrag.store.registry import IndexRecord
from sqlrag.store.source_table import key_columns

if TYPE_CHECKING:
    import apsw
    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.store.writer import StoredChunk

__all__ = ["Content", "checksum", "create_source", "described", "finish", "opened", "stored", "vectors_of", "write"]

NAME = "shard"
"""The fact in a shard's `sqlrag_meta` that says which shard it is."""


@dataclass
class Content:
    """What goes into a shard: rows of the source, hashes of their texts, and chunks with their vectors."""

    rows: Iterable[Sequence[Any]]
    hashes: Iterable[tuple[Any, bytes]]
    """Of an index over a table: the key and the text's hash of each row."""
    chunks: Iterable[tuple[Sequence[StoredChunk], NDArray[np.float32]]]


@contextmanager
def opened(path: str, encoders: Encoders | None = None, *, read_only: bool = False) -> Iterator[SQLiteEngine]:
    """Open a shard in the body, for writing unless it is said otherwise."""
    options = ConnectionOptions(read_only, must_exist=read_only)
    with closing(SQLiteEngine(path, encoders or Encoders(), options)) as engine:
        yield engine


def create_source(connection: apsw.Connection, record: IndexRecord, columns: Mapping[str, str]) -> None:
    """Create the table that the index of a shard is over. The columns of its key are its primary key."""
    keys = key_columns(record.source_key)
    definitions = [f"{quote(name)} {kind}" for name, kind in columns.items()]
    key = ", ".join(map(quote, keys))
    connection.execute(f"CREATE TABLE {in_main(record.source_table)} ({', '.join(definitions)}, PRIMARY KEY ({key}))")


def write(path: str, record: IndexRecord, columns: Mapping[str, str], content: Content) -> None:
    """Write a shard with content that has vectors already."""
    from sqlrag.engines.sqlite.index_tables import SQLiteTables
    from sqlrag.store.driver.error_translation import translated
    from sqlrag.store.driver.extensions import load_vec

    with opened(path) as engine, translated(path):
        connection = engine.connection
        load_vec(connection)
        tables = SQLiteTables(connection, path, record)
        if record.is_over_table:
            create_source(connection, record, columns)
        with tables.transaction():
            tables.create(queue=False)
        with tables.transaction():
            places = ", ".join("?" * len(columns))
            names = ", ".join(map(quote, columns))
            connection.executemany(
                f"INSERT INTO {in_main(record.source_table)} ({names}) VALUES ({places})", content.rows
            )
            if record.is_over_table:
                connection.execute(f"DELETE FROM {in_main(f'{record.name}_queue')}")  # what triggers have noted
                tables.insert_rows(list(content.hashes))
        for chunks, vectors in content.chunks:
            with tables.transaction():
                tables.insert(chunks, vectors, ())
        tables.keep_up(lambda _what, _share: None)


def finish(path: str, name: str) -> None:
    """Note the name of a shard in it, and make it one file that any reader can open, without a log beside it."""
    with opened(path) as engine:
        engine.indexes.registry.set_meta(NAME, name)
        engine.connection.execute("PRAGMA main.journal_mode = DELETE")


def described(path: str, name: str, number: int, record: IndexRecord, columns: Mapping[str, str]) -> Shard:
    """Return what the manifest says of a finished shard."""
    with opened(path, read_only=True) as engine:
        connection, index = engine.connection, engine.indexes.open(record.name)
        source = in_main(record.source_table)
        _, chunks, tokens, truncated, _ = index.counts()
        ((rows,),) = connection.execute(f"SELECT count(*) FROM {source}")
        ((low, high),) = connection.execute(f"SELECT min(id), max(id) FROM {in_main(record.name)}")
        candidates, recall = index.measured()
        ranges = {}
        for column in _filter_columns(record, columns):
            sql = f"SELECT min({quote(column)}), max({quote(column)}), count(*) - count({quote(column)}) FROM {source}"
            ((least, most, nulls),) = connection.execute(sql)
            if not isinstance(least, bytes) and not isinstance(most, bytes):
                ranges[column] = Range(least, most, nulls)
    size = os.path.getsize(path)
    return Shard(
        name, number, checksum(path), size, rows, chunks, tokens, truncated, low or 0, high or 0, candidates, recall,
        ranges,
    )  # fmt: skip


def stored(engine: SQLiteEngine, name: str) -> bool:
    """Tell whether a file is the shard of this name."""
    return engine.indexes.registry.meta(NAME) == name


def vectors_of(connection: apsw.Connection, record: IndexRecord, ids: Sequence[int]) -> NDArray[np.float32]:
    """Return the vectors of chunks of a SQLite file, `(n, dimension)`."""
    import numpy as np

    sql = (
        f"SELECT vec.embedding FROM main.json_each(?) AS wanted CROSS JOIN {in_main(f'{record.name}_vec')} AS vec "
        "ON vec.rowid = wanted.value ORDER BY wanted.key"
    )
    found = b"".join(vector for (vector,) in connection.execute(sql, (json.dumps(list(ids)),)))
    if record.vectors == "float32":
        return np.frombuffer(found, "<f4").reshape(len(ids), record.dimension)
    return from_int8(np.frombuffer(found, "i1").reshape(len(ids), record.dimension))


def checksum(path: str) -> str:
    """Return the SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _filter_columns(record: IndexRecord, columns: Mapping[str, str]) -> list[str]:
    """Return the columns of the source that the index was told are filtered by, and its key."""
    named = [*key_columns(record.source_key), *json.loads(record.filters)]
    return [column for column in dict.fromkeys(named) if column in columns]
