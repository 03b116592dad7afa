"""sqlrag_scan() finds the rows that sqlite-vec finds: the same ids in the same order, at the same distances."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import apsw
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sqlrag
from sqlrag.engines.sqlite.functions import SQLiteIndexes, load_vec
from sqlrag.errors import NotADatabaseError
from sqlrag.models import Embedder
from sqlrag.store.cells import cell_training
from sqlrag.store.cells.cell_training import CellTraining
from sqlrag.store.driver import extensions as libraries
from sqlrag.store.driver.built_library import built_library, loadable_path
from sqlrag.store.driver.error_translation import translated
from sqlrag.store.registry import IndexRecord
from sqlrag.store.top_k import Index, Matching, has_scan
from sqlrag.store.writer import IndexWriter, immediate
from tests.sizes import examples

pytestmark = pytest.mark.skipif(built_library() is None, reason="sqlrag's C library was not built: apt install gcc")

EVERYWHERE = 4096


@dataclass
class Stored:
    """An index of bare vectors in memory."""

    dimension: int
    vectors: str = "float32"
    seed: int = 0
    connection: apsw.Connection = field(default_factory=lambda: apsw.Connection(":memory:"))

    def __post_init__(self) -> None:
        load_vec(self.connection)
        self.record = IndexRecord(
            "papers", "documents", "id", "m", "h", self.dimension, "", "", 256, 200, 0, vectors=self.vectors
        )
        self.writer = IndexWriter(self.connection, self.record)
        self.ids: list[int] = []
        with immediate(self.connection):
            self.writer.create()

    def random(self, count: int) -> np.ndarray:
        """Return unit vectors around some topics."""
        self.seed += 1
        generator = np.random.default_rng(self.seed)
        topics = np.random.default_rng(0).standard_normal((8, self.dimension))
        found = topics[generator.integers(8, size=count)] + generator.standard_normal((count, self.dimension))
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)

    def insert(self, vectors: np.ndarray) -> None:
        with immediate(self.connection):
            first = self.writer.next_id()
            ids = range(first, first + len(vectors))
            self.writer.insert([(id_, id_, 0, 0, 4, "text", 1) for id_ in ids], vectors)
        self.ids.extend(ids)

    def delete(self, ids: list[int]) -> None:
        with immediate(self.connection):
            self.writer.delete_chunks(ids)
        self.ids = sorted(set(self.ids) - set(ids))

    def keep_up(self, until: float = 1.0) -> None:
        """Make cells where they are due; until a share of the codes has moved into them."""

        def stop(what: str, share: float) -> None:
            if what == "moving" and share > until:
                raise KeyboardInterrupt

        try:
            CellTraining(self.connection, self.record, stop).keep_up()
        except KeyboardInterrupt:
            assert until < 1.0

    def index(self, *, scans: bool) -> Index:
        return Index(self.connection, self.record, scans=scans)


def assert_same(scanned: list[tuple], found: list[tuple]) -> None:
    """The same rows: `id, number, rank`."""
    assert [(row[0], row[2]) for row in scanned] == [(row[0], row[2]) for row in found]
    assert [row[1] for row in scanned] == pytest.approx([row[1] for row in found], abs=1e-6)


def matching(ids: list[int]) -> Matching:
    """Return a filter that lets these chunks through."""
    select = "SELECT value AS id FROM json_each(:listed)"
    return Matching(select, set(ids).intersection, {"listed": json.dumps(ids)})


def assert_all_same(stored: Stored, query: np.ndarray, k: int, every: int) -> None:
    """Whatever an index is asked for, both find it."""
    scan, vec0, vector = stored.index(scans=True), stored.index(scans=False), query.tobytes()
    some = stored.ids[::every]
    for nprobe in (None, 1, 3, EVERYWHERE):
        assert_same(scan.vector_top_k(vector, k, nprobe=nprobe), vec0.vector_top_k(vector, k, nprobe=nprobe))
    assert_same(scan.distances(vector, k, json.dumps(some)), vec0.distances(vector, k, json.dumps(some)))
    assert scan.near_ids(vector, k, nprobe=2) == vec0.near_ids(vector, k, nprobe=2)
    options = {"vector_weight": 0.7, "nprobe": 2}
    found = [index.hybrid_top_k("text", vector, k, **options) for index in (scan, vec0)]
    assert_same(*found)
    if not scan.cells()[0]:
        found = [index.vector_top_k(vector, k, matching(some)) for index in (scan, vec0)]
        assert_same(*found)
        assert len(found[0]) == min(k, len(some)) or stored.vectors == "int8"


@pytest.mark.sized
@settings(max_examples=examples(8, 25), deadline=None)
@given(
    dimension=st.sampled_from([1, 7, 32, 33, 100, 384]),
    vectors=st.sampled_from(["float32", "int8"]),
    count=st.integers(1, 400),
    k=st.sampled_from([1, 10, 40]),
    every=st.sampled_from([1, 7, 60]),
    seed=st.integers(0, 10**6),
)
def test_an_index_that_is_searched_whole(dimension, vectors, count, k, every, seed):  # noqa: PLR0917
    """Vectors of any length, after inserts and deletes, with and without a list of ids."""
    stored = Stored(dimension, vectors, seed)
    stored.insert(stored.random(count))
    stored.delete(stored.ids[1::3])
    stored.insert(stored.random(30))
    for query in stored.random(3):
        assert_all_same(stored, query, k, every)


@pytest.mark.sized
@settings(max_examples=examples(4, 12), deadline=None)
@given(
    dimension=st.sampled_from([16, 33, 96]),
    vectors=st.sampled_from(["float32", "int8"]),
    k=st.sampled_from([1, 10, 40]),
    until=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_an_index_with_cells(dimension, vectors, k, until, seed):
    """Cells, codes in none, deletes, and codes on their way from older cells to new ones."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("FLAT_CHUNKS", 300), ("QUERIES", 60), ("_BLOCKS_AT_ONCE", 2)):
            patch.setattr(cell_training, name, value)
        stored = Stored(dimension, vectors, seed)
        stored.insert(stored.random(400))
        stored.keep_up()
        stored.delete(stored.ids[5:200:2])
        stored.insert(stored.random(1400))
        stored.keep_up(until)
        some = json.dumps(stored.ids[:150:3])
        stored.connection.execute(  # as while the first codes of an index are made
            "CREATE TEMP TABLE moved AS SELECT rowid AS id, code FROM papers_codes "
            "WHERE rowid IN (SELECT value FROM json_each(?))",
            (some,),
        )
        stored.writer.delete_codes(json.loads(some))
        stored.connection.execute(
            "INSERT INTO papers_codes (rowid, cell, code) SELECT id, 0, vec_int8(code) FROM moved"
        )
    assert stored.index(scans=True).cells()[0]
    for query in stored.random(3):
        assert_all_same(stored, query, k, 7)


