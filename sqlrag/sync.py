"""An index over a table of the user's own, brought to what the table holds: what is queued, a batch at a time.

The texts of a batch are chunked and embedded outside of any transaction. The transaction that writes them reads the
rows again and leaves those alone whose text has changed meanwhile: they are still queued.

What comes meanwhile is brought in by another round, and by further ones as long as each is shorter than the one
before: so a run ends, however fast others write and whoever else brings rows in, and what was queued when it began is
in, but for rows that have changed again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from sqlrag.results import IngestProgress, SyncReport, UnreadableRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.index.registry import IndexRecord
    from sqlrag.index.writer import StoredChunk
    from sqlrag.models import Embedder
    from sqlrag.text.chunking import Chunk, Chunker

__all__ = ["ALL", "BATCH_CHARS", "IndexedRow", "Limits", "LiveTable", "QueuedRow", "Sync", "chunk_rows", "within"]

BATCH_ROWS = 256
"""Rows that are embedded and committed together, at most."""

BATCH_CHARS = 200_000
"""Characters of the texts of a batch, at most, unless a single one is longer: some three seconds on two cores."""

KEEP_UP_BATCHES = 64
"""After so many batches the index is asked whether it has outgrown its cells."""

STUCK = 3
"""So many batches in a row whose rows all changed while they were embedded: then what is left waits."""


@dataclass(frozen=True)
class Limits:
    """How much one run does at most, and in which steps."""

    rows: int | None = None
    """In all; None: as many as are queued when it begins."""
    batch_rows: int | None = None
    """Rows that are embedded and committed together, at most; None: BATCH_ROWS."""
    batch_chars: int = BATCH_CHARS
    """Characters of the texts of a batch, at most, unless a single one is longer."""
    longest: int | None = None
    """Rows with a longer text are left alone; None: none is, a batch has one row at least, however long."""
    seconds: float | None = None
    """No further batch is begun so long after the first one."""

    @property
    def is_all(self) -> bool:
        """Whether the run is to bring in all that is queued."""
        return self.rows is None


ALL = Limits()
"""All that is queued when a run begins."""


@dataclass(frozen=True)
class QueuedRow:
    """A row of the source whose text may be another than the index has."""

    source_id: Any
    text: str | None
    """None for a row without text, or one that is gone."""
    content_hash: bytes | None
    """Of the text; None where the row is gone."""
    known_hash: bytes | None
    """Of the text that the index has; None where it does not know the row."""
    unreadable: str | None = None
    """Why the row has no text that can be indexed."""

    @property
    def is_changed(self) -> bool:
        """Whether the index has another text, or none."""
        return self.content_hash != self.known_hash

    def is_as(self, earlier: QueuedRow) -> bool:
        """Whether neither the row nor what the index knows of it has changed since."""
        return (self.content_hash, self.known_hash) == (earlier.content_hash, earlier.known_hash)


@dataclass(frozen=True)
class IndexedRow:
    """A row with the chunks and vectors of its text, ready to be written."""

    row: QueuedRow
    chunks: Sequence[Chunk]
    token_counts: Sequence[int]
    vectors: NDArray[np.float32]


def within(rows: Iterable[QueuedRow], most: int, limits: Limits) -> list[QueuedRow]:
    """Return the first `most` rows whose texts are not longer than a batch in all; one at least, however long.

    Without `longest` that is: with it, a row with a longer text is passed over.
    """
    taken: list[QueuedRow] = []
    chars = limits.batch_chars
    for row in rows:
        length = len(row.text or "")
        if limits.longest is not None and length > limits.longest and row.is_changed:
            continue
        chars -= length
        if taken and chars < 0:
            break
        taken.append(row)
        if len(taken) >= most:
            break
    return taken


def chunk_rows(rows: Sequence[IndexedRow], ids: Iterator[int]) -> list[StoredChunk]:
    """Return the rows of a chunk table for these rows of the source, with ids that were never used."""
    return [
        (next(ids), one.row.source_id, chunk.ordinal, chunk.start_char, chunk.end_char, chunk.text, tokens)
        for one in rows
        for chunk, tokens in zip(one.chunks, one.token_counts, strict=True)
    ]


class LiveTable(Protocol):
    """What an engine offers to keep one index in step with its source."""

    @property
    def record(self) -> IndexRecord:
        """The record of the index."""

    def prepare(self, *, compare: bool) -> None:
        """See that changes are tracked, and queue what was missed; `compare`: every row of another text."""

    def backlog(self) -> int:
        """Return how many rows are queued."""

    def entries(self) -> int:
        """Return how many entries the queue has, in which a row may stand several times."""

    def take(self, rows: int, limits: Limits) -> list[QueuedRow]:
        """Return the first queued rows, so many at most, as `within` takes them."""

    def apply(self, rows: Sequence[IndexedRow]) -> list[Any]:
        """Write rows, all or nothing, but for those that have changed since; return the ids of those written.

        None is written where the index itself is another one by now.
        """

    def keep_up(self, progress: Callable[[str, float], None], *, wrote: bool = True) -> None:
        """Make new cells for the index if it has outgrown the ones it has; if nobody `wrote`, finish those begun."""


@dataclass
class Sync:
    """One run of `Database.sync` over one index."""

    table: LiveTable
    embedder: Embedder
    chunker: Chunker
    progress: Callable[[IngestProgress], None] | None = None
    limits: Limits = ALL
    report: SyncReport = field(default_factory=SyncReport)

    def run(self) -> SyncReport:
        """Bring in what is queued, as far as the limits go; what is left stands in the report."""
        started = time.monotonic()
        told = IngestProgress(documents_total=self.table.backlog())
        left = self.table.entries()  # not the rows: one that stands there twice may be taken twice
        if self.limits.rows is not None:
            left = min(self.limits.rows, left)
        batches = rounds = 0
        while left > 0:
            done, finished = self._round(left, told)
            batches, rounds = batches + done, rounds + 1
            came = self.table.entries()
            if not finished or not self.limits.is_all or (rounds > 1 and came >= left):
                break
            told.documents_total = told.documents + came
            left = came
        if batches or self.limits.is_all:  # cells that a killed process has begun are finished
            self._keep_up(told, wrote=batches > 0)
        self.report.backlog = self.table.backlog()
        self.report.seconds = time.monotonic() - started
        return self.report

    def _round(self, left: int, told: IngestProgress) -> tuple[int, bool]:
        """Bring in so many rows; return the number of batches, and whether that was all of them."""
        until, batches, stuck = math.inf, 0, 0
        while left > 0:
            queued = self.table.take(min(left, self.limits.batch_rows or BATCH_ROWS), self.limits)
            if not queued:
                break
            written = set(self.table.apply(self._indexed(queued)))
            self._count([row for row in queued if row.source_id in written])
            stuck = 0 if written else stuck + 1
            left -= len(queued)  # one that was not written is another process's work by now, or is queued again
            batches += 1
            told.documents += len(written)
            told.chunks, told.tokens = self.report.chunks, self.report.tokens
            self._tell(told)
            if batches % KEEP_UP_BATCHES == 0:
                self._keep_up(told)
            if batches == 1 and self.limits.seconds is not None:  # the first one may have loaded a model
                until = time.monotonic() + self.limits.seconds
            if stuck == STUCK or time.monotonic() >= until:
                return batches, False
        return batches, True

    def _indexed(self, queued: Sequence[QueuedRow]) -> list[IndexedRow]:
        """Chunk and embed the texts that are other than those of the index."""
        chunks = [self.chunker.chunks(row.text) if row.is_changed and row.text else [] for row in queued]
        texts = [chunk.text for of_row in chunks for chunk in of_row]
        vectors = self.embedder.encode_document(texts)
        counts = self.embedder.token_counts(texts)
        self.report.tokens += sum(counts)
        self.report.truncated += sum(count > self.table.record.window for count in counts)
        indexed, start = [], 0
        for row, of_row in zip(queued, chunks, strict=True):
            end = start + len(of_row)
            indexed.append(IndexedRow(row, of_row, counts[start:end], vectors[start:end]))
            start = end
        self.report.chunks += len(texts)
        return indexed

    def _count(self, written: Sequence[QueuedRow]) -> None:
        report = self.report
        for row in written:
            if not row.is_changed:
                report.unchanged += 1
            elif row.content_hash is None:
                report.removed += 1
            elif row.known_hash is None:
                report.added += 1
            else:
                report.changed += 1
            if row.unreadable is not None:
                report.unreadable.append(UnreadableRow(_shown(row.source_id), row.unreadable))

    def _tell(self, told: IngestProgress) -> None:
        if self.progress is not None:
            self.progress(told)

    def _keep_up(self, told: IngestProgress, *, wrote: bool = True) -> None:
        def tell(what: str, share: float) -> None:
            told.current = f"index: {what} {share:.0%}"
            self._tell(told)

        self.table.keep_up(tell, wrote=wrote)


def _shown(source_id: Any) -> Any:
    """Return a key as a report has it: of what is no Unicode the rest."""
    return source_id.encode("utf-8", "replace").decode() if isinstance(source_id, str) else source_id
