"""PDF, Office and EPUB files as Markdown, by markitdown (the `files` extra)."""

from __future__ import annotations

import io

from sqlrag.text.documents import UnreadableError

__all__ = ["office_to_text"]

_CONVERTERS = {
    "pdf": "PdfConverter",
    "docx": "DocxConverter",
    "pptx": "PptxConverter",
    "xlsx": "XlsxConverter",
    "epub": "EpubConverter",
}


def office_to_text(kind: str, data: bytes) -> tuple[str, str]:
    """Return (title, Markdown) of a file of this kind (`pdf`); the title is empty where the file names none."""
    try:
        from markitdown import MissingDependencyException, StreamInfo, converters
    except ImportError as error:
        raise UnreadableError(_missing(kind)) from error
    # The one converter, and not markitdown's choice: for a damaged file it falls back on the bytes as text.
    converter = getattr(converters, _CONVERTERS[kind])()
    try:
        converted = converter.convert(io.BytesIO(data), StreamInfo(extension=f".{kind}"))
    except MissingDependencyException as error:
        raise UnreadableError(_missing(kind)) from error
    except Exception as error:  # a damaged file raises anything in one of the many parsers
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnreadableError(f"cannot be read as .{kind}: {said}") from error
    # Fonts of a PDF can map to anything, lone surrogates included.
    text = str(converted.markdown).encode("utf-8", "replace").decode()
    if not text.strip():
        raise UnreadableError("has no text in it: pages that are images need OCR first")
    return converted.title or "", text


def _missing(kind: str) -> str:
    """Return what to do about a missing reader."""
    return f'reading .{kind} needs an extra: pip install "sqlrag[files]"'
