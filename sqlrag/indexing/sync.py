"""Bringing an index over a table up to date: the queued rows are indexed a batch at a time.

The texts of a batch are chunked and embedded outside of any transaction. The transaction that writes them reads the
rows again, and skips those whose text has changed meanwhile: they are still queued.

Rows that are queued meanwhile are indexed by another round, and by further ones as long as each is shorter than the one
before. So a run ends, however fast others write and whoever else indexes rows; and all that was queued when it began is
indexed, except for rows that have changed again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlrag.engines.changed_rows import ALL, Limits, QueuedRow
from sqlrag.results import IngestProgress, SyncReport, UnreadableRow
from sqlrag.results.reports import count_chunks
from sqlrag.text.documents import Part, embed_parts

if TYPE_CHECKING:
    from sqlrag.engines.indexed_table import IndexedTable
    from sqlrag.text.chunking import Chunk, Chunker
    from sqlrag.text.documents import Encode

__all__ = ["Sync"]

BATCH_ROWS = 256
"""The most rows that are embedded and committed together."""

STUCK = 3
"""Give up after this many consecutive batches in which every row changed while being embedded."""


@dataclass
class Sync:
    """One run of `Database.sync` over one index."""

    table: IndexedTable[Any]
    encode: Encode
    chunker: Chunker
    progress: Callable[[IngestProgress], None] | None = None
    limits: Limits = ALL
    report: SyncReport = field(default_factory=SyncReport)

    def run(self) -> SyncReport:
        """Index the queued rows, as far as the limits go. The report says how many remain."""
        started = time.monotonic()
        told = IngestProgress(documents_total=self.table.backlog())
        left = self.table.entries()  # entries, not rows: a row that is queued twice may be taken twice
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
        if batches or self.limits.is_all:
            self._keep_up(told)
        self.report.backlog = self.table.backlog()
        self.report.seconds = time.monotonic() - started
        return self.report

    def _round(self, left: int, told: IngestProgress) -> tuple[int, bool]:
        """Index `left` queue entries; return the number of batches, and whether that was all of them."""
        until, batches, stuck = math.inf, 0, 0
        while left > 0:
            queued = self.table.take(min(left, self.limits.batch_rows or BATCH_ROWS), self.limits)
            if not queued:
                break
            written = set(self.table.apply(self._embedded(queued)))
            self._count([row for row in queued if row.source_id in written])
            stuck = 0 if written else stuck + 1
            left -= len(queued)  # a row that was not written was indexed by another process, or is queued again
            batches += 1
            told.documents += len(written)
            told.chunks, told.tokens = self.report.chunks, self.report.tokens
            self._tell(told)
            if batches == 1 and self.limits.seconds is not None:  # the first batch may have loaded a model
                until = time.monotonic() + self.limits.seconds
            if stuck == STUCK or time.monotonic() >= until:
                return batches, False
        return batches, True

    def _embedded(self, queued: Sequence[QueuedRow]) -> list[Part[QueuedRow]]:
        """Chunk and embed the texts that differ from those of the index."""
        headings: dict[int, tuple[str, str]] = {}
        if self.table.record.tracking == "documents":
            headings = self.table.tables.headings_of([row.source_id for row in queued if row.text])
        parts = [Part(row, self._chunks(row, headings)) for row in queued]
        chunks = embed_parts(parts, self.encode)
        count_chunks(self.report, chunks, self.table.record.window)
        return parts

    def _chunks(self, row: QueuedRow, headings: Mapping[int, tuple[str, str]]) -> Sequence[Chunk]:
        """Return the chunks of a row. A document has a title and a kind; a row of a table has neither."""
        if not row.is_changed or not row.text:
            return []
        return self.chunker.chunks(row.text, *headings.get(row.source_id, ()))

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

    def _keep_up(self, told: IngestProgress) -> None:
        def tell(what: str, share: float) -> None:
            told.current = f"index: {what} {share:.0%}"
            self._tell(told)

        self.table.keep_up(tell)


def _shown(source_id: Any) -> Any:
    """Return a key for a report, with characters replaced that are not valid Unicode."""
    return source_id.encode("utf-8", "replace").decode() if isinstance(source_id, str) else source_id
