"""The task of an evaluation as tables: which queries are asked, and which chunk counts for which judged document.

The tables of queries, judgements and runs are temporary, and of use by themselves:

    load_qrels(db, read_qrels("qrels/test.tsv"))     # qrels(query_id, document_id, relevance)
    load_run(db, read_run("bm25.run"), "bm25")       # bm25(query_id, document_id, rank, score)
    db.execute("SELECT avg(ndcg) FROM (SELECT ndcg(rank, relevance, 10) AS ndcg FROM qrels LEFT JOIN bm25 …")
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError, SQLError
from sqlrag.store.names import quote
from sqlrag.store.statements import statement
from sqlrag.text.kinds import ROW_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlrag.database import Database
    from sqlrag.evaluation.files import Qrels, Queries, Run
    from sqlrag.results import IndexInfo

__all__ = ["DOCUMENT_ID", "Prepared", "Task", "load_qrels", "load_queries", "load_run", "prepare"]


def _document_id() -> str:
    """Return SQL for the id of an ingested document."""
    is_file = "(metadata ->> 'path') IS NOT NULL AND (metadata ->> 'folder') IS NOT NULL"
    ends = [f".{kind}{packed}#" for kind in sorted(ROW_KINDS | {"json"}) for packed in ("", ".gz")]
    rows = " ".join(f"WHEN instr(lower(uri), '{end}') > 0 THEN instr(lower(uri), '{end}') + {len(end)}" for end in ends)
    place = f"CASE {rows} ELSE instr(uri, '#') + 1 END"
    return f"CASE WHEN {is_file} OR instr(uri, '#') = 0 THEN uri ELSE substr(uri, {place}) END"


DOCUMENT_ID = _document_id()
"""The id of an ingested document: for a row of a file what follows the `#` behind the file's name, for a file its path,
in which a `#` may stand too."""

_EXAMPLE = "substr(uri, instr(uri, '#') + 1)"

_EXAMPLES = 3


@dataclass(frozen=True)
class Task:
    """Queries and judgements. The judgements name chunks (`own_chunks`), or documents by the ids of `document_id`."""

    queries: Queries
    qrels: Qrels
    run: Run | None = None
    own_chunks: bool = False
    most: int | None = None
    document_id: str | None = None


@dataclass(frozen=True)
class Prepared:
    """The content of the tables: the queries, the number of judged documents, and how many of them the index has."""

    queries: Queries
    judged: int
    found: int
    embedder: str
    notes: list[str]


def prepare(db: Database, index: str, task: Task) -> Prepared:
    """Fill the tables of an evaluation.

    Raises InputError if queries, judgements, run and database have nothing in common, with examples of both sides.
    """
    asked = {query: text for query, text in task.queries.items() if task.qrels.get(query)}
    if not asked:
        raise InputError(
            f"no query has judgements: the queries are {_some(task.queries)}, the qrels are of {_some(task.qrels)}. "
            "Give the files of one collection (a BEIR folder's other qrels with split, as in split='dev')"
        )
    notes = []
    if task.run is not None:
        without = [query for query in asked if query not in task.run]
        if len(without) == len(asked):
            raise InputError(f"the run has none of the queries: it is of {_some(task.run)}, they are {_some(asked)}")
        if without:
            notes.append(f"{len(without):,} of the {len(asked):,} queries are not in the run: they count as 0.")
    asked = dict(list(asked.items())[: task.most])
    info = next(one for one in db.info() if one.index == index)
    db.execute(statement("evaluation/tables")).fetchall()
    load_queries(db, asked, "evaluation_queries")
    load_qrels(db, {query: task.qrels[query] for query in asked}, "evaluation_qrels")
    load_run(db, {query: (task.run or {}).get(query, {}) for query in asked}, "evaluation_run")
    _map_documents(db, info, task)
    ((judged, found),) = db.execute(statement("evaluation/coverage")).fetchall()
    if not found:
        raise _nothing_in_common(db, info, task)
    if found < judged:
        notes.append(
            f"{judged - found:,} of the {judged:,} judged documents are not in index {index!r}: "
            "the relevant ones among them count as not found."
        )
    if task.run is not None:
        ((unknown, ranked),) = db.execute(statement("evaluation/run_coverage")).fetchall()
        if unknown:
            notes.append(f"{unknown:,} of the {ranked:,} documents of the run are not in the index: they are left out.")
    return Prepared(asked, judged, found, f"{info.embedder}@{info.embedder_hash[:12]}", notes)


def load_queries(db: Database, queries: Queries, table: str = "queries") -> None:
    """Make a temporary table `(query_id, text)`; it replaces an earlier one of that name."""
    _load(db, "queries", table, queries.items())


def load_qrels(db: Database, qrels: Qrels, table: str = "qrels") -> None:
    """Make a temporary table `(query_id, document_id, relevance)`; it replaces an earlier one of that name."""
    rows = ((query, document, grade) for query, grades in qrels.items() for document, grade in grades.items())
    _load(db, "qrels", table, rows)


def load_run(db: Database, run: Run, table: str = "run") -> None:
    """Make a temporary table `(query_id, document_id, rank, score)`, rank from 1; see `load_queries`."""
    rows = (
        (query, document, rank, score)
        for query, documents in run.items()
        for rank, (document, score) in enumerate(documents.items(), start=1)
    )
    _load(db, "run", table, rows)


def _load(db: Database, kind: str, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    sql = statement(f"evaluation/{kind}", table=quote(table))
    db.execute(sql, {"rows": json.dumps(list(rows), ensure_ascii=False)}).fetchall()


def _map_documents(db: Database, info: IndexInfo, task: Task) -> None:
    if task.own_chunks:
        db.execute(statement("evaluation/own_chunks", index=info.index, main=db.schema)).fetchall()
        return
    expression, key = _expression_of(db, info, task), quote(_key_of(db, info))
    parts = {"document_id": expression, "source_key": key, "source_table": quote(info.source), "main": db.schema}
    try:
        db.execute(statement("evaluation/documents", index=info.index, **parts)).fetchall()
    except SQLError as error:
        if task.document_id is None:
            raise
        said = str(error).splitlines()[0]
        raise InputError(
            f"document_id {expression!r} cannot be used: {said}; it is an expression over the columns of "
            f"{info.source} that gives the id that the qrels have, such as {_EXAMPLE!r}"
        ) from error


def _expression_of(db: Database, info: IndexInfo, task: Task) -> str:
    """Return the expression for a document's id, which for a table of the user is its key."""
    return task.document_id or (DOCUMENT_ID if info.source == "documents" else quote(_key_of(db, info)))


