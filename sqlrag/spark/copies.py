"""Copying an index, or a part of it, from databases of one machine or other shards: nothing is embedded."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlrag.engines.base import engine_of
from sqlrag.engines.options import ConnectionOptions
from sqlrag.engines.sqlite.engine import SQLiteEngine
from sqlrag.errors import InputError
from sqlrag.spark.folder import Folder
from sqlrag.spark.manifest import Manifest, Shard
from sqlrag.spark.shards import Content, described, finish, vectors_of, write
from sqlrag.store.encoders import Encoders
from sqlrag.store.names import quote
from sqlrag.store.source_table import content_hash, source_of
from sqlrag.store.writer import chunk_columns
from sqlrag.values.arguments import shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.engines.base import Engine
    from sqlrag.store.registry import IndexRecord

__all__ = ["check_shards", "content_of", "export", "put_shard", "sent"]

ROWS_AT_ONCE = 200
"""How many rows of the source are read with one statement."""

MOST_SHARDS = 100_000


def export(
    database: str | os.PathLike[str], path: str | os.PathLike[str], *, index: str | None = None, shards: int = 8
) -> Manifest:
    """Turn an index of one machine's database into an index in shards, whose first version this is.

    The ids stay as they are. Each shard has a run of them.

    Parameters:
        database: A SQLite or DuckDB database of sqlrag's. It is only read.
        path: The folder of the index in shards, or its URL. It must have none yet.
        index: The index; by default the only one.
        shards: How many shards, from 1; fewer if there are fewer documents.

    Returns:
        What was written.

    Raises:
        InputError: An argument is wrong, or the folder has an index.
        DatabaseError: The database cannot be read, or the folder cannot be written.
    """
    check_shards(shards)
    folder = Folder(path)
    if Manifest.versions(folder):
        raise InputError(f"path is {folder.path!r}: an index in shards is there already, so take another folder")
    with closing(_opened(os.fspath(database))) as engine:
        record = _the_record(engine, index)
        source = engine.source_table(record.source_table)
        columns = {name: source.types.get(name) or "" for name in source.columns}
        of_shard = replace(record, tracking="triggers" if record.is_over_table else "", version=0)
        made = []
        for number, keys in enumerate(_runs(engine, record, shards)):
            content = content_of(engine, record, list(columns), keys)
            made.append(put_shard(folder, number, of_shard, columns, content))
    manifest = Manifest(1, of_shard, columns, tuple(made), len(made))
    manifest.write(folder)
    return manifest


def check_shards(shards: int | None) -> None:
    """Raise InputError for a number of shards that cannot be."""
    if shards is not None and (type(shards) is not int or not 1 <= shards <= MOST_SHARDS):
        raise InputError(f"shards is {shown(shards)}: it is a whole number from 1 to {MOST_SHARDS:,}")


def content_of(engine: Engine, record: IndexRecord, columns: Sequence[str], keys: Sequence[Any]) -> Content:
    """Return what an index has of the rows of these keys."""
    reader = _Reader(engine, record, columns)
    has_own_hashes = isinstance(engine, SQLiteEngine)  # DuckDB has others
    hashes = reader.hashes(keys) if has_own_hashes else reader.made_hashes(keys)
    return Content((row for _, row in reader.rows(keys)), hashes, reader.chunks(keys))


class _Reader:
    """Reads rows of an index's source, with what the index has of them, some hundred at a time."""

    def __init__(self, engine: Engine, record: IndexRecord, columns: Sequence[str]) -> None:
        self._engine = engine
        self._record = record
        self._columns = columns
        self._source = source_of(record)

    def rows(self, keys: Sequence[Any]) -> Iterator[tuple[Any, Sequence[Any]]]:
        """Yield the keys and the rows."""
        names = self._source.key
        sql = f"SELECT {', '.join(map(quote, self._columns))} FROM {quote(self._record.source_table)} WHERE "
        if self._source.is_composite:
            sql += " AND ".join(f"{quote(name)} IS NOT DISTINCT FROM ?" for name in names)
            for key in keys:
                yield from ((key, _plain(row)) for row in self._engine.execute(sql, json.loads(key)))
            return
        place = list(self._columns).index(names[0])
        for some in _groups(keys):
            for row in self._engine.execute(f"{sql}{quote(names[0])} IN ({_places(some)})", some):
                yield _plain(row)[place], _plain(row)

    def hashes(self, keys: Sequence[Any]) -> Iterator[tuple[Any, bytes]]:
        """Yield the keys and the hashes of their texts."""
        sql = f"SELECT source_id, content_hash FROM {quote(self._record.name + '_rows')} WHERE source_id IN "
        for some in _groups(keys):
            yield from ((row[0], row[1]) for row in self._engine.execute(f"{sql}({_places(some)})", some))

    def made_hashes(self, keys: Sequence[Any]) -> Iterator[tuple[Any, bytes]]:
        """Yield the same, made anew."""
        places = [list(self._columns).index(name) for name in self._source.columns]
        for key, row in self.rows(keys):
            yield key, content_hash(self._source.render([row[place] for place in places]))

    def chunks(self, keys: Sequence[Any]) -> Iterator[tuple[Sequence[Any], NDArray[np.float32]]]:
        """Yield the chunks with their vectors."""
        record = self._record
        sql = f"SELECT {', '.join(chunk_columns(record))} FROM {quote(record.name)} WHERE source_id IN "
        for some in _groups(keys):
            rows = self._engine.execute(f"{sql}({_places(some)}) ORDER BY id", some)
            found = [(*row, *(() if record.context else ("",))) for row in rows]
            if found:
                yield found, _vectors(self._engine, record, [chunk[0] for chunk in found])


