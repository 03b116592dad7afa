"""Files of rows (JSON Lines, CSV, TSV, Parquet): a document from each row, without reading the file whole.

Parquet is read by pyarrow. JSON Lines and CSV are read by the standard library. pyarrow's readers for these infer the
types of the whole file from its first block, fail for a row that is larger than a block, and give up at one bad line
without saying which. Here the bad line is named, and the others are read.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from typing import IO, TYPE_CHECKING, Any, TypeAlias, cast

from sqlrag.process.open_files import check_no_database
from sqlrag.text.csv_files import csv_records, number_columns
from sqlrag.text.decoding import check_no_wide, decode_text
from sqlrag.text.documents import DEEPEST, Document, NoText, RowColumns, Unreadable, UnreadableError, reason
from sqlrag.text.row_values import as_json, as_text, exact_number, json_loads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlrag.text.documents import Source

__all__ = ["NumberedRow", "chosen_columns", "documents_of_rows", "read_rows"]

Row: TypeAlias = "dict[str, Any]"

NumberedRow: TypeAlias = "tuple[int, Row | UnreadableError, RowColumns]"
"""The number of a row from 1, the row or what is wrong with it, and its columns."""

# So many bad rows of a file are named. The others are counted.
_NAMED_ROWS = 20

_ROWS_AT_ONCE = 256

# So many bytes of a file are decoded again to say which of them are wrong.
_SAMPLE = 4_000_000


def read_rows(source: Source, columns: RowColumns, version: str) -> Iterator[Document | NoText | Unreadable]:
    """Yield a Document for each row of `source` that has a text, and an Unreadable for each row that is broken.

    `version` is part of the hashes. A row with NULL in all its text columns is not a document.
    """
    yield from documents_of_rows(source, _READERS[source.kind](source, columns), version)


def documents_of_rows(
    source: Source, rows: Iterable[NumberedRow], version: str
) -> Iterator[Document | NoText | Unreadable]:
    """Yield a Document for each of the numbered rows that has a text, and an Unreadable for each that is broken."""
    bad = number = 0
    try:
        check_no_database(source.path)
        for number, row, chosen in rows:
            item = _document_or_error(source, number, row, chosen, version)
            if isinstance(item, UnreadableError):
                bad += 1
                if bad <= _NAMED_ROWS:
                    yield Unreadable(source.uri, str(item), rows=1)
            else:
                yield item
        if not number:
            yield NoText(source.uri)
    except UnreadableError as error:
        yield Unreadable(source.uri, str(error))
    except (OSError, EOFError, zlib.error) as error:
        yield Unreadable(source.uri, reason(error))
    if bad > _NAMED_ROWS:
        more = bad - _NAMED_ROWS
        yield Unreadable(source.uri, f"{more:,} more {'rows' if more > 1 else 'row'} could not be read", rows=more)


def _document_or_error(
    source: Source, number: int, row: Row | UnreadableError, columns: RowColumns, version: str
) -> Document | NoText | UnreadableError:
    """Return a row's document, an error that says what is wrong with the row, or that it has no text."""
    if isinstance(row, UnreadableError):
        return row
    try:
        return _document(source, number, row, columns, version)
    except UnreadableError as error:
        return error
    except RecursionError:
        return UnreadableError(f"row {number} has lists or objects nested more than {DEEPEST} deep")


def _document(source: Source, number: int, row: Row, columns: RowColumns, version: str) -> Document | NoText:
    """Return a row's document."""
    values = [row[name] for name in columns.text if row.get(name) is not None]
    where = f"row {number}"
    texts = [as_text(value, where) for value in values]
    text = "\n\n".join(part for part in texts if part)
    title = "" if columns.title is None else as_text(row.get(columns.title), where)
    key = str(number) if columns.id is None else as_text(row.get(columns.id), where)
    if not values:
        return NoText(f"{source.uri}#{key or number}".encode("utf-8", "replace").decode())
    if not key:
        raise UnreadableError(f"{where} has no id in column {columns.id!r}")
    names = columns.metadata
    if names is None:
        used = {*columns.text, columns.title, columns.id}
        names = [name for name in row if name not in used]
    metadata = {name: as_json(row.get(name), where) for name in names}
    content = json.dumps([version, text, title, metadata], ensure_ascii=False, sort_keys=True)
    try:
        digest = hashlib.sha256(content.encode()).hexdigest()
        key.encode()
    except UnicodeEncodeError as error:
        raise UnreadableError(f"{where} has a lone surrogate in it, so it is not Unicode") from error
    return Document(f"{source.uri}#{key}", title, text, metadata, digest)


def chosen_columns(columns: RowColumns, names: Sequence[str]) -> RowColumns:
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


def _json_rows(source: Source, columns: RowColumns) -> Iterator[NumberedRow]:
    """Yield the objects of a JSON Lines file with their line numbers."""
    names: dict[str, None] = {}
    chosen = columns
    with _opened(source, _wide_encoding(source)) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = _json_object(line, number, source.encoding)
            except UnreadableError as error:
                yield number, error, columns
                continue
            if not names:
                chosen = chosen_columns(columns, list(row))
            names.update(dict.fromkeys(row))
            yield number, row, chosen
    if names:
        _check_columns(columns, list(names))


