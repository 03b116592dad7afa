"""Decoding the bytes of a file: by the encoding that the user gave, by the declared one, or as UTF-8.

Nothing is guessed. Where a file has another encoding, a detector proposes one in the error message, and the user
decides.
"""

from __future__ import annotations

import codecs
import re

from sqlrag.errors import InputError
from sqlrag.text.documents import UnreadableError

__all__ = ["check_encoding", "check_no_wide", "decode_html", "decode_mail", "decode_text"]

# UTF-32 comes before UTF-16, whose mark is the beginning of its mark.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

# Browsers look for a declaration in the first 1024 bytes and, when they meet a later one, read the page again with it
# (https://html.spec.whatwg.org/multipage/parsing.html#change-the-encoding). It stands in the head.
_DECLARED_WITHIN = 262_144
_CHARSET = re.compile(rb"""<meta\s[^>]{0,1000}?charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_XML_DECLARATION = re.compile(rb"""\s*<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([\w.:-]+)["']""")

# The larger encoding that browsers use for some labels (https://encoding.spec.whatwg.org/#names-and-labels).
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

# Labels of the web that Python has no name for, besides those that it knows without their "x-".
_LABELS = {
    "cn-big5": "big5",
    "dos-874": "cp874",
    "iso-8859-8-e": "iso8859-8",
    "iso-8859-8-i": "iso8859-8",
    "koi": "koi8-r",
    "koi8": "koi8-r",
    "koi8-ru": "koi8-u",
    "ks_c_5601-1989": "euc_kr",
    "logical": "iso8859-8",
    "ms_kanji": "cp932",
    "sun_eu_greek": "iso8859-7",
    "unicode-1-1-utf-8": "utf-8",
    "visual": "iso8859-8",
    "windows-874": "cp874",
    "windows-949": "cp949",
    "x-mac-cyrillic": "mac_cyrillic",
    "x-mac-roman": "mac_roman",
    "x-mac-ukrainian": "mac_cyrillic",
    "x-x-big5": "big5",
}

# Encodings whose bytes are ASCII, so that decoding as UTF-8 would succeed and mean nothing.
_SEVEN_BITS = frozenset({"iso2022_jp", "iso2022_jp_1", "iso2022_jp_2", "iso2022_kr", "hz", "utf-7"})

# A few stray bytes in a page become U+FFFD, as in browsers; more than one in so many characters is another encoding.
_STRAY = 200

# What the detector chooses from. So few characters beyond ASCII say nothing, and most of such files are of Windows.
_LIKELY = (
    "utf_8", "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp932", "euc_jp",
    "gb18030", "big5", "cp949", "koi8_r", "cp437", "cp850", "mac_roman", "iso2022_jp",
)  # fmt: skip
_FEW = 8

# How iconv calls those that have another name there.
_ICONV = {
    "euc_jp": "EUC-JP",
    "iso2022_jp": "ISO-2022-JP",
    "koi8_r": "KOI8-R",
    "mac_roman": "MACINTOSH",
    "utf-16-be": "UTF-16BE",
    "utf-16-le": "UTF-16LE",
}

# How much of a file the detector reads.
_SAMPLE = 65_536


def check_encoding(name: str | None) -> str | None:
    """Return the name of an encoding as Python knows it. Raises InputError for an unknown one."""
    if name is None:
        return None
    try:
        found = codecs.lookup(name)
        "a".encode(name)  # base64 and rot13 are codecs, and no encodings of text
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"encoding is {name!r}, which Python does not know: "
            "it is a name such as 'cp1252', 'shift_jis' or 'utf-16-le' (see the list of Python's module codecs)"
        ) from error
    return found.name


def decode_text(data: bytes, encoding: str | None = None) -> str:
    """Decode `data` by its byte order mark, which is left out, by `encoding`, or as UTF-8. Raises UnreadableError."""
    for mark, marked in _MARKS:
        if data.startswith(mark):
            text = _decode(data[len(mark) :], marked)
            break
    else:
        text = _decode(data, encoding or "utf-8")
    if "\0" in text:
        check_no_wide(data)
        raise UnreadableError(f"is binary, not text: there is a NUL at character {text.index(chr(0))}")
    return text


def check_no_wide(data: bytes) -> None:
    """Raise UnreadableError for a text of two bytes a character, which is UTF-8 with NULs as well."""
    proposed = _proposed(data) if b"\0" in data else None
    if proposed and proposed.startswith("utf-16"):
        raise UnreadableError(f"is not UTF-8 but may be {proposed}; {_remedy(proposed)}")


