"""Table functions on both bindings: APSW and the standard library's sqlite3."""

from __future__ import annotations

import _thread
import gc
import sqlite3
import subprocess
import sys
import threading
import weakref

import apsw
import pytest

from sqlrag.errors import InputError, MissingDependencyError
from sqlrag.sqlite import apsw_tables, stdlib_library, stdlib_tables
from sqlrag.sqlite.table_functions import TableFunction


class APSW:
    """The binding to apsw."""

    create = staticmethod(apsw_tables.create)
    Connection = apsw.Connection
    error = apsw.Error
    tells_the_original = True


class Stdlib:
    """The binding to sqlite3."""

    create = staticmethod(stdlib_tables.create)
    Connection = sqlite3.Connection
    error = sqlite3.Error
    tells_the_original = False


@pytest.fixture(params=[APSW, Stdlib], ids=["apsw", "stdlib"])
def binding(request):
    if request.param is Stdlib:
        request.getfixturevalue("stdlib")
    return request.param


@pytest.fixture
def stdlib():
    """A connection of the standard library, where it can have table functions."""
    try:
        stdlib_library.library()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    connection = sqlite3.connect(":memory:")
    yield connection
    connection.close()


@pytest.fixture
def connection(binding):
    connection = binding.Connection(":memory:")
    yield connection
    connection.close()


class Calls(list):
    """`vector_top_k` with rows that can be told: ids from 1, halves as distances; remembers its arguments."""

    def rows(self, index, query, k, expression):
        self.append((index, query, k, expression))
        return [(place, place / 2, place) for place in range(1, k + 1)]

    def function(self):
        return TableFunction(
            "vector_top_k", ("id", "distance", "rank"), ("index", "query", "k", "filter"), 3, self.rows
        )


@pytest.fixture
def calls(connection, binding):
    calls = Calls()
    binding.create(connection, calls.function())
    return calls


@pytest.fixture
def chunks(connection):
    """A table of 10,000 chunks that the function's ids refer to."""
    connection.execute("CREATE TABLE chunks(id INTEGER PRIMARY KEY, source_id INTEGER, text TEXT)")
    connection.execute(
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 10000) "
        "INSERT INTO chunks SELECT i, i % 100, 'chunk ' || i FROM n"
    )
    connection.execute("CREATE INDEX by_source ON chunks(source_id)")


def table(rows, name="f", columns=("a",), parameters=("x",), required=0):
    return TableFunction(name, columns, parameters, required, rows)


def fetch(connection, sql, parameters=()):
    return connection.execute(sql, parameters).fetchall()


# Calls


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


# Joins

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


# Errors


class NamelessError(Exception):
    """An error without a text."""


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InputError("k is -1: give 1 or more, 100% of the time"), "k is -1: give 1 or more, 100% of the time"),
        (NamelessError(), "NamelessError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (ValueError("café \ud800"), "café ?"),
    ],
    ids=["text", "nameless", "interrupt", "surrogate"],
)
def test_errors_reach_the_caller(connection, binding, error, text):
    """APSW raises the original, sqlite3 its text; both hand the original to the hook, and work on."""
    hook = []
    failing = True

    def rows(x):
        if failing:
            raise error
        return [(x,)]

    binding.create(connection, table(rows), hook.append)
    for _ in range(3):
        with pytest.raises(type(error) if binding.tells_the_original else sqlite3.OperationalError) as caught:
            fetch(connection, "SELECT * FROM f(1)")
        if binding.tells_the_original:
            assert caught.value is error
        else:
            assert str(caught.value) == text
    assert [one is error for one in hook] == [True] * 3
    failing = False
    assert fetch(connection, "SELECT * FROM f(1)") == [(1,)]


