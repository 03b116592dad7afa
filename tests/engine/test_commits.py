"""What a commit waits for: sqlrag's own do not wait for the disk where there is a write-ahead log, the user's do."""

from __future__ import annotations

import apsw
import pytest

import sqlrag
from sqlrag.errors import SQLError
from sqlrag.store.writer import immediate
from sqlrag.text.documents import Document


class Counting(apsw.VFS):
    """A VFS over the disk's own that counts how often SQLite waits for the disk."""

    def __init__(self) -> None:
        self.waits = 0
        super().__init__("counting", "")

    def xOpen(self, name, flags):  # noqa: N802 - apsw's name
        return _File(self, name, flags)


class _File(apsw.VFSFile):
    def __init__(self, vfs: Counting, name, flags) -> None:
        self._vfs = vfs
        super().__init__("", name, flags)

    def xSync(self, flags) -> None:  # noqa: N802 - apsw's name
        self._vfs.waits += 1
        super().xSync(flags)


@pytest.fixture
def vfs():
    """A VFS that counts, and is gone after the test."""
    counting = Counting()
    yield counting
    counting.unregister()


def opened(path, journal: str) -> apsw.Connection:
    """Return a connection to a new database with a table, and that journal."""
    connection = apsw.Connection(str(path), vfs="counting")
    connection.execute(f"PRAGMA journal_mode = {journal}")
    connection.execute("CREATE TABLE t (x)")
    return connection


def synchronous(connection: apsw.Connection) -> int:
    """Return the setting; compiled anew, for that is when SQLite reads it."""
    ((value,),) = connection.execute("PRAGMA synchronous", can_cache=False)
    return value


def test_with_a_log_only_the_users_own_commits_wait(tmp_path, vfs):
    """Of ten transactions of sqlrag's none waits, of ten of the user's each; in turns, so that each is set back."""
    connection = opened(tmp_path / "log.db", "WAL")
    connection.execute("INSERT INTO t VALUES (0)")
    ours = theirs = 0
    for number in range(10):
        before = vfs.waits
        with immediate(connection):
            connection.execute("INSERT INTO t VALUES (?)", (number,))
        ours += vfs.waits - before
        connection.execute("INSERT INTO t VALUES (?)", (number,))
        theirs += vfs.waits - before
    assert (ours, theirs) == (0, 10)
    connection.close()


@pytest.mark.parametrize("journal", ["DELETE", "TRUNCATE", "PERSIST"])
def test_without_a_log_every_commit_waits(tmp_path, vfs, journal):
    """There, one that does not wait could break the file."""
    connection = opened(tmp_path / "journal.db", journal)
    for number in range(3):
        before = vfs.waits
        with immediate(connection):
            assert synchronous(connection) == 2
            connection.execute("INSERT INTO t VALUES (?)", (number,))
        assert vfs.waits > before
    connection.close()


@pytest.mark.parametrize("chosen", [0, 1, 2, 3])
def test_what_the_user_has_set_stays(tmp_path, vfs, chosen):
    """After a commit, after an error, and where sqlrag would wait longer than the user."""
    connection = opened(tmp_path / "set.db", "WAL")
    connection.execute(f"PRAGMA synchronous = {chosen}")
    for _ in range(2):
        with immediate(connection):
            assert synchronous(connection) == min(chosen, 1)
        assert synchronous(connection) == chosen
        with pytest.raises(ZeroDivisionError), immediate(connection):
            connection.execute(f"INSERT INTO t VALUES ({1 / 0})")
        assert synchronous(connection) == chosen
        assert connection.getautocommit()
    connection.execute("BEGIN")
    with pytest.raises(SQLError), immediate(connection):
        pass
    assert synchronous(connection) == chosen
    connection.close()


def test_ingest_leaves_the_connection_as_it_was(tmp_path):
    """A database's own connection waits for the user's statements, before and after it has ingested."""
    with sqlrag.connect(tmp_path / "own.db") as db:
        db.ingest([Document("note", "", "The ferry came too late.", {}, "1")])
        assert list(db.execute("PRAGMA journal_mode")) == [("wal",)]
        assert list(db.execute("PRAGMA synchronous")) == [(2,)]
