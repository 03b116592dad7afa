"""An ingest that is stopped, by kill -9 or by Ctrl-C, at any moment: the database is sound, and the next goes on."""

from __future__ import annotations

import random
import signal
import time

import pytest

import sqlrag
from sqlrag.text.documents import Document
from tests.conftest import database_path
from tests.ingest.children import MAX_TOKENS, Child, check, ingest
from tests.ingest.content import assert_holds, chunks_of, read_texts, write_folder

pytestmark = pytest.mark.slow

KILLS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty files, some 240 chunks: a second's work in fifteen commits."""
    return write_folder(tmp_path_factory.mktemp("docs"), 40)


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory):
    """Eight files, 48 chunks: three commits."""
    return write_folder(tmp_path_factory.mktemp("few-docs"), 8)


@pytest.fixture(scope="module")
def undisturbed(folder, tmp_path_factory):
    """The chunks of an ingest that nobody stopped."""
    with sqlrag.connect(tmp_path_factory.mktemp("undisturbed") / "whole.db") as db:
        db.ingest(folder, max_tokens=MAX_TOKENS)
        return chunks_of(db)


def test_kill_9_at_any_moment(engine, folder, undisturbed, tmp_path):
    """After each of six kills it opens and is sound; then the ingest gives what an undisturbed one gives."""
    path = database_path(tmp_path, engine)
    moments = [random.uniform(0.0, 0.35) for _ in range(KILLS)]
    killed = 0
    for moment in moments:
        child = Child(ingest, path, folder)
        child.wait_until_ready()
        time.sleep(moment)
        child.process.kill()
        child.process.join()
        killed += child.process.exitcode == -signal.SIGKILL
        assert Child(check, path).result() == [], moments
    assert killed > 0
    with sqlrag.connect(path) as db:
        report = db.ingest(folder, max_tokens=MAX_TOKENS)  # perhaps none came far enough to note it
        assert report.added + report.unchanged == 40
        assert chunks_of(db) == undisturbed, moments
        assert_holds(db, read_texts(folder))


@pytest.mark.usefixtures("real_models")
def test_ctrl_c_at_any_moment(engine, folder, tmp_path, monkeypatch):
    """KeyboardInterrupt comes out as itself; the same connection goes on: sound, and complete after the next run."""
    monkeypatch.setattr("sqlrag.indexing.ingest.BATCH_CHUNKS", 16)
    interrupted = 0
    former = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with sqlrag.connect(database_path(tmp_path, engine)) as db:
            db.embedder.encode_document(["the model is loaded"])
            moments = [random.uniform(0.005, 0.25) for _ in range(8)]
            for moment in moments:
                try:
                    signal.setitimer(signal.ITIMER_REAL, moment)
                    db.ingest(folder, max_tokens=MAX_TOKENS)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except KeyboardInterrupt:
                    interrupted += 1
                assert db.check() == [], moments
            assert interrupted > 0
            db.ingest(folder)
            assert_holds(db, read_texts(folder))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


PLACES = {
    "sqlite": ["sqlrag.store.writer.IndexWriter.insert", "sqlrag.engines.document_writer.DocumentWriter._claim"],
    "duckdb": [
        "sqlrag.engines.duckdb.index_copy.IndexCopy.insert",
        "sqlrag.engines.duckdb.index_tables.DuckDBTables.insert",
        "sqlrag.engines.duckdb.index_tables.DuckDBTables.write_index_file",
        "sqlrag.engines.duckdb.index_file.IndexFile.record_state",
    ],
}


@pytest.mark.parametrize(
    ("engine", "place"), [(engine, place) for engine, places in PLACES.items() for place in places]
)
def test_a_stop_between_two_steps(engine, place, small_folder, tmp_path, monkeypatch):
    """Wherever in the second batch it stops, the next ingest on the same connection makes all whole."""
    monkeypatch.setattr("sqlrag.indexing.ingest.BATCH_CHUNKS", 16)
    with sqlrag.connect(database_path(tmp_path, engine)) as db:
        with monkeypatch.context() as patch:
            batches = []

            def stop(*_):
                raise KeyboardInterrupt

            def progress(report):
                if report.chunks and not batches:
                    batches.append(report.chunks)
                    patch.setattr(place, stop)

            with pytest.raises(KeyboardInterrupt):
                db.ingest(small_folder, max_tokens=MAX_TOKENS, progress=progress)
        assert db.check() == []
        assert db.execute("SELECT count(*) FROM text_top_k('chunks', 'note', 1000)").fetchall()[0][0] >= batches[0]
        db.ingest(small_folder)
        assert_holds(db, read_texts(small_folder))


def test_a_stop_between_the_two_commits_and_another_ingest(tmp_path, monkeypatch):
    """DuckDB has committed, the index file not: an ingest of something else on the same connection brings both."""
    with sqlrag.connect(database_path(tmp_path, "duckdb")) as db:
        (tmp_path / "one.txt").write_text("The comet is back.")
        (tmp_path / "two.txt").write_text("The ferry is late.")
        with monkeypatch.context() as patch:

            def stop(*_):
                raise KeyboardInterrupt

            patch.setattr("sqlrag.engines.duckdb.index_tables.DuckDBTables.write_index_file", stop)
            with pytest.raises(KeyboardInterrupt):
                db.ingest(tmp_path / "one.txt")
        db.ingest(tmp_path / "two.txt")
        assert_holds(db, read_texts(tmp_path))


def long_document(chunks: int = 70) -> Document:
    """Return a document of about so many chunks of twelve tokens."""
    text = "\n\n".join(f"The comet was seen {number} times over the bank." for number in range(chunks))
    return Document("long", "Long", text, {}, "hash of the long one")


@pytest.mark.parametrize("again", ["same connection", "new connection"])
def test_a_long_document_goes_on_at_the_first_missing_part(engine, tmp_path, monkeypatch, again):
    """Parts that were committed are not embedded again; until the last one is there, info and check say so."""
    monkeypatch.setattr("sqlrag.indexing.ingest.BATCH_CHUNKS", 16)
    document = long_document()
    path = database_path(tmp_path, engine)
    db = sqlrag.connect(path)
    stopped_at = []

    def progress(report):
        if report.chunks >= 32:
            stopped_at.append(report.chunks)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        db.ingest([document], max_tokens=12, progress=progress)
    assert stopped_at == [32]
    assert [info.backlog for info in db.info()] == [1]
    assert db.check() == ["chunks: 1 documents are ingested in part: run the same ingest again"]
    if again == "new connection":
        db.close()
        db = sqlrag.connect(path)
    encoded = db.embedder.texts_encoded
    report = db.ingest([document])
    total = db.info()[0].chunks
    assert total > 64
    assert report.chunks == db.embedder.texts_encoded - encoded == total - 32
    assert [info.backlog for info in db.info()] == [0]
    assert_holds(db, {"long": document.text})
    db.close()


def test_a_long_document_that_changed_meanwhile_begins_anew(engine, tmp_path, monkeypatch):
    """The parts of the old content are not taken for those of the new one."""
    monkeypatch.setattr("sqlrag.indexing.ingest.BATCH_CHUNKS", 16)

    def progress(report):
        if report.chunks >= 32:
            raise KeyboardInterrupt

    with sqlrag.connect(database_path(tmp_path, engine)) as db:
        with pytest.raises(KeyboardInterrupt):
            db.ingest([long_document()], max_tokens=12, progress=progress)
        new = Document("long", "Long", "A walnut.\n\n" * 40, {}, "hash of the new one")
        assert db.ingest([new]).changed == 1
        assert_holds(db, {"long": new.text})
