"""The functions in a DuckDB instance, which all connections of a process to one file share."""

from __future__ import annotations

import gc
import threading
import weakref

import duckdb
import pytest

import sqlrag
from sqlrag.engines.duckdb import instance_functions as registered
from sqlrag.engines.duckdb import session
from sqlrag.errors import InputError, ReadOnlyError, SQLError
from tests.engine.databases import copy_of

CONNECTIONS = 30
INTERNAL = "SELECT function_name FROM duckdb_functions() WHERE starts_with(function_name, '_sqlrag')"
SEARCH = "SELECT id FROM search('chunks', 'glacier ice', top_k := 4, top_n := 4)"


@pytest.fixture
def path(passage_files, tmp_path) -> str:
    """A database of the passages that the test may write."""
    return str(copy_of(passage_files["duckdb"], tmp_path))


@pytest.fixture
def beside(path):
    """A connection of DuckDB's own, which keeps the instance."""
    with duckdb.connect(path) as connection:
        yield connection


def internal(connection: duckdb.DuckDBPyConnection) -> int:
    """Return how many functions the instance has under sqlrag's internal names."""
    return len(connection.execute(INTERNAL).fetchall())


def registered_objects() -> tuple[int, int, int, int]:
    """Return the sizes of what the process knows of connections, and the number of its threads."""
    gc.collect()
    return len(session._open), len(registered._instances), len(registered._borrowers), threading.active_count()


def use_and_close(path: str) -> None:
    """Open a database, have its functions defined, which the first statement does, and close it."""
    with sqlrag.connect(path) as db:
        db.execute("SELECT 1").fetchall()


def leaves_nothing(beside: duckdb.DuckDBPyConnection, open_and_close) -> None:
    """Whatever opens and closes connections leaves functions, threads and what the process knows as they were."""
    open_and_close()
    before = internal(beside), registered_objects()
    for _ in range(CONNECTIONS):
        open_and_close()
    assert (internal(beside), registered_objects()) == before


def test_d1_connections_leave_nothing(path, beside):
    """After the last connection the instance has none of the functions, and the process knows of none."""
    leaves_nothing(beside, lambda: use_and_close(path))
    assert internal(beside) == 0


def test_d1_interleaved_connections_share_the_functions(path, beside):
    """The functions are there once, however many connections come and go, and the one that stays can use them."""
    with sqlrag.connect(path) as stays:
        others = [sqlrag.connect(path) for _ in range(5)]
        stays.execute("SELECT 1").fetchall()
        once = internal(beside)
        rows = {tuple(db.execute(SEARCH).fetchall()) for db in (stays, *others)}
        assert len(rows) == 1
        assert internal(beside) == once > 0
        leaves_nothing(beside, lambda: use_and_close(path))
        for db in others:
            db.close()
        assert len(stays.execute(SEARCH).fetchall()) == 4
        assert internal(beside) == once
    assert internal(beside) == 0


def test_d1_registered_connections_and_cursors_leave_nothing(path, beside):
    """The same for connections that somebody else opens, registers and closes, and for cursors."""

    def register_and_close() -> None:
        for connection in (duckdb.connect(path), beside.cursor()):
            sqlrag.register(connection)
            connection.close()

    leaves_nothing(beside, register_and_close)
    assert len(sqlrag.register(beside).execute(SEARCH).fetchall()) == 4


def test_d1_a_registered_connection_keeps_the_functions(path, beside):
    """The last Database leaves them to a connection that has them from `register`."""
    with sqlrag.connect(path):
        sqlrag.register(beside)
    assert len(beside.execute(SEARCH).fetchall()) == 4


def test_d1_connections_that_nobody_closes(path, beside):
    """A Database or registered connection that is dropped is gone with all it had."""
    before = internal(beside), registered_objects()
    db = sqlrag.connect(path)
    connection = sqlrag.register(duckdb.connect(path))
    gone = [weakref.ref(db), weakref.ref(connection)]
    del db, connection
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    assert registered_objects() == before[1]


def test_d1_a_closed_connection_lets_others_have_the_file(path):
    """No connection of ours stays open behind one that is closed: another process may have the file."""
    for open_one in (sqlrag.connect, lambda path: sqlrag.register(duckdb.connect(path))):
        opened = open_one(path)
        opened.close()
        duckdb.connect(path, read_only=True).close()  # refused while any connection of the instance is open to write


