"""What an application does with a connection of its own that `register` has given the functions.

Run as a program, with "apsw" or "sqlite3", a folder for files and folders of packages: prints, as JSON, what went wrong
in each scenario, None where nothing did. A program, since not each Python's sqlite3 can load extensions.
"""

from __future__ import annotations

import json
import os
import site
import sqlite3
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

for folder in sys.argv[3:]:
    site.addsitedir(folder)

import apsw  # noqa: E402

import sqlrag  # noqa: E402

Q = "which animal sleeps long?"
WOMBATS = "Wombats sleep all day."
SEARCH = f"SELECT text FROM search('notes', '{Q}', 25, 1)"
SCENARIOS: dict[str, Callable[[Application], None]] = {}


class Application:
    """A program that keeps notes in a database, through one binding."""

    def __init__(self, binding: str, path: str) -> None:
        self.binding = binding
        self.path = path
        self.Error = apsw.Error if binding == "apsw" else sqlite3.Error

    def open(self, **options: Any) -> Any:
        """Open the file, with the functions."""
        return sqlrag.register(self.plain(), **options)

    def plain(self) -> Any:
        """Open the file, through the same library, as a program that knows nothing of sqlrag."""
        return apsw.Connection(self.path) if self.binding == "apsw" else sqlite3.connect(self.path, timeout=3)

    def made(self, **options: Any) -> Any:
        """Open the file, with three notes and their index."""
        connection = self.open(**options)
        connection.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
        self.write(connection, "INSERT INTO note VALUES (1, 'It rains.'), (2, 'Bees dance.'), (3, 'Ships sail.')")
        assert rows(connection, "SELECT sqlrag_create_index('notes', 'note', 'body')") == [(3,)]
        return connection

    @staticmethod
    def write(connection: Any, *statements: str) -> None:
        """Write, in a transaction."""
        with connection:
            for statement in statements:
                connection.execute(statement)

    def refuses(self, connection: Any, sql: str, *words: str) -> None:
        """See that a statement fails, with words in its error."""
        try:
            rows(connection, sql)
        except (self.Error, sqlrag.Error) as error:
            message = str(error)
        else:
            raise AssertionError(f"{sql} does not fail")
        assert all(word in message for word in words), message


def scenario(function: Callable[[Application], None]) -> Callable[[Application], None]:
    """Add a function to the scenarios."""
    SCENARIOS[function.__name__] = function
    return function


def rows(connection: Any, sql: str, *bindings: Any) -> list[Any]:
    """Run a statement whose warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return list(connection.execute(sql, *bindings))


def warned(connection: Any, sql: str) -> str:
    """Run a statement, and return the one warning that it gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(connection.execute(sql))
    (one,) = caught
    assert one.category is sqlrag.BacklogWarning
    assert one.filename == __file__, one.filename  # the application's line
    return str(one.message)


@scenario
def a_whole_life(app: Application) -> None:
    connection = app.made()
    app.write(connection, f"INSERT INTO note VALUES (4, '{WOMBATS}')", "DELETE FROM note WHERE id = 1")
    assert rows(connection, "SELECT sqlrag_sync('notes')") == [(2,)]
    assert rows(connection, "SELECT sqlrag_sync()") == [(0,)]
    assert rows(connection, SEARCH) == [(WOMBATS,)]
    assert rows(connection, """SELECT sqlrag_alter_index('notes', '{"text": "note: {body}"}')""") == [(3,)]
    assert rows(connection, SEARCH) == [(f"note: {WOMBATS}",)]
    assert rows(connection, """SELECT sqlrag_reindex('notes', '{"vectors": "int8"}')""") == [(3,)]
    assert rows(connection, SEARCH) == [(f"note: {WOMBATS}",)]
    assert rows(connection, "SELECT vectors, backlog, chunks FROM sqlrag_info()") == [("int8", 0, 3)]
    assert rows(connection, "SELECT sqlrag_drop_index('notes')") == [(3,)]
    app.refuses(connection, SEARCH, "no index 'notes'")
    assert rows(connection, "SELECT count(*) FROM note") == [(3,)]


