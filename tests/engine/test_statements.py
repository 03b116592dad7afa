"""How many statements of ours a query runs, and an opening: the registry is read once for each state of the file.

The numbers are what is needed, and not a limit: whoever adds a statement to a query says here what it is for. Not
counted are statements that sqlite-vec and FTS5 run within their tables, and the PRAGMA behind a PRAGMA function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import apsw
import duckdb
import pytest

import sqlrag
from sqlrag.engines.duckdb import file_signature
from sqlrag.errors import UnknownIndexError
from sqlrag.store.driver.built_library import built_library
from tests.engine.databases import copy_of

TWO_STAGES = """
    SELECT   c.id, c.text, rerank_score(:q, c.text) AS score
    FROM     vector_top_k('chunks', embed(:q), 5) AS hit
    JOIN     chunks AS c ON c.id = hit.id
    ORDER BY score DESC
    LIMIT    3
"""
FIRST_STAGE = "SELECT id FROM vector_top_k('chunks', :q, 5)"
FILTERED = "SELECT id FROM vector_top_k('chunks', :q, 5, 'id > 3')"

CALLS: dict[str, Callable[[sqlrag.Database, str], object]] = {
    "two stages": lambda db, q: db.execute(TWO_STAGES, {"q": q}).fetchall(),
    "first stage": lambda db, q: db.execute(FIRST_STAGE, {"q": q}).fetchall(),
    "filtered": lambda db, q: db.execute(FILTERED, {"q": q}).fetchall(),
    "search": lambda db, q: db.search(q, top_k=5),
    "filtered search": lambda db, q: db.search(q, top_k=5, filter="id > 3"),
}
"""What is asked. Each number below has the statement itself in it."""


class Counter:
    """The statements that were run, by either library."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def watch(self, connection: apsw.Connection) -> None:
        """Note the statements of an APSW connection, also those that run while another one does."""

        def note(event: dict[str, object]) -> None:
            sql = " ".join(str(event["sql"]).split())
            is_nested = bool(event["trigger"])
            # sqlite-vec and FTS5 quote the schema, sqlrag does not.
            if not (is_nested and (sql.startswith("PRAGMA") or '"main".' in sql or "'main'." in sql)):
                self.statements.append(sql)

        connection.trace_v2(apsw.SQLITE_TRACE_STMT, note, id="counting")

    def of(self, call: Callable[[], object]) -> int:
        """Return how many statements a call runs."""
        self.statements.clear()
        call()
        return len(self.statements)


@pytest.fixture
def counter(monkeypatch) -> Iterator[Counter]:
    """Counts the statements of the connections that are opened from now on."""
    found = Counter()
    execute = duckdb.DuckDBPyConnection.execute

    def noted(self, query, *arguments, **options):
        found.statements.append(query if isinstance(query, str) else query.query)
        return execute(self, query, *arguments, **options)

    monkeypatch.setattr(duckdb.DuckDBPyConnection, "execute", noted)
    apsw.connection_hooks.append(found.watch)
    yield found
    apsw.connection_hooks.remove(found.watch)


@pytest.fixture(scope="module")
def files(passage_files, tmp_path_factory) -> dict[str, Path]:
    """A database with an index over files, and one with an index over a table, on each engine."""
    folder = tmp_path_factory.mktemp("statements")
    paths = {f"{engine} files": path for engine, path in passage_files.items()}
    for engine, suffix in (("sqlite", "db"), ("duckdb", "duckdb")):
        paths[f"{engine} table"] = folder / f"table.{suffix}"
        with sqlrag.connect(paths[f"{engine} table"]) as db:
            db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)").fetchall()
            for number in range(8):
                db.execute("INSERT INTO note VALUES (?, ?)", [number, f"kettle number {number} boils"]).fetchall()
            db.create_index("chunks", "note", "body", filters=["id"])
            db.sync()
    return paths


def counted(counter: Counter, path: Path, call: str) -> tuple[int, int]:
    """Return the statements of the first call on a connection, and of the next one.

    Nobody has asked these questions before: the process's reranker remembers scores, and need not read texts again.
    """
    with sqlrag.connect(path) as db:
        questions = (f"how long does the water take to boil? {uuid4()}", f"why does the kettle whistle? {uuid4()}")
        return tuple(counter.of(lambda q=question: CALLS[call](db, q)) for question in questions)


