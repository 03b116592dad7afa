"""F1: whatever is called, the locks that this process has on a database stay, as another process sees them."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import threading
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import apsw
import duckdb
import pytest

import sqlrag
from sqlrag.cli import cli
from sqlrag.process.open_files import MOST_KEPT
from sqlrag.serve.postgres.server import Server
from sqlrag.serve.untrusted import open_confined
from tests.conftest import ENGINES
from tests.engine.databases import copy_of

Q = "what do bees tell each other?"
QUERIES, QRELS = {"1": Q}, {"1": {"1": 1}}


@pytest.fixture(scope="module")
def originals(passage_files, tmp_path_factory):
    """The passages with a small live index, on each engine."""
    folder = tmp_path_factory.mktemp("originals")
    found = {}
    for name, path in passage_files.items():
        found[name] = copy_of(path, folder, "notes")
        with sqlrag.connect(found[name]) as db:
            db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
            db.execute("INSERT INTO note VALUES (1, 'It rains.'), (2, 'Bees dance.')")
            db.create_index("notes", "note", "body")
            if name == "sqlite":
                assert db.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
    return found


@pytest.fixture(params=ENGINES)
def path(request, originals, tmp_path) -> Path:
    """A copy of them on one engine."""
    return copy_of(originals[request.param], tmp_path, "notes")


def _document(db: sqlrag.Database, name: str) -> str:
    """A text file in the folder of the database, and links to the database that look like documents."""
    folder = Path(db.path).parent
    (folder / f"{name}.txt").write_text("Lightning is hotter than the surface of the sun.", encoding="utf-8")
    for suffix in ("md", "jsonl", "html"):
        link = folder / f"{name}.{suffix}"
        if not link.exists():
            link.hardlink_to(db.path)
    return str(folder)


def _refused(db: sqlrag.Database) -> None:
    with pytest.raises(sqlrag.Error, match="read_only=True"):
        db.confine()


METHODS = {
    "path": lambda db: db.path,
    "engine": lambda db: db.engine,
    "read_only": lambda db: db.read_only,
    "schema": lambda db: db.schema,
    "is_fresh": lambda db: db.is_fresh(),
    "embedder": lambda db: db.embedder.dimension,
    "reranker": lambda db: db.reranker.name,
    "execute": lambda db: db.execute("SELECT count(*) FROM search('chunks', 'bees', 5, 2)").fetchall(),
    "describe": lambda db: db.describe("SELECT 1 AS one"),
    "ingest": lambda db: db.ingest(_document(db, "lightning")),
    "search": lambda db: db.search(Q, "chunks", top_k=5),
    "context": lambda db: db.context(Q, "notes", max_tokens=100),
    "compare": lambda db: db.compare(Q, "notes", top_k=2, top_n=1),
    "evaluate": lambda db: db.evaluate(QUERIES, QRELS, "chunks", first_stages=["text"], top_k=[5], document_id="id"),
    "info": lambda db: db.info(),
    "size": lambda db: db.size(),
    "interrupt": lambda db: db.interrupt(),
    "indexes": lambda db: db.indexes(),
    "create_index": lambda db: db.create_index("bodies", "note", "body"),
    "alter_index": lambda db: db.alter_index("notes", text="{id}: {body}"),
    "reindex": lambda db: db.reindex("notes", max_tokens=50),
    "sync": lambda db: db.sync(compare=True),
    "backlog": lambda db: db.backlog(),
    "repair": lambda db: db.repair(),
    "check": lambda db: db.check(),
    "drop_index": lambda db: db.drop_index("notes"),
    "confine": _refused,
    "close": lambda db: db.close(),
}
"""Each public name of a Database, in an order in which they can be called."""

WRITERS = {"ingest", "evaluate", "create_index", "alter_index", "reindex", "sync", "repair", "check", "drop_index"}
"""Those that wait for another connection's write transaction (FTS5's own check is an INSERT)."""


def test_f1_every_method_is_called_here():
    """A new method gets a line in METHODS."""
    assert METHODS.keys() == {name for name in dir(sqlrag.Database) if not name.startswith("_")}


@contextmanager
def _holding(path: Path, how: str):
    """Hold locks on a database, through the engine alone or a Database."""
    if path.suffix == ".duckdb":
        with sqlrag.connect(path) if how == "ours" else closing(duckdb.connect(str(path))):
            yield
        return
    with sqlrag.connect(path) if how == "ours" else closing(apsw.Connection(str(path))) as connection:
        connection.execute("BEGIN")
        list(connection.execute("SELECT count(*) FROM note"))
        yield
        connection.execute("ROLLBACK")


@pytest.mark.parametrize("how", ["ours", "the application's"])
def test_f1_the_locks_after_each_public_call(path, watcher, how, monkeypatch):
    """After each method of a second Database, and after it has been opened, the first one's locks are all there."""
    monkeypatch.chdir(path.parent)
    with _holding(path, how):
        held = watcher.locks(path)
        assert held
        lost = {}

        def look(name: str) -> None:
            after = watcher.locks(path)
            if missing := {lock: kind for lock, kind in held.items() if after.get(lock) != kind}:
                lost[name] = missing

        db = sqlrag.connect(path)
        look("connect")
        for name, call in METHODS.items():
            call(db)
            look(name)
        for engine in (None, "sqlite", "duckdb"):
            try:
                sqlrag.connect(path, engine=engine).close()
            except sqlrag.Error:
                assert engine not in (None, "duckdb" if path.suffix == ".duckdb" else "sqlite")
            look(f"connect(engine={engine!r})")
        refused = []
        for bad in ({"read_only": True}, {"embedder": "none/such"}):
            try:
                sqlrag.connect(path, **bad).close()
            except sqlrag.Error:
                refused.append(bad)
            look(f"connect({bad})")
        assert lost == {}
        assert len(refused) == (2 if path.suffix == ".duckdb" else 1)  # DuckDB has one configuration for a file


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_f1_a_transaction_that_writes_keeps_its_lock(originals, tmp_path, watcher, mode):
    """A write lock outlasts whatever another Database of the process reads, and another process stays out."""
    path = copy_of(originals["sqlite"], tmp_path, "notes")
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO note VALUES (3, 'Snow falls.')")
        held = watcher.locks(path)
        assert "write" in held.values()
        with sqlrag.connect(path) as db, sqlrag.connect(path, read_only=True):
            for name, call in METHODS.items():
                if name not in WRITERS:
                    call(db)
                    assert held.items() <= watcher.locks(path).items(), name
        sqlrag.connect(path).close()
        assert held.items() <= watcher.locks(path).items()
        assert "locked" in _in_another_process(path, "BEGIN IMMEDIATE")
        connection.execute("COMMIT")


