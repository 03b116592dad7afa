"""Rows as a DataFrame or an Arrow table, which DuckDB, Polars and plotting libraries read without a copy.

python examples/to_pandas.py python-stdlib.db "pick some of them at random"
"""

from __future__ import annotations

import sys

import duckdb

import sqlrag

SQL = """
    SELECT   d.metadata ->> 'module' AS module, d.title, hit.score, hit.rank_before, hit.rank_after
    FROM     search('chunks', :q, 25, 25) AS hit
    JOIN     documents AS d ON d.id = hit.source_id
    ORDER BY hit.rank_after
"""

if len(sys.argv) != 3:
    sys.exit(__doc__)
path, question = sys.argv[1:]

with sqlrag.connect(path, read_only=True) as db:
    frame = db.execute(SQL, {"q": question}).df()  # pip install "sqlrag[pandas]"
    hits = db.execute(SQL, {"q": question}).arrow()

print(frame.head(3))
print("rank correlation of the stages:", round(frame["rank_before"].corr(frame["rank_after"]), 2))
print(hits.schema)
print(duckdb.sql("SELECT module, count(*) AS hits, max(score) AS best FROM hits GROUP BY module ORDER BY best DESC"))
