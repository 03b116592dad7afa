"""Rows of a source table on their way into its index."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["ALL", "BATCH_CHARS", "Limits", "QueuedRow", "within"]

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
