"""F7: a forked child uses nothing of its parent's: it is told so, opens the database again, and nothing is lost."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import apsw
import duckdb
import pytest

import sqlrag
from sqlrag.process.forks import at_fork
from tests.beside.locks import SHARED_MEMORY, SQLITE
from tests.beside.test_locks import METHODS
from tests.conftest import ENGINES, database_path

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.usefixtures("real_models"),
]

PRELUDE = """
import json, os, sys, threading, time, warnings
import sqlrag
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: a fork beside threads

path = sys.argv[1]


def forked(work, end=sys.exit):
    "Run this in a child that ends as a program does, with the interpreter's own end; return what it says."
    sys.stdout.flush()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, json.dumps(said).encode())
        end(7)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7, "the child did not end by itself"
    return json.loads(said)


def said_by(call):
    try:
        call()
    except sqlrag.Error as error:
        return f"{type(error).__name__}: {error}"
    return None

"""


@pytest.fixture(params=ENGINES)
def notes(request, tmp_path) -> Path:
    """Two rows with an index, on each engine."""
    path = database_path(tmp_path, request.param, "notes")
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
        db.execute("INSERT INTO note VALUES (1, 'It rains.'), (2, 'Bees dance.')")
        db.create_index("notes", "note", "body")
    return path


def run(path: Path, code: str, *, timeout: float = 100) -> list:
    """Run code in a process of its own, which must not hang, crash or say anything on stderr; return what it prints."""
    ran = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(code), path],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return [json.loads(line) for line in ran.stdout.splitlines()]


def rows_of(path: Path) -> list:
    """Return the rows of the table, read by the engine alone."""
    with duckdb.connect(str(path)) if path.suffix == ".duckdb" else closing(apsw.Connection(str(path))) as connection:
        return sorted(id_ for (id_,) in connection.execute("SELECT id FROM note").fetchall())


def test_f7_every_method_says_so_in_a_child(notes):
    """One clear error, from each method and from a result; what is known without the library, and closing, works."""
    known = ["path", "engine", "read_only", "schema", "embedder", "reranker"]
    closing_ = "a result's close"
    (said,) = run(
        notes,
        f"""
        db = sqlrag.connect(path)
        result = db.execute("SELECT id FROM note")
        result.fetchone()
        calls = {{
            "execute": lambda: db.execute("SELECT 1"), "describe": lambda: db.describe("SELECT 1"),
            "ingest": lambda: db.ingest([]), "search": lambda: db.search("bees"), "compare": lambda: db.compare("bees"),
            "context": lambda: db.context("bees"),
            "evaluate": lambda: db.evaluate(), "info": db.info, "size": db.size, "confine": db.confine,
            "interrupt": db.interrupt, "indexes": db.indexes,
            "create_index": lambda: db.create_index("a", "note", "body"), "drop_index": lambda: db.drop_index("notes"),
            "alter_index": lambda: db.alter_index("notes"), "reindex": db.reindex, "sync": db.sync,
            "backlog": db.backlog, "is_fresh": db.is_fresh, "repair": db.repair, "check": db.check,
            "fetchone": result.fetchone, "fetchall": result.fetchall, "arrow": result.arrow,
            "a result's close": result.close,
        }}
        def work():
            said = {{name: said_by(call) for name, call in calls.items()}}
            said |= {{name: said_by(lambda: getattr(db, name)) for name in {known}}}
            db.close()
            with db:
                pass
            return said
        print(json.dumps(forked(work)))
        assert db.search("bees", top_n=1)[0].text == "Bees dance."
        result.fetchall()
        db.close()
        """,
    )
    assert {*said, "close"} >= METHODS.keys()
    error = f"DatabaseError: {notes} was opened in another process: open it again after the fork"
    assert {
        name: words for name, words in said.items() if words != (None if name in [*known, closing_] else error)
    } == {}
    assert rows_of(notes) == [1, 2]


def test_f7_the_case_itself(notes):
    """Children that write through what they have inherited, and end: the parent's rows are all there, and no more."""
    (said,) = run(
        notes,
        """
        db = sqlrag.connect(path, score_cache=100)
        db.search("bees")
        def work():
            return said_by(lambda: db.execute("INSERT INTO note VALUES (1000, 'a child')"))
        said = []
        for number in range(3, 33):
            db.execute("INSERT INTO note VALUES (?, ?)", (number, f"row {number}"))
            if number % 10 == 0:
                said.append(forked(work))
        print(json.dumps(said))
        db.sync()
        assert db.check() == []
        os._exit(0)  # killed, as far as the files are concerned
        """,
    )
    assert [words.partition(":")[0] for words in said] == ["DatabaseError"] * 3
    assert rows_of(notes) == list(range(1, 33))
    with sqlrag.connect(notes) as db:
        assert db.check() == []


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="there is no /proc/locks here")
@pytest.mark.parametrize("notes", ["sqlite"], indirect=True)
def test_f7_a_child_that_opens_it_again_has_locks_of_its_own(notes):
    """SQLite's table of locks is copied by a fork: the child's connection must not believe to have its parent's."""
    (found, held), seen = run(
        notes,
        """
        db = sqlrag.connect(path)
        db.search("bees")
        def work():
            with sqlrag.connect(path) as again:
                again.execute("INSERT INTO note VALUES (3, 'The child was here.')")
                found = again.search("was a child here?", top_n=1)[0].text
                again.execute("BEGIN")
                again.execute("SELECT * FROM note").fetchall()
                held = []
                for file in (path, path + "-shm"):
                    inode = os.stat(file).st_ino
                    with open("/proc/locks") as locks:
                        fields = [line.split() for line in locks if f":{inode} " in line]
                    held += [[os.path.basename(file), one[-2]] for one in fields if one[-4] == str(os.getpid())]
            return found, held
        print(json.dumps(forked(work)))
        print(json.dumps(db.search("was a child here?", top_n=1)[0].text))
        assert db.check() == []
        """,
    )
    assert found == seen == "The child was here."
    shared, in_use = ["notes.db", str(SQLITE["shared"][0])], ["notes.db-shm", str(SHARED_MEMORY["in use"][0])]
    assert shared in held
    assert in_use in held
    assert len(held) == 3  # and a mark of what it reads