def _wide_encoding(source: Source) -> str | None:
    """Return the encoding of a file whose line breaks are several bytes, None for any other."""
    if _beginning(source)[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    return source.encoding if source.encoding and source.encoding.startswith(("utf-16", "utf-32")) else None


def _beginning(source: Source) -> bytes:
    """Return the first bytes of a file. Raises UnreadableError if they are two a character, and nothing says so."""
    with _opened(source) as file:
        start: bytes = file.read(4096)
    if source.encoding is None and not start.startswith((b"\xff\xfe", b"\xfe\xff")):
        check_no_wide(start)
    return start


def _json_object(line: bytes | str, number: int, encoding: str | None) -> Row:
    """Return the JSON object of a line."""
    try:
        text = decode_text(line, encoding) if isinstance(line, bytes) else line.removeprefix("\ufeff")
    except UnreadableError as error:
        raise UnreadableError(f"line {number} is {error}") from error
    try:
        value = json_loads(text)
    except (ValueError, RecursionError) as error:
        said = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise UnreadableError(f"line {number} is not JSON: {said}") from error
    if not isinstance(value, dict):
        how = ": a file that is one array has the suffix .json" if isinstance(value, list) and number == 1 else ""
        raise UnreadableError(f"line {number} is not a JSON object but a {type(value).__name__}{how}")
    return value


def _csv_rows(source: Source, columns: RowColumns) -> Iterator[NumberedRow]:
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
    chosen = chosen_columns(columns, header)
    again = _csv_records(source)
    next(again, None)
    numbers = number_columns(again, header) - {*chosen.text, chosen.title, chosen.id}
    for number, record in enumerate(records, 1):
        if isinstance(record, UnreadableError):
            yield number, record, chosen
            continue
        row: Row = {name: value or None for name, value in zip(header, record, strict=True)}
        yield number, _with_numbers(row, numbers, number), chosen


def _with_numbers(row: Row, numbers: set[str], number: int) -> Row | UnreadableError:
    """Return a row with numbers in the columns that have nothing else."""
    for name in numbers:
        if row[name] is not None:
            value = exact_number(row[name])
            if value is None:
                return UnreadableError(
                    f"row {number} has {row[name][:40]!r} in column {name!r}, which had nothing but numbers when "
                    "it was first read: another program writes the file"
                )
            row[name] = value
    return row


def _csv_records(source: Source) -> Iterator[list[str] | UnreadableError]:
    """Yield the header and the rows of a CSV file, as `csv_records` does."""
    encoding = source.encoding
    if encoding is None:
        encoding = "utf-16" if _beginning(source)[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    with _opened(source, encoding) as file:
        try:
            yield from csv_records(cast("IO[str]", file), source.kind)
        except UnicodeDecodeError as error:
            raise _not_decoded(source, encoding) from error


def _not_decoded(source: Source, encoding: str) -> UnreadableError:
    """Return the error for a file that is not in its encoding, with a proposal."""
    with _opened(source) as file:
        data = file.read(_SAMPLE)
    try:
        decode_text(data, None if encoding == "utf-8-sig" else encoding)
    except UnreadableError as error:
        return error
    return UnreadableError(f"not {encoding.removesuffix('-sig').upper()} behind its first {_SAMPLE // 1000} kB")


def _parquet_rows(source: Source, columns: RowColumns) -> Iterator[NumberedRow]:
    """Yield the rows of a Parquet file. Only the columns that are used are read."""
    import pyarrow as pa
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(source.path) as file:
            names = file.schema_arrow.names
            _check_columns(columns, names)
            chosen = chosen_columns(columns, names)
            used = {*chosen.text, chosen.title, chosen.id, *(names if chosen.metadata is None else chosen.metadata)}
            large = _large_columns(file, [name for name in names if name in used])
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=[name for name in names if name in used]):
                values = {name: _values(batch.column(name)) for name in batch.schema.names}
                for name in large:
                    values[name] = [None if value is None else str(value) for value in values[name]]
                for index in range(batch.num_rows):
                    number += 1
                    yield number, {name: column[index] for name, column in values.items()}, chosen
    except (pa.ArrowException, ValueError) as error:
        said = str(error).strip().partition("\n")[0]
        raise UnreadableError(f"cannot be read as Parquet after row {number}: {said}") from error


def _large_columns(file: Any, names: Sequence[str]) -> set[str]:
    """Return the columns of unsigned numbers that have one above 2^63: they stay text, since no engine reads them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    unsigned = [name for name in names if pa.types.is_uint64(file.schema_arrow.field(name).type)]
    large: set[str] = set()
    for batch in file.iter_batches(_ROWS_AT_ONCE * 64, columns=unsigned) if unsigned else ():
        for name in unsigned:
            most = pc.max(batch.column(batch.schema.get_field_index(name))).as_py()
            if most is not None and most >= 2**63:
                large.add(name)
    return large


def _values(column: Any) -> list[Any]:
    """Return an Arrow column as Python values, which do not depend on whether pandas is installed."""
    import pyarrow as pa

    exact = _without_nanoseconds(column.type)
    if exact != column.type:
        column = column.cast(exact, safe=False)
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):  # a date before year 1, an unknown time zone
        return list(column.cast(pa.string()).to_pylist())


def _without_nanoseconds(kind: Any) -> Any:  # noqa: PLR0911 - one return for each type
    """Return an Arrow type in which times have microseconds, as Python's have, also inside lists and structs."""
    import pyarrow as pa

    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if pa.types.is_time64(kind):
        return pa.time64("us")
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_without_nanoseconds(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_without_nanoseconds(kind.key_type), _without_nanoseconds(kind.item_type))
    for is_kind, make in ((pa.types.is_large_list, pa.large_list), (pa.types.is_list, pa.list_)):
        if is_kind(kind):
            return make(kind.value_field.with_type(_without_nanoseconds(kind.value_type)))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_without_nanoseconds(kind.value_type)), kind.list_size)
    return kind


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
