"""Results in the libraries of tables: Arrow and pandas by methods of their own, Polars from Arrow."""

from __future__ import annotations

import warnings

import pytest

QUESTION = "why do bees dance?"
SQL = """
    SELECT   d.title, hit.score, hit.rank_before, embed(:q) AS vector, NULL AS missing
    FROM     search('chunks', :q, 25, 3) AS hit
    JOIN     documents AS d ON d.id = hit.source_id
    ORDER BY hit.rank_after
"""


def test_polars(passages):
    """`polars.from_arrow(result.arrow())` has the rows and the types."""
    polars = pytest.importorskip("polars", reason="pip install polars")
    rows = passages.execute(SQL, {"q": QUESTION}).fetchall()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = polars.from_arrow(passages.execute(SQL, {"q": QUESTION}).arrow())
    assert frame.columns == ["title", "score", "rank_before", "vector", "missing"]
    assert frame["title"].to_list() == [row[0] for row in rows]
    assert frame["score"].to_list() == pytest.approx([row[1] for row in rows])
    assert frame.schema["title"] == polars.String
    assert frame.schema["rank_before"] == polars.Int64
    assert frame["missing"].null_count() == 3
    best = frame.filter(polars.col("score") > 0.1).select("title").item()
    assert best == "Bees"
    assert passages.execute("SELECT id FROM documents WHERE id < 0").arrow().num_rows == 0


def test_pandas(passages):
    """`df()` has them, too."""
    pytest.importorskip("pandas", reason='pip install "sqlrag[pandas]"')
    frame = passages.execute(SQL, {"q": QUESTION}).df()
    assert frame["title"].iloc[0] == "Bees"
    assert frame["rank_before"].dtype == "int64"
