"""D2: a comparison of many rows beside another connection that commits: nobody is told that the file is locked."""

from __future__ import annotations

import apsw
import pytest

import sqlrag
from sqlrag.engines.sqlite.row_texts import SourceRows

ROWS = 1_200
TRIGGERS = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'word'"


@pytest.fixture
def path(tmp_path):
    """A table of a thousand rows of few words, and a view of it; with a write-ahead log."""
    path = tmp_path / "compared.db"
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = WAL")
    with connection:
        connection.execute("CREATE TABLE word (id INTEGER PRIMARY KEY, text TEXT); CREATE TABLE other (x)")
        connection.executemany("INSERT INTO word VALUES (?, ?)", ((n, f"word {n % 9}") for n in range(ROWS)))
        connection.execute("CREATE VIEW words AS SELECT id, text FROM word")
    connection.close()
    return path


@pytest.fixture
def commits(path, monkeypatch):
    """Another connection that commits while rows are read."""
    all_rows = SourceRows.all
    other = apsw.Connection(str(path))
    other.set_busy_timeout(0)

    def reading(self):
        for number, row in enumerate(all_rows(self)):
            if number == ROWS // 2:
                other.execute("INSERT INTO other VALUES (1)")
            yield row

    monkeypatch.setattr(SourceRows, "all", reading)
    yield other
    other.close()


def test_d2_an_index_over_a_view_is_made_and_synced_while_others_commit(path, commits):
    """Every row differs at first, and later those that were changed."""
    with sqlrag.connect(path) as db:
        report = db.create_index("words_", table="words", text="text", key="id")
        assert (report.added, report.backlog) == (ROWS, 0)
        commits.execute("UPDATE word SET text = text || '!'")
        assert db.sync("words_").changed == ROWS
        assert db.check() == []


def test_d2_a_comparison_of_a_table_while_others_commit(path, commits):
    """The triggers were gone meanwhile: all is compared."""
    with sqlrag.connect(path) as db:
        db.create_index("words_", table="word", text="text")
    for (name,) in commits.execute(TRIGGERS).fetchall():
        commits.execute(f"DROP TRIGGER {name}")
    commits.execute("UPDATE word SET text = text || '?'")
    with sqlrag.connect(path) as db:
        assert db.sync("words_").changed == ROWS
        assert db.check() == []
