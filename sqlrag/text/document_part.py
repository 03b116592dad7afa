"""A part of a document on its way into an index: some of its chunks with their vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.text.chunking import Chunk
    from sqlrag.text.documents import Document

__all__ = ["PARTIAL", "Part"]

PARTIAL = "partial:"
"""Stands before the content hash of a document whose chunks are not all stored yet."""


@dataclass(frozen=True)
class Part:
    """Consecutive chunks of one document; most documents are one part, a very long one is many."""

    document: Document
    chunks: Sequence[Chunk]
    token_counts: Sequence[int]
    vectors: NDArray[np.float32]
    last: bool

    @property
    def partial_hash(self) -> str:
        """The content hash that the document has until its last part is written."""
        return PARTIAL + self.document.content_hash
