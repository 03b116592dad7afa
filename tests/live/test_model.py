"""Whatever two clients write in whatever order, what is searchable after a sync is what a plain Python model holds."""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

import sqlrag
from sqlrag.engines.changed_rows import Limits
from sqlrag.indexing import table_indexes as live
from tests.live.content import assert_in_step, written_meanwhile
from tests.live.writers import WriteError
from tests.sizes import examples

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Dialect:
    """What differs from engine to engine, and from key to key: SQL, `?` for each value in the order of its name."""

    engine: str
    table: str
    key: str
    insert: str = "INSERT INTO review({key}, slug, body) VALUES (?, ?, ?)"
    replace: str = "INSERT OR REPLACE INTO review({key}, slug, body) VALUES (?, ?, ?)"
    ignore: str = "INSERT OR IGNORE INTO review({key}, slug, body) VALUES (?, ?, ?)"
    upsert: str = (
        "INSERT INTO review({key}, slug, body) VALUES (?, ?, ?) ON CONFLICT (slug) DO UPDATE SET body = excluded.body"
    )
    text: str = "UPDATE review SET body = ?2 WHERE {key} = ?1"
    slug: str = "UPDATE OR REPLACE review SET slug = ?2 WHERE {key} = ?1"
    move: str = "UPDATE OR REPLACE review SET {key} = ?2 WHERE {key} = ?1"
    stars: str = "UPDATE review SET stars = coalesce(stars, 0) + 1 WHERE {key} <> ?"
    delete: str = "DELETE FROM review WHERE {key} = ?"
    clear: str = "DELETE FROM review"
    rewritten: str = "VACUUM"
    """What gives rows without a key of their own other ones."""
    untracked: str = "DROP TRIGGER IF EXISTS reviews_source_{}"
    lasting: str = "PRAGMA synchronous = off"
    """What a connection begins with."""

    def sql(self, operation: str) -> str:
        """Return the statement of an operation."""
        return getattr(self, operation).replace("{key}", self.key)


COLUMNS = "slug TEXT UNIQUE, body TEXT, stars INT"
DIALECTS = {
    "sqlite, a key": Dialect("sqlite", f"CREATE TABLE review(id INTEGER PRIMARY KEY, {COLUMNS})", "id"),
    "sqlite, the rowid": Dialect("sqlite", f"CREATE TABLE review({COLUMNS})", "rowid"),
    "sqlite, without rowid": Dialect(
        "sqlite", f"CREATE TABLE review(id INT PRIMARY KEY, {COLUMNS}) WITHOUT ROWID", "id"
    ),
    # INSERT OR REPLACE takes no table with a second UNIQUE column, so no row has a slug.
    "duckdb": Dialect(
        "duckdb",
        "CREATE TABLE review(id INTEGER PRIMARY KEY, slug VARCHAR, body VARCHAR, stars INTEGER)",
        "id",
        text="UPDATE review SET body = $2 WHERE {key} = $1",
        lasting="SELECT 1",
    ),
}

Rows = dict[int, tuple[str | None, str | None]]
"""The model: slug and text of each row, by its key."""


class RefusedError(Exception):
    """A UNIQUE constraint would be violated."""


def _others(rows: Rows, key: int, slug: str | None) -> list[int]:
    """Return the other rows that have the slug."""
    return [other for other, (taken, _) in rows.items() if other != key and slug is not None and taken == slug]


def applied(rows: Rows, operation: str, values: tuple) -> Rows:  # noqa: C901 - one branch for each operation
    """Return what the rows are after an operation. Raises RefusedError."""
    rows = dict(rows)
    if operation in ("insert", "replace", "ignore", "upsert"):
        key, slug, body = values
        others = _others(rows, key, slug)
        if operation == "replace":
            rows = {other: row for other, row in rows.items() if other not in others}
        elif operation == "upsert" and (others or (slug is not None and rows.get(key, (None,))[0] == slug)):
            key = (others or [key])[0]
        elif key in rows or others:
            if operation == "ignore":
                return rows
            raise RefusedError
        rows[key] = (slug, body)
    elif operation == "text" and values[0] in rows:
        rows[values[0]] = (rows[values[0]][0], values[1])
    elif operation == "slug" and values[0] in rows:
        for other in _others(rows, *values):
            del rows[other]
        rows[values[0]] = (values[1], rows[values[0]][1])
    elif operation == "move" and values[0] in rows:
        rows[values[1]] = rows.pop(values[0])
    elif operation == "delete":
        rows.pop(values[0], None)
    elif operation == "clear":
        rows.clear()
    return rows


