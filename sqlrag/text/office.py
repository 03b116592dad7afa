"""PDF, Office and EPUB files as Markdown, by markitdown (the `files` extra)."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

from sqlrag.text.documents import UnreadableError

__all__ = ["office_to_text"]

_REMEDY = 'pip install "sqlrag[files]"'


def office_to_text(kind: str, data: bytes) -> tuple[str, str]:
    """Return (title, Markdown) of a file of this kind (`pdf`); the title is empty where the file names none."""
    try:
        from markitdown import StreamInfo

        converted = _converter().convert_stream(io.BytesIO(data), stream_info=StreamInfo(extension=f".{kind}"))
    except ImportError as error:
        raise UnreadableError(f"reading .{kind} needs an extra: {_REMEDY}") from error
    except Exception as error:  # a damaged file raises anything in one of its many parsers
        if "MissingDependency" in str(error) or "MissingDependency" in type(error).__name__:
            raise UnreadableError(f"reading .{kind} needs an extra: {_REMEDY}") from error
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnreadableError(f"cannot be read as .{kind}: {said}") from error
    # Fonts of a PDF can map to anything, lone surrogates included.
    text = str(converted.markdown).encode("utf-8", "replace").decode()
    if not text.strip():
        raise UnreadableError("has no text in it: pages that are images need OCR first")
    return converted.title or "", text


@lru_cache(maxsize=1)
def _converter() -> Any:
    """Return the converter, which takes a second to load."""
    from markitdown import MarkItDown

    return MarkItDown(enable_plugins=False)
