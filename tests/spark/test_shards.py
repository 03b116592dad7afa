"""Shards without Spark: export and pull, the manifest, pruning by ranges, copies in the cache, faults of files."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from dataclasses import replace

import pytest
from click.testing import CliRunner

import sqlrag
from sqlrag import errors
from sqlrag.cli import cli
from tests.engine.test_conformance import rows_of

pytest.importorskip("fsspec", reason='fsspec is not installed: pip install "sqlrag[spark]"')

from sqlrag.spark.bm25 import ROWS, TOKENS, counts, register_bm25
from sqlrag.spark.cache import Cache
from sqlrag.spark.copies import export
from sqlrag.spark.folder import Folder
from sqlrag.spark.manifest import Manifest, Range, packed, unpacked
from sqlrag.spark.pruning import may_match
from sqlrag.spark.shards import opened
from sqlrag.spark.upkeep import pull
from sqlrag.spark.worker import Located, Models, Open, open_shard

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(exported):
    """The passages in four shards, for reading only."""
    return Folder(exported["sqlite"])


def located(folder, shard, cache=None, record=None):
    """Return a shard as a task gets it."""
    record = record or Manifest.read(folder).record
    return Located(folder.path, record, shard, Models(), cache or Cache()).text()


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_export_and_pull(exported, passage_files, tmp_path, engine):
    """The shards have what the database has, under the same ids; each is a database that is whole."""
    manifest = Manifest.read(Folder(exported[engine]))
    wanted = "SELECT id, source_id, text, context FROM chunks ORDER BY id"
    with sqlrag.connect(passage_files[engine], read_only=True) as db:
        there = rows_of(db, wanted, None)
    found = []
    for shard in manifest.shards:
        target = tmp_path / f"{shard.number}.db"
        arguments = ["spark-pull", str(exported[engine]), str(shard.number), str(target)]
        assert CliRunner().invoke(cli, arguments).exit_code == 0
        with sqlrag.connect(target) as db:
            assert db.check() == []
            found += rows_of(db, wanted, None)
    assert found == there
    again = CliRunner().invoke(cli, ["export", str(passage_files[engine]), str(exported[engine])])
    assert (again.exit_code, "is there already" in again.stderr) == (1, True)


def test_export_of_a_table(tmp_path):
    """An index over a table takes its rows along, with a key of several columns, dates of DuckDB's and all."""
    with sqlrag.connect(tmp_path / "shop.duckdb") as db:
        db.execute("CREATE TABLE review (shop TEXT, nr INT, day DATE, body TEXT, PRIMARY KEY (shop, nr))")
        db.execute(
            "INSERT INTO review SELECT 's' || i % 3, i, DATE '2026-01-01' + i::INT, 'tea ' || i FROM range(9) t(i)"
        )
        db.create_index("reviews", "review", "body", filters=["day"])
    manifest = export(tmp_path / "shop.duckdb", tmp_path / "shards", shards=2)
    assert [shard.rows for shard in manifest.shards] == [5, 4]
    pull(tmp_path / "shards", 1, tmp_path / "one.db")
    with sqlrag.connect(tmp_path / "one.db") as db:
        assert db.check() == []
        assert db.backlog() == {}
        query = "SELECT count(*) FROM vector_top_k('reviews', 'tea', 9, 'day >= ''2026-01-03''')"
        assert db.execute(query).fetchall() == [(4,)]


@pytest.mark.parametrize("numbers", [[], [1], [7, 3, 3, 2**40], list(range(0, 200_000, 2))])
def test_numbers_are_packed(numbers):
    """A bitmap of many numbers is small, and gives them back."""
    text = packed(numbers)
    assert unpacked(text).tolist() == sorted(set(numbers))
    assert len(text) < 100 + len(numbers)


RANGES = {"year": Range(2010, 2020, 0), "Name": Range("b", "m", 2), "none": Range(None, None, 5)}


