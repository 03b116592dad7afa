"""F2: a file that Python's sqlite3, or another SQLite library of this process, has open is left alone."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import ExitStack, closing

import apsw
import pytest

import sqlrag
from sqlrag.errors import LockedError
from sqlrag.text.documents import Document
from tests.beside.programs import Program, plain_sqlite
from tests.beside.test_locks import METHODS
from tests.engine.databases import copy_of

REMEDY = (
    r"is open in this process by something else than APSW's SQLite.*sqlrag\.register\(connection\).*sqlrag_sync\(\)"
)

LOST = r"has lost its locks on .*What was committed is intact.*sqlrag\.register\(connection\)"


def _journal(path):
    return "wal" if path.read_bytes()[18] == 2 else "delete"


@pytest.fixture(params=["wal", "delete"])
def notes(request, passage_files, tmp_path):
    """The passages and a live index, with each kind of journal."""
    path = copy_of(passage_files["sqlite"], tmp_path, "notes")
    with sqlrag.connect(path) as db:
        db.execute(f"PRAGMA journal_mode = {request.param}").fetchall()
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
        db.execute("INSERT INTO note VALUES (1, 'It rains.'), (2, 'Bees dance.')")
        db.create_index("notes", "note", "body")
    return path


@pytest.mark.parametrize("options", [{}, {"read_only": True}, {"score_cache": 10}], ids=["write", "read", "cache"])
def test_f2_the_application_s_connection_was_first(notes, watcher, options):
    """`connect` refuses before it touches the file, and works when the other connection is closed."""
    with closing(sqlite3.connect(notes, isolation_level=None)) as own:
        own.execute("BEGIN IMMEDIATE")
        own.execute("INSERT INTO note VALUES (3, 'Snow falls.')")
        held = watcher.locks(notes)
        for _ in range(2):
            with pytest.raises(LockedError, match=REMEDY):
                sqlrag.connect(notes, **options)
        assert watcher.locks(notes) == held != {}
        own.execute("COMMIT")
    with sqlrag.connect(notes, **options) as db:
        assert db.execute("SELECT count(*) FROM note").fetchall() == [(3,)]
        assert db.check() == []


def test_f2_sqlrag_was_first(notes, watcher):
    """Each call refuses from the moment that the application opens the file, until it has closed it.

    With a log the locks are gone by then, and the file is opened again.
    """
    with ExitStack() as opened:
        db = opened.enter_context(sqlrag.connect(notes))
        own = sqlite3.connect(notes, isolation_level=None)
        own.execute("SELECT count(*) FROM note").fetchall()
        held = watcher.locks(notes)
        refused = {}
        for name, call in METHODS.items():
            if name not in (
                "path",
                "engine",
                "read_only",
                "schema",
                "embedder",
                "reranker",
                "interrupt",
                "confine",
                "close",
            ):
                with pytest.raises(LockedError, match=REMEDY):
                    call(db)
                refused[name] = watcher.locks(notes)
        assert {name for name, locks in refused.items() if not held.items() <= locks.items()} == set()
        own.close()
        if _journal(notes) == "wal":
            with pytest.raises(LockedError, match=LOST):
                db.search("bees", "notes", top_n=1)
            db.close()
            db = opened.enter_context(sqlrag.connect(notes))
        assert db.search("bees", "notes", top_n=1)[0].text == "Bees dance."
        db.execute("INSERT INTO note VALUES (3, 'Snow falls.')")
        assert db.check() == []


def test_f2_the_application_opened_and_closed_the_file(notes, watcher):
    """Between two calls: the close dropped this process's locks, and another process may have deleted the log since."""
    db = sqlrag.connect(notes)
    db.execute("INSERT INTO note VALUES (3, 'Snow falls.')")
    with closing(sqlite3.connect(notes)) as own:
        assert own.execute("SELECT count(*) FROM note").fetchall() == [(3,)]
    other = Program(plain_sqlite, notes)  # the last to close, as far as locks show
    assert other.ask("INSERT INTO note VALUES (4, 'Fog lies.')") == ([], None)
    other.close()
    if _journal(notes) == "wal":
        for call in (lambda: db.execute("INSERT INTO note VALUES (5, 'Hail.')"), db.check, lambda: db.search("bees")):
            with pytest.raises(LockedError, match=LOST):
                call()
    db.close()
    with sqlrag.connect(notes) as again:
        again.execute("INSERT INTO note VALUES (6, 'Wind blows.')")
        assert again.execute("SELECT id FROM note ORDER BY id").fetchall() == [(1,), (2,), (3,), (4,), (6,)]
        assert again.sync("notes").backlog == 0
        assert again.check() == []
        assert watcher.locks(notes) or _journal(notes) == "delete"


