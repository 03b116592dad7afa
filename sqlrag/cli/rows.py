"""Rows as a table, JSON, CSV or Markdown. All but tables, which need every width, are written row by row."""

from __future__ import annotations

import csv
import io
import json
import math
import struct
import sys
from typing import TYPE_CHECKING, Any

import click

from sqlrag.cli.error_reporting import one_line, printable
from sqlrag.cli.options import writes_unicode
from sqlrag.values.json_values import BLOB, distinct, json_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["FORMATS", "shown", "write_rows"]

FORMATS = ("table", "json", "csv", "markdown")

Row = tuple[Any, ...]

# A longer table is not wrapped, on a terminal either: that would take too long.
_RICH_ROWS = 1000

# A list or BLOB with more numbers than this is shown as a vector, by its first three numbers.
_VECTOR = 8

_LARGE = 1e5


def write_rows(columns: Sequence[str], batches: Iterable[list[Row]], form: str) -> None:
    """Write the rows of a statement to stdout; nothing for a statement without columns, such as INSERT."""
    if not columns:
        for _ in batches:  # a lazy engine runs the statement while its rows are read
            pass
        return
    rows = (row for batch in batches for row in batch)
    if form == "json":
        _write_json(distinct(columns), rows)
    elif form == "csv":
        _write_csv(columns, rows)
    elif form == "markdown":
        _write_markdown(columns, rows)
    else:
        _write_table(columns, list(rows))


def _write_json(columns: Sequence[str], rows: Iterator[Row]) -> None:
    before = "["
    for row in rows:
        item = {column: json_value(value) for column, value in zip(columns, row, strict=True)}
        click.echo(before + json.dumps(item, ensure_ascii=not writes_unicode(), default=str), nl=False)
        before = ",\n "
    click.echo("]" if before != "[" else "[]")


def _write_csv(columns: Sequence[str], rows: Iterator[Row]) -> None:
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_csv_value(value) for value in row])
        if line.tell() > io.DEFAULT_BUFFER_SIZE:
            click.echo(line.getvalue(), nl=False)
            line.seek(0)
            line.truncate()
    click.echo(line.getvalue(), nl=False)


def _write_markdown(columns: Sequence[str], rows: Iterator[Row]) -> None:
    click.echo("| " + " | ".join(_markdown_cell(column) for column in columns) + " |")
    click.echo("|" + " --- |" * len(columns))
    for row in rows:
        click.echo("| " + " | ".join(_markdown_cell(shown(value)) for value in row) + " |")


def _markdown_cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")


def _write_table(columns: Sequence[str], rows: list[Row]) -> None:
    """Write a table: wrapped to the width of a terminal, or one line for each row in a pipe or file."""
    right = [_are_numbers([row[place] for row in rows]) for place in range(len(columns))]
    if sys.stdout.isatty() and len(rows) <= _RICH_ROWS:
        from sqlrag.cli.render import print_table

        print_table(columns, [[shown(value) for value in row] for row in rows], right)
        return
    cells = [[one_line(shown(value)) for value in row] for row in rows]
    widths = [max(map(len, [column, *(row[place] for row in cells)])) for place, column in enumerate(columns)]
    rule = ["-" * width for width in widths]
    for line in ([*columns], rule, *cells):
        padded = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def shown(value: Any) -> str:
    """Return a value for people: a vector by its first numbers, any other BLOB by its size."""
    if value is None or isinstance(value, bool):
        return "NULL" if value is None else str(value).lower()
    if isinstance(value, float):
        # Scores and distances with the digits that they have; larger numbers are not scores.
        return f"{value:.7g}" if abs(value) < _LARGE else repr(value)
    if isinstance(value, BLOB):
        numbers = _floats(bytes(value))
        return _vector(numbers) if numbers else f"<{len(bytes(value)):,} bytes>"
    if isinstance(value, (list, tuple)):
        is_vector = len(value) > _VECTOR and all(isinstance(item, float) for item in value)
        return _vector(value) if is_vector else "[" + ", ".join(shown(item) for item in value) + "]"
    return printable(json.dumps(value, default=str) if isinstance(value, dict) else str(value))


def _vector(numbers: Sequence[float]) -> str:
    return "[" + ", ".join(f"{number:.4f}" for number in numbers[:3]) + f", … {len(numbers):,} numbers]"


def _floats(blob: bytes) -> Sequence[float]:
    """Return the float32 numbers of a BLOB that may be a vector, or nothing for any other BLOB."""
    if len(blob) % 4 or len(blob) <= 4 * _VECTOR:
        return ()
    numbers = struct.unpack(f"<{len(blob) // 4}f", blob)
    # Text and pictures, read as floats, are huge, tiny or not numbers at all.
    return numbers if 1 / _LARGE < math.hypot(*numbers) < _LARGE else ()


def _are_numbers(values: Sequence[Any]) -> bool:
    """Return whether a column holds only numbers and NULL."""
    given = [value for value in values if value is not None]
    return bool(given) and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in given)


def _csv_value(value: Any) -> Any:
    if isinstance(value, BLOB):
        return bytes(value).hex()
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(json_value(value), ensure_ascii=False, default=str)
    return value
