"""Files of rows (JSON Lines, CSV, TSV, Parquet): a document from each row, without reading the file whole.

Parquet is read by pyarrow. JSON Lines and CSV are read by the standard library. pyarrow's readers for these infer the
types of the whole file from its first block, fail for a row that is larger than a block, and give up at one bad line
without saying which. Here the bad line is named, and the others are read.
"""

from __future__ import annotations

import base64
import csv
import datetime as dt
import decimal
import gzip
import hashlib
import json
import math
import re
import threading
import zlib
from typing import IO, TYPE_CHECKING, Any, TypeAlias, cast

from sqlrag.process.open_files import check_no_database
from sqlrag.text.documents import Document, Json, RowColumns, Unreadable, UnreadableError, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from sqlrag.text.documents import Source

__all__ = ["read_rows"]

Row: TypeAlias = "dict[str, Any]"

# After this many bad rows the file is probably not of the kind that its name says.
_MOST_BAD_ROWS = 20

_ROWS_AT_ONCE = 256

# A number as a program writes it. "007" is not one, because it would lose its zeros.
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


def read_rows(source: Source, columns: RowColumns, version: str) -> Iterator[Document | Unreadable]:
    """Yield a Document for each row of `source` that has a text, and an Unreadable for each row that is broken.

    `version` is part of the hashes. A row with NULL in all its text columns is not a document.
    """
    reader = _READERS[source.kind]
    bad = 0
    try:
        check_no_database(source.path)
        for number, row, chosen in reader(source, columns):
            item = _document_or_error(source, number, row, chosen, version)
            if isinstance(item, UnreadableError):
                bad += 1
                yield Unreadable(source.uri, str(item))
                if bad == _MOST_BAD_ROWS:
                    yield Unreadable(source.uri, f"given up after {bad} bad rows: what follows is not read")
                    return
            elif item is not None:
                yield item
    except UnreadableError as error:
        yield Unreadable(source.uri, str(error))
    except (OSError, EOFError, zlib.error) as error:
        yield Unreadable(source.uri, reason(error))


def _document_or_error(
    source: Source, number: int, row: Row | UnreadableError, columns: RowColumns, version: str
) -> Document | UnreadableError | None:
    """Return a row's document, an error that says what is wrong with the row, or None if it has no text."""
    if isinstance(row, UnreadableError):
        return row
    try:
        return _document(source, number, row, columns, version)
    except UnreadableError as error:
        return error


def _document(source: Source, number: int, row: Row, columns: RowColumns, version: str) -> Document | None:
    """Return a row's document, None if it has no text."""
    values = [row[name] for name in columns.text if row.get(name) is not None]
    if not values:
        return None
    where = f"row {number}"
    texts = [_as_text(value, where) for value in values]
    text = "\n\n".join(part for part in texts if part)
    title = "" if columns.title is None else _as_text(row.get(columns.title), where)
    key = str(number) if columns.id is None else _as_text(row.get(columns.id), where)
    if not key:
        raise UnreadableError(f"{where} has no id in column {columns.id!r}")
    names = columns.metadata
    if names is None:
        used = {*columns.text, columns.title, columns.id}
        names = [name for name in row if name not in used]
    metadata = {name: _as_json(row.get(name)) for name in names}
    content = json.dumps([version, text, title, metadata], ensure_ascii=False, sort_keys=True)
    try:
        digest = hashlib.sha256(content.encode()).hexdigest()
        key.encode()
    except UnicodeEncodeError as error:
        raise UnreadableError(f"{where} has a lone surrogate in it, so it is not Unicode") from error
    return Document(f"{source.uri}#{key}", title, text, metadata, digest)


def _chosen(columns: RowColumns, names: Sequence[str]) -> RowColumns:
    """Return `columns` with the defaults for a file whose columns are `names`."""
    id_ = columns.id or next((name for name in ("_id", "id") if name in names), None)
    return RowColumns(columns.text, columns.title or "title", id_, columns.metadata)