@pytest.mark.parametrize(
    ("filter", "params", "expected"),
    [
        (None, None, True),
        ("year = 2015", None, True),
        ("year = 2021", None, False),
        ("year > 2020", None, False),
        ("year >= 2020", None, True),
        ("YEAR < 2010 AND true", None, False),
        ("year <= 2009 OR name = 'c'", None, True),
        ("year BETWEEN 2021 AND 2030", None, False),
        ("year BETWEEN 2000 AND 2030 AND name = 'z'", None, False),
        ("year IN (1999, 2021)", None, False),
        ("year IN (1999, 2015)", None, True),
        ("year = - 1", None, False),
        ("year = 2015.5", None, True),
        ("year = '2021'", None, True),  # SQLite converts it
        ("name = 'a'", None, False),
        ("\"name\" >= 'n'", None, False),
        ("name = :n AND year = :y", {"n": "c", "y": 2021}, False),
        ("name = :n", {"n": None}, True),
        ("none = 1", None, False),
        ("none IS NULL", None, True),
        ("other = 1 AND abs(year) > 3000", None, True),
        ("NOT (year = 2021)", None, True),
        ("name = 'it''s' COLLATE NOCASE", None, True),
        ("CASE WHEN year > 3000 THEN 0 ELSE 1 END AND year = 2021", None, True),
    ],
)
def test_shards_that_a_filter_cannot_match(filter, params, expected):  # noqa: A002
    """A shard is left out only if no value within its ranges satisfies the filter: SQLite agrees, value by value."""
    assert may_match(filter, params and json.dumps(params), RANGES) == expected
    if filter is not None and not expected:
        db = sqlite3.connect(":memory:")
        db.execute('CREATE TABLE t (year INTEGER, name TEXT, "none" TEXT, other)')
        rows = [(year, name, None, 1) for year in range(2010, 2021) for name in ("b", "c", "m", None)]
        db.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", rows)
        assert db.execute(f"SELECT count(*) FROM t WHERE {filter}", params or {}).fetchone() == (0,)


def test_bm25_with_its_own_statistics_is_fts5s(passage_files):
    """The score with given statistics is to the last digit that of FTS5's bm25(), if they are those of the file."""
    with opened(str(passage_files["sqlite"]), read_only=True) as engine:
        register_bm25(engine.connection)
        index = engine.indexes.open("chunks")
        for query in ("the sun and the sea", "interest rates", "bees 1.6.0 of a", "nothing-of-this qzx"):
            sums = dict(counts(engine.connection, index.record, query))
            assert sums[ROWS] == 25
            assert sums[TOKENS] > 500
            assert index.text_top_k(query, 10, None, json.dumps(sums)) == index.text_top_k(query, 10)


def test_of_two_writers_one_wins(tmp_path):
    """A file that must not exist is written once, also through fsspec."""
    for path in (str(tmp_path), "memory://index"):
        folder = Folder(path)
        assert folder.put_if_absent("manifests/00000001.json", b"1")
        assert not folder.put_if_absent("manifests/00000001.json", b"2")
        assert folder.read("manifests/00000001.json") == b"1"
        assert folder.names("manifests") == ["manifests/00000001.json"]


def remote(folder):
    """Return a folder that is read as one elsewhere, so that shards are copied."""
    folder = Folder(folder.path)
    folder.is_local = False
    return folder


def test_copies(folder, tmp_path):
    """A copy is made once; the least recently used go first, and those in use never."""
    manifest = Manifest.read(folder)
    first, second, third, _ = manifest.shards
    cache = Cache(str(tmp_path), limit=1)
    one, lock = cache.take(remote(folder), first, manifest.record)
    two, other = cache.take(remote(folder), second, manifest.record)
    assert cache.take(remote(folder), first, manifest.record)[0] == one
    other.close()
    big = Cache(str(tmp_path), limit=0).take(remote(folder), third, manifest.record)[0]
    assert (os.path.exists(one), os.path.exists(two), os.path.exists(big)) == (True, False, True)
    lock.close()