def _in_another_process(path: Path, *statements: str) -> str:
    """Run statements with Python's own sqlite3 in another process; return what it says."""
    code = (
        "import sqlite3, sys\nconnection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)\n"
        "try:\n    for sql in sys.argv[2:]: print(connection.execute(sql).fetchall())\n"
        "except sqlite3.Error as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", code, path, *statements], capture_output=True, text=True, check=True)
    return ran.stdout


COMMANDS = {
    "search": ["search", "{db}", Q, "--index", "chunks"],
    "context": ["context", "{db}", Q, "--index", "chunks"],
    "compare": ["compare", "{db}", Q, "--index", "chunks"],
    "sql": ["sql", "{db}", "SELECT count(*) FROM text_top_k('chunks', 'bees', 3)"],
    "sql of the database itself": ["sql", "{db}", "-f", "{db}"],
    "shell": ["shell", "{db}"],
    "info": ["info", "{db}"],
    "ingest": ["ingest", "{db}", "{folder}"],
    "index": ["index", "{db}", "note.body", "--name", "bodies"],
    "sync": ["sync", "{db}"],
    "reindex": ["reindex", "{db}", "--index", "notes"],
    "check": ["check", "{db}", "--repair"],
    "export": ["export", "{db}", "{folder}", "--index", "chunks"],
    "spark-pull": ["spark-pull", "{folder}", "0", "{db}"],
    "eval": ["eval", "{db}", "--index", "chunks", "--synthetic", "1", "--first-stage", "text", "--top-k", "5"],
    "eval of the database itself": ["eval", "{db}", "--index", "chunks", "--queries", "{db}", "--qrels", "{db}"],
    "demo": ["demo", "{db}", "--help"],
    "models": ["models", "list"],
    "status": ["status"],
    "stop": ["stop"],
    "extension": ["extension"],
    "serve": ["serve", "{db}", "--quack"],
    "mcp": ["mcp", "{db}", "--help"],
}
"""Each command that ends by itself; a server's connections are those of `test_f1_a_server_s_sessions`."""


