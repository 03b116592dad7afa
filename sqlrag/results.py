"""What the methods of `Database` return: rows, hits, descriptions of indexes, and reports of what was done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

from sqlrag.values.arguments import check_count

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from sqlrag.text.chunking import Chunk
    from sqlrag.text.documents import Unreadable

__all__ = [
    "Comparison",
    "Context",
    "Hit",
    "Hits",
    "IndexInfo",
    "IngestProgress",
    "IngestReport",
    "Passage",
    "Result",
    "SyncReport",
    "UnreadableRow",
]


class Rows(Protocol):
    """The rows of one statement, as an engine holds them."""

    columns: list[str]

    @property
    def types(self) -> list[str | None]:
        """The type of each column in the engine's own words."""

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Iterate over the rows that have not been read."""

    def arrow(self) -> pa.Table:
        """Return the rows that have not been read as an Arrow table."""

    def close(self) -> None:
        """Discard the rows that have not been read."""


class Result:
    """The rows of a statement. They can be read once: by iterating, fetching, or as an Arrow table or a DataFrame.

    Examples:
        >>> result = db.execute("SELECT title FROM documents ORDER BY title")
        >>> result.columns, result.fetchone(), result.fetchall()
        (['title'], ('Backups',), [('Migrations',), ('Tea',)])
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._iterator: Iterator[tuple[Any, ...]] | None = None

    @property
    def columns(self) -> list[str]:
        """The names of the columns; empty for a statement that returns none."""
        return self._rows.columns

    @property
    def types(self) -> list[str | None]:
        """The type of each column in the engine's own words; None where SQLite declares none, as for an expression."""
        return self._rows.types

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        if self._iterator is None:
            self._iterator = iter(self._rows)
        return self._iterator

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, or None after the last one."""
        return next(iter(self), None)

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        """Return the next rows, at most `size` of them. Raises InputError if `size` is not a count."""
        size = check_count("fetchmany", "size", size)
        return [row for _, row in zip(range(size), self, strict=False)]

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows that have not been read."""
        return list(self)

    def close(self) -> None:
        """Discard the rows that have not been read, so that the statement ends."""
        self._rows.close()

    def arrow(self) -> pa.Table:
        """Return all rows that have not been read as a `pyarrow.Table`."""
        return self._rows.arrow()

    def df(self) -> pd.DataFrame:
        """Return all rows that have not been read as a `pandas.DataFrame`.

        Raises MissingDependencyError without pandas: pip install "sqlrag[pandas]".
        """
        try:
            import pandas as pd  # noqa: F401 - pyarrow's error would not say what to install
        except ImportError as error:
            from sqlrag.errors import MissingDependencyError

            raise MissingDependencyError('df() needs pandas: pip install "sqlrag[pandas]"') from error
        return self.arrow().to_pandas()


@dataclass(frozen=True)
class Hit:
    """One chunk that a search found. Ranks count from 1.

    Attributes:
        id: Id of the chunk in the table of the index's chunks.
        source_id: Id of the document, or the key of the row in the indexed table (a JSON array if the key has several
            columns).
        uri: Where the document came from; None in an index over a table.
        title: Title of the document; None in an index over a table.
        metadata: Metadata of the document, or the row's columns that are `filters` of the index.
        ordinal: Position of the chunk in its text, from 0.
        start_char: Offset of its first character in the text.
        end_char: Offset after its last character.
        text: The text of the chunk.
        score: The reranker's score; None if the budget of the search left it unscored.
        distance: Euclidean distance of the chunk's vector from the query's; cosine similarity is
            `1 - distance * distance / 2`.
        rank_before: Rank among the candidates of the first stage.
        rank_after: Rank after reranking. Chunks without a score follow those that have one, in the order of the first
            stage.
        reranked: How many candidates were scored: all of them, unless the search had a budget.
        copies: The uris of other documents that have the same passage.

    Examples:
        >>> hit = db.search("how do I undo a migration?")[0]
        >>> hit.title, hit.ordinal, hit.rank_after, hit.reranked
        ('Migrations', 0, 1, 3)
    """

    id: int
    source_id: Any
    uri: str | None
    title: str | None
    metadata: dict[str, Any]
    ordinal: int
    start_char: int
    end_char: int
    text: str
    score: float | None
    distance: float
    rank_before: int
    rank_after: int
    reranked: int
    copies: tuple[str, ...] = ()


HIT_COLUMNS = tuple(field.name for field in fields(Hit))[:-1]
"""The fields of a hit that a statement fills: all but the copies."""

COPIES = 4
"""Where copies of a passage fill the candidates, so many times as many are looked at."""


def without_copies(hits: Sequence[Hit]) -> list[Hit]:
    """Return hits in their order, each passage once, with the documents that have it, too; ranks count from 1."""
    best: dict[str, Hit] = {}
    copies: dict[str, list[str]] = {}
    for hit in hits:
        if best.setdefault(hit.text, hit) is not hit and hit.uri is not None:
            copies.setdefault(hit.text, []).append(hit.uri)
    return [
        replace(hit, rank_after=rank, copies=tuple(dict.fromkeys(copies.get(text, ()))))
        for rank, (text, hit) in enumerate(best.items(), 1)
    ]


