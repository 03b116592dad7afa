"""Databases of earlier versions: read as they are, upgraded when they are opened for writing.

In the folder `earlier` are files that the versions themselves have made: of three documents, on SQLite with schema 3 of
a table with an index, whose triggers are those of then.
"""

from __future__ import annotations

import gzip
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import apsw
import duckdb
import pytest

import sqlrag
from sqlrag.engines.sqlite.functions import load_vec
from sqlrag.engines.sqlite.indexed_table import SQLiteIndexedTable
from sqlrag.errors import ModelMismatchError
from sqlrag.models.loaded import load_embedder
from sqlrag.store.registry import SCHEMA_VERSION
from sqlrag.text.documents import Document
from tests.engine.databases import copy_of

Q = "how long does a flight take"

# What came after schema 1, taken back: codes, and the tables and columns that they and the cells before them need.
TAKEN_BACK = (
    "DROP TRIGGER chunks_vector_after_delete",
    "CREATE TRIGGER chunks_vectors AFTER DELETE ON chunks BEGIN DELETE FROM chunks_vec WHERE rowid = old.id; END",
    "DROP TABLE chunks_codes",
    "DROP TABLE chunks_gone",
    "DROP TABLE sqlrag_candidates",
    "ALTER TABLE sqlrag_indexes DROP COLUMN tokenizer",
    "ALTER TABLE sqlrag_indexes DROP COLUMN vectors",
    # What schema 3 brought: how a table of the user's own is indexed.
    "ALTER TABLE sqlrag_indexes DROP COLUMN template",
    "ALTER TABLE sqlrag_indexes DROP COLUMN filters",
    "ALTER TABLE sqlrag_indexes DROP COLUMN tracking",
    "UPDATE sqlrag_meta SET value = '1' WHERE key = 'schema_version'",
)


def answers(database: sqlrag.Database) -> list[list[tuple]]:
    statements = ("vector_top_k('chunks', :q, 5)", "hybrid_top_k('chunks', :q, 5)", "search('chunks', :q, 5, 3)")
    return [database.execute(f"SELECT * FROM {statement}", {"q": Q}).fetchall() for statement in statements]


@pytest.fixture
def old(engine, passage_files, tmp_path):
    """A file of schema 1, and what it answered as one of this schema."""
    path = copy_of(passage_files[engine], tmp_path)
    with sqlrag.connect(path) as database:
        expected = answers(database)
    if engine == "sqlite":
        with closing(apsw.Connection(str(path))) as connection:
            load_vec(connection)
            for statement in TAKEN_BACK:
                connection.execute(statement)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    else:
        with duckdb.connect(str(path)) as connection:
            for column in ("tokenizer", "vectors", "template", "filters", "tracking"):
                connection.execute(f"ALTER TABLE sqlrag_indexes DROP COLUMN {column}")
            connection.execute("UPDATE sqlrag_meta SET value = '1' WHERE key = 'schema_version'")
    return path, expected


def test_it_is_read_as_it_is(old):
    """Read-only nothing is written, and every function gives what it gave."""
    path, expected = old
    before = path.read_bytes()
    with sqlrag.connect(path, read_only=True) as database:
        assert answers(database) == expected
        assert database.check() == []
        assert database.info()[0].tokenizer == "porter"
    assert path.read_bytes() == before


def test_it_is_upgraded_when_written(old):
    """After an ingest it is of this schema, and sound; new documents are found."""
    path, expected = old
    with sqlrag.connect(path) as database:
        assert answers(database) == expected
        text = "The flight takes eleven hours."
        database.ingest([Document("new", "", text, {}, "hash of it")])
        assert database.check() == []
        sql = "SELECT c.text FROM vector_top_k('chunks', :q, 1) AS hit JOIN chunks AS c ON c.id = hit.id"
        assert database.execute(sql, {"q": Q}).fetchall() == [(text,)]
    with sqlrag.connect(path) as database:
        ((version,),) = database.execute("SELECT value FROM sqlrag_meta WHERE key = 'schema_version'").fetchall()
        assert version == str(SCHEMA_VERSION)


EARLIER = Path(__file__).parent / "earlier"


