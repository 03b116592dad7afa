"""The index file beside a DuckDB database: whatever happens to it, the answers are those of a new one."""

from __future__ import annotations

import hashlib
import shutil
from array import array
from pathlib import Path

import apsw
import duckdb
import numpy as np
import pyarrow as pa
import pytest

import sqlrag
from sqlrag.errors import NotADatabaseError
from sqlrag.text.documents import Document
from tests.conftest import PASSAGES
from tests.engine.databases import change_tables, copy_of

QUESTION = "how do bees tell each other where food is, money is lent at a bank, bread rises without bought yeast"


@pytest.fixture
def path(passage_files, tmp_path) -> Path:
    """A copy of the passages on DuckDB, with its index file."""
    return copy_of(passage_files["duckdb"], tmp_path)


def index_file(path: Path) -> Path:
    """Return the index file of a database."""
    return Path(f"{path}.sqlrag")


def answers(db: sqlrag.Database) -> list[list[tuple]]:
    """Return what the three top-k functions, search and a filter say."""
    statements = (
        "SELECT * FROM vector_top_k('chunks', :q, 100)",
        "SELECT * FROM text_top_k('chunks', :q, 100)",
        "SELECT * FROM hybrid_top_k('chunks', :q, 100)",
        "SELECT * FROM search('chunks', :q, 25, 5)",
        "SELECT * FROM vector_top_k('chunks', :q, 5, 'title <> ''Bees''')",
        "SELECT documents, chunks, tokens, backlog FROM sqlrag_info()",
    )
    return [db.execute(statement, {"q": QUESTION}).fetchall() for statement in statements]


REBUILT: dict[bytes, list[list[tuple]]] = {}
"""What `rebuilt` has returned for a database, by its bytes: many tests damage the index file alone."""


def rebuilt(path: Path) -> list[list[tuple]]:
    """Return the answers of a copy of the database whose index file is made anew."""
    digest = hashlib.sha256(path.read_bytes()).digest()
    if digest not in REBUILT:
        copy = path.with_name("rebuilt.duckdb")
        shutil.copy(path, copy)
        with sqlrag.connect(copy) as db:
            REBUILT[digest] = answers(db)
        copy.unlink()
        index_file(copy).unlink()
    return REBUILT[digest]


def assert_as_new(path: Path, **options: bool) -> None:
    """The database answers as with a new index file, and is sound."""
    with sqlrag.connect(path, **options) as db:
        found = answers(db)
        assert db.check() == []
    assert found == rebuilt(path)


def corrupt_header(file: Path) -> None:
    file.write_bytes(b"not SQLite at all" + file.read_bytes()[17:])


def corrupt_tables(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:4096] + b"\xff" * (file.stat().st_size - 4096))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def of_version(version: str):
    def change(file: Path) -> None:
        with apsw.Connection(str(file)) as connection:
            connection.execute("UPDATE sqlrag_meta SET value = ? WHERE key = 'schema_version'", (version,))

    return change


def of_another_database(file: Path) -> None:
    file.unlink()
    with sqlrag.connect(file.with_name("other.duckdb")) as db:
        db.ingest([Document(f"d{n}", "", f"Another text, number {n}.", {}, f"hash {n}") for n in range(25)])
    file.with_name("other.duckdb.sqlrag").rename(file)


def of_a_stranger(file: Path) -> None:
    with apsw.Connection(str(file)) as connection:
        connection.execute("UPDATE sqlrag_indexes SET name = 'x\"; DROP TABLE chunks; --', dimension = -1")


def without_a_table(file: Path) -> None:
    with apsw.Connection(str(file)) as connection:
        connection.execute("DROP TABLE sqlrag_indexes")


DAMAGES = {
    "deleted": Path.unlink,
    "empty": empty,
    "header overwritten": corrupt_header,
    "truncated": truncate,
    "tables overwritten": corrupt_tables,
    "newer": of_version("999"),
    "older": of_version("0"),
    "no version": of_version("x"),
    "of another database": of_another_database,
    "of a stranger": of_a_stranger,
    "a table is gone": without_a_table,
}


