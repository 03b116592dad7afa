"""Queries, judgements and runs as temporary tables of a connection, for whoever wants to query them.

load_qrels(db, read_qrels("qrels/test.tsv"))     # qrels(query_id, document_id, relevance)
load_run(db, read_run("bm25.run"), "bm25")       # bm25(query_id, document_id, rank, score)
db.execute("SELECT avg(ndcg) FROM (SELECT ndcg(rank, relevance, 10) AS ndcg FROM qrels LEFT JOIN bm25 …")
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlrag.store.names import quote
from sqlrag.store.statements import statement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlrag.database import Database
    from sqlrag.evaluation.files import Qrels, Queries, Run

__all__ = ["load_qrels", "load_queries", "load_run"]


def load_queries(db: Database, queries: Queries, table: str = "queries") -> None:
    """Make the temporary table `(query_id, text)`; an earlier one of the name goes."""
    _load(db, "queries", table, queries.items())


def load_qrels(db: Database, qrels: Qrels, table: str = "qrels") -> None:
    """Make the temporary table `(query_id, document_id, relevance)`; an earlier one of the name goes."""
    rows = ((query, document, grade) for query, grades in qrels.items() for document, grade in grades.items())
    _load(db, "qrels", table, rows)


def load_run(db: Database, run: Run, table: str = "run") -> None:
    """Make the temporary table `(query_id, document_id, rank, score)`, rank from 1; an earlier one of the name goes."""
    rows = (
        (query, document, rank, score)
        for query, documents in run.items()
        for rank, (document, score) in enumerate(documents.items(), start=1)
    )
    _load(db, "run", table, rows)


def _load(db: Database, kind: str, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    sql = statement(f"evaluation/{kind}", table=quote(table))
    db.execute(sql, {"rows": json.dumps(list(rows), ensure_ascii=False)}).fetchall()
