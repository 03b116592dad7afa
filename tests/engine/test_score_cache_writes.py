"""The score cache beside other writers, readers, transactions and kills: it never stands in anybody's way."""

from __future__ import annotations

import random
import signal
import time
from contextlib import closing
from pathlib import Path

import apsw
import duckdb
import pytest

import sqlrag
from sqlrag import errors
from sqlrag.store.score_table import ScoreTable
from tests.engine.databases import assert_says, copy_of
from tests.engine.score_caches import (
    BATCH,
    ROWS,
    TABLE,
    Q,
    counts,
    keep_for_ever,
    open_cached,
    search_with_a_cache,
    table_of,
)
from tests.ingest.children import Child


@pytest.fixture
def path(engine, passage_files, tmp_path) -> Path:
    """A database of the passages that may be written."""
    return copy_of(passage_files[engine], tmp_path)


# Where it can't be written


def test_a_read_only_database_is_read(path):
    """Its scores are used and not one byte is written."""
    with open_cached(path) as db:
        first = db.search(Q)
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    with open_cached(path, read_only=True) as db:
        assert db.search(Q) == first
        assert db.reranker.pairs_scored == 0
        assert db.search("another?")
        assert counts(db) == (25, 0)
    assert {file: file.read_bytes() for file in before} == before


def test_a_read_only_database_without_a_cache(path):
    """Nothing is made."""
    with open_cached(path, read_only=True) as db:
        assert db.search(Q)
        assert counts(db) == (0, 0)
    assert list(table_of(path).execute(TABLE)) == [(0,)]


def test_in_memory():
    """There is nothing to keep them in, and nothing goes wrong."""
    for engine in ("sqlite", "duckdb"):
        with sqlrag.connect(":memory:", engine=engine, score_cache=10) as db:
            assert db.execute("SELECT rerank_score('a', 'b') > 0").fetchall() in ([(1,)], [(True,)])


@pytest.mark.parametrize("rows", [0, -1, 2.5, True, "many", 10**12], ids=repr)
def test_a_number_of_rows_that_is_none(path, rows):
    """The error names the setting, its value and what would be right."""
    with pytest.raises(errors.InputError) as raised:
        sqlrag.connect(path, score_cache=rows)
    assert_says(raised.value, errors.InputError, f"score_cache is {rows!r}", "from 1", "leave it out")


