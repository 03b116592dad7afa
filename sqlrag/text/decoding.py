"""Decoding the bytes of a file: by the declared encoding or as UTF-8, and never by a guess that loses characters."""

from __future__ import annotations

import codecs
import re

from sqlrag.text.documents import UnreadableError

__all__ = ["decode_html", "decode_text"]

# UTF-32 comes before UTF-16, whose mark is the beginning of its mark.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

# How far browsers look for a declaration, and the larger encoding that they use for some labels
# (https://encoding.spec.whatwg.org/#names-and-labels).
_DECLARED_WITHIN = 1024
_CHARSET = re.compile(rb"""<meta\s[^>]*?charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_LARGER = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "big5": "big5hkscs",
    "utf-16": "utf-8",  # the declaration was read as ASCII, so it cannot be UTF-16
    "utf-16-le": "utf-8",
    "utf-16-be": "utf-8",
}


def decode_text(data: bytes) -> str:
    """Decode `data` by its byte order mark, which is left out, or as UTF-8. Raises UnreadableError."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            text = _decode(data[len(mark) :], encoding)
            break
    else:
        text = _decode(data, "utf-8")
    if "\0" in text:
        raise UnreadableError(f"is binary, not text: there is a NUL at character {text.index(chr(0))}")
    return text


def decode_html(data: bytes) -> str:
    """Decode `data` by its byte order mark, by its `<meta charset>`, or as UTF-8. Raises UnreadableError."""
    if any(data.startswith(mark) for mark, _ in _MARKS):
        return decode_text(data)
    declared = _CHARSET.search(data[:_DECLARED_WITHIN])
    if declared is None:
        return _decode(data, "utf-8")
    label = declared[1].decode("ascii")
    try:
        encoding = codecs.lookup(label).name
    except LookupError as error:
        raise UnreadableError(f"declares the unknown charset {label}; convert it to UTF-8") from error
    return _decode(data, _LARGER.get(encoding, encoding))


def _decode(data: bytes, encoding: str) -> str:
    """Decode `data`. Raises UnreadableError."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableError(
            f"not {encoding.upper()}: byte 0x{data[error.start]:02x} at offset {error.start}; "
            "convert it, e.g. with iconv -t UTF-8"
        ) from error
    except LookupError as error:  # a codec that is not a text encoding: base64, rot13
        raise UnreadableError(f"declares the charset {encoding}, which is none; convert it to UTF-8") from error