KEYS = st.integers(1, 6)
SLUGS = st.sampled_from([None, "a", "b", "c", "d"])
BODIES = st.sampled_from(
    [None, "", " ", "honeycomb", "Honeycomb", "bank", "comet ferry", "ferry comet", "walnut 🚋", "verb\0verb"]
)
FEWER_OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["insert", "replace", "ignore"]), st.tuples(KEYS, st.none(), BODIES)),
    st.tuples(st.just("text"), st.tuples(KEYS, BODIES)),
    st.tuples(st.sampled_from(["delete", "stars"]), st.tuples(KEYS)),
    st.tuples(st.just("clear"), st.just(())),
)
"""What DuckDB has of them."""
OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["insert", "replace", "ignore", "upsert"]), st.tuples(KEYS, SLUGS, BODIES)),
    st.tuples(st.just("slug"), st.tuples(KEYS, SLUGS)),
    st.tuples(st.just("move"), st.tuples(KEYS, KEYS)),
    FEWER_OPERATIONS,
)
CLIENTS = st.sampled_from(["plain", "sqlrag"])


class DuckDBClient:
    """A connection that does not know sqlrag; DuckDB lets no second process in."""

    def open(self, path: Path | str) -> None:
        """Connect to a file, and close the one before."""
        self.close()
        self._connection = duckdb.connect(path)

    def __call__(self, sql: str, *parameters) -> None:
        """Run a statement."""
        try:
            self._connection.execute(sql, list(parameters))
        except duckdb.ConstraintException as error:
            raise WriteError(str(error)) from error

    def close(self) -> None:
        """Close the connection, if there is one."""
        if connection := getattr(self, "_connection", None):
            connection.close()


class TwoClients(RuleBasedStateMachine):
    """A table with an index, a client that does not know sqlrag, and one that does; and what the table must hold."""

    def __init__(self, dialect: Dialect, client) -> None:
        super().__init__()
        self.dialect = dialect
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, f"model.{dialect.engine}")
        self.client = client
        self.client.open(self.path)
        self.client(dialect.table)
        self.rows: Rows = {}
        self.connect()
        self.db.create_index("reviews", "review", "body")

    def connect(self) -> None:
        self.db = sqlrag.connect(self.path, engine=self.dialect.engine)
        self.db.execute(self.dialect.lasting)

    def run(self, client: str, sql: str, *values) -> None:
        """Run a statement as one of the clients. Raises WriteError."""
        if client == "plain":
            self.client(sql, *values)
            return
        try:
            self.db.execute(sql, values or None).fetchall()
        except sqlrag.Error as error:
            raise WriteError(str(error)) from error

    def write(self, client: str, rows: Rows, operation: str, values: tuple) -> Rows:
        """Do the same to the table and to the model; return what that holds then."""
        try:
            rows = applied(rows, operation, values)
        except RefusedError:
            with pytest.raises(WriteError, match=r"(?i)unique|constraint"):
                self.run(client, self.dialect.sql(operation), *values)
        else:
            self.run(client, self.dialect.sql(operation), *values)
        return rows

    def write_meanwhile(self, operations: list[tuple]) -> None:
        """Let the other client write while texts are being embedded."""
        left = list(operations)

        def write():
            if left:
                self.rows = self.write("plain", self.rows, *left.pop(0))

        with written_meanwhile(write):
            self.db.sync()
        assert self.db.check() == []

    def check(self) -> None:
        """The index is in step, and looking again finds nothing to do."""
        assert_in_step(self.db, "reviews", {key: body for key, (_, body) in self.rows.items()}, vectors=False)
        assert self.db.info()[0].backlog == 0
        again = self.db.sync()
        assert (again.added, again.changed, again.removed, again.chunks) == (0, 0, 0, 0)

    @rule()
    def sync(self):
        """Everything is brought in."""
        self.db.sync()
        self.check()

    @rule()
    def query(self):
        """A query brings in so few rows itself."""
        found = self.db.execute("SELECT source_id FROM vector_top_k('reviews', 'ferry', 25) h JOIN reviews USING (id)")
        assert {key for (key,) in found} == {key for key, (_, body) in self.rows.items() if body and body.strip()}

    @rule()
    def open_again(self):
        """The client that knows sqlrag leaves and comes back."""
        self.db.close()
        if self.dialect.engine == "duckdb":  # a file is closed with the last of its connections
            self.client.open(self.path)
        self.connect()

    def teardown(self):
        """At the end vectors are looked at, too."""
        self.db.sync()
        self.check()
        assert_in_step(self.db, "reviews", {key: body for key, (_, body) in self.rows.items()})
        self.db.close()
        self.client.open(":memory:")
        self.folder.cleanup()