@pytest.mark.parametrize("ended", ["closed", "dropped", "made up"])
def test_x1_an_internal_function_of_a_connection_that_has_ended(path, beside, ended):
    """It says that the connection is closed; it used to end the process."""
    db = sqlrag.connect(path)
    token = db._engine._session.token if ended != "made up" else "0" * 32
    with sqlrag.connect(path) as other:
        other.execute("SELECT 1").fetchall()
        if ended == "closed":
            db.close()
        del db
        gc.collect()
        call = f"SELECT _sqlrag_search('{token}', 'chunks', 'ice', NULL, NULL, NULL, NULL)"
        with pytest.raises(duckdb.InvalidInputException, match="for a connection that has been closed"):
            beside.execute(call)


def test_x1_a_plan_of_a_connection_that_has_ended(path, beside):
    """A prepared statement over a function of a closed connection is an error, too."""
    with sqlrag.connect(path) as db:
        db.execute("SELECT 1").fetchall()
        token = db._engine._session.token
        beside.execute(f"PREPARE counting AS SELECT _sqlrag_token_count('{token}', 'ice' || $1, NULL)")
        assert beside.execute("EXECUTE counting('berg')").fetchall() != []
    with pytest.raises(duckdb.Error):
        beside.execute("EXECUTE counting('berg')").fetchall()


@pytest.mark.parametrize(
    "call",
    [
        "SELECT _sqlrag_search('{token}', 'chunks', 'ice', NULL, NULL, NULL, NULL)",
        "SELECT unnest(_SQLRAG_INFO('{token}', NULL))",
        "SELECT system.main._sqlrag_token_count('{token}', 'ice', NULL)",
        "SELECT \"_sqlrag_embed\"('{token}', 'ice')",
        "SELECT list_transform(['{token}'], t -> _sqlrag_token_count(t, 'ice', NULL))",
        "SELECT ('{token}')._sqlrag_token_count('ice', NULL)",
        "FROM range(3) WHERE _sqlrag_token_count('{token}', 'ice', NULL) > 0",
    ],
)
def test_x1_no_internal_function_in_a_confined_statement(path, call):
    """A client of a server cannot call one, not even with the token of its own connection."""
    with sqlrag.connect(path, read_only=True) as db:
        db.confine()
        with pytest.raises(ReadOnlyError, match="is not allowed"):
            db.execute(call.format(token=db._engine._session.token))
        assert len(db.execute(SEARCH).fetchall()) == 4


def test_x1_a_token_tells_nothing_of_another(path):
    """Each connection has its own, and sees only its own."""
    with sqlrag.connect(path) as one, sqlrag.connect(path) as other:
        other.execute("SELECT 1").fetchall()
        own = "SELECT count(*) FROM duckdb_functions() WHERE contains(macro_definition, ?)"
        assert one.execute(own, [one._engine._session.token]).fetchall()[0][0] > 0
        assert one.execute(own, [other._engine._session.token]).fetchall() == [(0,)]


def test_d1_connections_keep_their_settings(path):
    """The shared functions work with the settings of the connection that calls them."""
    with sqlrag.connect(path, rerank_limit=2) as few, sqlrag.connect(path) as many:
        assert len(many.execute(SEARCH).fetchall()) == 4
        with pytest.raises(sqlrag.errors.RerankLimitError):
            few.execute(SEARCH.replace("glacier ice", "a question that nobody has asked"))


def test_d1_in_memory(tmp_path):
    """A database in memory is an instance of its own."""
    with sqlrag.connect(":memory:", engine="duckdb") as one, sqlrag.connect(":memory:", engine="duckdb") as other:
        assert one.execute("SELECT token_count('ice')").fetchall() == [(1,)]
        assert other.execute("SELECT token_count('ice')").fetchall() == [(1,)]
    with duckdb.connect() as connection:
        sqlrag.register(connection)
        assert connection.execute("SELECT token_count('ice')").fetchall() == [(1,)]


def test_d1_register_within_a_transaction(path, beside):
    """A transaction that began before the functions were there does not see them, and says so."""
    beside.execute("BEGIN")
    beside.execute("SELECT sum(id) FROM chunks").fetchall()
    with pytest.raises(InputError, match=r"register\(\): the connection is in a transaction .* COMMIT or ROLLBACK"):
        sqlrag.register(beside)
    beside.execute("COMMIT")
    assert len(sqlrag.register(beside).execute(SEARCH).fetchall()) == 4
    beside.execute("BEGIN")
    assert len(sqlrag.register(beside).execute(SEARCH).fetchall()) == 4


def test_d1_threads_that_open_and_close_at_once(path, beside):
    """Whoever comes while the last one goes has the functions."""
    failed = []

    def work() -> None:
        try:
            for _ in range(20):
                with sqlrag.connect(path) as db:
                    assert db.execute("SELECT token_count('ice')").fetchall() == [(1,)]
        except (SQLError, AssertionError) as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert internal(beside) == 0
