"""Changed rows of a source table on their way into its index, and how many are taken at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["ALL", "BATCH_CHARS", "Limits", "QueuedRow", "within"]

BATCH_CHARS = 200_000
"""The most characters of text in a batch, unless a single text is longer: about three seconds on two cores."""


@dataclass(frozen=True)
class Limits:
    """How much one run indexes at most, and in which steps."""

    rows: int | None = None
    """The most rows in all; None for as many as are queued when the run begins."""
    batch_rows: int | None = None
    """The most rows that are embedded and committed together; None for `sqlrag.indexing.sync.BATCH_ROWS`."""
    batch_chars: int = BATCH_CHARS
    """The most characters of text in a batch, unless a single text is longer."""
    longest: int | None = None
    """Rows with a longer text, in characters, are skipped. None skips none: a batch has at least one row."""
    seconds: float | None = None
    """No further batch begins this long after the first one ended."""

    @property
    def is_all(self) -> bool:
        """Whether the run indexes all rows that are queued."""
        return self.rows is None


ALL = Limits()
"""All rows that are queued when a run begins."""


@dataclass(frozen=True)
class QueuedRow:
    """A row of the source whose text may have changed since it was indexed."""

    source_id: Any
    text: str | None
    """None for a row without text, and for a row that is gone."""
    content_hash: bytes | None
    """The hash of the text; None if the row is gone."""
    known_hash: bytes | None
    """The hash of the text that the index has; None if it does not know the row."""
    unreadable: str | None = None
    """Why the row has no text that can be indexed."""

    @property
    def is_changed(self) -> bool:
        """Whether the index has a different text of this row, or none."""
        return self.content_hash != self.known_hash

    def is_as(self, earlier: QueuedRow) -> bool:
        """Whether neither the row nor what the index knows of it has changed since `earlier`."""
        return (self.content_hash, self.known_hash) == (earlier.content_hash, earlier.known_hash)


def within(rows: Iterable[QueuedRow], most: int, limits: Limits) -> list[QueuedRow]:
    """Return the first rows, at most `most`, whose texts fit into a batch together; at least one, however long it is.

    Where `limits` has a `longest`, rows with a longer text are skipped.
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