def test_f2_the_application_opened_and_closed_the_file_in_a_transaction(notes):
    """What another process has committed meanwhile stays, and so does what was committed here before."""
    db = sqlrag.connect(notes)
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO note VALUES (3, 'Snow falls.')")
    with closing(sqlite3.connect(notes)) as own:
        own.execute("SELECT count(*) FROM note").fetchall()
    other = Program(plain_sqlite, notes)
    committed = other.ask("INSERT INTO note VALUES (4, 'Fog lies.')")[1] is None
    with pytest.raises(LockedError, match=LOST):
        db.execute("COMMIT")
    db.close()
    rows = other.ask("SELECT id FROM note ORDER BY id")[0]
    assert rows == ([(1,), (2,), (4,)] if committed else [(1,), (2,)])
    assert other.ask("PRAGMA integrity_check")[0] == [("ok",)]
    other.close()


def test_f2_a_program_copies_the_file(notes, tmp_path, watcher):
    """`shutil.copy` drops the lock of the file as well; it is taken again, so that nobody else deletes the log."""
    with sqlrag.connect(notes) as db:
        db.execute("INSERT INTO note VALUES (3, 'Snow falls.')")
        held = watcher.locks(notes)
        shutil.copy(notes, tmp_path / "copy.db")
        assert held == {} or watcher.locks(notes) != held
        assert db.execute("SELECT count(*) FROM note").fetchall() == [(3,)]
        assert watcher.locks(notes) == held
        other = Program(plain_sqlite, notes)
        assert other.ask("INSERT INTO note VALUES (4, 'Fog lies.')") == ([], None)
        other.close()
        db.execute("INSERT INTO note VALUES (5, 'Hail comes.')")
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE note SET body = 'Hail came.' WHERE id = 5")
        shutil.copy(notes, tmp_path / "copy.db")
        if _journal(notes) == "wal":
            db.execute("COMMIT")
        else:  # nothing else shows that the transaction is still alone
            with pytest.raises(LockedError, match=LOST):
                db.execute("COMMIT")
            return
        third = Program(plain_sqlite, notes)
        assert third.ask("SELECT count(*) FROM note") == ([(5,)], None)
        third.close()
        assert db.check() == []


def test_f2_no_lock_is_missed_that_was_never_there(notes):
    """Connections come and go, journals change, transactions end: nobody but another library drops a lock."""
    with sqlrag.connect(notes) as db, sqlrag.connect(notes) as second:
        for mode in ("DELETE", "WAL", "TRUNCATE", "WAL"):
            second.close()
            db.execute(f"PRAGMA journal_mode = {mode}").fetchall()
            second = sqlrag.connect(notes)  # noqa: PLW2901 - closed at the end of the block or of the test
            for one in (db, second, db):
                one.execute("BEGIN IMMEDIATE")
                one.execute("UPDATE note SET body = body WHERE id = 1")
                one.execute("COMMIT")
                assert one.search("bees", "notes", top_n=1)
            with sqlrag.connect(notes, read_only=True) as reader:
                unread = reader.execute("SELECT * FROM note")
                assert db.execute("SELECT count(*) FROM note").fetchall() == [(2,)]
                assert len(unread.fetchall()) == 2
        db.execute("VACUUM")
        assert db.check() == []
        second.close()