def put_shard(folder: Folder, number: int, record: IndexRecord, columns: Any, content: Content) -> Shard:
    """Write a shard to a temporary file, and copy it into the folder."""
    with tempfile.TemporaryDirectory(prefix="sqlrag-shard-") as work:
        path = os.path.join(work, "shard.db")
        write(path, record, columns, content)
        return sent(folder, path, number, record, columns)


def sent(folder: Folder, path: str, number: int, record: IndexRecord, columns: Any) -> Shard:
    """Finish a shard, copy it into the folder under a name that no other has, and describe it."""
    name = f"shards/{number:06}-{os.urandom(8).hex()}.db"
    finish(path, name)
    shard = described(path, name, number, record, columns)
    folder.upload(path, name)
    return shard


def _opened(path: str) -> Engine:
    options = ConnectionOptions(read_only=True, must_exist=True)
    if engine_of(path, None) == "duckdb":
        from sqlrag.engines.duckdb.engine import DuckDBEngine

        return DuckDBEngine(path, Encoders(), options)
    return SQLiteEngine(path, Encoders(), options)


def _the_record(engine: Engine, index: str | None) -> IndexRecord:
    names = engine.indexes.names()
    if index is None and len(names) != 1:
        raise InputError(f"index is None: it names one of {', '.join(map(repr, names)) or 'none'}")
    return engine.indexes.record(names[0] if index is None else index)


def _runs(engine: Engine, record: IndexRecord, count: int) -> Iterator[list[Any]]:
    """Yield the keys of the source for each shard: runs in the order of their chunks, with about as many each."""
    sql = f"SELECT source_id, count(*), min(id) FROM {quote(record.name)} GROUP BY source_id ORDER BY min(id)"
    keys = [(row[0], row[1]) for row in engine.execute(sql)]
    there = {key for key, _ in keys}
    if record.is_over_table:
        known = f"SELECT source_id FROM {quote(record.name + '_rows')}"
    else:
        known = f"SELECT id FROM {quote(record.source_table)} WHERE index_name = '{record.name}'"
    keys += [(row[0], 1) for row in engine.execute(known) if row[0] not in there]  # rows without a chunk
    total = sum(chunks for _, chunks in keys)
    run: list[Any] = []
    done = made = 0
    for key, chunks in keys:
        run.append(key)
        done += chunks
        if done * count >= (made + 1) * total:
            yield run
            made = done * count // total
            run = []
    if run or not keys:
        yield run


def _vectors(engine: Engine, record: IndexRecord, ids: list[int]) -> NDArray[np.float32]:
    if isinstance(engine, SQLiteEngine):
        return vectors_of(engine.connection, record, ids)
    import numpy as np

    sql = f"SELECT embedding FROM {quote(record.name + '_embedding')} WHERE id IN ({_places(ids)}) ORDER BY id"
    return np.array([row[0] for row in engine.execute(sql, ids)], np.float32)


def _groups(keys: Sequence[Any]) -> Iterator[list[Any]]:
    rest = iter(keys)
    while some := list(islice(rest, ROWS_AT_ONCE)):
        yield some


def _places(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _plain(row: Sequence[Any]) -> tuple[Any, ...]:
    """Return a row with values that SQLite has: a date of DuckDB's becomes a text."""
    kinds = (int, float, str, bytes, type(None))
    return tuple(value if isinstance(value, kinds) else str(value) for value in row)
