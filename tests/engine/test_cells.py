"""An index that has outgrown flat search: cells, nprobe, filters, int8; every change keeps it right."""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from dataclasses import replace
from itertools import islice

import apsw
import numpy as np
import pytest
import sqlite_vec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import sqlrag
from sqlrag.engines.sqlite.functions import load_vec
from sqlrag.models import Embedder
from sqlrag.store.cells import cell_training
from sqlrag.store.cells.cell_training import CellTraining
from sqlrag.store.cells.cells import cell_state
from sqlrag.store.cells.filtered import nprobe_for
from sqlrag.store.cells.kmeans import FEW, nearest_centroids, spherical_kmeans
from sqlrag.store.check import check_index
from sqlrag.store.precision import codes_of, kept_parts
from sqlrag.store.registry import IndexRecord
from sqlrag.store.statements import statement
from sqlrag.store.stored_vectors import cell_sizes
from sqlrag.store.top_k import Index
from sqlrag.store.writer import IndexWriter, immediate
from sqlrag.text.documents import Document
from tests.conftest import ENGINES
from tests.sizes import examples

DIMENSION = 32
ALL = 4096  # an nprobe that looks into all cells


def vectors_of(count: int, seed: int = 0, topics: int = 40) -> np.ndarray:
    """Return unit vectors around some topics, as embeddings of text are."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(7).standard_normal((topics, DIMENSION))
    vectors = centres[generator.integers(topics, size=count)] + 0.6 * generator.standard_normal((count, DIMENSION))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Stored:
    """An index of bare vectors in a database of its own, and the same vectors in memory."""

    def __init__(self, path: str = ":memory:", vectors: str = "float32") -> None:
        self.connection = apsw.Connection(path)
        load_vec(self.connection)
        self.record = IndexRecord(
            "chunks", "documents", "id", "m", "h", DIMENSION, "", "", 256, 200, 0, vectors=vectors
        )
        self.writer = IndexWriter(self.connection, self.record)
        self.vectors: dict[int, np.ndarray] = {}
        with immediate(self.connection):
            self.writer.create()

    def insert(self, vectors: np.ndarray) -> None:
        with immediate(self.connection):
            first = self.writer.next_id()
            ids = range(first, first + len(vectors))
            self.writer.insert([(id_, id_, 0, 0, 4, "text", 1) for id_ in ids], vectors)
        self.vectors.update(zip(ids, vectors, strict=True))

    def delete(self, ids: list[int]) -> None:
        with immediate(self.connection):
            self.writer.delete_chunks(ids)
        for id_ in ids:
            del self.vectors[id_]

    def keep_up(self, progress=None) -> None:
        CellTraining(self.connection, self.record, progress).keep_up()

    def top_k(self, query: np.ndarray, k: int, nprobe: int | None = None) -> list[tuple[int, float, int]]:
        return Index(self.connection, self.record).vector_top_k(query.tobytes(), k, nprobe=nprobe)

    def exact(self, query: np.ndarray, k: int) -> list[int]:
        ids = np.array(list(self.vectors))
        distances = np.linalg.norm(np.stack(list(self.vectors.values())) - query, axis=1)
        return ids[np.lexsort((ids, distances))[:k]].tolist()

    def recall(self, queries: np.ndarray, k: int = 25, nprobe: int | None = None) -> float:
        found = sum(len({row[0] for row in self.top_k(q, k, nprobe)} & set(self.exact(q, k))) for q in queries)
        return found / (k * len(queries))


@pytest.fixture
def small_limits(monkeypatch):
    """Cells are made for a thousand chunks, so that a test need not write twenty thousand."""
    monkeypatch.setattr(cell_training, "FLAT_CHUNKS", 1000)
    monkeypatch.setattr(cell_training, "QUERIES", 200)
    monkeypatch.setattr(cell_training, "_BLOCKS_AT_ONCE", 8)


def test_an_index_that_outgrows_flat_search_gets_cells(small_limits):
    """Below the limit nothing happens; above it most of the nearest are found in a few of the cells."""
    stored = Stored()
    stored.insert(vectors_of(999))
    stored.keep_up()
    assert cell_state(stored.connection, stored.record) is None
    stored.insert(vectors_of(4001, seed=1))
    stored.keep_up()
    state = cell_state(stored.connection, stored.record)
    assert state is not None
    assert (state.cells, state.chunks, state.moving) == (round(2 * math.sqrt(5000)), 5000, False)
    nprobe = dict(Index(stored.connection, stored.record).measured_nprobes())
    assert nprobe[25] < state.cells / 2
    assert nprobe[25] <= nprobe[100] <= nprobe[400]
    queries = vectors_of(100, seed=2)
    assert stored.recall(queries) >= 0.95
    assert stored.recall(queries, nprobe=1) < stored.recall(queries)
    assert stored.recall(queries, nprobe=ALL) == 1.0
    assert check_index(stored.connection, stored.record) == []


def test_a_measured_nprobe_serves_each_k(small_limits):
    """More neighbours lie in more cells: recall@100 and recall@400 are as good as recall@25."""
    stored = Stored()
    stored.insert(vectors_of(5000))
    stored.keep_up()
    queries = vectors_of(40, seed=3)
    for k in (10, 100, 400):
        assert stored.recall(queries, k) >= 0.94


class Changes(RuleBasedStateMachine):
    """Inserts, deletes, training, a kill in the middle of a move: looking into all cells finds just what is there."""

    def __init__(self) -> None:
        super().__init__()
        self.stored = Stored()
        self.seed = 100
        self.limits = (cell_training.FLAT_CHUNKS, cell_training.QUERIES, cell_training._BLOCKS_AT_ONCE)
        cell_training.FLAT_CHUNKS, cell_training.QUERIES, cell_training._BLOCKS_AT_ONCE = 600, 100, 1

    def teardown(self) -> None:
        cell_training.FLAT_CHUNKS, cell_training.QUERIES, cell_training._BLOCKS_AT_ONCE = self.limits

    @rule(count=st.sampled_from([1, 300, 900]))
    def insert(self, count: int) -> None:
        self.seed += 1
        self.stored.insert(vectors_of(count, self.seed))

    @precondition(lambda self: len(self.stored.vectors) > 300)
    @rule(which=st.integers(1, 6))
    def delete(self, which: int) -> None:
        self.stored.delete([id_ for id_ in self.stored.vectors if id_ % 7 == which])

    @rule()
    def keep_up(self) -> None:
        self.stored.keep_up()

    @rule(when=st.floats(0, 0.9))
    def keep_up_until_killed(self, when: float) -> None:
        def kill(what: str, share: float) -> None:
            if what in {"moving", "filling"} and share >= when:
                raise KeyboardInterrupt

        try:
            self.stored.keep_up(kill)
        except KeyboardInterrupt:
            assert self.stored.connection.getautocommit()

    @invariant()
    def finds_what_is_there(self) -> None:
        if self.stored.vectors:
            query = vectors_of(1, self.seed + 50_000)[0]
            assert [row[0] for row in self.stored.top_k(query, 10, ALL)] == self.stored.exact(query, 10)
            assert check_index(self.stored.connection, self.stored.record) == []


Changes.TestCase.settings = settings(max_examples=examples(4, 12), stateful_step_count=12, deadline=None)
Changes.TestCase.pytestmark = [pytest.mark.sized]
test_any_changes = Changes.TestCase


def test_a_killed_move_goes_on(small_limits):
    """What was killed in the middle of a move answers as before, and the next one to keep up finishes it."""
    stored = Stored()
    stored.insert(vectors_of(3000))
    queries = vectors_of(30, seed=5)

    def kill(what: str, share: float) -> None:
        if what == "filling" and share > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored.keep_up(kill)
    state = cell_state(stored.connection, stored.record)
    assert state is not None
    assert not state.ready
    assert stored.recall(queries) >= 0.95
    stored.keep_up()
    assert cell_state(stored.connection, stored.record) == replace(state, ready=True)
    assert stored.recall(queries) >= 0.95


@pytest.mark.slow
def test_readers_go_on_while_cells_are_made(small_limits, tmp_path):
    """Another connection finds what it should at every step of two trainings, and never waits for a lock."""
    path = str(tmp_path / "index.db")
    stored = Stored(path)
    stored.connection.execute("PRAGMA journal_mode = WAL")
    reading = apsw.Connection(path)  # without a busy timeout: a lock would be an error
    load_vec(reading)
    query = vectors_of(1, seed=9)[0]
    steps = []

    def read(what: str, _share: float) -> None:
        found = [row[0] for row in Index(reading, stored.record).vector_top_k(query.tobytes(), 25)]
        steps.append(what)
        assert len(set(found) & set(stored.exact(query, 25))) >= 22
        every = [row[0] for row in Index(reading, stored.record).vector_top_k(query.tobytes(), 25, nprobe=ALL)]
        assert every == stored.exact(query, 25)

    stored.insert(vectors_of(2000))
    stored.keep_up(read)
    stored.insert(vectors_of(6500, seed=1))
    stored.keep_up(read)
    assert steps.count("filling") > 3
    assert steps.count("moving") > 3
    assert cell_state(stored.connection, stored.record).chunks == 8500


@pytest.mark.slow
def test_new_cells_when_the_index_has_grown_or_drifted(small_limits):
    """Fourfold growth, or many new chunks about one thing, which crowd into few cells."""
    stored = Stored()
    stored.insert(vectors_of(1100))
    stored.keep_up()
    first = cell_state(stored.connection, stored.record)
    stored.insert(vectors_of(300, seed=1))
    stored.keep_up()
    assert cell_state(stored.connection, stored.record) == first  # more of the same
    stored.insert(vectors_of(1600, seed=2, topics=1))
    stored.keep_up()
    drifted = cell_state(stored.connection, stored.record)
    assert drifted.chunks == 3000
    assert stored.recall(vectors_of(50, seed=8, topics=1)) >= 0.85
    stored.insert(vectors_of(9100, seed=3))
    stored.keep_up()
    assert cell_state(stored.connection, stored.record).chunks == 12_100


def test_the_sizes_of_cells(small_limits):
    """Sizes are read from blocks; they are those that vec0 itself counts, after deletes and inserts too."""
    stored = Stored()
    stored.insert(vectors_of(2000))
    stored.keep_up()
    stored.delete(list(range(100, 900, 3)))
    stored.insert(vectors_of(300, seed=5))
    first = cell_state(stored.connection, stored.record).first_cell
    counted = stored.connection.execute(
        "SELECT count(*) FROM chunks_codes WHERE cell >= ? GROUP BY cell ORDER BY 1", (first + 5,)
    )
    assert sorted(cell_sizes(stored.connection, stored.record, first + 5)) == [size for (size,) in counted]


def test_two_that_train_at_once(small_limits, tmp_path):
    """The second one finds that the first was faster, and leaves its own centroids out."""
    path = str(tmp_path / "index.db")
    stored = Stored(path)
    stored.insert(vectors_of(2000))
    other = apsw.Connection(path)
    load_vec(other)

    def overtake(what: str, share: float) -> None:
        if what == "cells" and share == 1:
            CellTraining(other, stored.record).keep_up()

    stored.keep_up(overtake)
    state = cell_state(stored.connection, stored.record)
    ((centroids,),) = stored.connection.execute("SELECT count(*) FROM chunks_cells")
    assert centroids == state.cells
    assert check_index(stored.connection, stored.record) == []


def test_the_statement_needs_nothing_but_sqlite_vec(small_limits, tmp_path):
    """The .sql files give the same rows in a connection without any of our functions."""
    path = str(tmp_path / "index.db")
    stored = Stored(path)
    stored.insert(vectors_of(2000))
    stored.keep_up()
    query = vectors_of(1, seed=4)[0]
    bare = sqlite3.connect(path) if hasattr(sqlite3.Connection, "enable_load_extension") else apsw.Connection(path)
    bare.enable_load_extension(True)
    bare.load_extension(sqlite_vec.loadable_path())
    parts = {"filter": "", **kept_parts(stored.record)}
    code = codes_of(stored.record).encode(query).tobytes()
    numbers = {"depth": 25, "nprobe": None, "candidates": 75, "each": 75}
    bindings = {"vector": query.tobytes(), "code": code, **numbers}
    ids = json.dumps([id_ for id_, _ in bare.execute(statement("index/near_ids", **parts), bindings)])
    rows = list(bare.execute(statement("index/vector_distances", **parts), bindings | {"ids": ids, "k": 25}))
    assert rows == stored.top_k(query, 25)


def test_int8_vectors_take_less_space(small_limits, tmp_path):
    """And find nearly the same, with distances that are nearly the same."""
    sizes = {}
    for kind in ("float32", "int8"):
        path = tmp_path / f"{kind}.db"
        stored = Stored(str(path), kind)
        stored.insert(vectors_of(4000))
        stored.keep_up()
        queries = vectors_of(50, seed=6)
        assert stored.recall(queries) >= 0.92
        nearest = stored.top_k(queries[0], 5)
        for id_, distance, _ in nearest:
            assert distance == pytest.approx(float(np.linalg.norm(stored.vectors[id_] - queries[0])), abs=0.02)
        assert check_index(stored.connection, stored.record) == []
        ((sizes[kind],),) = stored.connection.execute(
            "SELECT sum(pgsize) FROM dbstat WHERE name LIKE 'chunks_vec%' OR name LIKE 'chunks_codes_%'"
        )
    assert sizes["int8"] < 0.6 * sizes["float32"]  # with the half-empty blocks of small cells


def test_damaged_vectors_are_named(small_limits):
    """A block of another length than vec0 writes is damage, and no crash."""
    stored = Stored()
    stored.insert(vectors_of(1500))
    stored.connection.execute("UPDATE chunks_vec_vector_chunks00 SET vectors = x'00' WHERE rowid = 2")
    with pytest.raises(sqlrag.errors.NotADatabaseError, match="vectors of index 'chunks' are damaged"):
        stored.keep_up()


def test_centroids_are_reproducible_and_of_unit_length():
    """The same vectors and seed give the same centroids; a cell that loses its vectors gets others."""
    vectors = np.concatenate([np.repeat(vectors_of(3), 50, axis=0), vectors_of(20, seed=1)])
    first, second = (spherical_kmeans(vectors, 12, seed=3) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("cells", [1, 40, 3000])
def test_a_vector_by_itself_has_the_cell_that_it_has_among_many(cells):
    """Few are multiplied one by one with parts of the centroids, many all at once."""
    vectors = vectors_of(40)
    centroids = np.random.default_rng(2).standard_normal((cells, DIMENSION)).astype(np.float32)
    wide = np.tile(centroids, 12), np.tile(vectors, 12)  # several parts
    for chosen, given in ((centroids, vectors), wide):
        expected = (given.astype(np.float64) @ chosen.astype(np.float64).T).argmax(axis=1)
        assert np.array_equal(nearest_centroids(given, chosen), expected)
        for count in (1, FEW):
            assert np.array_equal(nearest_centroids(given[:count], chosen), expected[:count])


def test_nprobe_between_and_beyond_what_was_measured():
    """It grows with a power of the depth, and stays within the cells that there are."""
    measured = [(25, 10), (100, 20), (400, 40)]
    assert [nprobe_for(depth, measured, 1000) for depth in (25, 50, 100, 200, 1600)] == [10, 14, 20, 28, 80]
    assert nprobe_for(10**9, measured, 1000) == 1000
    assert nprobe_for(1, measured, 1000) == 2
    assert nprobe_for(25, [], 1000) == 1000


# The same through SQL, on both engines, with real embeddings


def doc(uri: str, text: str, **metadata: int) -> Document:
    return Document(uri, "", text, dict(metadata), hashlib.sha256(text.encode()).hexdigest())


QUERY = "how long does a piece of code take"


@pytest.fixture(scope="module")
def embedder():
    """One for four databases of the same texts."""
    return Embedder()


@pytest.fixture(scope="module")
def documents():
    """The first lines of the standard library's docstrings."""
    from sqlrag.cli.standard_library import harvest

    return [
        doc(f"doc {number}", document.text[:60], number=number, odd=number % 2)
        for number, document in enumerate(islice(harvest(), 550))
    ]


