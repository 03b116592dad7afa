"""Whoever else has the file: connections of this process, other programs, forks, migrations and kills, in any order.

A plain dict says what the table holds. A query finds just that, or warns (BacklogWarning) that it may not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import duckdb
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

import sqlrag
from sqlrag.errors import BacklogWarning
from tests.beside.programs import Program, copied, plain_duckdb, plain_sqlite, syncing
from tests.conftest import database_path

pytestmark = pytest.mark.slow

KEYS = st.integers(1, 8)
WRITES = st.lists(st.tuples(st.sampled_from(["put", "put", "put", "delete"]), KEYS), min_size=1, max_size=3)
QUESTIONS = (
    "SELECT c.source_id, c.text FROM text_top_k('notes', 'parcel', 100) AS h JOIN notes AS c ON c.id = h.id",
    "SELECT c.source_id, c.text FROM \"text_top_k\"('notes', 'parcel', 100) AS h JOIN notes AS c ON c.id = h.id",
    "SELECT c.source_id, c.text FROM vector_top_k/* k */('notes', 'parcel', 100) AS h JOIN notes AS c ON c.id = h.id",
    "SELECT * FROM found",
)
"""One question in several forms: as it is documented, quoted, with a comment, through a view."""


class Company(RuleBasedStateMachine):
    """A table with an index, two connections of sqlrag in this process, and other programs."""

    engine: str
    plain: Callable[..., None]

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = database_path(Path(self.folder.name), self.engine)
        self.rows: dict[int, str] = {}
        self.edition = self.copies = 0
        self.first = sqlrag.connect(self.path)
        self.first.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body VARCHAR)").fetchall()
        self.first.create_index("notes", "note", "body")
        self.make_view()
        self.second = sqlrag.connect(self.path)

    def close(self) -> None:
        """Close the connections of this process."""
        self.first.close()
        self.second.close()

    def make_view(self) -> None:
        """Make the view that asks the index, where the engine lets a view of the file do so."""

    # What happens

    def put(self, run: Callable[..., Any], rows: dict[int, str], writes: list[tuple[str, int]]) -> dict[int, str]:
        """Write rows; return what the table holds then."""
        rows = dict(rows)
        for operation, key in writes:
            run("DELETE FROM note WHERE id = ?", key)
            rows.pop(key, None)
            if operation == "put":
                self.edition += 1
                rows[key] = f"parcel zq{key}e{self.edition}"
                run("INSERT INTO note VALUES (?, ?)", key, rows[key])
        return rows

    def ask(self, run: Callable[[str], list[Any]], question: str) -> None:
        """Ask; what is found is what the table holds, or a warning says that it may not be."""
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            found = dict(run(question))
        if not any(issubclass(warning.category, BacklogWarning) for warning in warned):
            assert found == self.rows, question

    def run(self, which: str) -> Callable[..., list[Any]]:
        """Return what runs a statement on one of the connections of this process."""
        return lambda sql, *values: getattr(self, which).execute(sql, list(values)).fetchall()

    @rule(which=st.sampled_from(["first", "second"]), writes=WRITES)
    def write(self, which, writes):
        """A connection of this process writes, a statement at a time."""
        self.rows = self.put(self.run(which), self.rows, writes)

    @rule(which=st.sampled_from(["first", "second"]), writes=WRITES, end=st.sampled_from(["COMMIT", "ROLLBACK"]))
    def transaction(self, which, writes, end):
        """A connection of this process writes in a transaction, and asks inside of it."""
        run, before = self.run(which), self.rows
        run("BEGIN")
        self.rows = self.put(run, before, writes)
        self.ask(run, QUESTIONS[0])
        run(end)
        self.rows = self.rows if end == "COMMIT" else before

    @rule(which=st.sampled_from(["first", "second"]), question=st.sampled_from(QUESTIONS))
    def question(self, which, question):
        """A connection of this process asks."""
        if question == QUESTIONS[-1] and not self.has_view:
            return
        self.ask(self.run(which), question)

    @rule(which=st.sampled_from(["first", "second"]))
    def sync(self, which):
        """A connection of this process brings everything in; then nothing is missing, and nothing warns."""
        db = self.first if self.second.read_only else getattr(self, which)
        assert db.sync().backlog == 0
        with warnings.catch_warnings():
            warnings.simplefilter("error", BacklogWarning)
            assert dict(self.run(which)(QUESTIONS[0])) == self.rows
        assert db.check() == []

    @rule(read_only=st.booleans())
    def open_again(self, read_only):
        """The second connection leaves and comes back."""
        self.second.close()
        self.reopen(read_only)

    def reopen(self, read_only: bool) -> None:
        self.second = sqlrag.connect(self.path)

    @rule(which=st.sampled_from(["first", "second"]))
    def fork(self, which):
        """A forked child asks the connection that it has inherited: an error; the parent goes on."""
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)  # one that hangs ends
            status = 1
            with contextlib.suppress(BaseException):
                try:
                    getattr(self, which).execute("SELECT count(*) FROM note").fetchall()
                except sqlrag.Error as error:
                    status = 0 if "fork" in str(error) else 2
            os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0

    @rule()
    def copy(self):
        """A copy of the live file, taken by `cp`, is whole and has all rows."""
        self.copies += 1
        path = copied(self.path, Path(self.folder.name) / f"copy{self.copies}")
        with sqlrag.connect(path) as db:
            db.sync()
            assert db.check() == []
            assert dict(db.execute(QUESTIONS[0]).fetchall()) == self.rows

    def teardown(self) -> None:
        """At the end everything is there, for this process and for another one."""
        self.first.sync()
        assert self.first.check() == []
        assert dict(self.run("first")("SELECT id, body FROM note")) == self.rows
        assert dict(self.run("first")(QUESTIONS[0])) == self.rows
        self.close()
        other = Program(syncing, self.path)
        assert other.opened is None
        assert other.ask("check") == ([], None)
        other.close()
        self.folder.cleanup()


class SQLiteCompany(Company):
    """On SQLite other programs write at the same time, and the application has a connection of its own."""

    engine = "sqlite"
    has_view = True

    def __init__(self) -> None:
        super().__init__()
        self.program = Program(plain_sqlite, self.path)
        self.registered = sqlrag.register(apsw.Connection(str(self.path)))

    def make_view(self) -> None:
        self.first.execute(f"CREATE VIEW found AS {QUESTIONS[0]}").fetchall()

    def reopen(self, read_only: bool) -> None:
        self.second = sqlrag.connect(self.path, read_only=read_only)

    def run(self, which: str) -> Callable[..., list[Any]]:
        if which == "second" and self.second.read_only:
            which = "first"
        return super().run(which)

    def close(self) -> None:
        super().close()
        self.registered.close()

    def elsewhere(self, sql: str, *values: Any) -> list[Any]:
        """Run a statement in the other program."""
        rows, error = self.program.ask(sql, *values)
        assert error is None, (sql, error)
        return rows

    @rule(writes=WRITES)
    def program_writes(self, writes):
        """An application that knows nothing of sqlrag writes."""
        self.rows = self.put(self.elsewhere, self.rows, writes)

    @rule(writes=WRITES)
    def program_dies(self, writes):
        """That application is killed in the middle of a transaction."""
        self.elsewhere("BEGIN IMMEDIATE")
        self.put(self.elsewhere, self.rows, writes)
        self.program.kill()
        self.program = Program(plain_sqlite, self.path)
        assert self.program.opened is None

    @rule(question=st.sampled_from(QUESTIONS[:1]))
    def question_beside_a_writer(self, question):
        """Another program holds a write transaction: the query answers all the same, and says what it may lack."""
        self.elsewhere("BEGIN IMMEDIATE")
        self.put(self.elsewhere, self.rows, [("put", 1)])
        self.ask(self.run("first"), question)
        self.elsewhere("ROLLBACK")

    @rule()
    def lock_is_held(self):
        """Calls of one connection leave the lock of the other's transaction as it is."""
        self.run("first")("BEGIN IMMEDIATE")
        self.second.info()
        self.second.backlog()
        sqlrag.connect(self.path, read_only=True).close()
        assert self.program.ask("BEGIN IMMEDIATE")[1] is not None
        self.run("first")("ROLLBACK")

    @rule()
    def migrate(self):
        """A migration makes the table anew, as sqlite-utils and Django do; its triggers are gone with it."""
        for sql in (
            "PRAGMA legacy_alter_table = ON",  # the view asks functions that this program does not have
            "BEGIN IMMEDIATE",
            "CREATE TABLE made (id INTEGER PRIMARY KEY, body VARCHAR)",
            "INSERT INTO made SELECT id, body FROM note",
            "DROP TABLE note",
            "ALTER TABLE made RENAME TO note",
            "COMMIT",
        ):
            self.elsewhere(sql)

    @rule(milliseconds=st.integers(0, 40))
    def another_sync_dies(self, milliseconds):
        """Another program with sqlrag is killed while it syncs."""
        other = Program(syncing, self.path)
        assert other.opened is None
        other.begin("sync")
        other.process.join(milliseconds / 1000)
        other.kill()

    @rule(question=st.sampled_from(QUESTIONS))
    def registered_question(self, question):
        """A connection of the application's own, with sqlrag registered, asks."""
        self.ask(lambda sql: self.registered.execute(sql).fetchall(), question)

    @precondition(lambda self: self.second.read_only)
    @rule(question=st.sampled_from(QUESTIONS))
    def read_only_question(self, question):
        """A connection for reading only asks."""
        self.ask(lambda sql: self.second.execute(sql).fetchall(), question)

    def teardown(self) -> None:
        self.program.close()
        super().teardown()


