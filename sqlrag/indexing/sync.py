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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlrag.engines.changed_rows import ALL, Limits, QueuedRow
from sqlrag.results import IngestProgress, SyncReport, UnreadableRow, count_chunks
from sqlrag.text.documents import Part, embed_parts

if TYPE_CHECKING:
    from sqlrag.engines.indexed_table import IndexedTable
    from sqlrag.models import Embedder
    from sqlrag.text.chunking import Chunker

__all__ = ["Sync"]

BATCH_ROWS = 256
"""Rows that are embedded and committed together, at most."""

KEEP_UP_BATCHES = 64
"""After so many batches the index is asked whether it has outgrown its cells."""

STUCK = 3
"""So many batches in a row whose rows all changed while they were embedded: then what is left waits."""


@dataclass
class Sync:
    """One run of `Database.sync` over one index."""

    table: IndexedTable[Any]
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
            written = set(self.table.apply(self._embedded(queued)))
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

    def _embedded(self, queued: Sequence[QueuedRow]) -> list[Part[QueuedRow]]:
        """Chunk and embed the texts that differ from those of the index."""
        parts = [Part(row, self.chunker.chunks(row.text) if row.is_changed and row.text else []) for row in queued]
        chunks = embed_parts(parts, self.embedder.encode_document)
        count_chunks(self.report, [chunk.tokens for chunk in chunks], self.table.record.window)
        return parts

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
