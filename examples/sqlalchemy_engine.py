"""The functions in every connection of a SQLAlchemy engine (`pip install sqlalchemy duckdb-engine`).

python examples/sqlalchemy_engine.py duckdb:///python-stdlib.duckdb "which items turn up most often?"
python examples/sqlalchemy_engine.py sqlite:///python-stdlib.db "which items turn up most often?"
"""

from __future__ import annotations

import sys
from typing import Any

from sqlalchemy import bindparam, create_engine, event, text

import sqlrag

if len(sys.argv) != 3:
    sys.exit(__doc__)
url, question = sys.argv[1:]
engine = create_engine(url)


@event.listens_for(engine, "connect")
def _register(connection: Any, _record: object) -> None:
    if engine.dialect.name == "duckdb":
        connection = connection.execute("SELECT 1")  # duckdb-engine wraps the connection; this gives the one inside
    sqlrag.register(connection)


statement = text("""
    SELECT   d.title, hit.score
    FROM     search('chunks', :question, 25, 3) AS hit
    JOIN     documents AS d ON d.id = hit.source_id
    ORDER BY hit.rank_after
""").bindparams(bindparam("question", question))

try:
    with engine.connect() as connection:
        for row in connection.execute(statement):
            print(f"{row.score:.3f}  {row.title}")
except sqlrag.errors.MissingDependencyError as error:  # many Pythons build sqlite3 without extension loading
    print("sqlite3", error)
