"""A file that is no database, or one of a newer sqlrag, a stranger's, another model's: one clear error each."""

from __future__ import annotations

import shutil
from contextlib import closing

import apsw
import pytest

import sqlrag
from sqlrag import errors
from sqlrag.text.documents import Document
from tests.conftest import database_path
from tests.engine.databases import assert_says, change_tables, copy_of


@pytest.mark.parametrize("kind", ["text", "random", "image"])
def test_a_file_that_is_something_else(engine, tmp_path, kind):
    """Text, noise or an image is not a database; it is not touched."""
    contents = {
        "text": b"Dear reader,\n" * 500,
        "random": bytes(range(256)) * 64,
        "image": b"\x89PNG\r\n\x1a\n" + bytes(9000),
    }
    path = database_path(tmp_path, engine, "letter")
    path.write_bytes(contents[kind])
    with pytest.raises(errors.Error) as raised:
        sqlrag.connect(path)
    assert_says(
        raised.value,
        errors.NotADatabaseError,
        str(path),
        "not a SQLite database" if engine == "sqlite" else "not a DuckDB database",
    )
    assert path.read_bytes() == contents[kind]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("left", [100, 5_000, 0.5, 0.98])
def test_a_file_that_was_cut_off(engine, passage_files, tmp_path, left):
    """Half of a database is named as damaged when it is opened, or by check; never taken for an empty one."""
    path = database_path(tmp_path, engine, "cut")
    data = passage_files[engine].read_bytes()
    path.write_bytes(data[: left if left > 1 else int(len(data) * left)])
    with pytest.raises(errors.Error) as raised, sqlrag.connect(path) as db:
        assert db.check() == []
    assert_says(raised.value, errors.NotADatabaseError, str(path), "damaged")


def test_an_empty_file(engine, tmp_path):
    """SQLite makes a database of an empty file, as it always does; DuckDB does not, and the error says what to do."""
    path = database_path(tmp_path, engine, "empty")
    path.touch()
    if engine == "sqlite":
        with sqlrag.connect(path) as db:
            assert (db.check(), db.indexes()) == ([], [])
            assert db.ingest([Document("a", "", "comet", {}, "h")]).added == 1
    else:
        with pytest.raises(errors.Error) as raised:
            sqlrag.connect(path)
        assert_says(raised.value, errors.NotADatabaseError, f"{path} is empty", "remove it, and it is made anew")


def test_a_path_that_is_no_file(engine, tmp_path):
    """A folder, a folder that is not there, a missing file that must be there: each its own line; nothing is made."""
    folder = database_path(tmp_path, engine, "folder")
    folder.mkdir()
    missing = database_path(tmp_path, engine, "missing")
    cases = [
        (folder, {}, "is a folder: give the path of a database file"),
        (database_path(tmp_path / "no", engine), {}, f"cannot be made: there is no folder {tmp_path / 'no'}"),
        (missing, {"read_only": True}, f"does not exist: make it with `sqlrag ingest {missing} FOLDER`"),
        (missing, {"must_exist": True}, f"does not exist: make it with `sqlrag ingest {missing} FOLDER`"),
    ]
    for path, options, words in cases:
        with pytest.raises(errors.Error) as raised:
            sqlrag.connect(path, **options)
        assert_says(raised.value, errors.DatabaseError, f"{path} {words}")
    assert [file.name for file in tmp_path.iterdir()] == [folder.name]


def test_an_engine_that_is_none(tmp_path):
    """The name of an engine is one of two."""
    with pytest.raises(errors.InputError, match="engine is 'postgres': it is 'sqlite' or 'duckdb'"):
        sqlrag.connect(tmp_path / "a.db", engine="postgres")


def test_a_duckdb_file_as_sqlite(passage_files, tmp_path):
    """The error says which engine the file is of; by its content it opens whatever its name is."""
    path = tmp_path / "named.db"
    shutil.copy(passage_files["duckdb"], path)
    with pytest.raises(errors.Error) as raised:
        sqlrag.connect(path, engine="sqlite")
    assert_says(raised.value, errors.NotADatabaseError, f"{path} is a DuckDB database: open it with engine='duckdb'")
    with sqlrag.connect(path) as db:
        assert db.engine == "duckdb"