@pytest.fixture(scope="module", params=ENGINES)
def real(request, tmp_path_factory, documents, embedder):
    """An index of them with cells, and the same one without."""
    folder = tmp_path_factory.mktemp(request.param)
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, limit in (("flat", 10**9), ("cells", 500)):
            patch.setattr(cell_training, "FLAT_CHUNKS", limit)
            patch.setattr(cell_training, "QUERIES", 200)
            suffix = "db" if request.param == "sqlite" else "duckdb"
            found[name] = sqlrag.connect(folder / f"{name}.{suffix}", engine=request.param, embedder=embedder)
            found[name].ingest(documents)
    yield found
    for database in found.values():
        database.close()


def rows_of(database: sqlrag.Database, function: str, k: int, condition: str | None = None) -> list[tuple]:
    sql = f"SELECT * FROM {function}('chunks', :q, :k, :filter)"
    return database.execute(sql, {"q": QUERY, "k": k, "filter": condition}).fetchall()


FILTERS = {
    "everything": "1 = 1",
    "half": "CAST(metadata ->> 'odd' AS INTEGER) = 1",
    "one in a hundred": "CAST(metadata ->> 'number' AS INTEGER) % 100 = 7",
    "three": "CAST(metadata ->> 'number' AS INTEGER) IN (3, 350, 540)",
    "nothing": "uri = 'nowhere'",
}


