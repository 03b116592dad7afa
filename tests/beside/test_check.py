"""F11: `check` of a connection that has been open for long, beside others that write."""

from __future__ import annotations

import apsw
import pytest

import sqlrag
from sqlrag.store.driver import integrity
from sqlrag.text.documents import Document
from tests.conftest import database_path


def documents(first: int, last: int) -> list[Document]:
    return [
        Document(f"d{n}", "", f"Text number {n} of many: {n * 7} {n * 13}.", {}, f"h{n}") for n in range(first, last)
    ]


def test_f11_what_others_have_written_is_no_damage(engine, tmp_path):
    """FTS5 merges its segments as others write: what this connection knows of them is gone."""
    path = database_path(tmp_path, engine)
    with sqlrag.connect(path) as long_lived, sqlrag.connect(path) as other:
        for part in range(9):
            other.ingest(documents(5 * part, 5 * part + 5))
            assert long_lived.check() == []
        if engine == "sqlite":
            with apsw.Connection(str(path)) as program:
                program.execute("INSERT INTO chunks_fts (chunks_fts) VALUES ('optimize')")
            assert long_lived.check() == []
            long_lived.execute("BEGIN; UPDATE documents SET title = 'x'")
            assert long_lived.check() == []


def test_f11_real_damage_is_still_told(tmp_path):
    """A row that its table forbids."""
    path = tmp_path / "damaged.db"
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE t (x INTEGER CHECK (x > 1))")
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute("INSERT INTO t VALUES (1)")
    with sqlrag.connect(path) as db:
        assert db.check() == ["database: CHECK constraint failed in t"]


@pytest.mark.parametrize("filename", [":memory:", ""])
def test_a_database_without_a_file_has_only_this_connection(filename):
    """There is nobody else whose writes it could have missed."""
    assert integrity.damage(apsw.Connection(filename)) == []
