"""The tools of MCP and of the JSON API: `search`, `context`, `read_chunk`, `sql` and `describe`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from sqlrag.engines.backlog_warnings import told
from sqlrag.errors import InputError, TimeLimitError, UnknownChunkError, UnknownIndexError
from sqlrag.serve.untrusted import BYTES, PAIRS, ROWS
from sqlrag.store.names import is_internal, quote
from sqlrag.store.statements import statement
from sqlrag.values.arguments import (
    DEFAULT_INDEX,
    DEFAULT_MAX_CONTEXT,
    DEFAULT_TOP_K,
    DEFAULT_TOP_N,
    check_count,
    check_k,
    check_top_n,
    shown,
)
from sqlrag.values.json_values import json_value

if TYPE_CHECKING:
    from sqlrag.database import Database
    from sqlrag.results import Hit, Passage
    from sqlrag.serve.untrusted import LimitedDatabase

__all__ = ["Tools", "index_name"]

MOST_NEIGHBOURS = 20
"""Chunks before or after a hit: 4,000 tokens each way."""

COUNT_SECONDS = 1.0
"""Seconds for counting the rows of a table; one with hundreds of millions of rows stays uncounted."""

FUNCTIONS = """\
embed(text), embed_document(text), rerank_score(query, text), token_count(text); table functions, in FROM:
vector_top_k(index, query, k [, filter]): id, distance, rank; text_top_k(index, query, k [, filter]): id, score, rank;
hybrid_top_k(index, query, k [, filter]): id, score, rank; search(index, query [, top_k, top_n, filter]): id, text,
score, distance, rank_before, rank_after, source_id, reranked, copies; chunk(index, id): id, source_id, text,
context. `index` is a name as a text, 'chunks'; `id` is that of the chunk table, which has the index's name; source_id
is documents.id, or the key of the indexed table's row."""

Index = Annotated[str | None, Field(description="Name of an index; by default the database's only one, or 'chunks'.")]
Question = Annotated[str, Field(description="What to look for, in natural language.")]
TopK = Annotated[int, Field(description="Candidates that the first stage (vectors) finds and the second reads.")]
TopN = Annotated[int, Field(description="Hits that are left, the best first; at most top_k.")]
MostPassages = Annotated[int | None, Field(description="Chunks that are taken, at most; by default as many as fit.")]
MaxTokens = Annotated[int, Field(description="Tokens of all passages together, at most.")]
Order = Annotated[
    str,
    Field(
        description="'score': the best passage first; 'ends': the second best last, as models overlook the middle of a "
        "long prompt; 'document': the passages of a document in the order of its text."
    ),
]
Filter = Annotated[
    str | None,
    Field(
        description="SQL condition over the columns of the index's source (see `describe`), applied before the "
        "candidates are taken: \"title LIKE 'os.%'\", \"(metadata ->> 'year') = '2020'\"."
    ),
]
Id = Annotated[int, Field(description="Id of a chunk, as `search` gives it.")]
Before = Annotated[int, Field(description=f"Chunks before it in the same source, up to {MOST_NEIGHBOURS}.")]
After = Annotated[int, Field(description=f"Chunks after it in the same source, up to {MOST_NEIGHBOURS}.")]
Statement = Annotated[str, Field(description="A SELECT statement in the database's own SQL.")]
Params = Annotated[dict[str, Any] | None, Field(description="Values of the :name parameters in the statement.")]


