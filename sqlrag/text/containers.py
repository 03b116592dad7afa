"""Files that hold many documents besides files of rows: JSON, mailboxes and zip archives."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from sqlrag.process.open_files import check_no_database
from sqlrag.text.documents import (
    Converted,
    Document,
    Json,
    NoText,
    RowColumns,
    Source,
    Unreadable,
    UnreadableError,
    reason,
)
from sqlrag.text.formats import converted, json_text, json_value
from sqlrag.text.kinds import KINDS, ROW_KINDS, kind_of
from sqlrag.text.mail import mail
from sqlrag.text.row_files import NumberedRow, chosen_columns, documents_of_rows, read_rows
from sqlrag.text.row_values import json_loads

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["read_many"]

# The most members of an archive that are read, and the most bytes of one of them: an archive can claim anything.
_MOST_MEMBERS = 100_000
_MOST_BYTES = 512 * 1024 * 1024


def read_many(
    source: Source, columns: RowColumns, version: str, read: Callable[[Source], bytes], metadata: dict[str, Json]
) -> Iterator[Document | NoText | Unreadable]:
    """Yield the documents of a file that may hold many. `read` returns its bytes, `metadata` is that of the file."""
    if source.kind in ROW_KINDS:
        yield from read_rows(source, columns, version)
        return
    try:
        check_no_database(source.path)
        if source.kind == "zip":
            yield from _members(source, columns, version, metadata)
        else:
            reader = _json_documents if source.kind == "json" else _messages
            yield from reader(source, read(source), columns, version, metadata)
    except UnreadableError as error:
        yield Unreadable(source.uri, str(error))
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:
        yield Unreadable(source.uri, reason(error))


def _document(uri: str, name: str, made: Converted, metadata: dict[str, Json], version: str) -> Document:
    everything = {**{f"frontmatter.{k}" if k in metadata else k: v for k, v in made.metadata.items()}, **metadata}
    title = made.title or name
    # Without the file's own metadata, which may change without the content.
    content = json.dumps([version, made.text, title, made.metadata], ensure_ascii=False, sort_keys=True)
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
    return Document(uri, title, made.text, everything, digest)


def _json_documents(
    source: Source, data: bytes, columns: RowColumns, version: str, metadata: dict[str, Json]
) -> Iterator[Document | NoText | Unreadable]:
    """Yield a document for each object of an array that has the text column; any other JSON is one document."""
    value = json_value(data, source.encoding)
    rows = value if isinstance(value, list) else [value]
    if (
        rows
        and all(isinstance(row, dict) for row in rows)
        and any(name in row for row in rows for name in columns.text)
    ):
        # Read again with numbers as numbers, which the first reading leaves as they are written.
        exact = json_loads(data.decode(source.encoding or "utf-8-sig", "replace"))
        exact = exact if isinstance(exact, list) else [exact]
        yield from documents_of_rows(source, _numbered(exact, columns), version)
        return
    title = value.get("title") if isinstance(value, dict) else ""
    try:
        text = json_text(value)
    except RecursionError as error:
        raise UnreadableError("is nested too deep to be read") from error
    made = Converted(title if isinstance(title, str) else "", text)
    yield _document(source.uri, source.path.name, made, metadata, version)


def _numbered(rows: Sequence[dict[str, Any]], columns: RowColumns) -> Iterator[NumberedRow]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    chosen = chosen_columns(columns, names)
    for number, row in enumerate(rows, 1):
        yield number, row, chosen


def _messages(
    source: Source, data: bytes, _columns: RowColumns, version: str, metadata: dict[str, Json]
) -> Iterator[Document | NoText | Unreadable]:
    """Yield a document for each message of a mailbox (https://www.rfc-editor.org/rfc/rfc4155)."""
    seen: set[str] = set()
    for number, message in enumerate(_split_mailbox(data), 1):
        try:
            made = mail(message)
        except (UnreadableError, RecursionError) as error:
            yield Unreadable(source.uri, f"message {number} {error}", rows=1)
            continue
        id_ = str(made.metadata.get("message_id") or number).strip("<>")
        key = id_ if id_ not in seen else str(number)
        seen.add(key)
        yield _document(f"{source.uri}#{key}", f"message {number}", made, metadata, version)


def _split_mailbox(data: bytes) -> Iterator[bytes]:
    start = 0 if data.startswith(b"From ") else -1
    if start < 0:
        raise UnreadableError("is not a mailbox: it does not begin with 'From '")
    while start < len(data):
        end = data.find(b"\nFrom ", start)
        end = len(data) if end < 0 else end + 1
        body = data[start:end].split(b"\n", 1)
        if len(body) > 1:
            yield body[1].replace(b"\n>From ", b"\nFrom ")
        start = end


def _members(
    source: Source, columns: RowColumns, version: str, metadata: dict[str, Json]
) -> Iterator[Document | NoText | Unreadable]:
    """Yield the documents of the files in a zip archive; members of other kinds are named together."""
    others: list[str] = []
    with zipfile.ZipFile(source.path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) > _MOST_MEMBERS:
            raise UnreadableError(f"has {len(members):,} files, and at most {_MOST_MEMBERS:,} are read: unpack it")
        for member in members:
            name = PurePosixPath(member.filename)
            kind = kind_of(name.name)
            if any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in name.parts):
                continue
            if kind is None or kind == "zip" or kind not in KINDS:
                others.append(member.filename)
                continue
            uri = f"{source.uri}#{member.filename}"
            try:
                yield from _member(archive, member, replace(source, uri=uri, read_as=kind), columns, version, metadata)
            except UnreadableError as error:
                yield Unreadable(uri, str(error))
            except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:
                yield Unreadable(uri, reason(error))  # the last: of a member with a password, or packed otherwise
    if others:
        shown = ", ".join(others[:5]) + (", …" if len(others) > 5 else "")
        yield Unreadable(
            source.uri, f"{len(others):,} of its files are of other kinds ({shown}): unpack it to convert them"
        )


def _member(  # noqa: PLR0917 - what its caller has
    archive: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    source: Source,
    columns: RowColumns,
    version: str,
    metadata: dict[str, Json],
) -> Iterator[Document | NoText | Unreadable]:
    if member.file_size > _MOST_BYTES:
        raise UnreadableError(f"has {member.file_size // 2**20} MiB, and a document at most {_MOST_BYTES // 2**20} MiB")
    name = PurePosixPath(member.filename)
    with archive.open(member) as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise UnreadableError(f"is larger than a document may be ({_MOST_BYTES // 2**20} MiB)")
    own = {**metadata, "member": member.filename, "name": name.name, "type": source.kind}
    if source.kind in ROW_KINDS or source.kind in ("json", "mbox"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name.name
            path.write_bytes(data)
            yield from read_many(replace(source, path=path), columns, version, lambda _: data, own)
        return
    if name.name.lower().endswith(".gz"):
        raise UnreadableError("is compressed twice: unpack the archive")
    yield _document(source.uri, name.name, converted(source.kind, data, source.encoding), own, version)
