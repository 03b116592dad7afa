"""The parts of files that are zip archives of XML: Office, OpenDocument and EPUB files.

An archive of a few kilobytes can hold gigabytes, so its parts are looked at before any of them is unpacked.
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

from sqlrag.text.documents import UnreadableError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = ["name_of", "opened", "xml_part"]

# Of parts that are parsed, which takes several times as much memory and some seconds for ten megabytes.
_MOST_MARKUP = 128 * 1024 * 1024
_MARKUP = (".xml", ".rels", ".html", ".htm", ".xhtml", ".opf", ".ncx")


def opened(data: bytes) -> zipfile.ZipFile:
    """Return the archive in a file's bytes. Raises UnreadableError if it holds too much, BadZipFile if it is none."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    size = sum(part.file_size for part in archive.infolist() if part.filename.lower().endswith(_MARKUP))
    if size > _MOST_MARKUP:
        raise UnreadableError(
            f"unpacks to {size // 2**20:,} MiB of text and markup, and {_MOST_MARKUP // 2**20} are read at most: "
            "split it"
        )
    return archive


def xml_part(archive: zipfile.ZipFile, name: str) -> Element:
    """Return the root of a part. Raises KeyError if there is no such part, ParseError if it is not XML."""
    from xml.etree import ElementTree as ET

    return ET.fromstring(archive.read(name))  # noqa: S314 - expat limits how far entities expand (2.4.1)


def name_of(element: Element) -> str:
    """Return the name of an element without its namespace; "" for a comment."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
