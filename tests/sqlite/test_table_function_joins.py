"""Table functions in joins, and SQL inside of them."""

from __future__ import annotations

import pytest

from tests.sqlite.bindings import fetch, table

JOINS = [
    "vector_top_k('chunks', 'q', 25) AS h JOIN chunks AS c ON c.id = h.id",
    "chunks AS c JOIN vector_top_k('chunks', 'q', 25) AS h ON c.id = h.id",
    "chunks AS c, vector_top_k('chunks', 'q', 25) AS h WHERE h.id = c.id AND c.source_id > 0",
    "vector_top_k('chunks', 'q', 25) AS h JOIN chunks AS c ON c.id = h.id WHERE c.source_id BETWEEN 1 AND 90",
]


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("analyzed", [False, True], ids=["", "analyzed"])
def test_joins_start_from_the_candidates(connection, calls, chunks, join, analyzed):
    """The function is the outer loop and chunks are looked up by key, in either order of the text."""
    if analyzed:
        connection.execute("ANALYZE")
    plan = [row[3] for row in fetch(connection, f"EXPLAIN QUERY PLAN SELECT c.text FROM {join} ORDER BY h.rank")]
    assert plan[0].startswith("SCAN h VIRTUAL TABLE")
    assert plan[1] == "SEARCH c USING INTEGER PRIMARY KEY (rowid=?)"
    assert len(fetch(connection, f"SELECT c.text FROM {join}")) == 25
    assert calls == [("chunks", "q", 25, None)]


def test_small_tables_do_not_turn_the_join_round(connection, calls):
    """Also with three chunks, and statistics that say so, the function comes first."""
    connection.execute("CREATE TABLE chunks(id INTEGER PRIMARY KEY)")
    connection.execute("INSERT INTO chunks VALUES (1), (2), (3)")
    connection.execute("ANALYZE")
    plan = fetch(connection, f"EXPLAIN QUERY PLAN SELECT c.id FROM {JOINS[1]}")
    assert plan[0][3].startswith("SCAN h VIRTUAL TABLE")


def test_an_inner_loop_calls_once(connection, calls, chunks):
    """Where the statement forces the function into the inner loop, its rows are used again."""
    sql = "SELECT count(*) FROM chunks AS c CROSS JOIN vector_top_k('chunks', 'q', 25) AS h WHERE h.id = c.id"
    assert fetch(connection, sql) == [(25,)]
    assert calls == [("chunks", "q", 25, None)]


def test_equal_numbers_of_other_types_are_other_arguments(connection, binding):
    """1 and 1.0, which Python calls equal, are two calls."""
    binding.create(connection, table(lambda x: [(repr(x),)]))
    rows = fetch(connection, "SELECT a FROM (SELECT 1 AS n UNION ALL SELECT 1.0), f(n)")
    assert rows == [("1",), ("1.0",)]


@pytest.mark.parametrize(
    "source",
    [
        "queries AS q, vector_top_k('chunks', q.text, q.k) AS h",
        "vector_top_k('chunks', q.text, q.k) AS h, queries AS q",
    ],
    ids=["after", "before"],
)
def test_lateral(connection, calls, chunks, source):
    """Arguments come from another table of the same FROM, wherever it stands."""
    connection.execute("CREATE TABLE queries(text, k, filter)")
    connection.execute("INSERT INTO queries VALUES ('a', 1, NULL), ('b', 2, 'x'), ('b', 2, 'x')")
    rows = fetch(connection, f"SELECT q.text, c.text FROM {source} JOIN chunks AS c ON c.id = h.id")
    assert rows == [("a", "chunk 1"), *[("b", "chunk 1"), ("b", "chunk 2")] * 2]
    assert calls == [("chunks", "a", 1, None), ("chunks", "b", 2, None)]
    calls.clear()
    fetch(connection, "SELECT * FROM vector_top_k('chunks', 'q', 1, q.filter) AS h, queries AS q")
    assert calls == [("chunks", "q", 1, None), ("chunks", "q", 1, "x")]


def test_outer_join_keeps_the_row_without_results(connection, calls):
    """LEFT JOIN gives NULLs for a query without results, and no error."""
    connection.execute("CREATE TABLE queries(text, k)")
    connection.execute("INSERT INTO queries VALUES ('a', 0), (NULL, 1)")
    sql = "SELECT q.k, h.id FROM queries AS q LEFT JOIN vector_top_k('chunks', q.text, q.k) AS h"
    assert fetch(connection, sql) == [(0, None), (1, 1)]


# SQL inside


def test_rows_run_sql_on_the_same_connection(connection, binding, chunks):
    """A function may read, write and call table functions while the statement that called it is running."""
    connection.execute("CREATE TABLE log(x)")

    def read(x):
        connection.execute("INSERT INTO log VALUES (?)", (x,))
        return fetch(connection, "SELECT id FROM chunks WHERE id <= ?", (x,))

    binding.create(connection, table(read, "inner_ids"))
    binding.create(connection, table(lambda x: fetch(connection, "SELECT a FROM inner_ids(?) ORDER BY a DESC", (x,))))
    assert fetch(connection, "SELECT c.id, f.a FROM chunks c, f(c.id) WHERE c.id <= 2") == [(1, 1), (2, 2), (2, 1)]
    assert fetch(connection, "SELECT x FROM log") == [(1,), (2,)]


def test_recursion(connection, binding):
    """A function may call itself."""
    sql = "SELECT a FROM f(?)"
    binding.create(connection, table(lambda x: [*fetch(connection, sql, (x - 1,)), (x,)] if x else []))
    assert fetch(connection, sql, (20,)) == [(x,) for x in range(1, 21)]