@pytest.mark.skipif(built_library() is None, reason="sqlrag's C library was not built: apt install gcc")
@pytest.mark.parametrize(
    ("of", "call", "statements"),
    [
        # The file's state before the statement and in it, the vectors and their blocks; then the texts to be scored.
        # The first call also reads the registry and what functions the connection has; of the index, that it has codes,
        # how many, and how many candidates were measured, for which it first looks whether that table is there.
        ("files", "first stage", (10, 5)),
        ("files", "two stages", (11, 6)),
        # The filter is prepared on its table; the first call also looks at the table's columns.
        ("files", "filtered", (14, 6)),
        # The index's name is looked up, and search() reads words, texts and distances, and orders the candidates.
        ("files", "search", (15, 10)),
        ("files", "filtered search", (19, 11)),
        # The first call also checks the triggers, and that nothing is queued.
        ("table", "first stage", (18, 5)),
        ("table", "two stages", (19, 6)),
        ("table", "filtered", (20, 6)),
        ("table", "search", (23, 10)),
        ("table", "filtered search", (25, 11)),
    ],
)
def test_sqlite(*, counter, files, tmp_path, of, call, statements):
    assert counted(counter, copy_of(files[f"sqlite {of}"], tmp_path), call) == statements, counter.statements


@pytest.mark.skipif(built_library() is None, reason="sqlrag's C library was not built: apt install gcc")
@pytest.mark.parametrize("settled", [True, False], ids=["settled", "just written"])
@pytest.mark.parametrize(
    ("of", "call", "statements"),
    [
        # As long as the database's files show no commit: the index file's state before the index is searched, when it
        # is, and after it; its codes, and DuckDB's vectors. Else also one look at the tables, and one at the registry.
        ("files", "first stage", ((16, 6), (24, 8))),
        ("files", "two stages", ((16, 6), (24, 8))),
        # The filter is parsed, prepared on its table, and run.
        ("files", "filtered", ((19, 8), (27, 10))),
        ("files", "search", ((22, 11), (30, 13))),
        ("files", "filtered search", ((25, 13), (33, 15))),
        # Just written, the rows are compared: the table is described, then the type of the keys, then what differs.
        ("table", "first stage", ((19, 6), (28, 12))),
        ("table", "two stages", ((19, 6), (28, 12))),
        # A filter or search() needs the description of the table, too.
        ("table", "filtered", ((23, 9), (32, 15))),
        ("table", "search", ((26, 12), (35, 18))),
        ("table", "filtered search", ((30, 15), (39, 21))),
    ],
)
def test_duckdb(*, counter, files, tmp_path, monkeypatch, of, call, statements, settled):
    monkeypatch.setattr(file_signature, "_SETTLED", 0 if settled else 10**18)
    path = copy_of(files[f"duckdb {of}"], tmp_path)
    assert counted(counter, path, call) == statements[not settled], counter.statements


@pytest.mark.skipif(built_library() is None, reason="sqlrag's C library was not built: apt install gcc")
@pytest.mark.parametrize(
    ("which", "statements"), [("sqlite files", 11), ("sqlite table", 11), ("duckdb files", 23), ("duckdb table", 22)]
)
def test_opening(*, counter, files, tmp_path, monkeypatch, which, statements):
    """A second connection beside an open one: nothing has changed since."""
    monkeypatch.setattr(file_signature, "_SETTLED", 0)
    path = copy_of(files[which], tmp_path)
    with sqlrag.connect(path):
        opened: list[sqlrag.Database] = []
        assert counter.of(lambda: opened.append(sqlrag.connect(path))) == statements, counter.statements
        opened[0].close()


def test_what_another_connection_changes_is_read(files, tmp_path):
    """The registry is read again when the file has changed: an index that is dropped is not searched any more."""
    path = copy_of(files["sqlite table"], tmp_path)
    with sqlrag.connect(path) as one, sqlrag.connect(path) as other:
        assert one.search("a kettle")
        other.drop_index("chunks")
        with pytest.raises(UnknownIndexError):
            one.search("a kettle")


def test_what_is_rolled_back_is_not_remembered(files, tmp_path):
    """What a transaction has read of the registry ends with it, though the numbers may come again."""
    path = copy_of(files["sqlite table"], tmp_path)
    with sqlrag.connect(path) as db:
        db.execute("BEGIN").fetchall()
        db.execute("DELETE FROM sqlrag_indexes").fetchall()
        assert db.indexes() == []
        db.execute("ROLLBACK").fetchall()
        assert db.indexes() == ["chunks"]
        assert db.search("a kettle")


def test_each_pair_is_hashed_once(passages, monkeypatch):
    """SQLite asks row by row: what was scored together is not looked up again. The first row is looked up before."""
    hashed = []
    digest = sqlrag.Reranker.digest

    def noted(reranker, query, text):
        hashed.append(text)
        return digest(reranker, query, text)

    monkeypatch.setattr(sqlrag.Reranker, "digest", noted)
    passages.execute(TWO_STAGES, {"q": "who mends a kettle, and what with?"}).fetchall()
    assert len(set(hashed)) == 5
    assert len(hashed) == 5 + (passages.engine == "sqlite")
