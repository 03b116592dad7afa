"""What a table function raises, and Ctrl-C, on both bindings."""

from __future__ import annotations

import _thread
import sqlite3

import pytest

from sqlrag.errors import InputError
from tests.sqlite.bindings import APSW, fetch, table


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
    """APSW raises the original, sqlite3 its text; both work on."""
    failing = True

    def rows(x):
        if failing:
            raise error
        return [(x,)]

    binding.create(connection, table(rows))
    for _ in range(3):
        with pytest.raises(type(error) if binding.tells_the_original else sqlite3.OperationalError) as caught:
            fetch(connection, "SELECT * FROM f(1)")
        if binding.tells_the_original:
            assert caught.value is error
        else:
            assert str(caught.value) == text
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
