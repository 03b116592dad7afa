"""F8: whatever an application's connection makes of rows, texts and statements, ours are read as SQLite gives them."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sysconfig
from contextlib import suppress

import apsw
import pytest

import sqlrag
from sqlrag.store.driver.stdlib_statements import StdlibStatements
from tests.engine.databases import copy_of
from tests.engine.test_register import python_that_loads_extensions

ASKED = {
    "the statement of the README": (
        "SELECT c.id, rerank_score('how do bees talk?', c.text) AS score FROM vector_top_k('chunks', "
        "'how do bees talk?', 8) AS hit JOIN main.chunks AS c ON c.id = hit.id ORDER BY score DESC LIMIT 3"
    ),
    "search": "SELECT id, text, source_id, rank_before FROM search('chunks', 'how do bees talk?', 8, 3)",
    "a filter": "SELECT id FROM vector_top_k('chunks', 'bees', 3, 'title IN (''Bees'', ''Zürich 🚋'')')",
    "words": "SELECT id, rank FROM text_top_k('chunks', 'bees or money', 4, 'title > ''A''')",
    "hybrid": "SELECT id, rank FROM hybrid_top_k('chunks', 'bees', 4)",
    "a live index": "SELECT source_id, text FROM search('titles', 'bees', 3, 3, 'topic <> ''''')",
    "an index's name in capitals": "SELECT id FROM vector_top_k('CHUNKS', 'bees', 3)",
    "info": 'SELECT "index", source, chunks, embedder, backlog FROM sqlrag_info()',
}

PRAGMAS = (
    "case_sensitive_like = ON",
    "reverse_unordered_selects = ON",
    "recursive_triggers = ON",
    "foreign_keys = ON",
    "count_changes = ON",
    "short_column_names = OFF",
    "full_column_names = ON",
    "empty_result_callbacks = ON",
    "legacy_alter_table = ON",
    "query_only = ON",
    "cell_size_check = ON",
    "trusted_schema = OFF",
)


def refuse(*_):
    """Stand for whatever of an application's cannot do with a statement that is not its own."""
    raise RuntimeError("this is for the application's statements only")


def casefolded(text):
    """Stand for ICU's lower(), which knows more letters than SQLite's own."""
    return text if text is None else str(text).casefold()


def named(cursor, row):
    """Give each value of a row its column's name."""
    return zip((column[0] for column in cursor.description), row, strict=True)


def compared(a, b):
    """Compare letter by letter."""
    return (a > b) - (a < b)


class NoCursors(apsw.Cursor):
    """A class of cursors that does not take ours."""

    def execute(self, statement, *arguments, **options):
        """Run what the application asks for."""
        if statement not in ASKED.values():
            refuse()
        return super().execute(statement, *arguments, **options)


def ours_only(_cursor, sql, _bindings):
    """Forbid what the application did not ask for."""
    return sql in ASKED.values()


HOSTILE = {
    "rows as dicts": lambda connection: setattr(connection, "row_trace", lambda cursor, row: dict(named(cursor, row))),
    "rows dropped": lambda connection: setattr(connection, "row_trace", lambda cursor, row: [*row, "more"]),
    "statements forbidden": lambda connection: setattr(connection, "exec_trace", ours_only),
    "cursors of its own": lambda connection: setattr(connection, "cursor_factory", NoCursors),
    "names compared otherwise": lambda connection: connection.create_collation("NOCASE", compared),
    "names that are all equal": lambda connection: connection.create_collation("NOCASE", lambda a, b: 0),
    "LIKE of its own": lambda connection: connection.create_scalar_function("like", lambda *_: True),
    "lower() of its own": lambda connection: connection.create_scalar_function("lower", casefolded),
    **{f"PRAGMA {one}": lambda connection, one=one: connection.execute(f"PRAGMA {one}").fetchall() for one in PRAGMAS},
}


