"""Indexes that were damaged: check says what is wrong, repair makes them whole, the user's table stays as it is."""

from __future__ import annotations

from contextlib import closing

import apsw
import pytest

import sqlrag
from sqlrag.engines.sqlite.functions import load_vec
from sqlrag.errors import DatabaseError
from tests.conftest import PASSAGES, database_path

Q = "how long does a flight take"

DAMAGE = {
    "sqlite": {
        "a vector is gone": (["DELETE FROM chunks_vec WHERE rowid = 3"], "chunks: 1 chunks have no vector"),
        "a trigger is gone, and a chunk": (
            ["DROP TRIGGER chunks_vector_after_delete", "DELETE FROM chunks WHERE id = 4"],
            "chunks: chunks_vector_after_delete is gone",
        ),
        "the words are other words": (["DELETE FROM chunks_fts_data WHERE id > 10"], "the full text does not match"),
        "a trigger of the table is gone": (
            ["DROP TRIGGER notes_source_update", "UPDATE note SET body = 'Wombats sleep all day.' WHERE id = 2"],
            "notes: the triggers on note are not those",
        ),
        "a text of a chunk is another": (["UPDATE notes SET text = 'x' WHERE id = 5"], "notes: 1 chunks have a text"),
        "the full text is gone": (["DROP TABLE notes_fts"], "notes: notes_fts is gone"),
        "a document is gone": (["DELETE FROM documents WHERE id = 3"], "chunks: 1 chunks have no row in documents"),
        "a block of vectors is cut": (
            ["UPDATE chunks_vec_vector_chunks00 SET vectors = substr(vectors, 1, 100)"],
            "the vectors of index 'chunks' are damaged",
        ),
        "a vector is zero": (
            ["UPDATE notes_vec SET embedding = zeroblob(1536) WHERE rowid = 2"],
            "notes: 1 vectors are not of unit length",
        ),
        "what is known of rows is gone": (["DROP TABLE notes_rows"], "notes: notes_rows is gone"),
        "the queue is gone": (["DROP TABLE notes_queue"], "notes: notes_queue is gone"),
        "the chunks are gone": (["DROP TABLE chunks"], "chunks: chunks is gone"),
        "the chunks of a table are gone": (
            ["DROP TABLE notes"],
            "notes: notes is gone: sqlrag check --repair makes the index anew",
        ),
        "a chunk that no row has": (
            [
                "INSERT INTO notes (id, source_id, ordinal, start_char, end_char, text, token_count) "
                "VALUES (999, 999, 0, 0, 1, 'x', 1)"
            ],
            "notes: chunks of 1 rows that note does not have",
        ),
    },
    "duckdb": {
        "a vector is gone": (["DELETE FROM chunks_embedding WHERE id = 3"], "chunks: 1 chunks have no vector"),
        "a chunk is gone": (["DELETE FROM notes WHERE id = 4"], "notes: 1 vectors have no chunk"),
        "a document is gone": (["DELETE FROM documents WHERE id = 3"], "chunks: 1 chunks have no row in documents"),
        "a text of a chunk is another": (["UPDATE notes SET text = 'x' WHERE id = 5"], "notes: 1 chunks differ"),
        "what is known of rows is gone": (["DROP TABLE notes_rows"], "notes: notes_rows is gone"),
        "the vectors are gone": (["DROP TABLE notes_embedding"], "notes: notes_embedding is gone"),
        "the chunks of a table are gone": (
            ["DROP TABLE notes"],
            "notes: notes is gone: sqlrag check --repair makes the index anew",
        ),
        "the vectors of documents are gone": (["DROP TABLE chunks_embedding"], "chunks: chunks_embedding is gone"),
        "the chunks are gone": (["DROP TABLE chunks"], "chunks: chunks is gone"),
        "a chunk is there twice": (
            [
                "INSERT INTO notes SELECT 900, * EXCLUDE id FROM notes WHERE id = 5",
                "INSERT INTO notes_embedding SELECT 900, embedding FROM notes_embedding WHERE id = 5",
            ],
            "notes: 1 chunks",
        ),
        "a vector is zero": (
            ["UPDATE notes_embedding SET embedding = (SELECT list(0.0) FROM range(384))::FLOAT[384] WHERE id = 2"],
            "notes: 1 vectors are not of unit length",
        ),
    },
}
CASES = [(engine, name) for engine, damages in DAMAGE.items() for name in damages]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """On each engine, documents and a table, both with an index."""
    paths = {}
    for engine in DAMAGE:
        paths[engine] = database_path(tmp_path_factory.mktemp("repair"), engine)
        with sqlrag.connect(paths[engine]) as db:
            db.ingest(PASSAGES)
            db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
            db.execute("INSERT INTO note SELECT id, text FROM documents")
            db.create_index("notes", "note", "body")
    return paths


