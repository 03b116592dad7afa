"""What a query does about rows that were just written, and what it says of those that it leaves."""

from __future__ import annotations

import sqlite3
import warnings

import duckdb
import pytest

import sqlrag
from sqlrag import errors
from tests.conftest import ENGINES, database_path
from tests.engine.databases import copy_of

WOMBATS = "Wombats sleep all day."
Q = "which animal sleeps long?"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """On each engine a database with a table of three texts and its index."""
    paths = {engine: database_path(tmp_path_factory.mktemp("fresh"), engine) for engine in ENGINES}
    for path in paths.values():
        with sqlrag.connect(path) as db:
            db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT, tag TEXT)")
            db.execute(
                "INSERT INTO note VALUES (1, 'It rains.', 'a'), (2, 'Bees dance.', 'a'), (3, 'Ships sail.', 'b')"
            )
            db.create_index("notes", "note", "body")
    return paths


@pytest.fixture
def path(made, engine, tmp_path):
    """A copy of one of them."""
    return copy_of(made[engine], tmp_path)


def write(path, *statements: str) -> None:
    """Write as a client does that knows nothing of sqlrag."""
    if path.suffix == ".duckdb":
        with duckdb.connect(str(path)) as connection:
            for statement in statements:
                connection.execute(statement)
    else:
        connection = sqlite3.connect(path)
        with connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()


def best(db: sqlrag.Database) -> str:
    return db.search(Q, "notes", top_n=1)[0].text


def test_a_query_finds_what_was_just_written(path):
    """Through search() in Python and through a statement; nothing is warned of."""
    write(path, f"INSERT INTO note VALUES (4, '{WOMBATS}', 'b')", "DELETE FROM note WHERE id = 1")
    with warnings.catch_warnings(), sqlrag.connect(path) as db:
        warnings.simplefilter("error")
        assert db.backlog() == {"notes": 2}
        rows = db.execute("SELECT text FROM search('notes', :q, 25, 1)", {"q": Q}).fetchall()
        assert rows == [(WOMBATS,)]
        assert db.backlog() == {}
        db.execute("UPDATE note SET body = 'Koalas sleep even longer.' WHERE id = 4")
        assert best(db) == "Koalas sleep even longer."


def test_other_columns_are_no_backlog(path):
    """A change of a column that is no text is seen by filters at once, and embeds nothing."""
    write(path, "UPDATE note SET tag = 'z' WHERE id = 2")
    with sqlrag.connect(path) as db:
        assert db.backlog() == {}
        assert [hit.source_id for hit in db.search(Q, "notes", filter="tag = 'z'")] == [2]
        assert db.sync().tokens == 0


def test_more_than_a_query_waits_for(path):
    """A query brings in so many rows, and says how many it leaves; sync brings in all."""
    values = ", ".join(f"({number}, 'Text number {number}.', 'c')" for number in range(10, 40))
    write(path, f"INSERT INTO note VALUES {values}")
    with sqlrag.connect(path, sync_rows=10) as db:
        with pytest.warns(
            errors.BacklogWarning, match=r"'notes' does not have 20 changed rows of note yet.*sqlrag sync"
        ):
            db.search(Q, "notes")
        assert [(info.backlog, info.chunks) for info in db.info()] == [(20, 13)]
        assert db.sync().added == 20
        assert db.backlog() == {}


def test_none_on_request(path):
    """sync_rows=0: queries only tell."""
    write(path, f"INSERT INTO note VALUES (4, '{WOMBATS}', 'b')")
    with sqlrag.connect(path, sync_rows=0) as db:
        with pytest.warns(errors.BacklogWarning, match="1 changed row of note"):
            assert best(db) != WOMBATS
        with pytest.raises(errors.InputError, match="sync_rows is -1"):
            sqlrag.connect(path, sync_rows=-1)


def test_read_only(path):
    """A connection that cannot write tells, too, and why it brings nothing in."""
    write(path, f"INSERT INTO note VALUES (4, '{WOMBATS}', 'b')")
    before = path.read_bytes()
    said = r"1 changed row of note yet \(this connection is read-only\)"
    with sqlrag.connect(path, read_only=True) as db:
        with pytest.warns(errors.BacklogWarning, match=said):
            assert best(db) != WOMBATS
        db.execute("BEGIN")
        with pytest.warns(errors.BacklogWarning, match=said):  # a COMMIT would not help
            assert best(db) != WOMBATS
    assert path.read_bytes() == before


