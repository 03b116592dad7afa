"""Spark SQL as the third engine of the conformance suite: each statement that it can say gives SQLite's rows."""

from __future__ import annotations

import re

import pytest

import sqlrag
from tests.engine.test_conformance import CANDIDATES, DESIGN_STATEMENT, FORMS, STATEMENTS, Q, assert_same, rows_of

pytestmark = pytest.mark.slow

JSON_OPERATOR = "Spark SQL has no ->> operator: get_json_object(metadata, '$.topic') says it"
MEASURES = "the measures are not on Spark: evaluate on one machine, or with Spark's own aggregates"

NOT_ON_SPARK = {
    "metadata joined": JSON_OPERATOR,
    "group by": JSON_OPERATOR,
    "measures": MEASURES,
    "a measure of a search": MEASURES,
}
"""Statements that Spark's SQL cannot say, with the reason."""

LATERAL = re.compile(r"(FROM\s+(?:asked|weights|vector_top_k\('chunks', :q, 8\) AS hit),\s+)(\w+\()")
"""A table function that takes columns of what stands before it: Spark wants the word that the others leave out."""


@pytest.fixture(scope="module")
def passages_on_spark(spark, exported):
    """The session with the passages in four shards."""
    from sqlrag.spark import register

    register(spark, exported["sqlite"])
    return spark


@pytest.fixture(scope="module")
def alone(passage_files):
    """The same on SQLite."""
    with sqlrag.connect(passage_files["sqlite"], read_only=True) as db:
        yield db


def on_spark(spark, statement, params):
    """Return the rows of a statement; where it has no ORDER BY, in the order of their first columns."""
    rows = spark.sql(LATERAL.sub(r"\1LATERAL \2", statement), args=params or {}).collect()
    return [tuple(int(value) if isinstance(value, bool) else value for value in row) for row in rows]


@pytest.mark.parametrize("name", [name for name in STATEMENTS if name not in NOT_ON_SPARK])
def test_the_same_rows_as_on_one_machine(passages_on_spark, alone, name):
    """Ids and order are equal, numbers within 1e-5."""
    statement, params = STATEMENTS[name]
    found, expected = on_spark(passages_on_spark, statement, params), rows_of(alone, statement, params)
    if "ORDER BY" not in statement:  # Spark promises no order then
        found, expected = (sorted(rows, key=str) for rows in (found, expected))
    assert_same(found, [tuple(float(v) if isinstance(v, float) else v for v in row) for row in expected])


@pytest.mark.parametrize("name", NOT_ON_SPARK)
def test_what_spark_cannot_say(passages_on_spark, name):
    """Each listed statement is refused: if Spark learns it, the list becomes shorter."""
    from pyspark.errors import AnalysisException

    with pytest.raises(AnalysisException):
        on_spark(passages_on_spark, *STATEMENTS[name])


def test_the_design_statement_runs_to_the_letter(passages_on_spark, alone):
    """Comments, semicolon and all."""
    rows = [tuple(row) for row in passages_on_spark.sql(DESIGN_STATEMENT, args=Q).collect()]
    assert_same(rows, rows_of(alone, DESIGN_STATEMENT, Q))
    assert "waggle" in rows[0][1]


WRONG = {
    "no index 'nope'|no index nope: there is chunks": "SELECT * FROM vector_top_k('nope', 'x', 3)",
    "k is 0: it takes a whole number from 1": "SELECT * FROM vector_top_k('chunks', 'x', 0)",
    "query is a vector of 1 dimensions": "SELECT * FROM vector_top_k('chunks', array(1.0f), 3)",
    "top_n is 9, more than top_k": "SELECT * FROM search('chunks', 'x', 5, 9)",
    "embed\\(\\): text is 5": "SELECT embed(5)",
    "model is 'nomodel'": "SELECT rerank_score('a', 'b', 'nomodel')",
    "SELECT has no place in it": "SELECT * FROM vector_top_k('chunks', 'x', 3, 'id IN (SELECT 1)')",
    "filter_params is": "SELECT * FROM text_top_k('chunks', 'x', 3, 'id = 1', '[]')",
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_arguments(passages_on_spark, words):
    """The error says what it says on one machine."""
    with pytest.raises(Exception, match=words):
        passages_on_spark.sql(WRONG[words]).collect()


def test_a_threshold_scores_only_candidates(passages_on_spark):
    """rerank_score stands above the join in the plan, also under a condition; the corpus stays on the executors."""
    statement = "SELECT * FROM (" + FORMS["in SELECT"].format(candidates=CANDIDATES) + ") WHERE score > 0"
    frame = passages_on_spark.sql(statement, args=Q)
    assert frame.collect()
    plan = frame._jdf.queryExecution().optimizedPlan().toString()
    assert plan.index("rerank_score") < plan.index("Join") < plan.index("sqlrag_shard_vector")
    assert "LocalRelation" not in plan