def _check_columns(columns: RowColumns, names: Sequence[str]) -> None:
    """Raise UnreadableError if a requested column is not among `names`."""
    wanted = [*columns.text, columns.title, columns.id, *(columns.metadata or ())]
    missing = [name for name in wanted if name is not None and name not in names]
    if missing:
        raise UnreadableError(
            f"has no column {', '.join(map(repr, missing))}; its columns are {', '.join(names)}: "
            "say which of them is the text, title, id or metadata"
        )


def _json_rows(source: Source, columns: RowColumns) -> Iterator[tuple[int, Row | UnreadableError, RowColumns]]:
    """Yield the objects of a JSON Lines file with their line numbers."""
    names: dict[str, None] = {}
    chosen = columns
    with _opened(source) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = _json_object(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, number)
            except UnreadableError as error:
                yield number, error, columns
                continue
            if not names:
                chosen = _chosen(columns, list(row))
            names.update(dict.fromkeys(row))
            yield number, row, chosen
    if names:
        _check_columns(columns, list(names))


def _json_object(line: bytes, number: int) -> Row:
    """Return the JSON object of a line."""
    try:
        value = json.loads(line.decode(), parse_constant=lambda _: None)
    except UnicodeDecodeError as error:
        raise UnreadableError(
            f"line {number} is not UTF-8: byte 0x{line[error.start]:02x} at offset {error.start} of it"
        ) from error
    except (ValueError, RecursionError) as error:
        said = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise UnreadableError(f"line {number} is not JSON: {said}") from error
    if not isinstance(value, dict):
        raise UnreadableError(f"line {number} is not a JSON object but a {type(value).__name__}")
    return value


def _csv_rows(source: Source, columns: RowColumns) -> Iterator[tuple[int, Row | UnreadableError, RowColumns]]:
    """Yield the rows of a CSV or TSV file, whose first line names the columns."""
    records = _csv_records(source)
    header = next(records, None)
    if header is None:
        raise UnreadableError("is empty: it has no header line")
    if isinstance(header, UnreadableError):
        raise header
    if len(set(header)) < len(header):
        raise UnreadableError(f"its header names a column twice: {', '.join(header)}")
    _check_columns(columns, header)
    chosen = _chosen(columns, header)
    types = _csv_types(source, header)
    for number, record in enumerate(records, 1):
        if isinstance(record, UnreadableError):
            yield number, record, chosen
            continue
        row: Row = {name: value or None for name, value in zip(header, record, strict=True)}
        for name, type_ in types.items():
            if row[name] is not None and name not in (*chosen.text, chosen.title, chosen.id):
                row[name] = type_(row[name])
        yield number, row, chosen


