"""PDF, Office and EPUB files through the extra `files`, with the properties that their authors gave them.

markitdown converts most of them. Spreadsheets are read by openpyxl and xlrd here: markitdown reads them with pandas,
which makes numbers of what are texts, and NaN of blank cells.
"""

from __future__ import annotations

import datetime as dt
import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any
from xml.etree import ElementTree as ET

from sqlrag.text.documents import Converted, Json, UnreadableError

__all__ = ["office_file"]

# The converters of markitdown, which comes with the extra `files`.
_CONVERTERS = {"pdf": "PdfConverter", "docx": "DocxConverter", "pptx": "PptxConverter", "epub": "EpubConverter"}

# Titles that programs make up.
_NO_TITLE = re.compile(
    r"(?:microsoft word - .*|untitled.*|unknown|document\d*|slide \d+|powerpoint presentation|presentation\d*|title|"
    r".*\.(?:docx?|dvi|tex|indd|qxd|pptx?|xlsx?|rtf|odt|pdf)|)\Z",
    re.IGNORECASE,
)

# The largest part of properties, and the most text of one archive, that are read.
_MOST_PROPERTIES = 1_000_000
_MOST_CONTENT = 512 * 1024 * 1024


def office_file(kind: str, data: bytes) -> Converted:
    """Return title, Markdown and properties of a file. Raises UnreadableError."""
    try:
        found = _READERS[kind](data) if kind in _READERS else _by_markitdown(kind, data)
        properties = _properties(kind, data)
    except UnreadableError:
        raise
    except ImportError as error:
        raise UnreadableError(f'reading .{kind} needs an extra: pip install "sqlrag[files]"') from error
    except Exception as error:  # a damaged file can raise anything in one of the many parsers
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnreadableError(f"cannot be read as .{kind}: {said}") from error
    # The fonts of a PDF can map to anything, lone surrogates included.
    text = found.text.encode("utf-8", "replace").decode()
    if not text.strip():
        raise UnreadableError("has no text in it: pages that are images need OCR first")
    own = properties.pop("title", None)
    title = own if isinstance(own, str) and not _NO_TITLE.match(own.strip()) else found.title
    return Converted(" ".join(title.split()), text, properties)


def _by_markitdown(kind: str, data: bytes) -> Converted:
    from markitdown import MissingDependencyException, StreamInfo, converters

    # markitdown itself would fall back on the bytes as text for a damaged file, so the converter is chosen here.
    converter = getattr(converters, _CONVERTERS[kind])()
    try:
        made = converter.convert(io.BytesIO(data), StreamInfo(extension=f".{kind}"))
    except MissingDependencyException as error:
        raise ImportError(str(error)) from error
    return Converted(made.title or "", str(made.markdown))


# Properties

_CORE = {"title": "title", "creator": "author", "subject": "subject", "keywords": "keywords", "created": "created"}
_CORE |= {"initial-creator": "author", "creation-date": "created", "keyword": "keywords"}


