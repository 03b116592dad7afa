"""Bringing documents into an index: read, chunk, embed and write, in batches, so that a stop loses at most one batch.

Content hashes show what is in the index already. An unchanged document is skipped before its file is converted, and the
chunks of a changed one are replaced. A very long document is written in parts, and an interrupted one is continued at
its first missing part.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError, SourceError
from sqlrag.results import IngestProgress, IngestReport
from sqlrag.results.reports import count_chunks
from sqlrag.text.documents import Document, Json, NoText, Part, Unreadable, cleaned, embed_parts, kind_of_metadata
from sqlrag.text.kinds import MANY_KINDS, kind_of
from sqlrag.text.loading import FileContent, file_metadata, read_documents, read_file, row_columns

if TYPE_CHECKING:
    from sqlrag.engines.document_writer import DocumentWriter
    from sqlrag.text.chunking import Chunk, Chunker
    from sqlrag.text.documents import Encode, RowColumns, Source
    from sqlrag.text.file_search import Found

__all__ = ["Ingestion"]

BATCH_CHUNKS = 256
"""The most chunks that are embedded and committed together, and the most documents."""

BATCH_TEXT = 65_536
"""The most characters of these chunks. A killed ingest loses them: some 16,000 tokens, a second or two of two cores."""

BATCH_CHARS = 16_000_000
"""The most characters of documents in a batch, for documents with few chunks for their size."""


class Ingestion:
    """One run of `Database.ingest`."""

    def __init__(
        self,
        writer: DocumentWriter,
        encode: Encode,
        chunker: Chunker,
        progress: Callable[[IngestProgress], None] | None = None,
        max_errors: int | None = None,
    ) -> None:
        self.report = IngestReport()
        self._max_errors = max_errors
        self._errors = 0
        self._moved: dict[str, dict[str, Json]] = {}
        self._writer = writer
        self._encode = encode
        self._chunker = chunker
        self._hashes = dict(writer.content_hashes())
        self._seen: set[str] = set()
        self._pending: list[Part[Document]] = []
        self._batches = 0
        # Files and folders that this run has left out or could not read completely. Their documents are not pruned.
        self._incomplete: list[str] = []
        self._progress = IngestProgress()
        self._tell = progress or (lambda _: None)
        self._started = time.monotonic()

    def files(
        self, found: Found, columns: Mapping[str, Any], *, prune_under: Sequence[str] | None = None
    ) -> IngestReport:
        """Ingest the files that were found. `columns` are those of files of rows.

        `prune_under` are files and folders. Their documents are removed if this run does not find them again.
        """
        chosen = row_columns(**columns)
        sizes = [_size(source) for source in found.sources]
        self._progress.files_total = len(sizes)
        self._progress.bytes_total = sum(sizes)
        self.report.skipped, self.report.ignored = found.skipped, found.ignored
        self._incomplete += [uri for uri in (path.rstrip("/") for path in found.ignored) if os.path.lexists(uri)]
        for unreadable in found.unreadable:
            self._unreadable(unreadable)
        for source, size in zip(found.sources, sizes, strict=True):
            self._file(source, chosen)
            self._progress.files_done += 1
            self._progress.bytes_done += size
            self._tell(self._progress)
        self._flush()
        self._write_metadata()
        if prune_under is not None:
            self._prune([os.path.abspath(path) for path in prune_under])
        return self._finished()

    def documents(self, documents: Iterable[Document], *, prune: bool) -> IngestReport:
        """Ingest documents that the caller made.

        `prune` removes the other documents of the index, except those whose `uri` names a file that exists. Raises
        InputError if there are no documents and `prune` would remove others.
        """
        if isinstance(documents, Sized):
            self._progress.documents_total = len(documents)
        for document in documents:
            self._document(_checked(document))
        self._flush()
        if prune:
            gone = [uri for uri in self._hashes if uri not in self._seen and not _file_remains(uri)]
            if gone and not self._seen:
                raise InputError(
                    f"sources has no documents, and prune=True would remove {len(gone):,} documents of index "
                    f"{self._writer.record.name!r}: leave prune out, or remove the index with drop_index()"
                )
            self._remove(gone)
        return self._finished()

    def _file(self, source: Source, columns: RowColumns) -> None:
        self._progress.current = source.uri
        documents: Iterable[Document | NoText | Unreadable]
        if source.kind in MANY_KINDS:
            documents = read_documents(source, columns)
        else:
            content = read_file(source)
            if isinstance(content, FileContent) and content.content_hash == self._hashes.get(source.uri):
                self._unchanged(source.uri, file_metadata(source))
                return
            documents = [content.document() if isinstance(content, FileContent) else content]
        for document in documents:
            if isinstance(document, Unreadable):
                self._unreadable(document)
            elif isinstance(document, NoText):
                self.report.empty.append(document.uri)
            else:
                self._document(document)

    def _document(self, document: Document) -> None:
        document = cleaned(document)
        known = self._hashes.get(document.uri)
        if document.uri in self._seen:
            again = Unreadable(document.uri, "left out: another document of this run has the same uri", rows=1)
            self.report.unreadable.append(again)
            return
        if known == document.content_hash:
            self._unchanged(document.uri, document.metadata)
            return
        self._seen.add(document.uri)
        if not document.text.strip():
            self.report.empty.append(document.uri)
        resumed = known == document.partial_hash
        done = self._writer.chunks_done(document.uri) if resumed else 0
        if known is None or resumed:
            self.report.added += 1
        else:
            self.report.changed += 1
        self._progress.documents += 1
        self._progress.current = document.uri
        chunks = self._chunker.chunks(document.text, document.title, kind_of_metadata(document.metadata))
        for pending in _parts(document, chunks[done:]):
            self._pending.append(pending)
            if self._is_batch():
                self._flush()

    def _is_batch(self) -> bool:
        return (
            len(self._pending) >= BATCH_CHUNKS
            or sum(len(waiting.chunks) for waiting in self._pending) >= BATCH_CHUNKS
            or sum(len(chunk.text) for waiting in self._pending for chunk in waiting.chunks) >= BATCH_TEXT
            or sum(len(waiting.source.text) for waiting in self._pending) >= BATCH_CHARS
        )

    def _flush(self) -> None:
        """Embed and write the pending parts."""
        if not self._pending:
            return
        chunks = embed_parts(self._pending, self._encode)
        self._writer.write(self._pending)
        self._pending.clear()
        self._batches += 1
        count_chunks(self.report, chunks, self._writer.record.window)
        self._progress.chunks, self._progress.tokens = self.report.chunks, self.report.tokens
        self._tell(self._progress)

    def _unchanged(self, uri: str, metadata: dict[str, Json]) -> None:
        self._seen.add(uri)
        self.report.unchanged += 1
        self._progress.documents += 1
        if _FOLDER in metadata:
            self._moved[uri] = {name: metadata[name] for name in _PLACE if name in metadata}

    def _write_metadata(self) -> None:
        """Bring the place of unchanged files up to date: it depends on the folder that this call has named."""
        if not self._moved:
            return
        stored = self._writer.places()
        changed = {}
        for uri, place in self._moved.items():
            before = stored.get(uri)
            if before is not None and {name: before.get(name) for name in place} != place:
                changed[uri] = before | place
        self._writer.update_metadata(changed)

    def _unreadable(self, unreadable: Unreadable) -> None:
        self.report.unreadable.append(unreadable)
        self._incomplete.append(unreadable.uri)
        self._errors += unreadable.rows or 1
        if self._max_errors is not None and self._errors > self._max_errors:
            self._flush()
            raise SourceError(
                f"stopped at more than {self._max_errors:,} errors (max_errors), the last of them {unreadable.uri}: "
                f"{unreadable.reason}; what was read before is in the index"
            )

    def _prune(self, roots: Sequence[str]) -> None:
        """Remove the documents under these files and folders that this run has not found."""
        self._remove(
            [
                uri
                for uri in self._hashes
                if uri not in self._seen and _is_under(uri, roots) and not _is_under(uri, self._incomplete)
            ]
        )

    def _remove(self, uris: list[str]) -> None:
        if uris:
            self._writer.remove(uris)
            self.report.removed += len(uris)

    def _finished(self) -> IngestReport:
        self._keep_up()
        self.report.seconds = time.monotonic() - self._started
        self._tell(self._progress)
        return self.report

    def _keep_up(self) -> None:
        """Measure how many candidates a search needs, if the index has grown. For a million chunks it takes seconds."""

        def tell(what: str, share: float) -> None:
            self._progress.current = f"index: {what} {share:.0%}"
            self._tell(self._progress)

        self._writer.keep_up(tell)


def _checked(document: object) -> Document:
    """Return a document that the caller made. Raises InputError if a database cannot hold it."""
    if not isinstance(document, Document):
        raise InputError(
            f"sources holds {document!r}: it takes sqlrag.text.Document objects, or one path, or a list of paths"
        )
    where = f"document {document.uri!r}"
    if not isinstance(document.metadata, dict):
        raise InputError(f"{where}: metadata is {document.metadata!r}, and should be a dict")
    try:
        metadata = json.dumps(document.metadata, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: metadata is not JSON ({error}): give dates and numbers as text") from error
    texts = {name: getattr(document, name) for name in ("uri", "title", "text", "content_hash")}
    for name, text in {**texts, "metadata": metadata}.items():
        if not isinstance(text, str):
            raise InputError(f"{where}: {name} is {text!r}, and should be a text")
        if not text and name in ("uri", "content_hash"):
            raise InputError(f"{where}: {name} is empty: it tells the document, or its content, from others")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{where}: {name} has a lone surrogate at character {error.start}, so it is not Unicode: "
                "replace it, e.g. text.encode('utf-8', 'replace').decode()"
            ) from error
    return document


def _parts(document: Document, chunks: Sequence[Chunk]) -> Iterator[Part[Document]]:
    """Divide a document's chunks into parts. A document without chunks is one empty part, so that it is recorded."""
    start, is_last = 0, False
    while not is_last:
        end = start
        for characters in accumulate(len(chunk.text) for chunk in chunks[start : start + BATCH_CHUNKS]):
            end += 1
            if characters >= BATCH_TEXT:
                break
        is_last = end == len(chunks)
        yield Part(document, chunks[start:end], last=is_last)
        start = end


