"""The same model on DuckDB: what two connections write is what is searchable after a sync."""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

import sqlrag
from tests.live.content import written_meanwhile
from tests.live.test_model import BODIES, KEYS, RefusedError, Rows, applied

SQL = {
    "insert": "INSERT INTO review (id, slug, body) VALUES (?, ?, ?)",
    "replace": "INSERT OR REPLACE INTO review (id, slug, body) VALUES (?, ?, ?)",
    "ignore": "INSERT OR IGNORE INTO review (id, slug, body) VALUES (?, ?, ?)",
    "text": "UPDATE review SET body = $2 WHERE id = $1",
    "stars": "UPDATE review SET stars = coalesce(stars, 0) + 1 WHERE id <> ?",
    "delete": "DELETE FROM review WHERE id = ?",
    "clear": "DELETE FROM review",
}
OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["insert", "replace", "ignore"]), st.tuples(KEYS, st.none(), BODIES)),
    st.tuples(st.just("text"), st.tuples(KEYS, BODIES)),
    st.tuples(st.sampled_from(["delete", "stars"]), st.tuples(KEYS)),
    st.tuples(st.just("clear"), st.just(())),
)
CLIENTS = st.sampled_from(["plain", "sqlrag"])


class TwoConnections(RuleBasedStateMachine):
    """A table with an index, a connection that does not know sqlrag, and one that does."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = str(Path(self.folder.name) / "model.duckdb")
        self.rows: Rows = {}
        self.connect()
        self.db.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, slug VARCHAR, body VARCHAR, stars INTEGER)")
        self.db.create_index("reviews", "review", "body")

    def connect(self) -> None:
        self.db = sqlrag.connect(self.path)
        self.plain = duckdb.connect(self.path)

    def write(self, client: str, rows: Rows, operation: str, values: tuple) -> Rows:
        """Do the same to the table and to the model; return what that holds then."""
        run = self.plain.execute if client == "plain" else self.db.execute
        try:
            rows = applied(rows, operation, values)
        except RefusedError:
            with pytest.raises((duckdb.ConstraintException, sqlrag.Error), match=r"(?i)constraint|duplicate"):
                run(SQL[operation], list(values))
        else:
            run(SQL[operation], list(values))
        return rows

    def check(self) -> None:
        """Every text has its chunks, and no other has; looking again finds nothing to do."""
        assert self.db.check() == []
        joined = "SELECT source_id, text FROM reviews ORDER BY source_id, ordinal"
        expected = [(key, body.strip()) for key, (_, body) in sorted(self.rows.items()) if body and body.strip()]
        assert self.db.execute(joined).fetchall() == expected
        assert sorted(key for (key,) in self.db.execute("SELECT source_id FROM reviews_rows")) == sorted(self.rows)
        assert self.db.backlog() == {}
        again = self.db.sync()
        assert (again.added, again.changed, again.removed, again.chunks) == (0, 0, 0, 0)

    @rule(client=CLIENTS, operation=OPERATIONS)
    def statement(self, client, operation):
        """One statement of its own."""
        self.rows = self.write(client, self.rows, *operation)

    @rule(operation=OPERATIONS)
    def rolled_back(self, operation):
        """A transaction that comes to nothing."""
        self.plain.execute("BEGIN")
        self.write("plain", self.rows, *operation)
        self.plain.execute("ROLLBACK")

    @rule()
    def sync(self):
        """Everything is brought in."""
        self.db.sync()
        self.check()

    @rule()
    def query(self):
        """A query brings in so few rows itself."""
        found = self.db.execute("SELECT source_id FROM vector_top_k('reviews', 'ferry', 25) h JOIN reviews USING (id)")
        wanted = {key for key, (_, body) in self.rows.items() if body and body.strip()}
        assert {key for (key,) in found} == wanted

    @rule(operations=st.lists(OPERATIONS, min_size=1, max_size=3))
    def sync_while_it_is_written(self, operations):
        """The other connection writes while texts are being embedded."""
        left = list(operations)

        def write():
            if left:
                self.rows = self.write("plain", self.rows, *left.pop(0))

        with written_meanwhile(write):
            self.db.sync()
        assert self.db.check() == []

    @rule()
    def open_again(self):
        """Both leave and come back."""
        self.plain.close()
        self.db.close()
        self.connect()

    def teardown(self):
        self.db.sync()
        self.check()
        self.plain.close()
        self.db.close()
        self.folder.cleanup()


def test_the_index_is_what_the_table_is():
    """Inserts, replaces, updates, deletes, rollbacks and syncs of two connections, in any order."""
    run_state_machine_as_test(
        TwoConnections,
        settings=settings(
            max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