def test_a_shard_without_deleted_rows(folder, tmp_path):
    """What was deleted is in no list, and BM25 counts it no more; the file that others read is unchanged."""
    shard = Manifest.read(folder).shards[0]
    gone = replace(shard, gone=packed([1, 3]))
    one = open_shard(located(folder, gone, Cache(str(tmp_path))))
    assert [row[0] for row in one.index.chunks(range(1, 8))] == [2, 4, 5, 6, 7]
    assert dict(counts(one.engine.connection, one.record, "bee"))[ROWS] == 5
    hits = one.functions.vector_top_k("chunks", "honeybees dance", 7)
    assert {hit[0] for hit in hits} == {2, 4, 5, 6, 7}
    assert open_shard(located(folder, shard)).index.chunks([1])


def faults(folder, tmp_path):
    """Yield what may be wrong with a shard: what a task is given, the error and its words."""
    manifest = Manifest.read(folder)
    first, second, *_ = manifest.shards
    missing = replace(first, name="shards/000009-0.db")
    yield located(folder, missing), errors.DatabaseError, "has no file shards/000009-0.db"
    yield located(folder, replace(first, size=1)), errors.NotADatabaseError, "it has 126,976 bytes, not 1"
    other = Folder(tmp_path / "other")
    other.put(first.name, folder.read(second.name))
    text = Located(other.path, manifest.record, first, Models()).text()
    yield text, errors.NotADatabaseError, "it is another shard"
    copy = Cache(str(tmp_path / "cache"))
    other = replace(first, gone=packed([1]), sha256="0" * 64)
    yield located(folder, other, copy), errors.NotADatabaseError, "its SHA-256 is another"
    record = replace(manifest.record, embedder_hash="0" * 64)
    yield located(folder, first, record=record), errors.ModelMismatchError, "the embedder of this machine is"
    record = replace(manifest.record, embedder="nobody/nothing", embedder_hash="1" * 64)
    yield located(folder, first, record=record), errors.UnknownModelError, "nobody/nothing"


def test_faults_of_shards(exported, tmp_path):
    """A shard that is missing, another file, or of another model is one clear error."""
    for text, error, words in faults(Folder(exported["sqlite"]), tmp_path):
        with pytest.raises(error, match=words):
            Open(Located.of(text))
    assert not [name for name in os.listdir(tmp_path / "cache") if name.endswith((".db", ".begun"))]


def test_a_full_disk(folder, tmp_path, monkeypatch):
    """The error names the folder and what to do, and nothing is left of the copy."""
    manifest = Manifest.read(folder)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Folder, "download", full)
    with pytest.raises(errors.DiskFullError, match="no space is left for a copy of shards/000000-"):
        Cache(str(tmp_path / "c")).take(remote(folder), manifest.shards[0], manifest.record)
    assert [name for name in os.listdir(tmp_path / "c") if not name.endswith(".lock")] == []
    monkeypatch.undo()
    target = Folder(tmp_path / "t")
    monkeypatch.setattr(os, "link", full)
    with pytest.raises(errors.DiskFullError, match="no space is left"):
        replace(manifest, version=1).write(target)
    monkeypatch.undo()
    assert Manifest.versions(target) == []


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"{", errors.NotADatabaseError, "is not a manifest of sqlrag's"),
        (b"[1]", errors.NotADatabaseError, "is not a manifest of sqlrag's"),
        (b'{"format": 2, "schema": 4}', errors.SchemaVersionError, "made by a newer sqlrag"),
        (b'{"format": 1, "schema": 99}', errors.SchemaVersionError, "made by a newer sqlrag"),
    ],
)
def test_faults_of_manifests(tmp_path, content, error, words):
    """A manifest that sqlrag did not write, or a newer one has, is one clear error."""
    folder = Folder(tmp_path)
    with pytest.raises(errors.InputError, match="there is no index in shards"):
        Manifest.read(folder)
    folder.put("manifests/00000001.json", content)
    with pytest.raises(error, match=words):
        Manifest.read(folder)
    with pytest.raises(errors.InputError, match="Protocol not known: nowhere"):
        Folder("nowhere://x")
