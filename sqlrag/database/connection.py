"""`Database`: one file with documents in it, whichever engine holds it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlrag.database.search_methods import SearchMethods
from sqlrag.engines.base import Engine, engine_of
from sqlrag.engines.functions import DEFAULT_RERANK_LIMIT
from sqlrag.engines.options import ConnectionOptions
from sqlrag.errors import InputError, SQLError
from sqlrag.indexing.freshness import Freshness
from sqlrag.indexing.maintenance import add_maintenance
from sqlrag.process.call_lock import one_at_a_time
from sqlrag.process.database_paths import as_path, check_path
from sqlrag.results import (
    IndexInfo,
    IngestProgress,
    IngestReport,
    Result,
)
from sqlrag.store.encoders import Encoders, index_chunker
from sqlrag.store.full_text import tokenizer_for
from sqlrag.store.names import check_new_index_name, same_name
from sqlrag.store.new_record import IndexOptions, check_made_with
from sqlrag.values.arguments import (
    DEFAULT_FIRST_STAGE_WEIGHT,
    DEFAULT_INDEX,
    DEFAULT_RESAMPLES,
    DEFAULT_SEED,
    DEFAULT_SPLIT,
    DEFAULT_SYNC_ROWS,
    DEFAULT_TOP_KS,
    check_candidates,
    check_count,
    check_flag,
    check_score_cache,
    shown,
    without_nprobe,
)

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from sqlrag.evaluation import Evaluation, Progress
    from sqlrag.evaluation.files import Qrels, Queries, Run
    from sqlrag.models import Embedder, Reranker
    from sqlrag.text.documents import Document

__all__ = ["LONGEST_TEXT", "Database", "connect"]

LONGEST_TEXT = 100_000
"""The longest text, in characters, that a SQL function accepts in a confined database: it cannot be stopped midway."""


@without_nprobe
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
    candidates: int | None = None,
    score_cache: int | None = None,
    sync_rows: int = DEFAULT_SYNC_ROWS,
) -> Database:
    """Open a database; make one if the file does not exist.

    A file that is new gets the engine of its suffix: DuckDB for `.duckdb` and `.ddb`, otherwise SQLite.

    Parameters:
        path: The database file. ":memory:" is a database that ends with the connection.
        engine: "sqlite" or "duckdb"; by default what the file is.
        embedder: The bi-encoder of `embed()` and of new indexes, in place of the database's own: a bundled or pulled
            model by its name (`sqlrag models pull`), a folder, or a model that you have loaded. A folder that
            sentence-transformers saved is exported to the cache at its first use.
        reranker: The cross-encoder, named in the same way.
        backend: "onnx", or "torch" to run any Hugging Face name or folder as it is, on a GPU if there is one.
        read_only: Refuse every write. A missing file is then an error.
        must_exist: Make a missing file an error instead of making a database.
        rerank_limit: How many pairs one statement may score.
        candidates: How many chunks with the nearest codes a search compares in full; by default as many as the index
            needed for a recall of 0.99 when it was last measured.
        score_cache: Keep this many reranking scores in the file, the most recently used, so that repeating a question
            runs no model, in another process either. The scores are the same. Use it only where you trust everyone who
            writes the file. A read-only database reads the cache and does not add to it.
        sync_rows: How many changed rows of an indexed table a query may index before it runs, so that it finds what was
            just written. If rows remain after 0.25 s, or if a row has more than 20,000 characters, a BacklogWarning is
            issued. 0 indexes none: call `sync` yourself.

    Returns:
        The open database. Close it, or use it as a context manager.

    Raises:
        InputError: An argument is wrong.
        DatabaseError: The file cannot be used. NotADatabaseError, LockedError, SchemaVersionError and others say why.
        ModelMismatchError: `embedder` is a model with which no index of the file was made.
        UnknownModelError: There is no model of that name.

    Examples:
        >>> with sqlrag.connect("new.db") as new:
        ...     new.ingest("notes/").added
        3
    """
    path = as_path(path)
    encoders = Encoders(embedder, reranker, backend)
    read_only = check_flag("connect", "read_only", read_only)
    must_exist = check_flag("connect", "must_exist", must_exist) or read_only
    options = ConnectionOptions(
        read_only,
        must_exist,
        check_count("connect", "rerank_limit", rerank_limit),
        check_candidates("connect", candidates),
        check_score_cache(score_cache),
    )
    check_path(path, must_exist=must_exist)
    sync_rows = check_count("connect", "sync_rows", sync_rows)
    if engine_of(path, engine) == "duckdb":
        from sqlrag.engines.duckdb.engine import DuckDBEngine

        return Database(DuckDBEngine(path, encoders, options), sync_rows)
    from sqlrag.engines.sqlite.engine import SQLiteEngine

    return Database(SQLiteEngine(path, encoders, options), sync_rows)


class Database(SearchMethods):
    """A database that can be searched in two stages. `connect` makes it; as a context manager it closes itself.

    Threads may share it: one call runs at a time, `sync` and `ingest` as a whole. To work in parallel, open
    a connection for each thread. Every call raises DatabaseError after `close`, and in a forked child, which has to
    open the database again.

    In the examples, `db` is a database with an index "chunks" over three short notes, and a table `review` with three
    rows and no index.
    """

    def __init__(self, engine: Engine, sync_rows: int = DEFAULT_SYNC_ROWS) -> None:
        self._engine = engine
        self._call_lock = engine.call_lock
        engine.freshness = Freshness(engine, sync_rows)
        if not engine.read_only:
            add_maintenance(self, engine)

    @property
    def path(self) -> str:
        """The path of the database file."""
        return self._engine.path

    @property
    def engine(self) -> str:
        """`"sqlite"` or `"duckdb"`."""
        return self._engine.name

    @property
    def schema(self) -> str:
        """The schema that qualifies this database's own tables in SQL.

        A temporary table, or one of an attached database, may have the same name as one of them.
        """
        return self._engine.schema

    @property
    def read_only(self) -> bool:
        """Whether the database is open for reading only."""
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
        """Run one or more SQL statements.

        On DuckDB `x[:n]` is a slice up to the column `n`; for the element at a parameter write `x[(:n)]` or `x[$n]`.

        Parameters:
            sql: The statements, in the engine's own SQL with sqlrag's functions.
            params: A mapping for `:name` parameters, or a sequence for `?`; both work on both engines.

        Returns:
            The rows of the last statement.

        Raises:
            SQLError: The engine cannot run the statement.
            InputError: A parameter is missing, or a function was called with a wrong argument.
            RerankLimitError: The statement would score more pairs than `rerank_limit`.

        Examples:
            >>> sql = "SELECT title FROM documents WHERE id IN (SELECT source_id FROM search('chunks', :q, 25, 1))"
            >>> db.execute(sql, {"q": "how do I undo a migration?"}).fetchall()
            [('Migrations',)]
        """
        _check_whole(sql)
        return self._engine.execute(sql, params)

    @one_at_a_time
    def describe(
        self, sql: str, params: Mapping[str, Any] | Sequence[Any] | None = None
    ) -> list[tuple[str, str | None]]:
        """Describe the columns that a SELECT would return, without running it.

        Parameters:
            sql: The statement.
            params: As for `execute`. DuckDB derives the types of some columns from the values.

        Returns:
            `(name, type)` of each column. The type is the engine's own word for it, or None where SQLite declares none.

        Raises:
            SQLError: The engine cannot compile the statement.

        Examples:
            >>> [name for name, _ in db.describe("SELECT title, uri FROM documents")]
            ['title', 'uri']
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
        language: str | None = None,
        vectors: str | None = None,
        states: str | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        gitignored: bool = False,
        encoding: str | None = None,
        max_errors: int | None = None,
        prune: bool = False,
        progress: Callable[[IngestProgress], None] | None = None,
    ) -> IngestReport:
        """Add files, folders or documents to an index: their chunks, vectors and full text.

        Unchanged documents are skipped, and a changed one replaces its chunks. The call may be stopped at any time:
        what was committed stays, and the same call continues from there.

        Parameters:
            sources: A path, a list of paths, or an iterable of `sqlrag.text.Document`.
            index: Name of the index, which is made if it does not exist.
            text: The column, or columns, that hold the text in jsonl, json, csv and parquet files.
            title: Their column with the title; by default "title".
            id: Their column with an id that is unique within the file.
            metadata: Their columns that become the document's metadata; by default all others.
            max_tokens: Tokens of a chunk in a new index, at most; an existing index keeps its value, here and below.
            overlap: Tokens that neighbouring chunks of a new index share.
            embedder: The model of a new index; by default the database's.
            tokenizer: How the full text of a new index is split into words: "porter" (English word stems, the default),
                "unicode61" (words as they are) or "trigram" (any three characters: for languages without spaces, and
                for parts of words).
            language: The code of the language of most texts, such as "de": full text of a new index then compares words
                as they are, and not English stems. Scripts without spaces need no language.
            vectors: How a new index stores its vectors: "float32" (the default), or "int8" in a quarter of the space.
            states: "compact" keeps of each chunk what a reranker that reads the embedder's states needs of it (26 bytes
                a token), so that a query need not encode its text again; "none" does not, and deletes what is kept. By
                default it is kept where the database's reranker reads such states.
            include: Patterns as in .gitignore, relative to a named folder, such as "*.md" or "/src/": only files that
                match one are read, also those of kinds that are otherwise left out (as text).
            exclude: Patterns of files and folders to leave out.
            gitignored: Read what a .gitignore names, too.
            encoding: The encoding of text files, such as "cp1252", that have no byte order mark and, if they are pages,
                are not UTF-8.
            max_errors: Stop after more files and rows than this could not be read; by default all are read.
            prune: Remove documents from the index whose files are gone: those under the given paths that this call does
                not find again. If `sources` are documents, the others of the index are removed, except those whose
                `uri` is the path of a file that exists.
            progress: Called several times a second with the progress so far.

        Returns:
            How many documents were added, changed, unchanged or removed, and which files could not be read.

        Raises:
            SourceError: A path does not exist, or there were more than `max_errors` errors.
            InputError: An argument is wrong, the index exists with another chunking or tokenizer, or `prune` would
                remove documents although `sources` has none.
            ReadOnlyError: The database is open read-only.

        Examples:
            >>> db.ingest("notes/", "pages").added
            3
            >>> report = db.ingest("notes/", "pages")
            >>> report.added, report.unchanged
            (0, 3)
        """
        from sqlrag.indexing.ingest import Ingestion
        from sqlrag.indexing.table_indexes import check_over_documents
        from sqlrag.text.file_search import Choice, find_sources

        check_new_index_name(index)
        if language is not None:
            tokenizer = tokenizer or tokenizer_for(language)
        options = IndexOptions(max_tokens, overlap, tokenizer, vectors, states)
        prune = check_flag("ingest", "prune", prune)
        columns = {"text": text, "title": title, "id": id, "metadata": metadata}
        paths, documents = _paths_or_documents(sources)
        choice = Choice(include, exclude, check_flag("ingest", "gitignored", gitignored), encoding)
        if max_errors is not None:
            max_errors = check_count("ingest", "max_errors", max_errors)
        # First: a wrong path is reported before all else.
        found = find_sources(paths, choice) if paths is not None else None
        chosen = self._engine.encoders.give(embedder) if embedder is not None else None
        if any(same_name(index, name) for name in self.indexes()):
            new = self._engine.indexes.record(index)
            check_over_documents(new)
        else:
            new = options.record(index, chosen or self.embedder)
        writer = self._engine.writer(new)
        record = writer.record
        check_made_with(record, options, chosen)
        self._engine.choose_states(record, options.states)
        maker = self._engine.encoders.embedder_of(record)
        run = Ingestion(writer, self._engine.encode(record), index_chunker(maker, record), progress, max_errors)
        if found is None or paths is None:
            return run.documents(documents, prune=prune)
        return run.files(found, columns, prune_under=[os.fspath(path) for path in paths] if prune else None)

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
        first_stage_weight: float = DEFAULT_FIRST_STAGE_WEIGHT,
        progress: Callable[[Progress], None] | None = None,
    ) -> Evaluation:
        """Measure how good an index's answers are: each first stage at each `top_k`, without and with reranking.

        A document counts as its best chunk. The temporary tables of the evaluation (sql/evaluation/tables.sql) stay in
        the connection.

        Parameters:
            queries: A file of BEIR or TREC, a folder of BEIR, or a dict of texts by query id.
            qrels: The judgements: a file, a folder, or a dict of grades by document id for each query id.
            index: Name of the index; by default the only one.
            synthetic: Without `queries` and `qrels`: make this many queries from the index's own chunks.
            run: A TREC run to rerank, in place of `first_stages` or with them.
            first_stages: "vector", "text" and "hybrid"; by default all three.
            top_k: The numbers of candidates to compare.
            most: Use only the first so many judged queries.
            split: Which judgements of a BEIR folder are used.
            document_id: A SQL expression over `documents` for the ids in `qrels`; by default the part of `uri` after
                `#`, or all of it.
            resamples: Resamples of the bootstrap intervals.
            seed: Seed of the bootstrap, and of the choice of synthetic queries.
            first_stage_weight: How much hybrid's score counts after reranking, as in `search`.
            progress: Called with the progress so far.

        Returns:
            The measures with their intervals, and a verdict on reranking.

        Raises:
            SourceError: A file cannot be read as queries or judgements; the message names the line.
            InputError: Queries, judgements and database have nothing in common, or an argument is wrong.
            UnknownIndexError: The database has no such index.

        Examples:
            >>> evaluation = db.evaluate(synthetic=3, first_stages=["vector"], top_k=[3])
            >>> [(row.first_stage, row.top_k, row.reranked) for row in evaluation.rows]
            [('vector', 3, False), ('vector', 3, True)]
        """
        from sqlrag.evaluation import Options, evaluate

        record = self._record(index)
        if synthetic is None:  # the evaluation reads the ids of documents from the source
            self._engine.check_source(record)
        options = Options(
            queries,
            qrels,
            synthetic,
            run,
            first_stages,
            top_k,
            most,
            split,
            document_id,
            resamples,
            seed,
            first_stage_weight,
        )
        return evaluate(self, record.name, options, progress)

    @one_at_a_time
    def info(self) -> list[IndexInfo]:
        """Describe the indexes, as the SQL function `sqlrag_info()` does.

        Returns:
            An object for each index.

        Examples:
            >>> [(index.index, index.documents, index.embedder) for index in db.info()]
            [('chunks', 3, 'all-MiniLM-L6-v2')]
        """
        function = "main.sqlrag_info()" if self.engine == "sqlite" else "sqlrag_info()"  # DuckDB's is temporary
        return [IndexInfo(*row) for row in self.execute(f"SELECT * FROM {function}")]

    @one_at_a_time
    def size(self) -> int:
        """Measure the database on disk.

        Returns:
            Bytes, including the index file of a DuckDB database.

        Examples:
            >>> db.size() > 0
            True
        """
        return self._engine.size()

    @one_at_a_time
    def confine(self) -> None:
        """From now on, let SQL do nothing but read this database: for untrusted statements.

        Writing, other files, the network, settings and transactions are refused, on SQLite by its authorizer, on DuckDB
        by a locked configuration, which then applies to all connections of this process to the file. Functions accept
        texts of at most 100,000 characters, because none of them can be stopped midway. A statement that does anything
        else raises ReadOnlyError or SQLError.

        Raises:
            InputError: The database is not open read-only.

        Examples:
            >>> with sqlrag.connect("notes.db", read_only=True) as untrusted:
            ...     untrusted.confine()
            ...     untrusted.execute("DELETE FROM documents")
            Traceback (most recent call last):
                ...
            sqlrag.errors.ReadOnlyError: ...
        """
        if not self.read_only:
            raise InputError(f"{self.path} is open for writing: open it with read_only=True to confine it")
        self._engine.confine(LONGEST_TEXT)

    def interrupt(self) -> None:
        """Stop the statement that is running. It may be called from any thread, and does not wait for the lock.

        The call that was running raises an error; a transaction of sqlrag's own is rolled back.

        Examples:
            >>> db.interrupt()  # no statement is running, so this has no effect
        """
        self._call_lock.check()
        self._engine.interrupt()

    def close(self) -> None:
        """Close the database. Calling it again does nothing.

        In a forked child it does nothing either: what is open belongs to the parent.

        Examples:
            >>> db.close()
            >>> db.info()
            Traceback (most recent call last):
                ...
            sqlrag.errors.DatabaseError: this database is closed: open it again with sqlrag.connect()
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
    """Raise InputError if a statement is not a text, SQLError if it has a NUL: DuckDB 1 runs only what precedes it."""
    if not isinstance(sql, str):
        raise InputError(f"sql is {shown(sql)}: a statement is a text")
    if "\0" in sql:
        raise SQLError("the statement has a NUL character in it: pass texts as parameters")


def _paths_or_documents(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | Document],
) -> tuple[list[str | os.PathLike[str]] | None, Iterable[Any]]:
    """Separate paths from documents. Documents may come as a stream, and are then checked one by one."""
    if isinstance(sources, (str, os.PathLike)):
        return [sources], ()
    if not isinstance(sources, Iterable):
        raise InputError(f"sources is {sources!r}: it takes a path, paths or documents")
    if isinstance(sources, Sequence):
        paths = [source for source in sources if isinstance(source, (str, os.PathLike))]
        if len(paths) == len(sources):
            return paths, ()
    return None, sources