@scenario
def what_it_has_written_itself(app: Application) -> None:
    connection = app.made()
    app.write(connection, f"INSERT INTO note VALUES (4, '{WOMBATS}')")
    assert rows(connection, SEARCH) == [(WOMBATS,)]
    app.write(connection, "UPDATE note SET body = 'Koalas sleep even longer.' WHERE id = 4")
    assert rows(
        connection, f"WITH h AS (SELECT * FROM main.\"search\"('notes', '{Q}')) SELECT text FROM h LIMIT 1"
    ) == [("Koalas sleep even longer.",)]
    app.write(connection, "CREATE VIEW best AS " + SEARCH, "DELETE FROM note WHERE id = 4")
    assert rows(connection, "SELECT text FROM best")[0][0] in ("It rains.", "Bees dance.", "Ships sail.")


@scenario
def what_another_connection_has_written(app: Application) -> None:
    connection, other = app.made(), app.plain()
    app.write(other, f"INSERT INTO note VALUES (4, '{WOMBATS}')")
    assert rows(connection, SEARCH) == [(WOMBATS,)]
    other.close()


@scenario
def inside_of_a_transaction(app: Application) -> None:
    connection = app.made()
    if app.binding == "apsw":
        connection.execute("BEGIN")
    connection.execute(f"INSERT INTO note VALUES (4, '{WOMBATS}')")  # sqlite3 begins one by itself
    message = warned(connection, SEARCH)
    assert "1 changed row of note yet (a transaction is open on this connection" in message, message
    assert "SELECT sqlrag_sync()" in message
    app.refuses(connection, "SELECT sqlrag_sync()", "a transaction is open on this connection: COMMIT or ROLLBACK it")
    connection.execute("ROLLBACK")
    assert rows(connection, SEARCH) != [(WOMBATS,)]
    app.write(connection, f"INSERT INTO note VALUES (4, '{WOMBATS}')")
    assert rows(connection, SEARCH) == [(WOMBATS,)]


@scenario
def a_statement_that_writes(app: Application) -> None:
    connection = app.made()
    if app.binding == "sqlite3":
        connection.isolation_level = None
    connection.execute("CREATE TABLE log (rows)")
    connection.execute(f"INSERT INTO note VALUES (4, '{WOMBATS}')")
    delete = f"DELETE FROM note WHERE id IN (SELECT source_id FROM search('notes', '{Q}', 25, 1))"
    assert "the statement that asks also writes" in warned(connection, delete)
    app.refuses(connection, "INSERT INTO log SELECT sqlrag_sync()", "writes: do this in a statement of its own")
    assert rows(connection, "SELECT count(*) FROM log") == [(0,)]
    assert rows(connection, "SELECT sqlrag_sync()") == [(2,)]
    assert rows(connection, delete) == []
    assert rows(connection, "SELECT count(*) FROM note") == [(2,)]


@scenario
def a_cursor_that_is_half_read(app: Application) -> None:
    connection = app.made()
    half = connection.execute("SELECT id FROM note ORDER BY id")
    assert next(half) == (1,)
    assert rows(connection, "SELECT sqlrag_sync()") == [(0,)]
    app_rows = iter(connection.execute("SELECT body FROM note AS n, search('notes', n.body, 3, 1)"))
    next(app_rows)
    assert list(half) == [(2,), (3,)]
    assert len(list(app_rows)) == 2


@scenario
def read_only(app: Application) -> None:
    app.made().close()
    connection = app.open(read_only=True)
    app.refuses(connection, "SELECT sqlrag_sync()", "no such function: sqlrag_sync")
    app.write(connection, f"INSERT INTO note VALUES (4, '{WOMBATS}')")
    message = warned(connection, SEARCH)
    assert "(this connection is read-only): run: sqlrag sync " in message, message


@scenario
def none_on_request(app: Application) -> None:
    connection = app.made(sync_rows=0)
    app.write(connection, f"INSERT INTO note VALUES (4, '{WOMBATS}')")
    assert "1 changed row of note yet: run: SELECT sqlrag_sync()" in warned(connection, SEARCH)


