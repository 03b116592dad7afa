"""The aggregates give what ir-measures gives, to 1e-9, on both engines, on random and on real judgements."""

from __future__ import annotations

import csv
import json
import math

import ir_measures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import AP, RR, P, R, nDCG

import sqlrag
from tests.conftest import ENGINES
from tests.sizes import examples

# SQL → the measure of ir-measures that it is.
MEASURES = {
    "ndcg(rank, relevance)": nDCG,
    "ndcg(rank, relevance, 10)": nDCG @ 10,
    "ndcg(rank, relevance, 3)": nDCG @ 3,
    "recall_at_k(rank, relevance, 5)": R @ 5,
    "recall_at_k(rank, relevance, 5, 2)": R(rel=2) @ 5,
    "precision_at_k(rank, relevance, 5)": P @ 5,
    "precision_at_k(rank, relevance, 5, 2)": P(rel=2) @ 5,
    "mrr(rank, relevance)": RR,
    "mrr(rank, relevance, 4)": RR @ 4,
    "mrr(rank, relevance, 4, 2)": RR(rel=2) @ 4,
    "average_precision(rank, relevance)": AP,
    "average_precision(rank, relevance, 5)": AP @ 5,
    "average_precision(rank, relevance, NULL, 2)": AP(rel=2),
}

STATEMENT = f"""
WITH qrels AS (
    SELECT value ->> 0 AS query_id, value ->> 1 AS document_id, CAST(value ->> 2 AS INTEGER) AS relevance
    FROM   json_each(:qrels)
),
run AS (
    SELECT value ->> 0 AS query_id, value ->> 1 AS document_id, CAST(value ->> 2 AS INTEGER) AS rank
    FROM   json_each(:run)
),
judged AS (
    SELECT coalesce(qrels.query_id, run.query_id) AS query_id, rank, relevance
    FROM   qrels FULL JOIN run ON run.query_id = qrels.query_id AND run.document_id = qrels.document_id
)
SELECT   query_id, {", ".join(MEASURES)}
FROM     judged
GROUP BY query_id
"""

Qrels = dict[str, dict[str, int]]
Runs = dict[str, list[str]]


@pytest.fixture(scope="module")
def engines():
    """An empty database on each engine."""
    with sqlrag.connect(":memory:", engine="sqlite") as sqlite, sqlrag.connect(":memory:", engine="duckdb") as duckdb:
        yield {"sqlite": sqlite, "duckdb": duckdb}


def by_sql(db: sqlrag.Database, qrels: Qrels, runs: Runs) -> dict[str, list[float | None]]:
    """Return the values of each query, in the order of MEASURES."""
    judged = [(query, document, grade) for query, grades in qrels.items() for document, grade in grades.items()]
    run = [(query, document, rank) for query, documents in runs.items() for rank, document in enumerate(documents, 1)]
    rows = db.execute(STATEMENT, {"qrels": json.dumps(judged), "run": json.dumps(run)}).fetchall()
    return {query: list(values) for query, *values in rows}


def by_ir_measures(qrels: Qrels, runs: Runs) -> dict[str, list[float]]:
    """Return the values of each judged query; the scores that it wants are the ranks, negated."""
    run = {
        query: {document: -float(rank) for rank, document in enumerate(documents)}
        for query, documents in runs.items()
        if query in qrels
    }
    values = {query: [math.nan] * len(MEASURES) for query in qrels}
    places = {str(measure): place for place, measure in enumerate(MEASURES.values())}
    for metric in ir_measures.iter_calc(list(MEASURES.values()), qrels, run):
        values[metric.query_id][places[str(metric.measure)]] = metric.value
    return values


def assert_equal(found: dict[str, list[float | None]], expected: dict[str, list[float]]) -> None:
    """Each judged query has the value that ir-measures gives, to 1e-9; any other has NULL."""
    for query, values in found.items():
        for name, value, right in zip(MEASURES, values, expected.get(query, [None] * len(values)), strict=True):
            if right is None or value is None:
                assert value is right, (query, name, value, right)
            else:
                assert abs(value - right) < 1e-9, (query, name, value, right)


documents = st.sampled_from([f"d{number}" for number in range(12)])
queries = st.sampled_from(["q1", "q2", "q3", "Ünï 🐝"])
# trec_eval loops for ever over a query whose grades are all below 0 (test_only_negative_grades has that case).
grades = st.dictionaries(documents, st.integers(-1, 4), min_size=1).filter(lambda given: max(given.values()) >= 0)
all_qrels = st.dictionaries(queries, grades, min_size=1)
all_runs = st.dictionaries(queries, st.lists(documents, min_size=1, unique=True))