class _LongFields:
    """A block in which csv reads fields of any length. Its own limit of 128 KiB is less than a long document has.

    The limit holds for the whole process, so the application's own is restored as soon as no row is being read here.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._before = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._readers:
                self._before = csv.field_size_limit(_ANY_LENGTH)
            self._readers += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._readers -= 1
            if not self._readers and csv.field_size_limit() == _ANY_LENGTH:  # the application has not set another one
                csv.field_size_limit(self._before)


_ANY_LENGTH = 2**31 - 1
_LONG_FIELDS = _LongFields()


def _csv_records(source: Source) -> Iterator[list[str] | UnreadableError]:
    """Yield the header, then each row that has as many fields, and an error for each row that does not."""
    delimiter = "\t" if source.kind == "tsv" else ","
    with _opened(source) as file:
        start = file.read(2)
    encoding = "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    with _opened(source, encoding) as file:
        reader = csv.reader(cast("IO[str]", file), delimiter=delimiter, strict=True)
        width = 0
        while True:
            line = reader.line_num + 1
            try:
                with _LONG_FIELDS:
                    record = next(reader, None)
            except csv.Error as error:
                yield UnreadableError(f"line {line} is not CSV: {error}")
                continue
            except UnicodeDecodeError as error:
                name = "UTF-8" if encoding == "utf-8-sig" else "UTF-16"
                raise UnreadableError(
                    f"not {name} after line {line - 1}: byte 0x{error.object[error.start]:02x}; "
                    "convert it, e.g. with iconv -t UTF-8"
                ) from error
            if record is None:
                return
            width = width or len(record)
            if len(record) == width:
                yield record
            elif record:
                yield UnreadableError(f"line {line} has {len(record)} fields, and the header {width}")


def _csv_types(source: Source, header: Sequence[str]) -> dict[str, Callable[[str], Json]]:
    """Return a type for each column whose values are all numbers. CSV has no types, and `year >= 2020` needs one."""
    patterns = dict.fromkeys(header, _INTEGER)
    seen: set[str] = set()
    records = _csv_records(source)
    next(records)
    for record in records:
        if isinstance(record, UnreadableError):
            continue
        for name, value in zip(header, record, strict=True):
            pattern = patterns.get(name)
            if not value or pattern is None:
                continue
            seen.add(name)
            if pattern.fullmatch(value):
                continue
            if _NUMBER.fullmatch(value):
                patterns[name] = _NUMBER
            else:
                del patterns[name]
    return {name: int if pattern is _INTEGER else float for name, pattern in patterns.items() if name in seen}


def _parquet_rows(source: Source, columns: RowColumns) -> Iterator[tuple[int, Row | UnreadableError, RowColumns]]:
    """Yield the rows of a Parquet file. Only the columns that are used are read."""
    import pyarrow as pa
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(source.path) as file:
            names = file.schema_arrow.names
            _check_columns(columns, names)
            chosen = _chosen(columns, names)
            used = {*chosen.text, chosen.title, chosen.id, *(names if chosen.metadata is None else chosen.metadata)}
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=[name for name in names if name in used]):
                values = {name: _values(batch.column(name)) for name in batch.schema.names}
                for index in range(batch.num_rows):
                    number += 1
                    yield number, {name: column[index] for name, column in values.items()}, chosen
    except (pa.ArrowException, ValueError) as error:
        said = str(error).strip().partition("\n")[0]
        raise UnreadableError(f"cannot be read as Parquet after row {number}: {said}") from error


def _values(column: Any) -> list[Any]:
    """Return an Arrow column as Python values, which do not depend on whether pandas is installed."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):  # a date before year 1, an unknown time zone
        return list(column.cast(pa.string()).to_pylist())


def _as_text(value: Any, where: str) -> str:
    """Return a value of a column as text. A string stays as it is, and NULL becomes the empty string."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise UnreadableError(f"{where} has bytes where text should be, and they are not UTF-8") from error
    safe = _as_json(value)
    return safe if isinstance(safe, str) else json.dumps(safe, ensure_ascii=False)


def _as_json(value: Any) -> Json:  # noqa: PLR0911 - one return for each type
    """Return a value as JSON can hold it: a date in ISO 8601, bytes in base64, NaN as null."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, decimal.Decimal):
        return _as_json(int(value) if value == value.to_integral_value() else float(value))
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(key): _as_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(inner) for inner in value]
    return str(value)


def _opened(source: Source, encoding: str | None = None) -> IO[Any]:
    """Open a file, which may be compressed, as bytes or as text. Newlines stay as they are."""
    mode, newline = ("rb", None) if encoding is None else ("rt", "")
    if source.path.name.lower().endswith(".gz"):
        return cast("IO[Any]", gzip.open(source.path, mode, encoding=encoding, newline=newline))
    return source.path.open(mode, encoding=encoding, newline=newline)


_READERS = {
    "jsonl": _json_rows,
    "ndjson": _json_rows,
    "csv": _csv_rows,
    "tsv": _csv_rows,
    "parquet": _parquet_rows,
}
