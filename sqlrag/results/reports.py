"""Descriptions of indexes, and reports of what was done with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlrag.text.chunking import Chunk
    from sqlrag.text.documents import Unreadable

__all__ = ["IndexInfo", "IngestProgress", "IngestReport", "SyncReport", "UnreadableRow", "count_chunks"]


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
        states: Bytes that are kept of chunks for a reranker that reads states; None if nothing is kept.

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
    states: int | None


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
        empty: New or changed documents without any text, in which nothing can be found; rows without a text, and files
            without a row.
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