def test_a_sqlite_file_as_duckdb(passage_files, tmp_path):
    """The error says which engine the file is of, and DuckDB downloads no extension for it."""
    path = tmp_path / "named.duckdb"
    shutil.copy(passage_files["sqlite"], path)
    with pytest.raises(errors.Error) as raised:
        sqlrag.connect(path, engine="duckdb")
    assert_says(raised.value, errors.NotADatabaseError, f"{path} is a SQLite database: open it with engine='sqlite'")
    assert "extension" not in str(raised.value.__cause__)
    with sqlrag.connect(path) as db:
        assert db.engine == "sqlite"


def test_a_database_without_an_index(engine, tmp_path):
    """Before anything is ingested, search says so; info and check are empty."""
    with sqlrag.connect(database_path(tmp_path, engine)) as db:
        with pytest.raises(errors.Error) as raised:
            db.search("x")
        assert_says(raised.value, errors.UnknownIndexError, "no index 'chunks'", "has none: ingest documents or")
        assert (db.info(), db.check(), db.indexes()) == ([], [], [])


def test_a_newer_schema(engine, passage_files, tmp_path):
    """A database of a newer sqlrag is not touched; the error says how to upgrade."""
    path = copy_of(passage_files[engine], tmp_path)
    change_tables(path, "UPDATE sqlrag_meta SET value = '999' WHERE key = 'schema_version'")
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(errors.Error) as raised:
            sqlrag.connect(path, read_only=read_only)
        assert_says(
            raised.value, errors.SchemaVersionError, str(path), "newer sqlrag (schema 999;", "pip install -U sqlrag"
        )
    assert path.read_bytes() == before