@pytest.mark.parametrize("condition", FILTERS)
def test_a_filter_loses_nothing(real, condition):
    """As many rows come back as match, up to k; with all cells they are those of the flat index."""
    condition = FILTERS[condition]
    flat = rows_of(real["flat"], "vector_top_k", 25, condition)
    cells = rows_of(real["cells"], "vector_top_k", 25, condition)
    assert len(cells) == len(flat)
    assert [row[2] for row in cells] == list(range(1, len(cells) + 1))
    assert len({row[0] for row in cells} & {row[0] for row in flat}) >= 0.8 * len(flat)
    everywhere = real["cells"].execute(
        "SELECT * FROM vector_top_k('chunks', :q, 25, :filter, 4096)"
        if real["cells"].engine == "sqlite"
        else "SELECT * FROM vector_top_k('chunks', :q, 25, filter := :filter, nprobe := 4096)",
        {"q": QUERY, "filter": condition},
    )
    assert everywhere.fetchall() == flat
    assert len(rows_of(real["cells"], "hybrid_top_k", 10, condition)) == len(
        rows_of(real["flat"], "hybrid_top_k", 10, condition)
    )


def test_the_connection_may_set_nprobe(real):
    """A small nprobe of the connection holds for all functions; a call's own goes before it."""
    with sqlrag.connect(real["cells"].path, nprobe=1) as one:
        some = rows_of(one, "vector_top_k", 100)
        every = one.execute("SELECT * FROM vector_top_k('chunks', :q, 100, NULL, 4096)", {"q": QUERY}).fetchall()
    assert len(some) < 100
    assert every == rows_of(real["flat"], "vector_top_k", 100)