@pytest.mark.parametrize("read_only", [False, True], ids=["writable", "read-only"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_of_no_use_is_made_again(path, damage, read_only):
    """Lost, damaged, newer, older or another's: answers are the same; read-only, nothing is written."""
    DAMAGES[damage](index_file(path))
    before = index_file(path).read_bytes() if index_file(path).exists() else None
    assert_as_new(path, read_only=read_only)
    if read_only:
        assert (index_file(path).read_bytes() if index_file(path).exists() else None) == before
    else:
        assert_as_new(path, read_only=True)


@pytest.mark.parametrize("table", ["chunks_codes", "chunks_fts_data", "chunks_fts_docsize"])
def test_a_damaged_page_is_told_and_made_again(path, table):
    """Damage that only a query meets is one clear error that names the file; deleted, it is made again."""
    data = bytearray(index_file(path).read_bytes())
    with apsw.Connection(str(index_file(path))) as connection:
        size = connection.pragma("page_size")
        sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        ((page,),) = connection.execute(sql, (table,))
    data[(page - 1) * size : page * size] = b"\xff" * size
    index_file(path).write_bytes(data)
    with sqlrag.connect(path) as db, pytest.raises(NotADatabaseError) as raised:
        answers(db)
    assert str(raised.value).startswith(f"{index_file(path)} is damaged (")
    assert str(raised.value).endswith("): close the database and delete it, it is made again")
    index_file(path).unlink()
    assert_as_new(path)


COLUMNS = "(id, source_id, ordinal, start_char, end_char, text, token_count)"

CHANGES = {
    "rows deleted": ["DELETE FROM chunks_embedding WHERE id < 6", "DELETE FROM chunks WHERE id < 6"],
    "chunks deleted, vectors left": ["DELETE FROM chunks WHERE id > 20"],
    "vectors deleted, chunks left": ["DELETE FROM chunks_embedding WHERE id IN (3, 5, 8)"],
    "all deleted": ["DELETE FROM chunks_embedding", "DELETE FROM chunks"],
    "rows added": [
        f"INSERT INTO chunks {COLUMNS} SELECT id + 100, source_id, ordinal + 1, start_char, end_char, "
        "'copy of ' || text, token_count + 2 FROM chunks WHERE id < 4",
        "INSERT INTO chunks_embedding SELECT id + 100, embedding FROM chunks_embedding WHERE id < 4",
    ],
    "a row replaced": [
        "DELETE FROM chunks_embedding WHERE id = 7",
        "DELETE FROM chunks WHERE id = 7",
        f"INSERT INTO chunks {COLUMNS} VALUES (7, 7, 0, 0, 21, 'bees and bank lending', 4)",
        "INSERT INTO chunks_embedding SELECT 7, embedding FROM chunks_embedding WHERE id = 8",
    ],
}


@pytest.mark.parametrize("change", CHANGES)
def test_rows_changed_by_hand_while_closed(path, change):
    """What DuckDB alone did to the tables shows at the next open."""
    change_tables(path, *CHANGES[change])
    with sqlrag.connect(path, read_only=True) as db:
        read_only = answers(db)
    with sqlrag.connect(path) as db:
        found = answers(db)
        assert [problem for problem in db.check() if "differ" in problem] == []
    assert found == read_only == rebuilt(path)


@pytest.mark.parametrize("change", CHANGES)
def test_rows_changed_by_hand_while_open(path, change):
    """What a statement of the user's did shows in the next one; what it rolled back does not."""
    with sqlrag.connect(path) as db:
        before = answers(db)
        db.execute("BEGIN").fetchall()
        for statement in CHANGES[change]:
            db.execute(statement).fetchall()
        db.execute("ROLLBACK").fetchall()
        assert answers(db) == before
        for statement in CHANGES[change]:
            db.execute(statement).fetchall()
        found = answers(db)
    assert found == rebuilt(path)
    assert found != before


def test_a_vector_that_comes_after_its_chunk(path):
    """A chunk without a vector is not in the index yet; when the vector comes, it is."""
    with sqlrag.connect(path) as db:
        document = "(999, 'chunks', 'zebra', '', '{}', 'a hash', 'a lone zebra')"
        db.execute(f"INSERT INTO documents VALUES {document}").fetchall()
        db.execute(f"INSERT INTO chunks {COLUMNS} VALUES (99, 999, 0, 0, 12, 'a lone zebra', 3)").fetchall()
        assert db.execute("SELECT id FROM text_top_k('chunks', 'zebra', 5)").fetchall() == []
        assert db.check() == ["chunks: 1 chunks have no vector"]
        db.execute("INSERT INTO chunks_embedding SELECT 99, embed_document('a lone zebra')").fetchall()
        assert db.execute("SELECT id FROM text_top_k('chunks', 'zebra', 5)").fetchall() == [(99,)]
        assert db.execute("SELECT id FROM vector_top_k('chunks', 'a lone zebra', 1)").fetchall() == [(99,)]
    assert_as_new(path)


def test_a_crash_between_the_two_commits(path, tmp_path):
    """An index file that is one ingest behind is caught up on open."""
    shutil.copy(index_file(path), tmp_path / "older")
    (tmp_path / "note.txt").write_text("A comet is a ball of ice.")
    with sqlrag.connect(path) as db:
        db.ingest(tmp_path / "note.txt")
    shutil.copy(tmp_path / "older", index_file(path))
    with sqlrag.connect(path, read_only=True) as db:
        assert "comet" in db.search("comet")[0].text
    assert index_file(path).read_bytes() == (tmp_path / "older").read_bytes()
    assert_as_new(path)


def test_a_backup_of_the_database_with_a_later_index_file(path, tmp_path):
    """The database went back and then another way, by as many steps and chunks: the file is not taken for its own."""
    notes = tmp_path / "note.txt"
    shutil.copy(path, tmp_path / "backup")
    notes.write_text("A comet is a ball of ice.")
    with sqlrag.connect(path) as db:
        db.ingest(notes)
    later = index_file(path).read_bytes()
    shutil.copy(tmp_path / "backup", path)
    notes.write_text("A ferry is kind of a bus.")
    with sqlrag.connect(path) as db:
        db.ingest(notes)
    index_file(path).write_bytes(later)
    assert_as_new(path)
    with sqlrag.connect(path) as db:
        assert "ferry" in db.search("ferry")[0].text


def test_a_database_made_anew_beside_an_old_index_file(path):
    """The database was made again with as many chunks; the index file that stayed is not taken for its own."""
    stayed = index_file(path).read_bytes()
    path.unlink()
    with sqlrag.connect(path) as db:
        lines = PASSAGES.read_text(encoding="utf-8").splitlines()
        other = path.with_name("reversed.jsonl")
        other.write_text("\n".join(reversed(lines)), encoding="utf-8")
        db.ingest(other)
    index_file(path).write_bytes(stayed)
    assert_as_new(path)


def test_the_index_file_is_removed_while_open(path):
    """What is open goes on; the next open makes it again."""
    with sqlrag.connect(path) as db:
        before = answers(db)
        for file in path.parent.glob("*.sqlrag*"):
            file.unlink()
        assert answers(db) == before
    assert_as_new(path)


def test_an_index_dropped_change_tables(path):
    """An index whose record is gone is gone from the index file too."""
    with sqlrag.connect(path) as db:
        db.ingest(PASSAGES, "more_notes")
        db.execute("DELETE FROM sqlrag_indexes WHERE name = 'more_notes'").fetchall()
        db.execute("DROP TABLE more_notes").fetchall()
        db.execute("DROP TABLE more_notes_embedding").fetchall()
        with pytest.raises(sqlrag.Error, match="no index 'more_notes': there is 'chunks'"):
            db.execute("SELECT * FROM vector_top_k('more_notes', 'bees', 3)").fetchall()
        assert db.indexes() == ["chunks"]
    assert_as_new(path)


CHECKED = {
    "a text changed in place": (
        ["UPDATE chunks SET text = upper(text) WHERE id IN (2, 4)"],
        ["chunks: 2 chunks differ between the tables and the index file: `sqlrag check --repair` makes"],
    ),
    "a vector changed in place": (
        ["UPDATE chunks_embedding SET embedding = (SELECT embedding FROM chunks_embedding WHERE id = 1) WHERE id = 2"],
        ["chunks: 1 codes are not those of their vectors"],
    ),
    "a vector that is not one": (
        ["UPDATE chunks_embedding SET embedding = (SELECT list(0.0) FROM range(384))::FLOAT[384] WHERE id = 2"],
        [
            "chunks: 1 vectors are not of unit length in 384 dimensions",
            "chunks: 1 codes are not those of their vectors",
        ],
    ),
    "a chunk without a vector": (["DELETE FROM chunks_embedding WHERE id = 1"], ["chunks: 1 chunks have no vector"]),
    "a vector without a chunk": (["DELETE FROM chunks WHERE id IN (1, 2)"], ["chunks: 2 vectors have no chunk"]),
    "a chunk without a document": (
        ["DELETE FROM documents WHERE id = 3"],
        ["chunks: 1 chunks have no row in documents"],
    ),
}


@pytest.mark.parametrize("name", CHECKED)
def test_check_names_what_is_wrong(path, name):
    """check() says what differs and how many; once the file is made again, nothing differs."""
    statements, expected = CHECKED[name]
    change_tables(path, *statements)
    with sqlrag.connect(path) as db:
        found = db.check()
    assert len(found) == len(expected)
    for problem, start in zip(found, expected, strict=True):
        assert problem.startswith(start.format(file=index_file(path))), found
    index_file(path).unlink()
    with sqlrag.connect(path) as db:
        left = [problem for problem in db.check() if "differ" in problem or "codes" in problem]
    assert left == []


def test_check_finds_what_was_done_to_the_index_file(path):
    """Rows of the index file that were changed behind its back are found, text, code and words."""
    with apsw.Connection(str(index_file(path))) as connection:
        connection.execute("UPDATE chunks SET hash = zeroblob(16) WHERE id = 5")
        connection.execute("UPDATE chunks_codes SET codes = zeroblob(length(codes))")
        connection.execute("DELETE FROM chunks_fts WHERE rowid = 7")
    with sqlrag.connect(path) as db:
        found = db.check()
        assert len(found) == 3
        assert found[0].startswith(
            "chunks: 1 chunks differ between the tables and the index file: `sqlrag check --repair`"
        )
        assert found[1:] == [
            "chunks: 25 codes are not those of their vectors",
            "chunks: the full text does not match the chunks",
        ]
        db.repair()
        assert db.check() == []


def test_texts_and_vectors_are_in_duckdb_alone(path):
    """The index file has neither, however vectors are to be kept; a search returns both as DuckDB has them."""
    with sqlrag.connect(path) as db:
        db.ingest(PASSAGES, "rounded", vectors="int8")
        near = [
            db.execute(f"SELECT * FROM vector_top_k('{name}', :q, 9)", {"q": QUESTION}).fetchall()
            for name in db.indexes()
        ]
        assert near[0] == near[1]
    with apsw.Connection(str(index_file(path))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = index_file(path).read_bytes()
    with duckdb.connect(str(path)) as connection:
        rows = connection.execute("SELECT text, embedding FROM chunks JOIN chunks_embedding USING (id)").fetchall()
    for text, embedding in rows:
        assert text[:40].encode() not in content
        assert array("f", embedding[:8]).tobytes() not in content


def test_candidates_are_compared_in_duckdb(path):
    """The codes choose among many chunks, and DuckDB compares: nearly all of the nearest, at their exact distances."""
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((1_200, 384), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = vectors[7] + vectors[900]
    ids = pa.array(range(1_000, 2_200))
    embeddings = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 384)
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM chunks_embedding; DELETE FROM chunks")
        connection.register("made", pa.table({"id": ids, "embedding": embeddings}))
        connection.execute(f"INSERT INTO chunks {COLUMNS} SELECT id, id % 2 + 1, id, 0, 1, 'x', 1 FROM made")
        connection.execute("INSERT INTO chunks_embedding SELECT * FROM made")
    distances = np.linalg.norm(vectors - query, axis=1)
    sql = "SELECT id, distance FROM vector_top_k('chunks', CAST(:q AS FLOAT[384]), 20, :filter, :candidates)"
    with sqlrag.connect(path) as db:
        for where, of in ((None, range(1_200)), ("id = 2", range(1, 1_200, 2))):
            exact = [1_000 + place for place in sorted(of, key=distances.__getitem__)[:20]]
            for candidates, most_missed in ((None, 1), (5_000, 0), (20, 19)):
                bindings = {"q": query.tolist(), "filter": where, "candidates": candidates}
                found = db.execute(sql, bindings).fetchall()
                assert len(found) == 20
                assert len(set(exact) - {id_ for id_, _ in found}) <= most_missed
                assert all(distance == pytest.approx(distances[id_ - 1_000], abs=1e-5) for id_, distance in found)
                assert found == sorted(found, key=lambda row: row[::-1])


def test_in_memory(tmp_path):
    """A DuckDB database in memory has its index there too, and writes no file."""
    before = set(Path.cwd().iterdir())
    with sqlrag.connect(":memory:", engine="duckdb") as db:
        db.ingest(PASSAGES)
        assert len(db.search(QUESTION)) == 3
        assert db.check() == []
    assert set(Path.cwd().iterdir()) == before
