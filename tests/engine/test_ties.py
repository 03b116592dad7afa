"""F15: of chunks that are equally near, or equally good, the ones with the lower ids come first, at every k."""

from __future__ import annotations

import random

import apsw
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sqlrag
from sqlrag.engines.sqlite.functions import load_vec
from sqlrag.store.driver import extensions as libraries
from sqlrag.store.registry import IndexRecord
from sqlrag.store.top_k import Index
from sqlrag.store.writer import IndexWriter, immediate
from sqlrag.text.documents import Document
from tests.conftest import database_path
from tests.index.stored import matching
from tests.sizes import LONG, examples

TEXTS = ("Bees dance to tell where food is.", "Money lent at a bank bears interest.", "A ferry crosses the lake.")
COPIES = 60
KS = (1, 2, 3, 5, 20, 59, 61, 100, 170) if LONG else (1, 3, 59, 61, 170)

CALLS = {
    "vector_top_k": "SELECT id, distance FROM vector_top_k('chunks', 'where bees find food', {k}, {filter})",
    "text_top_k": "SELECT id, score FROM text_top_k('chunks', 'food bank', {k}, {filter})",
    "hybrid_top_k": "SELECT id, score FROM hybrid_top_k('chunks', 'bees lend money', {k}, {filter})",
    "hybrid_top_k, weighed": "SELECT id, score FROM hybrid_top_k('chunks', 'bees lend', {k}, {filter}, 1)",
    "search": "SELECT id, distance FROM search('chunks', 'where bees find food', {k}, {k}, {filter})",
}


def documents():
    """Three texts, many times each, in an order without a pattern."""
    texts = [text for text in TEXTS for _ in range(COPIES)]
    random.Random(4).shuffle(texts)
    return [Document(f"d{n}", "", text, {}, f"hash {n}") for n, text in enumerate(texts)]


@pytest.fixture(scope="module", params=["C library", "numpy"])
def finds(request):
    """Codes are read by sqlrag's C library, and by numpy where that was not built."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "numpy":
            patch.setattr(libraries, "built_library", lambda: None)
        elif libraries.built_library() is None:
            pytest.skip("sqlrag's C library was not built: apt install gcc")
        yield request.param


@pytest.fixture(scope="module", params=["sqlite float32", "sqlite int8", "duckdb float32", "duckdb int8"])
def kept(request):
    """Engine and kind of vectors."""
    return request.param.split()


@pytest.fixture(scope="module", params=[None, 170], ids=["exact", "codes"])
def tied(request, finds, kept, tmp_path_factory):
    """A database of many copies; of its 180 chunks all are compared in full, or those with the nearest codes."""
    engine, vectors = kept
    path = database_path(tmp_path_factory.mktemp("ties"), engine)
    with sqlrag.connect(path, rerank_limit=1_000_000, candidates=request.param) as db:
        db.ingest(documents(), vectors=vectors)
        yield db


@pytest.mark.sized
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("filter_", ["NULL", "'id % 2 = 1'", "'id > 20'"])
def test_f15_a_longer_list_begins_with_the_shorter_one(tied, name, filter_):
    """Whatever finds the rows, and however many are equal at the end of the list."""
    longest = tied.execute(CALLS[name].format(k=KS[-1], filter=filter_)).fetchall()
    if name != "search":  # there the second stage decides
        assert longest == sorted(longest, key=lambda row: (row[1] if "vector" in name else -row[1], row[0]))
    for k in KS[:-1]:
        rows = tied.execute(CALLS[name].format(k=k, filter=filter_)).fetchall()
        assert len(rows) == min(k, len(longest))
        if name == "search":
            first = tied.execute(
                CALLS["hybrid_top_k"].replace("bees lend money", "where bees find food").format(k=k, filter=filter_)
            ).fetchall()
            assert sorted(id_ for id_, _ in rows) == sorted(id_ for id_, _ in first)
        elif k < 100 or "hybrid" not in name:  # beyond 100 the lists that are fused are longer, too
            assert rows == longest[:k], k


class Copies:
    """Bare vectors of which many are equal, in memory."""

    def __init__(self, vectors: str, places: list[int]) -> None:
        self.connection = apsw.Connection(":memory:")
        load_vec(self.connection)
        record = IndexRecord("papers", "documents", "id", "m", "h", 16, "", "", 256, 200, 0, vectors=vectors)
        originals = np.random.default_rng(1).standard_normal((6, 16)).astype(np.float32)
        originals /= np.linalg.norm(originals, axis=1, keepdims=True)
        self.vectors = originals[places]
        self.record = record
        writer = IndexWriter(self.connection, record)
        with immediate(self.connection):
            writer.create()
            ids = range(1, len(places) + 1)
            writer.insert([(id_, id_, 0, 0, 4, "text", 1) for id_ in ids], self.vectors)


@pytest.mark.sized
@settings(max_examples=examples(20, 60), deadline=None)
@given(
    places=st.lists(st.integers(0, 5), min_size=30, max_size=120),
    vectors=st.sampled_from(["float32", "int8"]),
    candidates=st.sampled_from([25, 4096]),
    ks=st.lists(st.integers(1, 25), min_size=2, max_size=4).map(sorted),
    step=st.integers(1, 3),
)
def test_f15_ties_of_bare_vectors(finds, places, vectors, candidates, ks, step):  # noqa: PLR0917 - hypothesis gives them
    """With a filter and without; among all that there is, or among the candidates that the codes choose."""
    copies = Copies(vectors, places)
    index = Index(copies.connection, copies.record)
    query = copies.vectors[0].tobytes()
    assert index.scans() == (finds == "C library")
    for listed in (None, list(range(1, len(places) + 1, step))):
        filtered = None if listed is None else matching(listed)
        longest = index.vector_top_k(query, 25, filtered, candidates)
        assert [row[0] for row in longest] == [row[0] for row in sorted(longest, key=lambda row: (row[1], row[0]))]
        for k in ks:
            assert index.vector_top_k(query, k, filtered, candidates) == longest[:k]


@pytest.mark.parametrize("vectors", ["float32", "int8"])
def test_f15_more_copies_than_candidates(finds, vectors):
    """One text five thousand times: boilerplate. The first ids are found, with a filter too."""
    copies = Copies(vectors, [0] * 5_000 + [1] * 40)
    index, query = Index(copies.connection, copies.record), copies.vectors[0].tobytes()
    for k in (1, 7, 1500, 4096):
        assert [row[0] for row in index.vector_top_k(query, k)] == list(range(1, k + 1))
    odd = matching(list(range(1, 5_000, 2)))
    assert [row[0] for row in index.vector_top_k(query, 50, odd)] == list(range(1, 100, 2))
