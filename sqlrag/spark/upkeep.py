"""Keeping an index in shards in order: merging shards, removing files that no version needs, taking one shard home."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError
from sqlrag.spark.build import Change
from sqlrag.spark.cache import Cache
from sqlrag.spark.copies import content_of, put_shard
from sqlrag.spark.folder import Folder
from sqlrag.spark.manifest import Manifest, Shard
from sqlrag.spark.session import Registered, check_pyspark, located, models_of
from sqlrag.spark.shards import Content
from sqlrag.spark.worker import Located, open_shard
from sqlrag.store.names import in_main
from sqlrag.store.source_table import key_expression, source_of
from sqlrag.values.arguments import shown

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["compact", "pull", "vacuum"]

WEEK = 168


def compact(spark: Any, path: str | os.PathLike[str]) -> Change:
    """Merge small shards, and write those with deleted rows without them. Nothing is embedded, and ids stay.

    Shards with less than half of the chunks of the largest are small. Readers keep the version that they began with.

    Parameters:
        spark: A session.
        path: The folder of the index.

    Returns:
        What was written; the present version if there was nothing to do.

    Raises:
        InputError: There is no index.
        LockedError: Another writer has changed the index meanwhile; nothing was changed.
    """
    check_pyspark()
    folder = Folder(path)
    manifest = Manifest.read(folder)
    groups = _groups(manifest.shards)
    if not groups:
        return Change(manifest.version)
    texts = dict(zip((shard.name for shard in manifest.shards), located(_index(folder, manifest)), strict=True))
    plan = [
        (manifest.next_number + place, json.dumps([texts[shard.name] for shard in group]))
        for place, group in enumerate(groups)
    ]
    rows = spark.createDataFrame(plan, "number INT, shards STRING").repartition(len(plan))
    made = dict(rows.mapInArrow(_merge(manifest), "number INT, shard STRING").collect())
    merged = {shard.name for group in groups for shard in group}
    kept = [shard for shard in manifest.shards if shard.name not in merged]
    new = [Shard.of(json.loads(made[number])) for number, _ in plan]
    after = manifest.after([*kept, *new], manifest.next_number + len(plan))
    after.write(folder)
    return Change(after.version, shards=len(new))


def vacuum(path: str | os.PathLike[str], hours: float = WEEK) -> list[str]:
    """Remove versions that are older than some hours, and files that no remaining version names.

    Whoever reads a version that is removed, or builds for longer than that, loses what it needs.

    Parameters:
        path: The folder of the index.
        hours: How old what is removed is at least, by the clock of the file system. The newest version stays.

    Returns:
        The names of the files that were removed.

    Raises:
        InputError: There is no index, or `hours` is negative.
    """
    if isinstance(hours, bool) or not isinstance(hours, (int, float)) or not hours >= 0:
        raise InputError(f"hours is {shown(hours)}: it is a number from 0")
    folder = Folder(path)
    newest = Manifest.read(folder).version
    probe = f"building/{uuid.uuid4().hex}.clock"
    folder.put(probe, b"")
    until = folder.modified(probe) - 3600 * hours
    old = {f"manifests/{one:08}.json" for one in Manifest.versions(folder) if one != newest}
    old = {name for name in old if folder.modified(name) <= until}
    kept = [one for one in Manifest.versions(folder) if f"manifests/{one:08}.json" not in old]
    named = {shard.name for one in kept for shard in Manifest.read(folder, one).shards}
    files = [name for below in ("shards", "building") for name in folder.names(below)]
    removed = [name for name in files if name not in named and name != probe and folder.modified(name) <= until]
    folder.remove([*sorted(old), *removed, probe])  # versions first: none names a file that is gone
    return [*sorted(old), *removed]


def pull(path: str | os.PathLike[str], number: int, target: str | os.PathLike[str]) -> Shard:
    """Copy one shard to a file: a database of sqlrag's like any other, without the rows that were deleted.

    Parameters:
        path: The folder of the index.
        number: The number of the shard.
        target: A file that does not exist yet.

    Returns:
        What the manifest says of the shard.

    Raises:
        InputError: There is no such shard, or `target` exists.
        DatabaseError: The shard's file is missing, or it is another one.
    """
    folder = Folder(path)
    manifest = Manifest.read(folder)
    found = {shard.number: shard for shard in manifest.shards}
    if number not in found:
        raise InputError(f"shard is {shown(number)}: {folder.path} has {', '.join(map(str, found))}")
    if os.path.exists(target):
        raise InputError(f"target is {os.fspath(target)!r}: a file of this name exists, take another one")
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(target))) as work:
        file, lock = Cache(work).take(folder, found[number], manifest.record)
        if lock is None:  # read where it is
            shutil.copyfile(file, copied := os.path.join(work, "shard.db"))
            file = copied
        else:
            lock.close()
        os.replace(file, target)
    return found[number]


def _index(folder: Folder, manifest: Manifest) -> Registered:
    return Registered(folder, manifest, models_of(manifest.record, None), Cache())


def _groups(shards: Sequence[Shard]) -> list[list[Shard]]:
    """Return the shards to be merged, each group no larger than the largest shard; one alone if it has deleted rows."""
    largest = max((_live(shard) for shard in shards), default=0)
    groups: list[list[Shard]] = []
    for shard in shards:
        if not shard.gone and 2 * _live(shard) >= largest:
            continue
        if groups and sum(map(_live, groups[-1])) + _live(shard) <= largest:
            groups[-1].append(shard)
        else:
            groups.append([shard])
    return [group for group in groups if len(group) > 1 or group[0].gone]


def _live(shard: Shard) -> int:
    return shard.chunks - shard.gone_chunks


def _merge(manifest: Manifest) -> Any:
    """Return what a task runs: it writes a shard with what some others have."""
    record, columns = manifest.record, dict(manifest.columns)

    def content(text: str) -> Content:
        engine = open_shard(text).engine
        sql = f"SELECT {key_expression(source_of(record))} FROM {in_main(record.source_table)}"
        return content_of(engine, record, list(columns), [key for (key,) in engine.connection.execute(sql)])

    def merge(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for batch in batches:
            for number, texts in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                parts = [content(text) for text in json.loads(texts)]
                whole = Content(
                    chain.from_iterable(part.rows for part in parts),
                    chain.from_iterable(part.hashes for part in parts),
                    chain.from_iterable(part.chunks for part in parts),
                )
                folder = Folder(Located.of(json.loads(texts)[0]).folder)
                shard = json.dumps(asdict(put_shard(folder, number, record, columns, whole)))
                yield pa.RecordBatch.from_pydict({"number": pa.array([number], pa.int32()), "shard": pa.array([shard])})

    return merge
