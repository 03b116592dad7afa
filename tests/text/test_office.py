"""PDF, Office and EPUB through the `files` extra, and what is said where it is missing."""

from __future__ import annotations

import struct
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


def make_docx(path: Path, more: str = "") -> Path:
    """Write a Word document with a heading and a paragraph, and more of its markup."""
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
            f"<w:t>Reranking</w:t></w:r></w:p><w:p><w:r><w:t>{SENTENCE}</w:t></w:r></w:p>{more}</w:body></w:document>",
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


def make_xls(path: Path) -> Path:
    """Write a workbook of Excel 2: a cell of text and a number (records of [MS-XLS]'s predecessor)."""
    text = SENTENCE.encode()
    records = [
        (0x09, struct.pack("<HH", 2, 0x10)),
        (0x04, struct.pack("<HH3xB", 0, 0, len(text)) + text),
        (0x03, struct.pack("<HH3xd", 0, 1, 123456789012)),
        (0x0A, b""),
    ]
    path.write_bytes(b"".join(struct.pack("<HH", kind, len(data)) + data for kind, data in records))
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


def test_an_xls(tmp_path):
    """Cells of an old workbook, as they stand."""
    pytest.importorskip("xlrd", reason="the files extra is not installed: pip install 'sqlrag[files]'")
    document = read_one(make_xls(tmp_path / "a.xls"))
    assert isinstance(document, Document), document
    assert f"| {SENTENCE} | 123456789012 |" in document.text
    (tmp_path / "b.xls").write_text("<html><table><tr><td>1</table>")
    assert read_one(tmp_path / "b.xls").reason == "is a page under the name of a workbook: rename it to .html"


def test_a_word_file_keeps_powers_lists_and_tables(tmp_path):
    """Word's own marks become those of a page: 10^6 is not 106."""
    pytest.importorskip("mammoth", reason="the files extra is not installed: pip install 'sqlrag[files]'")
    up = '<w:r><w:t>10</w:t></w:r><w:r><w:rPr><w:vertAlign w:val="superscript"/></w:rPr><w:t>6</w:t></w:r>'
    cell = "<w:tc><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:tc>"
    rows = "".join(f"<w:tr>{cell.format(a)}{cell.format(b)}</w:tr>" for a, b in (("part", "price"), ("lid", "4")))
    path = make_docx(tmp_path / "a.docx", f"<w:p>{up}</w:p><w:tbl>{rows}</w:tbl>")
    assert read_one(path).text.endswith("10^6\n\npart | price\nlid | 4")


@pytest.mark.parametrize("kind", ["docx", "pptx", "xlsx", "epub", "odt"])
def test_a_small_archive_with_gigabytes_in_it(tmp_path, kind):
    """It is refused by what it says of its size, before anything is unpacked."""
    if kind not in ("epub", "odt"):
        pytest.importorskip("markitdown", reason="the files extra is not installed: pip install 'sqlrag[files]'")
    with zipfile.ZipFile(tmp_path / f"a.{kind}", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("word/document.xml", b" " * (130 << 20))
    assert "unpacks to 130 MiB of text and markup" in read_one(tmp_path / f"a.{kind}").reason


OPEN = 'xmlns:{0}="urn:oasis:names:tc:opendocument:xmlns:{1}:1.0"'
NAMES = {"t": "text", "b": "table", "o": "office", "d": "drawing", "r": "presentation"}
NAMESPACES = " ".join(OPEN.format(*pair) for pair in NAMES.items())


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        (
            "odt",
            "<t:h t:outline-level='2'>Times</t:h><t:tracked-changes><t:p>gone</t:p></t:tracked-changes>"
            "<t:p>at<t:s t:c='2'/>nine<t:line-break/>or ten<d:frame><d:text-box><t:p>box</t:p>"
            "</d:text-box></d:frame></t:p><t:list><t:list-item><t:p>one</t:p><t:list><t:list-item>"
            "<t:p>two</t:p></t:list-item></t:list></t:list-item></t:list>",
            "## Times\n\nat  nine\nor ten\n\nbox\n\n- one\n  - two",
        ),
        (
            "ods",
            "<b:table b:name='Prices'><b:table-row><b:table-cell><t:p>part</t:p></b:table-cell>"
            "<b:table-cell b:number-columns-repeated='2'><t:p>n</t:p></b:table-cell>"
            "<b:table-cell b:number-columns-repeated='16000'/></b:table-row><b:table-row>"
            "<b:table-cell o:value-type='float' o:value='123456789012'><t:p>1.2E11</t:p></b:table-cell>"
            "<b:table-cell o:value-type='date' o:date-value='2024-02-29'><t:p>29.2.</t:p></b:table-cell>"
            "<b:table-cell o:value-type='percentage' o:value='0.5'><t:p>50 %</t:p></b:table-cell>"
            "</b:table-row><b:table-row b:number-rows-repeated='1000000'><b:table-cell/></b:table-row>"
            "</b:table>",
            "## Prices\n\n| part | n | n |\n| --- | --- | --- |\n| 123456789012 | 2024-02-29 | 50% |",
        ),
        (
            "odp",
            "<d:page d:name='page1'><d:frame r:class='title'><d:text-box><t:p>Ferries</t:p></d:text-box>"
            "</d:frame><d:frame><d:text-box><t:p>at nine</t:p></d:text-box></d:frame><r:notes>"
            "<t:p>say it slowly</t:p></r:notes></d:page>",
            "## Ferries\n\nat nine\n\nsay it slowly",
        ),
    ],
)
def test_open_document(tmp_path, kind, body, text):
    """Texts, sheets and slides of LibreOffice need no extra; each word is there once."""
    path = zipped(
        tmp_path / f"a.{kind}",
        **{
            "content.xml": f"<o:document {NAMESPACES}>{body}</o:document>",
            "meta.xml": '<m xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Plan</dc:title></m>',
        },
    )
    document = read_one(path)
    assert isinstance(document, Document), document
    assert (document.title, document.text) == ("Plan", text)


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    """A plain install names the remedy instead of failing on the import."""
    monkeypatch.setitem(sys.modules, "markitdown", None)
    unreadable = read_one(make_pdf(tmp_path / "a.pdf"))
    assert isinstance(unreadable, Unreadable)
    assert unreadable.reason == 'reading .pdf needs an extra: pip install "sqlrag[files]"'
