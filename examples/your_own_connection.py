"""The functions in a connection that you have anyway: APSW, the standard library's sqlite3, DuckDB.

python examples/your_own_connection.py python-stdlib.db python-stdlib.duckdb "which items turn up most often?"
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing

import apsw
import duckdb

import sqlrag

SQL = """
    SELECT   d.title, hit.score
    FROM     search('chunks', ?, 25, 3) AS hit
    JOIN     documents AS d ON d.id = hit.source_id
    ORDER BY hit.rank_after
"""

if len(sys.argv) != 4:
    sys.exit(__doc__)
sqlite_path, duckdb_path, question = sys.argv[1:]

with closing(sqlrag.register(apsw.Connection(sqlite_path))) as connection:
    print("apsw   ", connection.execute(SQL, (question,)).fetchall())

with closing(sqlite3.connect(sqlite_path)) as connection:
    try:
        sqlrag.register(connection)
    except sqlrag.errors.MissingDependencyError as error:  # many Pythons build sqlite3 without extension loading
        print("sqlite3", error)
    else:
        print("sqlite3", connection.execute(SQL, (question,)).fetchall())

with sqlrag.register(duckdb.connect(duckdb_path)) as connection:
    print("duckdb ", connection.execute(SQL, (question,)).fetchall())
