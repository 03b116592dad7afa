"""One suite, two engines: each statement gives the same rows on SQLite and on DuckDB, ids and order equal."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

import sqlrag

DESIGN_STATEMENT = """
SELECT   c.id, c.text, rerank_score(:q, c.text) AS score
FROM     vector_top_k('chunks', embed(:q), 25) AS hit      -- stage 1: top_k
JOIN     chunks AS c ON c.id = hit.id
ORDER BY score DESC                                        -- stage 2: cross-encoder
LIMIT    3;                                                -- top_n
"""

Q = {"q": "how do bees tell each other where food is?"}

# name → (statement, parameters); every one has a total order.
STATEMENTS = {
    "two stages": (DESIGN_STATEMENT, Q),
    "vector, embedded by the caller": ("SELECT id, distance, rank FROM vector_top_k('chunks', embed(:q), 7)", Q),
    "vector, embedded by the index": ("SELECT id, distance, rank FROM vector_top_k('chunks', :q, 7)", Q),
    "vector, a literal": ("SELECT * FROM vector_top_k('chunks', 'money lent at a bank', 5)", None),
    "vector, more than there are": ("SELECT id, rank FROM vector_top_k('chunks', :q, 1000)", Q),
    "vector, beyond vec0's limit": ("SELECT id, distance, rank FROM vector_top_k('chunks', :q, 5000)", Q),
    "vector of NULL": ("SELECT * FROM vector_top_k('chunks', NULL, 5)", None),
    "text": ("SELECT id, score, rank FROM text_top_k('chunks', 'interest rates and prices', 5)", None),
    "text, stemmed": ("SELECT id, score, rank FROM text_top_k('chunks', 'sailor', 5)", None),
    "text, hostile syntax": ("""SELECT id FROM text_top_k('chunks', '"AND NOT (bees*', 5)""", None),
    "text without a word": ("SELECT id FROM text_top_k('chunks', '?! 🐝', 5)", None),
    "hybrid": ("SELECT id, score, rank FROM hybrid_top_k('chunks', :q, 9)", Q),
    "hybrid without a word": ("SELECT id, score, rank FROM hybrid_top_k('chunks', '🐝', 4)", None),
    "hybrid of NULL": ("SELECT * FROM hybrid_top_k('chunks', NULL, 4)", None),
    "hybrid, weighed": ("SELECT id, score, rank FROM hybrid_top_k('chunks', :q, 9, NULL, 0.7)", Q),
    "hybrid, a whole number as weight": ("SELECT id, score, rank FROM hybrid_top_k('chunks', :q, 9, NULL, 1)", Q),
    "hybrid, the default weight": ("SELECT id, score, rank FROM hybrid_top_k('chunks', :q, 9, NULL, NULL)", Q),
    "hybrid, weighed and filtered": (
        "SELECT id, score, rank FROM hybrid_top_k('chunks', :q, 4, 'id BETWEEN 3 AND 12', :w)",
        Q | {"w": 0.2},
    ),
    "hybrid, lateral weights": (
        """
        WITH weights (weight) AS (VALUES (0.25), (0.75))
        SELECT weight * 1.0, hit.id, hit.score FROM weights, hybrid_top_k('chunks', 'bees', 3, NULL, weight) AS hit
        ORDER BY weight, hit.rank
        """,
        None,
    ),
    "search": ("SELECT * FROM search('chunks', :q)", Q),
    "search, top_k and top_n": ("SELECT * FROM search('chunks', :q, 10, 5)", Q),
    "search, fewer candidates than the default top_n": ("SELECT * FROM search('chunks', :q, 2)", Q),
    "search with more time than it needs": ("SELECT * FROM search('chunks', :q, 10, 5, NULL, 3600000)", Q),
    "search without time": (
        "SELECT id, rank_after FROM search('chunks', 'a question that nobody asked', 5, 5, NULL, 0)",
        None,
    ),
    "search with a filter": ("SELECT * FROM search('chunks', :q, 25, 3, 'title <> ''Bees''')", Q),
    "filter": (
        "SELECT id, rank FROM vector_top_k('chunks', :q, 5, '(metadata ->> ''topic'') = ''computing''')",
        Q,
    ),
    "filter that nothing matches": ("SELECT id FROM vector_top_k('chunks', :q, 5, 'title = ''none''')", Q),
    "filter on text": ("SELECT id, score FROM text_top_k('chunks', 'the sun', 4, 'id > 12')", None),
    "filter on hybrid": ("SELECT id, score FROM hybrid_top_k('chunks', :q, 4, 'id BETWEEN 3 AND 12')", Q),
    "filter by name": ("SELECT id FROM vector_top_k('chunks', :q, 3, 'title IN (''Bees'', ''Zürich 🚋'')')", Q),
    "lateral": (
        """
        WITH asked (n, question) AS (VALUES (1, 'bread without bought yeast'), (2, 'who inherits?'), (3, NULL))
        SELECT asked.n, hit.id, hit.rank FROM asked, vector_top_k('chunks', asked.question, 3) AS hit
        ORDER BY asked.n, hit.rank
        """,
        None,
    ),
    "lateral, both stages": (
        """
        WITH asked (n, question) AS (VALUES (1, 'bread without bought yeast'), (2, 'who inherits?'))
        SELECT asked.n, hit.id, hit.rank_before, hit.rank_after, hit.score
        FROM   asked, search('chunks', asked.question, 8, 2) AS hit
        ORDER BY asked.n, hit.rank_after
        """,
        None,
    ),
    "context budget": (
        """
        WITH ranked AS (
            SELECT c.id, token_count(c.text) AS tokens, rerank_score(:q, c.text) AS score
            FROM   vector_top_k('chunks', embed(:q), 12) AS hit JOIN chunks AS c ON c.id = hit.id
        ),
        packed AS (SELECT id, tokens, sum(tokens) OVER (ORDER BY score DESC, id) AS total FROM ranked)
        SELECT id, tokens, CAST(total AS INTEGER) FROM packed WHERE total <= 150 ORDER BY total
        """,
        Q,
    ),
    "metadata joined": (
        """
        SELECT hit.rank_after, d.title, d.metadata ->> 'topic'
        FROM   search('chunks', :q, 25, 3) AS hit JOIN documents AS d ON d.id = hit.source_id
        ORDER BY hit.rank_after
        """,
        Q,
    ),
    "chunk": (
        """
        SELECT c.id, c.text, rerank_score(:q, c.text) AS score
        FROM   vector_top_k('chunks', :q, 8) AS hit, chunk('chunks', hit.id) AS c ORDER BY score DESC LIMIT 3
        """,
        Q,
    ),
    "chunk by its id": ("SELECT id, source_id, text, context FROM chunk('chunks', 7)", None),
    "chunk of NULL": ("SELECT * FROM chunk('chunks', NULL)", None),
    "chunk_text": (
        "SELECT ordinal, start_char, end_char, text FROM chunk_text(:text, 12, 0) ORDER BY ordinal",
        {"text": "# One\n\nThe first paragraph is here. It has two sentences.\n\n# Two\n\nZürich 🚋 is second."},
    ),
    "chunk_text, defaults": ("SELECT * FROM chunk_text('short')", None),
    "chunk_text of NULL and of nothing": (
        "SELECT * FROM chunk_text(NULL) UNION ALL SELECT * FROM chunk_text('')",
        None,
    ),
    "NULL in, NULL out": (
        "SELECT embed(NULL) IS NULL, embed_document(NULL) IS NULL, token_count(NULL), rerank_score(NULL, 'a'), "
        "rerank_score('a', NULL)",
        None,
    ),
    "token_count": (
        "SELECT token_count('a honeybee'), token_count(''), token_count('🐝'), token_count('x', NULL)",
        None,
    ),
    "empty texts": ("SELECT round(rerank_score('', ''), 4), round(rerank_score('bees', ''), 4)", None),
    "a model by name": (
        "SELECT rerank_score(:q, text, 'reranker-v1') AS score, id FROM chunks WHERE id < 5 ORDER BY score DESC, id",
        Q,
    ),
    "the vectors of a text are equal": ("SELECT embed(:q) = embed(:q, 'all-MiniLM-L6-v2')", Q),
    "info": ("SELECT * FROM sqlrag_info()", None),
    "measures": (
        """
        WITH judged (query, rank, relevance) AS (
            VALUES ('a', 1, NULL), ('a', NULL, 2), ('a', 3, 1), ('b', 1, 1), ('b', 2, -1), ('c', 1, NULL), ('d', 1, 0)
        )
        SELECT   query, ndcg(rank, relevance), ndcg(rank, relevance, 2), recall_at_k(rank, relevance, 5),
                 recall_at_k(rank, relevance, 5, 2), precision_at_k(rank, relevance, 2), mrr(rank, relevance),
                 mrr(rank, relevance, NULL, 2), average_precision(rank, relevance),
                 average_precision(rank, relevance, 1)
        FROM     judged GROUP BY query ORDER BY query
        """,
        None,
    ),
    "a measure of a search": (
        """
        WITH qrels (document, relevance) AS (VALUES ('Bees', 2), ('Zürich 🚋', 1), ('none', 1)),
        run AS (
            SELECT d.title AS document, hit.rank_before, hit.rank_after
            FROM   search('chunks', :q, 25, 25) AS hit JOIN documents AS d ON d.id = hit.source_id
        )
        SELECT ndcg(rank_before, relevance, 10), ndcg(rank_after, relevance, 10), recall_at_k(rank_after, relevance, 25)
        FROM   qrels FULL JOIN run ON run.document = qrels.document
        """,
        Q,
    ),
    "group by": (
        """
        SELECT d.metadata ->> 'topic' AS topic, count(*) AS n, min(hit.rank)
        FROM   vector_top_k('chunks', :q, 12) AS hit
        JOIN   chunks AS c ON c.id = hit.id JOIN documents AS d ON d.id = c.source_id
        GROUP BY topic ORDER BY n DESC, topic
        """,
        Q,
    ),
}


def rows_of(db: sqlrag.Database, statement: str, params: dict | None) -> list[tuple]:
    """Run a statement; the values that name the engine's own types become plain."""
    rows = db.execute(statement, params).fetchall()
    return [tuple(int(value) if isinstance(value, bool) else value for value in row) for row in rows]


