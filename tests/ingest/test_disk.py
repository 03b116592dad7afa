"""A disk that is full, a file that may not grow, a medium that cannot be written: one clear line, nothing lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sqlrag
from sqlrag.errors import BacklogWarning, DatabaseError, DiskFullError, ReadOnlyError
from sqlrag.store.driver.opening import _open_immutable
from sqlrag.text.documents import Document
from tests.conftest import database_path
from tests.ingest.children import Child
from tests.ingest.content import assert_holds, read_texts, write_folder

pytestmark = pytest.mark.slow

FULL = "the disk is full; what was committed before is intact: make room and run it again"


def big_documents(count: int = 30) -> list[Document]:
    """Return documents of few chunks that take much room, and do not compress."""
    import random

    generator = random.Random(7)
    documents = []
    for number in range(count):
        blanks = "".join(generator.choices(" \t\n\r\x0b\x0c", k=150_000))
        text = f"The comet was seen {number} times.{blanks}The ferry was {number} minutes late."
        documents.append(Document(f"d{number}", "", text, {}, f"hash {number}"))
    return documents


def test_a_full_disk(engine, disk, monkeypatch):
    """One clear error; what was committed is there and sound; with more room the same ingest completes."""
    monkeypatch.setattr("sqlrag.indexing.ingest.BATCH_CHARS", 600_000)
    path, documents = database_path(disk.path, engine), big_documents()
    with sqlrag.connect(path) as db:
        with pytest.raises(DiskFullError) as raised:
            db.ingest(documents)
        assert str(raised.value) == f"{path}: {FULL}"
        held = [document for document in documents if document.uri in dict(db.execute("SELECT uri, id FROM documents"))]
        assert 0 < len(held) < len(documents)
        assert_holds(db, {document.uri: document.text for document in held})
    disk.remount("size=60m")
    with sqlrag.connect(path) as db:
        assert_holds(db, {document.uri: document.text for document in held})
        report = db.ingest(documents)
        assert (report.unchanged, report.added) == (len(held), len(documents) - len(held))
        assert_holds(db, {document.uri: document.text for document in documents})


def test_a_full_disk_does_not_end_the_connection(engine, disk, monkeypatch):
    """Room that is made while the database is open is enough: the same connection goes on."""
    monkeypatch.setattr("sqlrag.indexing.ingest.BATCH_CHARS", 600_000)
    with sqlrag.connect(database_path(disk.path, engine)) as db:
        with pytest.raises(DiskFullError):
            db.ingest(big_documents())
        disk.remount("size=60m")
        db.ingest(big_documents())
        assert_holds(db, {document.uri: document.text for document in big_documents()})


def test_an_index_file_on_a_full_disk(tmp_path, disk, monkeypatch):
    """DuckDB's own file has room, the index file has none: one clear error, then the file is caught up."""
    monkeypatch.setattr("sqlrag.indexing.ingest.BATCH_CHUNKS", 32)
    folder, path = write_folder(tmp_path / "docs", 40, 12), database_path(tmp_path, "duckdb")
    disk.remount("size=300k")
    Path(f"{path}.sqlrag").symlink_to(disk.path / "index")
    with sqlrag.connect(path) as db:
        with pytest.raises(DiskFullError) as raised:
            db.ingest(folder, max_tokens=40)
        assert str(raised.value) == f"{path}.sqlrag: {FULL}"
    with pytest.raises(DiskFullError, match="the disk is full"):
        sqlrag.connect(path)
    with sqlrag.connect(path, read_only=True) as db:
        assert db.check() == []
        (committed,) = db.execute("SELECT count(*) FROM chunks").fetchone()
        assert db.execute("SELECT count(*) FROM text_top_k('chunks', 'note', 100000)").fetchone() == (committed,)
    disk.remount("size=60m")
    with sqlrag.connect(path) as db:
        assert db.check() == []
        db.ingest(folder)
        assert_holds(db, read_texts(folder))


