"""Table functions in connections of the standard library's sqlite3, and where they can't be had."""

from __future__ import annotations

import sqlite3

import pytest

from sqlrag.engines.sqlite import stdlib_tables
from sqlrag.errors import InputError, MissingDependencyError
from sqlrag.store.driver import stdlib_library
from tests.sqlite.bindings import Calls


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
