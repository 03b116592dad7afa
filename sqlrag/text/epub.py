"""EPUB books: their chapters in the order of reading, as text, and what the publisher says of the book."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from sqlrag.text.decoding import decode_html
from sqlrag.text.documents import Converted, Json, UnreadableError
from sqlrag.text.html import html_to_text
from sqlrag.text.zip_parts import name_of, opened, xml_part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element
    from zipfile import ZipFile

__all__ = ["read_epub"]

_FIELDS = {"title": "title", "creator": "author", "subject": "subject", "date": "created", "language": "language"}


def read_epub(data: bytes) -> Converted:
    """Return the book in a file's bytes (https://www.w3.org/TR/epub-33/).

    Raises UnreadableError, and the errors of zipfile and of the parser of XML.
    """
    with opened(data) as archive:
        container = xml_part(archive, "META-INF/container.xml")
        path = next((part.get("full-path", "") for part in container.iter() if name_of(part) == "rootfile"), "")
        if path not in archive.namelist():
            raise UnreadableError("is not a book: its container names no package")
        package = xml_part(archive, path)
        chapters = [text for chapter in _chapters(archive, package, path) if (text := _text(archive, chapter))]
    found: dict[str, Json] = {}
    for element in package.iter():
        if (name := _FIELDS.get(name_of(element))) and (value := " ".join((element.text or "").split())):
            found[name] = (
                f"{found[name]}, {value}" if name in found and name in ("author", "subject") else found.get(name, value)
            )
    title = found.pop("title", "")
    return Converted(str(title), "\n\n".join(chapters), found)


def _chapters(archive: ZipFile, package: Element, path: str) -> Iterator[str]:
    """Yield the names of the parts with text, in the order of the spine."""
    items = {item.get("id"): item.get("href", "") for item in package.iter() if name_of(item) == "item"}
    names = set(archive.namelist())
    for entry in package.iter():
        if name_of(entry) != "itemref" or (href := items.get(entry.get("idref"))) is None:
            continue
        found = (posixpath.normpath(posixpath.join(posixpath.dirname(path), one)) for one in (unquote(href), href))
        yield from [name for name in found if name in names][:1]


def _text(archive: ZipFile, name: str) -> str:
    return html_to_text(decode_html(archive.read(name)))[1]
