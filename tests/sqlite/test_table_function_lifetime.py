"""How long table functions, their rows and connections live: memory, threads, the end of the interpreter."""

from __future__ import annotations

import gc
import sqlite3
import subprocess
import sys
import threading
import weakref

import pytest

from sqlrag.engines.sqlite import stdlib_tables
from tests.sqlite.bindings import APSW, Calls, fetch, table


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
from sqlrag.engines.sqlite import {module} as binding
from sqlrag.engines.sqlite.table_functions import TableFunction
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
