"""Reading documents: one document from a file or from each of its rows, and a reason for what cannot be read.

    found = find_sources(["docs/"])
    for source in found.sources:
        for item in read_documents(source):
            …  # Document or Unreadable

The content of a file never raises an error, so that the other files are still read.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlrag.errors import InputError
from sqlrag.process.open_files import check_no_database
from sqlrag.text.documents import Document, Json, NoText, RowColumns, Source, Unreadable, UnreadableError, reason
from sqlrag.text.file_search import Choice, Found, find_sources
from sqlrag.text.formats import converted
from sqlrag.text.kinds import MANY_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "Choice",
    "Document",
    "FileContent",
    "Found",
    "RowColumns",
    "Source",
    "Unreadable",
    "file_metadata",
    "find_sources",
    "read_documents",
    "read_file",
    "row_columns",
]

# Part of every hash. It goes up by one whenever the same bytes are converted to another text, title or metadata.
_CONVERSION = "3"

# A larger file is not a document. SQLite holds no text above 10^9 bytes either.
_MOST_BYTES = 512 * 1024 * 1024


def read_documents(source: Source, columns: RowColumns | None = None) -> Iterator[Document | NoText | Unreadable]:
    """Yield the documents of a file, and an Unreadable for each part of it that could not be read.

    `columns` are for files of rows; other files ignore them.
    """
    if source.kind in MANY_KINDS:
        from sqlrag.text.containers import read_many

        yield from read_many(source, columns or RowColumns(), _CONVERSION, _bytes_of, file_metadata(source))
    else:
        content = read_file(source)
        yield content if isinstance(content, Unreadable) else content.document()


def row_columns(
    text: str | Sequence[str] | None = None,
    title: str | None = None,
    id: str | None = None,  # noqa: A002 - the column's usual name
    metadata: Sequence[str] | None = None,
) -> RowColumns:
    """Return the columns that a caller names, checked. Raises InputError."""
    texts = ("text",) if text is None else (text,) if isinstance(text, str) else tuple(text)
    if not texts:
        raise InputError("text names no column: name at least one")
    if isinstance(metadata, str):
        raise InputError(f"metadata is {metadata!r}, and should be a list of columns: [{metadata!r}]")
    return RowColumns(texts, title, id, None if metadata is None else tuple(metadata))


@dataclass(frozen=True)
class FileContent:
    """The bytes of a file that is one document, and the `content_hash` that the document has."""

    source: Source
    data: bytes
    content_hash: str

    def document(self) -> Document | Unreadable:
        """Convert the bytes. Where the hash is that of last time, the document is too, and need not be made."""
        source = self.source
        try:
            made = converted(source.kind, self.data, source.encoding)
        except UnreadableError as error:
            return Unreadable(source.uri, str(error))
        own = file_metadata(source)
        metadata = {f"frontmatter.{name}" if name in own else name: value for name, value in made.metadata.items()}
        return Document(source.uri, made.title or source.path.name, made.text, metadata | own, self.content_hash)


def read_file(source: Source) -> FileContent | Unreadable:
    """Read and hash a file that is one document."""
    try:
        check_no_database(source.path)
        data = _bytes_of(source)
    except (OSError, EOFError, zlib.error) as error:
        return Unreadable(source.uri, reason(error))
    except UnreadableError as error:
        return Unreadable(source.uri, str(error))
    settings = [_CONVERSION] if source.encoding is None else [_CONVERSION, source.encoding]
    digest = hashlib.sha256(json.dumps(settings).encode() + b"\0")
    digest.update(data)
    return FileContent(source, data, digest.hexdigest())


def _bytes_of(source: Source) -> bytes:
    """Return the bytes of a file, unpacked if it is compressed. Raises UnreadableError if these are too many."""
    size = source.path.stat().st_size
    if size <= _MOST_BYTES:
        if not source.path.name.lower().endswith(".gz"):
            return source.path.read_bytes()
        with gzip.open(source.path) as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) <= _MOST_BYTES:
            return data
        size = len(data)
    limit = f"{_MOST_BYTES // 2**20} MiB"
    raise UnreadableError(f"has {size // 2**20} MiB, and a document at most {limit}: split it")


def file_metadata(source: Source) -> dict[str, Json]:
    """Return what is known of a file besides its content, and changes only if the content does."""
    path = source.path.relative_to(source.root)
    folder = path.parent.as_posix()
    return {
        "path": path.as_posix(),
        "name": path.name,
        "folder": "" if folder == "." else folder,
        "type": source.kind,
    }
