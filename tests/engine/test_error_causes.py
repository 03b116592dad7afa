"""F14: an error is about what the engine says it is about, whatever words stand in the statement and its values."""

from __future__ import annotations

import os
import sqlite3

import apsw
import duckdb
import pytest

import sqlrag
from sqlrag import errors
from tests.conftest import database_path
from tests.engine.databases import copy_of

WORDS = (
    "no space left on device",
    "No space left on device",
    "could not set lock on file",
    "Could not set lock on file",
    "read-only mode",
    "corrupt database file",
    "not a valid duckdb database",
    "permission denied",
    "database has been invalidated",
    "TransactionContext Error: Conflict",
    "Values were not provided",
    "vectors blob",
    "iter error",
    "fts5 file format",
    "opening blob failed",
    "database disk image is malformed",
    "database is locked",
)


@pytest.fixture
def db(engine, tmp_path):
    with sqlrag.connect(database_path(tmp_path, engine, "own")) as db:
        db.execute("CREATE TABLE t (x INTEGER)")
        db.execute("INSERT INTO t VALUES (1)")
        yield db


def raised(db, sql, params=None):
    with pytest.raises(sqlrag.Error) as caught:
        db.execute(sql, params).fetchall()
    return caught.value


@pytest.mark.parametrize("words", WORDS)
def test_f14_words_in_a_value_or_a_name_are_no_cause(db, words):
    """A conversion, a column, a file, a function's own error, a constraint: SQLError, whatever it quotes."""
    statements = [f'SELECT nothing."{words}" FROM t', f'SELECT * FROM "{words}"', f"SELECT '{words}' FROM t WHERE ("]
    if db.engine == "duckdb":
        statements += [
            f"SELECT CAST('{words}' AS INTEGER)",
            f"SELECT CAST('{words}: {words}' AS DATE)",
            f"SELECT error('{words}')",
            f"SELECT * FROM read_csv('{words}.csv')",
            f"SELECT * FROM '{words}.parquet'",
            f"COPY t FROM '{words}.csv'",
            f"COPY t TO '/nonexistent/{words}.csv'",
            f"SELECT struct_extract({{'a': 1}}, '{words}')",
        ]
    else:
        statements += [
            f"SELECT json('{words}')",
            f"SELECT load_extension('{words}')",
            f'SELECT x FROM t ORDER BY 1 COLLATE "{words}"',
        ]
        db.execute(f"CREATE TRIGGER no BEFORE INSERT ON t BEGIN SELECT RAISE(ABORT, '{words}'); END")
        statements.append("INSERT INTO t VALUES (2)")
    for sql in statements:
        error = raised(db, sql)
        assert type(error) is errors.SQLError, (sql, error)
        assert "damaged" not in str(error)
        assert db.path not in str(error)
    assert db.execute("SELECT x FROM t").fetchall() == [(1,)]


def test_f14_a_file_that_is_attached(db, tmp_path):
    """Not a database, missing, damaged: the database's own file is not named for it."""
    bad, folder = tmp_path / "bad.db", tmp_path / "nowhere" / "x.db"
    bad.write_bytes(b"This is a text, and no database at all. " * 200)
    for other in (bad, folder):
        error = raised(db, f"-- a comment\nATTACH '{other}' AS other")
        assert f"{db.path}" not in str(error), error
        assert isinstance(error, (errors.SQLError, errors.DatabaseError))
        assert str(other) in str(error) or "the file that this statement names" in str(error)
    assert db.execute("SELECT x FROM t").fetchall() == [(1,)]


def test_f14_an_attached_file_that_is_damaged(tmp_path):
    """SQLite says that a file is damaged, and not which: the error leaves it open."""
    path, other = tmp_path / "own.db", tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE many (x)")
        connection.executemany("INSERT INTO many VALUES (?)", [("word " * 100,)] * 100)
    connection.close()
    content = bytearray(other.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    other.write_bytes(content)
    with sqlrag.connect(path) as db:
        db.execute(f"ATTACH '{other}' AS other")
        error = raised(db, "SELECT count(*), max(x) FROM other.many")
        assert type(error) is errors.NotADatabaseError
        assert str(error).startswith(f"{path}, or a database that is attached to it, is")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here to write to")
def test_f14_another_disk_that_is_full(tmp_path):
    """DuckDB names the file that had no room."""
    with sqlrag.connect(tmp_path / "own.duckdb") as db:
        error = raised(db, "COPY (SELECT range FROM range(100000)) TO '/dev/full' (FORMAT csv)")
        assert type(error) is errors.DiskFullError
        assert str(error).startswith("/dev/full: the disk is full")


def test_f14_a_database_attached_read_only(tmp_path):
    """DuckDB names the database that may not be written."""
    with duckdb.connect(str(tmp_path / "other.duckdb")) as other:
        other.execute("CREATE TABLE t (x INTEGER)")
    with sqlrag.connect(tmp_path / "own.duckdb") as db:
        db.execute(f"ATTACH '{tmp_path / 'other.duckdb'}' AS there (READ_ONLY)")
        error = raised(db, "INSERT INTO there.t VALUES (1)")
        assert (type(error), str(error)) == (errors.ReadOnlyError, "there: it is open read-only")


def test_f14_damage_is_still_said_at_opening(engine, passage_files, tmp_path):
    """And names the file."""
    path = copy_of(passage_files[engine], tmp_path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(errors.NotADatabaseError, match="damaged") as caught:
        sqlrag.connect(path)
    assert str(path) in str(caught.value)


def test_f14_sqlite_says_what_it_says_of_a_statement_alone():
    """The class and the code of an error decide, not its words."""
    from sqlrag.store.driver.error_translation import translated

    for words in WORDS:
        with pytest.raises(errors.SQLError), translated("own.db"):
            raise apsw.SQLError(f"no such column: {words}")


def test_duckdb_without_memory_is_one_line(tmp_path):
    """DuckDB's advice takes six lines; what reaches a caller is one, with the remedy."""
    with sqlrag.connect(tmp_path / "a.duckdb") as db:
        db.execute("SET memory_limit = '20MB'; SET max_temp_directory_size = '0MB'")
        with pytest.raises(errors.SQLError, match=r"^Out of Memory Error: .*SET threads = 1") as raised:
            db.execute("SELECT list(range) FROM range(20000000)").fetchall()
        assert "\n" not in str(raised.value)
