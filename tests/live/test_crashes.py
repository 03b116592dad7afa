"""kill -9 and writes that fail in the middle of an operation: the short form of benchmarks/crashes.py."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
from pathlib import Path

import apsw
import pytest

import sqlrag
from sqlrag.errors import DiskFullError, ReadOnlyError
from sqlrag.store import upkeep
from tests.conftest import database_path
from tests.live.company import COMPANY
from tests.live.crashes import Case
from tests.live.faults import disk_at
from tests.live.operations import OPERATIONS, SMALL, make_table

pytestmark = pytest.mark.slow

KILLS = 4


@pytest.fixture(scope="module")
def embedder():
    """The bundled model, loaded once."""
    return sqlrag.Embedder()


@pytest.fixture
def small(monkeypatch):
    """Many commits of little work, here as in the children."""
    for (module, name), value in SMALL.items():
        monkeypatch.setattr(module, name, value)


@pytest.fixture(params=OPERATIONS, ids=lambda operation: operation.name)
def case(request, engine, embedder, small, tmp_path):
    """Each operation on each engine, in one of its variants."""
    variant = random.randrange(request.param.variants)
    return Case(engine, request.param, variant, tmp_path / "case", embedder).prepare(times=1)


@pytest.mark.slow
def test_kill_9_and_failed_writes(case):
    """Whatever stops it whenever: the file is sound, nothing committed is lost, the operation goes on."""
    moments = [random.uniform(0.0, case.seconds) for _ in range(KILLS)]
    company = ["alone", *random.sample([kind for kind in COMPANY if kind != "alone"], KILLS - 1)]
    for kind, moment in zip(company, moments, strict=True):
        reading = kind == "alone" and case.operation.name != "repair"
        outcome = case.killed(moment, reading=reading, company=kind)
        assert outcome.problems == [], (case.variant, "killed", moment, kind)
    for kind, nth in (("full", 1), ("full", 24), ("io", 8)):
        outcome = case.failed(kind, nth)
        assert outcome.problems == [], (case.variant, kind, nth)
        assert outcome.under_way or nth > 1
    if case.engine == "duckdb":
        outcome = case.failed("limit", 2)
        assert outcome.problems == [], (case.variant, "limit")
        assert outcome.under_way


@pytest.mark.parametrize("resume", ["sync", "ingest"])
def test_candidates_that_were_not_measured_are_measured(engine, resume, small, tmp_path, monkeypatch):
    """Stopped while it measures how many candidates a search needs; the next run, to which nothing is new, does it."""
    monkeypatch.setattr(upkeep, "SMALLEST", 100)
    path = database_path(tmp_path, engine)

    def work(db, progress=None):
        if resume == "ingest":
            return db.ingest(notes, max_tokens=40, progress=progress)
        return db.sync(progress=progress)

    def stop(progress):
        if (progress.current or "").startswith("index: measuring"):
            raise KeyboardInterrupt

    notes = tmp_path / "notes.jsonl"
    notes.write_text("".join(f'{{"text": "Note {number} of a comet."}}\n' for number in range(120)))
    with sqlrag.connect(path, sync_rows=0) as db:
        if resume == "sync":
            with monkeypatch.context() as patch:
                patch.setattr(upkeep, "SMALLEST", 20_000)
                make_table(db, 0, 120)
            db.execute("UPDATE parcel SET body = 'A walnut.' WHERE id = 5").fetchall()
        with pytest.raises(KeyboardInterrupt):
            work(db, stop)
        assert db.info()[0].recall is None
    with sqlrag.connect(path, sync_rows=0) as db:
        report = work(db)
        assert (report.added, report.changed) == (0, 0)
        assert db.info()[0].recall >= 0.995
        assert db.check() == []


def test_a_reindex_whose_beginning_did_not_reach_the_index_file(engine, tmp_path, monkeypatch):
    """Stopped when the new index has just been made; on the same connection it goes on."""
    places = {
        "sqlite": "sqlrag.indexing.rebuilding.sync",
        "duckdb": "sqlrag.engines.duckdb.index_file.bring_to",
    }
    place = places[engine]

    def stop(*_, **__):
        raise KeyboardInterrupt

    with sqlrag.connect(database_path(tmp_path, engine), sync_rows=0) as db:
        make_table(db, 0, 8, sentences=3)
        with monkeypatch.context() as patch:
            patch.setattr(place, stop)
            with pytest.raises(KeyboardInterrupt):
                db.reindex("notes", max_tokens=24)
        assert db.reindex("notes", max_tokens=24).added == 8
        assert db.check() == []


def test_an_ingest_whose_beginning_did_not_reach_the_index_file(tmp_path, monkeypatch):
    """DuckDB has the new index, its file not; an ingest of nothing on the same connection brings it there."""

    def stop(*_):
        raise KeyboardInterrupt

    empty = tmp_path / "empty"
    empty.mkdir()
    with sqlrag.connect(database_path(tmp_path, "duckdb")) as db:
        with monkeypatch.context() as patch:
            patch.setattr("sqlrag.engines.duckdb.index_file.bring_to", stop)
            with pytest.raises(KeyboardInterrupt):
                db.ingest(empty)
        assert db.ingest(empty).added == 0
        assert [info.index for info in db.info()] == ["chunks"]
        assert db.check() == []


def test_a_full_disk_is_no_damage(tmp_path, monkeypatch):
    """A repair that finds no room to make the index file anew leaves the file, and the connection, as they were."""
    path = database_path(tmp_path, "duckdb")
    with sqlrag.connect(path, sync_rows=0) as db:
        make_table(db, 0, 8)
    with contextlib.closing(apsw.Connection(f"{path}.sqlrag")) as file:
        file.execute("DELETE FROM notes_fts_docsize")

    def no_room(*_):
        raise apsw.FullError

    file = Path(f"{path}.sqlrag").stat().st_ino
    with sqlrag.connect(path, sync_rows=0) as db:
        with monkeypatch.context() as patch:
            patch.setattr("sqlrag.engines.duckdb.index_file.drop_index", no_room)
            with pytest.raises(DiskFullError):
                db._engine.indexes.copy_again()
        assert Path(f"{path}.sqlrag").stat().st_ino == file
        assert db.repair() == []


@pytest.fixture
def half_written(tmp_path):
    """A SQLite file, and its journal, as a process leaves them that is killed while it writes."""
    whole, left = tmp_path / "whole", tmp_path / "left"
    whole.mkdir()
    with contextlib.closing(apsw.Connection(str(whole / "rows.db"))) as connection:
        connection.execute("CREATE TABLE theirs (id INTEGER)")  # a file of somebody else's keeps its journal
    with sqlrag.connect(whole / "rows.db") as db:
        make_table(db, 0, 40)
    connection = apsw.Connection(str(whole / "rows.db"))
    connection.execute("PRAGMA cache_size = 1; PRAGMA recursive_triggers = 0; BEGIN")
    connection.execute("CREATE TABLE more AS SELECT hex(randomblob(500)) FROM notes, notes LIMIT 2000")
    connection.execute("DELETE FROM notes_fts_docsize")
    shutil.copytree(whole, left)
    connection.execute("ROLLBACK")
    connection.close()
    assert (left / "rows.db-journal").stat().st_size > 1000
    return left


def test_a_half_written_file_is_read(half_written):
    """Opened for reading only, the file is what it was before the write that was never finished."""
    with sqlrag.connect(half_written / "rows.db", read_only=True) as db:
        assert db.execute("SELECT count(*) FROM parcel").fetchall() == [(40,)]
        assert len(db.search("a kettle", top_k=5, top_n=5)) == 5
        assert db.check() == []


def test_a_half_written_file_on_a_medium_that_cannot_be_written(half_written, tmp_path):
    """One clear error: nobody can tell there what was committed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        mounted = disk_at(disk)
        with mounted as medium:
            shutil.copytree(half_written, disk, dirs_exist_ok=True)
            medium.remount("ro")
            with pytest.raises(ReadOnlyError, match="a process was stopped while it wrote"):
                sqlrag.connect(disk / "rows.db", read_only=True)
            medium.remount("rw")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting a tmpfs needs root ({error})")
