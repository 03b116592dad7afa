"""The file is replaced, moved or deleted under an open connection, as a restore or a deployment does."""

from __future__ import annotations

import os
import shutil

import pytest

import sqlrag
from tests.conftest import database_path


@pytest.fixture
def path(engine, tmp_path):
    """A database with a row and an index, and a backup of it beside it."""
    path = database_path(tmp_path / "live", engine)
    path.parent.mkdir()
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body VARCHAR)").fetchall()
        db.execute("INSERT INTO note VALUES (1, 'the ferry was late')").fetchall()
        db.create_index("notes", "note", "body")
    shutil.copytree(path.parent, tmp_path / "backup")
    return path


def restore(path) -> None:
    """Put the backup in the file's place; what stands beside the old file goes with it."""
    for file in path.parent.glob(f"{path.name}?*"):
        file.unlink()
    for file in (path.parent.parent / "backup").iterdir():
        file.replace(path.parent / file.name)


def test_a_backup_in_the_place_of_the_file(path):
    """Nothing is acknowledged that goes into the old file; the new one is as the backup was."""
    db = sqlrag.connect(path)
    restore(path)
    for call in (
        lambda: db.execute("INSERT INTO note VALUES (2, 'a kettle')").fetchall(),
        lambda: db.search("a kettle"),
        db.sync,
        lambda: db.ingest([]),
    ):
        with pytest.raises(sqlrag.Error, match="was moved, deleted or replaced while it was open"):
            call()
    db.close()
    with sqlrag.connect(path) as db:
        assert db.check() == []
        assert db.execute("SELECT * FROM note").fetchall() == [(1, "the ferry was late")]
        assert [hit.source_id for hit in db.search("a ferry")] == [1]


def test_a_file_that_is_moved_or_deleted(path, tmp_path):
    """The same, where nothing takes the file's place."""
    with sqlrag.connect(path) as db:
        path.rename(tmp_path / "elsewhere")
        with pytest.raises(sqlrag.Error, match="was moved, deleted or replaced"):
            db.execute("SELECT 1")
        (tmp_path / "elsewhere").rename(path)
        assert db.execute("SELECT count(*) FROM note").fetchall() == [(1,)]
        path.unlink()
        with pytest.raises(sqlrag.Error, match="was moved, deleted or replaced"):
            db.info()


def test_a_process_that_changes_its_folder(path, monkeypatch):
    """A relative path means the file that it meant when the database was opened."""
    monkeypatch.chdir(path.parent)
    with sqlrag.connect(path.name) as db:
        os.chdir(path.parent.parent)
        assert db.execute("SELECT count(*) FROM note").fetchall() == [(1,)]
