"""Rows of a source table on their way into its index, and what an engine offers to keep the two in step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sqlrag.store.registry import IndexRecord
    from sqlrag.store.writer import StoredChunk
    from sqlrag.text.documents import Part

__all__ = ["ALL", "BATCH_CHARS", "Limits", "LiveTable", "QueuedRow", "chunk_rows", "within"]

BATCH_CHARS = 200_000
"""Characters of the texts of a batch, at most, unless a single one is longer: some three seconds on two cores."""


@dataclass(frozen=True)
class Limits:
    """How much one run does at most, and in which steps."""

    rows: int | None = None
    """In all; None: as many as are queued when it begins."""
    batch_rows: int | None = None
    """Rows that are embedded and committed together, at most; None: `sqlrag.indexing.sync.BATCH_ROWS`."""
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


def chunk_rows(rows: Sequence[Part[QueuedRow]], ids: Iterator[int]) -> list[StoredChunk]:
    """Return the rows of a chunk table for these rows of the source, with ids that were never used."""
    return [row for one in rows for row in one.rows(one.source.source_id, ids)]


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

    def apply(self, rows: Sequence[Part[QueuedRow]]) -> list[Any]:
        """Write rows, all or nothing, but for those that have changed since; return the ids of those written.

        None is written where the index itself is another one by now.
        """

    def keep_up(self, progress: Callable[[str, float], None], *, wrote: bool = True) -> None:
        """Make new cells for the index if it has outgrown the ones it has; if nobody `wrote`, finish those begun."""