def limited_ingest(pipe, path, folder, limit):
    """Ingest in a process whose files may not grow beyond so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with sqlrag.connect(path) as db:
        return db.ingest(folder)


def test_a_file_that_may_not_grow(engine, tmp_path):
    """A limit on the size of files (ulimit -f) is one clear error too; without it the ingest completes."""
    folder, path = write_folder(tmp_path / "docs", 20), database_path(tmp_path, engine)
    with pytest.raises(DatabaseError) as raised:
        Child(limited_ingest, path, folder, 100_000).result()
    assert "what was committed before is intact" in str(raised.value)
    assert str(raised.value).startswith(str(path))
    with sqlrag.connect(path) as db:
        assert db.check() == []
        db.ingest(folder)
        assert_holds(db, read_texts(folder))


def test_a_medium_that_cannot_be_written(engine, disk, tmp_path):
    """On a read-only medium it is searched with read_only=True, the same results; a write is one clear error."""
    folder = write_folder(tmp_path / "docs", 4)
    path = database_path(disk.path, engine)
    disk.remount("size=60m")
    with sqlrag.connect(path) as db:
        db.ingest(folder)
        hits = db.search("a comet and a ferry")
    disk.remount("ro")
    with sqlrag.connect(path, read_only=True) as db:
        assert db.search("a comet and a ferry") == hits
        assert_holds(db, read_texts(folder))
        with pytest.raises(ReadOnlyError, match="is open read-only: nothing can be ingested into it"):
            db.ingest(folder)
        with pytest.raises(ReadOnlyError, match="read-only"):
            db.execute("DELETE FROM chunks").fetchall()
    with pytest.raises(DatabaseError) as raised:
        sqlrag.connect(path).ingest(folder)
    assert "read_only=True" in str(raised.value) or "read-only" in str(raised.value)
    with pytest.raises(DatabaseError) as raised:
        sqlrag.connect(database_path(disk.path, engine, "new"))
    assert str(disk.path) in str(raised.value)
    disk.remount("rw")


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv (util-linux): root may write in any folder")
def test_a_folder_that_cannot_be_written(engine, tmp_path):
    """Files of mode 0444 in a folder of mode 0555, as a plain user, or as root without its rights over files."""
    folder = write_folder(tmp_path / "docs", 4)
    path = database_path(tmp_path, engine)
    with sqlrag.connect(path) as db:
        db.ingest(folder)
        hits = [hit.text for hit in db.search("a comet and a ferry")]
    command = [sys.executable, "-m", "sqlrag", "search", str(path), "a comet and a ferry", "--json"]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *command]
    modes = {one: one.stat().st_mode for one in (*tmp_path.glob("*.*"), tmp_path)}
    for one in modes:
        one.chmod(0o555 if one.is_dir() else 0o444)
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    for one, mode in modes.items():
        one.chmod(mode)
    assert asked.returncode == 0, asked.stderr
    assert [hit["text"] for hit in json.loads(asked.stdout)] == hits


def test_a_log_that_cannot_be_read(tmp_path):
    """What stands in a log that needs a shared memory file is not passed over where none can be made."""
    path = tmp_path / "notes.db"
    with sqlrag.connect(path) as db:
        db.ingest(write_folder(tmp_path / "docs", 4))
    Path(f"{path}-wal").write_bytes(b"something")
    with pytest.raises(ReadOnlyError, match=r"notes\.db-wal that can't be read"):
        _open_immutable(str(path))


def test_a_medium_that_cannot_be_written_without_the_index_file(disk, tmp_path):
    """A DuckDB database alone on a read-only medium has its index in memory."""
    folder, path = write_folder(tmp_path / "docs", 4), database_path(disk.path, "duckdb")
    disk.remount("size=60m")
    with sqlrag.connect(path) as db:
        db.ingest(folder)
        hits = db.search("a comet and a ferry")
    Path(f"{path}.sqlrag").unlink()
    disk.remount("ro")
    with sqlrag.connect(path, read_only=True) as db:
        assert db.search("a comet and a ferry") == hits
        assert_holds(db, read_texts(folder))
    disk.remount("rw")


def test_an_index_over_a_table_on_a_medium_that_cannot_be_written(engine, disk):
    """With read_only=True it answers, says what it does not have yet, and refuses to sync; on both engines."""
    path = database_path(disk.path, engine)
    disk.remount("size=60m")
    with sqlrag.connect(path, sync_rows=0) as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
        db.execute("INSERT INTO note VALUES (1, 'A comet was seen.'), (2, 'The ferry was late.')").fetchall()
        db.create_index("notes", "note", "body", filters=["id"])
        hits = db.search("what was seen?", "notes", filter="id < 3")
        db.execute("INSERT INTO note VALUES (3, 'Snow in the harbour.')").fetchall()
    disk.remount("ro")
    with sqlrag.connect(path, read_only=True) as db:
        with pytest.warns(BacklogWarning, match="does not have 1 changed row of note yet"):
            assert db.search("what was seen?", "notes", filter="id < 3") == hits
        assert [info.backlog for info in db.info()] == [1]
        assert db.check() == []
        for write in (db.sync, db.reindex, lambda: db.drop_index("notes"), lambda: db.alter_index("notes", filters=[])):
            with pytest.raises(ReadOnlyError, match="read-only"):
                write()
    disk.remount("rw")


def test_a_read_only_connection_writes_nothing(engine, tmp_path):
    """Files of a database that is open read-only are the same after a search, and no others have come."""
    folder = write_folder(tmp_path / "docs", 4)
    where = tmp_path / "db"
    where.mkdir()
    path = database_path(where, engine)
    with sqlrag.connect(path) as db:
        db.ingest(folder)
    before = {file.name: file.read_bytes() for file in where.iterdir()}
    with sqlrag.connect(path, read_only=True) as db:
        assert db.read_only
        db.search("comet")
        db.check()
        with pytest.raises(ReadOnlyError):
            db.ingest(folder)
    shutil.rmtree(folder)
    after = {file.name: file.read_bytes() for file in where.iterdir() if not file.name.endswith(("-wal", "-shm"))}
    assert after == before