@pytest.mark.parametrize("vectors", ["float32", "int8"])
def test_of_equally_far_ones_the_same(vectors):
    """Copies of one vector, more than are wanted: both take the same of them, by the rule in extension/shadow.h."""
    stored = Stored(20, vectors)
    copies = np.repeat(stored.random(2), 150, axis=0)
    stored.insert(copies)
    stored.delete(stored.ids[::4])
    assert_all_same(stored, copies[0], 25, 3)
    assert_all_same(stored, copies[-1], 60, 2)


def test_more_rows_than_vec0_gives():
    """Beyond 4,096 rows: all distances, in order."""
    stored = Stored(8)
    stored.insert(stored.random(5000))
    query = stored.random(1)[0].tobytes()
    rows = stored.index(scans=True).vector_top_k(query, 4500)
    assert len(rows) == 4500
    assert_same(rows, stored.index(scans=False).vector_top_k(query, 4500))


@pytest.mark.parametrize("dimension", [8, 384])
def test_large_pages_and_small_ones(dimension):
    """Where the vectors lie in the file's pages is nothing that shows."""
    for size in (512, 4096, 65536):
        connection = apsw.Connection(":memory:")
        connection.execute(f"PRAGMA page_size = {size}")
        stored = Stored(dimension, connection=connection)
        stored.insert(stored.random(300))
        assert_all_same(stored, stored.random(1)[0], 20, 5)


