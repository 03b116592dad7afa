"""`search(…, budget_ms)`: what can be reranked in the time, first things first."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

import sqlrag
from sqlrag import errors
from sqlrag.engines.functions import SEARCH_COLUMNS
from sqlrag.models import Reranker
from sqlrag.process.cpus import usable_cpus
from tests.engine.databases import assert_says

Q = "how do bees tell each other where food is?"
EVERYTHING = 3_600_000


@pytest.fixture
def db(engine, passage_files):
    """The passages, with a reranker that remembers nothing and takes one pair at a time."""
    with sqlrag.connect(passage_files[engine], read_only=True, reranker=Reranker(threads=1)) as opened:
        yield opened


def a_clock_that_ticks(monkeypatch) -> None:
    """Let each look at the clock be a second later than the last."""
    ticks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: float(next(ticks)))
    monkeypatch.setattr("sqlrag.models.onnx.time", clock)
    monkeypatch.setattr("sqlrag.store.scores.time", clock)


def search(db: sqlrag.Database, budget_ms: float | None, top_n: int = 25) -> list[tuple]:
    """Return all rows of search(), as dicts."""
    sql = "SELECT * FROM search('chunks', :q, 25, :n, NULL, :budget)"
    rows = db.execute(sql, {"q": Q, "n": top_n, "budget": budget_ms}).fetchall()
    return [SimpleNamespace(**dict(zip(SEARCH_COLUMNS, row, strict=True))) for row in rows]


def test_without_a_budget_all_are_reranked(db):
    """As ever, and `reranked` says so; a budget that is never spent, or NULL, changes nothing."""
    rows = search(db, None)
    assert {row.reranked for row in rows} == {25}
    assert None not in [row.score for row in rows]
    assert search(db, EVERYTHING) == rows
    with sqlrag.connect(db.path, read_only=True, reranker=Reranker(threads=2)) as other:
        assert search(other, EVERYTHING) == rows


@pytest.mark.parametrize("seconds", [1, 2, 7])
def test_the_candidates_are_scored_in_the_order_of_the_first_stage(db, monkeypatch, seconds):
    """As many as there is time for; those behind them have no score, and stand behind in that order."""
    a_clock_that_ticks(monkeypatch)
    rows = search(db, seconds * 1000)
    scored = [row for row in rows if row.score is not None]
    assert len(scored) == db.reranker.pairs_scored == seconds
    assert {row.reranked for row in rows} == {seconds}
    assert sorted(row.rank_before for row in scored) == list(range(1, seconds + 1))
    assert [row.rank_after for row in scored] == list(range(1, seconds + 1))
    assert [row.rank_before for row in rows[seconds:]] == list(range(seconds + 1, 26))
    assert [row.rank_after for row in rows] == list(range(1, 26))


def test_scores_are_those_of_a_search_without_a_budget(db, monkeypatch):
    """What was scored has the score that it always has."""
    with monkeypatch.context() as patched:
        a_clock_that_ticks(patched)
        some = {row.id: row.score for row in search(db, 9_000) if row.score is not None}
    every = {row.id: row.score for row in search(db, None)}
    assert len(some) == 9
    assert some == {id_: every[id_] for id_ in some}


def test_what_is_known_costs_nothing(db, monkeypatch):
    """Asked again, the same budget reaches further; once all are known, a budget of 0 gives the whole order."""
    a_clock_that_ticks(monkeypatch)
    assert [search(db, 10_000)[0].reranked for _ in range(4)] == [10, 20, 25, 25]
    assert search(db, 0) == search(db, None)
    assert db.reranker.pairs_scored == 25


def test_a_budget_of_nothing(db):
    """No model runs; the order is the first stage's, without scores."""
    rows = search(db, 0, top_n=4)
    assert [(row.score, row.rank_before, row.rank_after, row.reranked) for row in rows] == [
        (None, n, n, 0) for n in (1, 2, 3, 4)
    ]
    assert db.reranker.pairs_scored == 0


def test_the_first_is_scored_at_any_rate(engine, passage_files):
    """A budget that is spent before the first pair has run: each core has begun one at most."""
    with sqlrag.connect(passage_files[engine], read_only=True, reranker=Reranker()) as db:
        (first, *others) = search(db, 0.001)
        assert first.score is not None
        assert first.reranked == db.reranker.pairs_scored <= usable_cpus()
        assert sum(row.score is not None for row in others) == first.reranked - 1


def test_in_python(db, monkeypatch):
    """Database.search takes it and says how far it came."""
    a_clock_that_ticks(monkeypatch)
    hits = db.search(Q, top_n=5, budget_ms=2_000)
    assert [hit.reranked for hit in hits] == [2] * 5
    assert [hit.score is None for hit in hits] == [False, False, True, True, True]


def test_each_question_has_its_own(db, monkeypatch):
    """In a lateral join the budget is that of one call."""
    a_clock_that_ticks(monkeypatch)
    rows = db.execute("""
        WITH asked (n, question) AS (VALUES (1, 'bread without bought yeast'), (2, 'who inherits?'))
        SELECT asked.n, hit.reranked FROM asked, search('chunks', asked.question, 8, 1, NULL, 3000) AS hit
        ORDER BY asked.n
    """).fetchall()
    assert rows == [(1, 3), (2, 3)]


def test_the_limit_of_a_statement_counts_what_is_scored(engine, passage_files, monkeypatch):
    """25 candidates are no reason to stop where the budget is enough for three."""
    a_clock_that_ticks(monkeypatch)
    options = {"read_only": True, "rerank_limit": 5, "reranker": Reranker(threads=1)}
    with sqlrag.connect(passage_files[engine], **options) as db:
        assert search(db, 3_000)[0].reranked == 3
        with pytest.raises(errors.RerankLimitError, match="rerank_limit = 5"):
            search(db, 6_000)


def test_none_and_no_candidates(db):
    """NULL asks for nothing; where nothing matches there is nothing to rerank."""
    assert db.execute("SELECT * FROM search('chunks', NULL, 25, 3, NULL, 10)").fetchall() == []
    assert db.execute("SELECT * FROM search('chunks', 'x', 25, 3, 'id < 0', 10)").fetchall() == []


@pytest.mark.parametrize("budget", ["-1", "-0.5", "'soon'", "9e999"])
def test_what_is_no_budget(db, budget):
    """The error names argument and value, and says what leaving it out means."""
    with pytest.raises(errors.Error) as raised:
        db.execute(f"SELECT * FROM search('chunks', 'x', 5, 3, NULL, {budget})").fetchall()
    assert_says(raised.value, errors.InputError, "search(): budget_ms is", "milliseconds", "leave it out")


@pytest.mark.parametrize("budget", ["0.5", "12", "1.5e2"])
def test_numbers_of_any_kind(db, budget):
    """Whole, decimal (DuckDB has a type for them) or with an exponent."""
    assert db.execute(f"SELECT reranked FROM search('chunks', 'x', 5, 3, NULL, {budget})").fetchone()[0] >= 1