def test_an_error_is_not_remembered_as_a_result(connection, binding):
    """After an error, the same arguments are a new call."""
    outcomes = iter([ZeroDivisionError("no"), None])

    def rows(x):
        if error := next(outcomes):
            raise error
        return [(x,)]

    binding.create(connection, table(rows))
    sql = "SELECT * FROM f(1)"
    with pytest.raises((ZeroDivisionError, sqlite3.OperationalError), match="no"):
        fetch(connection, sql)
    assert fetch(connection, sql) == [(1,)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id, ctrl_c(), distance FROM vector_top_k('c', 'q', 3)",
        "SELECT count(*) FROM vector_top_k('c', 'q', 3) WHERE ctrl_c() IS NOT NULL",
        "SELECT count(*) FROM vector_top_k('c', 'q', 3) WHERE rank <> 3 OR ctrl_c() IS NULL",
        "SELECT ctrl_c(), vector_top_k.rowid FROM vector_top_k('c', 'q', 3)",
        "WITH o AS MATERIALIZED (SELECT ctrl_c() AS n) SELECT o.n, id FROM o, vector_top_k('c', 'q', 3)",
        "SELECT id FROM (SELECT 1 AS n UNION ALL SELECT 2) CROSS JOIN vector_top_k('c', 'q', n + (ctrl_c() IS NULL))",
    ],
    ids=["column", "next", "last", "rowid", "open", "filter"],
)
def test_ctrl_c_between_two_callbacks(connection, binding, calls, sql):
    """Python notices it on entering the next callback, before its first line: an error, no crash, no wrong row."""
    # A function in C, so that no line of Python runs before the callback that is to be hit.
    create = connection.create_scalar_function if binding is APSW else connection.create_function
    if binding is APSW:
        create("ctrl_c", _thread.interrupt_main, 0)
    else:
        create("ctrl_c", 0, _thread.interrupt_main)
    with pytest.raises((KeyboardInterrupt, sqlite3.OperationalError)):
        fetch(connection, sql)
    assert fetch(connection, "SELECT id, distance FROM vector_top_k('c', 'q', 2)") == [(1, 0.5), (2, 1.0)]


# Memory


class Rows(list):
    """Rows that can be watched."""

    __hash__ = object.__hash__


def test_rows_are_given_back(connection, binding):
    """What ran before does not pile up, also when cursors were left half-way and several were open."""
    alive = weakref.WeakSet()
    made = 0

    def rows(x):
        nonlocal made
        made += 1
        watched = Rows([(x,), (x,)])
        alive.add(watched)
        return watched

    binding.create(connection, table(rows))
    for number in range(300):
        outer = connection.execute("SELECT a FROM f(?)", (number,))
        inner = connection.execute("SELECT f.a FROM f(?), f(2) AS g", (number,))
        assert (next(outer), next(inner)) == ((number,), (number,))
        del outer, inner
    gc.collect()
    assert made == 900
    assert len(alive) < 10


def test_function_lives_as_long_as_the_connection(binding):
    """It is kept for the connection, and freed with it."""
    for close in (True, False):
        connection = binding.Connection(":memory:")
        calls = Calls()
        watched = weakref.ref(calls)
        binding.create(connection, calls.function())
        del calls
        gc.collect()
        assert len(fetch(connection, "SELECT * FROM vector_top_k('c', 'q', 3)")) == 3
        if close:
            connection.close()
        del connection
        gc.collect()
        assert watched() is None


def test_created_again(connection, binding):
    """A function of the same name takes the place of the first."""
    for name in ("first", "second", "third"):
        binding.create(connection, table(lambda x, name=name: [(f"{name} {x}",)]))
        assert fetch(connection, f"SELECT a FROM f('{name}')") == [(f"{name} {name}",)]


def test_created_again_for_statements_in_the_cache(stdlib):
    """sqlite3's statement cache forgets the plan with the old function, which is freed."""
    sql = "SELECT a FROM f(1)"
    first = Calls()
    watched = weakref.ref(first)
    stdlib_tables.create(stdlib, table(lambda x, kept=first: [(f"{len(kept)} {x}",)]))
    assert fetch(stdlib, sql) == [("0 1",)]
    del first
    stdlib_tables.create(stdlib, table(lambda x: [(f"second {x}",)]))
    assert fetch(stdlib, sql) == [("second 1",)]
    gc.collect()
    assert watched() is None


