"""Eight readers and two writers: the short form of benchmarks/concurrency.py."""

from __future__ import annotations

import sqlite3
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

import sqlrag
from sqlrag.errors import LockedError
from tests.conftest import database_path
from tests.ingest.children import Child, check

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from concurrency import KINDS, measured


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["WAL", "DELETE", "DuckDB"])
def test_readers_and_writers_at_once(mode):
    """No lock reaches a caller, no read is torn, and after the last sync every chunk has its row's text."""
    lines, wrong = measured(mode, 200, 12)
    assert wrong == []
    if mode == "DuckDB":  # another process, which is refused, has a line as well
        assert len(lines) == len(set(KINDS["DuckDB"])) + 3
    else:
        assert len(lines) == len(set(KINDS["SQLite"])) + 2


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_the_journal_of_a_database(tmp_path, whose):
    """A database that sqlrag has made is written through a log, beside which readers go on; another stays as it is."""
    path = database_path(tmp_path, "sqlite")
    if whose == "theirs":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE other (id INTEGER)")
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
        db.create_index("notes", "note", "body")
        assert db.execute("PRAGMA journal_mode").fetchall() == [("wal" if whose == "ours" else "delete",)]


def test_threads_with_a_duckdb_connection_each(tmp_path):
    """Two connections of one process, one writing and syncing, one asking: no error, and no hit without its chunk."""
    path = database_path(tmp_path, "duckdb")
    with sqlrag.connect(path) as first:
        first.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
        first.execute("INSERT INTO note SELECT i, 'kettle number ' || i FROM range(40) AS t (i)").fetchall()
        first.create_index("notes", "note", "body")
        with sqlrag.connect(path) as second, ThreadPoolExecutor(1) as pool:
            done = threading.Event()

            def write() -> None:
                try:
                    for number in range(12):
                        first.execute("UPDATE note SET body = body || '!' WHERE id = ?", (number,)).fetchall()
                        first.sync()
                finally:
                    done.set()

            writing = pool.submit(write)
            hits = "text_top_k('notes', 'kettle', 40) AS hit"
            joined = f"SELECT count(*), count(c.id) FROM {hits} LEFT JOIN notes AS c USING (id)"
            seen = []
            while not done.is_set():
                seen += second.execute(joined).fetchall()
            writing.result()
        assert seen
        assert set(seen) == {(40, 40)}
        assert first.check() == []


def test_a_second_process_is_told_that_duckdb_lets_in_one(tmp_path):
    """An index over a table changes nothing about it: one clear LockedError."""
    path = database_path(tmp_path, "duckdb")
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
        db.create_index("notes", "note", "body")
        with pytest.raises(LockedError, match="another process has it open"):
            Child(check, path).result()
