"""The score cache: a question asked again runs no model, scores are the same, and nothing ever fails by it."""

from __future__ import annotations

import logging
from collections import OrderedDict
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sqlrag
from sqlrag.models import Reranker
from sqlrag.store.score_table import ScoreTable
from tests.engine.databases import copy_of
from tests.engine.score_caches import TABLE, Q, counts, open_cached, table_of
from tests.engine.test_conformance import DESIGN_STATEMENT
from tests.sizes import examples


@pytest.fixture
def path(engine, passage_files, tmp_path) -> Path:
    """A database of the passages that may be written."""
    return copy_of(passage_files[engine], tmp_path)


# What it is for


def test_a_question_asked_again_runs_no_model(path):
    """In another process the scores come from the file: the same rows, no pair computed, 25 hits."""
    with open_cached(path) as db:
        first = db.search(Q, top_n=25)
        assert (db.reranker.pairs_scored, counts(db)) == (25, (25, 0))
    with open_cached(path) as db:
        assert db.search(Q, top_n=25) == first
        assert db.search(Q, top_n=25) == first
        assert (db.reranker.pairs_scored, counts(db)) == (0, (25, 25))
    with sqlrag.connect(path, reranker=Reranker()) as db:
        assert db.search(Q, top_n=25) == first
        assert db.reranker.pairs_scored == 25


def test_the_scalar_function_too(path):
    """rerank_score() keeps and finds them, row by row on SQLite, in batches on DuckDB."""
    with open_cached(path) as db:
        first = db.execute(DESIGN_STATEMENT, {"q": Q}).fetchall()
    with open_cached(path) as db:
        assert db.execute(DESIGN_STATEMENT, {"q": Q}).fetchall() == first
        assert (db.reranker.pairs_scored, counts(db)) == (0, (25, 25))


def test_what_the_process_remembers_is_kept_too(path):
    """A score from before the cache was asked for goes into it as well."""
    reranker = Reranker()
    with sqlrag.connect(path, reranker=reranker) as db:
        first = db.search(Q)
    with sqlrag.connect(path, reranker=reranker, score_cache=100) as db:
        assert db.search(Q) == first
        assert (reranker.pairs_scored, counts(db)) == (25, (25, 0))


def test_a_search_that_is_read_in_part(path):
    """What was scored is kept when the connection closes, though the statement never came to its end."""
    with open_cached(path) as db:
        db.execute("SELECT * FROM search('chunks', :q)", {"q": Q}).fetchone()
    with open_cached(path) as db:
        db.search(Q)
        assert db.reranker.pairs_scored == 0


def test_another_model_has_other_scores(path):
    """Scores belong to the model that made them."""
    with open_cached(path) as db:
        db.search(Q)
        db.execute("SELECT rerank_score(:q, text, 'reranker-v1-small') FROM chunks", {"q": Q}).fetchall()
        assert counts(db)[0] == 50
    small = Reranker("reranker-v1-small")
    assert len({Reranker().fingerprint, Reranker(threads=1).fingerprint, small.fingerprint}) == 2


# Bounds


def test_the_least_recently_used_leave(path):
    """50 rows hold two questions; the one that was asked again stays when a third comes."""
    for question in ("first?", "second?", "first?", "third?"):
        with open_cached(path, 50) as db:
            db.search(question)
            assert counts(db)[0] <= 50
    asked = {}
    for question in ("first?", "second?"):
        with open_cached(path, 50, read_only=True) as db:
            db.search(question)
            asked[question] = db.reranker.pairs_scored
    assert asked == {"first?": 0, "second?": 25}


def test_fewer_rows_than_candidates(path):
    """A cache of 10 rows has 10 rows."""
    with open_cached(path, 10) as db:
        assert len(db.search(Q, top_n=25)) == 25
        assert counts(db) == (10, 0)


KEYS = st.lists(st.integers(0, 11), max_size=6, unique=True)