def test_closed_while_an_exception_is_on_its_way(binding):
    """The exception arrives as it is when cursors and connections die on its way."""

    def opened():
        connection = binding.Connection(":memory:")
        binding.create(connection, Calls().function())
        connection.execute("SELECT * FROM vector_top_k('c', 'q', 3)").fetchone()
        return connection

    sql = "SELECT id FROM vector_top_k('c', 'q', 3)"
    with pytest.raises(ZeroDivisionError):
        [1 // 0 for _ in opened().execute(sql)]
    with pytest.raises(AttributeError, match="nothing"):
        _ = opened().execute(sql).nothing
    with pytest.raises(binding.error, match="syntax error"):
        opened().execute("nonsense")


def test_interpreter_ends_with_everything_open(binding):
    """Connections and cursors that nobody closed are no trouble at the end; one binding is enough."""
    module = binding.create.__module__.rpartition(".")[2]
    program = f"""
import sys
from sqlrag.sqlite import {module} as binding
from sqlrag.sqlite.table_functions import TableFunction
{"from apsw import Connection" if module == "apsw_tables" else "from sqlite3 import Connection"}
assert ({{"apsw", "sqlite3"}} - {{Connection.__module__.partition(".")[0]}}).isdisjoint(sys.modules)
def opened():
    connection = Connection(":memory:")
    rows = lambda x: list(connection.execute("VALUES (1), (2), (3)"))
    binding.create(connection, TableFunction("f", ("a",), ("x",), 0, rows))
    cursor = connection.execute("SELECT a FROM f(1)")
    next(cursor)
    return connection, cursor
kept = opened()
for module in list(sys.modules.values()):
    if module.__name__ == "threading":
        module.kept = opened()
class Cycle: pass
cycle = Cycle()
cycle.itself, cycle.kept = cycle, opened()
print(list(kept[1]))
"""
    run = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", program], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "[(2,), (3,)]\n", "")


def test_many_connections(binding):
    """Hundreds of connections, opened and closed among queries, each with its own function."""
    kept = []
    for number in range(300):
        connection = binding.Connection(":memory:")
        binding.create(connection, table(lambda x, number=number: [(number,), (x,)]))
        kept.append((number, connection))
        if number % 3 == 0:
            kept.pop(0)[1].close()
        if number % 50 == 0:
            gc.collect()
        for expected, one in kept[-3:]:
            assert fetch(one, "SELECT a FROM f(-1)") == [(expected,), (-1,)]


def test_threads(binding):
    """Threads with a connection each, and threads that hand one around."""
    shared = binding.Connection(":memory:") if binding is APSW else sqlite3.connect(":memory:", check_same_thread=False)
    turn = threading.Lock()
    binding.create(shared, Calls().function())
    failures = []

    def work():
        try:
            own = binding.Connection(":memory:")
            binding.create(own, Calls().function())
            for k in range(100):
                rows = fetch(own, "SELECT id FROM vector_top_k('c', 'q', ?)", (k,))
                with turn:
                    assert fetch(shared, "SELECT id FROM vector_top_k('c', 'q', ?)", (k,)) == rows
                assert len(rows) == k
            own.close()
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    shared.close()


# The standard library's connection


def test_what_is_no_open_connection(stdlib):
    """Nothing but an open connection of sqlite3 is touched."""
    with pytest.raises(InputError, match=r"connection is a Cursor: it must be a sqlite3\.Connection"):
        stdlib_tables.create(stdlib.cursor(), Calls().function())
    closed = sqlite3.connect(":memory:")
    closed.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        stdlib_tables.create(closed, Calls().function())


def test_connections_of_a_subclass(stdlib):
    """A factory's connections have the function too."""

    class Mine(sqlite3.Connection):
        pass

    connection = sqlite3.connect(":memory:", factory=Mine)
    connection.row_factory = sqlite3.Row
    stdlib_tables.create(connection, Calls().function())
    assert [row["id"] for row in connection.execute("SELECT id FROM vector_top_k('c', 'q', 2)")] == [1, 2]
    connection.close()


def test_a_library_that_is_hidden(stdlib, monkeypatch):
    """Where the C functions can't be found, one line says so and what to do."""
    monkeypatch.setattr(stdlib_library, "Library", lambda _: (_ for _ in ()).throw(AttributeError("no symbol")))
    with pytest.raises(MissingDependencyError, match=r"hides its SQLite library.*sqlrag\.connect\(path\)"):
        stdlib_library.library.__wrapped__()


def test_a_library_or_layout_that_is_another_one(stdlib, monkeypatch):
    """A handle that SQLite does not confirm is not used."""
    monkeypatch.setattr(stdlib_library.Library, "handle", lambda *_: 0xDEAD0000)
    with pytest.raises(MissingDependencyError, match="hides its SQLite library"):
        stdlib_library.library.__wrapped__()
