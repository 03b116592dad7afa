"""`Database`: one file with documents in it, whichever engine holds it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlrag.engines.base import Engine, engine_of
from sqlrag.engines.functions import DEFAULT_RERANK_LIMIT
from sqlrag.errors import InputError, SQLError
from sqlrag.indexing.freshness import Freshness
from sqlrag.indexing.index_methods import DEFAULT_INDEX, TableIndexes
from sqlrag.indexing.maintenance import add_maintenance
from sqlrag.process.call_lock import one_at_a_time
from sqlrag.process.database_paths import as_path, check_path
from sqlrag.results import HIT_COLUMNS, Comparison, Hit, IndexInfo, IngestProgress, IngestReport, Result
from sqlrag.store.encoders import Encoders, chunker_of
from sqlrag.store.names import check_new_index_name, same_name
from sqlrag.store.new_record import Making, check_made_with
from sqlrag.values.arguments import (
    DEFAULT_RESAMPLES,
    DEFAULT_SEED,
    DEFAULT_SPLIT,
    DEFAULT_SYNC_ROWS,
    DEFAULT_TOP_K,
    DEFAULT_TOP_KS,
    DEFAULT_TOP_N,
    check_budget,
    check_count,
    check_flag,
    check_k,
    check_nprobe,
    check_score_cache,
    check_top_n,
    shown,
)
from sqlrag.values.bindings import as_json

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from sqlrag.evaluation import Evaluation, Progress
    from sqlrag.evaluation.files import Qrels, Queries, Run
    from sqlrag.models import Embedder, Reranker
    from sqlrag.text.documents import Document

__all__ = ["LONGEST_TEXT", "Database", "connect"]

LONGEST_TEXT = 100_000
"""Characters of a text in a confined database: some hundredths of a second of a model's time."""


def connect(
    path: str | os.PathLike[str],
    *,
    engine: str | None = None,
    embedder: str | Embedder | None = None,
    reranker: str | Reranker | None = None,
    backend: str = "onnx",
    read_only: bool = False,
    must_exist: bool = False,
    rerank_limit: int = DEFAULT_RERANK_LIMIT,
    nprobe: int | None = None,
    score_cache: int | None = None,
    sync_rows: int = DEFAULT_SYNC_ROWS,
) -> Database:
    """Open a database, or make it.

    `engine`: "sqlite" or "duckdb"; by default what the file is, for a new one by its suffix (`.duckdb`).
    `embedder`, `reranker`: another model than the bundled one: the name of a pulled one (`sqlrag models pull`), or a
    folder, which is exported to the cache at its first use if sentence-transformers saved it; `backend="torch"` runs
    any Hugging Face name or folder as it is, on a GPU where there is one.

    `read_only` and `must_exist` make no file. `rerank_limit`: pairs that one statement may score. `nprobe`: cells of a
    large index that a search looks into; by default as many as the index has measured to give a recall of 0.95.

    `score_cache`: keep so many reranking scores in the file, the last ones used, so that a question asked again runs
    no model, in another process either; a read-only database is only read. The scores are the same: ask for it where
    you trust who wrote the file.

    `sync_rows`: before a query, so many changed rows of a table with an index are brought in, so that it finds what was
    just written; what is left then, or after a quarter of a second, is told as a BacklogWarning, as is a row whose text
    has more than 20,000 characters. 0: none, `sync` is called by hand.

    Raises DatabaseError and its kin if the file can't be used, ModelMismatchError if its vectors are another model's.
    """
    path = as_path(path)
    encoders = Encoders(embedder, reranker, backend)
    read_only = check_flag("connect", "read_only", read_only)
    must_exist = check_flag("connect", "must_exist", must_exist) or read_only
    options: dict[str, Any] = {
        "read_only": read_only,
        "must_exist": must_exist,
        "rerank_limit": check_count("connect", "rerank_limit", rerank_limit),
        "nprobe": check_nprobe("connect", nprobe),
        "score_cache": check_score_cache(score_cache),
    }
    check_path(path, must_exist=must_exist)
    sync_rows = check_count("connect", "sync_rows", sync_rows)
    if engine_of(path, engine) == "duckdb":
        from sqlrag.engines.duckdb.engine import DuckDBEngine

        return Database(DuckDBEngine(path, encoders, **options), sync_rows)
    from sqlrag.engines.sqlite.engine import SQLiteEngine

    return Database(SQLiteEngine(path, encoders, **options), sync_rows)


