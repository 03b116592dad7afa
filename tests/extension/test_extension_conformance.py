"""The conformance suite through the extension: the same rows as from sqlrag.connect, in two versions of SQLite.

The standard library's sqlite3 is asked in a process of its own that knows nothing of sqlrag's Python.
"""

from __future__ import annotations

import json
import os
import re
import subprocess

import apsw
import pytest

from tests.engine.test_conformance import DESIGN_STATEMENT, STATEMENTS, Q, assert_same, rows_of

PROGRAM = """
import json, sqlite3, sys
connection = sqlite3.connect(f"file:{sys.argv[2]}?mode=ro", uri=True)
connection.enable_load_extension(True)
connection.load_extension(sys.argv[1])
for statement, params in json.load(sys.stdin):
    try:
        rows = connection.execute(statement, params or {}).fetchall()
        print(json.dumps([[value.hex() if isinstance(value, bytes) else value for value in row] for row in rows]))
    except sqlite3.Error as error:
        print(json.dumps(str(error)))
assert "sqlrag" not in sys.modules
"""

MEASURES = [name for name, (statement, _) in STATEMENTS.items() if "ndcg(" in statement]
"""Statements with aggregates, which the extension does not have."""


@pytest.fixture(scope="module")
def stdlib(library, served, passage_files):
    """Run statements through sqlite3 of Debian's Python."""
    python = "/usr/bin/python3"
    if not os.path.exists(python):
        pytest.skip(f"no {python} here")

    def run(statements: list) -> list:
        command = [python, "-I", "-c", PROGRAM, library, str(passage_files["sqlite"])]
        done = subprocess.run(
            command, input=json.dumps(statements), capture_output=True, text=True, env=served, check=False
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.fixture
def loaded(library, served, passage_files, monkeypatch):
    """APSW's own SQLite, newer than Debian's, with the extension."""
    for name in ("SQLRAG_SOCKET", "SQLRAG_COMMAND"):
        monkeypatch.setenv(name, served[name])
    connection = apsw.Connection(str(passage_files["sqlite"]), flags=apsw.SQLITE_OPEN_READONLY)
    connection.enable_load_extension(True)
    connection.load_extension(library)
    yield connection
    connection.close()


def test_the_suite_in_debians_sqlite3(stdlib, both):
    """Every statement gives the same rows through the extension as through sqlrag.connect."""
    wanted = {name: pair for name, pair in STATEMENTS.items() if name not in MEASURES}
    statements = [(statement.strip().rstrip(";"), params) for statement, params in wanted.values()]
    for name, (statement, params), rows in zip(wanted, statements, stdlib(statements), strict=True):
        assert isinstance(rows, list), (name, rows)
        assert_same([tuple(row) for row in rows], rows_of(both["sqlite"], statement, params))


@pytest.mark.parametrize("name", [name for name in STATEMENTS if name not in MEASURES])
def test_the_suite_in_apsw(loaded, both, name):
    """The same in a newer SQLite, whose values are not turned into text on the way."""
    statement, params = STATEMENTS[name]
    assert_same(list(loaded.execute(statement, params)), rows_of(both["sqlite"], statement, params))


@pytest.mark.parametrize("name", MEASURES)
def test_what_is_left_out(loaded, name):
    """The measures are aggregates over what is judged, and stay in Python."""
    with pytest.raises(apsw.SQLError, match=r"no such function: (ndcg|recall_at_k)"):
        loaded.execute(*STATEMENTS[name])


def test_plain_sqlite_vec_works(loaded, both):
    """sqlite-vec is registered too, at the first call at the latest: its own MATCH finds the same rows."""
    list(loaded.execute("SELECT id FROM vector_top_k('chunks', 'x', 1)"))
    plain = "SELECT rowid FROM chunks_vec WHERE embedding MATCH embed(:q) AND k = 25"
    assert list(loaded.execute(plain, Q)) == both["sqlite"].execute(plain, Q).fetchall()


def test_a_view_that_reranks(loaded, both):
    """A view may call the functions, as in Python."""
    statement = DESIGN_STATEMENT.replace(":q", "'bees'").strip().rstrip(";")
    loaded.execute("PRAGMA temp_store = memory")
    loaded.execute(f"CREATE TEMP VIEW best AS {statement[: statement.index('LIMIT')]}")
    rows = list(loaded.execute("SELECT * FROM best WHERE score > 0 LIMIT 3"))
    assert_same(rows, both["sqlite"].execute(DESIGN_STATEMENT, {"q": "bees"}).fetchall())


@pytest.mark.parametrize(
    "join",
    [
        "vector_top_k('chunks', embed(:q), 25) AS hit JOIN chunks AS c ON c.id = hit.id",
        "chunks AS c JOIN vector_top_k('chunks', embed(:q), 25) AS hit ON c.id = hit.id",
        "chunks AS c, vector_top_k('chunks', embed(:q), 25) AS hit WHERE c.id = hit.id",
    ],
)
def test_the_plan_is_that_of_the_python_engine(loaded, both, join):
    """The planner is told the same of the table functions: it begins with them, in either order of the join."""
    explained = f"EXPLAIN QUERY PLAN SELECT c.text, rerank_score(:q, c.text) FROM {join}"
    details = [row[3] for row in loaded.execute(explained, Q)]
    assert re.match(r"SCAN hit VIRTUAL TABLE", details[0]), details
    assert details == [row[3] for row in both["sqlite"].execute(explained, Q).fetchall()]


ERRORS = [
    ("SELECT * FROM vector_top_k('chunks', 'x')", None),
    ("SELECT * FROM vector_top_k('chunks', 'x', 0)", None),
    ("SELECT * FROM vector_top_k('no such index', 'x', 1)", None),
    ("SELECT * FROM vector_top_k('chunks', x'00', 1)", None),
    ("SELECT * FROM search('chunks')", None),
    ("SELECT * FROM search('chunks', 'x', 2, 3)", None),
    ("SELECT * FROM text_top_k('chunks', 'x', 3, 'no_such_column = 1')", None),
    ("SELECT embed(7)", None),
    ("SELECT token_count('x', 'no such model')", None),
    ("SELECT rerank_score('a', x'00')", None),
    ("SELECT * FROM chunk_text('x', 0)", None),
    ("SELECT rerank_score(a.text, b.text) FROM chunks AS a, chunks AS b, chunks AS c", None),
]


@pytest.mark.parametrize(("statement", "params"), ERRORS[:-1])
def test_errors_are_those_of_python(loaded, both, statement, params):
    """What is wrong is said in the same words."""
    with pytest.raises(Exception) as expected:
        both["sqlite"].execute(statement, params).fetchall()
    with pytest.raises(apsw.Error) as caught:
        list(loaded.execute(statement, params))
    assert str(caught.value).removeprefix("SQLError: ") == str(expected.value)


def test_a_filter_may_call_the_functions(loaded, both):
    """A filter that counts tokens: a call inside of a query inside of a call."""
    statement = "SELECT id FROM vector_top_k('chunks', 'bees', 5, 'token_count(title) > 1') ORDER BY rank"
    assert list(loaded.execute(statement)) == both["sqlite"].execute(statement).fetchall() != []


@pytest.mark.slow
def test_a_forgotten_limit(loaded):
    """Pairs are counted over a statement, whatever its arguments, and anew for the next one."""
    numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {}) "
    count = "SELECT count(rerank_score('q' || i, '')) FROM n"
    with pytest.raises(apsw.SQLError, match="scores more than rerank_limit = 10000 pairs"):
        list(loaded.execute(numbers.format(10001) + count))
    for _ in range(2):
        assert list(loaded.execute(numbers.format(200) + count)) == [(200,)]


def test_f19_a_filter_with_values(loaded, both):
    """The last argument of the four functions, a JSON object, goes the same way."""
    calls = (
        "vector_top_k('chunks', 'bees', 5, 'title <> :t', NULL, {})",
        "text_top_k('chunks', 'money and the sun', 5, 'title <> :t', {})",
        "hybrid_top_k('chunks', 'bees', 5, 'title <> :t', NULL, {})",
        "search('chunks', 'bees', 5, 5, 'title <> :t', NULL, {})",
    )
    for call in calls:
        statement = f"SELECT id FROM {call.format(':p')} ORDER BY id"
        params = {"p": '{"t": "Bees"}'}
        assert list(loaded.execute(statement, params)) == both["sqlite"].execute(statement, params).fetchall() != []
        with pytest.raises(apsw.Error, match="no value was given for its parameter 't'"):
            list(loaded.execute(statement, {"p": None}))
