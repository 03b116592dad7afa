"""Tables of spreadsheets as Markdown, with the cells as they stand in the sheet."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["cell_text", "number_text", "sheet_lines"]


def cell_text(value: object) -> str:
    """Return a value of a cell: whole numbers with all digits, dates in ISO 8601, TRUE and FALSE as in the sheet."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, (int, float)):
        return number_text(value)
    if isinstance(value, dt.datetime):
        midnight = value.time() == dt.time()
        return value.date().isoformat() if midnight else value.isoformat(" ", "seconds")
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    return str(value)


def number_text(value: float) -> str:
    """Return a number with as many digits as a spreadsheet keeps."""
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return str(int(value))
    return f"{value:.15g}"


def sheet_lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table without blank rows, and without blank columns at its end."""
    kept = [row for row in rows if any(row)]
    width = max((place + 1 for row in kept for place, cell in enumerate(row) if cell), default=0)
    for number, row in enumerate(kept):
        cells = [" ".join(cell.replace("|", "\\|").split()) for cell in row[:width]]
        yield f"| {' | '.join(cells + [''] * (width - len(cells)))} |"
        if number == 0:
            yield f"|{' --- |' * width}"