def assert_same(left: list[tuple], right: list[tuple]) -> None:
    """Rows are equal, floating-point values within 1e-5."""
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            if isinstance(a, float):
                assert math.isclose(a, b, abs_tol=1e-5), (one, other)
            else:
                assert a == b, (one, other)


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_same_rows_on_both_engines(both, name):
    """The statement runs unchanged on SQLite and DuckDB and gives the same rows."""
    statement, params = STATEMENTS[name]
    sqlite, duckdb = rows_of(both["sqlite"], statement, params), rows_of(both["duckdb"], statement, params)
    assert_same(sqlite, duckdb)
    empty = ("of NULL", "nothing matches", "text without a word")
    assert bool(sqlite) != any(sign in name for sign in empty)


def test_the_design_statement_finds_the_bees(passages):
    """The contract's statement answers: the passage that says it is first, scores fall."""
    rows = passages.execute(DESIGN_STATEMENT, Q).fetchall()
    assert [len(row) for row in rows] == [3, 3, 3]
    assert "waggle" in rows[0][1]
    assert rows[0][2] > rows[1][2] >= rows[2][2]


def test_search_is_the_statement(passages):
    """search() gives what the statement gives for passages with their contexts; its ranks say how the order moved."""
    statement = DESIGN_STATEMENT.replace("rerank_score(:q, c.text)", "rerank_score(:q, c.context || c.text)")
    assert statement != DESIGN_STATEMENT
    statement = passages.execute(statement, Q).fetchall()
    found = passages.execute("SELECT id, text, score FROM search('chunks', :q)", Q).fetchall()
    assert_same(found, statement)
    candidates = passages.execute("SELECT * FROM search('chunks', :q, 25, 25)", Q).fetchall()
    assert [row[5] for row in candidates] == list(range(1, 26))
    assert sorted(row[4] for row in candidates) == list(range(1, 26))


