"""Decoding: what is declared or UTF-8, to the character; anything else is named, never guessed."""

from __future__ import annotations

import codecs

import pytest

from sqlrag.text.decoding import decode_html, decode_text
from sqlrag.text.documents import UnreadableError

TEXT = "Grüße, 漢字, 😀\r\nsecond\rthird\n"


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_text_keeps_every_character(mark, encoding):
    """The text is the file's, newlines as they are, without the byte order mark."""
    assert decode_text(mark + TEXT.encode(encoding)) == TEXT
    assert decode_html(mark + TEXT.encode(encoding)) == TEXT


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"abc\xff", r"not UTF-8: byte 0xff at offset 3 \(it may be cp1252\); .* iconv -f CP1252 -t UTF-8"),
        ("Grüße".encode("latin-1"), "not UTF-8: byte 0xfc at offset 2"),
        (codecs.BOM_UTF16_LE + b"a\0b", "not UTF-16-LE: byte 0x62 at offset 2"),
        (b"\x7fELF\x01\x00\x00", "is binary, not text: there is a NUL at character 5"),
        ("Hallo Welt".encode("utf-16-le"), "is not UTF-8 but may be utf-16-le; ingest it with .* --encoding utf-16-le"),
    ],
)
def test_what_is_no_text_is_named(data, message):
    """The message has the byte and its place."""
    with pytest.raises(UnreadableError, match=message):
        decode_text(data)


@pytest.mark.parametrize(
    ("declaration", "encoding"),
    [
        ('<meta charset="windows-1251">', "cp1251"),
        ("<META CHARSET = 'Shift_JIS'>", "cp932"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">', "koi8-r"),
        ("<meta charset=utf-8>", "utf-8"),
        ('<meta charset="utf-16">', "utf-8"),
        ("", "utf-8"),
    ],
)
def test_html_is_read_as_it_declares(declaration, encoding):
    """A page's own charset counts, in either form; UTF-16 cannot be declared in ASCII."""
    words = "日本" if encoding == "cp932" else "привет"
    html = f"<html><head>{declaration}</head><body>{words}</body></html>"
    assert decode_html(html.encode(encoding)) == html


def test_html_in_latin_1_is_read_as_windows_1252():
    """As browsers do: curly quotes and the euro sign stand where Latin-1 has control characters."""
    assert decode_html(b"<meta charset=iso-8859-1>\x93quoted\x94 \x80").endswith("“quoted” €")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<p>\xe9</p>", "not UTF-8: byte 0xe9 at offset 3"),
        (b"<meta charset=klingon>\xe9", "declares the unknown charset klingon; ingest it with its encoding"),
        (b"<meta charset=base64>\xe9", "declares the unknown charset base64"),
        (b"<meta charset=shift_jis>\x81", "not CP932: byte 0x81 at offset 24"),
    ],
)
def test_html_that_is_not_what_it_declares_is_named(data, message):
    """A wrong or unknown charset is said, and no character is replaced."""
    with pytest.raises(UnreadableError, match=message):
        decode_html(data)