HOSTILE = {
    "a name that is SQL": "name = 'x\"; DROP TABLE chunks; --'",
    "a name that is empty": "name = ''",
    "a name of sqlrag's own": "name = 'sqlrag_meta'",
    "a dimension of 0": "dimension = 0",
    "a negative window": "window_or_so = -1",
    "an overlap above the size": "overlap = max_tokens",
    "a tokenizer that there is not": "tokenizer = 'icu'",
    "a tokenizer that is SQL": "tokenizer = 'porter''); DROP TABLE chunks; --'",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_record_that_sqlrag_did_not_write(engine, passage_files, tmp_path, name):
    """A file of a stranger's, its registry changed by hand: refused, and nothing of it gets into a statement."""
    path = copy_of(passage_files[engine], tmp_path)
    change_tables(path, f"UPDATE sqlrag_indexes SET {HOSTILE[name]}".replace("window_or_so", '"window"'))
    with pytest.raises(errors.Error) as raised:
        sqlrag.connect(path)
    assert_says(raised.value, errors.NotADatabaseError, "damaged", "sqlrag_indexes", "did not write")


def test_a_record_with_values_of_other_types(passage_files, tmp_path):
    """SQLite takes any value in any column; sqlrag does not."""
    for number, change in enumerate(("dimension = 'many'", "max_tokens = 2.5", "name = x'00'", "query_prompt = 7")):
        path = copy_of(passage_files["sqlite"], tmp_path, f"copy{number}")
        # A column of type TEXT makes a text of a number; one without a type does not.
        change_tables(
            path,
            "CREATE TABLE changed AS SELECT * FROM sqlrag_indexes",
            "DROP TABLE sqlrag_indexes",
            "CREATE TABLE sqlrag_indexes (name, source_table, source_key, embedder, embedder_hash, dimension, "
            "query_prompt, document_prompt, window, max_tokens, overlap, version, tokenizer, vectors, template, "
            "filters, tracking, context)",
            "INSERT INTO sqlrag_indexes SELECT * FROM changed",
            f"UPDATE sqlrag_indexes SET {change}",
        )
        with pytest.raises(errors.NotADatabaseError, match="did not write"):
            sqlrag.connect(path)


def test_a_schema_version_that_is_none(engine, passage_files, tmp_path):
    """A version that is no number is damage; where the row is missing the database still opens."""
    path = copy_of(passage_files[engine], tmp_path)
    change_tables(path, "UPDATE sqlrag_meta SET value = 'one' WHERE key = 'schema_version'")
    with pytest.raises(errors.Error) as raised:
        sqlrag.connect(path)
    assert_says(raised.value, errors.NotADatabaseError, str(path), "damaged", "schema_version 'one'")
    change_tables(path, "DELETE FROM sqlrag_meta")
    with sqlrag.connect(path) as db:
        assert len(db.search("bees")) == 3


def test_an_embedder_that_is_not_there(engine, passage_files, tmp_path):
    """A name that is no model, for a new database and an old one: what there is, and how another is given."""
    for path in (passage_files[engine], database_path(tmp_path, engine)):
        with pytest.raises(errors.Error) as raised, sqlrag.connect(path, embedder="nope") as db:
            db.execute("SELECT embed('x')").fetchall()
        words = ("'nope'", "all-MiniLM-L6-v2", "`sqlrag models pull OWNER/NAME`")
        assert_says(raised.value, errors.UnknownModelError, *words)


def test_a_reranker_as_embedder(engine, passage_files):
    """A cross-encoder given as embedder is told to be one."""
    with pytest.raises(errors.Error) as raised, sqlrag.connect(passage_files[engine], embedder="reranker-v1") as db:
        db.search("bees")
    assert_says(raised.value, errors.InputError, "'reranker-v1' is a cross-encoder", "bi-encoder")


def test_another_embedder_than_the_database_s(engine, passage_files, tmp_path):
    """A database made with another model: opened with ours, and asked without that model, each is one clear error."""
    path = copy_of(passage_files[engine], tmp_path)
    change_tables(
        path,
        "UPDATE sqlrag_indexes SET embedder = 'bge-small', embedder_hash = 'abcabcabcabc'",
        "UPDATE sqlrag_meta SET value = 'bge-small' WHERE key = 'embedder'",
    )
    with pytest.raises(errors.Error) as raised:
        sqlrag.connect(path, embedder="all-MiniLM-L6-v2")
    assert_says(
        raised.value,
        errors.ModelMismatchError,
        "embedder is all-MiniLM-L6-v2",
        "'chunks' with bge-small",
        "leave embedder out",
    )
    with sqlrag.connect(path) as db:
        assert db.execute("SELECT count(*) FROM text_top_k('chunks', 'waggle', 3)").fetchall() == [(1,)]
        for call in (lambda: db.search("bees"), lambda: db.execute("SELECT embed('x')").fetchall()):
            with pytest.raises(errors.Error) as raised:
                call()
            assert_says(raised.value, errors.UnknownModelError, "'bge-small'", "embedder='bge-small'")


def test_a_vector_of_another_model(engine, passage_files, tmp_path):
    """A vector that embed() made with other weights than the index's is refused; the text itself works."""
    path = copy_of(passage_files[engine], tmp_path)
    change_tables(path, "UPDATE sqlrag_indexes SET embedder_hash = 'f00df00df00d' || substr(embedder_hash, 13)")
    with sqlrag.connect(path) as db:
        with pytest.raises(errors.Error) as raised:
            db.execute("SELECT * FROM vector_top_k('chunks', embed('bees'), 3)").fetchall()
        assert_says(raised.value, errors.ModelMismatchError, "query is a vector of all-MiniLM-L6-v2", "'chunks'")
        with pytest.raises(errors.Error) as raised:
            db.search("bees")
        assert_says(raised.value, errors.ModelMismatchError, "all-MiniLM-L6-v2@f00df00df00d", "same model")
        with pytest.raises(errors.ModelMismatchError, match="@f00df00df00d"):
            db.ingest([Document("a", "", "text", {}, "h")])


def test_a_file_that_another_process_keeps_locked(tmp_path, monkeypatch):
    """Whatever is asked of it, one line that says so: no error of SQLite's own, and none of it is lost."""
    monkeypatch.setattr("sqlrag.store.driver.opening.BUSY_TIMEOUT_MS", 50)
    path = tmp_path / "locked.db"
    with sqlrag.connect(path) as db:
        db.ingest([Document("one", "", "Bees dance.", {}, "hash")])
    with closing(apsw.Connection(str(path))) as other:
        assert other.execute("PRAGMA journal_mode = DELETE").fetchall() == [("delete",)]
        with sqlrag.connect(path) as db:
            other.execute("BEGIN EXCLUSIVE")
            asked = [
                db.indexes,
                db.info,
                db.check,
                db.backlog,
                db.sync,
                lambda: db.search("bees"),
                lambda: db.compare("bees"),
                lambda: db.execute("SELECT * FROM text_top_k('chunks', 'bees', 1)").fetchall(),
                lambda: db.ingest([Document("two", "", "Bees hum.", {}, "hash of two")]),
                lambda: db.reindex("chunks"),
                lambda: db.drop_index("chunks"),
            ]
            for ask in asked:
                with pytest.raises(errors.LockedError, match="is being written by another process"):
                    ask()
            other.execute("ROLLBACK")
            assert [hit.text for hit in db.search("bees")] == ["Bees dance."]