_FOLDER = "folder"
_PLACE = ("path", "name", _FOLDER)
"""The metadata of a file that says where it is."""


def _is_under(uri: str, roots: Sequence[str]) -> bool:
    """Return whether a document is one of these files, or a row of one, or in one of these folders."""
    return any(
        uri == root or uri.startswith(root.rstrip("/") + "/") or (_has_rows(root) and uri.startswith(root + "#"))
        for root in roots
    )


def _has_rows(path: str) -> bool:
    """Return whether a file of this name may hold many documents, whose keys stand behind a `#`."""
    return kind_of(os.path.basename(path)) in MANY_KINDS


def _file_remains(uri: str) -> bool:
    """Return whether a document's `uri` names a file that exists, or a row of one, or if that cannot be found out.

    Pruning must not take a file for gone because its disk is not mounted, so a link to nothing counts as existing.
    """
    if not os.path.isabs(uri):
        return False  # made by the caller: the files of `ingest` have absolute paths
    rows_of = (uri[:place] for place, character in enumerate(uri) if character == "#")
    return _path_remains(uri) or any(_has_rows(path) and _path_remains(path) for path in rows_of)


def _path_remains(path: str) -> bool:
    try:
        os.lstat(path)
    except ValueError:  # a NUL
        return False
    except (FileNotFoundError, NotADirectoryError):
        folder = os.path.dirname(path)
        while not os.path.lexists(folder) and folder != os.path.dirname(folder):
            folder = os.path.dirname(folder)
        return not os.path.exists(folder)  # a link to nothing
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG  # no file can have such a name
    return True


def _size(source: Source) -> int:
    try:
        return source.path.stat().st_size
    except OSError:
        return 0  # it is gone by now, which reading it will report