def made_by(schema: int, suffix: str, folder: Path) -> Path:
    """Return a copy of the file that a version of this schema has made."""
    for packed in EARLIER.glob(f"schema{schema}.{suffix}*.gz"):
        (folder / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    return folder / f"schema{schema}.{suffix}"


def test_there_is_a_file_of_each_schema():
    """Whoever raises SCHEMA_VERSION adds files of the one before."""
    names = {path.name for path in EARLIER.iterdir()}
    assert {f"schema{n}.{suffix}.gz" for n in range(1, SCHEMA_VERSION) for suffix in ("db", "duckdb")} <= names


@pytest.mark.parametrize("suffix", ["db", "duckdb"])
@pytest.mark.parametrize("schema", range(1, SCHEMA_VERSION))
def test_a_file_that_the_version_has_made(schema, suffix, tmp_path):
    """Read-only it is sound, answers and stays as it is; written to it is of this schema, and whole.

    Its vectors are of weights that were rounded in another way: that is said, with what to do, and it is done.
    """
    path = made_by(schema, suffix, tmp_path)
    before = path.read_bytes()
    q = "which animal sleeps long?"
    index = "reviews" if (schema, suffix) == (3, "db") else "chunks"
    sql = f"SELECT text FROM search('{index}', :q, 3, 1)"
    words = "SELECT text FROM text_top_k('chunks', 'a wombat sleeps', 1) JOIN chunks USING (id)"
    with sqlrag.connect(path, read_only=True) as database:
        assert database.check() == []
        if index == "chunks":
            assert database.execute(words).fetchall() == [("Wombats sleep all day.",)]
            with pytest.raises(ModelMismatchError, match=f"sqlrag reindex DB --index {index} --model all-MiniLM-L6-v2"):
                database.execute(sql, {"q": q}).fetchall()
    assert path.read_bytes() == before
    with sqlrag.connect(path) as database:
        database.reindex(index, embedder="all-MiniLM-L6-v2")
        if index == "chunks":
            assert database.execute(sql, {"q": q}).fetchall() == [("Wombats sleep all day.",)]
        database.ingest([Document("new", "", "Koalas sleep even longer.", {}, "hash of new")])
        database.ingest([Document("two", "", "Bees hum.", {}, "another hash")])
        assert database.execute(sql, {"q": q}).fetchall()[0][0].split()[1].startswith("sleep")
        assert database.check() == []
        assert database.repair() == []
    with sqlrag.connect(path) as database:
        ((version,),) = database.execute("SELECT value FROM sqlrag_meta WHERE key = 'schema_version'").fetchall()
        assert version == str(SCHEMA_VERSION)


def test_triggers_that_the_version_has_made(tmp_path):
    """They note every change still, so nothing is compared; the next sync makes those of this version."""
    path = made_by(3, "db", tmp_path)
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("UPDATE sqlrag_indexes SET embedder_hash = ?", (load_embedder().spec.weights_hash,))
        connection.execute("INSERT INTO review VALUES (4, 'four', 'Ships sail.')")
        connection.execute("DELETE FROM review WHERE id = 2")
    with sqlrag.connect(path, read_only=True) as database:
        assert database.check() == []
        (info,) = database.info()
        assert info.backlog == 3
        assert info.backlog_seconds > 0
    with (
        sqlrag.connect(path) as database,
        patch.object(SQLiteIndexedTable, "_compare", side_effect=AssertionError("compared")),
    ):
        report = database.sync()
        assert (report.added, report.changed, report.removed, report.backlog) == (1, 1, 1, 0)
        sql = "SELECT group_concat(sql) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'review'"
        ((triggers,),) = database.execute(sql).fetchall()
        assert "julianday()" in triggers
        assert "'now'" not in triggers
        database.execute("UPDATE review SET body = 'Ships sink.' WHERE id = 4").fetchall()
        assert database.sync().changed == 1
        texts = database.execute("SELECT text FROM reviews ORDER BY source_id").fetchall()
        assert texts == [("Wombats sleep all day.",), ("It rains again.",), ("Ships sink.",)]
        assert database.check() == []
