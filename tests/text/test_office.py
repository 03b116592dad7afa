"""PDF, Office and EPUB through the `files` extra, and what is said where it is missing."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from sqlrag.text.loading import Document, Unreadable, find_sources, read_documents

SENTENCE = "A cross-encoder reads the question and the passage together."


def read_one(path: Path) -> Document | Unreadable:
    [source] = find_sources(path).sources
    [item] = read_documents(source)
    return item


def zipped(path: Path, **parts: str) -> Path:
    """Write a ZIP file, which all of these formats are but PDF."""
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return path


def make_pdf(path: Path) -> Path:
    """Write a PDF of one page with one line."""
    stream = f"BT /F1 12 Tf 40 700 Td ({SENTENCE}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources <</Font <</F1 5 0 R>>>>>>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    data, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(data)
    path.write_bytes(data + b"xref\n0 6\n0000000000 65535 f \n" + table + trailer)
    return path


def make_docx(path: Path) -> Path:
    """Write a Word document with a heading and a paragraph."""
    word = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    types = "http://schemas.openxmlformats.org/package/2006/content-types"
    relations = "http://schemas.openxmlformats.org/package/2006/relationships"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    return zipped(
        path,
        **{
            "[Content_Types].xml": f'<Types xmlns="{types}"><Default Extension="rels" ContentType="application/vnd.'
            'openxmlformats-package.relationships+xml"/><Override PartName="/word/document.xml" '
            f'ContentType="{main}"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{relations}"><Relationship Id="r1" Type="{office}" '
            'Target="word/document.xml"/></Relationships>',
            "word/document.xml": f'<w:document {word}><w:body><w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:r>'
            f"<w:t>Reranking</w:t></w:r></w:p><w:p><w:r><w:t>{SENTENCE}</w:t></w:r></w:p></w:body></w:document>",
        },
    )


def make_epub(path: Path) -> Path:
    """Write an EPUB of one chapter."""
    return zipped(
        path,
        **{
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="book.opf"/></rootfiles></container>',
            "book.opf": '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">'
            '<metadata><dc:title>Reranking</dc:title></metadata><manifest><item id="c" href="c.xhtml" '
            'media-type="application/xhtml+xml"/></manifest><spine><itemref idref="c"/></spine></package>',
            "c.xhtml": f"<html><body><h1>Reranking</h1><p>{SENTENCE}</p></body></html>",
        },
    )


def make_xlsx(path: Path) -> Path:
    """Write a workbook of one row."""
    workbook = pytest.importorskip("openpyxl").Workbook()
    workbook.active.append(["Reranking", SENTENCE])
    workbook.save(path)
    return path


def make_pptx(path: Path) -> Path:
    """Write a presentation of one slide."""
    presentation = pytest.importorskip("pptx").Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[1])
    slide.shapes.title.text, slide.placeholders[1].text = "Reranking", SENTENCE
    presentation.save(path)
    return path


@pytest.mark.parametrize("make", [make_pdf, make_docx, make_epub, make_xlsx, make_pptx])
def test_each_kind_is_read(tmp_path, make):
    """The sentence that stands in the file is in the document's text."""
    pytest.importorskip("markitdown", reason="the files extra is not installed: pip install 'sqlrag[files]'")
    path = make(tmp_path / f"a.{make.__name__.partition('_')[2]}")
    document = read_one(path)
    assert isinstance(document, Document), document
    assert SENTENCE in document.text
    assert make is make_pdf or "Reranking" in document.text
    assert document.title


@pytest.mark.parametrize("kind", ["pdf", "docx", "pptx", "xlsx", "epub"])
def test_a_damaged_file_says_so(tmp_path, kind):
    """Whatever a parser raises becomes one line; the other files are read."""
    pytest.importorskip("markitdown", reason="the files extra is not installed: pip install 'sqlrag[files]'")
    path = tmp_path / f"a.{kind}"
    path.write_bytes(b"PK\x03\x04 this is nothing of the kind")
    unreadable = read_one(path)
    assert isinstance(unreadable, Unreadable)
    assert unreadable.reason.startswith((f"cannot be read as .{kind}: ", "has no text in it"))
    assert "\n" not in unreadable.reason


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    """A plain install names the remedy instead of failing on the import."""
    monkeypatch.setitem(sys.modules, "markitdown", None)
    unreadable = read_one(make_pdf(tmp_path / "a.pdf"))
    assert isinstance(unreadable, Unreadable)
    assert unreadable.reason == 'reading .pdf needs an extra: pip install "sqlrag[files]"'