@pytest.mark.parametrize(
    ("sql", "params", "columns", "rows"),
    [
        ("SELECT 1 AS a; SELECT 2 AS b", None, ["b"], [(2,)]),
        ("SELECT 1 AS a; SELECT 'x;' AS b UNION ALL SELECT 'y'; ; -- ;\n", None, ["b"], [("x;",), ("y",)]),
        ("SELECT 1 AS a; SELECT 2 AS b WHERE 1 = 0; /* nothing */", None, ["b"], []),
        ("SELECT 1 AS a UNION ALL SELECT 2; SELECT :b AS b; SELECT :c AS c", {"b": 1, "c": 3}, ["c"], [(3,)]),
        ("INSERT INTO t VALUES (1); SELECT x FROM t; INSERT INTO t VALUES (2); SELECT x FROM t", None, ["x"], None),
    ],
)
def test_the_rows_are_those_of_the_last_statement(fresh, sql, params, columns, rows):
    """All statements of a text have run when `execute` returns, up to the last one, whose rows it returns."""
    fresh.execute("CREATE TABLE t(x INTEGER)")
    result = fresh.execute(sql, params)
    assert (result.columns, result.fetchall()) == (columns, [(1,), (2,)] if rows is None else rows)


def test_a_last_statement_that_writes_has_run(fresh):
    """It runs although nobody reads the rows of the statement before it."""
    fresh.execute("CREATE TABLE t(x INTEGER)")
    fresh.execute("SELECT 1 AS a UNION ALL SELECT 2; INSERT INTO t VALUES (1)")
    assert fresh.execute("SELECT x FROM t").fetchall() == [(1,)]