@pytest.mark.sized
@settings(max_examples=examples(12, 40), deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["keep", "read", "reopen"]), KEYS), max_size=12))
def test_it_is_a_cache_of_the_last_used(tmp_path_factory, steps):
    """Whatever is kept, read and reopened in whatever order: the table is what an ordered dict would be."""
    path = str(tmp_path_factory.mktemp("scores") / "scores.db")
    apsw.Connection(path).close()
    table, model, expected = ScoreTable(path, 8, read_only=False), b"m" * 16, OrderedDict()
    for number, (step, keys) in enumerate(steps):
        pairs = [bytes([key]) * 16 for key in keys]
        if step == "keep":
            table.keep(model, dict.fromkeys(pairs, number / 7))
            expected.update((pair, number / 7) for pair in pairs)
            while len(expected) > 8:
                expected.popitem(last=False)
        elif step == "read":
            found = table.read(model, pairs)
            assert found == {pair: expected[pair] for pair in pairs if pair in expected}
            table.flush(all_hits=True)
            for pair in found:
                expected.move_to_end(pair)
        else:
            table.close()
            table = ScoreTable(path, 8, read_only=False)
    table.close()
    with closing(apsw.Connection(path)) as connection:
        there = list(connection.execute(TABLE)) != [(0,)]
        rows = list(connection.execute("SELECT pair, score FROM sqlrag_scores ORDER BY used")) if there else []
    assert rows == list(expected.items())


# Off unless asked for


def test_it_is_off_by_default(path):
    """No table, and info says that there is none."""
    with sqlrag.connect(path) as db:
        db.search(Q)
        assert counts(db) == (None, None)
    assert list(table_of(path).execute(TABLE)) == [(0,)]


def forge(path: Path, score: object) -> None:
    """Make every score of a cache another one, as a stranger could."""
    with table_of(path) as connection:
        connection.execute("UPDATE sqlrag_scores SET score = ?", (score,))


def test_a_strangers_scores_are_not_believed_unasked(path, tmp_path):
    """They change no result where the cache is off, and those of one database none of another with the cache on."""
    other = copy_of(path, tmp_path, "other")
    with open_cached(path) as db:
        first = db.search(Q)
    forge(path, 0.125)
    with sqlrag.connect(path, reranker=Reranker()) as db:
        assert db.search(Q) == first
        assert counts(db) == (25, 0)
    reranker = Reranker()
    with sqlrag.connect(path, reranker=reranker, score_cache=100) as db:
        assert {hit.score for hit in db.search(Q)} == {0.125}
    with sqlrag.connect(other, reranker=reranker, score_cache=100) as db:
        assert db.search(Q) == first


@pytest.mark.parametrize("score", ["high", b"\x00\x01", float("inf"), float("-inf"), 1e300, -1e39], ids=repr)
def test_what_can_be_no_score_is_ignored(path, score):
    """Such a row counts as missing: the pair is scored, and the row put right."""
    with open_cached(path) as db:
        first = db.search(Q)
    forge(path, score)
    for scored in (25, 0):
        with open_cached(path) as db:
            assert db.search(Q) == first
            assert db.reranker.pairs_scored == scored


IN_ITS_PLACE = {
    "a view": "CREATE VIEW sqlrag_scores AS SELECT 1 AS used, x'00' AS model, x'00' AS pair, 0.5 AS score, 0 AS hits",
    "another table": "CREATE TABLE sqlrag_scores (mine)",
    "a virtual table": "CREATE VIRTUAL TABLE sqlrag_scores USING fts5 (used, model, pair, score)",
    "a clock at its end": """
        CREATE TABLE sqlrag_scores (
            used INTEGER PRIMARY KEY, model BLOB, pair BLOB, score REAL CHECK (score < -1), hits, UNIQUE (model, pair)
        );
        INSERT INTO sqlrag_scores VALUES (9223372036854775807, x'00', x'00', -2.0, 0)
    """,
}


@pytest.mark.parametrize("name", IN_ITS_PLACE)
def test_something_else_in_its_place(path, name, caplog):
    """A search works as without a cache, the log says why there is none, and the thing stays as it was."""
    with table_of(path) as connection:
        connection.execute(IN_ITS_PLACE[name])
        before = list(connection.execute("SELECT * FROM sqlrag_scores"))
    with sqlrag.connect(path, reranker=Reranker()) as db:
        first = db.search(Q)
        db.info()
    assert caplog.records == []
    with open_cached(path) as db:
        assert db.search(Q) == first
        assert db.search("another?")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "score cache" in caplog.text
    assert list(table_of(path).execute("SELECT * FROM sqlrag_scores")) == before


def test_triggers_in_the_file_do_not_run(path):
    """A stranger's trigger on the table is not what the user asked for."""
    with open_cached(path) as db:
        db.search(Q)
    with table_of(path) as connection:
        connection.execute("CREATE TABLE seen (x)")
        connection.execute("CREATE TRIGGER t AFTER INSERT ON sqlrag_scores BEGIN INSERT INTO seen VALUES (1); END")
    with open_cached(path) as db:
        db.search("another?")
        assert counts(db)[0] == 50
    assert list(table_of(path).execute("SELECT * FROM seen")) == []
