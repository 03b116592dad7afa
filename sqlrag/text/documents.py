"""What passes from files to an index: a source that was found, a document that was read, the parts that are written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.text.chunking import Chunk

__all__ = [
    "DEEPEST",
    "PARTIAL",
    "REPLACEMENT",
    "Converted",
    "Document",
    "Json",
    "NoText",
    "Part",
    "RowColumns",
    "Source",
    "Unreadable",
    "UnreadableError",
    "cleaned",
    "embed_parts",
    "kind_of_metadata",
    "reason",
]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

DEEPEST = 100
"""How deep lists and objects of metadata may nest: Python, SQLite and DuckDB stop at different depths beyond it."""

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""What stands for a NUL in a text."""

PARTIAL = "partial:"
"""Stands before the content hash of a document whose chunks are not all stored yet."""

Origin = TypeVar("Origin")


@dataclass(frozen=True)
class Document:
    """A document as it goes into a database.

    `uri` is the file's absolute path with `/`, followed by `#<id>` for a row of a file or a member of an archive. The
    offsets of chunks count in `text`, which for a text file is its characters, newlines included, without the data of
    images that are embedded in it. `content_hash` (SHA-256, hex) changes if and only if the content does.
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


@dataclass
class Converted:
    """What a file's bytes become. The title is empty if the file has none."""

    title: str
    text: str
    metadata: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Unreadable:
    """A file, folder or row that could not be read, and why: in one line, which may say what to do about it.

    `rows` is how many rows of a file it stands for; 0 for a file or folder.
    """

    uri: str
    reason: str
    rows: int = 0


@dataclass(frozen=True)
class NoText:
    """A row without a text, or a file without a row: it is no document, and is named as one without text."""

    uri: str


@dataclass(frozen=True)
class Source:
    """A file that was found but not read yet. `root` is the folder that was searched, or that the file is in."""

    uri: str
    path: Path
    root: Path
    encoding: str | None = None
    """The encoding that the user gave."""
    read_as: str | None = None
    """The kind that the user gave, or that the file's name without a suffix says."""

    @property
    def kind(self) -> str:
        """What says how to read the file: its suffix in lower case, without dots or `.gz`, such as `jsonl`."""
        return self.read_as or self.path.name.lower().removesuffix(".gz").rpartition(".")[2]


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


Encode = Callable[[list[str]], "tuple[NDArray[np.float32], Sequence[bytes]]"]
"""Returns the vectors of texts, (n, dimension), and what is kept of each; of all or of none."""


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
    states: Sequence[bytes] = field(init=False, repr=False, compare=False)
    """What is kept of the chunks for a reranker; empty where nothing is."""

    def rows(
        self, source_id: Any, ids: Iterator[int], start: int = 0
    ) -> list[tuple[int, Any, int, int, int, str, int, str]]:
        """Return the rows of a chunk table for the chunks from `start` on, each with the next of the ids."""
        return [
            (next(ids), source_id, c.ordinal, c.start_char, c.end_char, c.text, c.tokens, c.context)
            for c in self.chunks[start:]
        ]


def embed_parts(parts: Sequence[Part[Any]], encode: Encode) -> list[Chunk]:
    """Give parts their vectors, and what is kept of them, made in one call; return all their chunks."""
    chunks = [chunk for part in parts for chunk in part.chunks]
    vectors, states = encode([chunk.context + chunk.text for chunk in chunks])
    start = 0
    for part in parts:
        end = start + len(part.chunks)
        part.vectors, part.states = vectors[start:end], states[start:end]
        start = end
    return chunks


def kind_of_metadata(metadata: str | dict[str, Json]) -> str:
    """Return the kind of the file that a document was made from, given its metadata; "" if it was none."""
    if isinstance(metadata, str):
        try:
            metadata = json.loads(metadata)
        except ValueError:
            return ""
    # A row's own columns may have any of these names, and hardly all.
    is_file = isinstance(metadata, dict) and {"path", "name", "folder", "type"} <= metadata.keys()
    return str(metadata["type"]) if is_file and isinstance(metadata, dict) else ""


def cleaned(document: Document) -> Document:
    """Return a document as a database can hold it: each NUL in it becomes U+FFFD.

    SQLite's functions end a text at its first NUL, so the offsets of all later chunks would lead nowhere. The
    replacement has the same length, so offsets stay as they are.
    """
    metadata = _without_nul(document.metadata)
    if metadata is document.metadata and not any(
        "\0" in part for part in (document.uri, document.title, document.text)
    ):
        return document
    uri, title, text = (part.replace("\0", REPLACEMENT) for part in (document.uri, document.title, document.text))
    assert isinstance(metadata, dict)
    return replace(document, uri=uri, title=title, text=text, metadata=metadata)


def _without_nul(value: Json) -> Json:
    """Return a value of metadata without NULs: the same object if it has none."""
    if isinstance(value, str):
        return value.replace("\0", REPLACEMENT) if "\0" in value else value
    if isinstance(value, dict):
        pairs = {str(_without_nul(key)): _without_nul(inner) for key, inner in value.items()}
        same = len(pairs) == len(value) and all(key in value and value[key] is inner for key, inner in pairs.items())
        return value if same else pairs
    if isinstance(value, list):
        inner = [_without_nul(one) for one in value]
        return value if all(a is b for a, b in zip(value, inner, strict=True)) else inner
    return value


class UnreadableError(Exception):
    """An error inside `sqlrag.text` that becomes an Unreadable with its message as the reason."""


def reason(error: Exception) -> str:
    """Return the system's message about a file, beginning in lower case: `no such file or directory`."""
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return said[:1].lower() + said[1:]