@pytest.mark.parametrize("value", ["0", "'many'", "1.5"])
def test_an_nprobe_that_is_none(real, value):
    """The error names the argument and its value."""
    sql = f"SELECT * FROM vector_top_k('chunks', :q, 5, NULL, {value})"
    with pytest.raises(
        sqlrag.errors.InputError, match=r"vector_top_k\(\): nprobe is .*: it takes a whole number from 1"
    ):
        real["cells"].execute(sql, {"q": QUERY}).fetchall()
    with pytest.raises(sqlrag.errors.InputError, match=r"connect\(\): nprobe is 0"):
        sqlrag.connect(real["cells"].path, nprobe=0)


def test_changes_after_training(real, tmp_path):
    """A document that comes later is found at once, one that goes is not; check finds nothing wrong."""
    database = real["cells"]
    database.ingest([doc("late", "How long a piece of code takes: measure the execution time of code.")])
    ((found,),) = database.execute(
        "SELECT d.uri FROM vector_top_k('chunks', :q, 1) AS hit JOIN chunks AS c ON c.id = hit.id "
        "JOIN documents AS d ON d.id = c.source_id",
        {"q": QUERY},
    ).fetchall()
    assert found == "late"
    assert database.check() == []
    database.ingest([doc("late", "Nothing to do with it.")])
    assert database.check() == []
