"""One-bit codes: what they find, how they lie in the file, and that every change keeps them right."""

from __future__ import annotations

import json
import sqlite3

import apsw
import numpy as np
import pytest
import sqlite_vec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import sqlrag
from sqlrag.engines.sqlite.functions import load_vec
from sqlrag.store import upkeep
from sqlrag.store.check import check_index
from sqlrag.store.codes.blocks import MOST
from sqlrag.store.codes.candidates import FEWEST, Measured, candidates_for, measured_candidates
from sqlrag.store.codes.quantization import encode, estimates, query_planes
from sqlrag.store.driver import extensions as libraries
from sqlrag.store.precision import encode_query, from_int8, kept_parts, to_int8
from sqlrag.store.repair import repair_vectors
from sqlrag.store.statements import statement
from sqlrag.store.top_k import Index
from sqlrag.store.writer import immediate
from tests.index.stored import ALL, DIMENSION, Stored, matching, vectors_of
from tests.sizes import examples

BY_LIBRARY = pytest.mark.skipif(
    libraries.built_library() is None, reason="sqlrag's C library was not built: apt install gcc"
)


@pytest.fixture(params=[pytest.param("library", marks=BY_LIBRARY), "numpy"])
def by(request, monkeypatch):
    """Codes are scanned by sqlrag's C library, and by numpy where that was not built."""
    if request.param == "numpy":
        monkeypatch.setattr(libraries, "built_library", lambda: None)
    return request.param