class Hits(list[Hit]):
    """The hits of a search, best first: a list that a notebook shows as cards, with a chart of both orders.

    Examples:
        >>> hits = db.search("how do I undo a migration?")
        >>> [hit.title for hit in hits[:1]], "<svg" in hits._repr_html_()
        (['Migrations'], True)
    """

    def __init__(
        self, hits: Iterable[Hit] = (), words: Callable[[Sequence[str]], list[list[tuple[int, int]]]] | None = None
    ) -> None:
        super().__init__(hits)
        self._words = words

    def matching_words(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return where texts have words of the question.

        Parameters:
            texts: Texts, such as those of the hits.

        Returns:
            For each text the `(start, end)` of each word, in characters.
        """
        return [[] for _ in texts] if self._words is None else self._words(texts)

    def _repr_html_(self) -> str:
        from sqlrag.drawing import movement_chart

        return self._cards(self) + movement_chart(self, len(self))

    def _cards(self, hits: Sequence[Hit]) -> str:
        from sqlrag.drawing import cards

        return cards(hits, self.matching_words([hit.text for hit in hits]))


@dataclass(frozen=True)
class Comparison:
    """The order of the candidates before and after reranking.

    Attributes:
        query: The question.
        top_k: How many candidates the first stage was asked for.
        top_n: How many of them count as results.
        candidates: All candidates, in their order after reranking.

    Examples:
        >>> comparison = db.compare("how do I undo a migration?", top_k=3, top_n=1)
        >>> [hit.rank_after for hit in comparison.candidates]
        [1, 2, 3]
        >>> comparison.pushed_out
        []
    """

    query: str
    top_k: int
    top_n: int
    candidates: list[Hit]

    @property
    def hits(self) -> list[Hit]:
        """The `top_n` after reranking, best first."""
        return self.candidates[: self.top_n]

    @property
    def pushed_out(self) -> list[Hit]:
        """The hits that only the first stage had among its `top_n`, in the order of the first stage."""
        out = [hit for hit in self.candidates if hit.rank_before <= self.top_n < hit.rank_after]
        return sorted(out, key=lambda hit: hit.rank_before)

    def _repr_html_(self) -> str:
        """Return the hits as cards and all candidates as a chart, for a notebook."""
        from sqlrag.drawing import movement_chart

        candidates = self.candidates if isinstance(self.candidates, Hits) else Hits(self.candidates)
        return candidates._cards(self.hits) + movement_chart(candidates, self.top_n)  # noqa: SLF001 - of this module


@dataclass(frozen=True)
class Passage:
    """A passage of a `Context`: a chunk, or several neighbouring chunks as one text.

    Attributes:
        number: The number to cite it by, from 1.
        chunks: Ids of its chunks, in the order of the text.
        source_id: Id of the document, or the key of the row in the indexed table.
        uri: Where the document came from; None in an index over a table.
        title: Title of the document; None in an index over a table.
        metadata: Metadata of the document, or the row's columns that are `filters` of the index.
        start_char: Offset of its first character in the document.
        end_char: Offset after its last character.
        score: The reranker's score of its best chunk.
        rank_before: Rank of that chunk among the candidates of the first stage.
        rank_after: Rank of that chunk after reranking.
        text: The text.
    """

    number: int
    chunks: list[int]
    source_id: Any
    uri: str | None
    title: str | None
    metadata: dict[str, Any]
    start_char: int
    end_char: int
    score: float | None
    rank_before: int
    rank_after: int
    text: str


@dataclass(frozen=True)
class Context:
    """The passages to put into the prompt of a language model. `str()` of it is its text.

    Attributes:
        question: The question.
        text: The numbered passages with their sources, in the format that was asked for.
        tokens: Tokens of `text`, as the index's embedder counts them.
        passages: The passages, in the order of the text.

    Examples:
        >>> context = db.context("how do I undo a migration?", max_tokens=60)
        >>> context.passages[0].title, context.passages[0].number, context.tokens <= 60
        ('Migrations', 1, True)
    """

    question: str
    text: str
    tokens: int
    passages: list[Passage]

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class IndexInfo:
    """One index, as a row of `sqlrag_info()` describes it.

    Attributes:
        index: Name of the index.
        source: The table or view that it is over; `documents` for ingested documents.
        documents: How many documents it has, or how many rows have a chunk.
        chunks: How many chunks it has.
        tokens: Tokens of all chunks.
        truncated: Chunks that are longer than the model's window, which reads only their beginning.
        max_tokens: Tokens of a chunk, at most.
        overlap: Tokens that neighbouring chunks share.
        embedder: Name of its bi-encoder.
        embedder_hash: Hash of the bi-encoder's weights.
        dimension: Length of its vectors.
        window: Tokens that the bi-encoder reads.
        reranker: Name of the connection's cross-encoder.
        reranker_hash: Hash of the cross-encoder's weights.
        backlog: Documents that are ingested in part, or rows that wait to be indexed; None if changes go unnoticed
            because the table is gone, or its triggers are. `sync` makes triggers again.
        tokenizer: How its full text is split into words.
        vectors: How its vectors are stored, "float32" or "int8".
        candidates: How many chunks a search for 25 compares in full.
        recall: How many of the 25 nearest it finds, as measured on the index; None before it was measured.
        cached_scores: Scores in the database's score cache; None without a cache.
        cache_hits: Scores that were read from the cache; None without a cache.
        backlog_seconds: How long the oldest queued row has waited; None if no row is queued.

    Examples:
        >>> info = db.info()[0]
        >>> info.index, info.documents, info.vectors, info.backlog
        ('chunks', 3, 'float32', 0)
    """

    index: str
    source: str
    documents: int
    chunks: int
    tokens: int
    truncated: int
    max_tokens: int
    overlap: int
    embedder: str
    embedder_hash: str
    dimension: int
    window: int
    reranker: str
    reranker_hash: str
    backlog: int | None
    tokenizer: str
    vectors: str
    candidates: int
    recall: float | None
    cached_scores: int | None
    cache_hits: int | None
    backlog_seconds: float | None


@dataclass
class IngestProgress:
    """The progress of `ingest`, `sync` and `reindex`: the argument of their `progress` callback.

    A total is None while it is not known. The object is the same at every call.

    Attributes:
        files_done: Files that have been read.
        files_total: Files in all.
        bytes_done: Bytes of the files that have been read.
        bytes_total: Bytes of all files.
        documents: Documents or rows that have been processed.
        documents_total: Documents or rows in all.
        chunks: Chunks that have been written.
        tokens: Tokens of these chunks.
        current: The document, or the step, that is being worked on.
    """

    files_done: int = 0
    files_total: int | None = None
    bytes_done: int = 0
    bytes_total: int | None = None
    documents: int = 0
    documents_total: int | None = None
    chunks: int = 0
    tokens: int = 0
    current: str = ""


@dataclass
class _Report:
    """What was done with texts on their way into an index."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    chunks: int = 0
    tokens: int = 0
    truncated: int = 0
    unknown: int = 0
    seconds: float = 0.0


@dataclass
class IngestReport(_Report):
    """What a call of `Database.ingest` did.

    Attributes:
        added: Documents that are new, or whose ingestion was completed.
        changed: Documents whose chunks were replaced.
        unchanged: Documents that were skipped.
        removed: Documents that `prune` removed.
        chunks: Chunks that were written.
        tokens: Tokens of these chunks.
        truncated: Chunks that are longer than the model's window.
        unknown: Tokens that stand for characters which the model does not know.
        unreadable: Files and rows that could not be read, with the reason.
        skipped: Files of unknown kinds.
        ignored: Files and folders that patterns, a .gitignore, or their names (`node_modules`, `venv`) leave out.
        empty: New or changed documents without any text, in which nothing can be found.
        seconds: How long it took.

    Examples:
        >>> report = db.ingest("notes/", "pages")
        >>> report.added, report.chunks, report.unreadable, report.skipped
        (3, 3, [], [])
    """

    unreadable: list[Unreadable] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class UnreadableRow:
    """A row that could not be indexed. It is tried again when its text changes.

    Attributes:
        source_id: The key of the row.
        reason: Why it could not be indexed.
    """

    source_id: Any
    reason: str


@dataclass
class SyncReport(_Report):
    """What a call of `sync`, `create_index`, `alter_index` or `reindex` did.

    Attributes:
        added: Rows that are new in the index.
        changed: Rows whose chunks were replaced.
        removed: Rows that are gone from the table.
        unchanged: Rows that were queued although their text is the same.
        chunks: Chunks that were written.
        tokens: Tokens of these chunks.
        truncated: Chunks that are longer than the model's window.
        unknown: Tokens that stand for characters which the model does not know.
        backlog: Rows that still wait to be indexed.
        unreadable: Rows that could not be indexed, with the reason.
        seconds: How long it took.

    Examples:
        >>> report = db.create_index("reviews", table="review", text="body")
        >>> report.added, report.backlog
        (3, 0)
    """

    backlog: int = 0
    unreadable: list[UnreadableRow] = field(default_factory=list)


def count_chunks(report: _Report, chunks: Sequence[Chunk], window: int) -> None:
    """Count chunks that were embedded, given the window of the model."""
    report.chunks += len(chunks)
    report.tokens += sum(chunk.tokens for chunk in chunks)
    report.truncated += sum(chunk.tokens > window for chunk in chunks)
    report.unknown += sum(chunk.unknown for chunk in chunks)


def columns_of(description: Sequence[Any] | None) -> list[str]:
    """Return the column names of a DB-API cursor description."""
    return [str(column[0]) for column in description or ()]