class TwoClientsOfSQLite(TwoClients):
    """Two processes, one of which uses Python's own sqlite3; triggers tell what it writes."""

    @rule(client=CLIENTS, operation=OPERATIONS)
    def statement(self, client, operation):
        """One statement of its own."""
        self.rows = self.write(client, self.rows, *operation)

    @rule(client=CLIENTS, operations=st.lists(OPERATIONS, max_size=4), end=st.sampled_from(["COMMIT", "ROLLBACK"]))
    def transaction(self, client, operations, end):
        """Several statements, kept together or not at all."""
        rows = self.rows
        self.run(client, "BEGIN")
        for operation in operations:
            rows = self.write(client, rows, *operation)
        self.run(client, end)
        self.rows = rows if end == "COMMIT" else self.rows

    @rule(client=CLIENTS, kept=OPERATIONS, undone=OPERATIONS, after=OPERATIONS)
    def savepoint(self, client, kept, undone, after):
        """A part of a transaction is rolled back."""
        self.run(client, "BEGIN")
        self.rows = self.write(client, self.rows, *kept)
        self.run(client, "SAVEPOINT here")
        self.write(client, self.rows, *undone)
        self.run(client, "ROLLBACK TO here")
        self.rows = self.write(client, self.rows, *after)
        self.run(client, "COMMIT")

    @rule()
    def compare(self):
        """Everything is looked at; the triggers have told all of it."""
        told = self.db.sync()
        report = self.db.sync(compare=True)
        assert told.backlog == 0
        assert (report.added, report.changed, report.removed) == (0, 0, 0)
        self.check()

    @rule(most=st.integers(0, 3))
    def sync_in_part(self, most):
        """Some rows are brought in; what is left is still queued."""
        before = live.sync(self.db._engine, "reviews", limits=Limits(rows=0)).backlog
        ((entries,),) = self.db.execute("SELECT count(*) FROM reviews_queue")
        left = live.sync(self.db._engine, "reviews", limits=Limits(rows=most)).backlog
        ((entries_left,),) = self.db.execute("SELECT count(*) FROM reviews_queue")
        # A row that was queued again behind others stays in the queue.
        assert max(0, before - most) <= left <= before
        assert entries_left <= max(0, entries - most)

    @rule(operations=st.lists(OPERATIONS, min_size=1, max_size=3))
    def sync_while_it_is_written(self, operations):
        """The other client writes while texts are being embedded."""
        self.write_meanwhile(operations)

    @rule(which=st.sampled_from(["insert", "update", "delete", "insert_1", "update_1"]))
    def lose_a_trigger(self, which):
        """Somebody drops one of the triggers."""
        self.client(self.dialect.untracked.format(which))

    @precondition(lambda self: self.rows)
    @rule(client=CLIENTS)
    def rewrite(self, client):
        """The file is written anew; rows without a key of their own get others."""
        self.run(client, self.dialect.rewritten)
        key = self.dialect.key
        found = {key: (slug, body) for key, slug, body in self.client.rows(f"SELECT {key}, slug, body FROM review")}
        assert sorted(found.values(), key=repr) == sorted(self.rows.values(), key=repr)
        assert key == "rowid" or found == self.rows
        self.rows = found


class TwoConnectionsToDuckDB(TwoClients):
    """Two connections of one process; what was written is found by comparing."""

    @rule(client=CLIENTS, operation=FEWER_OPERATIONS)
    def statement(self, client, operation):
        """One statement of its own."""
        self.rows = self.write(client, self.rows, *operation)

    @rule(operation=FEWER_OPERATIONS)
    def rolled_back(self, operation):
        """A transaction that comes to nothing."""
        self.run("plain", "BEGIN")
        self.write("plain", self.rows, *operation)
        self.run("plain", "ROLLBACK")

    @rule(operations=st.lists(FEWER_OPERATIONS, min_size=1, max_size=3))
    def sync_while_it_is_written(self, operations):
        """The other client writes while texts are being embedded."""
        self.write_meanwhile(operations)


@pytest.mark.sized
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_the_index_is_what_the_table_is(dialect, request):
    """Any sequence of writes, rollbacks, syncs whole and in part, by two clients."""
    sizes = settings(
        max_examples=examples(6, 25), stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
    )
    if dialect.engine == "sqlite":
        machine = partial(TwoClientsOfSQLite, dialect, request.getfixturevalue("client"))
        run_state_machine_as_test(machine, settings=sizes)
    else:
        with closing(DuckDBClient()) as client:
            run_state_machine_as_test(partial(TwoConnectionsToDuckDB, dialect, client), settings=sizes)