@pytest.mark.sized
@settings(deadline=None, max_examples=examples(40, 150))
@given(qrels=all_qrels, runs=all_runs)
def test_random_judgements(engines, qrels, runs):
    """Any grades, any run: documents that were not judged, not retrieved, queries without either."""
    expected = by_ir_measures(qrels, runs)
    for engine in ENGINES:
        found = by_sql(engines[engine], qrels, runs)
        assert set(found) == set(qrels) | set(runs)
        # Of a query that is missing from the run ir-measures says only in the mean that nothing was found.
        missing = {query: [0.0] * len(MEASURES) for query in set(qrels) - set(runs)}
        assert_equal(found, expected | missing)


@pytest.mark.data
@pytest.mark.parametrize("engine", ENGINES)
def test_real_judgements(engines, engine, shared_data):
    """TREC Deep Learning 2019: the judgements of 43 queries, graded 0 to 3, and BM25's top 100 for each."""
    folder = shared_data / "eval" / "trec-dl-2019"
    qrels: Qrels = {}
    runs: Runs = {}
    with (folder / "qrels" / "test.tsv").open(encoding="utf-8", newline="") as file:
        for query, document, grade in list(csv.reader(file, delimiter="\t"))[1:]:
            qrels.setdefault(query, {})[document] = int(grade)
    with (folder / "bm25.run.tsv").open(encoding="utf-8", newline="") as file:
        for query, document, *_ in csv.reader(file, delimiter="\t"):
            runs.setdefault(query, []).append(document)
    found = by_sql(engines[engine], qrels, runs)
    assert len(found) == 43
    assert_equal(found, by_ir_measures(qrels, runs))


def test_only_negative_grades(fresh):
    """A query whose judged documents are all spam was judged, and there was nothing to find: 0."""
    assert list(by_sql(fresh, {"q": {"d1": -1, "d2": -2}}, {"q": ["d1", "d3"]})["q"]) == [0.0] * len(MEASURES)


def test_nothing_to_aggregate(fresh):
    """Of no rows the value is NULL, as of avg()."""
    assert fresh.execute("SELECT ndcg(1, 1), mrr(1, 1) WHERE 1 = 0").fetchall() == [(None, None)]
    assert fresh.execute("SELECT recall_at_k(1, 1, NULL), mrr(1, 1, NULL, NULL)").fetchall() == [(None, 1.0)]


WRONG = {
    "ndcg('first', 1)": r"ndcg\(\): rank is 'first': it takes a whole number from 1, or NULL",
    "ndcg(0, 1)": r"ndcg\(\): rank is 0: it takes a whole number from 1",
    "mrr(1.5, 1)": r"mrr\(\): rank is .*1\.5.*: it takes a whole number",
    "mrr(1, 'good')": r"mrr\(\): relevance is 'good': it takes a number, or NULL",
    "ndcg(1, 9e999)": r"ndcg\(\): relevance is inf: it takes a number",
    "recall_at_k(1, 1, 0)": r"recall_at_k\(\): k is 0: it takes a whole number from 1",
    "recall_at_k(1, 1, 'ten')": r"recall_at_k\(\): k is 'ten': it takes a whole number from 1",
    "precision_at_k(1, 1, 5, 0)": r"precision_at_k\(\): min_relevance is 0: it takes a grade above 0",
    "average_precision(1, 1, 5, 'x')": r"average_precision\(\): min_relevance is 'x': it takes a number",
}


@pytest.mark.parametrize("call", WRONG)
def test_wrong_arguments(fresh, call):
    """An error names the aggregate, the argument, its value and what it takes."""
    with pytest.raises(sqlrag.errors.InputError, match=WRONG[call]):
        fresh.execute(f"SELECT {call}").fetchall()


def test_two_queries_in_one_group(fresh):
    """A forgotten GROUP BY is an error, not a number."""
    with pytest.raises(sqlrag.errors.InputError, match=r"rank is 1 in two rows: .*GROUP BY the query's id"):
        fresh.execute("WITH found (rank) AS (VALUES (1), (1)) SELECT ndcg(rank, 1) FROM found").fetchall()


def test_another_k_in_each_row():
    """On SQLite k may be a column: it must be the same in a group (DuckDB's binder says so itself)."""
    with (
        sqlrag.connect(":memory:") as db,
        pytest.raises(sqlrag.errors.InputError, match=r"mrr\(\): k is 1 in one row and 2 in another"),
    ):
        db.execute("WITH found (rank) AS (VALUES (1), (2)) SELECT mrr(rank, 1, rank) FROM found").fetchall()
