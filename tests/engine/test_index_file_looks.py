"""How the index file notices that DuckDB's tables have changed: without asking, where nothing was committed."""

from __future__ import annotations

from pathlib import Path

import apsw
import duckdb
import pytest

import sqlrag
from sqlrag.engines.duckdb import file_signature
from sqlrag.engines.duckdb import index_copy as copying
from sqlrag.engines.duckdb.indexes import DuckDBIndexes
from tests.engine.databases import change_tables, copy_of

ZEBRA = [
    "INSERT INTO chunks (id, source_id, ordinal, start_char, end_char, text, token_count) "
    "VALUES (99, 1, 7, 0, 12, 'a lone zebra', 3)",
    "INSERT INTO chunks_embedding SELECT 99, embedding FROM chunks_embedding WHERE id = 1",
]
NO_ZEBRA = ["DELETE FROM chunks_embedding WHERE id = 99", "DELETE FROM chunks WHERE id = 99"]


@pytest.fixture
def path(passage_files, tmp_path) -> Path:
    """A copy of the passages on DuckDB, with its index file."""
    return copy_of(passage_files["duckdb"], tmp_path)


@pytest.fixture
def settled(monkeypatch):
    """Files whose last change is long ago, so that they can tell."""
    monkeypatch.setattr(file_signature, "_SETTLED", 0)


@pytest.fixture
def looks(monkeypatch) -> list[None]:
    """One for each time that DuckDB is asked for the state of the tables."""
    found: list[None] = []
    glance = DuckDBIndexes._glance

    def counted(self):
        found.append(None)
        return glance(self)

    monkeypatch.setattr(DuckDBIndexes, "_glance", counted)
    return found


@pytest.fixture
def compared(monkeypatch) -> list[tuple[list[int], list[int]]]:
    """The ids that were to be deleted from the index file and copied into it, comparison by comparison."""
    found: list[tuple[list[int], list[int]]] = []
    differences = copying.chunk_differences

    def noted(database, index, record):
        found.append(differences(database, index, record))
        return found[-1]

    monkeypatch.setattr(copying, "chunk_differences", noted)
    return found


def zebras(db: sqlrag.Database) -> list[tuple]:
    return db.execute("SELECT id FROM text_top_k('chunks', 'zebra', 5)").fetchall()


@pytest.mark.usefixtures("settled")
def test_nothing_committed_nothing_asked(path, looks):
    """Queries after the first do not ask for the state, a write of the user's asks once."""
    with sqlrag.connect(path) as db:
        zebras(db)
        looks.clear()
        for _ in range(3):
            zebras(db)
            db.execute("SELECT count(*) FROM chunks").fetchall()
        assert looks == []
        db.execute("CREATE TABLE other AS SELECT 1").fetchall()
        zebras(db)
        zebras(db)
        assert len(looks) == 1


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("checkpoint", [False, True], ids=["log", "checkpoint"])
def test_whoever_commits_is_seen(path, checkpoint):
    """What another connection of the process commits shows in the next query, however it gets onto the disk."""
    with sqlrag.connect(path) as db, duckdb.connect(str(path)) as other:
        assert zebras(db) == []
        for _ in range(3):
            for statements, expected in ((ZEBRA, [(99,)]), (NO_ZEBRA, [])):
                before = zebras(db)
                other.execute("BEGIN")
                for statement in statements:
                    other.execute(statement)
                assert zebras(db) == before
                other.execute("COMMIT")
                if checkpoint:
                    other.execute("CHECKPOINT")
                assert zebras(db) == expected


def test_just_after_a_change_files_are_not_believed(path, looks):
    """A change in the same instant of a coarse clock would not show on them."""
    with sqlrag.connect(path) as db:
        for statement in ZEBRA:
            db.execute(statement).fetchall()
        zebras(db)
        looks.clear()
        zebras(db)
        assert len(looks) == 1


@pytest.mark.usefixtures("settled")
def test_the_process_goes_elsewhere(path, tmp_path, monkeypatch):
    """A relative path means the folder that it was opened from."""
    monkeypatch.chdir(path.parent)
    with sqlrag.connect(path.name) as db:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        Path(path.name).write_text("another file")
        zebras(db)
        for statement in ZEBRA:
            db.execute(statement).fetchall()
        assert zebras(db) == [(99,)]


def test_only_what_changed_is_copied(path, compared):
    """Other rows are left alone; what is found is what a new index file would have."""
    with sqlrag.connect(path) as db:
        assert compared == []
        for statement in ZEBRA:
            db.execute(statement).fetchall()
        db.execute("DELETE FROM chunks_embedding WHERE id = 9").fetchall()
        assert zebras(db) == [(99,)]
        assert compared == [([9], [99])]
        assert [problem for problem in db.check() if "differ" in problem] == []


@pytest.mark.parametrize("id_", [-5, 2**62, -(2**63), 2**63 - 1])
def test_ids_far_apart(path, id_):
    """An id from anywhere is found."""
    change_tables(path, *(statement.replace("99", str(id_)) for statement in ZEBRA))
    with sqlrag.connect(path) as db:
        assert zebras(db) == [(id_,)]
        for statement in NO_ZEBRA:
            db.execute(statement.replace("99", str(id_))).fetchall()
        assert zebras(db) == []
        assert db.check() == []


def test_a_state_of_an_earlier_sqlrag(path, compared):
    """Its text says nothing to this one: all is compared, nothing is copied, and the file has a new one."""
    with apsw.Connection(f"{path}.sqlrag") as connection:
        connection.execute("UPDATE sqlrag_meta SET value = '[\"hash\", [1, \"[30]\"]]' WHERE key = 'state:chunks'")
    for expected in ([([], [])], []):
        with sqlrag.connect(path) as db:
            assert db.check() == []
        assert compared == expected
        compared.clear()