def test_values_without_a_name_go_from_statement_to_statement(both):
    """On SQLite each statement of a text takes the next of them."""
    assert both["sqlite"].execute("SELECT ? AS a; SELECT ? AS b, ? AS c; -- end", (1, 2, 3)).fetchall() == [(2, 3)]


def test_plain_sqlite_vec_works(both):
    """The vectors are an ordinary vec0 table: sqlite-vec's own MATCH finds the same rows."""
    sqlite = both["sqlite"]
    plain = sqlite.execute("SELECT rowid FROM chunks_vec WHERE embedding MATCH embed(:q) AND k = 25", Q).fetchall()
    ours = sqlite.execute("SELECT id FROM vector_top_k('chunks', :q, 25)", Q).fetchall()
    assert plain == ours


def test_vectors_are_float32_of_unit_length(both):
    """embed() gives a float32 BLOB on SQLite and FLOAT[384] on DuckDB, the same numbers."""
    import numpy as np

    ((blob,),) = both["sqlite"].execute("SELECT embed(:q)", Q).fetchall()
    ((array, kind),) = both["duckdb"].execute("SELECT embed(:q), typeof(embed(:q))", Q).fetchall()
    assert kind == "FLOAT[384]"
    assert np.frombuffer(blob, np.float32).tolist() == list(array)
    assert math.isclose(float(np.linalg.norm(array)), 1.0, abs_tol=1e-5)


# What is asked of the models

FORMS = {
    "in SELECT": "SELECT c.id, rerank_score(:q, c.text) AS score FROM {candidates}",
    "in ORDER BY": "SELECT c.id FROM {candidates} ORDER BY rerank_score(:q, c.text) DESC",
    "in both": "SELECT c.id, rerank_score(:q, c.text) AS s FROM {candidates} ORDER BY rerank_score(:q, c.text) DESC",
    "in a sub-query with an outer WHERE": (
        "SELECT * FROM (SELECT c.id, rerank_score(:q, c.text) AS score FROM {candidates}) AS t WHERE score > 0"
    ),
    "in a CTE used twice": (
        "WITH t AS (SELECT c.id, rerank_score(:q, c.text) AS score FROM {candidates}) "
        "SELECT a.id, b.score FROM t AS a JOIN t AS b ON a.id = b.id ORDER BY b.score DESC"
    ),
    "with LIMIT": "SELECT c.id, rerank_score(:q, c.text) AS s FROM {candidates} ORDER BY s DESC LIMIT 3",
}
CANDIDATES = "vector_top_k('chunks', :q, 10) AS hit JOIN chunks AS c ON c.id = hit.id"