def _properties(kind: str, data: bytes) -> dict[str, Json]:
    """Return the title, author, subject, keywords and date that a file records."""
    if kind == "pdf":
        return _pdf_properties(data)
    part = {"docx": "docProps/core.xml", "pptx": "docProps/core.xml", "xlsx": "docProps/core.xml", "odt": "meta.xml"}
    if kind not in part:
        return {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if part[kind] not in archive.namelist() or archive.getinfo(part[kind]).file_size > _MOST_PROPERTIES:
            return {}
        root = ET.fromstring(archive.read(part[kind]))  # noqa: S314 - expat limits how far entities expand
    found: dict[str, Json] = {}
    for element in root.iter():
        name = str(element.tag).rpartition("}")[2]
        if name in _CORE and element.text and element.text.strip():
            found.setdefault(_CORE[name], element.text.strip())
    return found


def _pdf_properties(data: bytes) -> dict[str, Json]:
    from pdfminer.pdfdocument import PDFDocument
    from pdfminer.pdfparser import PDFParser
    from pdfminer.pdftypes import resolve1
    from pdfminer.utils import decode_text

    document = PDFDocument(PDFParser(io.BytesIO(data)))
    names = {
        "Title": "title",
        "Author": "author",
        "Subject": "subject",
        "Keywords": "keywords",
        "CreationDate": "created",
    }
    found: dict[str, Json] = {}
    for info in document.info:
        for name, ours in names.items():
            value = resolve1(info.get(name))
            text = decode_text(value).strip() if isinstance(value, bytes) else ""
            if text:
                found[ours] = _pdf_date(text) if ours == "created" else text.encode("utf-8", "replace").decode()
    return found


def _pdf_date(text: str) -> str:
    """Return a date such as `D:20240229123000Z` as ISO 8601, another as it is."""
    found = re.match(r"D:(\d{4})(\d\d)(\d\d)", text)
    return "-".join(found.groups()) if found else text


# Spreadsheets


def _workbook(data: bytes) -> Converted:
    """Return the sheets of an .xlsx file as tables."""
    import openpyxl

    formulas = openpyxl.load_workbook(io.BytesIO(data), read_only=True)
    values = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    parts: list[str] = []
    for sheet, computed in zip(formulas.worksheets, values.worksheets, strict=True):
        rows = (
            [
                _cell(shown if shown.value is not None else formula)
                for formula, shown in zip(row, shown_row, strict=False)
            ]
            for row, shown_row in zip(sheet.iter_rows(), computed.iter_rows(), strict=False)
        )
        parts += _sheet(sheet.title, rows)
    return Converted("", "\n".join(parts))


def _cell(cell: Any) -> str:
    """Return a cell of openpyxl's as a reader sees it."""
    value = cell.value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and "%" in str(cell.number_format or ""):
        return f"{_number(round(value * 100, 10))}%"
    return _shown(value)


def _shown(value: object) -> str:
    """Return a value of a cell: whole numbers with all digits, dates in ISO 8601, TRUE and FALSE as in the sheet."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, dt.datetime):
        midnight = value.time() == dt.time()
        return value.date().isoformat() if midnight else value.isoformat(" ", "seconds")
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    return " ".join(str(value).replace("|", "/").split())


def _number(value: float) -> str:
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return str(int(value))
    return f"{value:.15g}"  # as many digits as a spreadsheet keeps


def _sheet(title: str, rows: Iterable[list[str]]) -> Iterator[str]:
    """Yield the lines of a sheet: its name as a heading, then a Markdown table, without blank rows and columns."""
    kept = [row for row in rows if any(row)]
    if not kept:
        return
    width = max(max(place for place, cell in enumerate(row) if cell) for row in kept) + 1
    yield f"## {title}\n"
    for number, row in enumerate(kept):
        cells = (row + [""] * width)[:width]
        yield f"| {' | '.join(cells)} |"
        if number == 0:
            yield f"|{' --- |' * width}"
    yield ""


def _old_workbook(data: bytes) -> Converted:
    """Return the sheets of an .xls file as tables."""
    import xlrd

    book = xlrd.open_workbook(file_contents=data)
    parts: list[str] = []
    for sheet in book.sheets():
        parts += _sheet(
            sheet.name, ([_old_cell(xlrd, book, cell) for cell in sheet.row(row)] for row in range(sheet.nrows))
        )
    return Converted("", "\n".join(parts))


def _old_cell(xlrd: Any, book: Any, cell: Any) -> str:
    if cell.ctype == xlrd.XL_CELL_DATE:
        return _shown(xlrd.xldate_as_datetime(cell.value, book.datemode))
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return _shown(bool(cell.value))
    if cell.ctype == xlrd.XL_CELL_ERROR:
        return str(xlrd.error_text_from_code.get(cell.value, ""))
    return _shown(None if cell.ctype in (xlrd.XL_CELL_EMPTY, xlrd.XL_CELL_BLANK) else cell.value)


# Text documents


def _rich_text(data: bytes) -> Converted:
    from striprtf.striprtf import rtf_to_text

    if not data.lstrip().startswith(b"{\\rtf"):
        raise UnreadableError("is not RTF: it does not begin with {\\rtf")
    return Converted("", rtf_to_text(data.decode("latin-1"), errors="replace"))


_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"


def _open_document(data: bytes) -> Converted:
    """Return the paragraphs, headings, lists and tables of an .odt file."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if archive.getinfo("content.xml").file_size > _MOST_CONTENT:
            raise UnreadableError("has more text than a document may have: split it")
        root = ET.fromstring(archive.read("content.xml"))  # noqa: S314 - expat limits how far entities expand
    parts = []
    inside = {child for table in root.iter(_TABLE + "table") for child in table.iter() if child is not table}
    for element in root.iter():
        if element in inside:
            continue
        if element.tag == _TEXT + "h":
            level = element.get(_TEXT + "outline-level", "1")
            parts.append("#" * min(int(level) if level.isdigit() else 1, 6) + " " + _paragraph(element))
        elif element.tag == _TEXT + "p":
            parts.append(_paragraph(element))
        elif element.tag == _TABLE + "table":
            rows = [
                [_cell_text(cell) for cell in row.iter(_TABLE + "table-cell")]
                for row in element.iter(_TABLE + "table-row")
            ]
            parts.append("\n".join(" | ".join(row) for row in rows if any(row)))
    return Converted("", "\n\n".join(part for part in parts if part.strip("# ")))


def _cell_text(cell: ET.Element) -> str:
    return " ".join(_paragraph(part) for part in cell.iter(_TEXT + "p"))


def _paragraph(element: ET.Element) -> str:
    """Return the text of a paragraph, with its tabs, line breaks and runs of spaces."""
    parts = [element.text or ""]
    for child in element:
        if child.tag == _TEXT + "s":
            count = child.get(_TEXT + "c", "1")
            parts.append(" " * (min(int(count), 1000) if count.isdigit() else 1))
        elif child.tag == _TEXT + "tab":
            parts.append("\t")
        elif child.tag == _TEXT + "line-break":
            parts.append("\n")
        elif child.tag != _TEXT + "note":
            parts.append(_paragraph(child))
        else:
            parts.append(f" ({' '.join(''.join(child.itertext()).split())})")
        parts.append(child.tail or "")
    return "".join(parts)


_READERS = {"xlsx": _workbook, "xls": _old_workbook, "rtf": _rich_text, "odt": _open_document}
