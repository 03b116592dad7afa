"""PDF, Office and EPUB files, most of them through the extra `files`, with the properties that their authors gave them.

markitdown converts PDF and PowerPoint. Spreadsheets are read by openpyxl and xlrd here: markitdown reads them with
pandas, which makes numbers of what are texts, and NaN of blank cells. Word files become pages, and these text, by the
rules for HTML: so powers, lists and tables are kept.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

from sqlrag.text.documents import Converted, Json, UnreadableError
from sqlrag.text.epub import read_epub
from sqlrag.text.html import html_to_text
from sqlrag.text.open_document import read_open_document
from sqlrag.text.tables import cell_text, number_text, sheet_lines
from sqlrag.text.zip_parts import name_of, opened, xml_part

__all__ = ["office_file"]

# The converters of markitdown, which comes with the extra `files`.
_CONVERTERS = {"pdf": "PdfConverter", "pptx": "PptxConverter"}

# Titles that programs make up.
_NO_TITLE = re.compile(
    r"(?:microsoft word - .*|untitled.*|unknown|document\d*|slide \d+|powerpoint presentation|presentation\d*|title|"
    r".*\.(?:docx?|dvi|tex|indd|qxd|pptx?|xlsx?|rtf|odt|pdf)|)\Z",
    re.IGNORECASE,
)

# The largest part of properties that is read.
_MOST_PROPERTIES = 1_000_000


def office_file(kind: str, data: bytes) -> Converted:
    """Return title, Markdown and properties of a file. Raises UnreadableError."""
    try:
        found = _READERS[kind](data) if kind in _READERS else _by_markitdown(kind, data)
        properties = _properties(kind, data)
    except UnreadableError:
        raise
    except ImportError as error:
        raise UnreadableError(f'reading .{kind} needs an extra: pip install "sqlrag[files]"') from error
    except zipfile.BadZipFile as error:
        raise UnreadableError(f"cannot be read as .{kind}: it is damaged, or no such file ({error})") from error
    except Exception as error:  # a damaged file can raise anything in one of the many parsers
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnreadableError(f"cannot be read as .{kind}: {said}") from error
    # The fonts of a PDF can map to anything, lone surrogates included.
    text = found.text.encode("utf-8", "replace").decode()
    if not text.strip():
        raise UnreadableError("has no text in it: pages that are images need OCR first")
    own = properties.pop("title", None)
    properties = {**found.metadata, **properties}
    title = own if isinstance(own, str) and not _NO_TITLE.match(own.strip()) else found.title
    return Converted(" ".join(title.split()), text, properties)


def _by_markitdown(kind: str, data: bytes) -> Converted:
    from markitdown import MissingDependencyException, StreamInfo, converters

    # markitdown itself would fall back on the bytes as text for a damaged file, so the converter is chosen here.
    converter = getattr(converters, _CONVERTERS[kind])()
    if kind != "pdf":
        opened(data).close()
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
    part = {
        **dict.fromkeys(("docx", "docm", "pptx", "xlsx", "xlsm"), "docProps/core.xml"),
        **dict.fromkeys(("odt", "ods", "odp"), "meta.xml"),
    }
    if kind not in part:
        return {}
    with opened(data) as archive:
        if part[kind] not in archive.namelist() or archive.getinfo(part[kind]).file_size > _MOST_PROPERTIES:
            return {}
        root = xml_part(archive, part[kind])
    found: dict[str, Json] = {}
    for element in root.iter():
        name = name_of(element)
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

    opened(data).close()
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
        return f"{number_text(round(value * 100, 10))}%"
    return cell_text(value)


def _sheet(title: str, rows: Iterable[list[str]]) -> Iterator[str]:
    """Yield the lines of a sheet: its name as a heading, then a table; nothing for a blank one."""
    if lines := list(sheet_lines(rows)):
        yield from (f"## {title}\n", *lines, "")


def _old_workbook(data: bytes) -> Converted:
    """Return the sheets of an .xls file as tables."""
    import xlrd

    if data[:200].lstrip().lower().startswith((b"<html", b"<!doctype", b"<table", b"<?xml")):
        raise UnreadableError("is a page under the name of a workbook: rename it to .html")
    if b"\0" not in data[:4096]:
        raise UnreadableError("is text under the name of a workbook: rename it to .csv or .tsv")
    book = xlrd.open_workbook(file_contents=data)
    parts: list[str] = []
    for sheet in book.sheets():
        parts += _sheet(
            sheet.name, ([_old_cell(xlrd, book, cell) for cell in sheet.row(row)] for row in range(sheet.nrows))
        )
    return Converted("", "\n".join(parts))


def _old_cell(xlrd: Any, book: Any, cell: Any) -> str:
    if cell.ctype == xlrd.XL_CELL_DATE:
        return cell_text(xlrd.xldate_as_datetime(cell.value, book.datemode))
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return cell_text(bool(cell.value))
    if cell.ctype == xlrd.XL_CELL_ERROR:
        return str(xlrd.error_text_from_code.get(cell.value, ""))
    return cell_text(None if cell.ctype in (xlrd.XL_CELL_EMPTY, xlrd.XL_CELL_BLANK) else cell.value)


# Text documents


def _word(data: bytes) -> Converted:
    """Return a .docx file by way of the page that mammoth makes of it; formulas are TeX."""
    import mammoth
    from markitdown.converter_utils.docx.pre_process import pre_process_docx

    opened(data).close()
    page = mammoth.convert_to_html(pre_process_docx(io.BytesIO(data)), ignore_empty_paragraphs=True).value
    return Converted("", html_to_text(f"<body>{page}</body>")[1])


def _rich_text(data: bytes) -> Converted:
    from striprtf.striprtf import rtf_to_text

    if not data.lstrip().startswith(b"{\\rtf"):
        raise UnreadableError("is not RTF: it does not begin with {\\rtf")
    return Converted("", rtf_to_text(data.decode("latin-1"), errors="replace"))


_READERS = {
    "docm": _word,
    "docx": _word,
    "epub": read_epub,
    "odp": read_open_document,
    "ods": read_open_document,
    "odt": read_open_document,
    "rtf": _rich_text,
    "xls": _old_workbook,
    "xlsm": _workbook,
    "xlsx": _workbook,
}
