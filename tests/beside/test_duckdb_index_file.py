"""The index file of a DuckDB database, which several connections of a process keep in step with its tables."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import apsw
import pytest

import sqlrag
from sqlrag.engines.duckdb import index_copy as copying
from sqlrag.engines.duckdb.index_file import IndexFile
from sqlrag.engines.duckdb.index_tables import DuckDBTables
from sqlrag.text.documents import Document
from tests.engine.databases import copy_of

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
    write, compare = DuckDBTables.write_index_file, copying.chunk_differences

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
        monkeypatch.setattr(DuckDBTables, "write_index_file", late_write)
        monkeypatch.setattr(copying, "chunk_differences", long_comparison)
        writing = pool.submit(writer.ingest, [Document("a", "", "The walrus sleeps on the ice.", {}, "a")])
        assert committed.wait(10)
        assert found(reader, "walrus") == 1
        writing.result()
        assert (found(writer, "walrus"), writer.check(), reader.check()) == (1, [], [])


def test_d8_another_writer_commits_before_the_state_is_noted(path, monkeypatch):
    """The state that one writer notes is that of its own commit: what the other has committed is still to come."""
    noting, committed = threading.Event(), threading.Event()
    note, write = IndexFile.record_state, DuckDBTables.write_index_file

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
        monkeypatch.setattr(DuckDBTables, "write_index_file", write_second)
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


GARBAGE = [None, "", "nonsense", "{}", "[1]", "[" * 5_000, b"\x00\xff", 2**63 - 1, -1, 1e300]


def state_with(**changes: object) -> str:
    """Return a state that is none, for all that it looks like one."""
    return json.dumps({"embedder_hash": "", "version": 1, "bits": 14, "blocks": {}} | changes)


STATES = [
    state_with(bits=-1),
    state_with(bits=10**6),
    state_with(bits="x"),
    state_with(blocks=[]),
    state_with(blocks={"x": "1"}),
    state_with(blocks={"9" * 19: "1"}),
    state_with(version={}),
    state_with(more=1),
]


@pytest.mark.parametrize("read_only", [False, True], ids=["writing", "reading"])
@pytest.mark.parametrize("value", [*GARBAGE, *STATES], ids=lambda value: repr(value)[:24])
def test_x9_a_broken_state(path, value, read_only):
    """The index file is made again from DuckDB's tables, as after any other damage."""
    change_index_file(path, "UPDATE sqlrag_meta SET value = ? WHERE key = 'state:chunks'", value)
    assert_whole(path, read_only=read_only)


@pytest.mark.parametrize(
    "value",
    [None, "nonsense", *(pytest.param(value, marks=pytest.mark.slow) for value in (b"\x00\xff", 2**63 - 1))],
    ids=repr,
)
def test_x9_any_other_broken_entry(path, value):
    """The same for each value of each row of the index file's own tables."""
    with closing(apsw.Connection(f"{path}.sqlrag")) as index:
        own = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'sqlrag!_%' ESCAPE '!'"
        tables = [name for (name,) in index.execute(own)]
        columns = [
            (table, column)
            for table in tables
            for (column,) in index.execute("SELECT name FROM pragma_table_info(?)", (table,))
        ]
        rows = {table: index.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0] for table in tables}
    tried = 0
    for table, column in columns:
        for row in range(rows[table]):
            chosen = f"(SELECT rowid FROM {table} LIMIT 1 OFFSET {row})"
            if change_index_file(path, f"UPDATE OR IGNORE {table} SET {column} = ? WHERE rowid = {chosen}", value):
                assert_whole(path)
                tried += 1
    assert value is None or tried > 10


def change_index_file(path: str, sql: str, value: object) -> bool:
    """Change the index file behind sqlrag's back; tell whether its constraints let it."""
    with closing(apsw.Connection(f"{path}.sqlrag")) as index:
        try:
            index.execute(sql, (value,))
        except apsw.ConstraintError:
            return False
        return index.changes() > 0


def assert_whole(path: str, *, read_only: bool = False) -> None:
    """The database opens, finds what is in it, and finds nothing wrong."""
    with sqlrag.connect(path, read_only=read_only) as db:
        assert found(db, "glacier") > 0
        assert len(db.search("glacier ice")) == 3
        assert db.check() == []