def test_f2_a_commit_in_the_midst_of_a_call(notes):
    """A library that comes while a call runs stops it at its next commit, and nothing of that transaction stays."""
    own = []

    def documents():
        yield Document("memo:1", "Memo 1", "Memo 1 is about harbours.", {}, "hash1")
        own.append(sqlite3.connect(notes))
        time.sleep(0.06)  # a commit looks again after 0.05
        yield Document("memo:2", "Memo 2", "Memo 2 is about lighthouses.", {}, "hash2")

    with sqlrag.connect(notes) as db:
        before = db.execute("SELECT count(*) FROM documents").fetchall()
        with pytest.raises(LockedError, match=REMEDY):
            db.ingest(documents())
        own[0].close()
    with sqlrag.connect(notes) as db:
        assert db.execute("SELECT count(*) FROM documents").fetchall() == before
        assert db.check() == []


def test_f2_a_close_beside_another_library(notes, watcher, caplog):
    """The connection stays open rather than drop the other one's locks; a log line says so."""
    db = sqlrag.connect(notes)
    with closing(sqlite3.connect(notes, isolation_level=None)) as own:
        own.execute("BEGIN IMMEDIATE")
        held = watcher.locks(notes)
        db.close()
        assert held.items() <= watcher.locks(notes).items()
        own.execute("COMMIT")
    assert [record.message for record in caplog.records if "stays open until this process ends" in record.message]
    with sqlrag.connect(notes) as again:
        assert again.check() == []


def test_f2_apsw_of_the_application_is_the_same_library(notes):
    """`apsw.Connection`s, ATTACH, pools of connections and descriptors that SQLite keeps are no other library."""
    with closing(apsw.Connection(str(notes))) as own, sqlrag.connect(notes) as db:
        own.execute("BEGIN")
        list(own.execute("SELECT * FROM note"))
        pool = [sqlrag.connect(notes) for _ in range(5)] + [apsw.Connection(str(notes)) for _ in range(5)]
        for connection in pool:
            list(connection.execute("SELECT count(*) FROM note"))
            connection.close()
        with closing(apsw.Connection(":memory:")) as other:
            other.execute("ATTACH ? AS beside", (str(notes),))
            list(other.execute("SELECT count(*) FROM beside.note"))
            with sqlrag.connect(notes) as second:
                second.execute("SELECT 1").fetchall()
        own.execute("ROLLBACK")
        db.execute("INSERT INTO note VALUES (3, 'Snow falls.')")
        assert db.check() == []


def test_f2_another_library_among_many_connections(notes):
    """One descriptor too many is found beside a pool whose descriptors come and go, with a number that was APSW's."""
    pool = [sqlrag.connect(notes) for _ in range(4)]
    for connection in pool[1:]:
        connection.execute("SELECT count(*) FROM note").fetchall()
        connection.close()
    with closing(sqlite3.connect(notes)), pytest.raises(LockedError, match=REMEDY):
        sqlrag.connect(notes)
    with closing(sqlite3.connect(notes)), pytest.raises(LockedError, match=REMEDY):
        pool[0].execute("SELECT 1")
    pool[0].close()
    own = sqlite3.connect(notes)
    with pytest.raises(LockedError, match=REMEDY):
        sqlrag.connect(notes)
    own.close()
    sqlrag.connect(notes).close()


def test_f2_another_name_is_the_same_file(notes, tmp_path):
    """A link, and a program part that only reads the bytes: each has a descriptor whose close drops locks."""
    link = tmp_path / "link.db"
    link.symlink_to(notes)
    with closing(sqlite3.connect(link)), pytest.raises(LockedError, match=REMEDY):
        sqlrag.connect(notes)
    with notes.open("rb"), pytest.raises(LockedError, match="open in this process by something else"):
        sqlrag.connect(notes)
    copy = tmp_path / "copy.db"
    shutil.copy(notes, copy)
    with closing(sqlite3.connect(copy)), sqlrag.connect(notes) as db:
        assert db.check() == []
