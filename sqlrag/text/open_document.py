"""OpenDocument files (LibreOffice): texts, spreadsheets and presentations.

Deleted text in tracked changes, comments and tables of contents are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlrag.text.documents import Converted, UnreadableError
from sqlrag.text.tables import number_text, sheet_lines
from sqlrag.text.zip_parts import name_of, opened, xml_part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

__all__ = ["read_open_document"]

_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_DRAW = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
_PRESENTATION = "{urn:oasis:names:tc:opendocument:xmlns:presentation:1.0}"

_LEFT_OUT = frozenset({
    "tracked-changes", "annotation", "table-of-content", "forms", "sequence-decls", "variable-decls",
    "user-field-decls", "shapes", "scripts", "font-face-decls", "automatic-styles", "ruby-text",
})  # fmt: skip

# A sheet says of its blank rest how often it is repeated.
_MOST_COLUMNS = 16_384
_MOST_REPEATED = 1_000


def read_open_document(data: bytes) -> Converted:
    """Return what stands in a file's bytes. Raises UnreadableError, KeyError, and the errors of zipfile and XML."""
    with opened(data) as archive:
        if "META-INF/manifest.xml" in archive.namelist() and b"encryption-data" in archive.read(
            "META-INF/manifest.xml"
        ):
            raise UnreadableError("is protected by a password: save it without one")
        root = xml_part(archive, "content.xml")
    return Converted("", "\n\n".join(_blocks(root)).strip())


def _blocks(parent: Element) -> Iterator[str]:
    """Yield the paragraphs, headings, lists and tables under an element."""
    for element in parent:
        name = name_of(element)
        if name in _LEFT_OUT:
            continue
        if name in ("h", "p"):
            yield from _paragraph(element)
        elif name == "list":
            if lines := list(_list(element, "")):
                yield "\n".join(lines)
        elif name == "table":
            yield from _table(element)
        elif name == "page":
            yield from _slide(element)
        else:
            yield from _blocks(element)


def _paragraph(element: Element) -> Iterator[str]:
    """Yield a paragraph or heading, and then what stands in the boxes that are anchored in it."""
    text = _inline(element)
    if text.strip():
        level = element.get(_TEXT + "outline-level", "1")
        mark = "#" * min(int(level) if level.isdigit() else 1, 6) + " " if name_of(element) == "h" else ""
        yield mark + text
    for box in element.iter(_DRAW + "text-box"):
        yield from _blocks(box)


def _inline(element: Element) -> str:
    """Return the text of a paragraph, with its tabs, line breaks, runs of spaces and notes."""
    parts = [element.text or ""]
    for child in element:
        name = name_of(child)
        if name == "s":
            count = child.get(_TEXT + "c", "1")
            parts.append(" " * (min(int(count), 1000) if count.isdigit() else 1))
        elif name in ("tab", "line-break"):
            parts.append("\t" if name == "tab" else "\n")
        elif name == "note":
            body = (part for part in child if name_of(part) == "note-body")
            parts.append(f" ({' '.join(' '.join(''.join(part.itertext()).split()) for part in body)})")
        elif name not in _LEFT_OUT and name != "text-box":
            parts.append(_inline(child))
        parts.append(child.tail or "")
    return "".join(parts)


def _list(element: Element, indent: str) -> Iterator[str]:
    """Yield a line for each paragraph of a list, the first of an item with a mark."""
    for item in element:
        mark = "- "
        for part in item:
            if name_of(part) == "list":
                yield from _list(part, indent + "  ")
                continue
            for text in _paragraph(part) if name_of(part) in ("p", "h") else _blocks(part):
                yield indent + mark + text
                mark = "  "


def _slide(page: Element) -> Iterator[str]:
    """Yield a slide: its title as a heading, its text, and what the speaker notes."""
    frames = [frame for frame in page if frame.get(_PRESENTATION + "class") == "title"]
    title = " ".join(text for frame in frames for text in _blocks(frame))
    name = page.get(_DRAW + "name", "")
    yield f"## {' '.join(title.split()) or name or 'Slide'}"
    for part in page:
        if part not in frames:
            yield from _blocks(part) if name_of(part) != "table" else _table(part)


def _table(table: Element) -> Iterator[str]:
    """Yield a table as Markdown; that of a spreadsheet under the name of its sheet."""
    rows = []
    for row in table.iter(_TABLE + "table-row"):
        cells: list[str] = []
        for cell in row:
            if name_of(cell) in ("table-cell", "covered-table-cell"):
                text = _cell(cell) if name_of(cell) == "table-cell" else ""
                cells += [text] * min(_repeated(cell, "columns"), _MOST_COLUMNS - len(cells))
        while cells and not cells[-1]:
            cells.pop()
        rows += [cells] * min(_repeated(row, "rows"), _MOST_REPEATED if cells else 1)
    lines = list(sheet_lines(rows))
    if lines:
        title = table.get(_TABLE + "name", "")
        is_sheet = any(cell.get(_OFFICE + "value-type") for cell in table.iter(_TABLE + "table-cell"))
        yield (f"## {title}\n\n" if title and is_sheet else "") + "\n".join(lines)


def _repeated(element: Element, what: str) -> int:
    count = element.get(f"{_TABLE}number-{what}-repeated", "1")
    return int(count) if count.isdigit() and len(count) < 8 else 1


def _cell(cell: Element) -> str:
    """Return a cell as a reader sees it, but numbers with all digits and dates in ISO 8601."""
    kind = cell.get(_OFFICE + "value-type")
    value = cell.get(_OFFICE + "value", "")
    if kind == "boolean":
        return cell.get(_OFFICE + "boolean-value", "").upper()
    if kind == "date":
        return cell.get(_OFFICE + "date-value", "").removesuffix("T00:00:00").replace("T", " ")
    if kind in ("float", "percentage") and value:
        try:
            number = float(value)
        except ValueError:
            return value
        if kind == "percentage":
            return f"{number_text(round(number * 100, 10))}%"
        return value if value.lstrip("-").isdigit() else number_text(number)
    return " ".join(" ".join(_blocks(cell)).split())
