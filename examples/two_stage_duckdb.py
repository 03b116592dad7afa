"""Both stages in a DuckDB connection of your own: the same statement, with `$q` for DuckDB's parameters.

python examples/two_stage_duckdb.py python-stdlib.duckdb "how long does a piece of code take?"
"""

from __future__ import annotations

import sys

import duckdb

import sqlrag

SQL = """
    SELECT   c.id, c.text, rerank_score($q, c.text) AS score
    FROM     vector_top_k('chunks', embed($q), 25) AS hit      -- stage 1: top_k
    JOIN     chunks AS c ON c.id = hit.id
    ORDER BY score DESC                                        -- stage 2: cross-encoder
    LIMIT    3;                                                -- top_n
"""

if len(sys.argv) != 3:
    sys.exit(__doc__)
path, question = sys.argv[1:]

with sqlrag.register(duckdb.connect(path)) as connection:
    for id_, text, score in connection.execute(SQL, {"q": question}).fetchall():
        print(f"{score:.4f}  {id_:>5}  {text.splitlines()[0]}")