@pytest.mark.parametrize("dimension", [8, 100, 384, 768, 1000])
def test_an_estimate_follows_the_cosine(dimension):
    """Of any dimension; a vector's own code is the nearest to it."""
    vectors = vectors_of(300, dimension=dimension)
    codes, factors = encode(vectors)
    assert codes.shape == (300, -(-dimension // 64))
    for query in vectors[:5]:
        found = estimates(query_planes(query), codes, factors, dimension)
        assert np.corrcoef(found, vectors @ query)[0, 1] > (0.85 if dimension >= 100 else 0.6)
        assert dimension == 8 or found.argmax() == (vectors @ query).argmax()


def test_a_code_does_not_depend_on_its_neighbours():
    """One vector by itself has the code that it has among many; so has a query, whatever its length is."""
    vectors = vectors_of(50)
    codes, factors = encode(vectors)
    for place in (0, 7, 49):
        code, factor = encode(vectors[place : place + 1])
        assert np.array_equal(code[0], codes[place])
        assert factor[0] == pytest.approx(factors[place], rel=1e-6)
    assert np.array_equal(query_planes(vectors[0] * np.float32(4)), query_planes(vectors[0]))
    assert np.isfinite(estimates(query_planes(np.zeros(DIMENSION, np.float32)), codes, factors, DIMENSION)).all()


@settings(max_examples=300, deadline=None)
@given(arrays.arrays(np.float32, 384, elements=st.floats(-1, 1, width=32)), st.booleans())
def test_a_query_is_rounded_as_a_stored_vector(vector, halves):
    """To int8, also where a number lies half-way between two whole ones, and beyond the largest."""
    if halves:
        step = from_int8(np.ones(384, np.int8))[0]
        vector = (np.round(vector / step) + np.float32(0.5)) * step
    record = Stored(dimension=384, vectors="int8").record
    assert encode_query(record, vector.tobytes()) == to_int8(vector).tobytes()


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_nearly_all_of_the_nearest_are_found(by, kind):
    """With the candidates of an index that has measured nothing, and with those that it has measured."""
    stored = Stored(vectors=kind)
    stored.insert(vectors_of(6000))
    queries = vectors_of(40, seed=2)
    assert Index(stored.connection, stored.record).scans() == (by == "library")
    assert Index(stored.connection, stored.record).measured() == (FEWEST, None)
    enough = 0.99 if kind == "float32" else 0.94  # int8 orders what is about equally far in another way
    assert stored.recall(queries, candidates=400) >= enough
    stored.keep_up()
    candidates, recall = Index(stored.connection, stored.record).measured()
    assert candidates >= FEWEST
    assert recall >= upkeep.TARGET
    for k in (1, 25, 100):
        assert stored.recall(queries, k) >= enough
    assert stored.recall(queries, candidates=ALL) >= enough
    assert kind == "int8" or stored.recall(queries, candidates=ALL) == 1
    assert check_index(stored.connection, stored.record) == []


def test_numpy_finds_what_the_library_finds(monkeypatch):
    """The same rows to the last bit, with a filter and without."""
    if libraries.built_library() is None:
        pytest.skip("sqlrag's C library was not built: apt install gcc")
    stored = Stored()
    stored.insert(np.concatenate([vectors_of(3000), vectors_of(200)]))  # some twice
    for query in vectors_of(10, seed=3):
        for passing in (None, range(1, 3000, 2), range(5, 3200, 97)):
            rows = stored.top_k(query, 10, passing, 60)
            index = Index(stored.connection, stored.record, scans=False)
            filtered = None if passing is None else matching(passing)
            found = index.vector_top_k(query.tobytes(), 10, filtered, 60)
            assert [row[0] for row in found] == [row[0] for row in rows]
            assert [row[1] for row in found] == pytest.approx([row[1] for row in rows], abs=1e-6)


@pytest.mark.parametrize("every", [1, 2, 40, 1500])
def test_a_filter_at_any_selectivity(by, every):
    """It gives k rows whenever k pass, nearly the nearest of these; where few pass, the nearest."""
    stored = Stored()
    stored.insert(vectors_of(6000))
    passing = [id_ for id_ in stored.vectors if id_ % every == 0]
    recall = stored.recall(vectors_of(25, seed=21), 10, passing)
    assert recall >= 0.99
    assert recall == 1 or len(passing) > FEWEST


def test_a_filter_that_lets_through_what_is_farthest(by):
    """The chunks that pass are those farthest from the query; none; and some that have no chunk."""
    stored = Stored()
    stored.insert(vectors_of(6000))
    query = vectors_of(1, seed=22)[0]
    farthest = stored.exact(query, 6000)[-600:]
    rows = stored.top_k(query, 10, farthest)  # they are all about equally far
    assert rows[-1][1] <= 1.02 * np.linalg.norm(stored.vectors[stored.exact(query, 10, farthest)[-1]] - query)
    assert stored.top_k(query, 10, []) == []
    assert [row[0] for row in stored.top_k(query, 10, [7, 70_000])] == [7]


class Changes(RuleBasedStateMachine):
    """Inserts behind all others and between them, deletes, upkeep: blocks stay in order, and find what is there."""

    def __init__(self) -> None:
        super().__init__()
        self.stored = Stored()
        self.seed = 100

    @rule(count=st.sampled_from([1, 1, 70, 900, 5000]))
    def insert(self, count: int) -> None:
        self.seed += 1
        self.stored.insert(vectors_of(count, self.seed))

    @precondition(lambda self: len(self.stored.vectors) > 100)
    @rule(count=st.sampled_from([1, 300]))
    def insert_between(self, count: int) -> None:
        """As a repair does."""
        self.seed += 1
        gone = [id_ for id_ in range(-5, max(self.stored.vectors)) if id_ not in self.stored.vectors][:count]
        self.stored.insert(vectors_of(len(gone), self.seed), gone)

    @precondition(lambda self: len(self.stored.vectors) > 100)
    @rule(which=st.integers(1, 6), of=st.sampled_from([7, 500]))
    def delete(self, which: int, of: int) -> None:
        self.stored.delete([id_ for id_ in self.stored.vectors if id_ % of == which])

    @precondition(lambda self: len(self.stored.vectors) > 100)
    @rule(first=st.integers(1, 5000))
    def delete_many_in_a_row(self, first: int) -> None:
        self.stored.delete([id_ for id_ in self.stored.vectors if first <= id_ < first + 3000])

    @precondition(lambda self: len(self.stored.vectors) > 100)
    @rule(which=st.integers(1, 50))
    def delete_by_hand(self, which: int) -> None:
        """The user's own DELETE leaves codes behind, which no search gives."""
        gone = [id_ for id_ in self.stored.vectors if id_ % 50 == which]
        sql = "DELETE FROM chunks WHERE id IN (SELECT value FROM json_each(?))"
        self.stored.connection.execute(sql, (json.dumps(gone),))
        for id_ in gone:
            del self.stored.vectors[id_]

    @rule()
    def keep_up(self) -> None:
        self.stored.keep_up()

    @invariant()
    def finds_what_is_there(self) -> None:
        blocks = list(self.stored.blocks.all())
        ids = [id_ for block in blocks for id_ in block.ids.tolist()]
        assert ids == sorted(set(ids))
        assert set(ids) >= set(self.stored.vectors)
        assert all(0 < len(block) <= MOST for block in blocks)
        assert [first for first, _ in self.stored.blocks.stamps()] == [int(block.ids[0]) for block in blocks]
        assert check_index(self.stored.connection, self.stored.record) == []
        if self.stored.vectors:
            query = vectors_of(1, self.seed + 50_000)[0]
            assert [row[0] for row in self.stored.top_k(query, 10, None, ALL)] == self.stored.exact(query, 10)
            assert len(self.stored.top_k(query, 300)) == min(300, len(self.stored.vectors))


Changes.TestCase.settings = settings(max_examples=examples(4, 12), stateful_step_count=12, deadline=None)
Changes.TestCase.pytestmark = [pytest.mark.sized]
test_any_changes = Changes.TestCase


def test_blocks_of_an_index_that_grows_one_by_one():
    """There are few of them, and nearly all codes lie in full ones."""
    stored = Stored(dimension=8)
    vectors = vectors_of(2100, dimension=8)
    for vector in vectors:
        stored.insert(vector[None])
    sizes = [len(block) for block in stored.blocks.all()]
    assert sizes == [2048, 32, 16, 4]
    stored.delete(list(range(1, 1700)))
    assert sum(len(block) for block in stored.blocks.all()) == 401
    assert len(stored.blocks.stamps()) < 4


def test_what_the_user_deletes_is_not_found(by):
    """However many of the nearest are gone, k rows come; the next write removes their codes."""
    stored = Stored()
    stored.insert(vectors_of(4000))
    query = vectors_of(1, seed=5)[0]
    nearest = stored.exact(query, 1500)
    stored.connection.execute("DELETE FROM chunks WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(nearest),))
    for id_ in nearest:
        del stored.vectors[id_]
    rows = stored.top_k(query, 25)
    assert len(rows) == 25
    assert rows[-1][1] <= 1.02 * np.linalg.norm(stored.vectors[stored.exact(query, 25)[-1]] - query)
    assert stored.blocks.count() == 4000
    assert check_index(stored.connection, stored.record) == []
    stored.insert(query[None])
    assert stored.blocks.count() == 2501


def test_a_rollback_is_seen(by):
    """What is rolled back was found before, and is not found afterwards; so with a savepoint."""
    stored = Stored()
    stored.insert(vectors_of(1000))
    query = vectors_of(1, seed=6)[0]
    before = stored.top_k(query, 5)
    for begin, undo in (("BEGIN", "ROLLBACK"), ("SAVEPOINT s", "ROLLBACK TO s; RELEASE s")):
        stored.connection.execute(begin)
        stored.writer.insert([(5000, 5000, 0, 0, 4, "text", 1)], query[None])
        assert stored.top_k(query, 5)[0][0] == 5000
        stored.connection.execute(undo)
        assert stored.top_k(query, 5) == before


def test_the_statement_needs_nothing_but_sqlite_vec(tmp_path):
    """sql/index/vector_scan.sql gives the exact rows in a connection without any of our functions."""
    path = str(tmp_path / "index.db")
    stored = Stored(path)
    stored.insert(vectors_of(500))
    query = vectors_of(1, seed=4)[0]
    bare = sqlite3.connect(path) if hasattr(sqlite3.Connection, "enable_load_extension") else apsw.Connection(path)
    bare.enable_load_extension(True)
    bare.load_extension(sqlite_vec.loadable_path())
    sql = statement("index/vector_scan", filter="", **kept_parts(stored.record))
    rows = list(bare.execute(sql, {"vector": query.tobytes(), "k": 25}))
    found = stored.top_k(query, 25, None, ALL)
    assert [row[0] for row in rows] == [row[0] for row in found] == stored.exact(query, 25)
    assert [row[1] for row in rows] == pytest.approx([row[1] for row in found], abs=1e-6)


def test_int8_vectors_take_a_quarter_of_the_space(tmp_path):
    """And have nearly the same distances."""
    sizes = {}
    for kind in ("float32", "int8"):
        stored = Stored(str(tmp_path / f"{kind}.db"), kind)
        stored.insert(vectors_of(4000))
        query = vectors_of(1, seed=6)[0]
        for id_, distance, _ in stored.top_k(query, 5):
            assert distance == pytest.approx(float(np.linalg.norm(stored.vectors[id_] - query)), abs=0.02)
        sql = "SELECT sum(pgsize) FROM dbstat WHERE name = 'chunks_vec_vector_chunks00'"
        ((sizes[kind],),) = stored.connection.execute(sql)
    assert sizes["int8"] < 0.3 * sizes["float32"]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE chunks_codes SET stamp = random(), codes = x'00'",
        "UPDATE chunks_codes SET stamp = random(), ids = 'text'",
        "UPDATE chunks_codes SET ids = zeroblob(length(ids))",
        "UPDATE chunks_codes SET codes = zeroblob(length(codes))",
        "DELETE FROM chunks_codes",
        "DROP TABLE chunks_codes",
    ],
)
def test_damaged_codes_are_named_and_mended(by, damage):
    """A search says so where it can see it, `check` always; a repair makes them anew from the vectors."""
    stored = Stored()
    stored.insert(vectors_of(1500))
    query = vectors_of(1, seed=7)[0]
    before = stored.top_k(query, 5)
    stored.connection.execute(damage)
    assert check_index(stored.connection, stored.record) != []
    if "codes = x" in damage:
        with pytest.raises(
            (sqlrag.errors.NotADatabaseError, apsw.Error), match="vectors of index 'chunks' are damaged"
        ):
            stored.top_k(query, 5)
    with immediate(stored.connection):
        repair_vectors(stored.connection, stored.record)
    assert check_index(stored.connection, stored.record) == []
    assert stored.top_k(query, 5) == before


def test_measured_as_the_index_grows(monkeypatch):
    """From a few thousand chunks on, and again when it has doubled."""
    monkeypatch.setattr(upkeep, "SMALLEST", 1000)
    stored = Stored()

    def measured() -> list[Measured]:
        stored.keep_up()
        return measured_candidates(stored.connection, stored.record)

    stored.insert(vectors_of(999))
    assert measured() == []
    stored.insert(vectors_of(501, seed=1))
    first = measured()
    assert [(one.k, one.chunks) for one in first] == [(25, 1500), (100, 1500)]
    assert all(one.recall >= upkeep.TARGET and one.candidates >= one.k for one in first)
    stored.insert(vectors_of(500, seed=2))
    assert measured() == first
    stored.insert(vectors_of(1000, seed=3))
    assert [one.chunks for one in measured()] == [3000, 3000]


def test_a_neighbour_that_no_candidate_is_counts_as_missed(monkeypatch):
    """Where the nearest codes that are looked at do not have all neighbours, the recall says so."""
    monkeypatch.setattr(upkeep, "SMALLEST", 500)
    monkeypatch.setattr(upkeep, "MOST", 30)
    stored = Stored()
    stored.insert(vectors_of(1_000, topics=1_000))
    stored.keep_up()
    measured = measured_candidates(stored.connection, stored.record)
    assert [one.candidates for one in measured] == [30, 30]
    assert all(0.1 < one.recall < 0.95 for one in measured)


def test_candidates_between_and_beyond_what_was_measured():
    """They grow with a power of k, and are never fewer than without measurements."""
    measured = [Measured(25, 1000, 1, 10_000), Measured(100, 4000, 1, 10_000)]
    assert [candidates_for(k, measured) for k in (25, 50, 100, 400)] == [1000, 2000, 4000, 16_000]
    assert candidates_for(25, [Measured(25, 40, 1, 10_000), Measured(100, 90, 1, 10_000)]) == FEWEST
    assert [candidates_for(k, []) for k in (1, 25, 100)] == [17, 300, 1045]
    assert candidates_for(10**9, []) >= 10**9


@pytest.mark.slow
def test_two_processes_that_measure_at_once(tmp_path):
    """Both write the same."""
    path = str(tmp_path / "index.db")
    stored = Stored(path)
    stored.insert(vectors_of(6000))
    other = apsw.Connection(path)
    load_vec(other)
    upkeep.keep_up(other, stored.record, lambda _what, share: stored.keep_up() if share == 1 else None)
    assert len(measured_candidates(other, stored.record)) == len(upkeep.DEPTHS)
