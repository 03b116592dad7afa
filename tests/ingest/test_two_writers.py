"""Two ingests at once into one file: SQLite takes turns, DuckDB lets in one."""

from __future__ import annotations

import pytest

import sqlrag
from sqlrag.errors import LockedError, SQLError
from sqlrag.text.documents import Document
from tests.conftest import database_path
from tests.ingest.children import MAX_TOKENS, Child, check, ingest_at_once
from tests.ingest.content import assert_holds, chunks_of, read_texts, write_folder


def at_once(path, *folders):
    """Ingest folders from a process each, all starting at the same moment; return their reports."""
    children = [Child(ingest_at_once, path, folder) for folder in folders]
    for child in children:
        child.wait_until_ready()
    for child in children:
        child.go()
    return [child.result() for child in children]


@pytest.mark.parametrize("attempt", range(2))
def test_the_same_folder_twice_at_once(tmp_path, attempt):
    """Both finish; the result is that of one ingest, no document or chunk is there twice."""
    folder, path = write_folder(tmp_path / "docs", 24), database_path(tmp_path, "sqlite")
    reports = at_once(path, folder, folder)
    assert all(report.added + report.unchanged == 24 for report in reports)
    with sqlrag.connect(path) as db, sqlrag.connect(database_path(tmp_path, "sqlite", "one")) as one:
        one.ingest(folder, max_tokens=MAX_TOKENS)
        assert chunks_of(db) == chunks_of(one)
        assert_holds(db, read_texts(folder))


def test_different_folders_at_once(tmp_path):
    """Both finish, all documents are there."""
    folders, path = [write_folder(tmp_path / name, 16) for name in ("one", "two")], database_path(tmp_path, "sqlite")
    assert [report.added for report in at_once(path, *folders)] == [16, 16]
    with sqlrag.connect(path) as db:
        assert_holds(db, read_texts(folders[0]) | read_texts(folders[1]))


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_a_document_that_another_connection_replaces_is_never_half_of_each(engine, tmp_path, monkeypatch):
    """Two versions of a long document, written in turns, end as one of them, complete or marked as in part."""
    monkeypatch.setattr("sqlrag.indexing.ingest.BATCH_CHUNKS", 8)
    old = Document("note", "", "\n\n".join(f"The comet was seen {n} times." for n in range(40)), {}, "old")
    new = Document("note", "", "\n\n".join(f"The ferry came {n} times too late." for n in range(40)), {}, "new")
    path = database_path(tmp_path, engine)
    with sqlrag.connect(path) as first, sqlrag.connect(path) as second:
        begun = []

        def interfere(report):
            if report.chunks >= 16 and not begun:
                begun.append(True)
                assert second.ingest([new]).changed == 1

        first.ingest([Document("other", "", "Begin.", {}, "x")], max_tokens=12)
        first.ingest([old], progress=interfere)
        assert begun
        assert_holds(first, {"other": "Begin.", "note": new.text})


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_another_connection_ingests_the_same_meanwhile(engine, tmp_path, monkeypatch):
    """What the other has written is not written again: no document or chunk is there twice."""
    monkeypatch.setattr("sqlrag.indexing.ingest.BATCH_CHUNKS", 8)
    folder, path = write_folder(tmp_path / "docs", 24), database_path(tmp_path, engine)
    with sqlrag.connect(path) as first, sqlrag.connect(path) as second:
        others = []

        def interfere(report):
            if report.chunks and not others:
                others.append(None)
                others.append(second.ingest(folder, max_tokens=MAX_TOKENS))

        first.ingest(folder, max_tokens=MAX_TOKENS, progress=interfere)
        assert others[1].added < 24
        assert_holds(first, read_texts(folder))
        assert first.check() == []


def test_a_reader_goes_on_while_another_writes(tmp_path, monkeypatch):
    """A connection that reads sees each committed batch and never an error."""
    monkeypatch.setattr("sqlrag.indexing.ingest.BATCH_CHUNKS", 8)
    folder, path = write_folder(tmp_path / "docs", 8), database_path(tmp_path, "sqlite")
    with sqlrag.connect(path) as writer:
        writer.ingest(folder / "note000.txt", max_tokens=MAX_TOKENS)
        with sqlrag.connect(path, read_only=True) as reader:
            seen = []
            writer.ingest(folder, progress=lambda _: seen.append(len(reader.search("comet", top_k=100, top_n=100))))
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


def test_duckdb_lets_in_one_process(tmp_path):
    """The second process gets one clear line; the first is not disturbed."""
    folder, path = write_folder(tmp_path / "docs", 2), database_path(tmp_path, "duckdb")
    with sqlrag.connect(path) as db:
        with pytest.raises(LockedError) as raised:
            Child(check, path).result()
        assert str(raised.value) == (
            f"{path}: another process has it open: close that one, or open it with read_only=True"
        )
        db.ingest(folder)
        assert_holds(db, read_texts(folder))
    assert Child(check, path).result() == []


def test_duckdb_lets_in_many_readers(tmp_path):
    """Read-only, several processes have it open at once, each with the index file."""
    folder, path = write_folder(tmp_path / "docs", 2), database_path(tmp_path, "duckdb")
    with sqlrag.connect(path) as db:
        db.ingest(folder)
    with sqlrag.connect(path, read_only=True) as db, sqlrag.connect(path, read_only=True) as other:
        assert db.search("comet") == other.search("comet")
        with pytest.raises(LockedError, match="this process has it open already"):
            sqlrag.connect(path)


def test_an_ingest_while_another_transaction_writes(tmp_path, monkeypatch):
    """A writer that does not end is waited for, then named as the reason; nothing of the ingest is half done."""
    monkeypatch.setattr("sqlrag.store.driver.opening.BUSY_TIMEOUT_MS", 100)
    folder, path = write_folder(tmp_path / "docs", 2), database_path(tmp_path, "sqlite")
    with sqlrag.connect(path) as db, sqlrag.connect(path) as other:
        db.ingest(folder / "note000.txt")
        other.execute("BEGIN IMMEDIATE").fetchall()
        with pytest.raises(LockedError, match=r"is being written by another process: try again when it has finished"):
            db.ingest(folder)
        other.execute("ROLLBACK").fetchall()
        assert db.ingest(folder).added == 1
        assert_holds(db, read_texts(folder))


def test_a_transaction_of_the_caller_is_not_touched(tmp_path):
    """On a connection with an open transaction, ingest says so; what the transaction did is neither lost nor kept."""
    folder, path = write_folder(tmp_path / "docs", 1), database_path(tmp_path, "sqlite")
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE mine (x)").fetchall()
        db.execute("BEGIN").fetchall()
        db.execute("INSERT INTO mine VALUES (1)").fetchall()
        with pytest.raises(SQLError, match="a transaction is open on this connection: COMMIT or ROLLBACK it"):
            db.ingest(folder)
        db.execute("COMMIT").fetchall()
        assert db.execute("SELECT * FROM mine").fetchall() == [(1,)]
        assert db.ingest(folder).added == 1