class Database(TableIndexes):
    """A database with two-stage retrieval in it. Made by `connect`; closes itself as a context manager.

    Threads may share it: one call runs at a time, `sync` and `ingest` as a whole. Those that should work side by side
    open a connection each. `interrupt` waits for nobody. A forked child opens the database again: every call raises
    DatabaseError there.
    """

    def __init__(self, engine: Engine, sync_rows: int = DEFAULT_SYNC_ROWS) -> None:
        self._engine = engine
        self._call_lock = engine.call_lock
        engine.freshness = Freshness(engine, sync_rows)
        if not engine.read_only:
            add_maintenance(self, engine)

    @property
    def path(self) -> str:
        """The file."""
        return self._engine.path

    @property
    def engine(self) -> str:
        """`"sqlite"` or `"duckdb"`."""
        return self._engine.name

    @property
    def schema(self) -> str:
        """What qualifies this database's own tables in SQL: a temporary or attached one may have the same name."""
        return self._engine.schema

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written."""
        return self._engine.read_only

    @property
    def embedder(self) -> Embedder:
        """The bi-encoder behind `embed()`."""
        return self._engine.encoders.embedder

    @property
    def reranker(self) -> Reranker:
        """The cross-encoder behind `rerank_score()`."""
        return self._engine.encoders.reranker

    @one_at_a_time
    def execute(self, sql: str, params: Mapping[str, Any] | Sequence[Any] | None = None) -> Result:
        """Run SQL, with `:name` parameters from a mapping or `?` from a sequence, on both engines.

        On DuckDB `x[:n]` is its slice up to the column n; the element is `x[(:n)]`, or `x[$n]`.
        """
        _check_whole(sql)
        return self._engine.execute(sql, params)

    @one_at_a_time
    def describe(
        self, sql: str, params: Mapping[str, Any] | Sequence[Any] | None = None
    ) -> list[tuple[str, str | None]]:
        """Return name and type of each column that a SELECT would have, without running it.

        The types are the engine's own words, None where SQLite has none declared. `params`: as for `execute`; DuckDB
        takes the types of its columns from theirs.
        """
        _check_whole(sql)
        return self._engine.describe(sql, params)

    @one_at_a_time
    def ingest(
        self,
        sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | Document],
        index: str = DEFAULT_INDEX,
        *,
        text: str | Sequence[str] = "text",
        title: str | None = None,
        id: str | None = None,  # noqa: A002 - the column is called so
        metadata: Sequence[str] | None = None,
        max_tokens: int | None = None,
        overlap: int | None = None,
        embedder: str | Embedder | None = None,
        tokenizer: str | None = None,
        vectors: str | None = None,
        prune: bool = False,
        progress: Callable[[IngestProgress], None] | None = None,
    ) -> IngestReport:
        """Bring files, folders or documents into an index: chunks, vectors and full text.

        `text`, `title`, `id` and `metadata` name columns of jsonl, csv and parquet files. `max_tokens` and
        `overlap` are the chunking of a new index, `embedder` its model (by default the database's), `tokenizer` what
        cuts its full text into words: "porter" (English word stems, the default), "unicode61" (words as they are) or
        "trigram" (any three characters: for languages without spaces, parts of words), `vectors` how they are kept:
        "float32" (the default) or "int8", in a quarter of the space. `prune` removes the documents
        whose files are gone.

        It may be stopped at any time: what was committed stays, and the same call goes on from there.
        Raises SourceError for a path that does not exist, InputError for chunking or a tokenizer that is not the
        index's.
        """
        from sqlrag.indexing.ingest import Ingestion
        from sqlrag.indexing.table_indexes import check_over_documents
        from sqlrag.text.file_search import find_sources

        check_new_index_name(index)
        making = Making(max_tokens, overlap, tokenizer, vectors)
        prune = check_flag("ingest", "prune", prune)
        columns = {"text": text, "title": title, "id": id, "metadata": metadata}
        paths, documents = _paths_or_documents(sources)
        found = find_sources(paths) if paths is not None else None  # says what is wrong with a path, before all else
        chosen = self._engine.encoders.give(embedder) if embedder is not None else None
        if any(same_name(index, name) for name in self.indexes()):
            new = self._engine.indexes.record(index)
            check_over_documents(new)
        else:
            new = making.record(index, chosen or self.embedder)
        writer = self._engine.writer(index, new)
        record = writer.record
        check_made_with(record, making, chosen)
        maker = self._engine.encoders.embedder_of(record)
        run = Ingestion(writer, maker, chunker_of(maker, record.max_tokens, record.overlap), progress)
        if found is None or paths is None:
            return run.documents(documents, prune=prune)
        return run.files(found, columns, prune_under=[os.fspath(path) for path in paths] if prune else None)

    @one_at_a_time
    def search(
        self,
        query: str,
        index: str | None = None,
        *,
        top_k: int = DEFAULT_TOP_K,
        top_n: int = DEFAULT_TOP_N,
        filter: str | None = None,  # noqa: A002 - the contract's name
        params: Mapping[str, Any] | None = None,
        budget_ms: float | None = None,
    ) -> list[Hit]:
        """Return the best `top_n` of the `top_k` nearest chunks, best first. `index`: by default the only one.

        `params`: values of the filter's parameters: `filter="lang = :lang", params={"lang": "en"}`. They never become
        a part of the SQL, whoever they come from.

        `budget_ms`: how long reranking may take; how many candidates it has scored in that time is each hit's
        `reranked`. The first is scored at any rate, with a budget of 0 only those whose score is known.
        """
        top_k = check_k("search", "top_k", top_k)
        top_n = check_top_n(top_n, top_k)
        budget_ms = None if budget_ms is None else check_budget(budget_ms)
        record = self._record(index)
        bindings = {"query": query, "top_k": top_k, "top_n": top_n, "filter": filter, "budget_ms": budget_ms}
        bindings["filter_params"] = as_json(params)
        rows = self.execute(self._engine.search_statement(record, filtered=filter is not None), bindings).fetchall()
        return [
            Hit(**dict(zip(HIT_COLUMNS, row, strict=True)) | {"metadata": json.loads(row[4] or "{}")}) for row in rows
        ]

    def compare(
        self,
        query: str,
        index: str | None = None,
        *,
        top_k: int = DEFAULT_TOP_K,
        top_n: int = DEFAULT_TOP_N,
        filter: str | None = None,  # noqa: A002
        params: Mapping[str, Any] | None = None,
    ) -> Comparison:
        """Return the order of all candidates before and after reranking; the arguments are those of `search`."""
        check_top_n(top_n, check_k("compare", "top_k", top_k))
        candidates = self.search(query, index, top_k=top_k, top_n=top_k, filter=filter, params=params)
        return Comparison(query, top_k, top_n, candidates)

    @one_at_a_time
    def evaluate(
        self,
        queries: str | os.PathLike[str] | Queries | None = None,
        qrels: str | os.PathLike[str] | Qrels | None = None,
        index: str | None = None,
        *,
        synthetic: int | None = None,
        run: str | os.PathLike[str] | Run | None = None,
        first_stages: Sequence[str] | None = None,
        top_k: Sequence[int] = DEFAULT_TOP_KS,
        most: int | None = None,
        split: str = DEFAULT_SPLIT,
        document_id: str | None = None,
        resamples: int = DEFAULT_RESAMPLES,
        seed: int = DEFAULT_SEED,
        progress: Callable[[Progress], None] | None = None,
    ) -> Evaluation:
        """Return how good an index's answers are, each first stage at each top_k, without and with reranking.

        `queries`, `qrels`: files of BEIR or TREC, a BEIR folder (its `split`), or dicts; without both, `synthetic`
        queries are made from the index's own chunks. `run`: a TREC run to rerank, instead of `first_stages` ("vector",
        "text", "hybrid": all by default) or with them. `most`: the first so many of the judged queries.
        `document_id`: the SQL expression over `documents` that gives the ids of `qrels`; by default what stands in
        `uri` after `#`, or all of it. `resamples`, `seed`: of the bootstrap intervals, and of `synthetic`.

        A document counts as its best chunk. Its temporary tables stay in the connection (sql/evaluation/tables.sql).
        Raises SourceError for a file that is wrong, with the line; InputError where queries, judgements and database
        have nothing in common.
        """
        from sqlrag.evaluation import evaluate

        record = self._record(index)
        if synthetic is None:  # the source is read for the ids of its documents
            self._engine.check_source(record)
        return evaluate(
            self,
            queries,
            qrels,
            index=record.name,
            synthetic=synthetic,
            run=run,
            first_stages=first_stages,
            top_k=top_k,
            most=most,
            split=split,
            document_id=document_id,
            resamples=resamples,
            seed=seed,
            progress=progress,
        )

    @one_at_a_time
    def info(self) -> list[IndexInfo]:
        """Return what `sqlrag_info()` says, an object for each index."""
        function = "main.sqlrag_info()" if self.engine == "sqlite" else "sqlrag_info()"  # DuckDB's is temporary
        return [IndexInfo(*row) for row in self.execute(f"SELECT * FROM {function}")]

    @one_at_a_time
    def size(self) -> int:
        """Return the bytes on disk, the index file of a DuckDB database included."""
        return self._engine.size()

    @one_at_a_time
    def confine(self) -> None:
        """Let SQL do nothing but read this database, from now on: for statements of people you do not know.

        No write, no other file, no network, no setting, no transaction: SQLite's authorizer sees to it, DuckDB's locked
        configuration, which then holds for all of this process's connections to the file. Functions that take a text
        take 100,000 characters of it, as none of them can be stopped in the middle. Raises InputError for a database
        that is not open read-only, ReadOnlyError at a statement that does anything else.
        """
        if not self.read_only:
            raise InputError(f"{self.path} is open for writing: open it with read_only=True to confine it")
        self._engine.confine(LONGEST_TEXT)

    def interrupt(self) -> None:
        """Stop the statement that runs; may be called from another thread."""
        self._call_lock.check()
        self._engine.interrupt()

    def close(self) -> None:
        """Close the database; whatever else is called then raises DatabaseError.

        In a forked child there is nothing to close: what is open is its parent's.
        """
        if self._call_lock.is_closed or self._call_lock.is_inherited:
            return
        with self._call_lock:
            try:
                self._engine.close()
            finally:
                self._call_lock.is_closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _check_whole(sql: object) -> None:
    """Raise InputError for what is no text, SQLError for one with a NUL in it: DuckDB 1 would run what is before it."""
    if not isinstance(sql, str):
        raise InputError(f"sql is {shown(sql)}: a statement is a text")
    if "\0" in sql:
        raise SQLError("the statement has a NUL character in it: pass texts as parameters")


def _paths_or_documents(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | Document],
) -> tuple[list[str | os.PathLike[str]] | None, Iterable[Any]]:
    """Tell paths from documents; documents may be a stream, and are then checked one by one."""
    if isinstance(sources, (str, os.PathLike)):
        return [sources], ()
    if not isinstance(sources, Iterable):
        raise InputError(f"sources is {sources!r}: it takes a path, paths or documents")
    if isinstance(sources, Sequence):
        paths = [source for source in sources if isinstance(source, (str, os.PathLike))]
        if len(paths) == len(sources):
            return paths, ()
    return None, sources
