"""The index file of a DuckDB database, which several connections of a process keep in step with its tables."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

import sqlrag
from sqlrag.duckdb import copying
from sqlrag.duckdb.index_file import IndexFile
from sqlrag.duckdb.index_tables import IndexTables
from sqlrag.text.documents import Document
from tests.engine.databases import copy_of

pytestmark = pytest.mark.usefixtures("encoded_once")

PATIENCE = 0.5
"""Seconds that one side waits for what the other must not be able to do meanwhile."""


@pytest.fixture
def path(passage_files, tmp_path) -> str:
    """A database of the passages that the test may write."""
    return str(copy_of(passage_files["duckdb"], tmp_path))


def found(db: sqlrag.Database, word: str, index: str = "chunks") -> int:
    """Return how many chunks have a word."""
    return db.execute(f"SELECT count(*) FROM text_top_k('{index}', '{word}', 9)").fetchall()[0][0]


def test_d8_a_reader_compares_while_a_writer_writes(path, monkeypatch):
    """What the writer puts into the index file after the reader has compared is not put there by both."""
    committed, compared, written = threading.Event(), threading.Event(), threading.Event()
    write, compare = IndexTables.write_index_file, copying.chunk_differences

    def late_write(self, *arguments):
        committed.set()
        assert compared.wait(10)
        write(self, *arguments)
        written.set()

    def long_comparison(*arguments):
        differences = compare(*arguments)
        if differences.missing and not compared.is_set():
            compared.set()
            written.wait(PATIENCE)
        return differences

    with (
        closing(sqlrag.connect(path)) as writer,
        closing(sqlrag.connect(path)) as reader,
        ThreadPoolExecutor(1) as pool,
    ):
        monkeypatch.setattr(IndexTables, "write_index_file", late_write)
        monkeypatch.setattr(copying, "chunk_differences", long_comparison)
        writing = pool.submit(writer.ingest, [Document("a", "", "The walrus sleeps on the ice.", {}, "a")])
        assert committed.wait(10)
        assert found(reader, "walrus") == 1
        writing.result()
        assert (found(writer, "walrus"), writer.check(), reader.check()) == (1, [], [])


def test_d8_another_writer_commits_before_the_state_is_noted(path, monkeypatch):
    """The state that one writer notes is that of its own commit: what the other has committed is still to come."""
    noting, committed = threading.Event(), threading.Event()
    note, write = IndexFile.record_state, IndexTables.write_index_file

    def late_note(self, *arguments):
        if not noting.is_set():
            noting.set()
            assert committed.wait(10)
        note(self, *arguments)

    def write_second(self, *arguments):
        if noting.is_set():
            committed.set()
        write(self, *arguments)

    with closing(sqlrag.connect(path)) as one, closing(sqlrag.connect(path)) as other, ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(IndexFile, "record_state", late_note)
        monkeypatch.setattr(IndexTables, "write_index_file", write_second)
        writing = pool.submit(one.ingest, [Document("a", "", "The walrus sleeps on the ice.", {}, "a")])
        assert noting.wait(10)
        other.ingest([Document("b", "", "The ermine hunts in the snow.", {}, "b")])
        writing.result()
        for db in (one, other):
            assert (found(db, "walrus"), found(db, "ermine"), db.check()) == (1, 1, [])


def test_d8_an_index_made_after_a_reader_looked(path, monkeypatch):
    """A reader that knew of no such index does not take it out of the file."""
    looked, made = threading.Event(), threading.Event()
    records = IndexFile._records

    def long_look(self):
        known = records(self)
        if self is reader._engine.indexes and not looked.is_set():
            looked.set()
            made.wait(PATIENCE)
        return known

    with (
        closing(sqlrag.connect(path)) as writer,
        closing(sqlrag.connect(path)) as reader,
        ThreadPoolExecutor(1) as pool,
    ):
        writer.execute("CREATE TABLE notes AS SELECT 1 AS id, 'The walrus sleeps on the ice.' AS body")
        monkeypatch.setattr(IndexFile, "_records", long_look)
        reading = pool.submit(found, reader, "ice")
        assert looked.wait(10)
        writer.create_index("notes_index", "notes", "body", key="id")
        made.set()
        reading.result()
        assert found(writer, "walrus", "notes_index") == 1
        assert found(reader, "walrus", "notes_index") == 1
