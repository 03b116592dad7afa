"""A database of schema 1, as the first versions made it: read as it is, upgraded when it is opened for writing."""

from __future__ import annotations

from contextlib import closing

import apsw
import duckdb
import pytest

import sqlrag
from sqlrag.index.registry import SCHEMA_VERSION
from sqlrag.sqlite.functions import load_vec
from sqlrag.text.documents import Document
from tests.engine.databases import copy_of

Q = "how long does a flight take"

# What schema 2 brought, taken back: cells, their trigger, the tables and the columns that they need.
TAKEN_BACK = (
    "DROP TRIGGER chunks_code_after_delete",
    "DROP TRIGGER chunks_vector_after_delete",
    "CREATE TRIGGER chunks_vectors AFTER DELETE ON chunks BEGIN DELETE FROM chunks_vec WHERE rowid = old.id; END",
    "DROP TABLE chunks_codes",
    "DROP TABLE chunks_cells",
    "DROP TABLE sqlrag_ivf",
    "DROP TABLE sqlrag_nprobe",
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
