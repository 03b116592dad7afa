"""Making and changing an index in shards from DataFrames: Spark reads and distributes, each task writes whole shards.

A task that fails, is tried again or runs twice leaves files that no manifest names. A shard that is finished leaves a
note of what went into it, so a build that was stopped takes it up as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlrag.engines.options import ConnectionOptions
from sqlrag.engines.sqlite.engine import SQLiteEngine
from sqlrag.errors import DatabaseError, InputError
from sqlrag.spark.cache import Cache
from sqlrag.spark.copies import check_shards, sent
from sqlrag.spark.folder import Folder
from sqlrag.spark.manifest import IDS_OF_A_SHARD, Manifest, Shard, packed, unpacked
from sqlrag.spark.session import Registered, check_pyspark, located, models_of, scanned, spark_type
from sqlrag.spark.shards import create_source
from sqlrag.spark.worker import Models, task_encoders
from sqlrag.store.names import check_new_index_name, in_main, quote
from sqlrag.store.new_record import IndexOptions
from sqlrag.store.source_table import made_template, template_columns
from sqlrag.values.arguments import several, shown

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Change", "append", "build", "delete", "sync"]

ROWS_OF_A_SHARD = 200_000
"""How many rows a shard gets if the caller does not say how many shards there are."""

OTHER_ROWS = "the DataFrame gave other rows at its second reading: cache it, or write it to a table first"

_NUMBER, _HASH = "sqlrag_shard", "sqlrag_hash"
"""Columns beside those of the source, on the way to the tasks: the number of the shard, a hash of the row."""


@dataclass(frozen=True)
class Change:
    """What a call has changed."""

    version: int
    """The version of the index that it made; the one before if nothing has changed."""
    added: int = 0
    """Rows that were indexed; a row that has changed counts here and as removed."""
    removed: int = 0
    without_key: int = 0
    """Rows that were left out, since their key is NULL."""
    shards: int = 0
    """Shards that were written."""
    resumed: int = 0
    """Shards that an earlier call had finished before it was stopped."""


def build(
    df: Any,
    path: str | os.PathLike[str],
    *,
    text: str | Sequence[str],
    key: str,
    filters: Sequence[str] = (),
    shards: int | None = None,
    by: str | None = None,
    index: str = "chunks",
    table: str = "source",
    max_tokens: int | None = None,
    overlap: int | None = None,
    tokenizer: str | None = None,
    vectors: str | None = None,
    embedder: str | None = None,
) -> Change:
    """Make an index in shards of a DataFrame. The executors chunk, embed and write; nothing of it passes the driver.

    A build that was stopped goes on where it was: run the same call again. The DataFrame is read twice, and must give
    the same rows both times.

    Parameters:
        df: The rows.
        path: The folder of the index, or its URL, where every executor can write.
        text: What is embedded: a column, several, or a template such as `"{title}: {body}"`.
        key: The column that tells rows apart. A row without a key is left out, and counted.
        filters: Columns that filters use. Each shard notes the least and the greatest value of them.
        shards: How many shards; by default as many as the session runs tasks at a time, and more from 200,000 rows a
            shard on.
        by: A column whose equal values come into the same shard, so that a filter on it opens few shards. By default
            rows are spread by their key.
        index: The name of the index and of the view of its chunks.
        table: The name of the view of its rows.
        max_tokens: The longest chunk, in tokens.
        overlap: How many tokens neighbouring chunks share.
        tokenizer: Of the full text: "porter", "unicode61" or "trigram".
        vectors: How vectors are kept: "float32" or "int8".
        embedder: A bundled or pulled bi-encoder, by its name.

    Returns:
        What was written.

    Raises:
        InputError: An argument is wrong, the folder has an index, or a key occurs twice.
        LockedError: Another writer has made the index meanwhile.
        DatabaseError: The folder cannot be written.
    """
    check_pyspark()
    folder = Folder(path)
    if Manifest.versions(folder):
        raise InputError(
            f"path is {folder.path!r}: an index is there already: append to it, sync it, or take another folder"
        )
    check_new_index_name(index)
    columns = _columns(df, text, key, filters, by)
    from sqlrag.models import Embedder

    options = IndexOptions(max_tokens, overlap, tokenizer, vectors)
    template = made_template(text, df.columns, table)
    record = options.record(
        index, Embedder(embedder), source=(table, key), template=template, filters=json.dumps(list(filters)),
        tracking="triggers",
    )  # fmt: skip
    manifest = Manifest(0, record, columns, (), 0, {"by": by})
    return _commit(folder, manifest, manifest.shards, _planned(df, manifest), shards)


def append(df: Any, path: str | os.PathLike[str], *, shards: int | None = None) -> Change:
    """Add rows to an index, in new shards. Their keys must be new: `sync` also changes rows that are there.

    Parameters:
        df: The rows, with the columns that `build` was given.
        path: The folder of the index.
        shards: How many new shards; by default one for each 200,000 rows.

    Returns:
        What was written.

    Raises:
        InputError: A column is missing, a key is there already, or the index was not made by `build`.
        LockedError: Another writer has changed the index meanwhile; nothing was changed.
    """
    folder, manifest = _built(path)
    planned = _planned(df, manifest)
    key = manifest.record.source_key
    there = _stored(df.sparkSession, folder, manifest).select(key)
    twice = planned.select(key).join(there, key, "left_semi").limit(1).collect()
    if twice:
        raise InputError(
            f"key {twice[0][0]!r} is in the index already: use sqlrag.spark.sync for rows that may be there"
        )
    return _commit(folder, manifest, manifest.shards, planned, shards)


def delete(keys: Any, path: str | os.PathLike[str]) -> Change:
    """Delete rows from an index. They stay in their shards' files, and no search finds them; `compact` drops them.

    Parameters:
        keys: A DataFrame with the keys in its only column, or in one that is named as the index's key.
        path: The folder of the index.

    Returns:
        What was removed. Keys that the index does not have are ignored.

    Raises:
        InputError: `keys` has no such column.
        LockedError: Another writer has changed the index meanwhile; nothing was changed.
    """
    folder = Folder(path)
    manifest = Manifest.read(folder)
    key = manifest.record.source_key
    column = key if key in keys.columns else keys.columns[0] if len(keys.columns) == 1 else None
    if column is None:
        raise InputError(f"keys has the columns {', '.join(keys.columns)}: one must be {key}")
    stored = _stored(keys.sparkSession, folder, manifest)
    kind = spark_type(manifest.columns[key])
    chosen = keys.select(keys[column].cast(kind).alias(key)).distinct()
    kept, removed = _without(manifest.shards, stored.join(chosen, key, "left_semi"))
    if removed:
        manifest = manifest.after(kept)
        manifest.write(folder)
    return Change(manifest.version, removed=removed)


def sync(df: Any, path: str | os.PathLike[str], *, shards: int | None = None) -> Change:
    """Bring an index to what a DataFrame holds: only rows that are new or have changed are embedded.

    Parameters:
        df: All rows, with the columns that `build` was given.
        path: The folder of the index.
        shards: How many new shards; by default one for each 200,000 rows that are new or have changed.

    Returns:
        What was written and removed.

    Raises:
        InputError: A column is missing, a key occurs twice, or the index was not made by `build`.
        LockedError: Another writer has changed the index meanwhile; nothing was changed.
    """
    folder, manifest = _built(path)
    planned = _planned(df, manifest)
    stored = _stored(df.sparkSession, folder, manifest)
    key = manifest.record.source_key
    same = [key, _HASH]
    kept, removed = _without(manifest.shards, stored.join(planned.select(same), same, "left_anti"))
    new = planned.join(stored.select(same), same, "left_anti")
    return _commit(folder, manifest, kept, new, shards, removed=removed)


# The rows, on their way to the shards


def _columns(df: Any, text: Any, key: object, filters: Sequence[str], by: object) -> dict[str, str]:
    """Return the columns of the source with the types that SQLite declares. Raises InputError for unknown ones."""
    types = dict(df.dtypes)
    wanted = [key, *template_columns(made_template(text, df.columns, "df")), *several("filters", filters, "columns")]
    for name in [*wanted, *([by] if by is not None else [])]:
        if not isinstance(name, str) or name not in types:
            raise InputError(f"df has no column {shown(name)}: it has {', '.join(types)}")
    if by is not None and by not in wanted:
        raise InputError(
            f"by is {by!r}: it is the key or one of the filters: {', '.join(map(repr, filters)) or 'none'}"
        )
    return {str(name): _declared(types[str(name)]) for name in dict.fromkeys(wanted)}


def _declared(kind: str) -> str:
    """Return SQLite's type for one of Spark's; what SQLite does not have, such as a date, becomes a text."""
    if kind in ("tinyint", "smallint", "int", "bigint", "boolean"):
        return "INTEGER"
    return "REAL" if kind in ("float", "double") or kind.startswith("decimal") else "TEXT"


def _planned(df: Any, manifest: Manifest) -> Any:
    """Return the columns of the source, as SQLite keeps them, and a hash of each row. Raises InputError."""
    from pyspark.sql import functions as f

    missing = [name for name in manifest.columns if name not in df.columns]
    if missing:
        raise InputError(f"df has no column {missing[0]!r}: the index was built with {', '.join(manifest.columns)}")
    types = dict(df.dtypes)
    chosen = []
    for name, kind in manifest.columns.items():
        is_nested = types[name].startswith(("array", "map", "struct"))
        chosen.append((f.to_json(df[name]) if is_nested else df[name].cast(spark_type(kind))).alias(name))
    rows = df.select(*chosen)
    return rows.withColumn(_HASH, f.xxhash64(*(rows[name] for name in manifest.columns)))


def _stored(spark: Any, folder: Folder, manifest: Manifest) -> Any:
    """Return the rows of an index with their hashes, the shard and the rowid of each, and what its chunks amount to."""
    from pyspark.sql import functions as f

    index = Registered(folder, manifest, models_of(manifest.record, None), Cache())
    columns = {name: spark_type(kind) for name, kind in manifest.columns.items()}
    counted = {"sqlrag_rowid": "BIGINT", "sqlrag_chunks": "BIGINT", "sqlrag_tokens": "BIGINT"}
    chunks, key = in_main(manifest.record.name), quote(manifest.record.source_key)
    sql = (
        f"SELECT {', '.join(f'source.{quote(name)}' for name in columns)}, source.rowid, "
        f"count(chunk.id), sum(chunk.token_count) FROM {in_main(manifest.record.source_table)} AS source "
        f"LEFT JOIN {chunks} AS chunk ON chunk.source_id = source.{key} GROUP BY source.rowid"
    )
    rows = scanned(spark, located(index), sql, columns | counted, name="sqlrag_name")
    return rows.withColumn(_HASH, f.xxhash64(*(rows[name] for name in manifest.columns)))


def _without(shards: Sequence[Shard], gone: Any) -> tuple[list[Shard], int]:
    """Return the shards without the rows of a DataFrame of `_stored`, and how many rows that are."""
    from pyspark.sql import functions as f

    of_shard = {
        name: (numbers, chunks, tokens)
        for name, numbers, chunks, tokens in gone.groupBy("sqlrag_name")
        .agg(f.collect_list("sqlrag_rowid"), f.sum("sqlrag_chunks"), f.sum("sqlrag_tokens"))
        .collect()
    }
    kept = []
    for shard in shards:
        numbers, chunks, tokens = of_shard.get(shard.name, ([], 0, 0))
        gone_rows = [*unpacked(shard.gone).tolist(), *numbers]
        if len(gone_rows) == shard.rows:
            continue
        kept.append(
            replace(
                shard,
                gone=packed(gone_rows),
                gone_rows=len(gone_rows),
                gone_chunks=shard.gone_chunks + int(chunks or 0),
                gone_tokens=shard.gone_tokens + int(tokens or 0),
            )
        )
    return kept, sum(len(numbers) for numbers, _, _ in of_shard.values())


def _built(path: str | os.PathLike[str]) -> tuple[Folder, Manifest]:
    """Return an index that rows can be added to. Raises InputError for one that `build` has not made."""
    check_pyspark()
    folder = Folder(path)
    manifest = Manifest.read(folder)
    if "by" not in manifest.settings:
        raise InputError(
            f"path is {folder.path!r}: this index was exported from one machine's database, so change that one, and "
            "export it again"
        )
    return folder, manifest


# The shards


def _commit(
    folder: Folder, manifest: Manifest, kept: Sequence[Shard], rows: Any, shards: int | None, *, removed: int = 0
) -> Change:
    """Write shards of rows, and the manifest that has them besides those that are kept."""
    from pyspark.sql import functions as f

    check_shards(shards)
    spark = rows.sparkSession
    key, by = manifest.record.source_key, manifest.settings["by"] or manifest.record.source_key
    there = rows.where(rows[key].isNotNull()).select(
        *manifest.columns, _HASH
    )  # in this order: a join moves its columns
    if shards is None:
        shards = -(-there.count() // ROWS_OF_A_SHARD)
        if not manifest.version:
            with suppress(Exception):  # Connect does not say
                shards = max(shards, int(spark.sparkContext.defaultParallelism))
        shards = max(1, shards)
    numbered = there.withColumn(
        _NUMBER, f.pmod(f.xxhash64(there[by]), f.lit(shards)).cast("int") + manifest.next_number
    )
    sums = numbered.groupBy(_NUMBER).agg(f.count("*"), f.bit_xor(_HASH)).collect()
    without_key = rows.where(rows[key].isNull()).count()
    if not sums and manifest.version and not removed:
        return Change(manifest.version, without_key=without_key)
    if by != key:  # rows with the same key may come into two shards
        twice = there.groupBy(key).count().where("count > 1").limit(1).collect()
        if twice:
            raise _repeated(twice[0][0], key)
    marks = {number: _mark(manifest, number, count, xor) for number, count, xor in sums}
    done = _finished(folder, marks)
    todo = {number: (count, xor) for number, count, xor in sums if number not in done}
    made = dict(done)
    if todo:
        spread = _spread(numbered.where(numbered[_NUMBER].isin(list(todo))), len(todo))
        write = _writer(folder.path, manifest, {number: (*todo[number], marks[number]) for number in todo})
        for number, text in spread.mapInArrow(write, "number INT, shard STRING").collect():
            made.setdefault(number, Shard.of(json.loads(text)))
    if made.keys() != marks.keys():
        raise DatabaseError(OTHER_ROWS)
    after = manifest.after([*kept, *(made[number] for number in sorted(made))], manifest.next_number + shards)
    after.write(folder)
    folder.remove([f"building/{mark}.json" for mark in marks.values()])
    added = sum(count for _, count, _ in sums)
    return Change(after.version, added, removed, without_key, len(todo), len(done))


def _repeated(value: object, key: str) -> InputError:
    return InputError(f"key {value!r} occurs twice: {key} must tell rows apart")


def _spread(rows: Any, shards: int) -> Any:
    """Return the rows so that each shard's are in one partition, one after the other."""
    if hasattr(rows, "repartitionById"):  # Spark 4.1: by the number itself, so that no two shards share a partition
        from pyspark.sql import functions as f

        return rows.repartitionById(shards, f.pmod(rows[_NUMBER], f.lit(shards))).sortWithinPartitions(_NUMBER)
    return rows.repartition(shards, _NUMBER).sortWithinPartitions(_NUMBER)