def test_f7_the_parent_s_locks_outlast_its_children(notes, watcher):
    """Children end and close: the parent has the locks that it had."""
    with sqlrag.connect(notes) as db:
        if notes.suffix == ".db":
            db.execute("BEGIN IMMEDIATE")
        held = watcher.locks(notes)
        assert held
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                db.close()
                del db
                os._exit(0)
            os.waitpid(pid, 0)
            assert watcher.locks(notes) == held


@pytest.mark.parametrize("notes", ["sqlite"], indirect=True)
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_f7_a_transaction_at_the_fork_stays_the_parent_s(notes, journal):
    """A child rolls nothing back, whatever it frees, and is told why it cannot open the file."""
    (said,) = run(
        notes,
        f"""
        db = sqlrag.connect(path)
        assert db.execute("PRAGMA journal_mode = {journal}").fetchall() == [("{journal}",)]
        db.execute("PRAGMA cache_spill = 1")
        db.execute("PRAGMA cache_size = 1")
        db.execute("BEGIN")
        for number in range(3, 203):
            db.execute("INSERT INTO note VALUES (?, ?)", (number, f"row {{number}} " * 100))
        def work():
            global db
            db = None
            import gc
            gc.collect()
            return said_by(lambda: sqlrag.connect(path))
        print(json.dumps(forked(work)))
        db.execute("COMMIT")
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        """,
    )
    assert said.startswith(f"LockedError: {notes} was being used in the process that this one was forked from")
    assert rows_of(notes) == list(range(1, 203))


@pytest.mark.parametrize("notes", ["duckdb"], indirect=True)
def test_f7_a_duckdb_file_in_a_child(notes):
    """What the parent has open can't be opened again; what it has closed, and other files, can."""
    said = run(
        notes,
        """
        db = sqlrag.connect(path)
        print(json.dumps(forked(lambda: said_by(lambda: sqlrag.connect(path)))))
        def other():
            with sqlrag.connect(path + ".other.duckdb") as new:
                new.execute("CREATE TABLE t AS SELECT * FROM range(100000)")
                return new.execute("SELECT sum(range) FROM t").fetchone()[0]
        print(json.dumps(int(forked(other))))
        db.close()
        def again():
            with sqlrag.connect(path) as mine:
                mine.execute("INSERT INTO note VALUES (3, 'The child has it alone.')")
                return mine.search("alone", top_n=1)[0].text
        print(json.dumps(forked(again)))
        """,
    )
    assert said[0].startswith(f"LockedError: {notes} was open in the process that this one was forked from")
    assert said[1:] == [4999950000, "The child has it alone."]
    assert rows_of(notes) == [1, 2, 3]