@pytest.fixture(scope="module")
def path(passage_files, tmp_path_factory):
    """The passages, and an index over a table beside them."""
    copied = copy_of(passage_files["sqlite"], tmp_path_factory.mktemp("factories"))
    with sqlrag.connect(copied) as db:
        db.execute("CREATE TABLE topics AS SELECT id AS number, title, metadata ->> 'topic' AS topic FROM documents")
        db.execute("CREATE TABLE topic (number INTEGER PRIMARY KEY, title TEXT, topic TEXT)")
        db.execute("INSERT INTO topic SELECT * FROM topics")
        db.create_index("titles", table="topic", text="title")
    return copied


@pytest.fixture(scope="module")
def right(path):
    """What a connection with nothing of its own answers."""
    connection = sqlrag.register(apsw.Connection(str(path)))
    return {name: [list(row) for row in connection.execute(sql)] for name, sql in ASKED.items()}


@pytest.mark.parametrize("hostility", HOSTILE)
def test_f8_an_apsw_connection_with_ways_of_its_own(hostility, path, right):
    """Each function answers the same, before and after the connection is registered."""
    for before in (True, False):
        connection = apsw.Connection(str(path))
        if before:
            HOSTILE[hostility](connection)
        sqlrag.register(connection)
        if not before:
            HOSTILE[hostility](connection)
        for name, sql in ASKED.items():
            cursor = apsw.Cursor(connection)
            cursor.row_trace = None
            assert [list(row) for row in cursor.execute(sql)] == right[name], (name, before)
        connection.close()


def test_f8_the_application_s_own_statements_keep_its_ways(path):
    """What it asks for is given as it wants it: nothing of the connection is changed."""
    connection = apsw.Connection(str(path))
    connection.row_trace = trace = lambda cursor, row: {"all": row}
    sqlrag.register(connection)
    rows = connection.execute("SELECT id FROM vector_top_k('chunks', 'bees', 2)").fetchall()
    assert [list(row) for row in rows] == [["all"], ["all"]]
    assert connection.row_trace is trace


def test_f8_hooks_of_apsw_for_all_connections(path, right):
    """`apsw.connection_hooks` are run for our own connections too."""

    def hostile(connection):
        connection.row_trace = lambda cursor, row: {"all": row}
        connection.exec_trace = lambda cursor, sql, bindings: sql in ASKED.values()
        connection.cursor_factory = NoCursors
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)

    apsw.connection_hooks.append(hostile)
    try:
        with sqlrag.connect(path) as db:
            assert {name: [list(row) for row in db.execute(sql)] for name, sql in ASKED.items()} == right
            db.execute("UPDATE topic SET title = title WHERE number = 1")
            assert db.sync().backlog == 0
            assert db.check() == []
    finally:
        apsw.connection_hooks.remove(hostile)


STDLIB_PROGRAM = """
import json, site, sqlite3, sys
site.addsitedir(sys.argv[1])
import sqlrag

def refuse(*_):
    raise RuntimeError("this is for the application's statements only")

class Strict(sqlite3.Connection):
    def cursor(self, *_, **__):
        refuse()
    execute = executemany = executescript = cursor

def hostile(connection, name):
    if name == "rows as dicts":
        connection.row_factory = lambda cursor, row: {c[0]: v for c, v in zip(cursor.description, row)}
    if name == "rows refused":
        connection.row_factory = refuse
    if name == "texts as bytes":
        connection.text_factory = bytes
    if name == "texts refused":
        connection.text_factory = refuse
    if name == "transactions by hand":
        connection.isolation_level = None
    if name.startswith("PRAGMA"):
        sqlite3.Connection.execute(connection, name).close()
    if name == "names that are all equal":
        connection.create_collation("NOCASE", lambda a, b: 0)
    if name == "lower() of its own":
        connection.create_function("lower", 1, lambda text: text and str(text).casefold())
    return connection

asked, hostilities = json.load(sys.stdin)
for kind in ("TEXT", "INTEGER", "BLOB", "JSON"):
    sqlite3.register_converter(kind, refuse)
found = {}
for name in hostilities:
    for before in (True, False):
        factory = Strict if name == "cursors of its own" else sqlite3.Connection
        types = sqlite3.PARSE_DECLTYPES if name == "types converted" else 0
        connection = sqlite3.connect(sys.argv[2], factory=factory, detect_types=types)
        if before:
            hostile(connection, name)
        sqlrag.register(connection)
        if not before:
            hostile(connection, name)
        answers = {}
        for number, sql in asked.items():
            sql = "SELECT CAST(json_group_array(json_array(%s)) AS BLOB) FROM (%s)" % tuple(sql)
            cursor = sqlite3.Cursor(connection)
            answers[number] = json.loads(cursor.execute(sql).fetchone()[0])
        found[f"{name}, {before}"] = answers
        assert connection.text_factory is str or "texts" in name
        connection.close()
print(json.dumps(found))
"""

