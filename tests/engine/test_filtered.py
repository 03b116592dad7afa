"""Filters on an index with cells: each way there is to find what passes gives k rows, and nearly the nearest."""

from __future__ import annotations

import numpy as np
import pytest

from sqlrag.store.cells import cell_training, filtered
from sqlrag.store.top_k import Index, Matching, has_scan
from tests.engine.test_cells import Stored, vectors_of

K = 10


def matching(ids: set[int]) -> Matching:
    """Return a filter that lets these chunks through."""
    values = ", ".join(f"({id_})" for id_ in ids) or "(NULL)"
    select = f"SELECT column1 AS id FROM (VALUES {values}) WHERE column1 IS NOT NULL"
    return Matching(select, ids.intersection)


@pytest.fixture(scope="module", params=[(kind, by) for kind in ("float32", "int8") for by in ("vec0", "scan")])
def stored(request):
    """Six thousand vectors in cells, so that some hundreds are a small share of them; searched by vec0 or a scan."""
    kind, by = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_training, "FLAT_CHUNKS", 1000)
        patch.setattr(cell_training, "QUERIES", 200)
        made = Stored(vectors=kind)
        made.insert(vectors_of(6000))
        made.keep_up()
    made.scans = by == "scan"
    if made.scans and not has_scan(made.connection):
        pytest.skip("sqlrag's C library was not built: apt install gcc libc6-dev")
    return made


@pytest.fixture
def ways(monkeypatch):
    """Return which ways the searches of a test took."""
    taken = []
    for name in ("near_ids", "near_listed", "inside", "listed", "distances"):
        original = getattr(Index, name)

        def noted(self, *arguments, _name=name, _original=original, **options):
            taken.append(_name)
            return _original(self, *arguments, **options)

        monkeypatch.setattr(Index, name, noted)
    return taken


def by_scan(ways: list[str]) -> list[str]:
    """Return the ways of a search by a scan: one for the two that list and then measure."""
    return [{"inside": "near_listed", "listed": "distances"}.get(way, way) for way in ways]


def recall(stored: Stored, passing: set[int], queries: np.ndarray, nprobe: int | None = None) -> float:
    """Return the recall of K rows among the passing; each search gives as many rows as there are, and no others."""
    ids = np.array(sorted(passing))
    vectors = np.stack([stored.vectors[id_] for id_ in ids.tolist()])
    shares = []
    for query in queries:
        index = Index(stored.connection, stored.record, scans=stored.scans)
        rows = index.vector_top_k(query.tobytes(), K, matching(passing), nprobe)
        assert [row[2] for row in rows] == list(range(1, min(K, len(passing)) + 1))
        assert [row[1] for row in rows] == sorted(row[1] for row in rows)
        found = {row[0] for row in rows}
        assert found <= passing
        exact = set(ids[np.argsort(np.linalg.norm(vectors - query, axis=1))[:K]].tolist())
        shares.append(len(found & exact) / len(exact))
    return float(np.mean(shares))


@pytest.mark.parametrize(
    ("every", "few", "expected"),
    [
        (1, 1000, ["near_ids", "near_ids", "distances"]),  # all
        (2, 1000, ["near_ids", "near_ids", "distances"]),
        (40, 20, ["near_ids", "inside", "listed"]),  # 150 of 6000
        (40, 1000, ["near_ids", "distances"]),
        (1500, 1000, ["near_ids", "distances"]),  # 4 of 6000
    ],
)
def test_each_way(stored, ways, monkeypatch, every, few, expected):  # noqa: PLR0917
    """A filter that has nothing to do with the query: by its share, and by how many pass."""
    monkeypatch.setattr(filtered, "FEW", few)
    passing = {id_ for id_ in stored.vectors if id_ % every == 0}
    monkeypatch.setattr(filtered, "LARGE_SHARE", 0.2)
    assert recall(stored, passing, vectors_of(25, seed=21)) >= 0.9
    assert ways[: len(expected)] == (by_scan(expected) if stored.scans else expected)


def test_what_passes_lies_elsewhere(stored, ways, monkeypatch):
    """The chunks that pass are those farthest from the query: all are measured, or more and more cells looked into."""
    monkeypatch.setattr(filtered, "FEW", 20)
    query = vectors_of(1, seed=22)[0]
    ids = np.array(list(stored.vectors))
    distances = np.linalg.norm(np.stack(list(stored.vectors.values())) - query, axis=1)
    passing = set(ids[np.argsort(-distances)[:600]].tolist())
    found = recall(stored, passing, query[None, :])
    assert found == 1.0 or stored.record.vectors == "int8"  # whose codes are too coarse for what is equally far
    inside = "near_listed" if stored.scans else "inside"
    assert ways == ["near_ids", inside, "distances"]
    monkeypatch.setattr(filtered, "MANY", 100)
    recall(stored, passing, query[None, :])  # as many rows, if not the nearest
    assert ways[3:].count(inside) > 2


def test_what_passes_lies_around_the_query(stored, ways, monkeypatch):
    """Few pass, but all the neighbours do: they are found among the nearest, and the filter is not asked for all."""
    monkeypatch.setattr(filtered, "FEW", 20)
    query = vectors_of(1, seed=23)[0]
    passing = set(stored.exact(query, 500))
    assert recall(stored, passing, query[None, :]) >= 0.9
    assert ways == ["near_ids", "near_ids", "distances"]


def test_a_share_that_deceives(stored, ways, monkeypatch):
    """The nearest cells are full of chunks that pass, and the next have none: the filter is asked for the others."""
    query = vectors_of(1, seed=24)[0]
    near = stored.exact(query, 12)
    passing = {*near, *(id_ for id_ in stored.vectors if id_ % 100 == 1)}
    monkeypatch.setattr(filtered, "FEW", 20)
    assert recall(stored, passing, query[None, :]) >= 0.9
    assert ways[:3] == ["near_ids", "near_ids", "near_listed" if stored.scans else "inside"]


@pytest.mark.parametrize("nprobe", [1, 5])
def test_k_rows_with_a_small_nprobe(stored, monkeypatch, nprobe):
    """A small nprobe of the caller's costs recall, and no rows."""
    monkeypatch.setattr(filtered, "FEW", 20)
    for every in (2, 40):
        recall(stored, {id_ for id_ in stored.vectors if id_ % every == 0}, vectors_of(10, seed=25), nprobe)


def test_nothing_passes(stored):
    """A filter that nothing passes gives no rows."""
    query = vectors_of(1, seed=26)[0]
    assert Index(stored.connection, stored.record).vector_top_k(query.tobytes(), K, matching(set())) == []
