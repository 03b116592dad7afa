"""What passes from files to an index: a source that was found, a document that was read, the parts that are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.text.chunking import Chunk

__all__ = [
    "PARTIAL",
    "Document",
    "Json",
    "Part",
    "RowColumns",
    "Source",
    "Unreadable",
    "UnreadableError",
    "embed_parts",
    "reason",
]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

PARTIAL = "partial:"
"""Stands before the content hash of a document whose chunks are not all stored yet."""

Origin = TypeVar("Origin")


@dataclass(frozen=True)
class Document:
    """A document as it goes into a database.

    `uri` is the file's absolute path with `/`, followed by `#<id>` for a row of a file. The offsets of chunks count
    in `text`, which for a text file is exactly its characters, newlines included. `content_hash` (SHA-256, hex) changes
    if and only if the content does.
    """

    uri: str
    title: str
    text: str
    metadata: dict[str, Json]
    content_hash: str

    @property
    def partial_hash(self) -> str:
        """The content hash that is stored until the document's last part is written."""
        return PARTIAL + self.content_hash


@dataclass(frozen=True)
class Unreadable:
    """A file, folder or row that could not be read, and why: in one line, which may say what to do about it."""

    uri: str
    reason: str


@dataclass(frozen=True)
class Source:
    """A file that was found but not read yet. `root` is the folder that was searched, or that the file is in."""

    uri: str
    path: Path
    root: Path

    @property
    def kind(self) -> str:
        """The suffix that says how to read the file, in lower case and without dots or `.gz`: `jsonl`."""
        return self.path.name.lower().removesuffix(".gz").rpartition(".")[2]


@dataclass(frozen=True)
class RowColumns:
    """The columns of a file of rows that make a document. None stands for the default.

    The columns of `text` are joined by blank lines. `title` is by default the column `title` if there is one, `id` the
    column `_id` or `id`, or the number of the row from 1. `metadata` is by default all other columns.
    """

    text: Sequence[str] = ("text",)
    title: str | None = None
    id: str | None = None
    metadata: Sequence[str] | None = None


@dataclass
class Part(Generic[Origin]):
    """Consecutive chunks of one text, and where the text is from: a document, or a row of a table.

    Most texts are one part. A very long document is many, and all but the last have `last` False.
    """

    source: Origin
    chunks: Sequence[Chunk]
    last: bool = True
    vectors: NDArray[np.float32] = field(init=False, repr=False, compare=False)
    """Of the chunks, (n, dimension), of unit length. `embed_parts` sets them."""

    def rows(
        self, source_id: Any, ids: Iterator[int], start: int = 0
    ) -> list[tuple[int, Any, int, int, int, str, int]]:
        """Return the rows of a chunk table for the chunks from `start` on, each with the next of the ids."""
        return [
            (next(ids), source_id, chunk.ordinal, chunk.start_char, chunk.end_char, chunk.text, chunk.tokens)
            for chunk in self.chunks[start:]
        ]


def embed_parts(parts: Sequence[Part[Any]], encode: Callable[[list[str]], NDArray[np.float32]]) -> list[Chunk]:
    """Give parts their vectors, made in one call of `encode`, and return all their chunks."""
    chunks = [chunk for part in parts for chunk in part.chunks]
    vectors = encode([chunk.text for chunk in chunks])
    start = 0
    for part in parts:
        end = start + len(part.chunks)
        part.vectors = vectors[start:end]
        start = end
    return chunks


class UnreadableError(Exception):
    """An error inside `sqlrag.text` that becomes an Unreadable with its message as the reason."""


def reason(error: Exception) -> str:
    """Return the system's message about a file, beginning in lower case: `no such file or directory`."""
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return said[:1].lower() + said[1:]
