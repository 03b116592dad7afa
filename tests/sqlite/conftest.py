"""Connections of both bindings, with a table function and a table that it can be joined to."""

from __future__ import annotations

import sqlite3

import pytest

from sqlrag.errors import MissingDependencyError
from sqlrag.store.driver import stdlib_library
from tests.sqlite.bindings import APSW, Calls, Stdlib


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
