"""Databases of earlier versions: read as they are, upgraded when they are opened for writing.

In the folder `earlier` are files that the versions themselves have made: of three documents, on SQLite with schema 3 of
a table with an index, whose triggers are those of then. Two more of schema 3 have cells, whose time has passed: one
with float32 vectors and a second index, over a table; one with int8 vectors.
"""

from __future__ import annotations

import gzip
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock, patch

import apsw
import duckdb
import numpy as np
import pytest

import sqlrag
from sqlrag.engines.sqlite.functions import load_vec
from sqlrag.engines.sqlite.indexed_table import SQLiteIndexedTable
from sqlrag.errors import ModelMismatchError
from sqlrag.models.loaded import load_embedder
from sqlrag.store.codes.blocks import CodeBlocks
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
    return unpacked(f"schema{schema}.{suffix}", folder)


def unpacked(name: str, folder: Path) -> Path:
    """Return a copy of a file in the folder `earlier`, with its index file if there is one."""
    for packed in EARLIER.glob(f"{name}*.gz"):
        (folder / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    return folder / name


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


CELLS = {"float32": "schema3_cells.db", "int8": "schema3_int8.db"}
QUESTIONS = ("who got a telescope?", "bread and honey", "something to wear", "Parcel 17")


@pytest.fixture(params=CELLS)
def with_cells(request, tmp_path) -> Path:
    """A file of schema 3 with an index of 26 documents in cells; its model is the bundled one as it still is."""
    return unpacked(CELLS[request.param], tmp_path)


def found(database: sqlrag.Database, index: str = "chunks") -> list[list[tuple[str, float]]]:
    """Return what is nearest to each question, with the distances."""
    sql = f"SELECT c.text, hit.distance FROM vector_top_k('{index}', :q, 9) AS hit JOIN {index} AS c ON c.id = hit.id"
    return [database.execute(f"{sql} ORDER BY hit.rank", {"q": question}).fetchall() for question in QUESTIONS]


def compared(path: Path) -> list[list[str]]:
    """Return the texts nearest to each question, by the vectors that the file has, compared here."""
    with closing(apsw.Connection(str(path))) as connection:
        load_vec(connection)
        is_int8 = "int8" in path.name
        kept = (
            "SELECT rowid AS id, code FROM chunks_codes" if is_int8 else "SELECT rowid AS id, embedding FROM chunks_vec"
        )
        rows = connection.execute(f"SELECT text, v.* FROM ({kept}) AS v JOIN chunks AS c ON c.id = v.id ORDER BY c.id")
        texts, _, blobs = zip(*rows, strict=True)
    vectors = np.stack([np.frombuffer(blob, np.int8 if is_int8 else np.float32).astype(float) for blob in blobs])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = load_embedder().encode_query(list(QUESTIONS))
    return [[texts[place] for place in np.argsort(-(vectors @ query), kind="stable")[:5]] for query in queries]


def parts_of(path: Path) -> set[str]:
    """Return the names of the tables and triggers in a file."""
    with closing(apsw.Connection(str(path))) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type <> 'index'")}


def test_cells_are_read_as_they_are(with_cells):
    """Read-only the index is searched whole, exactly, and sound; the file stays as it is."""
    before, expected = with_cells.read_bytes(), compared(with_cells)
    with sqlrag.connect(with_cells, read_only=True) as database:
        assert database.check() == []
        nearest = found(database)
        assert [[text for text, _ in rows][:3] for rows in nearest] == [texts[:3] for texts in expected]
        filtered = database.search("bread", filter="id > 20")
        assert filtered[0].source_id > 20
    assert with_cells.read_bytes() == before


def test_opening_leaves_the_cells(with_cells):
    """A connection that may write and only asks needs no time for codes; check has nothing to say."""
    with sqlrag.connect(with_cells, read_only=True) as database:
        expected = found(database)
    with sqlrag.connect(with_cells) as database:
        assert found(database) == expected
        assert database.check() == []
        database.execute("DELETE FROM chunks WHERE id = 1").fetchall()
        assert database.check() == []


WRITES = {
    "ingest": lambda database: database.ingest([Document("new", "", "A kazoo for the band.", {}, "new")]),
    "ingest of a change": lambda database: database.ingest([Document("d3", "", "A kazoo for the band.", {}, "new")]),
    "sync": lambda database: (
        database.execute("INSERT INTO review VALUES (70, 'A kazoo for the band.')").fetchall(),
        database.sync(),
    ),
    "repair": lambda database: database.repair(),
    "reindex": lambda database: database.reindex("chunks", codes_only=True),
}


@pytest.mark.parametrize(
    ("with_cells", "write"),
    [(name, write) for name in CELLS for write in WRITES if (name, write) != ("int8", "sync")],  # it is of documents
    indirect=["with_cells"],
)
def test_the_first_write_makes_codes_of_cells(with_cells, write, monkeypatch):
    """Of the vectors that are there: nothing but a new text is embedded. What was found is found, as near."""
    index = "reviews" if write == "sync" else "chunks"
    with sqlrag.connect(with_cells, read_only=True) as database:
        expected = found(database, index)
        ids = {id_ for (id_,) in database.execute(f"SELECT id FROM {index}")}
    encoded: list[str] = []
    encode = sqlrag.Embedder.encode_document

    def noted(embedder, texts):
        encoded.extend(texts)
        return encode(embedder, texts)

    with sqlrag.connect(with_cells) as database:
        with monkeypatch.context() as patch:
            patch.setattr(sqlrag.Embedder, "encode_document", noted)
            WRITES[write](database)
        if write != "repair":  # whose check embeds some texts, to compare their vectors
            assert encoded == ([] if write == "reindex" else ["A kazoo for the band."])
        there = {id_ for (id_,) in database.execute(f"SELECT id FROM {index}")}
        assert ids - there == ({4} if write == "ingest of a change" else set())
        assert database.check() == []
        nearest = found(database, index)
        for rows in (*nearest, *expected):  # what is written now, and what the change replaces
            rows[:] = [row for row in rows if "kazoo" not in row[0] and not row[0].startswith("Parcel 3 ")][:5]
        assert nearest == expected
        assert database.repair() == []
    left = parts_of(with_cells)
    assert {f"{index}_codes", f"{index}_gone", f"{index}_vec", "sqlrag_candidates"} <= left
    assert not [name for name in left if name.startswith((f"{index}_cells", f"{index}_codes_", "sqlrag_ivf"))]
    assert not left & {f"{index}_code_after_delete", "sqlrag_nprobe"}
    assert (f"{index}_vector_after_delete" in left) == (index == "chunks")


def test_a_write_that_is_stopped_leaves_the_cells(with_cells, monkeypatch):
    """Whatever stops it: the transaction is the first write's own, and the next one makes the codes."""
    with sqlrag.connect(with_cells) as database:
        expected = found(database)
        before = parts_of(with_cells)
        with monkeypatch.context() as patch:
            patch.setattr(CodeBlocks, "insert", Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                WRITES["ingest"](database)
        assert parts_of(with_cells) == before
        assert found(database) == expected
    with sqlrag.connect(with_cells) as database:
        WRITES["ingest"](database)
        assert "chunks_gone" in parts_of(with_cells)
        assert database.check() == []