# What is wrong


def scan(connection: apsw.Connection, *arguments: object, function: str = "sqlrag_scan") -> list[tuple]:
    marks = ", ".join("?" * len(arguments))
    return list(connection.execute(f"SELECT id, distance, measured FROM {function}({marks})", arguments))


QUERY = np.ones(4, np.float32).tobytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("papers_vec", "float32 L2", QUERY), "needs table, metric, query, k"),
        ((None, "float32 L2", QUERY, 1), "table is the name"),
        (("papers_vec", "cosine", QUERY, 1), "metric is 'float32 L2'"),
        (("papers_vec", "float32 L2", None, 1), "query is a BLOB"),
        (("papers_vec", "float32 L2", b"", 1), "query is a BLOB"),
        (("papers_vec", "float32 L2", QUERY[:-1], 1), "query is a BLOB"),
        (("papers_vec", "int8 L1", bytes(65537), 1), "query is a BLOB"),
        (("papers_vec", "float32 L2", np.full(4, np.nan, np.float32).tobytes(), 1), "no number"),
        (("papers_vec", "float32 L2", np.full(4, np.inf, np.float32).tobytes(), 1), "no number"),
        (("papers_vec", "float32 L2", QUERY, -1), "k is a whole number"),
        (("papers_vec", "float32 L2", QUERY, None), "k is a whole number"),
        (("papers_vec", "float32 L2", QUERY, 1.5), "k is a whole number"),
        (("papers_vec", "float32 L2", QUERY, 1, 7), "JSON arrays"),
        (("papers_codes", "int8 L1", QUERY, 1, None, "[1"), "malformed JSON"),
        *(
            (("papers_vec", "float32 L2", QUERY, 1, ids), "ids is a JSON array")
            for ids in (
                "",
                "[",
                "[1",
                "[1,",
                "[1,]",
                "[,1]",
                "[a]",
                "1",
                '["1"]',
                "[1.5]",
                "[1] x",
                "[9223372036854775808]",
            )
        ),
        (("papers_vec", "float32 L2", QUERY, 1, None, "[0]"), "no such column: partition00"),
        (("nothing_vec", "float32 L2", QUERY, 1), "no such table"),
        (('"; DROP TABLE papers; --', "float32 L2", QUERY, 1), "no such table"),
        (("papers_vec", "float32 L2", QUERY[:8], 1), "vectors of index 'papers' are damaged"),
    ],
)
def test_arguments_that_are_none(arguments, words):
    """Each is one clear error."""
    stored = Stored(4)
    stored.insert(stored.random(3))
    with pytest.raises(apsw.Error, match=words) as caught:
        scan(stored.connection, *arguments)
    assert "\n" not in str(caught.value)


def test_a_list_of_no_ids_and_k_0():
    """Nothing is found among none, and none are found of many."""
    stored = Stored(4)
    stored.insert(stored.random(3))
    assert scan(stored.connection, "papers_vec", "float32 L2", QUERY, 5, " [ ] ") == []
    assert scan(stored.connection, "papers_vec", "float32 L2", QUERY, 0) == []
    everything = json.dumps([-(2**63), 2**63 - 1, 2, 2, -5])
    assert [row[::2] for row in scan(stored.connection, "papers_vec", "float32 L2", QUERY, 5, everything)] == [(2, 1)]