def test_f7_registered_connections(notes):
    """The functions of a connection that a child has inherited say so, whichever module it is of."""
    opened = "duckdb.connect(path)" if notes.suffix == ".duckdb" else "apsw.Connection(path)"
    (said,) = run(
        notes,
        f"""
        import apsw, duckdb
        connection = {opened}
        if path.endswith(".duckdb"):
            connection.execute("SET enable_progress_bar = false")  # it would draw it into the standard output
        sqlrag.register(connection)
        asked = "SELECT text FROM text_top_k('notes', 'bees', 3) AS hit JOIN notes ON notes.id = hit.id"
        assert connection.execute(asked).fetchall() == [("Bees dance.",)]
        def work():
            said = {{}}
            for sql in (asked, "SELECT embed('bees')", "SELECT rerank_score('bees', 'dance')",
                        "SELECT token_count('a')", "SELECT * FROM search('notes', 'bees')",
                        "SELECT * FROM sqlrag_info()"):
                try:
                    connection.execute(sql).fetchall()
                    said[sql] = None
                except Exception as error:
                    said[sql] = str(error)
            return said
        print(json.dumps(forked(work)))
        assert connection.execute(asked).fetchall() == [("Bees dance.",)]
        connection.close()
        """,
    )
    assert {sql for sql, words in said.items() if "opened in another process" not in (words or "")} == set()


def test_f7_models_of_the_parent(tmp_path):
    """Models that the parent has used, or is using in other threads, work in children, and score as they did."""
    said = run(
        tmp_path / "none.db",
        """
        embedder, reranker = sqlrag.Embedder(threads=2), sqlrag.Reranker(threads=2)
        texts = [f"passage {number} about bees, rain and ships" for number in range(6)]
        def vectors(prefix):
            return embedder.encode_document([prefix + text for text in texts]).tolist()
        def scores(prefix):
            return reranker.score(prefix + "what do bees do?", texts).tolist()
        expected = vectors("a "), scores("a ")
        stop = threading.Event()
        def busy():
            number = 0
            while not stop.is_set():
                number += 1
                vectors(f"{number} ")
                scores(f"{number} ")
        threads = [threading.Thread(target=busy) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(4):
            print(json.dumps(forked(lambda: (vectors("a "), scores("a ")) == expected)))
        stop.set()
        for thread in threads:
            thread.join()
        def grandchild():
            return forked(lambda: scores("b ") == wanted, os._exit)
        wanted = scores("b ")
        print(json.dumps(forked(grandchild)))
        """,
    )
    assert said == [True] * 5


@pytest.mark.parametrize("notes", ["sqlite"], indirect=True)
def test_f7_forks_beside_threads_that_work(notes):
    """Children forked from a thread while others search, write and sync: each opens the file again, or is told why."""
    said = run(
        notes,
        """
        import logging
        db = sqlrag.connect(path, score_cache=100)
        db.search("bees")
        warnings.simplefilter("ignore", sqlrag.BacklogWarning)
        stop = threading.Event()
        def asking():
            number = 0
            while not stop.is_set():
                number += 1
                db.search(f"what do {number} bees do?")
        def writing():
            number = 10
            with sqlrag.connect(path) as own:
                while not stop.is_set():
                    number += 1
                    own.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (number % 50 + 10, f"row {number}"))
                    own.sync()
        found = []
        def child():
            try:
                with sqlrag.connect(path) as again:
                    return again.search("bees", top_n=1)[0].text
            except sqlrag.Error as error:
                return type(error).__name__
        def forking():
            for _ in range(4):
                found.append(forked(child, os._exit))  # sys.exit() ends a thread
            stop.set()
        threads = [threading.Thread(target=work) for work in (asking, writing, forking)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(json.dumps(found))
        db.sync()
        print(json.dumps(db.check()))
        """,
    )
    assert len(said[0]) == 4
    assert set(said[0]) <= {"Bees dance.", "LockedError"}
    assert said[1] == []


def test_f7_multiprocessing_by_fork(notes):
    """A pool of forked workers: what they inherit is refused, what they open works, on SQLite beside the parent."""
    (said,) = run(
        notes,
        """
        import multiprocessing
        db = sqlrag.connect(path)
        db.search("bees")
        if db.engine == "duckdb":
            db.close()
        def work(number):
            if db.engine == "sqlite":
                assert "after the fork" in said_by(lambda: db.search("bees"))
            with sqlrag.connect(path, read_only=True) as own:
                return own.search("bees", top_n=1)[0].text
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(json.dumps(pool.map(work, range(4))))
        """,
    )
    assert said == ["Bees dance."] * 4


def test_f7_nothing_is_collected_while_locks_are_held_for_a_fork():
    """The end of a registered connection that is collected waits for a lock that the forking thread may hold."""
    seen = []

    class Observer:
        def before_fork(self, _seconds):
            seen.append(gc.isenabled())
            return True

        def after_fork(self):
            seen.append(gc.isenabled())

        def in_child(self, *, at_rest):
            seen.append(gc.isenabled())

    observer = Observer()
    at_fork(observer)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if (seen, gc.isenabled()) == ([False, False], True) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert (seen, gc.isenabled()) == ([False, False], True)