def _mark(manifest: Manifest, number: int, count: int, xor: int) -> str:
    """Return the name of the note that a finished shard leaves: a hash of all that decides what is in it."""
    content = (asdict(manifest.record), dict(manifest.columns), manifest.settings, number, count, xor)
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _finished(folder: Folder, marks: Mapping[int, str]) -> dict[int, Shard]:
    """Return the shards that an earlier call has finished, by their numbers."""
    names = set(folder.names("building"))
    found = {}
    for number, mark in marks.items():
        if f"building/{mark}.json" in names:
            with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
                shard = Shard.of(json.loads(folder.read(f"building/{mark}.json")))
                if folder.size(shard.name) == shard.size:
                    found[number] = shard
    return found


def _writer(
    path: str, manifest: Manifest, expected: Mapping[int, tuple[int, int, str]]
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return what a task runs: it writes the shards of the rows that it is given, and yields what they are."""

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        rows = (row for batch in batches for row in zip(*(column.to_pylist() for column in batch.columns), strict=True))
        for number, some in groupby(rows, key=lambda row: row[-1]):
            count, xor, mark = expected[number]
            shard = _write_shard(path, number, manifest, some, (count, xor))
            Folder(path).put(f"building/{mark}.json", json.dumps(asdict(shard)).encode())
            yield pa.RecordBatch.from_pydict(
                {"number": pa.array([number], pa.int32()), "shard": pa.array([json.dumps(asdict(shard))])}
            )

    return write


def _write_shard(
    path: str, number: int, manifest: Manifest, rows: Iterator[tuple[Any, ...]], expected: tuple[int, int]
) -> Shard:
    """Write one shard: a table with these rows, and an index over it, made as on one machine."""
    import apsw

    from sqlrag.indexing.table_indexes import sync as sync_index
    from sqlrag.store.driver.error_translation import translated

    record, columns = manifest.record, dict(manifest.columns)
    with tempfile.TemporaryDirectory(prefix="sqlrag-shard-") as work:
        file = os.path.join(work, "shard.db")
        count = xor = 0
        encoders = task_encoders(Models(), record)
        with closing(SQLiteEngine(file, encoders, ConnectionOptions())) as engine, translated(file):
            connection = engine.connection
            create_source(connection, record, columns)
            engine.create_index(record)
            first = "INSERT INTO main.sqlite_sequence (name, seq) VALUES (?, ?)"
            connection.execute(first, (record.name, number * IDS_OF_A_SHARD))
            insert = f"INSERT INTO {in_main(record.source_table)} VALUES ({', '.join('?' * len(columns))})"
            with connection:  # one transaction
                for row in rows:
                    try:
                        connection.execute(insert, row[: len(columns)])
                    except apsw.ConstraintError as error:
                        key = row[list(columns).index(record.source_key)]
                        raise InputError(
                            f"key {key!r} occurs twice: {record.source_key} must tell rows apart"
                        ) from error
                    count, xor = count + 1, xor ^ row[-2]
            if (count, xor) != expected:
                raise DatabaseError(OTHER_ROWS)
            sync_index(engine, record.name)
        return sent(Folder(path), file, number, record, columns)