def test_f1_every_command_is_run_here():
    """A new command gets a line in COMMANDS."""
    assert set(cli.commands) <= COMMANDS.keys()


def test_f1_the_locks_after_each_command(path, watcher, monkeypatch):
    """Each command, run in a process that has the database open, leaves the locks of the connection that is there."""
    folder = path.parent / "documents"
    folder.mkdir()
    (folder / "moon.txt").write_text("The moon has no weather.", encoding="utf-8")
    (folder / "itself.txt").hardlink_to(path)
    if path.suffix == ".db":
        (folder / "log.txt").symlink_to(f"{path}-wal")
    monkeypatch.setenv("SQLRAG_SOCKET", str(path.parent / "none.sock"))
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 1;\n"))
    lost = {}
    with _holding(path, "ours"):
        held = watcher.locks(path)
        for name, words in COMMANDS.items():
            said = io.StringIO()
            with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit):
                cli([word.format(db=path, folder=folder) for word in words])
            after = watcher.locks(path)
            if not held.items() <= after.items():
                lost[name] = said.getvalue()
    assert lost == {}


def test_f1_a_server_s_sessions(path, watcher):
    """`serve --postgres`: a second session comes and goes, and a server's database is opened and closed."""
    with _holding(path, "ours") if path.suffix == ".db" else open_confined(str(path)):
        server = Server(str(path), "secret")
        try:
            held = watcher.locks(path)
            assert held
            with open_confined(str(path)) as first:
                first.search(Q, "chunks")
                open_confined(str(path)).close()
                assert held.items() <= watcher.locks(path).items()
            assert held.items() <= watcher.locks(path).items()
        finally:
            server._database.close()


