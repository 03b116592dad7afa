"""Reading documents: one document from a file or from each of its rows, and a reason for what cannot be read.

    found = find_sources(["docs/"])
    for source in found.sources:
        for item in read_documents(source):
            …  # Document or Unreadable

The content of a file never raises an error, so that the other files are still read.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlrag.errors import InputError
from sqlrag.process.open_files import check_no_database
from sqlrag.text.decoding import decode_html, decode_text
from sqlrag.text.documents import Document, Json, RowColumns, Source, Unreadable, UnreadableError, reason
from sqlrag.text.file_search import OFFICE_KINDS, PAGE_KINDS, ROW_KINDS, Found, find_sources

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "Document",
    "FileContent",
    "Found",
    "RowColumns",
    "Source",
    "Unreadable",
    "find_sources",
    "read_documents",
    "read_file",
    "row_columns",
]

# Part of every hash. It goes up by one whenever the same bytes are converted to another text, title or metadata.
_CONVERSION = "1"

# A larger file is not a document. SQLite holds no text above 10^9 bytes either.
_MOST_BYTES = 512 * 1024 * 1024

# The converters of markitdown, which comes with the extra `files`.
_CONVERTERS = {
    "pdf": "PdfConverter",
    "docx": "DocxConverter",
    "pptx": "PptxConverter",
    "xlsx": "XlsxConverter",
    "epub": "EpubConverter",
}

_FENCE = re.compile(r" {0,3}(```|~~~)")
_ATX_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*[ \t]*$")
_UNDERLINE = re.compile(r"([=\-~^\"'`#*+.:_])\1{2,}[ \t]*$")

# A title is near the top.
_TITLE_WITHIN_LINES = 200


def read_documents(source: Source, columns: RowColumns | None = None) -> Iterator[Document | Unreadable]:
    """Yield the documents of a file, and an Unreadable for each part of it that could not be read.

    `columns` are for files of rows; other files ignore them.
    """
    if source.kind in ROW_KINDS:
        from sqlrag.text.row_files import read_rows

        yield from read_rows(source, columns or RowColumns(), _CONVERSION)
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
            title, text = _convert(source.kind, self.data)
        except UnreadableError as error:
            return Unreadable(source.uri, str(error))
        return Document(source.uri, title or source.path.name, text, _file_metadata(source), self.content_hash)


def read_file(source: Source) -> FileContent | Unreadable:
    """Read and hash a file that is one document."""
    try:
        check_no_database(source.path)
        size = source.path.stat().st_size
        if size > _MOST_BYTES:
            limit = f"{_MOST_BYTES // 2**20} MiB"
            return Unreadable(source.uri, f"has {size // 2**20} MiB, and a document at most {limit}: split it")
        data = source.path.read_bytes()
    except OSError as error:
        return Unreadable(source.uri, reason(error))
    digest = hashlib.sha256(json.dumps([_CONVERSION]).encode() + b"\0")
    digest.update(data)
    return FileContent(source, data, digest.hexdigest())


def _convert(kind: str, data: bytes) -> tuple[str, str]:
    """Return (title, text) of a file's bytes. The title is empty if there is none."""
    if kind in PAGE_KINDS:
        from sqlrag.text.html import html_to_text

        return html_to_text(decode_html(data))
    if kind in OFFICE_KINDS:
        title, text = _office_to_text(kind, data)
        return title or _first_heading(text, fenced=True), text
    text = decode_text(data)
    return ("" if kind in ("txt", "text") else _first_heading(text, fenced=kind != "rst")), text


def _office_to_text(kind: str, data: bytes) -> tuple[str, str]:
    """Return (title, Markdown) of a PDF, Office or EPUB file. The title is empty if the file has none."""
    try:
        from markitdown import MissingDependencyException, StreamInfo, converters
    except ImportError as error:
        raise UnreadableError(_missing_reader(kind)) from error
    # markitdown itself would fall back on the bytes as text for a damaged file, so the converter is chosen here.
    converter = getattr(converters, _CONVERTERS[kind])()
    try:
        converted = converter.convert(io.BytesIO(data), StreamInfo(extension=f".{kind}"))
    except MissingDependencyException as error:
        raise UnreadableError(_missing_reader(kind)) from error
    except Exception as error:  # a damaged file can raise anything in one of the many parsers
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnreadableError(f"cannot be read as .{kind}: {said}") from error
    # The fonts of a PDF can map to anything, lone surrogates included.
    text = str(converted.markdown).encode("utf-8", "replace").decode()
    if not text.strip():
        raise UnreadableError("has no text in it: pages that are images need OCR first")
    return converted.title or "", text


def _missing_reader(kind: str) -> str:
    """Return the message for a missing reader."""
    return f'reading .{kind} needs an extra: pip install "sqlrag[files]"'


def _file_metadata(source: Source) -> dict[str, Json]:
    """Return what is known of a file besides its content, and changes only if the content does."""
    path = source.path.relative_to(source.root)
    folder = path.parent.as_posix()
    return {
        "path": path.as_posix(),
        "name": path.name,
        "folder": "" if folder == "." else folder,
        "type": source.kind,
    }


def _first_heading(text: str, *, fenced: bool) -> str:
    """Return the first heading of Markdown, which may have code in fences (`fenced`), or of reStructuredText."""
    fence = previous = ""
    for line in itertools.islice(io.StringIO(text, newline=None), _TITLE_WITHIN_LINES):
        line = line.rstrip("\n")  # noqa: PLW2901
        mark = _FENCE.match(line) if fenced else None
        if mark and fence in ("", mark[1]):
            fence = "" if fence else mark[1]
        elif not fence:
            if heading := _ATX_HEADING.match(line):
                return heading[1]
            # An underline is at least about as long as its title. A lone `---` is a rule or front matter.
            if previous.strip() and _UNDERLINE.match(line) and len(line) * 2 >= len(previous):
                return previous.strip()
        previous = "" if fence or _UNDERLINE.match(line) else line
    return ""