class Tools:
    """The tools over one database. They return JSON objects, and raise an `Error` if something is wrong."""

    def __init__(self, database: LimitedDatabase, path: str) -> None:
        self._database = database
        self._path = path

    def search(
        self,
        question: Question,
        index: Index = None,
        top_k: TopK = DEFAULT_TOP_K,
        top_n: TopN = DEFAULT_TOP_N,
        filter: Filter = None,  # noqa: A002 - the contract's name
    ) -> dict[str, Any]:
        """Find the passages that answer a question best, by meaning, in two stages.

        Each hit has its text, where it is from (`source`), its score (higher is more relevant, above 0.5 more likely
        relevant than not) and its ranks before and after reranking. `read_chunk` shows what stands around a hit.
        """
        # Before SQL, which has no parameter as large as some numbers.
        check_top_n(top_n, check_k("search", "top_k", top_k))

        def ask(database: Database) -> dict[str, Any]:
            hits = database.search(question, index, top_k=top_k, top_n=top_n, filter=filter)
            return {"hits": [{"id": hit.id, **_described(hit), "copies": list(hit.copies)} for hit in hits]}

        return self._noted(ask)

    def context(  # noqa: PLR0917 - arguments of JSON, which have no order
        self,
        question: Question,
        index: Index = None,
        top_k: TopK = DEFAULT_TOP_K,
        top_n: MostPassages = None,
        filter: Filter = None,  # noqa: A002 - the contract's name
        max_tokens: MaxTokens = DEFAULT_MAX_CONTEXT,
        order: Order = "score",
    ) -> dict[str, Any]:
        """Find the passages that answer a question best, by meaning, as many as fit, numbered: cite them as [1].

        Neighbouring chunks of a document are one passage, and no text comes twice. Each passage has its text, where it
        is from (`source`), its score (higher is more relevant, above 0.5 more likely relevant than not) and its ranks
        before and after reranking. `read_chunk` shows what stands around its `id`.
        """
        top_k = check_k("context", "top_k", top_k)
        top_n = None if top_n is None else check_top_n(top_n, top_k)

        def ask(database: Database) -> dict[str, Any]:
            found = database.context(
                question, index, max_tokens=max_tokens, top_k=top_k, top_n=top_n, filter=filter, order=order
            )
            hits = [
                {"number": one.number, "id": one.chunks[0], "chunks": one.chunks, **_described(one)}
                for one in found.passages
            ]
            return {"hits": hits, "tokens": found.tokens}

        return self._noted(ask)

    def _noted(self, ask: Callable[[Database], dict[str, Any]]) -> dict[str, Any]:
        """Return what `ask` finds; its `note` says which rows an index lacks."""

        def noted(database: Database) -> dict[str, Any]:
            with told() as messages:
                answer = ask(database)
            return {**answer, "note": "; ".join(messages) or None}

        return self._database.run(noted)

    def read_chunk(self, id: Id, index: Index = None, before: Before = 0, after: After = 0) -> dict[str, Any]:  # noqa: A002
        """Read a chunk by its id, with its neighbours in the same document or row: what stands around a hit."""
        if not _can_be_bound(id):
            raise InputError(f"read_chunk(): id is {shown(id)}: it takes a whole number of 64 bits")
        window = {"id": id}
        for name, count in (("before", before), ("after", after)):
            if check_count("read_chunk", name, count) > MOST_NEIGHBOURS:
                raise InputError(
                    f"read_chunk(): {name} is {count}: it takes a whole number from 0 to {MOST_NEIGHBOURS}"
                )
            window[name] = count

        def ask(database: Database) -> dict[str, Any]:
            name = index_name(database, index)
            rows = database.execute(statement("mcp/neighbours", index=name, main=database.schema), window).fetchall()
            if not rows:
                raise UnknownChunkError(
                    f"id is {id}: index {name!r} has no such chunk; search() gives the ids of its own"
                )
            source_id = rows[0][1]
            described: tuple[Any, ...] = (None, None, None)
            if any(info.index == name and info.source == "documents" for info in database.info()):
                sql = statement("mcp/document", main=database.schema)
                ((described),) = database.execute(sql, {"source_id": source_id}).fetchall()
            uri, title, metadata = described
            return {
                "source": _source(source_id, uri, title, json.loads(metadata or "{}")),
                "chunks": [
                    {"id": row[0], "ordinal": row[2], "start_char": row[3], "end_char": row[4], "text": row[5]}
                    for row in rows
                ],
            }

        return self._database.run(ask)

    def sql(self, statement: Statement, params: Params = None) -> dict[str, Any]:
        """Run a SELECT over the database's tables, with the functions of sqlrag; `describe` lists both.

        Read-only and limited in time, rows and size: `note` says what was cut, and which rows an index lacks.
        """
        for name, value in (params or {}).items():
            if not _can_be_bound(value):
                raise InputError(
                    f"params: {name} is {shown(value)}: it takes a text, a number (whole ones of 64 bits), true, false "
                    "or null"
                )
        answer = self._database.rows(statement, params)
        return {"columns": answer.columns, "rows": answer.rows, "note": answer.note}

    def describe(self) -> dict[str, Any]:
        """Show what is in the database.

        Indexes with their models and counts, tables with their columns and row counts, the SQL functions, the limits.
        """
        indexes = self._database.run(lambda database: database.info())
        engine = self._database.run(lambda database: database.engine)
        rows = self._database.run(lambda database: database.execute(statement(f"mcp/{engine}_tables")).fetchall())
        names = [info.index for info in indexes]
        tables: dict[str, dict[str, Any]] = {}
        for table, kind, column, column_type in rows:
            if not is_internal(table, names):
                described = tables.setdefault(table, {"name": table, "kind": kind, "rows": None, "columns": []})
                described["columns"].append({"name": column, "type": column_type})
        for name, described in tables.items():
            if described["kind"] != "view":
                described["rows"] = self._count(name)
        fields = ("index", "source", "documents", "chunks", "tokens", "max_tokens", "embedder", "reranker", "tokenizer",
                 "backlog")  # fmt: skip
        return {
            "database": os.path.basename(self._path),
            "engine": engine,
            "indexes": [{name: getattr(info, name) for name in fields} for info in indexes],
            "tables": list(tables.values()),
            "functions": FUNCTIONS,
            "limits": {"seconds": self._database.seconds, "rows": ROWS, "bytes": BYTES, "reranked pairs": PAIRS},
        }

    def _count(self, table: str) -> int | None:
        """Return how many rows a table has, None if counting takes too long."""

        def count(database: Database) -> int:
            ((rows,),) = database.execute(f"SELECT count(*) FROM {database.schema}.{quote(table)}").fetchall()
            return int(rows)

        try:
            return self._database.run(count, COUNT_SECONDS)
        except TimeLimitError:
            return None


def index_name(database: Database, index: str | None) -> str:
    """Return the name of an existing index; by default the only one, as in `Database.search`."""
    names = database.indexes()
    if index is None:
        index = names[0] if len(names) == 1 else DEFAULT_INDEX
    if index not in names:
        raise UnknownIndexError(f"index is {shown(index)}: the database has {', '.join(map(repr, names)) or 'none'}")
    return index


def _can_be_bound(value: Any) -> bool:
    """Tell whether both engines take a value of JSON as a parameter."""
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 63
    return value is None or isinstance(value, (str, float))


def _described(found: Hit | Passage) -> dict[str, Any]:
    return {
        "text": found.text,
        "score": found.score,
        "rank_before": found.rank_before,
        "rank_after": found.rank_after,
        "source": _source(found.source_id, found.uri, found.title, found.metadata),
    }


def _source(source_id: Any, uri: str | None, title: str | None, metadata: dict[str, Any]) -> dict[str, Any]:
    return {"id": json_value(source_id), "uri": uri, "title": title, "metadata": json_value(metadata)}
