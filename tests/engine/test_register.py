"""`sqlrag.register`: the functions in connections that somebody else opened."""

from __future__ import annotations

import gc
import json
import sqlite3
import subprocess
import sys
import sysconfig
from contextlib import closing
from pathlib import Path

import apsw
import duckdb
import pytest

import sqlrag
from sqlrag.errors import InputError, MissingDependencyError
from sqlrag.models import Reranker
from sqlrag.store.top_k import Index
from tests.engine.databases import copy_of
from tests.engine.score_caches import table_of
from tests.engine.test_conformance import DESIGN_STATEMENT, STATEMENTS, Q, assert_same, rows_of

STDLIB_PROGRAM = """
import json, site, sqlite3, sys
site.addsitedir(sys.argv[1])
import sqlrag
connection = sqlrag.register(sqlite3.connect(sys.argv[2]))
for statement, params in json.load(sys.stdin):
    try:
        rows = connection.execute(statement, params or {}).fetchall()
        print(json.dumps([[value.hex() if isinstance(value, bytes) else value for value in row] for row in rows]))
    except sqlite3.Error as error:
        print(json.dumps(str(error)))
connection.close()
"""


def python_that_loads_extensions() -> str | None:
    """Return a Python of this version whose sqlite3 can load extensions: this one, or the system's."""
    version = f"import sys; print(sys.version_info[:2] == {sys.version_info[:2]})"
    check = f"{version}; import sqlite3; sqlite3.connect(':memory:').enable_load_extension"
    for python in (sys.executable, "/usr/bin/python3"):
        if Path(python).exists():
            run = subprocess.run([python, "-c", check], capture_output=True, text=True, check=False)
            if run.returncode == 0 and run.stdout.strip() == "True":
                return python
    return None