def test_inside_a_transaction(path):
    """In a transaction of the user's nothing is brought in: it would be undone with it, or not be seen."""
    with sqlrag.connect(path) as db:
        db.execute("BEGIN")
        db.execute(f"INSERT INTO note VALUES (4, '{WOMBATS}', 'b')")
        with pytest.warns(errors.BacklogWarning, match="1 changed row"):
            assert best(db) != WOMBATS
        db.execute("ROLLBACK")
        assert db.backlog() == {}


def test_a_table_that_is_gone(path):
    """The index answers still, and says why it is not brought up to date."""
    write(path, "DROP TABLE note")
    with sqlrag.connect(path, read_only=True) as db:
        assert not db.is_fresh()
        assert [info.backlog for info in db.info()] == [None]
    with sqlrag.connect(path) as db:
        assert not db.is_fresh()
        assert [info.backlog for info in db.info()] == [None]
        with pytest.warns(errors.BacklogWarning, match="note, which is gone"):
            assert len(db.search(Q, "notes")) == 3
        assert db.check() == ["notes: its table note is gone"]
        with pytest.raises(errors.DatabaseError, match="note, which is gone"):
            db.sync()
        db.drop_index("notes")
        assert db.check() == []


@pytest.mark.parametrize("over", ["TABLE", "VIEW"])
def test_a_source_that_is_renamed(engine, tmp_path, over):
    """On SQLite an index follows its table to the new name. Another source is gone, and so is the index's freshness."""
    path = database_path(tmp_path, engine)
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE part (id INTEGER PRIMARY KEY, body TEXT)")
        db.execute("INSERT INTO part VALUES (1, 'It rains.')")
        db.execute("CREATE VIEW seen AS SELECT id, body FROM part")
        db.create_index("notes", "part" if over == "TABLE" else "seen", "body", key="id")
        assert db.is_fresh()
    if over == "VIEW":
        write(path, "DROP VIEW seen", "CREATE VIEW other AS SELECT id, body FROM part")
    else:
        write(path, "DROP VIEW seen", "ALTER TABLE part RENAME TO other")
    follows = (engine, over) == ("sqlite", "TABLE")
    for read_only in (True, False):
        with sqlrag.connect(path, read_only=read_only) as db:
            assert db.is_fresh() is follows
            assert [info.backlog for info in db.info()] == [0 if follows else None]


def test_a_table_made_again(path):
    """Dropped and made again with other rows, and no trigger: the next query notices."""
    write(path, "DROP TABLE note", "CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT, tag TEXT)")
    write(path, f"INSERT INTO note VALUES (1, '{WOMBATS}', 'a')")
    with sqlrag.connect(path) as db:
        assert best(db) == WOMBATS
        assert [hit.source_id for hit in db.search(Q, "notes")] == [1]
        assert db.check() == []


def test_a_view(engine, tmp_path):
    """A view is compared by sync; on SQLite a query does not read all of it."""
    with sqlrag.connect(database_path(tmp_path, engine)) as db:
        db.execute("CREATE TABLE part (id INTEGER, body TEXT)")
        db.execute("INSERT INTO part VALUES (1, 'It rains.'), (2, 'Bees dance.')")
        db.execute("CREATE VIEW seen AS SELECT id, 'seen: ' || body AS body FROM part")
        with pytest.raises(errors.InputError, match=r"seen is a view without a primary key.*key="):
            db.create_index("notes", "seen", "body")
        db.create_index("notes", "seen", "body", key="id")
        db.execute(f"INSERT INTO part VALUES (3, '{WOMBATS}')")
        report = db.sync("notes")
        assert (report.added, report.unchanged) == (1, 0)
        assert best(db) == f"seen: {WOMBATS}"
        db.execute("INSERT INTO part VALUES (3, 'twice')")
        with pytest.raises(errors.DatabaseError, match="several rows with the key 3"):
            db.sync("notes")