@pytest.mark.parametrize("form", FORMS)
def test_each_candidate_is_scored_once(passages, form):
    """However often the planner repeats the expression, the model sees each distinct candidate once."""
    params = {"q": f"asked by {passages.engine}: {form}"}
    before = passages.reranker.pairs_scored
    rows = passages.execute(FORMS[form].format(candidates=CANDIDATES), params).fetchall()
    assert rows
    assert passages.reranker.pairs_scored - before == 10


def test_each_candidate_is_scored_once_in_a_view(fresh):
    """A view that reranks: filtered and read twice, each candidate is scored once."""
    from tests.conftest import PASSAGES

    fresh.ingest(PASSAGES)
    question = f"a view on {fresh.engine}, and the sun"
    fresh.execute(
        f"CREATE TEMP VIEW best AS SELECT c.id, rerank_score('{question}', c.text) AS score "
        f"FROM vector_top_k('chunks', '{question}', 10) AS hit JOIN chunks AS c ON c.id = hit.id"
    ).fetchall()
    before = fresh.reranker.pairs_scored
    fresh.execute("SELECT * FROM best WHERE score > 0 ORDER BY score DESC").fetchall()
    fresh.execute("SELECT a.id FROM best AS a JOIN best AS b ON a.id = b.id").fetchall()
    assert fresh.reranker.pairs_scored - before == 10


def test_a_scalar_in_sqlite_scores_the_candidates_side_by_side(both, monkeypatch):
    """The first rerank_score of a statement has all candidates scored in one call, on every core."""
    db = both["sqlite"]
    calls = []
    scored = type(db.reranker).scored
    monkeypatch.setattr(
        type(db.reranker),
        "scored",
        lambda self, pairs, until=None: calls.append(len(pairs)) or scored(self, pairs, until),
    )
    db.execute(DESIGN_STATEMENT, {"q": "side by side, please"}).fetchall()
    assert calls == [25]


@pytest.mark.parametrize(
    "join",
    [
        "vector_top_k('chunks', embed(:q), 25) AS hit JOIN chunks AS c ON c.id = hit.id",
        "chunks AS c JOIN vector_top_k('chunks', embed(:q), 25) AS hit ON c.id = hit.id",
        "chunks AS c, vector_top_k('chunks', embed(:q), 25) AS hit WHERE c.id = hit.id",
    ],
)
def test_sqlite_plan_starts_from_the_candidates(both, join):
    """The plan scans the table function and looks chunks up by key, in either order of the join."""
    plan = both["sqlite"].execute(f"EXPLAIN QUERY PLAN SELECT c.text FROM {join}", Q).fetchall()
    details = [row[3] for row in plan]
    assert re.match(r"SCAN hit VIRTUAL TABLE", details[0]), details
    assert re.match(r"SEARCH c USING INTEGER PRIMARY KEY \(rowid=\?\)", details[1]), details


WHERE_FORMS = [
    "SELECT c.id FROM {candidates} WHERE rerank_score(:q, c.text) > 0",
    "SELECT c.id FROM {candidates} AND rerank_score(:q, c.text) > 0",
]


@pytest.mark.parametrize("form", WHERE_FORMS)
def test_a_threshold_scores_only_candidates(passages, form):
    """A condition on the score is not pushed below the join: only candidates are scored."""
    before = passages.reranker.pairs_scored
    params = {"q": f"threshold {WHERE_FORMS.index(form)} on {passages.engine}"}
    passages.execute(form.format(candidates=CANDIDATES), params).fetchall()
    assert passages.reranker.pairs_scored - before == 10


def test_duckdb_plan_scores_after_the_join(both):
    """DuckDB joins the candidates first: the rerank projection sits above the join, not above a scan of chunks."""
    plan = both["duckdb"].execute(f"EXPLAIN {DESIGN_STATEMENT}", Q).fetchall()[0][1]
    assert plan.index("score") < plan.index("Join") < plan.index("chunks")


def test_sql_blocks_of_the_design_are_what_is_tested():
    """The statement tested here is the README's, to the letter."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert DESIGN_STATEMENT.strip() in readme