@scenario
def not_from_a_view_or_trigger(app: Application) -> None:
    connection = app.made()
    app.write(connection, "CREATE VIEW trap AS SELECT sqlrag_drop_index('notes') AS rows")
    app.refuses(connection, "SELECT * FROM trap", "unsafe use of sqlrag_drop_index")
    app.write(connection, "CREATE TRIGGER trapped AFTER INSERT ON note BEGIN SELECT sqlrag_sync(); END")
    app.refuses(connection, "INSERT INTO note VALUES (9, 'x')", "unsafe use of sqlrag_sync")


@scenario
def a_migration(app: Application) -> None:
    connection = app.made()
    rows(connection, SEARCH)
    app.write(
        connection,
        "CREATE TABLE note_new (id INTEGER PRIMARY KEY, body TEXT, tag TEXT)",
        "INSERT INTO note_new (id, body) SELECT id, body FROM note",
        "DROP TABLE note",
        "ALTER TABLE note_new RENAME TO note",
        f"INSERT INTO note VALUES (4, '{WOMBATS}', 'a')",
    )
    assert rows(connection, SEARCH) == [(WOMBATS,)]
    app.write(connection, "DELETE FROM note WHERE id = 4")
    assert rows(connection, SEARCH) != [(WOMBATS,)]


@scenario
def factories_of_its_own(app: Application) -> None:
    connection = app.made()
    if app.binding == "sqlite3":
        connection.row_factory = lambda _cursor, row: {"row": row}
        connection.text_factory = bytes
    else:
        connection.row_trace = lambda _cursor, row: {"row": row}
    app.write(connection, f"INSERT INTO note VALUES (4, '{WOMBATS}')")
    assert rows(connection, "SELECT sqlrag_sync()") == [{"row": (1,)}]
    app.write(connection, "DELETE FROM note WHERE id = 4")
    ((found,),) = rows(connection, SEARCH)[0].values()
    assert found not in (WOMBATS, WOMBATS.encode())


@scenario
def its_timeout_stays(app: Application) -> None:
    connection = app.made()
    list(connection.execute("PRAGMA busy_timeout = 2345"))
    app.write(connection, f"INSERT INTO note VALUES (4, '{WOMBATS}')")
    assert rows(connection, SEARCH) == [(WOMBATS,)]
    assert rows(connection, "PRAGMA busy_timeout") == [(2345,)]


@scenario
def somebody_else_writes(app: Application) -> None:
    connection, other = app.made(), app.plain()
    app.write(connection, f"INSERT INTO note VALUES (4, '{WOMBATS}')")
    other.execute("BEGIN IMMEDIATE")
    assert "1 changed row of note yet" in warned(connection, SEARCH)
    other.execute("ROLLBACK")
    assert rows(connection, SEARCH) == [(WOMBATS,)]
    other.close()


@scenario
def temporary_tables_of_the_same_names(app: Application) -> None:
    connection = app.made()
    for name in ("note", "notes", "notes_rows", "notes_queue", "notes_fts", "notes_vec", "sqlrag_indexes"):
        connection.execute(f"CREATE TEMP TABLE {name} (id, body)")
    app.write(connection, f"INSERT INTO main.note VALUES (4, '{WOMBATS}')")
    assert rows(connection, SEARCH) == [(WOMBATS,)]
    app.write(connection, "DELETE FROM main.note WHERE id = 4")
    assert rows(connection, "SELECT sqlrag_sync()") == [(1,)]


@scenario
def in_memory(app: Application) -> None:
    connection = Application(app.binding, ":memory:").made()
    app.write(connection, f"INSERT INTO note VALUES (4, '{WOMBATS}')")
    assert rows(connection, SEARCH) == [(WOMBATS,)]


def main() -> None:
    """Run the scenarios, each in a file of its own; through a log in every second one."""
    binding, folder = sys.argv[1:3]
    outcomes: dict[str, str | None] = {}
    for number, (name, run) in enumerate(SCENARIOS.items()):
        app = Application(binding, os.path.join(folder, f"{name}.db"))
        if number % 2:
            plain = app.plain()
            list(plain.execute("PRAGMA journal_mode = WAL"))
            plain.close()
        try:
            run(app)
        except BaseException:  # noqa: BLE001 - whatever it is, it is told
            outcomes[name] = traceback.format_exc()
        else:
            outcomes[name] = None
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