def _key_of(db: Database, info: IndexInfo) -> str:
    """Return the column of the source table whose values are in chunks.source_id."""
    sql = f"SELECT source_key FROM {db.schema}.sqlrag_indexes WHERE name = :index"
    ((key,),) = db.execute(sql, {"index": info.index}).fetchall()
    return str(key)


def _nothing_in_common(db: Database, info: IndexInfo, task: Task) -> InputError:
    judged = (document for grades in task.qrels.values() for document in grades)
    sql = "SELECT DISTINCT document_id FROM temp.evaluation_documents ORDER BY document_id LIMIT 3"
    have = _some(row[0] for row in db.execute(sql)) or "none at all"
    return InputError(
        f"no judged document is in index {info.index!r}: the qrels name {_some(judged)}, its documents are {have}. "
        "If it is the same collection, say with document_id (--document-id on the command line) which expression "
        f"over {info.source} gives the id that the qrels have, such as \"metadata ->> 'id'\" "
        f"(now: {_expression_of(db, info, task)})"
    )


def _some(values: Iterable[object]) -> str:
    """Return the first few values as an error message shows them."""
    shown = [repr(value) for _, value in zip(range(_EXAMPLES + 1), values, strict=False)]
    return ", ".join(shown[:_EXAMPLES]) + (", …" if len(shown) > _EXAMPLES else "")