STDLIB = [
    "rows as dicts", "rows refused", "texts as bytes", "texts refused", "types converted", "cursors of its own",
    "transactions by hand", "names that are all equal", "lower() of its own", *(f"PRAGMA {one}" for one in PRAGMAS),
]  # fmt: skip


def test_f8_a_sqlite3_connection_with_ways_of_its_own(path, right):
    """The standard library's: row and text factories, converters, classes of connections."""
    python = python_that_loads_extensions()
    if python is None:
        pytest.skip("no Python here whose sqlite3 can load extensions")
    columns = {
        "the statement of the README": "id, score",
        "search": "id, text, source_id, rank_before",
        "a filter": "id",
        "words": "id, rank",
        "hybrid": "id, rank",
        "a live index": "source_id, text",
        "an index's name in capitals": "id",
        "info": '"index", source, chunks, embedder, backlog',
    }
    asked = {name: (columns[name], sql) for name, sql in ASKED.items()}
    run = subprocess.run(
        [python, "-c", STDLIB_PROGRAM, sysconfig.get_path("purelib"), str(path)],
        input=json.dumps([asked, STDLIB]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert len(found) == 2 * len(STDLIB)
    for ways, answers in found.items():
        for name, rows in answers.items():
            assert rows == [pytest.approx(row) if name.startswith("the") else row for row in right[name]], (ways, name)


def test_statements_through_the_library_of_sqlite3(tmp_path):
    """Values, scripts, parameters and transactions are SQLite's own; errors are apsw's."""
    connection = sqlite3.connect(tmp_path / "own.db", isolation_level="IMMEDIATE")
    connection.text_factory = bytes
    own = StdlibStatements(connection)
    assert own.filename == str(tmp_path / "own.db")
    values = [None, 1, -(2**63), 0.1, "Zürich 🚋 with a \0", b"\0\xff", b"", ""]
    script = "CREATE TABLE t (x, y); -- a comment\nINSERT INTO t VALUES (:a, :b); SELECT :b, :a;"
    assert own.execute(script, {"a": 1, "b": "two", "c": 3}).fetchall() == [("two", 1)]
    assert list(own.execute("BEGIN IMMEDIATE")) == []
    assert not own.getautocommit()
    own.executemany("INSERT INTO t VALUES (?, ?)", enumerate(values))
    own.execute("COMMIT")
    assert own.getautocommit()
    assert not own.readonly("main")
    rows = own.execute("SELECT y FROM t WHERE rowid > 1")
    assert next(rows) == (None,)
    assert rows.fetchall() == [(value,) for value in values[1:]]
    assert own.execute("  -- nothing").fetchone() is None
    with pytest.raises(apsw.SQLError, match=r"no such table: main\.u"):
        own.execute("SELECT * FROM main.u")
    with pytest.raises(KeyError):
        own.execute("SELECT :missing", {})
    own.execute("CREATE UNIQUE INDEX one ON t (x) WHERE y IS NULL")
    with pytest.raises(apsw.ConstraintError, match="UNIQUE") as caught:
        own.execute("INSERT INTO t VALUES (0, NULL)")
    assert caught.value.extendedresult == apsw.SQLITE_CONSTRAINT_UNIQUE
    for value in (2**63, object(), "\ud800"):
        with pytest.raises((OverflowError, TypeError, UnicodeEncodeError)):
            own.execute("SELECT ?", (value,))
    with suppress(StopIteration):
        next(own.execute("SELECT * FROM t"))
    connection.close()
    with pytest.raises(sqlite3.ProgrammingError):
        own.execute("SELECT 1")


# With count_changes each INSERT has a row, those of sqlite-vec's own too, which it takes for an error.
NO_SYNC = ("PRAGMA query_only = ON", "PRAGMA count_changes = ON")
SYNCED = {name: hostile for name, hostile in HOSTILE.items() if name not in NO_SYNC}


@pytest.mark.parametrize("hostility", SYNCED)
def test_f8_a_sync_through_an_apsw_connection_with_ways_of_its_own(hostility, path, tmp_path):
    """What is written through the connection is found through it; the index is whole."""
    copied = copy_of(path, tmp_path)
    connection = sqlrag.register(apsw.Connection(str(copied)))
    SYNCED[hostility](connection)
    cursor = apsw.Cursor(connection)
    cursor.row_trace = cursor.exec_trace = None
    cursor.execute("INSERT OR REPLACE INTO topic VALUES (1, 'Bees', 'nature'), (99, 'A kettle that whistles', 'home')")
    cursor.execute("SELECT sqlrag_sync()").fetchall()
    found = cursor.execute("SELECT source_id FROM search('titles', 'kettle', 3, 1)").fetchall()
    assert [row[0] for row in found] == [99]
    cursor.close()
    connection.close()
    with sqlrag.connect(copied) as db:
        assert db.backlog() == {}
        assert db.check() == []


STDLIB_SYNC = (
    STDLIB_PROGRAM.split("asked, hostilities", maxsplit=1)[0]
    + """
import shutil
folder, hostilities = json.load(sys.stdin)
for kind in ("TEXT", "INTEGER", "BLOB", "JSON"):
    sqlite3.register_converter(kind, refuse)
for number, name in enumerate(hostilities):
    path = f"{folder}/{number}.db"
    shutil.copy(sys.argv[2], path)
    factory = Strict if name == "cursors of its own" else sqlite3.Connection
    types = sqlite3.PARSE_DECLTYPES if name == "types converted" else 0
    connection = hostile(sqlrag.register(sqlite3.connect(path, factory=factory, detect_types=types)), name)
    cursor = sqlite3.Cursor(connection)
    cursor.execute("INSERT OR REPLACE INTO topic VALUES (1, 'Bees', 'nature'), (99, 'A kettle that whistles', 'home')")
    connection.commit()
    cursor.execute("SELECT sqlrag_sync()").fetchall()
    found = cursor.execute("SELECT +source_id FROM search('titles', 'kettle', 3, 1)").fetchall()
    assert [row[0] for row in found] == [99], (name, found)
    connection.close()
"""
)


def test_f8_a_sync_through_a_sqlite3_connection_with_ways_of_its_own(path, tmp_path):
    """The same through the standard library's, which opens no transaction of its own for our statements."""
    python = python_that_loads_extensions()
    if python is None:
        pytest.skip("no Python here whose sqlite3 can load extensions")
    # SQLite 3.40 lets no trigger write full text then (docs/neighbours.md); APSW's own lets it.
    ways = [name for name in STDLIB if name not in (*NO_SYNC, "PRAGMA trusted_schema = OFF")]
    run = subprocess.run(
        [python, "-c", STDLIB_SYNC, sysconfig.get_path("purelib"), str(path)],
        input=json.dumps([str(tmp_path), ways]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    for number, name in enumerate(ways):
        with sqlrag.connect(tmp_path / f"{number}.db") as db:
            assert (name, db.backlog(), db.check()) == (name, {}, [])