def test_f1_a_second_connect_loses_no_committed_row(originals, tmp_path):
    """The case itself: two connects in a process, another program that closes the file last, kill -9, all rows."""
    path = copy_of(originals["sqlite"], tmp_path, "notes")
    code = (
        "import os, signal, sys, sqlrag\n"
        "first = sqlrag.connect(sys.argv[1])\n"
        "first.execute(\"INSERT INTO note VALUES (10, 'committed 0')\")\n"
        "sqlrag.connect(sys.argv[1]).close()\n"
        "print('open', flush=True); sys.stdin.readline()\n"
        "for number in range(1, 6):\n"
        "    first.execute('INSERT INTO note VALUES (?, ?)', (10 + number, f'committed {number}'))\n"
        "print('committed', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "open\n"
        assert _in_another_process(path, "SELECT count(*) FROM note") == "[(3,)]\n"  # and closes: the last, it believes
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "committed\n"
        process.wait()
    assert _in_another_process(path, "SELECT count(*) FROM note") == "[(8,)]\n"


def test_f1_a_second_process_stays_out_of_a_duckdb_file(originals, tmp_path):
    """After a second connect, one that is closed and one with the wrong engine, another process cannot get in."""
    path = copy_of(originals["duckdb"], tmp_path, "notes")
    with sqlrag.connect(path) as db:
        sqlrag.connect(path).close()
        with pytest.raises(sqlrag.Error, match="is a DuckDB database"):
            sqlrag.connect(path, engine="sqlite")
        code = "import duckdb, sys; duckdb.connect(sys.argv[1])"
        ran = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
        assert "Could not set lock" in ran.stderr
        assert db.execute("SELECT count(*) FROM note").fetchall() == [(2,)]


def test_f1_a_duckdb_file_by_another_name(originals, tmp_path, watcher):
    """A hard link would be a second instance of DuckDB's, whose close drops the lock of the first."""
    path = copy_of(originals["duckdb"], tmp_path, "notes")
    link, soft = tmp_path / "hard.duckdb", tmp_path / "soft.duckdb"
    link.hardlink_to(path)
    soft.symlink_to(path)
    with sqlrag.connect(path) as db:
        held = watcher.locks(path)
        with pytest.raises(sqlrag.Error, match=r"has it open as .*notes\.duckdb"):
            sqlrag.connect(link)
        with sqlrag.connect(soft) as second:
            assert second.execute("SELECT count(*) FROM note").fetchall() == [(2,)]
        assert watcher.locks(path) == held
        assert db.check() == []


@pytest.mark.parametrize("engine", ENGINES)
def test_f1_threads_that_open_beside_the_application(originals, tmp_path, watcher, engine):
    """Connections come and go in threads while the application's own begins and ends: its lock is always there."""
    path = copy_of(originals[engine], tmp_path, "notes")
    done = threading.Event()
    failed = []

    def come_and_go() -> None:
        try:
            while not done.is_set():
                sqlrag.connect(path, read_only=engine == "sqlite").close()
        except BaseException as error:  # noqa: BLE001 - told in the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(60):
            if engine == "sqlite":
                with closing(apsw.Connection(str(path))) as own:
                    own.set_busy_timeout(10_000)
                    own.execute("BEGIN IMMEDIATE")
                    assert "write" in watcher.locks(path).values()
            else:
                with closing(duckdb.connect(str(path))) as own:
                    own.execute("SELECT 1").fetchall()
                    assert watcher.locks(path)[f"{path.name}: file"] == "write"
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failed == []


def test_f1_two_thousand_files_take_no_descriptors(tmp_path, originals, watcher):
    """One descriptor a file is kept, of the last ones only, and none of a file that is deleted."""
    before = len(os.listdir("/dev/fd"))
    made = tmp_path / "one.duckdb"
    duckdb.connect(str(made)).close()
    start = made.read_bytes()
    from sqlrag.process.database_paths import is_duckdb

    for number in range(2_000):
        file = tmp_path / f"{number}.duckdb"
        file.write_bytes(start)
        assert is_duckdb(str(file))
        if number % 2:
            file.unlink()
    assert len(os.listdir("/dev/fd")) <= before + MOST_KEPT
    with sqlrag.connect(made):
        held = watcher.locks(made)
        for number in range(0, 200, 2):
            assert is_duckdb(str(tmp_path / f"{number}.duckdb"))
        assert watcher.locks(made) == held != {}


def test_f1_a_file_that_is_replaced_is_looked_at_again(tmp_path, originals):
    """What is known of a path's file is not believed of its successor; a FIFO is not opened at all."""
    from sqlrag.process.database_paths import is_duckdb, is_sqlite

    path = tmp_path / "changing.db"
    for engine in ("duckdb", "sqlite", "duckdb"):
        shutil.copy(originals[engine], tmp_path / "new")
        (tmp_path / "new").replace(path)
        assert (is_duckdb(str(path)), is_sqlite(str(path))) == (engine == "duckdb", engine == "sqlite")
    os.mkfifo(tmp_path / "fifo.db")
    assert not is_sqlite(str(tmp_path / "fifo.db"))


def test_f2_a_connection_of_apsw_that_was_closed(tmp_path):
    """SQLite keeps the descriptor of one that is closed beside others: it is APSW's, and no reason to refuse."""
    path = tmp_path / "kept.db"
    with sqlrag.connect(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
        for _ in range(3):
            with closing(apsw.Connection(str(path))) as plain:
                plain.execute("INSERT INTO note (body) VALUES ('It rains.')")
            with sqlrag.connect(path) as other:
                assert (
                    other.execute("SELECT count(*) FROM note").fetchall()
                    == db.execute("SELECT count(*) FROM note").fetchall()
                )