DAMAGES = [
    "UPDATE papers_{table}_vector_chunks00 SET vectors = x'00'",
    "UPDATE papers_{table}_vector_chunks00 SET vectors = substr(vectors, 2)",
    "UPDATE papers_{table}_vector_chunks00 SET vectors = zeroblob(3 * length(vectors))",
    "UPDATE papers_{table}_vector_chunks00 SET vectors = 7",
    "DELETE FROM papers_{table}_vector_chunks00",
    "UPDATE papers_{table}_chunks SET validity = x''",
    "UPDATE papers_{table}_chunks SET validity = x'ff'",
    "UPDATE papers_{table}_chunks SET validity = 'a text'",
    "UPDATE papers_{table}_chunks SET rowids = substr(rowids, 4)",
    "UPDATE papers_{table}_chunks SET rowids = zeroblob(80000)",
    "UPDATE papers_{table}_chunks SET rowids = 5",
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("vectors", ["float32", "int8"])
def test_a_damaged_block_is_named(damage, vectors):
    """What sqlite-vec has not written so is an error that says what to do."""
    stored = Stored(4, vectors)
    stored.insert(stored.random(100))
    stored.connection.execute(damage.format(table="vec" if vectors == "float32" else "codes"))
    words = "vectors of index 'papers' are damaged: sqlrag check --repair makes them anew"
    with pytest.raises(NotADatabaseError, match=words), translated("a.db"):
        stored.index(scans=True).vector_top_k(QUERY, 5)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE papers_vec_rowids SET chunk_offset = -1",
        "UPDATE papers_vec_rowids SET chunk_offset = 64",
        "UPDATE papers_vec_rowids SET chunk_offset = 9223372036854775807",
        "UPDATE papers_vec_rowids SET chunk_id = 99",
        "UPDATE papers_vec_rowids SET chunk_id = NULL",
        "UPDATE papers_vec_vector_chunks00 SET vectors = zeroblob(length(vectors) - 1)",
    ],
)
def test_a_damaged_place_is_named(damage):
    """The same where an id is looked up."""
    stored = Stored(4)
    stored.insert(stored.random(100))
    stored.connection.execute(damage)
    with pytest.raises(apsw.CorruptError, match="vectors of index 'papers' are damaged"):
        scan(stored.connection, "papers_vec", "float32 L2", QUERY, 1, "[3]", function="sqlrag_look_up")


def test_a_stored_vector_that_is_no_number():
    """It is farther than all others."""
    stored = Stored(4)
    stored.insert(stored.random(3))
    nothing = np.full(4, np.nan, np.float32).tobytes()
    stored.connection.execute("UPDATE papers_vec SET embedding = ? WHERE rowid = 2", (nothing,))
    rows = stored.index(scans=True).vector_top_k(QUERY, 5)
    assert [row[0] for row in rows][-1] == 2
    assert rows[-1][1] == float("inf")


