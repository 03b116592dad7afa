"""What an index lacks is a notice of PostgreSQL's, which each client shows in its own way."""

from __future__ import annotations

import sqlrag
from tests.postgres.conftest import serving


def test_f9_clients_are_warned(tmp_path):
    """A backlog, and triggers that a migration has taken away; not where the client wants no warnings."""
    path = tmp_path / "notes.db"
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
        db.execute("INSERT INTO note VALUES (1, 'It rains.'), (2, 'Bees dance.')")
        db.create_index("notes", "note", "body")
        search = "SELECT text FROM search('notes', 'weather', 5, 1)"
        with serving(path, "sqlite", "--time-limit", "60") as served, served.connect() as client:
            said: list[str] = []
            client.add_notice_handler(lambda notice: said.append(f"{notice.severity}: {notice.message_primary}"))
            client.execute(search).fetchall()
            assert said == []
            db.execute("INSERT INTO note VALUES (3, 'It snows.')")
            client.execute(search).fetchall()
            assert said.pop().startswith("WARNING: index 'notes' does not have 1 changed row of note yet")
            client.execute("SET client_min_messages = error")
            client.execute(search).fetchall()
            client.execute("SET client_min_messages = warning")
            assert said == []
            db.sync()
            db.execute("DROP TRIGGER notes_source_insert")
            client.execute(search).fetchall()
            assert said.pop().startswith("WARNING: index 'notes' may lack changes of note, as its triggers")
            assert said == []
