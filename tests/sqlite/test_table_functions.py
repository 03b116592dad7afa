"""Table functions on both bindings, APSW's and the standard library's: arguments, values, conditions."""

from __future__ import annotations

import sqlite3

import pytest

from sqlrag.errors import InputError
from tests.sqlite.bindings import Stdlib, fetch, table


def test_rows_in_order_with_positions(connection, calls):
    """Columns, arguments and rowid are what the function says."""
    rows = fetch(connection, "SELECT rowid, *, \"index\", k, filter FROM vector_top_k('chunks', ?, 3)", ("why?",))
    assert rows == [(place, place, place / 2, place, "chunks", 3, None) for place in (1, 2, 3)]
    assert calls == [("chunks", "why?", 3, None)]


def test_no_rows(connection, calls):
    """An empty result is no row, also for an aggregate."""
    assert fetch(connection, "SELECT * FROM vector_top_k('chunks', 'q', 0)") == []
    assert fetch(connection, "SELECT count(*), max(id) FROM vector_top_k('chunks', 'q', 0)") == [(0, None)]


def test_no_parameters(connection, binding):
    """A function without parameters is called with or without parentheses."""
    binding.create(connection, table(lambda: [("one",), ("two",)], "sqlrag_info", parameters=()))
    for sql in ("SELECT * FROM sqlrag_info", "SELECT * FROM sqlrag_info()"):
        assert fetch(connection, sql) == [("one",), ("two",)]


VALUES = [None, 0, -(2**63), 2**63 - 1, 0.5, float("inf"), "", "naïve 🙂", "a\0b", b"", b"\0\xff", "x" * 100_000]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_values_pass_unchanged(connection, binding, value):
    """Every type of SQLite goes in as an argument and out as a column, with its type."""
    seen = []
    binding.create(connection, table(lambda x: [(seen.append(x), x)[1:]]))
    ((out, hidden),) = fetch(connection, "SELECT a, x FROM f(?)", (value,))
    assert [(type(one), one) for one in (seen[0], out, hidden)] == [(type(value), value)] * 3


@pytest.mark.parametrize(
    "value", [2**63, -(2**63) - 1, object(), "\ud800"], ids=["big", "small", "object", "surrogate"]
)
def test_values_that_sqlite_cannot_store(connection, binding, value):
    """Such a value in a row is an error of the statement, after which the connection works on."""
    binding.create(connection, table(lambda _: [(value,)]))
    with pytest.raises((OverflowError, TypeError, UnicodeEncodeError, sqlite3.OperationalError)) as caught:
        fetch(connection, "SELECT a FROM f(1)")
    if binding is Stdlib:
        expected = {"object": "a object is nothing that SQLite stores", "str": "surrogates not allowed"}
        assert expected.get(type(value).__name__, "does not fit into the 64 bits") in str(caught.value)
    assert fetch(connection, "SELECT count(*) FROM f(1)") == [(1,)]


def test_null_is_none(connection, calls):
    """NULL reaches the function as None, like an argument that was left out, and drops no row."""
    assert len(fetch(connection, "SELECT * FROM vector_top_k('chunks', NULL, 2, NULL)")) == 2
    assert calls == [("chunks", None, 2, None)]


@pytest.mark.parametrize(
    ("arguments", "got"),
    [("", "nothing"), ("('chunks')", "index"), ("('chunks', 'q')", "index, query"), (" WHERE k = 3", "k")],
)
def test_missing_arguments(connection, calls, arguments, got):
    """The error names what is needed and what came."""
    with pytest.raises((InputError, sqlite3.OperationalError)) as caught:
        fetch(connection, f"SELECT * FROM vector_top_k{arguments}")
    assert str(caught.value) == f"vector_top_k() needs index, query, k: got {got}"
    assert calls == []


def test_too_many_arguments(connection, binding, calls):
    """SQLite counts them itself."""
    with pytest.raises(binding.error, match=r"too many arguments on vector_top_k\(\) - max 4"):
        fetch(connection, "SELECT * FROM vector_top_k(1, 2, 3, 4, 5)")
    assert calls == []


def test_arguments_as_conditions(connection, calls):
    """Arguments may stand in WHERE, in any order; a second value for one must equal the first."""
    sql = "SELECT id FROM vector_top_k('chunks') WHERE k = 2 AND \"query\" = 'q'"
    assert fetch(connection, sql) == [(1,), (2,)]
    assert calls == [("chunks", "q", 2, None)]
    assert fetch(connection, f"{sql} AND \"index\" = 'other'") == []


def test_several_values_for_an_argument(connection, calls):
    """IN calls the function once for each value."""
    rows = fetch(connection, "SELECT k, id FROM vector_top_k('chunks', 'q') WHERE k IN (1, 2)")
    assert sorted(rows) == [(1, 1), (2, 1), (2, 2)]
    assert sorted(call[2] for call in calls) == [1, 2]


@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        ("id = 2", [2]),
        ("id = 1 OR id = 3", [1, 3]),
        ("id IN (3, 4)", [3]),
        ("rowid = 2", [2]),
        ("distance > 0.5", [2, 3]),
    ],
)
def test_conditions_on_the_results(connection, calls, condition, ids):
    """SQLite applies them to the rows; the function gets its arguments all the same."""
    rows = fetch(connection, f"SELECT id FROM vector_top_k('chunks', 'q', 3) WHERE {condition}")
    assert [row[0] for row in rows] == ids
    assert set(calls) == {("chunks", "q", 3, None)}


def test_order_is_sqlite_s(connection, calls):
    """ORDER BY sorts, whatever order the rows come in."""
    rows = fetch(connection, "SELECT id FROM vector_top_k('chunks', 'q', 12) ORDER BY distance DESC LIMIT 2 OFFSET 1")
    assert rows == [(11,), (10,)]


def test_views_and_ctes(connection, calls):
    """The function works inside a view and a CTE that is used twice."""
    connection.execute("CREATE VIEW v AS SELECT * FROM vector_top_k('chunks', 'q', 3)")
    assert fetch(connection, "SELECT sum(id) FROM v") == [(6,)]
    sql = "WITH h AS (SELECT * FROM vector_top_k('chunks', 'q', 3)) SELECT sum(a.id) FROM h a JOIN h b ON a.id = b.rank"
    assert fetch(connection, sql) == [(6,)]


@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO vector_top_k VALUES (1, 2, 3)", "UPDATE vector_top_k SET id = 1", "DELETE FROM vector_top_k"],
)
def test_writes_are_refused(connection, binding, calls, statement):
    """The table is for reading."""
    with pytest.raises(binding.error, match="table vector_top_k may not be modified"):
        connection.execute(statement)