def decode_html(data: bytes, encoding: str | None = None) -> str:
    """Decode a page as browsers do, but for pages that declare nothing, which are UTF-8. Raises UnreadableError.

    What decodes as UTF-8 is UTF-8, whatever it declares. Otherwise `encoding` decides, then the page's declaration. A
    few bytes that the encoding does not have become U+FFFD.
    """
    if any(data.startswith(mark) for mark, _ in _MARKS) or (encoding or "").startswith(("utf-16", "utf-32")):
        return decode_text(data, encoding)
    check_no_wide(data)
    declared = encoding or _declared(data)
    if declared in _SEVEN_BITS:
        return _decode(data, declared)
    try:
        return data.decode()
    except UnicodeDecodeError:
        chosen = declared or "utf-8"
    text = data.decode(chosen, "replace")
    if text.count("\N{REPLACEMENT CHARACTER}") * _STRAY > len(text):
        return _decode(data, chosen)  # raises
    return text


def _declared(data: bytes) -> str | None:
    """Return the encoding that a page declares, None if it declares none. Raises UnreadableError for an unknown one."""
    declared = _XML_DECLARATION.match(data) or _CHARSET.search(data[:_DECLARED_WITHIN])
    if declared is None:
        return None
    label = declared[1].decode("ascii", "replace")
    for name in (label, label.lower().removeprefix("x-"), _LABELS.get(label.lower(), label)):
        try:
            encoding = check_encoding(name)
        except InputError:
            continue
        return _LARGER.get(str(encoding), str(encoding))
    try:
        data.decode()
    except UnicodeDecodeError:
        raise UnreadableError(f"declares the unknown charset {label}; {_remedy(_proposed(data))}") from None
    return "utf-8"


def _decode(data: bytes, encoding: str) -> str:
    """Decode `data`. Raises UnreadableError, which names the byte and proposes an encoding."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-8" and _is_nearly_utf8(data):
            raise UnreadableError(
                f"not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}, although most of it is; to leave "
                "such bytes out: iconv -c -f UTF-8 -t UTF-8"
            ) from error
        proposed = _proposed(data)
        may_be = f" (it may be {proposed})" if proposed else ""
        raise UnreadableError(
            f"not {encoding.upper()}: byte 0x{data[error.start]:02x} at offset {error.start}{may_be}; "
            f"{_remedy(proposed)}"
        ) from error


def _is_nearly_utf8(data: bytes) -> bool:
    """Return whether more of the characters beyond ASCII are UTF-8 than are not: another encoding would spoil them."""
    text = data.decode("utf-8", "replace")
    stray = text.count("\N{REPLACEMENT CHARACTER}")
    return sum(not character.isascii() for character in text) - stray > stray


def decode_mail(data: bytes, charset: str | None) -> str:
    """Decode a part of a message: UTF-8 where it is that, otherwise by the charset that it declares, or as Windows'.

    Bytes that the charset does not have become U+FFFD. Old programs declare ASCII, or nothing, and send others.
    """
    try:
        codec = check_encoding(charset) or "cp1252"
    except InputError:
        codec = "cp1252"
    if codec in _SEVEN_BITS or codec.startswith(("utf-16", "utf-32")):
        return data.decode(codec, "replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode(_LARGER.get(codec, codec), "replace")


def _remedy(proposed: str | None) -> str:
    name = proposed or "cp1252"
    iconv = _ICONV.get(name, name.upper())
    return f"ingest it with its encoding, e.g. --encoding {name}, or convert it: iconv -f {iconv} -t UTF-8"


def _proposed(data: bytes) -> str | None:
    """Return the encoding that a detector takes `data` for, None if it takes it for none or for UTF-8."""
    from charset_normalizer import from_bytes

    sample = data[:_SAMPLE]
    if len(sample) >= _FEW:
        zeros = sample[0::2].count(0), sample[1::2].count(0)
        if min(zeros) * 4 < max(zeros) and max(zeros) * 4 > len(sample) // 2:
            return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    if b"\0" in sample:
        return None
    if sum(byte > 127 for byte in sample) < _FEW:
        return "cp1252"
    best = from_bytes(sample, cp_isolation=list(_LIKELY)).best()
    name = "utf_8" if best is None else str(best.encoding)
    if name.startswith("cp125") and sample.decode(name, "replace") == sample.decode("cp1252", "replace"):
        return "cp1252"  # of several that say the same, the one that most such files have
    return None if name in ("ascii", "utf_8") else name