@pytest.fixture(scope="module")
def stdlib(passage_files):
    """Run statements through the standard library's sqlite3, in a Python that can load extensions."""
    python = python_that_loads_extensions()
    if python is None:
        pytest.skip(f"no Python {sys.version_info[0]}.{sys.version_info[1]} here whose sqlite3 can load extensions")

    def run(statements: list) -> list:
        command = [python, "-c", STDLIB_PROGRAM, sysconfig.get_path("purelib"), str(passage_files["sqlite"])]
        done = subprocess.run(command, input=json.dumps(statements), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def test_the_standard_librarys_sqlite3(stdlib, both):
    """Every statement of the conformance suite gives the same rows through sqlite3 as through sqlrag.connect."""
    statements = [(statement.strip().rstrip(";"), params) for statement, params in STATEMENTS.values()]
    for (statement, params), rows in zip(statements, stdlib(statements), strict=True):
        assert isinstance(rows, list), (statement, rows)
        assert_same([tuple(row) for row in rows], rows_of(both["sqlite"], statement, params))


def test_errors_in_the_standard_librarys_sqlite3(stdlib):
    """What is wrong stands in the error's text, from scalars and from table functions."""
    errors = stdlib([
        ("SELECT embed(3)", None),
        ("SELECT * FROM vector_top_k('chunks', 'x', 0)", None),
        ("SELECT * FROM vector_top_k('nothing', 'x', 3)", None),
        ("SELECT * FROM vector_top_k('chunks')", None),
        ("SELECT ndcg(0, 1)", None),
        ("SELECT mrr(id, 1, id) FROM chunks", None),
        ("SELECT mrr(id, 1) FROM chunks WHERE id < 0", None),
    ])  # fmt: skip
    assert errors[0].startswith("embed(): text is 3: it takes a text")
    assert errors[1] == "vector_top_k(): k is 0: it takes a whole number from 1"
    assert errors[2] == "no index 'nothing': there is 'chunks'"
    assert errors[3] == "vector_top_k() needs index, query, k: got index"
    assert errors[4].startswith("ndcg(): rank is 0: it takes a whole number from 1")
    assert errors[5].startswith("mrr(): k is 1 in one row and 2 in another")
    assert errors[6] == [[None]]


def test_a_python_without_extension_loading_is_told_what_to_do():
    """One clear line that names the remedy, in a Python whose sqlite3 can't load extensions."""

    class WithoutLoading(sqlite3.Connection):
        """A connection as pyenv's and macOS's Pythons build them."""

        def __getattribute__(self, name):
            if name == "enable_load_extension":
                raise AttributeError(name)
            return super().__getattribute__(name)

    with pytest.raises(MissingDependencyError, match=r"without extension loading.*sqlrag\.connect\(path\)"):
        sqlrag.register(sqlite3.connect(":memory:", factory=WithoutLoading))


def test_apsw(passage_files, both):
    """An apsw connection of the user's own gets everything, and can load no extension afterwards."""
    connection = sqlrag.register(apsw.Connection(str(passage_files["sqlite"])))
    rows = connection.execute(DESIGN_STATEMENT, Q).fetchall()
    assert_same(rows, both["sqlite"].execute(DESIGN_STATEMENT, Q).fetchall())
    with pytest.raises(apsw.SQLError, match="not authorized"):
        connection.execute("SELECT load_extension('anything')").fetchall()


def test_duckdb(passage_files, both):
    """A duckdb connection of the user's own gets everything, with duckdb's own $parameters."""
    connection = duckdb.connect(str(passage_files["duckdb"]), read_only=True)
    sqlrag.register(connection)
    rows = connection.execute(DESIGN_STATEMENT.replace(":q", "$q"), Q).fetchall()
    connection.close()
    assert_same(rows, both["sqlite"].execute(DESIGN_STATEMENT, Q).fetchall())


def test_duckdb_errors_reach_the_user(passage_files):
    """In a plain duckdb connection the text of our error is in duckdb's."""
    connection = duckdb.connect(str(passage_files["duckdb"]), read_only=True)
    sqlrag.register(connection)
    with pytest.raises(duckdb.Error, match=r"k is 0: it takes a whole number from 1"):
        connection.execute("SELECT * FROM vector_top_k('chunks', 'x', 0)").fetchall()
    connection.close()


def test_the_limit_counts_each_statement_anew(passage_files):
    """rerank_limit holds for one statement, not for the life of a connection, whoever opened it."""
    sqlite = sqlrag.register(apsw.Connection(str(passage_files["sqlite"])), rerank_limit=30)
    plain = duckdb.connect(str(passage_files["duckdb"]), read_only=True)
    sqlrag.register(plain, rerank_limit=30)
    for number in range(3):
        question = f"limit, statement {number}"
        statement = f"SELECT count(rerank_score('{question} %s', text)) FROM chunks"
        assert list(sqlite.execute(statement % "a").fetchall()) == [(25,)]
        assert plain.execute(statement % "b").fetchall() == [(25,)]
    with pytest.raises(sqlrag.Error, match="rerank_limit = 30"):
        sqlite.execute("SELECT rerank_score('x', a.text || b.text) FROM chunks a, chunks b").fetchall()
    with pytest.raises(duckdb.Error, match="rerank_limit = 30"):
        plain.execute("SELECT rerank_score('x', a.text || b.text) FROM chunks a, chunks b").fetchall()
    plain.close()


def registered(engine: str, path: Path, **options):
    """Return a plain connection with the functions, and the sign for a parameter."""
    plain = apsw.Connection(str(path)) if engine == "sqlite" else duckdb.connect(str(path))
    return sqlrag.register(plain, reranker=Reranker(), **options)


def test_a_score_cache_in_a_plain_connection(engine, passage_files, tmp_path):
    """What one connection has scored, the next one reads; it is written when the first is closed, if not before."""
    path = copy_of(passage_files[engine], tmp_path)
    sql = f"SELECT score FROM search('chunks', '{Q['q']}', 25, 25)"
    info = "SELECT cached_scores, cache_hits FROM sqlrag_info()"
    first = registered(engine, path, score_cache=100)
    scores = first.execute(sql).fetchall()
    first.close()
    del first
    gc.collect()
    with closing(table_of(path)) as table:
        assert table.execute("SELECT count(*) FROM sqlrag_scores").fetchall() == [(25,)]
    second = registered(engine, path, score_cache=100)
    assert second.execute(sql).fetchall() == scores
    assert second.execute(info).fetchall() == [(25, 25)]
    second.close()


COMPARED = {
    "vector_top_k('chunks', 'bees', 5)": 7,
    "hybrid_top_k('chunks', 'bees', 5)": 7,
    "search('chunks', 'bees', 5)": 7,
    "vector_top_k('chunks', 'bees', 5, NULL, 9)": 9,
    "hybrid_top_k('chunks', 'bees', 5, NULL, NULL, NULL, 9)": 9,
}


@pytest.mark.parametrize("call", COMPARED)
def test_a_connection_or_a_call_may_set_candidates(engine, passage_files, tmp_path, monkeypatch, call):
    """It reaches the search: as many are compared in full, at least k."""
    path = copy_of(passage_files[engine], tmp_path)
    asked: list[int | None] = []
    top_k = Index.vector_top_k

    def noted(index, vector, k, matching=None, candidates=None):
        asked.append(candidates)
        return top_k(index, vector, k, matching, candidates)

    monkeypatch.setattr(Index, "vector_top_k", noted)
    connection = registered(engine, path, candidates=7)
    assert len(connection.execute(f"SELECT id FROM {call}").fetchall()) in {3, 5}
    connection.close()
    assert asked == [COMPARED[call]]


def test_nprobe_of_earlier_versions(engine, passage_files, tmp_path):
    """An older statement fails with an error that names the option of now, whether it gives a name or a place."""
    connection = registered(engine, copy_of(passage_files[engine], tmp_path))
    sql = "SELECT id FROM vector_top_k('chunks', 'bees', 20"
    named = f"{sql}) WHERE nprobe = 5" if engine == "sqlite" else f"{sql}, nprobe := 5)"
    for statement, error in ((named, "nprobe is 5.*Use candidates"), (f"{sql}, NULL, 5)", "candidates is 5.*nprobe")):
        with pytest.raises((InputError, duckdb.Error), match=error):
            connection.execute(statement).fetchall()
    connection.close()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"candidates": 0}, r"register\(\): candidates is 0"),
        ({"nprobe": 5}, r"register\(\): nprobe is 5: .* Use candidates"),
        ({"score_cache": "much"}, "score_cache is 'much'"),
    ],
)
def test_options_that_are_wrong(option, message):
    """The error names the function, the argument and its value."""
    with pytest.raises(InputError, match=message):
        sqlrag.register(apsw.Connection(":memory:"), **option)


def test_the_standard_library_has_no_score_cache():
    """Two SQLite libraries on one file can damage it, so that is refused, with what to do instead."""

    class Loading(sqlite3.Connection):
        """A connection as of a Python that can load extensions."""

        def enable_load_extension(self, enable):
            """Do nothing."""

    connection = sqlite3.connect(":memory:", factory=Loading)
    with pytest.raises(InputError, match=r"score_cache is 10: .* apsw\.Connection"):
        sqlrag.register(connection, score_cache=10)


def test_something_else_is_refused():
    """What is no connection is named."""
    with pytest.raises(InputError, match=r"connection is a builtins\.str"):
        sqlrag.register("papers.db")