class DuckDBCompany(Company):
    """DuckDB lets one process in: another program is refused, and takes its turn when this one has left."""

    engine = "duckdb"
    has_view = False

    @rule()
    def refused(self):
        """Another program does not get in, whatever this process has opened and closed before."""
        sqlrag.connect(self.path).close()
        other = Program(plain_duckdb, self.path)
        assert other.opened is not None

    @rule(writes=WRITES)
    def plain_connection(self, writes):
        """A connection of the process that knows nothing of sqlrag writes."""
        with duckdb.connect(str(self.path)) as connection:
            self.rows = self.put(lambda sql, *values: connection.execute(sql, list(values)), self.rows, writes)

    @contextlib.contextmanager
    def out(self) -> Iterator[None]:
        """Leave the file to others in the block."""
        self.first.close()
        self.second.close()
        yield
        self.first = sqlrag.connect(self.path)
        self.second = sqlrag.connect(self.path)

    @rule(writes=WRITES, undone=WRITES)
    def program_writes_and_dies(self, writes, undone):
        """Another program writes, and is killed in the middle of its next transaction."""
        with self.out():
            other = Program(plain_duckdb, self.path)
            assert other.opened is None

            def run(sql: str, *values: Any) -> None:
                assert other.ask(sql, *values)[1] is None

            self.rows = self.put(run, self.rows, writes)
            run("BEGIN")
            self.put(run, self.rows, undone)
            other.kill()

    @rule(milliseconds=st.integers(0, 60))
    def another_sync_dies(self, milliseconds):
        """Another program with sqlrag is killed while it syncs."""
        with self.out():
            other = Program(syncing, self.path)
            assert other.opened is None
            other.begin("sync")
            other.process.join(milliseconds / 1000)
            other.kill()

    @rule()
    def migrate(self):
        """The table is made anew."""
        self.run("first")("CREATE OR REPLACE TABLE made (id INTEGER PRIMARY KEY, body VARCHAR)")
        for sql in (
            "INSERT INTO made SELECT id, body FROM note",
            "DROP TABLE note",
            "ALTER TABLE made RENAME TO note",
        ):
            self.run("first")(sql)


SETTINGS = settings(
    max_examples=4,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # a run takes a second: to shrink fifteen steps would take ten minutes
)
LONG = settings(SETTINGS, max_examples=25, stateful_step_count=25)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("company", [SQLiteCompany, DuckDBCompany], ids=["sqlite", "duckdb"])
@pytest.mark.parametrize("long", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["short", "long"])
def test_nothing_is_lost_and_nothing_stale(company, long):
    """Any sequence of writes, questions, syncs, forks, copies, migrations and kills."""
    run_state_machine_as_test(partial(company), settings=LONG if long else SETTINGS)