def test_it_can_be_interrupted():
    """A progress handler, as a time limit has one, ends a scan between two blocks."""
    stored = Stored(4)
    stored.insert(stored.random(20_000))
    calls = [0, 10**9]

    def handler() -> bool:
        calls[0] += 1
        return calls[0] > calls[1]

    stored.connection.set_progress_handler(handler, 1)
    scan(stored.connection, "papers_vec", "float32 L2", QUERY, 1)
    assert calls[0] > 20_000 // 64
    calls[:] = [0, calls[0] // 2]
    with pytest.raises(apsw.InterruptError):
        scan(stored.connection, "papers_vec", "float32 L2", QUERY, 1)
    calls[1] = 10**9
    assert len(scan(stored.connection, "papers_vec", "float32 L2", QUERY, 1)) == 1


def test_it_holds_nothing_between_two_calls(tmp_path):
    """After a search others may write, change the schema, and the connection may be closed."""
    path = str(tmp_path / "index.db")
    stored = Stored(4, connection=apsw.Connection(path))
    stored.insert(stored.random(100))
    reading = apsw.Connection(path)
    load_vec(reading)
    index = Index(reading, stored.record)
    before = index.vector_top_k(QUERY, 100)
    stored.insert(stored.random(5))
    stored.connection.execute("VACUUM")
    assert len(index.vector_top_k(QUERY, 200)) == len(before) + 5
    reading.close()
    stored.connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    stored.insert(stored.random(1))


# Where it comes from


def test_loading_is_closed_after(monkeypatch):
    """sqlrag loads its library itself, once, and lets nobody load another."""
    connection = apsw.Connection(":memory:")
    load_vec(connection)
    load_vec(connection)
    assert has_scan(connection)
    with pytest.raises(apsw.SQLError, match="not authorized"):
        connection.execute("SELECT load_extension(?)", (loadable_path(),))


@pytest.mark.parametrize("library", [None, "broken"])
def test_without_the_library_the_rows_are_the_same(monkeypatch, tmp_path, library):
    """Where it was not built, or cannot be loaded, sqlite-vec's MATCH does the work."""
    if library:
        (tmp_path / "broken").write_text("no library")
        library = str(tmp_path / "broken")
    stored = Stored(12)
    stored.insert(stored.random(200))
    query = stored.random(1)[0].tobytes()
    rows = stored.index(scans=True).vector_top_k(query, 10)
    monkeypatch.setattr(libraries, "built_library", lambda: library)
    other = apsw.Connection(":memory:")
    load_vec(other)
    assert not has_scan(other)
    with other.backup("main", stored.connection, "main") as copy:
        copy.step(-1)
    index = Index(other, stored.record)
    assert not index.scans()
    assert_same(rows, index.vector_top_k(query, 10))


def test_two_sqlite_libraries_in_one_process(tmp_path):
    """APSW's and the standard library's sqlite3 each have the scan, in the same process."""
    path = str(tmp_path / "a.db")
    stored = Stored(16, connection=apsw.Connection(path))
    stored.insert(stored.random(300))
    stored.connection.close()
    program = """
import sqlite3, sys
sys.path.extend(sys.argv[2:])
import apsw
from sqlrag.engines.sqlite.functions import SQLiteIndexes, load_vec
sql = "SELECT id, distance FROM sqlrag_scan('papers_vec', 'float32 L2', ?, 5)"
found = []
for connect in (apsw.Connection, sqlite3.connect, apsw.Connection):
    connection = connect(sys.argv[1])
    load_vec(connection)
    found.append(list(connection.execute(sql, (bytes(64),))))
    connection.close()
print(found[0] == found[1] == found[2], len(found[0]), sqlite3.sqlite_version != apsw.sqlite_lib_version())
"""
    import sqlite3

    python = sys.executable
    if not hasattr(sqlite3.Connection, "enable_load_extension"):
        python = "/usr/bin/python3"
        version = [python, "-c", "import sys; print(*sys.version_info[:2])"]
        if not Path(python).exists() or subprocess.check_output(version).split() != [
            str(number).encode() for number in sys.version_info[:2]
        ]:
            pytest.skip("this Python's sqlite3 cannot load extensions, and there is no /usr/bin/python3 of its version")
    command = [python, "-c", program, path, *filter(None, sys.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True 5 True\n"), done.stderr


def test_real_embeddings(tmp_path):
    """Texts and their real neighbours, in the file of each engine."""
    from sqlrag.cli.standard_library import harvest

    documents = [replace(document, text=document.text[:100]) for document in islice(harvest(), 250)]
    queries = ["how long does a piece of code take", "read a file line by line", "sorting", "threads and locks"]
    embedder = Embedder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_training, "FLAT_CHUNKS", 200)
        patch.setattr(cell_training, "QUERIES", 100)
        for name in ("a.db", "a.duckdb"):
            with sqlrag.connect(tmp_path / name, embedder=embedder) as database:
                database.ingest(documents)
            path = str(tmp_path / name)
            connection = apsw.Connection(path if name == "a.db" else f"{path}.sqlrag")
            load_vec(connection)
            (record,) = SQLiteIndexes(connection).records()
            scan, vec0 = (Index(connection, record, scans=scans) for scans in (True, False))
            assert scan.cells()[0]
            for vector in embedder.encode_query(queries):
                for k, nprobe in ((25, None), (100, 3), (25, EVERYWHERE)):
                    found = [index.vector_top_k(vector.tobytes(), k, nprobe=nprobe) for index in (scan, vec0)]
                    assert_same(*found)
            connection.close()
