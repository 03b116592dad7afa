"""One `Database`, several threads: calls take turns, nobody sees half of another's work."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

import sqlrag
from tests.conftest import database_path

THREADS = 4
TABLE = "CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)"


@pytest.fixture
def notes(engine, tmp_path):
    """A database with a table that has an index."""
    with sqlrag.connect(database_path(tmp_path, engine, "notes")) as db:
        db.execute(TABLE)
        db.execute("INSERT INTO note VALUES (1, 'a comet was seen'), (2, 'the ferry was late')")
        db.create_index("notes", "note", "body")
        yield db


def test_threads_share_a_database(notes):
    """Searches, writes and syncs from several threads at once: no error, and all that was written is found."""

    def work(thread: int) -> int:
        found = 0
        for number in range(6):
            key = 100 * (thread + 1) + number
            notes.execute("INSERT INTO note VALUES (?, ?)", (key, f"the kettle number {key} is loud")).fetchall()
            found += len(notes.search("what is loud?", top_n=3))
            found += len(notes.execute("SELECT id FROM text_top_k('notes', 'kettle', 5)").fetchall()) > 0
            notes.sync()
        return found

    with ThreadPoolExecutor(THREADS) as pool:
        assert [number >= 12 for number in pool.map(work, range(THREADS))] == [True] * THREADS
    assert notes.check() == []
    assert notes.execute("SELECT count(*) FROM notes").fetchall() == [(2 + 6 * THREADS,)]


def test_a_thread_waits_for_a_sync_as_a_whole(notes):
    """What another thread asks while a sync runs is answered after it; it does not see half of its rows."""
    rows = [(number, f"letter {number} about the garden") for number in range(1_000, 1_300)]
    for row in rows:
        notes.execute("INSERT INTO note VALUES (?, ?)", row).fetchall()
    begun, seen = threading.Event(), []

    def ask() -> None:
        begun.wait()
        seen.append(notes.execute("SELECT count(*) FROM notes").fetchall())

    thread = threading.Thread(target=ask)
    thread.start()
    notes.sync(progress=lambda _: begun.set())
    thread.join()
    assert seen == [[(302,)]]


def test_a_result_is_read_while_others_ask(notes):
    """A result that is fetched row by row in one thread is whole, whatever others ask meanwhile."""
    result = notes.execute("SELECT id FROM note ORDER BY id")
    first = result.fetchone()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: notes.execute("SELECT count(*) FROM note").fetchall()).result() == [(2,)]
    assert [first, *result] == [(1,), (2,)]


def test_a_function_that_writes_has_the_turn_of_its_statement(notes):
    """`sqlrag_sync()` as SQL works inside of the statement that calls it, in whichever thread the engine runs it."""
    notes.execute("INSERT INTO note VALUES (3, 'snow in the harbour')").fetchall()
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(lambda: notes.execute("SELECT sqlrag_sync()").fetchall()) for _ in range(2)]
        assert sorted(one.result(timeout=60)[0][0] for one in asked) == [0, 1]


def test_the_warning_of_a_backlog_points_to_the_caller(engine, tmp_path):
    """What the warning names is the line that asked, not one of sqlrag's own."""
    path = database_path(tmp_path, engine, "stale")
    with sqlrag.connect(path, sync_rows=0) as db:
        db.execute(TABLE)
        db.create_index("notes", "note", "body")
        db.execute("INSERT INTO note VALUES (1, 'a comet was seen')").fetchall()
        for ask in (lambda: db.search("comet"), lambda: db.execute("SELECT * FROM text_top_k('notes', 'comet', 1)")):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                ask()
            assert [warning.filename for warning in caught] == [__file__]
