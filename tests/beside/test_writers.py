"""A query beside a program that keeps a write transaction open."""

from __future__ import annotations

import apsw
import pytest

import sqlrag
from sqlrag.errors import BacklogWarning

MIGRATION = """
    BEGIN; CREATE TABLE made (id INTEGER PRIMARY KEY, body TEXT); INSERT INTO made SELECT * FROM note;
    DROP TABLE note; ALTER TABLE made RENAME TO note; COMMIT
"""


def test_triggers_that_cannot_be_made_now(tmp_path):
    """The triggers are gone and another connection is writing: a query warns of that, and does not wait for it."""
    path = tmp_path / "notes.db"
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)").fetchall()
        db.execute("INSERT INTO note VALUES (1, 'the ferry was late')").fetchall()
        db.create_index("notes", "note", "body")
    writer = apsw.Connection(str(path))
    writer.execute(MIGRATION)
    with sqlrag.connect(path) as db:
        writer.execute("BEGIN IMMEDIATE; INSERT INTO note VALUES (2, 'a kettle')")
        assert db.backlog() == {}
        with pytest.warns(BacklogWarning, match="its triggers on the table are gone"):
            assert [hit.source_id for hit in db.search("a ferry")] == [1]
        writer.execute("COMMIT")
        assert {hit.source_id for hit in db.search("a ferry", top_n=2)} == {1, 2}
    writer.close()