def test_another_writer_is_not_waited_for(path):
    """While another process holds the write lock a search is as fast as ever; the scores are written afterwards."""
    with open_cached(path) as db:
        db.search(Q)
        with closing(table_of(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            started = time.perf_counter()
            assert db.search("another?")
            assert time.perf_counter() - started < 5  # SQLite would wait for ten
            assert counts(db) == (25, 0)
            other.execute("ROLLBACK")
        db.execute("SELECT 1").fetchall()
        assert counts(db) == (50, 0)


def test_two_processes_at_once(passage_files, tmp_path):
    """Both find and keep; nothing is lost, nothing fails. (DuckDB lets in one process that writes.)"""
    path = copy_of(passage_files["sqlite"], tmp_path)
    questions = [f"question {n} of a traveller?" for n in range(4)]
    orders = [questions, questions[2:] + questions[:2]]
    children = [Child(search_with_a_cache, path, order) for order in orders]
    for child in children:
        child.wait_until_ready()
    for child in children:
        child.go()
    one, other = (dict(zip(order, child.result(), strict=True)) for order, child in zip(orders, children, strict=True))
    assert one == other
    with open_cached(path, 10_000) as db:
        assert {question: db.search(question) for question in questions} == one
        assert (counts(db)[0], db.reranker.pairs_scored) == (100, 0)
        assert db.check() == []


def test_kill_9_while_it_is_written(tmp_path):
    """The table is there whole after each kill: batches are all or nothing, and no more rows than were asked for."""
    path = tmp_path / "scores.db"
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    moments = [random.uniform(0.0, 0.05) for _ in range(6)]
    for moment in moments:
        child = Child(keep_for_ever, str(path))
        child.wait_until_ready()
        time.sleep(moment)
        child.process.kill()
        child.process.join()
        assert child.process.exitcode == -signal.SIGKILL
        with closing(apsw.Connection(str(path))) as connection:
            assert list(connection.execute("PRAGMA integrity_check")) == [("ok",)]
            ((rows,),) = connection.execute("SELECT count(*) FROM sqlrag_scores")
        assert 0 < rows <= ROWS, moments
        assert rows % BATCH == 0, moments
    table = ScoreTable(str(path), ROWS, read_only=True)
    assert table.counts() == (rows, 0)
    table.close()


# The user's own transactions


def test_a_rollback_undoes_what_it_did(fresh):
    """Nothing is written while a transaction is open; it can still write after a search, and be rolled back."""
    path = Path(fresh.path)
    fresh.ingest(Path(__file__).parents[1] / "passages.jsonl")
    fresh.execute("CREATE TABLE mine (x INTEGER)").fetchall()
    fresh.close()
    with open_cached(path) as db:
        db.execute("BEGIN").fetchall()
        db.search(Q)
        db.execute("INSERT INTO mine VALUES (1)").fetchall()
        db.search("another?")
        db.execute("ROLLBACK").fetchall()
        assert db.execute("SELECT * FROM mine").fetchall() == []
        db.execute("BEGIN").fetchall()
        db.search(Q)
        db.execute("INSERT INTO mine SELECT id FROM search('chunks', 'a third?')").fetchall()
        db.execute("COMMIT").fetchall()
        assert len(db.execute("SELECT * FROM mine").fetchall()) == 3
        assert counts(db) == (75, 0)


def test_writing_while_a_search_is_read(path):
    """The pattern `for row in search: INSERT` works: the cache is not written between the two."""
    with open_cached(path) as db:
        db.execute("CREATE TABLE mine (x INTEGER)").fetchall()
        for (id_,) in db.execute("SELECT id FROM search('chunks', :q, 25, 25)", {"q": Q}):
            db.execute("INSERT INTO mine VALUES (?)", [id_]).fetchall()
        assert len(db.execute("SELECT * FROM mine").fetchall()) == 25
        assert counts(db) == (25, 0)


def test_a_transaction_of_sqlite_waits_with_the_table(passage_files, tmp_path):
    """As long as it is open the file has no cache table, so that no lock is in the user's way."""
    path = copy_of(passage_files["sqlite"], tmp_path)
    with open_cached(path) as db:
        db.execute("BEGIN").fetchall()
        db.search(Q)
        assert list(table_of(path).execute(TABLE)) == [(0,)]
        db.execute("COMMIT").fetchall()
        db.execute("SELECT 1").fetchall()
        assert list(table_of(path).execute(TABLE)) == [(1,)]


def test_a_database_that_is_new(engine, tmp_path):
    """Scores before the first ingest do not make it somebody else's database: it gets its WAL."""
    path = tmp_path / f"new.{'duckdb' if engine == 'duckdb' else 'db'}"
    with open_cached(path) as db:
        db.execute("SELECT rerank_score('a', 'b')").fetchall()
        db.ingest(Path(__file__).parents[1] / "passages.jsonl")
        assert counts(db) == (1, 0)
    assert list(table_of(path).execute("PRAGMA journal_mode")) == [("wal",)]


@pytest.mark.parametrize("rows", [None, 100])
def test_all_is_in_the_file_when_it_is_closed(path, rows):
    """No log is left beside it, whether or not there is a cache."""
    with sqlrag.connect(path, score_cache=rows) as db:
        db.ingest(Path(__file__))
        db.search(Q)
        db.info()
    assert [file.name for file in path.parent.iterdir() if file.name.endswith(("-wal", "-shm", ".wal"))] == []


def test_duckdb_itself_is_not_changed(passage_files, tmp_path):
    """The table is in the index file, which can be deleted at any time."""
    path = copy_of(passage_files["duckdb"], tmp_path)
    with open_cached(path) as db:
        first = db.search(Q)
    with duckdb.connect(str(path), read_only=True) as connection:
        tables = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
    assert "chunks" in tables
    assert "sqlrag_scores" not in tables
    Path(f"{path}.sqlrag").unlink()
    with open_cached(path) as db:
        assert db.search(Q) == first
        assert counts(db) == (25, 0)


def test_a_database_without_wal(passage_files, tmp_path):
    """In rollback mode a reader stops a writer's commit: the scores wait until it is done, and no search does."""
    path = copy_of(passage_files["sqlite"], tmp_path)
    with closing(table_of(path)) as other:
        assert other.execute("PRAGMA journal_mode = DELETE").fetchall() == [("delete",)]
    with closing(table_of(path)) as other, open_cached(path) as db:
        reading = other.execute("SELECT id FROM chunks")
        next(reading)
        started = time.perf_counter()
        first = db.search(Q)
        assert time.perf_counter() - started < 5
        assert list(table_of(path).execute(TABLE)) == [(0,)]
        reading.close()
        assert db.search(Q) == first
        assert counts(db) == (25, 0)


def test_a_file_that_is_full(passage_files, tmp_path, caplog):
    """Where there is no room the search works, the log says so once, and the file is sound."""
    path = copy_of(passage_files["sqlite"], tmp_path)
    with open_cached(path) as db:
        table = db._engine._scores
        table.keep(bytes(16), {bytes(16): 0.5})
        table._connection.execute("PRAGMA max_page_count = 1")  # SQLite takes the present size for it
        for question in ("first?", "second?"):
            table.keep(bytes(16), {bytes([n]) * 16: 0.5 for n in range(250)})
            assert len(db.search(question)) == 3
        assert db.check() == []
    assert caplog.text.count("cannot be written") == 1