@pytest.mark.parametrize(("engine", "name"), CASES, ids=[f"{engine}-{name}" for engine, name in CASES])
def test_repair(files, tmp_path, engine, name):
    """It is found, it is mended, and what is searchable afterwards is every text of the sources."""
    from tests.engine.databases import copy_of

    path = copy_of(files[engine], tmp_path)
    statements, expected = DAMAGE[engine][name]
    with sqlrag.connect(path) as db:
        for statement in statements:
            db.execute(statement)
        notes = db.execute("SELECT * FROM note ORDER BY id").fetchall()
    with sqlrag.connect(path) as db:
        problems = db.check()
        assert any(expected in problem for problem in problems), problems
        assert db.repair() == []
        assert db.check() == []
        assert db.execute("SELECT * FROM note ORDER BY id").fetchall() == notes
        assert db.execute("SELECT source_id, text FROM notes ORDER BY source_id").fetchall() == notes
        documents = db.execute("SELECT id, text FROM documents ORDER BY id").fetchall()
        chunks = db.execute("SELECT source_id, text FROM chunks ORDER BY source_id, ordinal").fetchall()
        assert [row[0] for row in chunks] == [row[0] for row in documents]
        assert [info.backlog for info in db.info()] == [0, 0]
        for index in ("chunks", "notes"):
            assert len(db.search(Q, index)) == 3


@pytest.mark.parametrize("read_only", [False, True], ids=["writable", "read-only"])
def test_the_other_indexes_answer(files, tmp_path, read_only):
    """An index that has lost a table says so and how to mend it; the database opens, the others go on."""
    from tests.engine.databases import copy_of

    path = copy_of(files["duckdb"], tmp_path)
    with sqlrag.connect(path) as db:
        db.execute("DROP TABLE notes_embedding")
    with sqlrag.connect(path, read_only=read_only) as db:
        assert len(db.search(Q, "chunks")) == 3
        assert db.indexes() == ["chunks", "notes"]
        with pytest.raises(DatabaseError, match=r"'notes' has lost a table .*notes_embedding.*: sqlrag check --repair"):
            db.search(Q, "notes")
        assert db.check() == ["notes: notes_embedding is gone: sqlrag check --repair makes the index anew"]


def test_nothing_to_repair(files, engine):
    """A sound database is left as it is: no chunk gets another id."""
    with sqlrag.connect(files[engine]) as db:
        before = db.execute("SELECT id, source_id FROM notes ORDER BY id").fetchall()
        assert db.repair() == []
        assert db.execute("SELECT id, source_id FROM notes ORDER BY id").fetchall() == before


def test_a_table_that_is_gone_is_left_to_the_user(files, tmp_path):
    """The rest is repaired; what only the user can bring back is named."""
    from tests.engine.databases import copy_of

    path = copy_of(files["sqlite"], tmp_path)
    with closing(apsw.Connection(str(path))) as connection:
        load_vec(connection)
        connection.execute("DROP TABLE note")
        connection.execute("DELETE FROM chunks_vec WHERE rowid = 3")
    with sqlrag.connect(path) as db:
        assert db.repair() == ["notes: its table note is gone"]


def test_a_view_that_lost_a_column(engine, tmp_path):
    """What sync says of it check says, too: SQLite takes a column that there is not for a text."""
    with sqlrag.connect(database_path(tmp_path, engine)) as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
        db.execute("INSERT INTO note VALUES (1, 'Bees dance.')")
        db.execute("CREATE VIEW notes_of AS SELECT id, body FROM note")
        db.create_index("notes", "notes_of", "body", key="id")
        assert db.check() == []
        db.execute("DROP VIEW notes_of")
        db.execute("CREATE VIEW notes_of AS SELECT id FROM note")
        (problem,) = db.check()
        assert "takes its text from column 'body', which notes_of does not have any more" in problem
        db.execute("DROP VIEW notes_of")
        assert db.check() == ["notes: its table notes_of is gone"]
